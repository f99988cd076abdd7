"""What the last pass of a task leaves in every output: shards, the ledger, signals and candidates of dropped texts."""

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
from gristmill.pipeline.provenance.files import notes_role
from gristmill.pipeline.provenance.logs import LedgerLog, NodeLog, ShardLog, SliceRead, TaskLog
from gristmill.pipeline.provenance.statement import FORMAT_VERSION
from gristmill.pipeline.provenance.task_record import CandidateFile, OutputFile, SliceRecord, StagedFile, TaskFile
from gristmill.pipeline.provenance.values import extend
from gristmill.pipeline.slices.routing import SliceRows
from gristmill.pipeline.storage import WrittenFile, join
from gristmill.pipeline.writing.attempt import attempt_folder
from gristmill.pipeline.writing.dropped_texts import DROPPED_TEXTS, dropped_texts, write_candidates
from gristmill.pipeline.writing.ledger import LEDGER, ledger_of
from gristmill.pipeline.writing.parquet import Encoded, Shard, cuts, encode_parquet, pieces_of, row_bytes, write_parquet
from gristmill.pipeline.writing.shuffle import seed_of, shuffle_hash, shuffle_order, write_staged

OWN = (DOC_KEY, COPY, FROM_TASK)
"""Columns of shards that the engine makes."""


def shard_columns(plan: Plan, output: Output) -> list[tuple[str, pa.DataType]]:
    """The columns of an output's shards, in order: doc_key, copy, id, text, then the rest as sources and nodes make
    them, or as the config lists them."""
    have = plan.graph.columns_into(output.inputs)
    names = list(output.config.columns) if output.config.columns is not None else _default_columns(plan, have)
    first = [name for name in (ID, TEXT) if name in have]
    rest = [name for name in names if name not in (DOC_KEY, COPY, ID, TEXT)]
    return [(name, have[name]) for name in [*first, *rest]]


def data_columns(plan: Plan, output: Output) -> list[tuple[str, pa.DataType]]:
    """All columns of an output's shards, in order."""
    task = [(FROM_TASK, pa.int32())] if output.config.shuffle is not None else []
    return [(DOC_KEY, KEY_TYPE), (COPY, pa.int32()), *task, *shard_columns(plan, output)]


