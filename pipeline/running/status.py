"""A run's status file: what its driver says about it every few seconds, in the work folder, for whoever comes to look.

Nothing in a run reads it, so a failure to write it stops nothing. It holds no times of somebody else's clock: its number
goes up with each writing, so a reader who sees it change knows that the driver lives.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from gristmill.pipeline.errors import GristmillError, StorageError
from gristmill.pipeline.planning.plan import Plan
from gristmill.pipeline.provenance.statement import Predicate, read_manifest
from gristmill.pipeline.provenance.values import STORED, Count, Whole, described, parse, to_json
from gristmill.pipeline.running.compiling import compiling, forget
from gristmill.pipeline.running.progress import RunView, Watch
from gristmill.pipeline.storage import exists, is_remote, join, put, read_small
from gristmill.pipeline.work_folder import RUN_FILES

STATUS = "status.json"
"""The file, beside the run's other files in its work folder."""

EVERY = 2.0
"""Seconds between two writings where the work folder is a file system."""

EVERY_REMOTE = 10.0
"""The same for an object store, which counts requests."""

PUT_SECONDS = 5.0
"""Time that one writing may take, tries included; the next one says the same and more."""

MOST_BYTES = 4 << 20
"""A status is never larger."""

MOST_MESSAGE = 4000
"""Characters of an error that are kept."""

State = Literal["running", "done", "stopped", "failed"]
Seconds = Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class NodeStatus:
    """Documents at a node, in the pass at hand: those that entered, and what became of them."""

    __pydantic_config__ = STORED
    name: str
    entered: Count
    emitted: Count
    dropped: Count
    quarantined: Count


@dataclass(frozen=True, kw_only=True)
class TaskStatus:
    """A task that is under way for long, or that failed: what it reads, and seconds or the error."""

    __pydantic_config__ = STORED
    path: str
    seconds: Seconds | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """A run as its driver last said.

    Attributes:
        state: `running` as far as the driver knew; `done`; `stopped` by a signal; `failed` with `error`.
        number: goes up with each writing, of which there is one every `every` seconds.
        step: what the run does: a pass, a node being settled, publishing.
        pass_: the pass at hand from 1, of `passes`; `done` of its `tasks` have ended, of which an earlier attempt had
            committed `reused` over all passes.
        step_done: tasks of this step that have ended, in an exchange too.
        bytes_per_second: text in this pass; elapsed, left: seconds since the start and to the end, where known.
        started: Unix seconds by the clock of `host`.
    """

    __pydantic_config__ = STORED
    format: Literal[1] = 1
    name: str
    run: str
    state: State
    number: Count
    every: Seconds
    host: str
    process: Whole
    started: Seconds
    workers: Count
    step: str
    pass_: Annotated[Count, Field(alias="pass")]
    passes: Count
    tasks: Count
    done: Count
    reused: Count
    step_done: Count
    under_way: Count
    documents: Count
    text_bytes: Count
    bytes_per_second: Seconds | None
    elapsed: Seconds
    left: Seconds | None
    nodes: list[NodeStatus]
    slow: Count
    slowest: list[TaskStatus]
    failed: Count
    failures: list[TaskStatus]
    error: str | None
    outputs: dict[str, str]

    @property
    def over(self) -> bool:
        """Whether the driver said that it ended."""
        return self.state != "running"


class Reporter:
    """Makes statuses of a run from views of it.

    Args:
        plan: the run's plan.
        watch: what follows the run.
        workers: tasks at the same time.
        every: seconds between two statuses.
    """

    def __init__(self, plan: Plan, watch: Watch, workers: int, every: float) -> None:
        self._watch, self._every = watch, every
        self._number = 0
        self._fixed: dict[str, Any] = {
            "name": plan.config.name, "run": plan.key, "host": socket.gethostname(), "process": os.getpid(),
            "started": time.time(), "workers": workers,
            "outputs": {output.name: output.config.path for output in plan.graph.outputs},
        }  # fmt: skip

    def status(self, state: State = "running", error: str | None = None) -> RunStatus:
        """The run at this moment."""
        self._number += 1
        view: RunView = self._watch.view()
        return RunStatus(
            **self._fixed,
            state=state,
            number=self._number,
            every=self._every,
            step=view.step,
            pass_=view.pass_index + 1,
            passes=view.passes,
            tasks=view.total,
            done=view.done,
            reused=view.reused,
            step_done=view.step_done,
            under_way=view.under_way,
            documents=view.documents,
            text_bytes=view.text_bytes,
            bytes_per_second=view.bytes_per_second,
            elapsed=view.elapsed,
            left=view.left,
            nodes=[
                NodeStatus(
                    name=node.name,
                    entered=node.entered,
                    emitted=node.emitted,
                    dropped=node.dropped,
                    quarantined=node.quarantined,
                )
                for node in view.nodes
            ],
            slow=view.slow,
            slowest=[TaskStatus(path=task.path, seconds=task.seconds) for task in view.slowest],
            failed=view.failed,
            failures=[TaskStatus(path=task.path, error=task.error[:MOST_MESSAGE]) for task in view.failures],
            error=error,
        )


