"""Small files share a task: consecutive ones of a source become one slice, by a rule over their sizes and order alone.

A task costs the same however little it reads: opening, committing, files of its own. Ten thousand files of 100 kB in as many
tasks would cost more than their text does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from gristmill.pipeline.hashing import digest
from gristmill.pipeline.source import Slice, SourceConfig

FILES_ALONE = 32
"""A source of so many files, or fewer, has a task for each: a small run divides among workers then."""
FEW_FILES = 64
"""A source of so many files, or fewer, still has about TASKS_OF_FEW tasks, or more."""
TASKS_OF_FEW = 16
SLICE_OF_FEW = 8 << 20
"""Bytes that a slice of such a source stores at most, if it has several files. A task of three passes costs as much CPU time as
a stored megabyte of text in five stages: in larger slices than these there is little left to save."""
MOST_FILES = 4096
MOST_EXPANSION = 8
"""Times the bytes that a slice may store that its files have uncompressed, at most."""
MOST_ROWS = 250_000


def together(slices: Sequence[Slice], config: SourceConfig) -> list[Slice]:
    """The slices of a source, with runs of small files as one slice each.

    Files are taken in plan order, whole ones only, until the next would bring a slice above `slice_bytes` as stored, above
    MOST_EXPANSION times that uncompressed, above MOST_ROWS documents or above MOST_FILES. Where there are few, SLICE_OF_FEW is
    the most, and a slice ends with the file in which a sixteenth of the source does. Slices of parts of a file, and those in
    which a source put files or records together itself, stay as they are.
    """
    parts = Counter(one.path for one in slices)
    if len(parts) <= FILES_ALONE:
        return list(slices)
    few, total = len(parts) <= FEW_FILES, sum(one.bytes for one in slices) or 1
    most = min(config.slice_bytes, SLICE_OF_FEW) if few else config.slice_bytes
    found: list[Slice] = []
    run: list[Slice] = []
    stored = expanded = rows = before = begun = 0
    for one in slices:
        whole = parts[one.path] == 1 and not one.files and not one.records
        stored, expanded, rows = stored + one.bytes, expanded + (one.expanded or one.bytes), rows + one.rows
        full = stored > most or expanded > MOST_EXPANSION * most or rows > MOST_ROWS
        full = full or (few and before * TASKS_OF_FEW // total != begun * TASKS_OF_FEW // total)
        if run and (full or not whole or len(run) == MOST_FILES):
            found.append(_joined(run))
            run = []
        if not run:
            stored, expanded, rows, begun = one.bytes, one.expanded or one.bytes, one.rows, before
        before += one.bytes
        if whole:
            run.append(one)
        else:
            found.append(one)
    return [*found, _joined(run)] if run else found


def _joined(run: Sequence[Slice]) -> Slice:
    """One slice of some. Its path is the first file's; its part says how many there are, and has a digest of all."""
    if len(run) == 1:
        return run[0]
    first = run[0]
    return Slice(
        first.source,
        first.path,
        first.location,
        {"files": len(run), "names": names_digest([(one.path, one.part, one.file_bytes) for one in run])},
        sum(one.bytes for one in run),
        sum(one.file_bytes for one in run),
        digest("gristmill.stamps", [one.stamp for one in run]),
        sum(one.expanded or one.bytes for one in run),
        sum(one.rows for one in run),
        members=tuple(run),
    )


def names_digest(files: Sequence[tuple[str, dict[str, int], int]]) -> int:
    """The first 60 bits of a digest of files by path, part and bytes: what stands in the part of a slice of several."""
    names = [[path, sorted(part.items()), size] for path, part, size in files]
    return int(digest("gristmill.files", names)[:15], 16)
