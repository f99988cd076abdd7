"""How a worker has the driver told that it compiles kernels: a file in the work folder, which the driver looks for."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

from gristmill.pipeline.errors import StorageError
from gristmill.pipeline.kernel_cache import compiling_told
from gristmill.pipeline.storage import join, put, read_small, remove

NAME = "compiling"
"""The file, beside the run's other files: about how many seconds it takes."""

_PUT_SECONDS = 5.0
_MOST_SECONDS = 1e5


def compiling_said(folder: str) -> AbstractContextManager[None]:
    """Within, in a worker, the driver is told when the first kernel is compiled. Its own process it has told by itself.

    Args:
        folder: of the run's files in its work folder.
    """

    def tell(seconds: float) -> None:
        with contextlib.suppress(OSError, StorageError):  # it is only looked at
            put(join(folder, NAME), f"{seconds:.1f}".encode(), seconds=_PUT_SECONDS)

    return compiling_told(tell)


def compiling(folder: str) -> float | None:
    """About how many seconds a worker compiles; None where none has said so."""
    with contextlib.suppress(OSError, StorageError, ValueError):
        found = read_small(join(folder, NAME), 100)
        if found is not None and 0 <= (seconds := float(found)) <= _MOST_SECONDS:
            return seconds
    return None


def forget(folder: str) -> None:
    """Removes what was said in an earlier attempt."""
    with contextlib.suppress(OSError, StorageError):
        remove(join(folder, NAME))
