"""What happened to a document: its way from its source through every node to the shards, with every reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from gristmill.pipeline.audit.documents import no_output, sound_log
from gristmill.pipeline.audit.explanation_text import DocumentWay, Place, Step, as_json, document_lines
from gristmill.pipeline.audit.find_rows import FileAt, Found, Searched, row_of, rows_with
from gristmill.pipeline.audit.kind_places import PlaceInKind, document_at, pieces_of
from gristmill.pipeline.audit.open_files import what_a_run_wrote
from gristmill.pipeline.audit.removed_document import RemovedDocument, removed_document
from gristmill.pipeline.audit.routes import DROPPED, QUARANTINED, AuditGraph, Decided, follow
from gristmill.pipeline.audit.source_position import origin
from gristmill.pipeline.document import COPY, DOC_KEY, FROM_TASK, ID, TEXT, URL
from gristmill.pipeline.errors import ConfigError, DataError, looked_for
from gristmill.pipeline.provenance.files import FILES_TABLE, NO_TASK
from gristmill.pipeline.provenance.holding_folders import holding_folders
from gristmill.pipeline.provenance.logs import LedgerLog, TaskLog
from gristmill.pipeline.provenance.statement import ManifestNode, Predicate, read_manifest
from gristmill.pipeline.storage import open_within
from gristmill.pipeline.without_pandas import without_pandas
from gristmill.pipeline.writing.parquet import read_log

MOST_DOCUMENTS = 20
"""Most documents of one id or URL that are explained; an input may use an id many times."""
_HEX_KEY = re.compile("[0-9a-fA-F]{32}")


class DocumentNotFoundError(DataError):
    """No file of the output knows the document."""


@dataclass(frozen=True)
class Explanation:
    """The documents that an identifier names, with their ways."""

    ident: str
    folder: str
    output: str
    run: str
    documents: tuple[DocumentWay, ...]
    more: int = 0
    place: PlaceInKind | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "ident": self.ident,
            "folder": self.folder,
            "output": self.output,
            "run": self.run,
            "documents": [as_json(document) for document in self.documents],
            "more_documents": self.more,
            **({} if self.place is None else {"piece": asdict(self.place.piece), "at": self.place.at}),
        }

    def lines(self) -> list[str]:
        """The ways for people."""
        made: list[str] = [] if self.place is None else [self.place.line()]
        for document in self.documents:
            made += [*document_lines(document, self.output), ""]
        if self.more:
            made.append(f"… and {self.more} more documents with that identifier; select one by its doc_key.")
        return made[:-1] if made and not made[-1] else made


def explained(argument: Sequence[Any]) -> dict[str, Any]:
    """In the reading process: a document's way, or that it was taken out, as JSON and as lines. `argument`: folder, identifier,
    sources, beside, keys of removals."""
    *place, secrets = argument
    try:
        found: Explanation | RemovedDocument = explain(*place)
    except DocumentNotFoundError:
        with what_a_run_wrote(place[0]):
            gone = removed_document(place[0], place[1], secrets)
        if gone is None:
            raise
        found = gone
    return {"json": found.to_json(), "lines": found.lines()}


def explain(folder: str, ident: str, sources: Sequence[str] | None = None, beside: Sequence[str] = ()) -> Explanation:
    """The way of a document through the run that wrote an output.

    Args:
        folder: the output, local or a URL.
        ident: a document's `id`, its `doc_key` in hexadecimal, or its URL; or a place in a kind of the output, as
            `kinds/tokens/part-00000-00.bin:1234`.
        sources: whether the input is looked into for the byte at which a record begins: None for not; folders below which
            it must lie; an empty list for local input wherever the config says.
        beside: folders of other outputs of the run, which may hold its ledger.

    Raises ConfigError for a folder without a manifest and for a ledger that lies elsewhere, DocumentNotFoundError, and
    DataError for files that cannot be read.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise ConfigError(f"{folder}: there is no manifest.json{looked_for(folder)}. {no_output(folder)}")
    with what_a_run_wrote(folder):
        return _Explainer(folder, manifest, sources, beside).explain(ident)