class StatusFile:
    """Keeps the status file of a run while it is on. A context manager: on exit it says how the run ended.

    Args:
        plan, watch, workers: see `Reporter`.
        folder: the folder of the run's files in its work folder.
        holds: whether the folder is still this driver's to write to.
        compiling: told that a worker compiles kernels, with about how many seconds; looked for until a task has ended.
    """

    def __init__(
        self,
        plan: Plan,
        watch: Watch,
        workers: int,
        folder: str,
        holds: Callable[[], bool],
        compiling: Callable[[float], None] | None = None,
    ) -> None:
        every = EVERY_REMOTE if is_remote(folder) else EVERY
        self._location, self._every, self._holds = join(folder, STATUS), every, holds
        self._reporter, self._watch = Reporter(plan, watch, workers, every), watch
        self._folder, self._compiling = folder, compiling
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep, name="gristmill-status", daemon=True)
        self.problem: str | None = None
        """Why the last writing failed; None where it did not."""

    def __enter__(self) -> StatusFile:
        if self._compiling is not None:
            forget(self._folder)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join()
        self._look_for_compiling()
        if error is None:
            self._write("done")
        elif isinstance(error, Exception):
            self._write("failed", told(error))
        else:
            self._write("stopped", f"stopped by {str(error) or type(error).__name__}")

    def changed(self) -> None:
        """A new step has begun: it is written at once, by the thread."""
        self._wake.set()

    def _keep(self) -> None:
        while not self._stop.is_set():
            self._write("running")
            if not self._watch.view().done:
                self._look_for_compiling()
            self._wake.wait(self._every)
            self._wake.clear()

    def _look_for_compiling(self) -> None:
        seconds = None if self._compiling is None else compiling(self._folder)
        if seconds is not None and self._compiling is not None:
            self._compiling(seconds)
            self._compiling = None

    def _write(self, state: State, error: str | None = None) -> None:
        # Whatever it is: what is only looked at must not end what it is about.
        try:
            if self._holds():
                body = json.dumps(to_json(self._reporter.status(state, error)), allow_nan=False).encode()
                put(self._location, body, seconds=PUT_SECONDS)
            self.problem = None
        except Exception as problem:
            self.problem = told(problem)


def told(error: BaseException) -> str:
    """An error in words, at most MOST_MESSAGE characters of it."""
    text = str(error) if isinstance(error, GristmillError) else f"{type(error).__name__}: {error}"
    return text[:MOST_MESSAGE]


def read_status(location: str) -> RunStatus | None:
    """The status of a run, given its work folder, or an output with the work folder beside it; None where there is none.

    A finished output has no work folder any more: what is known is then in its manifest, and the state is `done`. Raises
    StorageError for a file that is no status, DataError for a manifest that is none.
    """
    manifest = read_manifest(location.rstrip("/"))
    if manifest is not None:
        return _finished(manifest, location.rstrip("/"))
    folder = run_files(location)
    found = read_small(join(folder, STATUS), MOST_BYTES) if folder is not None else None
    return None if folder is None or found is None else _parsed(join(folder, STATUS), found)


def run_files(location: str) -> str | None:
    """The folder with a run's status file and logs, given its work folder, or an output with that beside it."""
    folder = location.rstrip("/")
    places = (join(folder, RUN_FILES), folder, join(f"{folder}.work", RUN_FILES))
    return next((place for place in places if exists(join(place, STATUS))), None)


def _parsed(place: str, data: bytes) -> RunStatus:
    try:
        return parse(RunStatus, json.loads(data))
    except (ValueError, RecursionError) as error:
        wrong = described(error)[0] if isinstance(error, ValidationError) else str(error)
        raise StorageError(f"{place}: this is no status of a run by this version of Gristmill ({wrong}).") from error


def _finished(manifest: Predicate, folder: str) -> RunStatus:
    accounts = manifest.accounts
    entered = [accounts.nodes[name].entered for name in manifest.sources if name in accounts.nodes]
    return RunStatus(
        name=manifest.name, run=manifest.run, state="done", number=0, every=0.0, host=manifest.varies.machine, process=0,
        started=0.0, workers=0, step="done", pass_=0, passes=0, tasks=manifest.tasks, done=manifest.tasks, reused=0,
        step_done=0, under_way=0, documents=sum(tally.rows for tally in entered),
        text_bytes=sum(tally.bytes for tally in entered), bytes_per_second=None, elapsed=0.0, left=None,
        nodes=[
            NodeStatus(
                name=node.name, entered=account.entered.rows, emitted=account.kept.rows, dropped=account.dropped.rows,
                quarantined=account.quarantined.rows,
            )
            for node in manifest.nodes
            if (account := accounts.nodes.get(node.name)) is not None
        ],
        slow=0, slowest=[], failed=0, failures=[], error=None, outputs={manifest.output: folder},
    )  # fmt: skip
