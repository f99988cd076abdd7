"""What the last pass of a task leaves: shards in every output, and its part of what tasks share (`writing.sidecars`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import COPY, DOC_KEY, FROM_TASK, ID, KEY_TYPE, TEXT, one_chunk, take, text_bytes
from gristmill.pipeline.hashing import merkle_root
from gristmill.pipeline.planning.graph import Edge, Node, Output
from gristmill.pipeline.planning.plan import Plan
from gristmill.pipeline.provenance.accounts import Accounts, Tally
from gristmill.pipeline.provenance.logs import NodeLog, ShardLog, SliceRead, TaskLog
from gristmill.pipeline.provenance.shares import COLUMNS as SHARED_BY
from gristmill.pipeline.provenance.shares import LICENCE, Shares, shares_of
from gristmill.pipeline.provenance.statement import FORMAT_VERSION
from gristmill.pipeline.provenance.task_record import OutputFile, SidecarParts, SliceRecord, StagedFile, TaskFile
from gristmill.pipeline.provenance.values import extend
from gristmill.pipeline.slices.column_lookup import taken
from gristmill.pipeline.slices.routing import SliceRows
from gristmill.pipeline.storage import WrittenFile, join
from gristmill.pipeline.work_folder import WorkFolder
from gristmill.pipeline.writing.attempt import attempt_folder
from gristmill.pipeline.writing.dropped_texts import Limits, dropped_texts, ranks_of
from gristmill.pipeline.writing.ledger import ledger_of
from gristmill.pipeline.writing.parquet import Shard, cuts, pieces_of, row_bytes, write_parquet
from gristmill.pipeline.writing.shuffle import seed_of, shuffle_hash, shuffle_order, write_staged
from gristmill.pipeline.writing.sidecars import (
    LEDGER_ROLE,
    holder_of_dropped,
    ranks_part,
    sidecars_of,
    signals_role,
    with_task,
)
from gristmill.pipeline.writing.task_parts import write_parts

OWN = (DOC_KEY, COPY, FROM_TASK)
"""Columns of shards that the engine makes."""


def shard_columns(plan: Plan, output: Output) -> list[tuple[str, pa.DataType]]:
    """The columns of an output's shards, in order: doc_key, copy, id, text, then the rest as sources and nodes make
    them, or as the config lists them."""
    have = plan.graph.columns_into(output.inputs)
    names = output.config.listed_columns
    if names is None:
        names = tuple(_unlisted_columns(plan, have, with_signals=output.config.columns == "all"))
    first = [name for name in (ID, TEXT) if name in have]
    rest = [name for name in names if name not in (DOC_KEY, COPY, ID, TEXT)]
    return [(name, have[name]) for name in [*first, *rest]]


def data_columns(plan: Plan, output: Output) -> list[tuple[str, pa.DataType]]:
    """All columns of an output's shards, in order."""
    task = [(FROM_TASK, pa.int32())] if output.config.shuffle is not None else []
    return [(DOC_KEY, KEY_TYPE), (COPY, pa.int32()), *task, *shard_columns(plan, output)]


def _unlisted_columns(plan: Plan, have: Mapping[str, pa.DataType], with_signals: bool) -> list[str]:
    kept_back = {
        name
        for node in plan.graph.nodes
        for name in node.spec.signals.names
        if name not in node.spec.in_shards and not with_signals
    }
    return [name for name in have if name not in kept_back and name not in plan.graph.all_payloads]


