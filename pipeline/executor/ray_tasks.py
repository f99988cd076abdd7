"""Tasks under way on a Ray cluster: how many are submitted, which are tried again elsewhere, which run a second time."""

from __future__ import annotations

import contextlib
import pickle
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, is_dataclass, replace
from statistics import median
from typing import Any

from gristmill.pipeline.errors import GristmillError
from gristmill.pipeline.executor import SetAside
from gristmill.pipeline.executor.failures import TaskFailed, attempted, set_aside, subject_of
from gristmill.pipeline.executor.payloads import decoded, encoded
from gristmill.pipeline.executor.ray_workers import Workers
from gristmill.pipeline.key_variable import refuse_inherited_key
from gristmill.pipeline.reader_process import set_expendable
from gristmill.pipeline.stopping import stop_requested, tasks_under_way

MAX_RETRIES = 3
"""Times that Ray runs a task again whose worker died; tasks write under deterministic names and commit once."""

ATTEMPTS = 3
"""Nodes on which an independent task is tried that fails by its input or by storage."""

LAGS = 3.0
"""A task lags when it has run for so many times the median of this call's tasks, and for LAGS_SECONDS."""

LAGS_SECONDS = 30.0
MEDIAN_OF = 5
"""Tasks that must have ended before their median says something."""

_POLL_SECONDS = 1.0
"""Time between two looks for a request to stop and for tasks that lag."""

_CANCEL_SECONDS = 5.0
"""Time that tasks get to end when a run is stopped, or when another attempt was first."""


@dataclass
class _Attempt:
    """One submission of a task."""

    index: int
    payload: Any
    submitted: float
    nodes: tuple[str, ...] = ()
    """Where it failed before."""