class _Explainer:
    def __init__(self, folder: str, manifest: Predicate, sources: Sequence[str] | None, beside: Sequence[str]) -> None:
        self.folder, self.manifest = folder, manifest
        self.config = None
        if sources is not None:
            # What reads configs takes a while to import, and is for this alone.
            from gristmill.pipeline.audit.allowed_sources import allowed_config

            self.config = allowed_config(manifest.varies.config, sources)
        self.files: dict[str, list[FileAt]] = {}
        columns = ["path", "role", "task", "tasks", "output"]
        with open_within(folder, FILES_TABLE) as stream:
            table = pq.ParquetFile(stream).read(columns=columns, use_threads=False)
        folders = holding_folders(folder, manifest, set(table["output"].to_pylist()), beside)
        for path, role, task, tasks, output in zip(*(table[name].to_pylist() for name in columns), strict=True):
            if output in folders:
                self.files.setdefault(role, []).append(FileAt(folders[output], path, task, tasks))
            elif role == "ledger":
                raise ConfigError(
                    f"{folder}: the ledger of this output lies in the folder of the run's output `{output}`, which is not "
                    "beside this one. Name it with --beside."
                )
        self.kinds = manifest.identity.outputs[manifest.output].kinds
        self.has_list = manifest.identity.revoked is not None
        self.has_removals = bool(manifest.removals)
        self.signals = [role for role in self.files if role.startswith("signals:")]

    def explain(self, ident: str) -> Explanation:
        searched: dict[str, Searched] = {}
        keys: dict[bytes, int] = {}
        place = document_at(self.folder, self.files, self.kinds, ident)
        key = bytes.fromhex(ident) if _HEX_KEY.fullmatch(ident) else None if place is None else place.key
        if key is not None:
            task = self._task_of(key, searched)
            if task is not None:
                keys[key] = task
        if not keys:
            names = (URL, ID) if "://" in ident else (ID, URL)
            for column in names:
                keys = self._keys_with(column, ident, searched)
                if keys:
                    break
        if not keys:
            raise self._not_found(ident, searched)
        chosen = sorted(keys.items(), key=lambda item: (item[1], item[0]))[:MOST_DOCUMENTS]
        routes = tuple(self._way(key, task) for key, task in chosen)
        output, run = self.manifest.output, self.manifest.run
        return Explanation(ident, self.folder, output, run, routes, len(keys) - len(chosen), place)

    # Finding

    def _task_of(self, key: bytes, searched: dict[str, Searched]) -> int | None:
        for role in ("ledger", "data", *self.signals):
            count = searched.setdefault(role.partition(":")[0], Searched())
            found = rows_with(self.files.get(role, []), DOC_KEY, key, count)
            if found:
                return self._task_at(found[0].file, self._row(found[0].file, found[0].rows[0]))
        return None

    def _task_at(self, file: FileAt, row: Mapping[str, Any]) -> int:
        """The task that a row belongs to: its shard's, or the one that the row names."""
        return int(row[FROM_TASK]) if file.names_tasks else file.task

    def _keys_with(self, column: str, value: str, searched: dict[str, Searched]) -> dict[bytes, int]:
        keys: dict[bytes, int] = {}
        for role in ("ledger", "data"):
            count = Searched()
            for found in rows_with(self.files.get(role, []), column, value, count):
                for row in found.rows[: MOST_DOCUMENTS + 1]:
                    values = self._row(found.file, row)
                    keys[values[DOC_KEY]] = self._task_at(found.file, values)
            # The same rows, looked at for another column, are not counted again.
            searched[role] = max(searched.get(role, count), count, key=lambda one: one.rows)
        return keys

    def _row(self, file: FileAt, row: int) -> dict[str, Any]:
        return row_of(file.folder, file.path, row, frozenset({TEXT}))

    def _not_found(self, ident: str, searched: Mapping[str, Searched]) -> DocumentNotFoundError:
        what = {"ledger": "ledger", "data": "shard", "signals": "signals"}
        seen = ", ".join(
            f"{_many(one.rows, 'row')} in {_many(one.files, f'{what[role]} file')}"
            for role, one in searched.items()
            if one.files
        )
        kinds = "doc_key, id or URL" if _HEX_KEY.fullmatch(ident) else "id or URL"
        advice = (
            "A document that passed every node by its default port and went to another output is in that output's shards: ask "
            "there. One that no output knows was not in the input."
        )
        if not _HEX_KEY.fullmatch(ident):
            advice += " Signals name documents by doc_key only: if you know it, ask by that."
            if self.has_list:
                advice += " So does the ledger those that were on the run's revocation list."
        if self.has_removals:
            advice += (
                " Documents were taken out of this version: with the removal's key (--removal-key) it tells of them by "
                "doc_key, which the version before tells by id or URL."
            )
        return DocumentNotFoundError(f"{self.folder}: no document has the {kinds} {ident!r}. Searched {seen}. {advice}")

    def _rows_of_task(self, role: str, task: int, key: bytes) -> list[Found]:
        files = [
            file
            for file in self.files.get(role, [])
            if file.task == NO_TASK or file.task <= task < file.task + file.tasks
        ]
        return rows_with(files, DOC_KEY, key, Searched())

    # Telling

    def _way(self, key: bytes, task: int) -> DocumentWay:
        ledger = [self._row(f.file, row) for f in self._rows_of_task("ledger", task, key) for row in f.rows]
        log = self._log(task)
        source = log.slices[0].source
        shards, row_columns = self._shards(task, key)
        pieces, more = pieces_of(self.files, self.kinds, key, task)
        signals: dict[str, dict[str, Any]] = {}
        for role in self.signals:
            for found in self._rows_of_task(role, task, key):
                values = self._row(found.file, found.rows[0])
                own = {n: v for n, v in values.items() if n not in (DOC_KEY, FROM_TASK)}
                signals[role.removeprefix("signals:")] = own
        steps, outputs = run_trace(self.manifest, source, ledger, signals, row_columns, self._witness)
        known = [*ledger, row_columns]
        text = tuple(Place(f.path, row) for f in self._rows_of_task("dropped", task, key) for row in f.rows)
        return DocumentWay(
            doc_key=key.hex(),
            id=_first(known, ID),
            url=_first(known, URL),
            source=self._source(log, key),
            steps=steps,
            outputs=outputs,
            shards=shards,
            text=text,
            columns={n: v for n, v in row_columns.items() if n not in (DOC_KEY, COPY, FROM_TASK, ID, URL)},
            pieces=pieces,
            more_pieces=more,
        )

    def _log(self, task: int) -> TaskLog:
        ledgers = self.files.get("ledger", [])
        file = next((file for file in ledgers if file.task <= task < file.task + file.tasks), None)
        found = None
        if file is not None:
            with open_within(file.folder, file.path) as stream:
                found = read_log(pq.ParquetFile(stream).metadata.metadata)
        whole = sound_log(LedgerLog, found)
        log = None if whole is None else whole.of(task)
        if log is None:
            raise DataError(
                f"{self.folder}: task {task} has no ledger with a log. `gristmill audit {self.folder}` shows what is wrong."
            )
        return log

    def _shards(self, task: int, key: bytes) -> tuple[tuple[Place, ...], dict[str, Any]]:
        places: list[Place] = []
        columns: dict[str, Any] = {}
        for found in self._rows_of_task("data", task, key):
            for row in found.rows:
                values = self._row(found.file, row)
                columns = columns or values
                places.append(Place(found.path, row, values.get(COPY)))
        return tuple(places), columns

    def _witness(self, witness: str | None) -> Mapping[str, Any] | None:
        """The document that a witness names, where this output knows it."""
        # A duplicate's may be followed by the similarity to it.
        witness = None if witness is None else witness.partition(":")[0]
        if witness is None or not _HEX_KEY.fullmatch(witness):
            return None
        for role in ("data", "ledger"):
            for found in rows_with(self.files.get(role, []), DOC_KEY, bytes.fromhex(witness), Searched()):
                values = self._row(found.file, found.rows[0])
                known: dict[str, Any] = {"id": values.get(ID), "url": values.get(URL), "file": found.path}
                return {**known, "row": found.rows[0]}
        return None

    def _format(self, source: str) -> str:
        found = self.manifest.sources.get(source)
        return str(found and found.format)

    def _source(self, log: TaskLog, key: bytes) -> dict[str, Any]:
        one = log.slices[0]
        licence = log.licenses.get(one.source)
        return {
            "name": one.source,
            **origin(one, log.snapshot, key, self._format(one.source), self.config),
            "license": None if licence is None else licence.model_dump(),
            "snapshot": log.snapshot,
        }