def publish_task(
    plan: Plan,
    slice_rows: SliceRows,
    task: int,
    accounts: Accounts,
    slice_record: SliceRecord,
    rejects: pa.Table,
    settled: Mapping[str, str],
    attempt: str,
    work: WorkFolder,
    key: str,
    notes: Mapping[str, pa.Table],
    limits: Mapping[int, Limits],
) -> tuple[dict[str, list[TaskFile]], SidecarParts]:
    """Writes a task's shards into every output, what it leaves for sidecars into the work folder, and adds outputs and
    discarded ports to the accounts. `key`: of the task's pass. `limits`: by size of a sample of dropped texts, what is known
    of its ranks.

    Returns, by output, the files: path in the output, role, size, sha256, content digest, rows; and the parts of sidecars.
    """
    for edge in plan.graph.discarded:
        rows, copies = slice_rows.leaving(edge)
        sizes = slice_rows.sizes_at(edge.node, leaving=True)
        accounts.discarded[str_edge(edge)] = Tally.of(slice_rows.keys[rows], sizes[rows], copies)
    routes: dict[str, list[tuple[Edge, np.ndarray, np.ndarray]]] = {}
    for output in plan.graph.outputs:
        routes[output.name] = [(edge, *slice_rows.leaving(edge)) for edge in output.inputs]
        accounts.outputs[output.name] = {
            str_edge(edge): Tally.of(slice_rows.keys[rows], slice_rows.sizes_at(edge.node, leaving=True)[rows], copies)
            for edge, rows, copies in routes[output.name]
        }
    writers = [_OutputWriter(plan, slice_rows, task, one, attempt, routes[one.name]) for one in plan.graph.outputs]
    for writer in writers:
        shares = writer.shares()
        if shares is not None:
            accounts.shares[writer.output.name] = shares
    accounts.check(f"{slice_record.path}, last pass")
    log = task_log(plan, task, accounts, slice_record, settled)
    order = [slice_rows.source, *(node.name for node in plan.graph.nodes)]
    published: dict[str, list[TaskFile]] = {}
    for writer in writers:
        if writer.output.config.shuffle is None:
            writer.shards(log)
        else:
            writer.staged(work.root)
        published[writer.output.name] = writer.files
    parts = _Parts(plan, slice_rows, order, rejects, notes, limits)
    dropped, holder = parts.all_dropped(task, attempt), holder_of_dropped(plan)
    if dropped is not None and holder is not None:
        published[holder.name].append(dropped)
    return published, write_parts(work, task, key, parts.tables(), attempt)


def task_log(
    plan: Plan, task: int, accounts: Accounts, slice_record: SliceRecord, settled: Mapping[str, str]
) -> TaskLog:
    """What made the shards of a task: identity only, the same on every run."""
    one = SliceRead(**{item.name: getattr(slice_record, item.name) for item in fields(SliceRead)})
    spec = next(spec for spec in plan.config.sources if spec.name == one.source)
    return TaskLog(
        format=FORMAT_VERSION,
        run=plan.key,
        seed=plan.config.seed,
        task=task,
        slices=[one],
        slices_root=merkle_root([one.digest]),
        nodes=[node_log(plan, node) for node in plan.graph.nodes],
        settled=dict(settled),
        accounts=accounts,
        licenses={spec.name: spec.config.license},
        snapshot=spec.config.snapshot,
    )


def node_log(plan: Plan, node: Node) -> NodeLog:
    """What a node is and does, as the footer logs and the manifest record it."""
    fingerprint = plan.fingerprints[node.name]
    return NodeLog(
        name=node.name,
        use=node.use,
        version=type(node.stage).version,
        from_=[str_edge(edge) for edge in node.inputs],
        signal_fingerprint=fingerprint.signal,
        fingerprint=fingerprint.full,
        models=dict(fingerprint.models),
    )


def str_edge(edge: Edge) -> str:
    """`node.port`, also for a source."""
    return f"{edge.node}.{edge.port}"


def _entry(path: str, role: str, file: WrittenFile, rows: int, content_digest: str, keys: int = 0) -> OutputFile:
    """A file as the task's record lists it."""
    return OutputFile(
        path=path,
        role=role,
        size=file.size,
        sha256=file.sha256,
        content_digest=content_digest,
        rows=rows,
        keys=keys,
    )


