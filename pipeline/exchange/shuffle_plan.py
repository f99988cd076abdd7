"""How a shuffle goes, as a function of sizes alone: rounds and fan-ins, and what they cost in requests, bytes and disk.

In one round each reduce task reads its partition out of every map task's file: map tasks × partitions pieces, which become
small when both are many. In two rounds map tasks split rows into cells (ranges of neighbouring partitions), merge tasks
read a group of cells out of some of the map files and split it into partitions, and reduce tasks read their partition
out of the few files of their group. A row is then written and read twice, in pieces of about `piece_bytes`.

With pieces of size s, a map task must write √P·s bytes for P partitions, and so must a merge task: 256 MiB for 65,536.
What does not fit memory is put in order on local disk first (see `partition_files`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

PIECES_PER_BUDGET = 384
"""A piece that is read by itself is about this part of the budget: 1 MiB of the default."""
WRITE_PART = 16 << 20
"""Bytes of one request of an upload in parts; what is not larger than two of them is put with one."""
READ_PART = 8 << 20
"""Most bytes of one read."""
MAX_CELLS = 1 << 10
"""Most parts that a task splits rows into, where it can be avoided: each takes a buffer and an entry of the index."""

MAX_PARTITIONS = 1 << 20
"""Most partitions of a shuffle."""

SORT_BYTES = 96
"""Bytes per row, beside the row itself, that sorting needs at its peak: bit strings, radix buffers, order."""

_FULL = 0.9
"""Pieces of an average this close to their size are full enough: sizes are powers of two, data are not."""


@dataclass(frozen=True)
class Layout:
    """What is decided before the map tasks, from rows and columns.

    Attributes:
        map_bytes: bytes of input files that a map task reads, about.
        partitions, cells: a power of two each; a map task's file has `cells` parts of partitions // cells partitions.
    """

    map_bytes: int
    partitions: int
    cells: int


@dataclass(frozen=True)
class Rounds:
    """What is decided after the map tasks, from what they wrote.

    Attributes:
        groups: merge tasks split the cells of one of so many groups into partitions; 0 when there is no such round.
        merges: merge tasks of each group; each reads the group out of 1/merges of the map files.
        together: neighbouring partitions of a reduce task, a power of two: more than one where they are small.
    """

    groups: int
    merges: int
    together: int


@dataclass(frozen=True)
class Cost:
    """Requests, bytes and disk of a shuffle, from reading its input to reading its partitions; `tasks` of all kinds."""

    tasks: int
    gets: int
    puts: int
    read_bytes: int
    written_bytes: int
    disk_bytes: int


def piece_bytes(budget: int) -> int:
    """Bytes aimed at for a piece, from the budget of the exchange."""
    return max(1, budget // PIECES_PER_BUDGET)


def layout(input_bytes: int, row_bytes: int, partitions: int, budget: int, map_bytes: int | None = None) -> Layout:
    """The layout for `input_bytes` of files that give `row_bytes` of rows; `map_bytes`, if given, is taken as it is."""
    piece = piece_bytes(budget)
    growth = max(row_bytes, 1) / max(input_bytes, 1)
    usual = max(1, budget // 4)
    # One round is tried with map tasks as large as the budget; two need √P pieces of each.
    widest = int(_FULL * math.sqrt(partitions) * piece)
    wanted = [map_bytes] if map_bytes else [usual, *(max(usual, int(size / growth)) for size in (budget, widest))]
    for target in wanted:
        maps = max(1, -(-input_bytes // target))
        if partitions == 1 or maps * partitions <= 2 * row_bytes // piece + maps + partitions:
            return Layout(target, partitions, partitions)
    written = row_bytes / maps
    cells = 1 << max(0, math.ceil(math.log2(max(1.0, written / piece / _FULL))))
    return Layout(target, partitions, min(partitions, MAX_CELLS, cells))


def rounds(plan: Layout, maps: int, sources: int, written_bytes: int, budget: int) -> Rounds:
    """The rounds after `maps` map tasks that wrote `written_bytes` in `sources` parts (a file has one, or one per chunk)."""
    piece = piece_bytes(budget)
    full = written_bytes / piece / _FULL
    # Partitions of less than half a piece share a task: `prepare` may drop most rows, so less may come than was planned.
    together = _power_below(plan.partitions * piece / max(1, 2 * written_bytes), plan.partitions)
    if plan.cells == plan.partitions:
        while sources * plan.partitions // together > 2 * full + sources + plan.partitions // together:
            together *= 2
        return Rounds(0, 0, min(together, plan.partitions))
    groups = plan.cells
    while groups > 1 and sources * groups > full + sources:
        groups //= 2
    # Merge tasks are as many as pieces allow, and no smaller than what a task holds at once.
    most = math.ceil(written_bytes / groups / chunk_bytes(budget))
    merges = max(1, min(most, maps, int((full + plan.partitions) / plan.partitions)))
    return Rounds(groups, merges, min(together, plan.partitions // groups))


def chunk_bytes(budget: int) -> int:
    """Bytes of rows that a map or merge task holds before it splits them: at the peak it takes about six times as much."""
    return max(1, budget // 8)


def in_chunks(cells: int, budget: int) -> bool:
    """Whether a task may write its chunks as they are: each makes a piece of every cell. Else they are put together."""
    return chunk_bytes(budget) >= cells * piece_bytes(budget) // 2


def _power_below(value: float, most: int) -> int:
    """The largest power of two that is neither above `value` nor above `most`, a power of two; at least 1."""
    return min(most, 1 << max(0, math.floor(math.log2(max(1.0, value)))))


def cost(
    plan: Layout,
    chosen: Rounds,
    inputs: Iterable[tuple[int, int]],
    maps: int,
    sources: int,
    blocks: int,
    written_bytes: int,
) -> Cost:
    """What a shuffle costs until its partitions are read; what the fold makes of them comes on top.

    Args:
        inputs: bytes of each input file, and how many map tasks read it.
        maps, sources, written_bytes: of the map tasks, as for `rounds`.
        blocks: objects that the maps' indexes were gathered in.
    """
    listed = list(inputs)
    reduces = plan.partitions // chosen.together
    input_bytes = sum(size for size, _ in listed)
    entries = ENTRY_BYTES * sources * plan.cells
    # Each map file's index is read once; then whoever reads pieces reads a row of each block.
    gets = sum(row_file_gets(size, parts) for size, parts in listed) + maps
    puts = (
        maps * put_requests(written_bytes / max(1, maps)) + blocks * put_requests(entries / max(1, blocks))
        if maps
        else 0
    )
    moved = 3 * entries
    if not chosen.groups:
        pieces = sources * reduces
        gets += blocks * reduces + pieces * get_requests(written_bytes / max(1, pieces))
        return Cost(
            tasks=maps + blocks + reduces,
            gets=gets,
            puts=puts,
            read_bytes=input_bytes + written_bytes + moved,
            written_bytes=written_bytes + moved,
            disk_bytes=written_bytes + 2 * entries,
        )
    tasks = chosen.groups * chosen.merges
    first, second = sources * chosen.groups, chosen.merges * reduces
    merged_entries = ENTRY_BYTES * chosen.merges * plan.partitions
    gets += 2 * tasks + reduces
    gets += first * get_requests(written_bytes / max(1, first)) + second * get_requests(written_bytes / second)
    puts += tasks * put_requests(written_bytes / tasks) + chosen.groups * put_requests(merged_entries / chosen.groups)
    moved += 3 * merged_entries
    return Cost(
        tasks=maps + blocks + tasks + chosen.groups + reduces,
        gets=gets,
        puts=puts,
        read_bytes=input_bytes + 2 * written_bytes + moved,
        written_bytes=2 * written_bytes + moved,
        disk_bytes=2 * written_bytes + 2 * (entries + merged_entries),
    )


def partitions_for(rows: int, row_bytes: int, partition_bytes: int) -> int:
    """Partitions of a shuffle, a power of two, from rows and columns alone: neither workers nor the files' number and sizes
    enter. `row_bytes`: of a row while it is sorted."""
    wanted = -(-rows * row_bytes // partition_bytes)
    return min(MAX_PARTITIONS, 1 << max(0, wanted - 1).bit_length())


def foreseen(
    input_bytes: int, file_bytes: int, written_bytes: int, partitions: int, budget: int, kept: float = 1.0
) -> tuple[Layout, Rounds, Cost]:
    """How a shuffle will go whose map tasks write what they should, or the share `kept` of it.

    Args:
        input_bytes, file_bytes: of all its input files, and of each.
        written_bytes: of all rows.
    """
    plan = layout(input_bytes, written_bytes, partitions, budget)
    files = max(1, input_bytes // max(1, file_bytes))
    # As `map_inputs` puts files together, and cuts large ones.
    parts = max(1, -(-file_bytes // plan.map_bytes))
    maps = -(-files // max(1, plan.map_bytes // max(1, file_bytes))) * parts
    written = max(1, int(written_bytes * kept))
    chunks = max(1, -(-written // maps // chunk_bytes(budget)))
    sources = maps * (chunks if in_chunks(plan.cells, budget) else 1)
    chosen = rounds(plan, maps, sources, written, budget)
    blocks = index_blocks(plan, chosen, sources, budget)
    return plan, chosen, cost(plan, chosen, [(file_bytes, parts)] * files, maps, sources, blocks, written)


def index_blocks(plan: Layout, chosen: Rounds, sources: int, budget: int) -> int:
    """Objects for the indexes of map files: one for each merge task of a group, or as many as memory asks for."""
    if chosen.groups:
        return chosen.merges
    return max(1, -(-sources * plan.cells * ENTRY_BYTES // max(1, budget // 8)))


ENTRY_BYTES = 56
"""Of an index: file, offset, length, rows, two halves of Σ doc_key, checksum."""
FOOTER_BYTES = 1 << 16
"""Read from the end of a row file that is too large to be read at once."""


def put_requests(size: float) -> int:
    """Requests that write an object: one, or its parts and two that begin and end them."""
    return 1 if size <= 2 * WRITE_PART else math.ceil(size / WRITE_PART) + 2


def get_requests(size: float) -> int:
    """Requests that read a span of bytes."""
    return max(1, math.ceil(size / READ_PART))


def row_file_gets(size: int, parts: int = 1) -> int:
    """Requests that read a row file once, in `parts`: its footer for each part, and its bytes."""
    if size <= READ_PART:
        return parts
    return parts + parts * get_requests(size / parts)