def _default_columns(plan: Plan, have: Mapping[str, pa.DataType]) -> list[str]:
    kept_back = {
        name for node in plan.graph.nodes for name in node.spec.signals.names if name not in node.spec.in_shards
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
    work: str,
    notes: Mapping[str, pa.Table],
) -> dict[str, list[TaskFile]]:
    """Writes a task's files into every output and adds outputs and discarded ports to the accounts.

    Returns, by output, the files: path in the output, role, size, sha256, content digest, rows.
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
    accounts.check(f"{slice_record.path}, last pass")
    log = task_log(plan, task, accounts, slice_record, settled)
    order = [slice_rows.source, *(node.name for node in plan.graph.nodes)]
    ledger = ledger_of(slice_rows, order, rejects)
    alike = _AlikeFiles(plan, slice_rows, task, order, attempt, work)
    published: dict[str, list[TaskFile]] = {}
    for output in plan.graph.outputs:
        writer = _OutputWriter(plan, slice_rows, task, output, attempt)
        if output.config.shuffle is None:
            writer.shards(routes[output.name], log)
        else:
            writer.staged(routes[output.name], work)
        writer.ledger(ledger, log)
        published[output.name] = [
            *writer.files,
            *alike.signals(output),
            *alike.notes(output, notes),
            *alike.dropped(output),
        ]
    return published


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


class _AlikeFiles:
    """Files of a task that are the same in every output that wants them: they are encoded once."""

    def __init__(
        self, plan: Plan, slice_rows: SliceRows, task: int, order: Sequence[str], attempt: str, work: str
    ) -> None:
        self.plan, self.slice_rows, self.task, self.order = plan, slice_rows, task, order
        self.attempt, self.work = attempt, work
        self._tables: dict[str, Encoded] | None = None
        self._notes: dict[str, Encoded] | None = None
        self._all: Encoded | None = None
        self._candidates: dict[int, CandidateFile | None] = {}

    def signals(self, output: Output) -> Iterator[OutputFile]:
        """Writes what each node measured into an output."""
        if output.config.signals != "all":
            return
        if self._tables is None:
            self._tables = dict(self._measured())
        for name, encoded in self._tables.items():
            path = f"signals/{name}/part-{self.task:05d}.parquet"
            file = encoded.write(join(attempt_folder(self.plan, output), path), self.attempt)
            yield _entry(path, f"signals:{name}", file, encoded.rows, encoded.content_digest)

    def _measured(self) -> Iterator[tuple[str, Encoded]]:
        for node in self.plan.graph.nodes:
            state = self.slice_rows.states.get(node.name)
            # A text that a node made is in the shards and among the dropped texts; here it would stand twice.
            fields = [i for i in node.spec.signals if i.name not in node.spec.hidden and i.name != TEXT]
            if state is None or not fields or not len(state.rows):
                continue
            keys = one_chunk(self.slice_rows.table[DOC_KEY]).take(pa.array(state.rows))
            table = pa.table({DOC_KEY: keys, **{item.name: state.signals[item.name] for item in fields}})
            yield node.name, encode_parquet(table.schema, iter([table]))

    def notes(self, output: Output, kept: Mapping[str, pa.Table]) -> Iterator[OutputFile]:
        """Writes the notes that nodes keep for later runs into an output."""
        if self._notes is None:
            self._notes = {name: encode_parquet(table.schema, iter([table])) for name, table in kept.items()}
        for name, encoded in self._notes.items():
            path = f"notes/{name}/part-{self.task:05d}.parquet"
            file = encoded.write(join(attempt_folder(self.plan, output), path), self.attempt)
            yield _entry(path, notes_role(name), file, encoded.rows, encoded.content_digest)

    def dropped(self, output: Output) -> Iterator[OutputFile]:
        """Writes the texts of dropped rows: all of them, or candidates for the sample (see pipeline.dropped).

        Candidates go to the work folder, since an output holds nothing provisional.
        """
        path = f"dropped/part-{self.task:05d}.parquet"
        if output.config.dropped == "all":
            if self._all is None:
                table = dropped_texts(self.plan, self.slice_rows, self.order, None).combine_chunks()
                self._all = encode_parquet(DROPPED_TEXTS, iter([table] if table.num_rows else []))
            if self._all.rows:
                file = self._all.write(join(attempt_folder(self.plan, output), path), self.attempt)
                yield _entry(path, "dropped", file, self._all.rows, self._all.content_digest)
        elif output.config.dropped == "sample":
            most = output.config.dropped_sample
            if most not in self._candidates:
                self._candidates[most] = self._candidate(path, most)
            found = self._candidates[most]
            if found is not None:
                yield found

    def _candidate(self, path: str, most: int) -> CandidateFile | None:
        table = dropped_texts(self.plan, self.slice_rows, self.order, most)
        if not table.num_rows:
            return None
        candidate = join("dropped", str(most), f"part-{self.task:05d}.arrow")
        file = write_candidates(join(self.work, candidate), table, self.attempt)
        return extend(CandidateFile, _entry(path, "dropped", file, table.num_rows, ""), candidate=candidate)


class _OutputWriter:
    def __init__(self, plan: Plan, slice_rows: SliceRows, task: int, output: Output, attempt: str) -> None:
        self.plan, self.slice_rows, self.task, self.output, self.attempt = plan, slice_rows, task, output, attempt
        self.folder = attempt_folder(plan, output)
        self.files: list[TaskFile] = []

    def keep(self, path: str, role: str, shard: Shard, keys: int = 0) -> None:
        self.files.append(_entry(path, role, shard.file, shard.rows, shard.content_digest, keys))

    def ledger(self, ledger: pa.Table, log: TaskLog) -> None:
        """The task's ledger. It carries the log too, so that a task without a shard still accounts for its rows."""
        path = f"ledger/part-{self.task:05d}.parquet"

        def footer(n: int, content: str) -> LedgerLog:
            return extend(LedgerLog, log, output=self.output.name, rows=n, content_digest=content)

        pieces = iter([ledger] if ledger.num_rows else [])
        shard = write_parquet(join(self.folder, path), LEDGER, pieces, footer, attempt=self.attempt)
        self.keep(path, "ledger", shard)

    def shards(self, routes: list[tuple[Edge, np.ndarray, np.ndarray]], log: TaskLog) -> None:
        columns = shard_columns(self.plan, self.output)
        copies = np.zeros(self.slice_rows.count, np.int64)
        for _, rows, n in routes:
            copies[rows] += n
        rows = np.flatnonzero(copies)
        if not len(rows):
            return
        count = copies[rows]
        repeated = np.repeat(rows, count)
        copy = np.arange(len(repeated)) - np.repeat(np.cumsum(count) - count, count)
        sizes = self._row_sizes(columns, routes, rows)
        repeated_sizes = np.repeat(sizes, count)
        for number, (start, stop) in enumerate(cuts(repeated_sizes, self.output.config.shard_bytes)):
            part = repeated[start:stop]
            path = f"data/part-{self.task:05d}-{number:02d}.parquet"
            keys = Tally.of(self.slice_rows.keys[part], np.zeros(len(part), np.int64)).keys

            def footer(n: int, content: str, number: int = number, keys: int = keys) -> ShardLog:
                own = {"output": self.output.name, "shard": number, "rows": n, "content_digest": content, "keys": keys}
                return extend(ShardLog, log, **own)

            schema = pa.schema(data_columns(self.plan, self.output))
            pieces = self._pieces(schema, routes, part, copy[start:stop], repeated_sizes[start:stop])
            shard = write_parquet(join(self.folder, path), schema, pieces, footer, attempt=self.attempt)
            self.keep(path, "data", shard, keys)

    def staged(self, routes: list[tuple[Edge, np.ndarray, np.ndarray]], work: str) -> None:
        """The task's rows for a shuffled output, in the work folder: an output holds nothing provisional."""
        copies = np.zeros(self.slice_rows.count, np.int64)
        for _, rows, n in routes:
            copies[rows] += n
        rows = np.flatnonzero(copies)
        if not len(rows):
            return
        count = copies[rows]
        repeated = np.repeat(rows, count)
        copy = np.arange(len(repeated)) - np.repeat(np.cumsum(count) - count, count)
        hashes = shuffle_hash(self.slice_rows.keys[repeated], copy, seed_of(self.plan, self.output))
        order = shuffle_order(hashes, self.slice_rows.keys[repeated], copy)
        sizes = np.repeat(self._row_sizes(shard_columns(self.plan, self.output), routes, rows), count)[order]
        repeated, copy, hashes = repeated[order], copy[order], hashes[order]
        schema = pa.schema(data_columns(self.plan, self.output))
        words = self.slice_rows.keys[repeated]
        lengths = [len(piece) for piece in pieces_of(repeated, sizes)]
        pieces = self._pieces(schema, routes, repeated, copy, sizes)
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

    def _row_sizes(
        self,
        columns: list[tuple[str, pa.DataType]],
        routes: list[tuple[Edge, np.ndarray, np.ndarray]],
        rows: np.ndarray,
    ) -> np.ndarray:
        total = np.full(len(rows), 20, np.int64)
        for name, _ in columns:
            array = self._column(name, routes, rows)
            total += text_bytes(array) if name == TEXT else row_bytes(pa.table({name: array}))
        return total

    def _column(self, name: str, routes: list[tuple[Edge, np.ndarray, np.ndarray]], rows: np.ndarray) -> pa.Array:
        arrivals = [(edge, leaving) for edge, leaving, _ in routes if len(leaving)]
        return self.slice_rows.incoming(arrivals, name, rows)

    def _pieces(
        self,
        schema: pa.Schema,
        routes: list[tuple[Edge, np.ndarray, np.ndarray]],
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
                **{name: self._column(name, routes, once) for name in schema.names if name not in OWN},
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