def run_trace(
    manifest: Predicate,
    source: str,
    ledger: Sequence[Mapping[str, Any]],
    signals: Mapping[str, Mapping[str, Any]],
    row: Mapping[str, Any],
    witness_document: Callable[[str | None], Mapping[str, Any] | None],
) -> tuple[tuple[Step, ...], dict[str, int]]:
    """A document's steps through a run's graph, and outputs with the copies that went there.

    Args:
        source: that it was read from.
        ledger: its rows there.
        signals: by node, what was measured.
        row: its columns in a shard, where there is one.
        witness_document: what is known of the document that a witness names.

    Raises DataError for a ledger that contradicts the graph.
    """
    graph, nodes = AuditGraph.of(manifest), {node.name: node for node in manifest.nodes}
    names = (source, *nodes)
    in_ledger = {item["node"]: item for item in ledger}
    routes = follow(graph, source, _decided(graph, names, in_ledger), 1)
    steps = []
    for name in names:
        copies = int(routes.entered[name][0])
        if not copies:
            continue
        item = in_ledger.get(name)
        columns = dict(signals.get(name, {}))
        columns |= {c: row[c] for c in (nodes[name].columns if name in nodes else ()) if c in row and c not in columns}
        text = nodes[name].text if name in nodes else None
        if item is None:
            port = graph.ports_of(name)[0]
            made = Step(
                name, _use(nodes, name), "emitted", port, copies, copies, columns=columns, text=_text(text, None)
            )
        else:
            made = Step(
                node=name,
                use=_use(nodes, name),
                decision=item["decision"],
                port=item["port"],
                copies_in=copies,
                copies_out=copies * item["copies"],
                rule=item["rule"],
                value=item["value"],
                threshold=item["threshold"],
                failed=tuple(item["failed"] or ()),
                witness=item["witness"],
                witness_document=witness_document(item["witness"]),
                columns=columns,
                text=_text(text, item),
            )
        steps.append(made)
    outputs = {name: int(routes.into(edges)[0]) for name, edges in graph.outputs.items()}
    return tuple(steps), {name: copies for name, copies in outputs.items() if copies}


