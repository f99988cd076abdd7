"""The exchange over files: plans shuffles and trees, runs them on an executor, and checks that rows were conserved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from gristmill.pipeline.errors import ConservationError
from gristmill.pipeline.exchange import Combine, Rows
from gristmill.pipeline.exchange.components import components
from gristmill.pipeline.exchange.delivery import deliver
from gristmill.pipeline.exchange.group import GroupExchange
from gristmill.pipeline.exchange.recurring import recurring
from gristmill.pipeline.exchange.row_files import read_batches
from gristmill.pipeline.exchange.shuffle import check_schema
from gristmill.pipeline.exchange.tree_reduce import TREE_FAN_IN, CombineTask, run_combine
from gristmill.pipeline.executor.function_names import reference
from gristmill.pipeline.storage import remove


class FileExchange(GroupExchange):
    """The exchange through files in one folder, which all workers see: a path, or a URL of an object store.

    Args:
        executor: where tasks run.
        folder: for intermediate files; nothing else may be in it.
        budget_bytes: memory for rows and buffers of each process, beside what an interpreter with its libraries takes
            (about 300 MB). A record batch of an input file is read whole, so batches must be well below it.
        partition_bytes: working memory aimed at for one partition, sort buffers included; default half the budget.
        disk_bytes: see `pipeline.exchange.Exchange`; default a third of what is free where the folder lies.
        map_bytes: bytes of input files for a map task; default as `shuffle_plan` finds, from a quarter of the budget on.

    Disk: while `group` runs, its input, the same rows as partition files (twice while a second round merges them), and its
    output lie on storage. What does not fit memory is put in order on local disk (TMPDIR): a partition that is larger than
    the budget, and the output of a map or merge task, about √partitions MiB, where there are many partitions. Partition
    files are removed when the operator ends, results when `release` is called or the folder is removed.

    Results depend on the rows and on partition_bytes (the order of rows over groups), never on how rows are spread over
    files, on rounds, on workers, or on the order in which tasks finish.
    """

    def reduce(self, rows: Rows, combine: Combine, params: Mapping[str, Any] | None = None) -> pa.Table:
        """Merge all rows into one table, as a tree of fan-in 16 over files in order.

        `combine` gets tables in order and must be associative; rows without a file give it one empty table. Each call
        is given at most half of the budget, an eighth of it in rows of files, and one record batch.
        """
        name = reference(combine)
        step = self.step("reduce")
        level = 0
        inputs: list[tuple[str, int | None]] = [(path, None) for path in rows.files]
        schema = rows.schema
        while True:
            tasks = [
                CombineTask(
                    inputs=tuple(inputs[start : start + TREE_FAN_IN]),
                    schema=schema,
                    combine=name,
                    params=dict(params or {}),
                    path=f"{step}/level-{level}/{start // TREE_FAN_IN:05d}.arrow",
                    budget_bytes=self.budget_bytes // 2,
                    raw_bytes=self.budget_bytes // 8,
                )
                for start in range(0, max(1, len(inputs)), TREE_FAN_IN)
            ]
            results = self.run(run_combine, tasks)
            read = sum(result.read for result in results)
            if level == 0:
                self.check_read(rows, read)
            for result in results[1:]:
                check_schema(result.schema, results[0].schema, f"combine `{name}`")
            if level:
                remove(f"{step}/level-{level - 1}")
            schema = results[0].schema
            inputs = [(result.path, result.rows) for result in results]
            level += 1
            if len(inputs) == 1:
                break
        path, count = inputs[0]
        table = pa.Table.from_batches(list(read_batches(path, schema)), schema).combine_chunks()
        if table.num_rows != count:
            raise ConservationError(f"{path}: {count} rows were written, {table.num_rows} were read")
        remove(step)
        return table

    def components(self, edges: Rows, nodes: Rows | None = None, carry: Sequence[str] = ()) -> Rows:
        """Connected components: see `pipeline.exchange.Exchange.components`.

        With numbers, one process holds 4 bytes a document and streams the edges (see `numbered_components`). Without them,
        edges are contracted in parallel to one per document and file; if the documents then fit the budget of one process
        (72 bytes each), it finishes, else partitioned label rounds do, where no process holds more than a partition. All give
        the same rows, in another order. An edge from a document to itself makes it a component.

        Raises ContractError for other columns, ConservationError when a document is named with two tasks.
        """
        return components(self, edges, nodes, carry)

    def recurring(self, rows: Rows, column: str) -> tuple[Rows, int] | None:
        """See `pipeline.exchange.Exchange.recurring`.

        Raises ContractError for another kind of column, ConservationError when the rows change meanwhile.
        """
        return recurring(self, rows, column)

    def deliver(self, rows: Rows, tasks: int) -> dict[int, str]:
        """Route keyed rows (`doc_key`, `task`, …) to one Arrow IPC file per owner task, sorted by doc_key.

        Args:
            rows: at most one per document; the columns are kept as they are.
            tasks: number of tasks of the plan; `task` runs from 0 to tasks − 1.

        Returns:
            The file of each task that has rows, by task. Its bytes depend on its rows alone.

        Raises ConservationError when a document has two rows in a task, a row names no task of the plan, or rows were
        lost; ContractError when `doc_key` or `task` is not there. A task opens one file at a time.
        """
        return deliver(self, rows, tasks)
