"""Tasks on Ray: a local cluster of this machine's cores, or an existing one by address."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import gristmill
from gristmill.pipeline.errors import GristmillError
from gristmill.pipeline.executor import ONE_CORE, SetAside, ray_guard, trampoline
from gristmill.pipeline.executor.payloads import encoded
from gristmill.pipeline.executor.ray_connection import check_address, connection_failed, quiet_stderr
from gristmill.pipeline.executor.ray_tasks import MAX_RETRIES, TasksUnderWay, first_line, is_stopped, ray_failed
from gristmill.pipeline.executor.ray_workers import OwnWorkers, SharedWorkers, Workers, machines
from gristmill.pipeline.resources import Resources, this_machine

Payload = TypeVar("Payload")
Result = TypeVar("Result")

_AHEAD = 2
"""Tasks submitted per worker of a cluster of our own, so that a worker finds the next one waiting; on somebody else's
cluster, which may have more cores than we were asked to use, no more than `workers` are under way."""


class RayExecutor:
    """Runs tasks on Ray. A context manager: a local cluster that it started ends with it.

    Args:
        workers: tasks at the same time; default: all cores of the cluster.
        address: an existing cluster (`ray://…`, `host:port`, `auto`); None starts a local one.
        plugin_folders: folders that workers need on their path besides ours.
    """

    def __init__(
        self, workers: int | None = None, address: str | None = None, plugin_folders: Sequence[str] = ()
    ) -> None:
        self._asked = workers
        self.address = address
        self.roots = [str(Path(gristmill.__file__).parents[1]), *plugin_folders]
        self._workers = workers or 0
        self._ours = False
        self._guard: subprocess.Popen[bytes] | None = None
        self._started: threading.Event | None = None
        self._ended = threading.Event()
        self._failed: BaseException | None = None
        self._preparing: list[Any] = []

    @property
    def workers(self) -> int:
        """Tasks at the same time."""
        return self._workers

    def start(self, prepare: Callable[[Any], object] | None = None, about: Any = None) -> None:
        """Begins to connect, or to start a local cluster, while the caller does something else; entering the context waits
        for it. A caller who does not come to enter the context calls `abandon`.

        Args:
            prepare: called with `about` in each worker of a local cluster as soon as there is one, so that it has loaded by
                the first task what tasks need. Nothing waits for it, and what it raises is left for a task to meet.
        """
        started = self._started = threading.Event()
        _ray()  # imported here: what two threads import at a time, each may find half made

        def start() -> None:
            try:
                self._start()
                if prepare is not None and self._ours:
                    body = encoded(prepare, about)
                    self._preparing = [self._remote.remote(self.roots, body) for _ in range(self._workers)]
            except BaseException as error:
                self._failed = error
            started.set()
            # Ray's processes end with the thread that started them (PR_SET_PDEATHSIG): it stays until they may.
            self._ended.wait()

        threading.Thread(target=start, name="gristmill-ray", daemon=True).start()

    def abandon(self) -> None:
        """Ends what `start` began."""
        if self._started is not None:
            self._started.wait()
            if self._failed is None:
                self.__exit__(*sys.exc_info())

    def __enter__(self) -> RayExecutor:
        if self._started is None:
            self._start()
            return self
        self._started.wait()
        with _our_signal_handlers():  # Ray has put its own in their place, below Python
            pass
        if self._failed is not None:
            raise self._failed
        return self

    def _start(self) -> None:
        ray = _ray()
        if ray.is_initialized():
            self._workers = self._asked or int(ray.cluster_resources().get("CPU", 1))
            self._remote = self._make_remote(ray)
            return
        quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "include_dashboard": False}
        if self.address is not None:
            quiet.pop("include_dashboard")
            check_address(self.address)
            try:
                with _our_signal_handlers(), quiet_stderr():
                    ray.init(address=self.address, **quiet)
            except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
                raise connection_failed(self.address, error) from error
        else:
            self._workers = self._asked or os.cpu_count() or 1
            try:
                with _our_signal_handlers():
                    memory = this_machine().memory_bytes or None
                    ray.init(num_cpus=self._workers, _memory=memory, address="local", **quiet)
            except Exception as error:  # whatever it is, it is not of our making
                ray.shutdown()
                raise GristmillError(
                    f"Ray could not be started on this machine ({first_line(error)}). Look for what it says in /tmp/ray or "
                    "$RAY_TMPDIR: often there is too little memory, disk or shared memory, or a limit on processes. "
                    "`--executor inline` needs no Ray."
                ) from error
            self._ours = True
            self._guard = _guard(ray)
        try:
            if not self._workers:
                self._workers = int(ray.cluster_resources().get("CPU", 1))
            self._remote = self._make_remote(ray)
        except BaseException as error:
            self.__exit__()
            cause = getattr(error, "cause", None)
            if isinstance(cause, GristmillError):
                raise cause from None
            if isinstance(error, ray.exceptions.RayError):
                raise ray_failed(error) from error
            raise

    def __exit__(self, *exception: object) -> None:
        if is_stopped(exception[0] if exception else None):
            return
        if self._ours or self.address is not None:
            _ray().shutdown()
        if self._guard is not None:
            self._guard.communicate()
            self._guard = None
        self._ended.set()

    def _make_remote(self, ray: Any) -> Any:
        ray.cloudpickle.register_pickle_by_value(trampoline)
        try:
            # Pickled now, by value, so that no worker needs to find our packages in order to load it.
            remote = ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(trampoline.call)
            if not self._ours:  # a cluster that cannot run anything is better known before there is work on it
                ray.get(remote.remote(self.roots, encoded(_ready, None)))
        finally:
            ray.cloudpickle.unregister_pickle_by_value(trampoline)
        return remote

    def machines(self) -> list[Resources]:
        """What each node of the cluster has."""
        return machines(_ray())

    def run(
        self,
        function: Callable[[Payload], Result],
        payloads: Iterable[Payload],
        resources: Resources = ONE_CORE,
    ) -> Iterator[tuple[int, Result]]:
        """See `pipeline.executor.Executor.run`.

        Raises what a task raised; GristmillError when a task's worker died more than MAX_RETRIES times.
        """
        return TasksUnderWay(_ray(), self._workers_for(resources), self.roots, function).results(payloads)

    def run_independent(
        self,
        function: Callable[[Payload], Result],
        payloads: Iterable[Payload],
        resources: Resources = ONE_CORE,
    ) -> Iterator[tuple[int, Result | SetAside]]:
        """Sets aside what `Executor.run_independent` says, and a task whose worker died more than MAX_RETRIES times."""
        workers = self._workers_for(resources)
        return TasksUnderWay(_ray(), workers, self.roots, function, independent=True).results(payloads)

    def _workers_for(self, needs: Resources) -> Workers:
        ray = _ray()
        if not needs.own_workers:
            return SharedWorkers(ray, self._remote, self._workers, _AHEAD if self._ours else 1, needs)
        ray.cloudpickle.register_pickle_by_value(trampoline)
        try:
            return OwnWorkers(ray, trampoline.Worker, self._workers, needs, MAX_RETRIES)
        finally:
            ray.cloudpickle.unregister_pickle_by_value(trampoline)


@contextlib.contextmanager
def _our_signal_handlers() -> Iterator[None]:
    """Ray puts its own handlers in the place of ours when it starts; they end the process with a trace of C++."""
    numbers = [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT]
    before = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in zip(numbers, before, strict=True):
                if handler is not None:
                    signal.signal(number, handler)


def _guard(ray: Any) -> subprocess.Popen[bytes] | None:
    """The process that ends what Ray started for us, should this one be killed; None where there is no /proc."""
    processes = []
    for some in ray._private.worker._global_node.all_processes.values():
        for one in some:
            _, start = ray_guard.started(one.process.pid)
            if start:
                processes.append(f"{one.process.pid}:{start}")
    if not processes:
        return None
    return subprocess.Popen(
        [sys.executable, "-I", "-S", ray_guard.__file__, *processes],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what ends the driver's group must not end it first
    )


def _ready(payload: None) -> str:
    return os.getcwd()


def _ray() -> Any:
    # A user's own home may be read-only, and a local cluster listens on this machine alone.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    return ray