def _decided(graph: AuditGraph, names: tuple[str, ...], in_ledger: Mapping[str, Mapping[str, Any]]) -> Decided:
    items = [item for name, item in in_ledger.items() if name in names]
    port = [_port(graph, item) for item in items]
    return Decided(
        names,
        np.array([names.index(item["node"]) for item in items], np.int64),
        np.zeros(len(items), np.int64),
        np.array(port, np.int64),
        np.array([item["copies"] for item in items], np.int64),
    )


def _port(graph: AuditGraph, item: Mapping[str, Any]) -> int:
    """Where a ledger's row sends its document. Raises DataError for a port that the node does not have."""
    codes = {"dropped": DROPPED, "quarantined": QUARANTINED}
    if item["decision"] in codes:
        return codes[item["decision"]]
    ports = graph.ports_of(item["node"])
    if item["port"] not in ports:
        raise DataError(
            f"the ledger lets a document leave the node `{item['node']}` on the port {item['port']!r}; the node's ports are "
            f"{', '.join(f'`{name}`' for name in ports)}. The ledger was changed: `gristmill audit DIR --full` shows more."
        )
    return ports.index(item["port"])


def _text(kind: str | None, item: Mapping[str, Any] | None) -> str | None:
    """What a node of a kind did to a document's text: one that is emitted has it made; changed it is only with a rule."""
    if item is not None and item["port"] is None:
        return None
    return kind if kind == "made" or (item is not None and item["rule"] is not None) else None


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _use(nodes: Mapping[str, ManifestNode], name: str) -> str:
    return nodes[name].use if name in nodes else "source"


def _first(rows: Iterable[Mapping[str, Any]], column: str) -> str | None:
    return next((str(row[column]) for row in rows if row.get(column) is not None), None)


FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {"explain": explained}
"""What a reading process answers with this module, which imports less than an audit does (see `row_requests`)."""
BEGIN = without_pandas
