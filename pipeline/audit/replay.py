"""Checks against the source: the input is still what was read, kept text is its text, sampled decisions come out again.

Runs in the reading process. It needs the input where the config says, and the stages and models that made the run; where
they are not at hand, the checks are not made, and say so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.audit.allowed_sources import allowed_config, refuse_elsewhere
from gristmill.pipeline.audit.changed_documents import changed_message, readable_keys, wrong_copies
from gristmill.pipeline.audit.key_order import key_order, places_in
from gristmill.pipeline.audit.ledger import read_decisions, vocabulary
from gristmill.pipeline.audit.messages import Answer, SourceJob, TaskJob
from gristmill.pipeline.audit.open_files import Damaged, Unreadable, opened
from gristmill.pipeline.audit.recompute import (
    as_told,
    compare_measured,
    compare_recorded,
    keys_of,
    recorded_signals,
    told_by,
)
from gristmill.pipeline.audit.removals import without_removed
from gristmill.pipeline.audit.routes import AuditGraph, follow
from gristmill.pipeline.audit.row_join import NAMED
from gristmill.pipeline.audit.shuffle import rows_of_task, text_hashes
from gristmill.pipeline.audit.sidecar_rows import ledger_log, task_rows
from gristmill.pipeline.document import DOC_KEY, TEXT, TEXT_TYPE, key_words, one_chunk, take
from gristmill.pipeline.errors import GristmillError
from gristmill.pipeline.hashing import canonical
from gristmill.pipeline.planning.config import load
from gristmill.pipeline.planning.graph import Node
from gristmill.pipeline.planning.plan import Plan, make_plan
from gristmill.pipeline.provenance.content import ContentDigest, logical_type
from gristmill.pipeline.provenance.files import notes_role
from gristmill.pipeline.provenance.sidecar_tables import EMITTED, dropped_rank
from gristmill.pipeline.provenance.statement import MANIFEST
from gristmill.pipeline.provenance.values import to_json
from gristmill.pipeline.slices.outcome import Outcome
from gristmill.pipeline.slices.read import digest_of_slice, read_slice, without_revoked
from gristmill.pipeline.slices.routing import SliceRows
from gristmill.pipeline.slices.traversal import Answers, traverse
from gristmill.pipeline.source import SliceData
from gristmill.pipeline.writing.manifest import manifest_node
from gristmill.pipeline.writing.task_files import data_columns

SAMPLE = 8
"""Documents that are replayed per task for each node that decided about some, and as many that no ledger lists."""
TOLERANCE = 1e-6
"""Relative difference of a value that another machine's floating point may make."""


def check_sources(argument: Mapping[str, Any]) -> dict[str, Any]:
    """Compares one task's files with its slice. `argument` is a SourceJob; the answer an Answer."""
    job = SourceJob.from_json(argument)
    plan = _plan(job.config, job.run, job.plugins, job.roots)
    answer = Answer()
    if isinstance(plan, str):
        for name in ("source", "text", "replay", "columns"):
            answer.unread(name, plan, None)
        return answer.to_json()
    ledger_entry = next((entry for entry in job.task.files if entry.role == "ledger"), None)
    if ledger_entry is None:
        return answer.to_json()
    try:
        ledger, answer.first_rows[ledger_entry.path] = task_rows(ledger_entry, job.task.task)
        whole = ledger_log(ledger_entry.folder, ledger_entry.path, ledger_entry.sha256)
        log = None if whole is None else whole.of(job.task.task)
        if log is None or not 0 <= job.task.task < len(plan.slices):
            return answer.to_json()  # other checks have said so
        one = plan.slices[job.task.task]
        data = read_slice(plan, one, plan.columns_needed(one.source))
        columns = ContentDigest(data.table.schema).update(data.table).columns()
        answer.saw("source")
        if digest_of_slice(data, columns) != log.slices[0].digest:
            answer.fail("source", f"{one.location} holds rows that differ from those the run read", ledger_entry.path)
            return answer.to_json()
        data = replace(data, table=without_revoked(plan, one.source, data.table))
        place = job.task.files, job.task.task, log.slices[0], job.removal_keys, ledger_entry.path
        left = without_removed(data, *place, answer)
        if left is None:
            return answer.to_json()
        data = left
        graph = AuditGraph(job.task.sources, job.task.nodes, job.task.outputs)
        if not vocabulary(graph, one.source, job.task.source_rules, ledger, ledger_entry.path, Answer()):
            for check in ("text", "replay"):
                answer.unread(
                    check,
                    "not compared, since the ledger names nodes, rules or decisions that the run does not have",
                    ledger_entry.path,
                )
            return answer.to_json()
        remade = _replay(job.task, plan, data, ledger, ledger_entry.path, answer)
        _text(job.task, plan, data, ledger, remade, answer)
        if job.changed:
            _name_changed(job, plan, data, ledger, remade, answer)
        compare_recorded(job.task, plan, one.source, data, ledger, ledger_entry.path, answer)
    except Damaged:
        return answer.to_json()  # other checks have said so
    except Unreadable as error:
        answer.unread("source", str(error), ledger_entry.path)
    except GristmillError as error:
        answer.unread("source", str(error), ledger_entry.path)
    return answer.to_json()


