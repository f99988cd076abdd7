"""The attempt folder of an output: everything is written there first, and moved to its place when all of it is there.

It bears the run's key, so a run that goes on finds what it wrote, and no other run does. Before anything is moved, the list
of what will be stands in it: by that, and by nothing else, a run knows its own files again in a half-published output.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gristmill.pipeline.errors import ConservationError, StorageError
from gristmill.pipeline.lease import is_claim
from gristmill.pipeline.storage import (
    exists,
    folders_synced_once,
    join,
    list_files,
    move,
    read_small,
    sha256_of,
    size_of,
    write_checked,
)

if TYPE_CHECKING:
    from gristmill.pipeline.executor import Executor
    from gristmill.pipeline.planning.graph import Output
    from gristmill.pipeline.planning.plan import Plan

PUBLISHED = "published.json"
"""In an attempt folder: path in the output → SHA-256 of every file that was, or may have been, moved there."""

_ATTEMPT = re.compile(r"\.gristmill-attempt-[0-9a-f]{32}\Z")
_MOST = 1 << 30
_AT_ONCE = 64
"""Files that one task moves."""


def attempt_name(run: str) -> str:
    """Name of a run's attempt folder, directly in each output."""
    return f".gristmill-attempt-{run[:32]}"


def is_attempt(name: object) -> bool:
    """Whether a name, from wherever, can be that of an attempt folder."""
    return isinstance(name, str) and _ATTEMPT.match(name) is not None


def attempt_folder(plan: Plan, output: Output) -> str:
    """Where a run writes an output until it is published."""
    return join(output.config.path, attempt_name(plan.key))


def is_written(folder: str, attempt: str, path: str, sha256: str, size: int) -> bool:
    """Whether a file is there byte for byte, in the attempt folder or already in its place."""
    return any(
        size_of(location) == size and sha256_of(location) == sha256
        for location in (join(attempt, path), join(folder, path))
    )


def published_before(attempt: str) -> dict[str, list[str]]:
    """What an interrupted publishing of this run may have moved: path → digests. Empty when there was none."""
    data = read_small(join(attempt, PUBLISHED), _MOST)
    if data is None:
        return {}
    try:
        return {str(path): [str(sha256) for sha256 in digests] for path, digests in json.loads(data).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise StorageError(
            f"{join(attempt, PUBLISHED)}: this is not what a run writes ({error}). Remove the folder {attempt}, and run again."
        ) from error


@dataclass(frozen=True)
class _Move:
    """Files to be moved: (path, SHA-256, digests that a file of this run in that place may have)."""

    folder: str
    attempt: str
    files: tuple[tuple[str, str, tuple[str, ...]], ...]


def publish(folder: str, attempt: str, files: Mapping[str, str], last: Mapping[str, str], executor: Executor) -> None:
    """Moves files from the attempt folder to their places in the output.

    Args:
        files: path → SHA-256 of what is moved now.
        last: of what will be moved last (`publish_last`), since it says that the output exists.

    Raises StorageError for a file in the way, or beside them, that is not this run's; ConservationError when one of its
    own is gone.
    """
    earlier = published_before(attempt)
    listed = {path: sorted({sha256, *earlier.get(path, ())}) for path, sha256 in {**files, **last}.items()}
    body = json.dumps(listed, sort_keys=True).encode()
    write_checked(join(attempt, PUBLISHED), lambda stream: stream.write(body))
    jobs = [_Move(folder, attempt, some) for some in _chunks([(p, s, tuple(listed[p])) for p, s in files.items()])]
    for _ in executor.run(move_files, jobs):
        pass
    inside = attempt.removeprefix(folder.rstrip("/") + "/") + "/"
    strays = [p for p in list_files(folder) if p not in listed and not p.startswith(inside) and not is_claim(p)]
    if strays:
        raise StorageError(
            f"{folder}: `{strays[0]}` is not this run's ({len(strays)} such files), and nothing of somebody else's is removed. "
            "Move it elsewhere, and run the same command again."
        )


def publish_last(folder: str, attempt: str, path: str, sha256: str) -> None:
    """Moves the file that says that an output exists."""
    move_files(_Move(folder, attempt, ((path, sha256, tuple(published_before(attempt)[path])),)))


def move_files(job: _Move) -> None:
    """Moves some files. One that was moved by an interrupted attempt is left where it is."""
    with folders_synced_once():
        _move_files(job)


def _move_files(job: _Move) -> None:
    for path, sha256, own in job.files:
        source, target = join(job.attempt, path), join(job.folder, path)
        there = exists(target)
        found = sha256_of(target) if there else None
        if not exists(source):
            if found != sha256:
                raise ConservationError(
                    f"{source}: the file that was written is gone, and {target} is not it (expected SHA-256 {sha256}, found "
                    f"{found}). Run the same command again."
                )
            continue
        if there and found not in own:
            raise StorageError(
                f"{target}: a file that is not this run's is in the way (SHA-256 {found}), and nothing of somebody else's is "
                "replaced. Move it elsewhere, and run the same command again."
            )
        move(source, target, sha256)


def _chunks(files: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    for start in range(0, len(files), _AT_ONCE):
        yield tuple(files[start : start + _AT_ONCE])