class _Parts:
    """A task's rows of the sidecars that its outputs want, each made once."""

    def __init__(
        self,
        plan: Plan,
        slice_rows: SliceRows,
        order: Sequence[str],
        rejects: pa.Table,
        notes: Mapping[str, pa.Table],
        limits: Mapping[int, Limits],
    ) -> None:
        self.plan, self.slice_rows, self.order = plan, slice_rows, order
        self.rejects, self.notes, self.limits = rejects, notes, limits

    def tables(self) -> Iterator[tuple[str, pa.Table]]:
        """By role of the part (see `writing.sidecars`)."""
        wanted = [kind for output in self.plan.graph.outputs for kind in sidecars_of(self.plan, output)]
        for kind in dict.fromkeys(wanted):
            name = kind.role.partition(":")[2]
            if kind.role == LEDGER_ROLE:
                yield kind.part, ledger_of(self.slice_rows, self.order, self.rejects)
            elif kind.most:
                known = self.limits.get(kind.most, ())
                candidates = dropped_texts(self.plan, self.slice_rows, self.order, kind.most, known)
                yield kind.part, candidates
                yield ranks_part(kind.most), ranks_of(candidates)
            elif kind.role == signals_role(name):
                measured = self._measured(self.plan.graph.by_name[name])
                if measured is not None:
                    yield kind.part, measured
            elif name in self.notes:
                yield kind.part, self.notes[name]

    def _measured(self, node: Node) -> pa.Table | None:
        state = self.slice_rows.states.get(node.name)
        # A text that a node made is in the shards and among the dropped texts; here it would stand twice.
        fields = [i for i in node.spec.signals if i.name not in node.spec.hidden and i.name != TEXT]
        if state is None or not fields or not len(state.rows):
            return None
        keys = taken(one_chunk(self.slice_rows.table[DOC_KEY]), state.rows, self.slice_rows.count)
        return pa.table({DOC_KEY: keys, **{item.name: state.signals[item.name] for item in fields}})

    def all_dropped(self, task: int, attempt: str) -> OutputFile | None:
        """Writes all dropped texts into the first output that keeps them; None where there are none."""
        holder = holder_of_dropped(self.plan)
        table = None if holder is None else dropped_texts(self.plan, self.slice_rows, self.order, None)
        if holder is None or table is None or not table.num_rows:
            return None
        path = f"dropped/part-{task:05d}.parquet"
        rows = with_task(table.combine_chunks(), task)
        location = join(attempt_folder(self.plan, holder), path)
        shard = write_parquet(location, rows.schema, iter([rows]), compact=True, attempt=attempt)
        return _entry(path, "dropped", shard.file, shard.rows, shard.content_digest)