@lru_cache(maxsize=1)
def _plan(config: str, run: str, plugins: tuple[str, ...], roots: tuple[str, ...]) -> Plan | str:
    """The plan of a run's config, or why there is none here."""
    try:
        plan = make_plan(load(allowed_config(config, roots), "manifest.json", plugins=plugins))
        for one in plan.slices:
            for member in one.each:
                refuse_elsewhere(member.location, roots)
    except GristmillError as error:
        return f"the run cannot be planned here: {error}"
    if plan.key != run:
        return "the config gives a different run here: its input, models, stage versions or Gristmill differ"
    return plan


def plan_sources(argument: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the run can be planned here, else `skipped` with why; and where the manifest says other than the plan, as an
    Answer. `argument`: config, run, plugins, roots, manifest (parts of the predicate, see `stated`)."""
    plan = _plan(argument["config"], argument["run"], tuple(argument["plugins"]), tuple(argument["roots"]))
    if isinstance(plan, str):
        return {"skipped": plan}
    answer, manifest = Answer(), argument["manifest"]
    answer.saw("config")
    output = next(one for one in plan.graph.outputs if one.name == manifest["output"])
    planned = {
        "output": output.name,
        # A config without a name takes that of its file, which no manifest records.
        "name": plan.config.name if "name" in plan.config.document.value else manifest["name"],
        "notices": list(plan.graph.notices),
        "nodes": [to_json(manifest_node(plan, node)) for node in plan.graph.nodes],
        "columns": {name: logical_type(kind) for name, kind in data_columns(plan, output)},
        "sources": {
            spec.name: {
                "format": spec.config.format,
                "snapshot": spec.config.snapshot,
                "license": None if spec.config.license is None else spec.config.license.model_dump(mode="json"),
            }
            for spec in plan.config.sources
        },
    }
    for name, value in planned.items():
        if canonical(value) != canonical(manifest[name]):
            answer.fail(
                "config", f"`{name}` is not what its config gives{_first_difference(manifest[name], value)}", MANIFEST
            )
    return answer.to_json()


def _first_difference(found: Any, expected: Any, place: str = "") -> str:
    """Where two values differ first, with both."""
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        names = [name for name in sorted({*found, *expected}) if found.get(name) != expected.get(name)]
        if names:
            return _first_difference(found.get(names[0]), expected.get(names[0]), f"{place}.{names[0]}")
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        at = next((at for at in range(len(found)) if found[at] != expected[at]), None)
        if at is not None:
            return _first_difference(found[at], expected[at], f"{place}[{at}]")
    return f": {place.lstrip('.')} expected {str(expected)[:200]}, found {str(found)[:200]}"


@dataclass(frozen=True)
class Remade:
    """Texts of sampled documents as the nodes make them of the source's, by what the audit can decide again.

    Attributes:
        keys: their doc_keys, ascending (uint64, documents × 2).
        hashes: 64-bit hashes of the texts (uint64).
    """

    keys: np.ndarray
    hashes: np.ndarray

    def unlike(self, keys: np.ndarray, texts: pa.Array | None = None, hashes: np.ndarray | None = None) -> np.ndarray:
        """Which rows have another text than was made again, bool; false for rows that were not. The rows' texts are
        given, or their hashes."""
        place = places_in(self.keys, keys)
        known = np.flatnonzero(place < len(self.keys))
        found = np.zeros(len(keys), bool)
        if len(known):
            mine = hashes[known] if texts is None and hashes is not None else _hashes(texts, known)
            found[known] = mine != self.hashes[place[known]]
        return found


def _hashes(texts: pa.Array | None, rows: np.ndarray) -> np.ndarray:
    if texts is None:
        return np.zeros(len(rows), np.uint64)
    return text_hashes(pa.chunked_array([texts.take(pa.array(rows))]))


def _name_changed(
    job: SourceJob, plan: Plan, data: SliceData, ledger: pa.Table, remade: Remade, answer: Answer
) -> None:
    """Names the documents of a task's changed shards that are lost, added, or have another text."""
    graph = AuditGraph(job.task.sources, job.task.nodes, job.task.outputs)
    listed, decided = read_decisions(graph, data_source(plan, job.task), ledger, "", Answer())
    if decided is None:
        return
    intact = [entry for entry in job.task.files if entry.role == "data"]
    keys, read = readable_keys([*intact, *job.changed])
    source = key_words(data.table[DOC_KEY])
    source = source[key_order(source)]
    copies = follow(graph, data_source(plan, job.task), decided, len(listed)).into(graph.outputs[job.task.output])
    wrong = wrong_copies(source, copies[places_in(listed, source)], keys)
    texts = Answer()
    changed = replace(job.task, files=tuple(entry for entry in job.changed if entry in read))
    try:
        _text(changed, plan, data, ledger, remade, texts, len(keys))
    except (Damaged, Unreadable) as error:
        answer.unread("text", str(error), job.changed[0].path)
    documents = dict.fromkeys([*wrong, *(finding["document"] for finding in texts.findings)])
    answer.fail("sha256", changed_message(list(documents)), job.changed[0].path)


def _text(
    job: TaskJob,
    plan: Plan,
    data: SliceData,
    ledger: pa.Table,
    remade: Remade,
    answer: Answer,
    most: int = NAMED,
) -> None:
    """Kept text is the source's, but for documents of which the ledger says that a node which may change text did; and
    those of the sample have the text that these nodes make. Names at most so many documents of a kind in a row group."""
    graph = AuditGraph(job.sources, job.nodes, job.outputs)
    listed, decided = read_decisions(graph, data_source(plan, job), ledger, "", Answer())
    if decided is None:
        return
    routes = follow(graph, data_source(plan, job), decided, len(listed))
    editors = [node.name for node in plan.graph.nodes if node.spec.changes_text]
    edited = np.zeros(len(listed) + 1, bool)
    on_record = ledger["rule"].is_valid().to_numpy()
    for name in editors:
        rows = decided.at(name)
        edited[decided.document[rows[on_record[rows]]]] = True
    edited &= sum((routes.entered[name] for name in editors), np.zeros(len(edited), np.int64)) > 0
    for name in plan.graph.text_makers:
        edited |= routes.entered[name] > 0
    source_keys = key_words(data.table[DOC_KEY])
    source_order = key_order(source_keys)
    texts = _source_texts(data)
    shown = [(shard, table) for shard, table in rows_of_task(job) if table is not None]
    hashes = text_hashes(pa.chunked_array([texts]))[source_order] if shown else np.empty(0, np.uint64)
    for shard, table in shown:
        answer.saw("text")
        keys = key_words(table[DOC_KEY])
        place = places_in(source_keys[source_order], keys)
        here = place < len(source_keys)
        same = np.ones(len(keys), bool)
        mine = one_chunk(table["text_hash"]).to_numpy()
        same[here] = mine[here] == hashes[place[here]]
        wrong = here & ~same & ~edited[places_in(listed, keys)]
        unlike = remade.unlike(keys, hashes=mine) & ~wrong
        _report_texts(wrong, unlike, ~here, table["row"].to_pylist(), table[DOC_KEY], shard, answer, most)
    for entry in job.files:
        if entry.role != "data":
            continue
        answer.saw("text")
        with opened(entry.folder, entry.path) as file:
            if TEXT not in file.schema_arrow.names:
                continue  # the check of footers has said so
            start = 0
            for group in range(file.metadata.num_row_groups):
                piece = file.read_row_group(group, columns=[DOC_KEY, TEXT], use_threads=False)
                keys = key_words(piece[DOC_KEY])
                order = key_order(keys)
                place = places_in(source_keys[source_order], keys[order])
                here = place < len(source_keys)
                theirs = texts.take(pa.array(source_order[place[here]]))
                shown_texts = one_chunk(piece[TEXT]).take(pa.array(order)).cast(theirs.type)
                mine = shown_texts if here.all() else shown_texts.filter(pa.array(here))
                same = np.ones(len(order), bool)
                same[here] = np.asarray(pc.fill_null(pc.equal(mine, theirs), False))
                may = edited[places_in(listed, keys[order])]
                numbers = (start + order).tolist()
                shown_keys = one_chunk(piece[DOC_KEY]).take(pa.array(order))
                wrong = here & ~same & ~may
                unlike = remade.unlike(keys[order], shown_texts) & ~wrong
                _report_texts(wrong, unlike, ~here, numbers, shown_keys, entry.path, answer, most)
                start += piece.num_rows


def _report_texts(
    other: np.ndarray,
    unlike: np.ndarray,
    stray: np.ndarray,
    rows: list[int],
    keys: pa.Array | pa.ChunkedArray,
    path: str,
    answer: Answer,
    most: int,
) -> None:
    for message, wrong in (
        ("its text differs from its source's, and the ledger names no node that changed it", other),
        ("its text differs from what the nodes in the ledger produce from its source's", unlike),
        ("is not among the documents of the slice that its task read", stray),
    ):
        for position in np.flatnonzero(wrong)[:most].tolist():
            answer.fail("text", message, path, row=rows[position], document=keys[position].as_py().hex())


def _source_texts(data: SliceData) -> pa.Array:
    """The texts that a source brought; all null where it brought payloads."""
    return one_chunk(data.table[TEXT]) if TEXT in data.table.column_names else pa.nulls(data.table.num_rows, TEXT_TYPE)


def data_source(plan: Plan, job: TaskJob) -> str:
    """The source that a task reads."""
    return plan.slices[job.task].source


def _replay(job: TaskJob, plan: Plan, data: SliceData, ledger: pa.Table, path: str, answer: Answer) -> Remade:
    """Nodes that need no corpus-wide answer decide about sampled documents as the ledger says. Returns the texts that
    come of that."""
    source = data_source(plan, job)
    table = take(data.table, _sampled(plan, data, ledger))
    told = told_by(ledger, table)
    slice_rows = SliceRows(plan.graph, source, table)
    decided = traverse(plan.graph, slice_rows, _AuditAnswers(job, plan, told, path, answer))
    compare_measured(job, plan, slice_rows, decided, answer)
    guessed = np.zeros(slice_rows.count, bool)
    for node in plan.graph.nodes:
        rows = slice_rows.states[node.name].rows
        if node.spec.changes_text and node.name not in decided:
            guessed[rows] |= np.array([(node.name, key) in told for key in keys_of(slice_rows, rows)], bool)
        if node.spec.makes_text and node.name not in decided:
            guessed[rows] = True
    return _remade(job, plan, slice_rows, guessed)


class _AuditAnswers(Answers):
    """What the audit can decide again is decided again; the rest is as the output says.

    What a stage measured that may not find the same again, or only nearly, is taken from the output's signals: the audit then
    shows that what was published follows from what was recorded, and contacts no model. What the whole corpus decided is taken
    from the ledger, and what follows from it is not replayed.
    """

    def __init__(
        self, job: TaskJob, plan: Plan, told: Mapping[tuple[str, bytes], Mapping[str, Any]], path: str, answer: Answer
    ) -> None:
        self.job = job
        self.told = told
        self.surveys = [
            (node.name, node.name)
            for node in plan.graph.nodes
            if node.spec.keeps_notes and not any(path.startswith(f"notes/{node.name}/") for path in job.broken)
        ]
        self.plan = plan
        self.rules = {node.name: frozenset(node.spec.irreproducible) for node in plan.graph.nodes}
        self.path = path
        self.answer = answer

    def read(self, slice_rows: SliceRows) -> Outcome | None:
        outcome = super().read(slice_rows)
        self._compare(slice_rows.source, slice_rows, outcome)
        return outcome

    def decided(self, node: Node, slice_rows: SliceRows) -> None:
        self._compare(node.name, slice_rows, slice_rows.states[node.name].outcome)

    def _compare(self, name: str, slice_rows: SliceRows, outcome: Outcome | None) -> None:
        keys = keys_of(slice_rows, slice_rows.states[name].rows)
        facts = self._facts(name, keys, outcome)
        _compare(self.plan.graph.ports_of(name), name, keys, outcome, self.told, self.path, self.answer, facts)

    def recorded_signals(self, node: Node, slice_rows: SliceRows) -> dict[str, pa.Array] | None:
        if not self.measures(node):
            return recorded_signals(self.job, node, slice_rows)
        # What took too long or ended a parser once is not tried again: that would be its third time.
        state = slice_rows.states[node.name]
        facts = self._facts(node.name, keys_of(slice_rows, state.rows), None)
        return slice_rows.measure_some(node, ~facts) if facts.any() else None

    def _facts(self, name: str, keys: Sequence[bytes], outcome: Outcome | None) -> np.ndarray:
        """Which documents a rule decided that depends on the machine: by the ledger, or now; bool, one per key."""
        rules = self.rules.get(name, frozenset())
        found = np.array([self.told.get((name, key), {}).get("rule") in rules for key in keys], bool)
        if outcome is not None and rules:
            found |= np.isin(outcome.rule, [i for i, rule in enumerate(outcome.rules) if rule in rules])
        return found

    def measures(self, node: Node) -> bool:
        return node.spec.reproducible and not node.is_fact

    def noted(self, node: Node, slice_rows: SliceRows, notes: pa.Table | None) -> None:
        _compare_notes(self.job, node, slice_rows, notes, self.answer)

    def decides(self, node: Node) -> bool:
        return not node.settles

    def undecided(self, node: Node, slice_rows: SliceRows) -> Outcome:
        return as_told(node, slice_rows, self.told)


def _compare_notes(job: TaskJob, node: Node, slice_rows: SliceRows, surveyed: pa.Table | None, answer: Answer) -> None:
    """The notes that the output keeps about replayed documents are those that they give when they are surveyed again."""
    role, state = notes_role(node.name), slice_rows.states[node.name]
    again = {} if surveyed is None else {row[DOC_KEY]: row for row in surveyed.to_pylist()}
    entry = next((entry for entry in job.files if entry.role == role), None)
    kept: dict[bytes, dict[str, Any]] = {}
    if entry is not None and surveyed is not None:
        table, _ = task_rows(entry, job.task)
        wanted = slice_rows.table[DOC_KEY].take(pa.array(state.rows))
        mine = table.filter(pc.is_in(table[DOC_KEY], value_set=one_chunk(wanted)))
        kept = {row[DOC_KEY]: {n: v for n, v in row.items() if n != EMITTED} for row in mine.to_pylist()}
    answer.saw("replay", len(state.rows))
    for key in sorted(again.keys() | kept.keys()):
        if kept.get(key) != again.get(key):
            said = "no note of it is kept" if key not in kept else "its kept note is not what it gives"
            place = {"node": node.name, "document": key.hex()}
            answer.fail("replay", f"{said} when it is surveyed again", None if entry is None else entry.path, **place)


def _remade(job: TaskJob, plan: Plan, slice_rows: SliceRows, guessed: np.ndarray) -> Remade:
    """The texts with which replayed documents leave for the output. `guessed`: rows whose text was not produced again."""
    words, hashes = [np.empty((0, 2), np.uint64)], [np.empty(0, np.uint64)]
    for edge in job.outputs[job.output]:
        name, _, port = edge.rpartition(".")
        state = slice_rows.states[name] if name in slice_rows.states else None
        if state is None or state.outcome is None:
            continue
        rows = state.rows[state.outcome.port == plan.graph.ports_of(name).index(port)]
        rows = rows[~guessed[rows]]
        words.append(slice_rows.keys[rows])
        if plan.graph.has_text[name] == "all":
            hashes.append(text_hashes(pa.chunked_array([slice_rows.column(name, TEXT, rows)], TEXT_TYPE)))
        else:
            words.pop()
    keys = np.concatenate(words)
    order = key_order(keys)
    return Remade(keys[order], np.concatenate(hashes)[order])


def _sampled(plan: Plan, data: SliceData, ledger: pa.Table) -> np.ndarray:
    """Rows of the slice: those of the lowest seeded rank per node of the ledger, and of all documents."""
    keys = key_words(data.table[DOC_KEY])
    seed = plan.config.seed
    chosen = [np.argsort(dropped_rank(keys, seed), kind="stable")[:SAMPLE]]
    order = key_order(keys)
    for node in pc.unique(ledger["node"]).to_pylist():
        listed = key_words(ledger.filter(pc.equal(ledger["node"], node))[DOC_KEY])
        some = listed[np.argsort(dropped_rank(listed, seed), kind="stable")[:SAMPLE]]
        some = some[key_order(some)]
        place = places_in(keys[order], some)
        chosen.append(order[place[place < len(keys)]])
    return np.unique(np.concatenate(chosen))


def _compare(
    ports: tuple[str, ...],
    name: str,
    keys: Sequence[bytes],
    outcome: Outcome | None,
    told: Mapping[tuple[str, bytes], Mapping[str, Any]],
    path: str,
    answer: Answer,
    facts: np.ndarray,
) -> None:
    """The decisions about documents with some keys, made again, are those of the ledger. Those that are facts on record
    are not compared."""
    if outcome is None:
        return
    answer.saw("replay", len(keys))
    for position, key in enumerate(keys):
        if facts[position]:
            continue
        item = told.get((name, key))
        again = _decision(outcome, ports, position)
        before = _plain(ports) if item is None else {column: item[column] for column in again}
        if not _same(before, again):
            place = {"node": name, "document": key.hex(), "row": None if item is None else item["row"]}
            answer.fail(
                "replay", f"the ledger says {_words(before)}; decided again, it is {_words(again)}", path, **place
            )


def _plain(ports: tuple[str, ...]) -> dict[str, Any]:
    return {"port": ports[0], "copies": 1, "rule": None, "failed": [], "value": None, "threshold": None}


def _decision(outcome: Outcome, ports: tuple[str, ...], row: int) -> dict[str, Any]:
    port, rule = int(outcome.port[row]), int(outcome.rule[row])
    value, limit = float(outcome.value[row]), float(outcome.threshold[row])
    made = {
        "port": ports[port] if port >= 0 else None,
        "copies": int(outcome.copies[row]) if port >= 0 else 0,
        "rule": outcome.rules[rule] if rule >= 0 else None,
        "failed": [n for bit, n in enumerate(outcome.rules) if int(outcome.failed[row]) >> bit & 1],
        "value": None if math.isnan(value) else value,
        "threshold": None if math.isnan(limit) else limit,
    }
    plain = _plain(ports)
    # A plain emission is in no ledger, whatever numbers a stage left beside it.
    return plain if all(made[name] == plain[name] for name in ("port", "copies", "rule", "failed")) else made


def _same(before: Mapping[str, Any], again: Mapping[str, Any]) -> bool:
    if any(before[name] != again[name] for name in ("port", "copies", "rule", "failed")):
        return False
    for name in ("value", "threshold"):
        a, b = before[name], again[name]
        if (a is None) != (b is None) or (a is not None and not math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-12)):
            return False
    return True


def _words(decision: Mapping[str, Any]) -> str:
    return canonical({name: value for name, value in decision.items() if value not in (None, [])}).decode("utf-8")
