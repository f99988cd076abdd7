"""`group` over files: rows by partition, each partition sorted and folded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from gristmill.pipeline.document import DOC_KEY, KEY_TYPE
from gristmill.pipeline.errors import ContractError
from gristmill.pipeline.exchange import Fold, Prepare, Rows
from gristmill.pipeline.exchange.shuffle import (
    Partitioner,
    ReduceResult,
    check_schema,
    row_bytes,
    run_fold,
)
from gristmill.pipeline.exchange.shuffle_driver import Shuffle
from gristmill.pipeline.exchange.shuffle_plan import SORT_BYTES, partitions_for
from gristmill.pipeline.executor.function_names import reference, resolve


class GroupExchange(Shuffle):
    """`group` through files in one folder.

    Args: see `pipeline.exchange.file_exchange.FileExchange`.
    """

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
        partitioner = Partitioner(tuple(key), self.partitions(rows.count * expansion, schema))
        shuffled = self.split(self.step("group"), rows, schema, partitioner, prepare, prepare_params, expansion)
        results = self.reduced(run_fold, shuffled, sort=tuple(sort), fold=name, params=params or {})
        return self._gathered(results, name, schema, params), sum(result.tally for result in results)

    def partitions(self, rows: int, schema: pa.Schema) -> int:
        """See `partitions_for`."""
        return partitions_for(rows, row_bytes(schema) + SORT_BYTES, self.partition_bytes)

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
        return Rows(tuple(path for path, _, _ in files), made, sum(count for _, count, _ in files))


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
