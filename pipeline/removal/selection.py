"""Which documents are meant: by id, URL, doc_key or a condition in SQL; and the duplicates that go with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import DOC_KEY, FROM_TASK, ID, KEY_TYPE, URL, key_words, one_chunk
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.provenance.statement import ManifestNode
from gristmill.pipeline.removal.old_run import OldRun
from gristmill.pipeline.writing.sidecars import LEDGER_ROLE

By = Literal["ids", "urls", "where"]
NAMED = 5
"""Lines of a list that an error names."""
HEX_KEY = re.compile("[0-9a-f]{32}")
_LINK = "^[0-9a-f]{32}(:.*)?$"
"""A witness that is a document: its doc_key, then perhaps how similar it is."""
Keys = dict[bytes, int]
"""Documents and their tasks."""


@dataclass(frozen=True)
class Request:
    """What somebody asks to have removed.

    Attributes:
        by: what `wanted` are.
        wanted: ids (`source:id` where several sources use one, or doc_keys in hexadecimal) or URLs; of `where` the condition.
        matches: of `where`, which rows of a table of documents fulfil it.
        near_duplicates: whether their duplicates go too.
        allow_missing: whether some may be in no output.
    """

    by: By
    wanted: tuple[str, ...]
    matches: Callable[[pa.Table], pa.Array] | None = None
    near_duplicates: bool = True
    allow_missing: bool = False


@dataclass
class Selection:
    """The documents to remove.

    Attributes:
        tasks: doc_keys (uint64, documents × 2), ascending, by task.
        chosen: how many of them were named.
        missing: entries of the list that no document answers to.
        split: nodes of whose clusters some documents stay and others go.
    """

    tasks: dict[int, np.ndarray]
    chosen: int
    missing: list[str] = field(default_factory=list)
    split: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(len(keys) for keys in self.tasks.values())

    def every(self) -> np.ndarray:
        """All of them, ascending."""
        words = np.concatenate([np.empty((0, 2), np.uint64), *self.tasks.values()])
        return words[np.lexsort((words[:, 1], words[:, 0]))]


def select(run: OldRun, request: Request) -> Selection:
    """Finds the documents. Raises ConfigError for entries that are not there or could mean several documents, and when
    there is nothing to remove."""
    missing: list[str] = []
    if request.by == "where":
        chosen = _fulfilling(run, request)
    else:
        chosen, missing = _listed(run, request)
    if missing and not request.allow_missing:
        raise ConfigError(
            f"{len(missing):,} of {len(request.wanted):,} {request.by} are in no output of the run: {_some(missing)}. Correct "
            "the list, or say --allow-missing to remove the others."
        )
    if not chosen:
        raise ConfigError(f"{run.folder}: no document is meant, so there is nothing to remove.")
    found, named = dict(chosen), len(chosen)
    split = _with_duplicates(run, found, follow=request.near_duplicates)
    by_task: dict[int, list[bytes]] = {}
    for key, task in found.items():
        by_task.setdefault(task, []).append(key)
    tasks = {task: key_words(pa.array(sorted(keys), KEY_TYPE)) for task, keys in sorted(by_task.items())}
    return Selection(tasks, named, missing, split)


def _listed(run: OldRun, request: Request) -> tuple[Keys, list[str]]:
    column = ID if request.by == "ids" else URL
    wanted = list(dict.fromkeys(request.wanted))
    sources = run.manifest.sources
    parts = {line: line.partition(":") for line in wanted} if column == ID else {}
    rests = {line: part[2] for line, part in parts.items() if part[0] in sources and part[2]}
    hexes = {line: bytes.fromhex(line) for line in wanted if column == ID and HEX_KEY.fullmatch(line)}
    hits = _rows_with(run, column, {*wanted, *rests.values()})
    by_key = _tasks_of(run, set(hexes.values()))
    chosen: Keys = {}
    missing: list[str] = []
    ambiguous: list[str] = []
    for line in wanted:
        found = dict(hits.get(line, {}))
        if line in rests:
            source = parts[line][0]
            found |= {k: t for k, t in hits.get(rests[line], {}).items() if run.source_of(t) == source}
        if line in hexes and hexes[line] in by_key:
            found[hexes[line]] = by_key[hexes[line]]
        if not found:
            missing.append(line)
        elif len(found) > 1 and column == ID:
            ambiguous.append(_several(run, line, found))
        chosen |= found
    if ambiguous:
        raise ConfigError(
            f"{len(ambiguous):,} of {len(wanted):,} ids could mean several documents, of which perhaps one is meant:\n"
            + "\n".join(f"  {line}" for line in ambiguous[:NAMED])
        )
    return chosen, missing


def _several(run: OldRun, line: str, found: Keys) -> str:
    sources = sorted({run.source_of(task) for task in found.values()})
    if len(sources) == len(found):
        return f"{line!r:.200}: write {' or '.join(f'{source}:{line}' for source in sources)}"
    keys = ", ".join(key.hex() for key in sorted(found)[:NAMED])
    return f"{line!r:.200}: {len(found)} documents of {', '.join(sources)}; write their doc_keys: {keys}"


def _rows_with(run: OldRun, column: str, values: set[str]) -> dict[str, Keys]:
    """By value, the documents whose column has it, in shards and ledgers."""
    wanted = pa.array(sorted(values), pa.large_string())
    found: dict[str, Keys] = {}
    for _, piece in _documents(run, (DOC_KEY, column, FROM_TASK)):
        if column not in piece.column_names:
            continue
        texts = _as_text(piece[column])
        rows = np.flatnonzero(np.asarray(pc.is_in(texts, value_set=wanted)))
        if len(rows):
            few = piece.take(pa.array(rows))
            for value, key, task in zip(
                texts.take(pa.array(rows)).to_pylist(),
                few[DOC_KEY].to_pylist(),
                few[FROM_TASK].to_pylist(),
                strict=True,
            ):
                found.setdefault(value, {})[key] = task
    return found


def _tasks_of(run: OldRun, keys: set[bytes]) -> Keys:
    """The tasks of documents, by doc_key, as far as an output knows them."""
    found: Keys = {}
    if keys:
        wanted = pa.array(sorted(keys), KEY_TYPE)
        for _, piece in _documents(run, (DOC_KEY, FROM_TASK)):
            few = piece.filter(pc.is_in(piece[DOC_KEY], value_set=wanted))
            found |= zip(few[DOC_KEY].to_pylist(), few[FROM_TASK].to_pylist(), strict=True)
    return found


def _fulfilling(run: OldRun, request: Request) -> Keys:
    """Documents for which the condition holds: asked of the rows of shards, and of what ledgers name."""
    if request.matches is None:
        raise TypeError("a condition needs something that knows which rows fulfil it")
    schema = _columns(run)
    found: Keys = {}
    for _, piece in _documents(run, None):
        tasks = piece[FROM_TASK]
        codes = {task: run.source_of(task) for task in pc.unique(tasks).to_pylist()}
        sources = pa.array([codes[task] for task in tasks.to_pylist()], pa.string())
        columns = {
            name: _as_text(piece[name])
            if name in (ID, URL)
            else piece[name]
            if name in piece.column_names and piece.schema.field(name).type == kind
            else pa.nulls(piece.num_rows, kind)
            for name, kind in schema.items()
            if name not in (ID, URL) or name in piece.column_names
        }
        for name in (ID, URL):
            columns.setdefault(name, pa.nulls(piece.num_rows, pa.large_string()))
        keys = piece[DOC_KEY].to_pylist()
        hexes = pa.array([key.hex() for key in keys], pa.string())
        hit = request.matches(pa.table({DOC_KEY: hexes, "source": sources, **columns}))
        for row in np.flatnonzero(np.asarray(hit)).tolist():
            found[keys[row]] = tasks[row].as_py()
    return found


def _columns(run: OldRun) -> dict[str, pa.DataType]:
    """What a condition may ask about: the columns of shards; of documents that no shard holds all but these two are null."""
    found: dict[str, pa.DataType] = {ID: pa.large_string(), URL: pa.large_string()}
    for output in run.outputs.values():
        for row in output.shards[:1]:
            found |= {item.name: item.type for item in run.schema(row) if item.name not in found}
    return {name: kind for name, kind in found.items() if name not in (DOC_KEY, FROM_TASK, "source")}


def _documents(run: OldRun, columns: Sequence[str] | None) -> Iterable[tuple[str, pa.Table]]:
    """(role, rows) of all shards and ledgers: columns as far as they are there, always `from_task` and doc_key. Of a ledger
    at most what names documents."""
    of_shards = None if columns is None else [*columns]
    for output in run.outputs.values():
        for row in output.shards:
            for piece in run.pieces(row, of_shards):
                if FROM_TASK not in piece.column_names:
                    piece = piece.append_column(FROM_TASK, pa.array(np.full(piece.num_rows, row["task"], np.int32)))
                yield "data", piece
    names = [name for name in (DOC_KEY, ID, URL, FROM_TASK) if columns is None or name in columns]
    for row in run.of_role(LEDGER_ROLE):
        for piece in run.pieces(row, names):
            yield LEDGER_ROLE, piece


def _as_text(column: pa.ChunkedArray) -> pa.Array:
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind):
        return one_chunk(column).cast(pa.large_string())
    return pa.nulls(len(column), pa.large_string())


def _with_duplicates(run: OldRun, found: Keys, *, follow: bool) -> list[str]:
    """Adds to `found` the documents that belong to clusters of those that are in it already, unless these are to stay; returns
    the nodes of which clusters are split. A ledger is read once for each step from a document to those that it is linked with:
    clusters are stars around their keepers, so there are three for each node that finds some."""
    known, new = set(found), set(found)
    while new and follow:
        linked: set[bytes] = set()
        for _, key, keeper, task in _links(run, new):
            found.setdefault(key, task)
            linked |= {key, keeper}
        new, known = linked - known, known | linked
    # Keepers that are not in the ledger; one of a prior run is in no file of this one.
    found |= _tasks_of(run, known - set(found))
    return sorted({node for node, key, keeper, _ in _links(run, known) if (key in known) != (keeper in known)})


def finds_clusters(node: ManifestNode) -> bool:
    """Whether a node drops documents as duplicates of those that their witnesses name."""
    return any(name.endswith("_cluster_id") for name in node.columns)


def _links(run: OldRun, keys: set[bytes]) -> Iterator[tuple[str, bytes, bytes, int]]:
    """(node, document, the one that is kept for it, the first one's task) where either of the two is among some documents."""
    nodes = pa.array([node.name for node in run.manifest.nodes if finds_clusters(node)], pa.string())
    ends, hexes = pa.array(sorted(keys), KEY_TYPE), pa.array(sorted(key.hex() for key in keys), pa.string())
    for row in run.of_role(LEDGER_ROLE) if len(nodes) else []:
        for piece in run.pieces(row, (DOC_KEY, "node", "decision", "witness", FROM_TASK)):
            keeper = pc.utf8_slice_codeunits(piece["witness"], 0, 32)
            here = pc.and_(pc.is_in(piece["node"], value_set=nodes), pc.equal(piece["decision"], "dropped"))
            link = pc.fill_null(pc.match_substring_regex(piece["witness"], _LINK), False)
            end = pc.or_(pc.is_in(piece[DOC_KEY], value_set=ends), pc.is_in(keeper, value_set=hexes))
            few = piece.append_column("keeper", keeper).filter(pc.and_(pc.and_(here, link), end))
            for node, key, text, task in zip(
                *(few[n].to_pylist() for n in ("node", DOC_KEY, "keeper", FROM_TASK)), strict=True
            ):
                yield node, key, bytes.fromhex(text), task


def _some(lines: Sequence[str]) -> str:
    more = f", and {len(lines) - NAMED:,} more" if len(lines) > NAMED else ""
    return ", ".join(f"{line!r:.200}" for line in lines[:NAMED]) + more


def answers_concerned(run: OldRun, entered: Mapping[str, int], split: Sequence[str]) -> list[str]:
    """Nodes whose answer about the whole corpus might be another one without the removed documents.

    Args:
        entered: by source and node, how many of the documents got there.
        split: see `Selection`.

    Clusters of others stay as they are when whole clusters go, so such a node is concerned only where one is split.
    """
    found = []
    for node in run.manifest.nodes:
        if node.name not in run.manifest.settled:
            continue
        seen = entered.get(_observed([node.fields.signal, node.fields.threshold]) or node.name, 0)
        if node.name in split if finds_clusters(node) else seen:
            found.append(node.name)
    return found


def _observed(value: Any) -> str | None:
    """The upstream node that a node's settings say it observes."""
    parts = [*value.values()] if isinstance(value, Mapping) else value if isinstance(value, list) else []
    own = value.get("observe") if isinstance(value, Mapping) else None
    return own if isinstance(own, str) else next((one for one in map(_observed, parts) if one), None)