@dataclass
class TasksUnderWay:
    """One call of an executor's `run` or `run_independent`.

    Attributes:
        workers: where calls go.
        roots: the folders that hold our packages.
        independent: see `Executor.run_independent`.
    """

    ray: Any
    workers: Workers
    roots: list[str]
    function: Callable[[Any], Any]
    independent: bool = False
    waiting: dict[Any, _Attempt] = field(default_factory=dict)
    _attempts: dict[int, int] = field(default_factory=dict)
    _seconds: list[float] = field(default_factory=list)
    _idle_since: float | None = None

    def results(self, payloads: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        """Yields (index, result or SetAside). Raises what a task raised, and GristmillError when Ray or a worker fails."""
        source: Iterator[tuple[int, Any]] | None = enumerate(payloads)
        try:
            with tasks_under_way():
                while True:
                    while source is not None and not stop_requested() and len(self.waiting) < self.workers.room():
                        item = next(source, None)
                        if item is None:
                            source = None
                            break
                        self._submit(_Attempt(*item, time.monotonic()))
                    if not self.waiting:
                        return
                    for reference in self._ended():
                        yield from self._taken(reference)
                    if source is None and not stop_requested():
                        self._start_laggards_again()
        finally:
            if not is_stopped(sys.exc_info()[0]):
                self._end(list(self.waiting))
                self.workers.close()

    def _submit(self, attempt: _Attempt) -> None:
        other = self.workers.other_node(attempt.nodes) if attempt.nodes else None
        body = encoded(self.function, attempt.payload, self.independent)
        reference = self.workers.call(self.roots, body, other)
        self.waiting[reference] = attempt
        self._attempts[attempt.index] = self._attempts.get(attempt.index, 0) + 1

    def _ended(self) -> list[Any]:
        references = list(self.waiting)
        try:
            done, rest = self.ray.wait(references, num_returns=1, timeout=_POLL_SECONDS)
            if done and rest:  # all that have ended, in one go
                more, _ = self.ray.wait(rest, num_returns=len(rest), timeout=0)
                done += more
        except self.ray.exceptions.RayError as error:
            raise ray_failed(error) from error
        return list(done)

    def _taken(self, reference: Any) -> Iterator[tuple[int, Any]]:
        attempt = self.waiting.pop(reference, None)
        if attempt is None:
            return  # another attempt was first
        self.workers.answered(reference)
        found = self._result(reference, subject_of(attempt.payload))
        others = [ref for ref, other in self.waiting.items() if other.index == attempt.index]
        if isinstance(found, TaskFailed):
            if others:
                return
            tried = (*attempt.nodes, found.node)
            if len(tried) < ATTEMPTS and not stop_requested() and self.workers.other_node(tried) is not None:
                self._submit(replace(attempt, payload=self._again(attempt), submitted=time.monotonic(), nodes=tried))
                return
            found = set_aside(found, attempt.payload)
        elif isinstance(found, SetAside):
            if others:
                return
        else:
            self._seconds.append(time.monotonic() - attempt.submitted)
        self._end(others)
        self._attempts.pop(attempt.index, None)
        yield attempt.index, found

    def _again(self, attempt: _Attempt) -> Any:
        """The payload of one more attempt, whose files have other names until they are whole."""
        number = str(self._attempts[attempt.index])
        known = is_dataclass(attempt.payload) and hasattr(attempt.payload, "attempt")
        return replace(attempt.payload, attempt=number) if known else attempt.payload

    def _start_laggards_again(self) -> None:
        """Gives idle workers the tasks that lag."""
        now = time.monotonic()
        if len(self.waiting) >= self.workers.count() or not self.independent:
            self._idle_since = None
            return
        if self._idle_since is None:
            self._idle_since = now  # from here on, whatever waits has a worker
        if len(self._seconds) < MEDIAN_OF:
            return
        bound = max(LAGS_SECONDS, LAGS * median(self._seconds[-1000:]))
        for attempt in list(self.waiting.values()):
            if len(self.waiting) >= self.workers.count():
                return
            single = sum(other.index == attempt.index for other in self.waiting.values()) == 1
            if single and now - max(attempt.submitted, self._idle_since) > bound:
                self._submit(replace(attempt, payload=self._again(attempt), submitted=now))

    def _end(self, references: list[Any]) -> None:
        """Ends attempts that nobody waits for, and waits until they have ended: what they read may be removed after that."""
        for force in (False, True):
            if not references:
                return
            for reference in references:
                if self.waiting.pop(reference, None) is not None:
                    self.workers.answered(reference)
                self.workers.cancel(reference, force)
            with contextlib.suppress(self.ray.exceptions.RayError):
                _, references = self.ray.wait(references, num_returns=len(references), timeout=_CANCEL_SECONDS)

    def _result(self, reference: Any, subject: str) -> Any:
        exceptions = self.ray.exceptions
        try:
            return pickle.loads(self.ray.get(reference))
        except exceptions.RayTaskError as error:
            cause = error.cause if isinstance(getattr(error, "cause", None), BaseException) else error
            if isinstance(cause, GristmillError):
                raise cause from None
            raise cause from error
        except _deaths(exceptions) as error:
            told = (
                f"{subject or 'a task'}: a worker died {MAX_RETRIES + 1} times over the same task of "
                f"{self.function.__module__}.{self.function.__qualname__} ({type(error).__name__}). Its input may crash a "
                "reader, or memory is short: see `gristmill plan` for the bound. Committed tasks are kept; the same command "
                "goes on from there."
            )
            if self.independent:
                # Ray has tried it on whatever nodes there were.
                crashed = (exceptions.WorkerCrashedError, exceptions.RayActorError)
                return SetAside(subject, told, isinstance(error, crashed))
            raise GristmillError(told) from error
        except exceptions.RayError as error:
            raise ray_failed(error) from error


def is_stopped(kind: object) -> bool:
    """Whether a signal ends this process. Ray is then left as it is: its own code may abort when it is shut down or told to
    cancel with tasks under way, and what it started ends with the driver (a cluster of our own by the guard)."""
    return isinstance(kind, type) and not issubclass(kind, (Exception, GeneratorExit))


def _deaths(exceptions: Any) -> tuple[type[BaseException], ...]:
    """What Ray says when the process of a task was lost as often as it tries."""
    return (
        exceptions.WorkerCrashedError,
        exceptions.OutOfMemoryError,
        exceptions.NodeDiedError,
        exceptions.RayActorError,
    )


def ray_failed(error: BaseException) -> GristmillError:
    """What is said when Ray itself fails in the middle of a run."""
    return GristmillError(
        f"Ray stopped working in the middle of the run ({type(error).__name__}: {first_line(error)}). One of its own "
        "processes ended: it was killed, the machine was short of memory or disk, or a node went away; its logs are in "
        "/tmp/ray or $RAY_TMPDIR. Committed tasks are kept; the same command goes on from there."
    )


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]


# In a worker


def answered(body: bytes) -> Any:
    """The result of a call in a worker, which may die of a file: it is run again, and the error names what it was about."""
    set_expendable()
    refuse_inherited_key()
    function, independent, payload = decoded(body)
    return attempted(function, payload, node=_node) if independent else function(payload)


def _node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())