class _OutputWriter:
    """A task's rows of one output, each once in `rows` with the number of its copies."""

    def __init__(
        self,
        plan: Plan,
        slice_rows: SliceRows,
        task: int,
        output: Output,
        attempt: str,
        routes: list[tuple[Edge, np.ndarray, np.ndarray]],
    ) -> None:
        self.plan, self.slice_rows, self.task, self.output, self.attempt = plan, slice_rows, task, output, attempt
        self.folder = attempt_folder(plan, output)
        self.files: list[TaskFile] = []
        self.arrivals = [(edge, leaving) for edge, leaving, _ in routes if len(leaving)]
        copies = np.zeros(slice_rows.count, np.int64)
        for _, rows, n in routes:
            copies[rows] += n
        self.rows = np.flatnonzero(copies)
        self.count = copies[self.rows]
        self.text = np.zeros(len(self.rows), np.int64)
        self.sizes = self._row_sizes() if len(self.rows) else self.text

    def keep(self, path: str, role: str, shard: Shard, keys: int = 0) -> None:
        self.files.append(_entry(path, role, shard.file, shard.rows, shard.content_digest, keys))

    def shares(self) -> Shares | None:
        """What the rows are by source, licence and creator; None where there are none, or nobody states licences."""
        have = self.plan.graph.columns_into(self.output.inputs)
        if not len(self.rows) or (LICENCE not in have and not any(s.config.license for s in self.plan.config.sources)):
            return None
        source = self.slice_rows.source
        columns = {name: self._column(name, self.rows) for name in SHARED_BY if name in have}
        return shares_of(source, self.plan.graph.sources[source].config.license, self.text, self.count, columns)

    def _repeated(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows as often as they have copies, and the number of each copy."""
        ends = np.cumsum(self.count)
        repeated = np.repeat(self.rows, self.count)
        return repeated, np.arange(len(repeated)) - np.repeat(ends - self.count, self.count)

    def shards(self, log: TaskLog) -> None:
        if not len(self.rows):
            return
        repeated, copy = self._repeated()
        repeated_sizes = np.repeat(self.sizes, self.count)
        for number, (start, stop) in enumerate(cuts(repeated_sizes, self.output.config.shard_bytes)):
            part = repeated[start:stop]
            path = f"data/part-{self.task:05d}-{number:02d}.parquet"
            keys = Tally.of(self.slice_rows.keys[part], np.zeros(len(part), np.int64)).keys

            def footer(n: int, content: str, number: int = number, keys: int = keys) -> ShardLog:
                own = {"output": self.output.name, "shard": number, "rows": n, "content_digest": content, "keys": keys}
                return extend(ShardLog, log, **own)

            schema = pa.schema(data_columns(self.plan, self.output))
            pieces = self._pieces(schema, part, copy[start:stop], repeated_sizes[start:stop])
            shard = write_parquet(join(self.folder, path), schema, pieces, footer, attempt=self.attempt)
            self.keep(path, "data", shard, keys)

    def staged(self, work: str) -> None:
        """The task's rows for a shuffled output, in the work folder: an output holds nothing provisional."""
        if not len(self.rows):
            return
        repeated, copy = self._repeated()
        hashes = shuffle_hash(self.slice_rows.keys[repeated], copy, seed_of(self.plan, self.output))
        order = shuffle_order(hashes, self.slice_rows.keys[repeated], copy)
        sizes = np.repeat(self.sizes, self.count)[order]
        repeated, copy, hashes = repeated[order], copy[order], hashes[order]
        schema = pa.schema(data_columns(self.plan, self.output))
        words = self.slice_rows.keys[repeated]
        lengths = [len(piece) for piece in pieces_of(repeated, sizes)]
        pieces = self._pieces(schema, repeated, copy, sizes)
        candidate = join("shuffled", self.output.name, f"task-{self.task:05d}.arrow")
        file = write_staged(
            join(work, candidate), schema, hashes, words, lengths, pieces, int(sizes.sum()), self.attempt
        )
        self.files.append(
            StagedFile(
                role="staged",
                candidate=candidate,
                size=file.size,
                sha256=file.sha256,
                rows=len(repeated),
                keys=Tally.of(words, np.zeros(len(words), np.int64)).keys,
                bytes=int(sizes.sum()),
            )
        )

    def _row_sizes(self) -> np.ndarray:
        """Encoder-independent bytes of each row; keeps those of its text as well."""
        total = np.full(len(self.rows), 20, np.int64)
        table, states = self.slice_rows.table, self.slice_rows.states.values()
        as_read = TEXT in table.column_names and all(state.own(TEXT) is None for state in states)
        for name, _ in shard_columns(self.plan, self.output):
            if name == TEXT and as_read:  # not copied for its lengths
                self.text = text_bytes(table[TEXT])[self.rows]
            elif name == TEXT:
                self.text = text_bytes(self._column(name, self.rows))
            total += self.text if name == TEXT else row_bytes(pa.table({name: self._column(name, self.rows)}))
        return total

    def _column(self, name: str, rows: np.ndarray) -> pa.Array:
        return self.slice_rows.incoming(self.arrivals, name, rows)

    def _pieces(
        self,
        schema: pa.Schema,
        rows: np.ndarray,
        copy: np.ndarray,
        sizes: np.ndarray,
    ) -> Iterator[pa.Table]:
        start = 0
        for piece in pieces_of(rows, sizes):
            # Take each row once, then repeat it, or put it in its place: copies may stand beside each other or apart.
            once, back = np.unique(piece, return_inverse=True)
            arrays: dict[str, pa.Array] = {
                DOC_KEY: one_chunk(self.slice_rows.table[DOC_KEY]).take(pa.array(once)),
                **{name: self._column(name, once) for name in schema.names if name not in OWN},
            }
            table = pa.table({n: a for n, a in arrays.items()})
            if not np.array_equal(once, piece):
                table = take(table, back)
            stop = start + len(piece)
            table = table.add_column(1, COPY, pa.array(copy[start:stop], pa.int32()))
            if FROM_TASK in schema.names:
                table = table.add_column(2, FROM_TASK, pa.array(np.full(stop - start, self.task), pa.int32()))
            yield table.cast(schema)
            start = stop
