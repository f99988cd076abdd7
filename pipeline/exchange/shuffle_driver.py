"""The shuffle as its driver sees it: one round or two, tasks on an executor, and rows that are counted on their way.

Totals of partitions do not pass through here: they lie in the blocks of indexes. What passes is one total for each task.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from gristmill.pipeline.errors import ConservationError, StorageError
from gristmill.pipeline.exchange import Prepare, Rows
from gristmill.pipeline.exchange.partition_files import Block, PartitionFile, mismatch, parts_path
from gristmill.pipeline.exchange.row_files import RowFile
from gristmill.pipeline.exchange.shuffle import (
    IndexTask,
    MapTask,
    MergeTask,
    Partitioner,
    ReduceResult,
    ReduceTask,
    map_path,
    row_bytes,
    run_index,
    run_map,
    run_merge,
)
from gristmill.pipeline.exchange.shuffle_plan import (
    Cost,
    Layout,
    Rounds,
    chunk_bytes,
    cost,
    in_chunks,
    index_blocks,
    layout,
    rounds,
)
from gristmill.pipeline.executor import Executor
from gristmill.pipeline.executor.function_names import reference
from gristmill.pipeline.storage import is_remote, join, local, remove, sizes_of

Payload = TypeVar("Payload")
Result = TypeVar("Result")

DEFAULT_BUDGET = 384 << 20


@dataclass(frozen=True)
class Shuffled:
    """Rows that lie on storage by partition.

    Attributes:
        pieces, kind: folder and kind of the files.
        each: partitions that are indexed together; `blocks` has a tuple for each such range.
        together: partitions of a reduce task.
        count, key_sum: rows and Σ doc_key mod 2^128 that the map tasks wrote.
    """

    step: str
    name: str
    pieces: str
    kind: str
    schema: pa.Schema
    partitions: int
    each: int
    together: int
    blocks: tuple[tuple[Block, ...], ...]
    count: int
    key_sum: int


class Shuffle:
    """Steps in one folder, tasks on an executor, and shuffles: what the operators use.

    Args: see `pipeline.exchange.file_exchange.FileExchange`.

    Attributes:
        costs: what each shuffle so far was to cost, by its plan.
    """

    def __init__(
        self,
        executor: Executor,
        folder: Path | str,
        budget_bytes: int = DEFAULT_BUDGET,
        partition_bytes: int | None = None,
        disk_bytes: int | None = None,
        map_bytes: int | None = None,
    ) -> None:
        self.executor = executor
        self.folder = str(folder).rstrip("/")
        self.budget_bytes = budget_bytes
        self.partition_bytes = partition_bytes or max(1, budget_bytes // 2)
        # In two rounds rows lie there twice for a while, and what a fold makes of them once more.
        self.disk_bytes = free_bytes(self.folder) // 3 if disk_bytes is None else disk_bytes
        self.map_bytes = map_bytes
        self.costs: list[Cost] = []
        self._steps = 0

    def release(self, rows: Rows) -> None:
        """Remove the files of a result of this exchange that will not be read again."""
        # A folder holds the files of one result: a listing and a bulk delete instead of a request for each.
        for folder in dict.fromkeys(path.rpartition("/")[0] for path in rows.files):
            if folder.startswith(f"{self.folder}/"):
                remove(folder)

    def step(self, kind: str) -> str:
        """A fresh folder for the next operator; what an interrupted run left there is removed."""
        step = join(self.folder, f"{self._steps:04d}-{kind}")
        self._steps += 1
        remove(step)
        if not is_remote(step):
            try:
                local(step).mkdir(parents=True)
            except OSError as error:
                raise StorageError(f"cannot make {step}: {error}. Fix the work folder and run again.") from error
        return step

    def split(
        self,
        step: str,
        rows: Rows,
        schema: pa.Schema,
        partitioner: Partitioner,
        prepare: Prepare | None = None,
        prepare_params: Mapping[str, Any] | None = None,
        expansion: int = 1,
    ) -> Shuffled:
        """Rows by partition on storage: map tasks, index tasks, and merge tasks where pieces would be too small."""
        partitions = partitioner.partitions
        sizes = file_sizes(rows.files)
        plan = layout(
            sum(sizes), rows.count * expansion * row_bytes(schema), partitions, self.budget_bytes, self.map_bytes
        )
        pieces = f"{step}/pieces"
        tasks = [
            MapTask(
                number=number,
                inputs=inputs,
                schema=rows.schema,
                prepared=schema,
                prepare=reference(prepare) if prepare is not None else None,
                prepare_params=dict(prepare_params or {}),
                partitioner=partitioner,
                cells=plan.cells,
                path=map_path(pieces, number),
                chunk_bytes=chunk_bytes(self.budget_bytes),
                together=not in_chunks(plan.cells, self.budget_bytes),
            )
            for number, inputs in enumerate(map_inputs(rows.files, sizes, plan.map_bytes))
        ]
        results = self.run(run_map, tasks)
        self.check_read(rows, sum(result.rows for result in results))
        files = [result.file for result in results]
        count, key_sum = sum(file.rows for file in files), sum(file.key_sum for file in files) % (1 << 128)
        sources, written = sum(file.sources for file in files), sum(file.data_bytes for file in files)
        chosen = rounds(plan, len(files), sources, written, self.budget_bytes)
        runs = _runs(files, index_blocks(plan, chosen, sources, self.budget_bytes) if count else 0)
        blocks = self._indexed(pieces, "map", plan.cells, runs)
        self.costs.append(cost(plan, chosen, _parts(sizes, plan.map_bytes), len(files), sources, len(blocks), written))
        name = step.rpartition("/")[2]
        shuffled = Shuffled(
            step, name, pieces, "map", schema, partitions, partitions, chosen.together, (tuple(blocks),), count, key_sum
        )
        if not chosen.groups or not count:
            return shuffled
        merged = self._merged(shuffled, plan, chosen, partitioner)
        remove(pieces)
        return merged

    def _indexed(self, pieces: str, kind: str, cells: int, runs: Sequence[Sequence[PartitionFile]]) -> list[Block]:
        tasks = [
            IndexTask(tuple(files), cells, pieces, kind, f"{pieces}/index-{number:05d}")
            for number, files in enumerate(runs)
        ]
        return self.run(run_index, tasks)

    def _merged(self, shuffled: Shuffled, plan: Layout, chosen: Rounds, partitioner: Partitioner) -> Shuffled:
        """The second round. Raises ConservationError unless all rows came through it."""
        folder = f"{shuffled.step}/merged"
        cells = plan.cells // chosen.groups
        width = plan.partitions // plan.cells
        blocks = shuffled.blocks[0]
        tasks = [
            MergeTask(
                number=group * len(blocks) + index,
                block=block,
                first=group * cells,
                stop=(group + 1) * cells,
                width=width,
                pieces=shuffled.pieces,
                schema=shuffled.schema,
                partitioner=partitioner,
                path=parts_path(folder, "merge", group * len(blocks) + index),
                chunk_bytes=chunk_bytes(self.budget_bytes),
                together=not in_chunks(cells * width, self.budget_bytes),
            )
            for group in range(chosen.groups)
            for index, block in enumerate(blocks)
        ]
        files = self.run(run_merge, tasks)
        found = sum(file.rows for file in files), sum(file.key_sum for file in files) % (1 << 128)
        if found != (shuffled.count, shuffled.key_sum):
            raise mismatch(shuffled.name, shuffled.count, shuffled.key_sum, *found)
        groups = [files[at : at + len(blocks)] for at in range(0, len(files), len(blocks))]
        gathered = self._indexed(folder, "merge", cells * width, groups)
        return replace(
            shuffled, pieces=folder, kind="merge", each=cells * width, blocks=tuple((block,) for block in gathered)
        )

    def reduced(
        self,
        function: Callable[[ReduceTask], ReduceResult],
        shuffled: Shuffled,
        *,
        sort: tuple[str, ...],
        fold: str,
        params: Mapping[str, Any],
    ) -> list[ReduceResult]:
        """Reduce tasks over all partitions; then partition files are removed. Raises ConservationError unless they read
        what the map tasks wrote."""
        tasks = [
            ReduceTask(
                part=part,
                first=part % shuffled.each,
                stop=part % shuffled.each + shuffled.together,
                blocks=shuffled.blocks[part // shuffled.each],
                pieces=shuffled.pieces,
                kind=shuffled.kind,
                schema=shuffled.schema,
                sort=sort,
                fold=fold,
                params=dict(params),
                path=f"{shuffled.step}/part-{part:05d}.arrow",
                budget_bytes=self.budget_bytes,
            )
            for part in range(0, shuffled.partitions if shuffled.count else 0, shuffled.together)
        ]
        results = self.run(function, tasks)
        found = sum(result.rows for result in results), sum(result.key_sum for result in results) % (1 << 128)
        if found != (shuffled.count, shuffled.key_sum):
            raise mismatch(shuffled.name, shuffled.count, shuffled.key_sum, *found)
        remove(shuffled.pieces)
        return results

    def inputs(self, rows: Rows) -> list[tuple[RowFile, ...]]:
        """Parts of the rows' files for tasks that read them, in order, sized by the budget."""
        return map_inputs(rows.files, file_sizes(rows.files), max(1, self.budget_bytes // 4))

    def check_read(self, rows: Rows, read: int) -> None:
        """Raises ConservationError unless all rows of a handle were read."""
        if read != rows.count:
            first = f" (the first: {rows.files[0]})" if rows.files else ""
            raise ConservationError(
                f"{rows.count} rows were handed to the exchange in {len(rows.files)} files{first}, but {read} were read "
                "from them. A file was changed, lost or doubled after it was written; run again with an empty work "
                "folder."
            )

    def run(self, function: Callable[[Payload], Result], tasks: Sequence[Payload]) -> list[Result]:
        """Results in the order of the tasks, each there exactly once."""
        found: dict[int, Result] = {}
        for index, result in self.executor.run(function, tasks):
            if index in found:
                raise ConservationError(f"the executor gave the result of task {index} of {function.__name__} twice")
            found[index] = result
        if len(found) != len(tasks):
            raise ConservationError(f"{function.__name__}: {len(tasks)} tasks were started, {len(found)} came back")
        return [found[index] for index in range(len(tasks))]


def free_bytes(folder: str) -> int:
    """Bytes free on the file system of a folder that need not be there yet; an object store has no end."""
    if is_remote(folder):
        return 1 << 62
    path = local(folder)
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def file_sizes(files: Sequence[str]) -> list[int]:
    """Bytes of each file. Raises StorageError for a missing file."""
    sizes = []
    for path, size in zip(files, sizes_of(files), strict=True):
        if size is None:
            raise StorageError(
                f"{path} is missing; it held rows that the exchange needs. Run again: the task that wrote it is repeated."
            )
        sizes.append(size)
    return sizes


def map_inputs(files: Sequence[str], sizes: Sequence[int], target: int) -> list[tuple[RowFile, ...]]:
    """Inputs of map tasks: small files together, large ones in parts, by size on storage."""
    tasks: list[tuple[RowFile, ...]] = []
    waiting: list[RowFile] = []
    held = 0
    for path, size in zip(files, sizes, strict=True):
        if held and held + size > target:
            tasks.append(tuple(waiting))
            waiting, held = [], 0
        if size <= target:
            waiting.append(RowFile(path, size))
            held += size
            continue
        parts = -(-size // target)
        tasks.extend((RowFile(path, size, part, parts),) for part in range(parts))
    if waiting:
        tasks.append(tuple(waiting))
    return tasks


def _runs(files: Sequence[PartitionFile], count: int) -> list[Sequence[PartitionFile]]:
    """The files in at most `count` runs of about equally many."""
    bounds = [len(files) * number // max(1, count) for number in range(count + 1)]
    return [files[start:stop] for start, stop in pairwise(bounds) if start < stop]


def _parts(sizes: Sequence[int], target: int) -> list[tuple[int, int]]:
    """Bytes of each input file, and in how many parts `map_inputs` has it read."""
    return [(size, max(1, -(-size // target))) for size in sizes]
