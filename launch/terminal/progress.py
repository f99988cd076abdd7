"""Progress of a run on stderr: a live display on a terminal, a plain line now and then anywhere else, or JSON lines."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from gristmill.launch.terminal.numbers import duration
from gristmill.launch.terminal.status import screen, status_line

if TYPE_CHECKING:
    from rich.console import Console

    from gristmill.pipeline.running.progress import Progress
    from gristmill.pipeline.running.status import RunStatus

PLAIN_SECONDS = 10.0
"""A log gets a line at least this often, and no more often within one step, besides the first and the last."""

JSON_SECONDS = 5.0
"""The same for JSON lines."""


class Display:
    """Shows a run. A context manager; it is called by the engine when something has changed, and looks by itself between.

    This one shows nothing (`--quiet`).
    """

    def __init__(self) -> None:
        self.read: Callable[[], RunStatus] | None = None

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def note(self, line: str) -> None:
        """What goes on before the first task."""

    def hint(self, line: str) -> None:
        """Why the first task may take long."""

    def follow(self, read: Callable[[], RunStatus]) -> None:
        """From now on there is a run: `read` gives its status, in any thread."""
        self.read = read

    def __call__(self, progress: Progress) -> None:
        """Something has changed: a step begins, or a task has ended."""


class LinesDisplay(Display):
    """A display that writes lines, and looks at the run from a thread of its own, so that a long task hides nothing.

    Args:
        seconds: time between two lines about one step.
        now: seconds of a clock that never goes back.
    """

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._seconds, self._now = seconds, now
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._step = ""
        self._ended = False
        self._said = 0.0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def follow(self, read: Callable[[], RunStatus]) -> None:
        super().follow(read)
        self._watch()

    def _watch(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep, name="gristmill-progress", daemon=True)
            self._thread.start()

    def __call__(self, progress: Progress) -> None:
        self.look()

    def look(self) -> None:
        """Writes a line if it is time for one."""
        with self._lock:
            now = self._now()
            if self.read is None:
                return
            status = self.read()
            ended = status.step.startswith("pass") and status.done == status.tasks
            if status.step == self._step and (ended <= self._ended) and now - self._said < self._seconds:
                return
            self._step, self._ended, self._said = status.step, ended, now
            self.write(status)

    def write(self, status: RunStatus) -> None:
        """Writes a line about the run."""
        raise NotImplementedError

    def _keep(self) -> None:
        while not self._stop.wait(min(1.0, self._seconds / 2)):
            self.look()


class PlainProgress(LinesDisplay):
    """Progress as lines of a log."""

    def __init__(
        self, console: Console, now: Callable[[], float] = time.monotonic, seconds: float = PLAIN_SECONDS
    ) -> None:
        super().__init__(seconds, now)
        self.console = console
        self._note, self._note_begin = "", self._said

    def __enter__(self) -> PlainProgress:
        self._watch()
        return self

    def note(self, line: str) -> None:
        with self._lock:
            self._note, self._note_begin = line, self._now()
            self._said = self._note_begin
        self.console.print(line, soft_wrap=True)

    def look(self) -> None:
        if self.read is None:
            self._look_before_the_run()
        else:
            super().look()

    def _look_before_the_run(self) -> None:
        """Planning may take minutes where there are many files."""
        with self._lock:
            now = self._now()
            if not self._note or now - self._said < self._seconds:
                return
            self._said = now
            line = f"{self._note} … {duration(now - self._note_begin)}"
        self.console.print(line, soft_wrap=True)

    def hint(self, line: str) -> None:
        self.note(line)

    def write(self, status: RunStatus) -> None:
        self.console.print(status_line(status), soft_wrap=True)


class JsonProgress(LinesDisplay):
    """Progress as JSON lines: one status per line, see `gristmill.pipeline.running.status.RunStatus`.

    Args:
        stream: text stream that lines go to.
        beside: a display for people that shows the same run.
    """

    def __init__(
        self,
        stream: IO[str],
        beside: Display | None = None,
        now: Callable[[], float] = time.monotonic,
        seconds: float = JSON_SECONDS,
    ) -> None:
        super().__init__(seconds, now)
        self.stream, self.beside = stream, beside or Display()

    def __enter__(self) -> JsonProgress:
        self.beside.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self.beside.__exit__(kind, error, trace)

    def note(self, line: str) -> None:
        self.beside.note(line)

    def hint(self, line: str) -> None:
        self.beside.hint(line)

    def follow(self, read: Callable[[], RunStatus]) -> None:
        self.beside.follow(read)
        super().follow(read)

    def __call__(self, progress: Progress) -> None:
        self.beside(progress)
        super().__call__(progress)

    def write(self, status: RunStatus) -> None:
        from gristmill.pipeline.provenance.values import to_json

        self.stream.write(json.dumps(to_json(status), allow_nan=False) + "\n")
        self.stream.flush()


class LiveProgress(Display):
    """Progress as a screen that is redrawn: a bar, figures, documents by node, what is slow or failed."""

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        from rich.live import Live

        super().__init__()
        self.console, self._now, self._begin = console, now, now()
        self._note = ""
        self._hint = ""
        self._most = 0.0
        self._live = Live(console=console, refresh_per_second=4, transient=True, get_renderable=self._render)

    def __enter__(self) -> LiveProgress:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def note(self, line: str) -> None:
        self._note = line

    def hint(self, line: str) -> None:
        self._hint = line

    def _render(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        status = self.read() if self.read is not None else None
        if status is None or status.step == "starting":
            passed = duration(self._now() - self._begin)
            shown: list[Any] = [
                Text(f"{self._note or 'starting'} … {passed}", style="dim", no_wrap=True, overflow="ellipsis")
            ]
        else:
            shown = screen(status, self._share(status))
        if self._hint and (status is None or (not status.done and status.pass_ == 1)):
            shown.insert(1, Text(f"  {self._hint}", style="dim", no_wrap=True, overflow="ellipsis"))
        return Group(*shown)

    def _share(self, status: RunStatus) -> float:
        """Of the whole run, by time; it never goes back."""
        share = status.done / max(1, status.tasks) / max(1, status.passes)
        if status.left is not None and status.elapsed + status.left > 0:
            share = status.elapsed / (status.elapsed + status.left)
        self._most = max(self._most, share)
        return self._most


def progress_display(console: Console, *, quiet: bool = False) -> Display:
    """The display that suits a console."""
    if quiet:
        return Display()
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)
