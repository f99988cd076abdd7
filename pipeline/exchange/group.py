"""`group` over files, and what every operator rests on: steps in one folder, tasks on an executor, rows that are counted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import DOC_KEY, KEY_TYPE
from gristmill.pipeline.errors import ConservationError, ContractError, StorageError
from gristmill.pipeline.exchange import Fold, Prepare, Rows
from gristmill.pipeline.exchange.function_names import reference, resolve
from gristmill.pipeline.exchange.row_files import add_totals, batch_count
from gristmill.pipeline.exchange.shuffle import (
    SORT_BYTES,
    MapResult,
    MapTask,
    Partitioner,
    ReduceResult,
    check_schema,
    map_path,
    reduce_tasks,
    row_bytes,
    run_fold,
    run_map,
)
from gristmill.pipeline.executor import Executor

Payload = TypeVar("Payload")
Result = TypeVar("Result")

DEFAULT_BUDGET = 384 << 20
MAX_PARTITIONS = 1 << 16


class GroupExchange:
    """`group` through files in one folder, and the steps, tasks and checks that the other operators use.

    Args: see `pipeline.exchange.file_exchange.FileExchange`.
    """

    def __init__(
        self,
        executor: Executor,
        folder: Path | str,
        budget_bytes: int = DEFAULT_BUDGET,
        partition_bytes: int | None = None,
        disk_bytes: int | None = None,
    ) -> None:
        self.executor = executor
        self.folder = Path(folder)
        self.budget_bytes = budget_bytes
        self.partition_bytes = partition_bytes or max(1, budget_bytes // 2)
        self.disk_bytes = free_bytes(self.folder) // 2 if disk_bytes is None else disk_bytes
        self._steps = 0

    def group(
        self,
        rows: Rows,
        key: Sequence[str],
        fold: Fold,
        params: Mapping[str, Any] | None = None,
        *,
        sort: Sequence[str] | None = None,
        prepare: Prepare | None = None,
        prepare_params: Mapping[str, Any] | None = None,
        expansion: int = 1,
    ) -> Rows:
        """Partition by `key`, sort each partition by (key…, doc_key, the other columns), and fold it.

        Args:
            rows: what to group. Key columns are integers, strings or (fixed-size) binary.
            key: columns that name a group; rows with null there form a group of their own, sorted first.
            fold: see `pipeline.exchange.Fold`. Called once per partition that has rows; a fold over no rows at all is
                called once with an empty table, to learn its columns.
            sort: columns to sort by instead; they begin with the key.
            prepare: applied to rows as they are read, so that rows made from notes (14 bands each) never lie on disk
                as input. `doc_key` may come from it.
            expansion: about how many rows `prepare` makes of one; sets the number of partitions.

        Raises ContractError for functions that cannot travel, wrong key columns and folds that break their contract;
        ConservationError when rows were lost or doubled; StorageError when a file is missing or damaged.
        """
        found, _ = self.group_with_tally(
            rows, key, fold, params, sort=sort, prepare=prepare, prepare_params=prepare_params, expansion=expansion
        )
        return found

    def group_with_tally(
        self,
        rows: Rows,
        key: Sequence[str],
        fold: Fold,
        params: Mapping[str, Any] | None = None,
        *,
        sort: Sequence[str] | None = None,
        prepare: Prepare | None = None,
        prepare_params: Mapping[str, Any] | None = None,
        expansion: int = 1,
    ) -> tuple[Rows, int]:
        """`group`, and the sum of the integers that the folds returned (a generator's return value)."""
        name = reference(fold)
        schema = self.checked_schema(rows, prepare, prepare_params)
        check_keys(schema, key)
        if sort is None:
            sort = (*key, DOC_KEY) if DOC_KEY in schema.names and DOC_KEY not in key else tuple(key)
        step = self.step("group")
        partitions = self.partitions(rows.count * expansion, schema)
        partitioner = Partitioner(tuple(key), partitions)
        maps, totals = self.split(step, rows, schema, partitioner, prepare, prepare_params)
        tasks = reduce_tasks(
            step, maps, totals, schema, sort=sort, fold=name, params=params or {}, budget_bytes=self.budget_bytes
        )
        results = self.run(run_fold, tasks)
        shutil.rmtree(step / "pieces")
        return self._gathered(results, name, schema, params), sum(result.tally for result in results)

    def release(self, rows: Rows) -> None:
        """Remove the files of a result of this exchange that will not be read again."""
        for path in rows.files:
            if self.folder in Path(path).parents:
                Path(path).unlink(missing_ok=True)

    def step(self, kind: str) -> Path:
        """A fresh folder for the next operator; what an interrupted run left there is removed."""
        step = self.folder / f"{self._steps:04d}-{kind}"
        self._steps += 1
        if step.exists():
            shutil.rmtree(step)
        try:
            step.mkdir(parents=True)
        except OSError as error:
            raise StorageError(f"cannot make {step}: {error}. Fix the work folder and run again.") from error
        return step

    def partitions(self, rows: int, schema: pa.Schema) -> int:
        """Power of two, from rows and columns alone: neither workers nor the files' number and sizes enter."""
        wanted = -(-rows * (row_bytes(schema) + SORT_BYTES) // self.partition_bytes)
        return min(MAX_PARTITIONS, 1 << max(0, wanted - 1).bit_length())

    def checked_schema(self, rows: Rows, prepare: Prepare | None, params: Mapping[str, Any] | None) -> pa.Schema:
        schema = rows.schema
        if prepare is not None:
            reference(prepare)
            schema = prepare(schema.empty_table(), **dict(params or {})).schema
        for column in schema:
            if pa.types.is_dictionary(column.type):
                raise ContractError(
                    f"column `{column.name}` of rows given to the exchange is dictionary-encoded, which differs from "
                    "batch to batch. Write it as plain values."
                )
        if DOC_KEY in schema.names and schema.field(DOC_KEY).type != KEY_TYPE:
            raise ContractError(
                f"column `{DOC_KEY}` of rows given to the exchange has type {schema.field(DOC_KEY).type}, expected "
                f"{KEY_TYPE}"
            )
        return schema

    def split(
        self,
        step: Path,
        rows: Rows,
        schema: pa.Schema,
        partitioner: Partitioner,
        prepare: Prepare | None = None,
        prepare_params: Mapping[str, Any] | None = None,
    ) -> tuple[int, np.ndarray]:
        """The map phase. Returns the number of partition files and the totals by partition (see MapResult)."""
        pieces = step / "pieces"
        pieces.mkdir()
        tasks = [
            MapTask(
                number=number,
                inputs=inputs,
                schema=rows.schema,
                prepared=schema,
                prepare=reference(prepare) if prepare is not None else None,
                prepare_params=dict(prepare_params or {}),
                partitioner=partitioner,
                path=map_path(str(pieces), number),
                chunk_bytes=max(1, self.budget_bytes // 5),
            )
            for number, inputs in enumerate(self.inputs(rows))
        ]
        totals = np.zeros((partitioner.partitions, 3), np.uint64)
        read = 0
        seen: set[int] = set()
        result: MapResult
        for index, result in self.executor.run(run_map, tasks):
            if index in seen:
                raise ConservationError(f"the executor gave the result of map task {index} of {step.name} twice")
            seen.add(index)
            add_totals(totals, result.totals)
            read += result.rows
        if len(seen) != len(tasks):
            raise ConservationError(f"{step.name}: {len(tasks)} map tasks were started, {len(seen)} came back")
        self.check_read(rows, read)
        return len(tasks), totals

    def inputs(self, rows: Rows) -> list[tuple[tuple[str, int, int | None], ...]]:
        """Parts of the rows' files for tasks that read them, in order, sized by the budget."""
        return map_inputs(rows.files, max(1, self.budget_bytes // 4))

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

    def _gathered(
        self, results: Sequence[ReduceResult], fold: str, schema: pa.Schema, params: Mapping[str, Any] | None
    ) -> Rows:
        made: pa.Schema | None = None
        for result in results:
            if result.schema is not None:
                if made is not None:
                    check_schema(result.schema, made, f"fold `{fold}`")
                made = result.schema
        if made is None:
            for table in resolve(fold)(iter([schema.empty_table()]), **dict(params or {})):
                made = table.schema
                break
            else:
                raise ContractError(
                    f"fold `{fold}` yields no table for an empty input, so its columns are not known. It must yield at "
                    "least one table, which may be empty."
                )
        files = [file for result in results for file in result.files]
        for path, count in files:
            if count == 0:
                os.unlink(path)
        return Rows(tuple(path for path, count in files if count), made, sum(count for _, count in files))


def free_bytes(folder: Path) -> int:
    """Bytes free on the file system of a folder that need not be there yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_keys(schema: pa.Schema, key: Sequence[str]) -> None:
    """Raises ContractError unless `key` names columns whose values can be hashed and ordered."""
    if not key:
        raise ContractError("group needs at least one key column, found none")
    for name in key:
        if name not in schema.names:
            raise ContractError(
                f"group by `{name}`, but the rows have no such column: they have {', '.join(schema.names)}"
            )
        kind = schema.field(name).type
        if not (
            pa.types.is_integer(kind)
            or pa.types.is_boolean(kind)
            or pa.types.is_string(kind)
            or pa.types.is_large_string(kind)
            or pa.types.is_binary(kind)
            or pa.types.is_large_binary(kind)
            or pa.types.is_fixed_size_binary(kind)
        ):
            raise ContractError(
                f"group by `{name}`: a key column is an integer, a string or binary, found {kind}. Convert it first."
            )


def map_inputs(files: Iterable[str], target: int) -> list[tuple[tuple[str, int, int | None], ...]]:
    """Inputs of map tasks: small files together, large ones in parts, by size on disk.

    Raises StorageError for a missing file.
    """
    tasks: list[tuple[tuple[str, int, int | None], ...]] = []
    waiting: list[tuple[str, int, int | None]] = []
    held = 0
    for path in files:
        try:
            size = os.stat(path).st_size
        except OSError as error:
            raise StorageError(
                f"{path} is missing or unreadable ({error.strerror}); it held rows that the exchange needs. Run again: "
                "the task that wrote it is repeated."
            ) from error
        if held and held + size > target:
            tasks.append(tuple(waiting))
            waiting, held = [], 0
        if size <= target:
            waiting.append((path, 0, None))
            held += size
            continue
        batches = batch_count(path)
        parts = min(batches, -(-size // target))
        for part in range(parts):
            tasks.append(((path, batches * part // parts, batches * (part + 1) // parts),))
    if waiting:
        tasks.append(tuple(waiting))
    return tasks
