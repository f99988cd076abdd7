"""Two outputs compared: what differs in what made them, and the documents that entered, left, changed copies or go for another
reason. Runs in the reading process: outputs may be anybody's."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gristmill.pipeline.audit.open_files import Damaged, Unreadable, what_a_run_wrote
from gristmill.pipeline.comparison.differences import causes, differences
from gristmill.pipeline.comparison.fates import ABSENT, REMOVED, UNKNOWN, Fate, Fates, Walk
from gristmill.pipeline.comparison.inputs import Inputs, Shared, inputs_of
from gristmill.pipeline.comparison.join import Join, JoinedDocuments, Side
from gristmill.pipeline.errors import ConfigError, DataError
from gristmill.pipeline.storage import local
from gristmill.pipeline.whatif.recorded_run import RecordedRun
from gristmill.pipeline.whatif.texts import Text, texts_of

SIDES: tuple[Side, Side] = ("a", "b")
MOST_EXAMPLES = 12
MOST_TEXTS = 400
"""Documents whose texts are looked up."""
MOST_CHANGED_FILES = 20


@dataclass
class Pair:
    """Two outputs, joined.

    Attributes:
        runs: both, opened.
        join: what documents are joined by, and `because`, why.
        plain: (source, fate in a, fate in b, documents) of documents that neither ledger lists and that fare otherwise.
        numbers: see `JoinedDocuments.join`.
    """

    runs: dict[Side, RecordedRun]
    fates: Fates
    documents: JoinedDocuments
    join: Join
    because: str
    inputs: dict[Side, Inputs]
    plain: list[tuple[str, int, int, int]] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)


@contextmanager
def opened_pair(
    a: str, b: str, *, rows: bool, join: str = "auto", beside: Sequence[str] = (), beside_b: Sequence[str] = ()
) -> Iterator[Pair]:
    """Opens and joins two outputs.

    Args:
        rows: whether shards are read too.
        join: `doc_key`, `content`, or `auto`: by content where the runs read other files, or files that changed.
        beside, beside_b: folders of other outputs of each run.

    Raises ConfigError for a folder given twice, for one without a finished run and for sidecars that lie elsewhere; DataError
    for damaged files.
    """
    if _place(a) == _place(b):
        raise ConfigError(f"{a} is given twice: name two outputs.")
    runs: dict[Side, RecordedRun] = {
        "a": RecordedRun(a, beside, signals=False),
        "b": RecordedRun(b, beside_b, signals=False),
    }
    with tempfile.TemporaryDirectory(prefix="gristmill-compare-") as folder:
        try:
            inputs: dict[Side, Inputs] = {side: inputs_of(runs[side]) for side in SIDES}
            chosen, because = _chosen(join, inputs)
            fates = Fates()
            content = chosen == "content"
            documents = JoinedDocuments(Path(folder), fates, rows=rows or content, content=content)
            try:
                pair = Pair(runs, fates, documents, chosen, because, inputs)
                _read(pair, rows or content)
                yield pair
            finally:
                documents.close()
        except (Damaged, Unreadable) as error:
            raise DataError(f"{a} or {b}: a file {error}. `gristmill audit` shows which; restore it.") from error


def _place(folder: str) -> str:
    place = local(folder)
    return str(place.resolve()) if place.exists() else folder.rstrip("/")


def _chosen(join: str, inputs: Mapping[Side, Inputs]) -> tuple[Join, str]:
    common, changed = inputs["a"].common(inputs["b"]), inputs["a"].changed(inputs["b"])
    if join == "doc_key":
        return "doc_key", "as asked"
    if join == "content":
        return "content", "as asked"
    if changed:
        return "content", f"{len(changed):,} files hold something else under the same name, such as {changed[0]}"
    if not common and inputs["a"].sizes and inputs["b"].sizes:
        return "content", "the runs read no file in common"
    return "doc_key", f"{common:,} files were read by both"


def _read(pair: Pair, rows: bool) -> None:
    walks = {side: Walk(pair.runs[side].manifest, pair.fates) for side in SIDES}
    for side in SIDES:
        for record in pair.runs[side].records(()):
            if record.ledger.num_rows:
                pair.documents.add(f"told_{side}", walks[side].of(record))
        if rows:
            pair.documents.add_rows(side, pair.runs[side])
    ways: dict[Side, list[tuple[int, int, int]]] = {"a": [], "b": []}
    shared: dict[tuple[Side, str, Shared], list[int]] = {}
    absent, unknown, removed = (pair.fates.number(fate) for fate in (ABSENT, UNKNOWN, REMOVED))
    fewer = _lost_documents(pair)
    for side, other in zip(SIDES, reversed(SIDES), strict=True):
        for task, one in pair.inputs[side].tasks.items():
            known = pair.inputs[side].shared(task, pair.inputs[other])
            shared.setdefault((side, one.source, known), []).append(task)
            way = (
                (absent, 0) if known == "no" else (unknown, 0) if known == "partly" else walks[other].plain[one.source]
            )
            ways[side].append((task, *((removed, 0) if task in fewer[other] else way)))
    pair.numbers = pair.documents.join(ways)
    if not rows:
        _add_plain(pair, walks, shared)
        _add_removed(pair, walks, fewer)


def _lost_documents(pair: Pair) -> dict[Side, set[int]]:
    """By side, tasks from which documents were taken out that the other version of the same run still has: those that only the
    other's ledger lists."""
    if pair.runs["a"].manifest.run != pair.runs["b"].manifest.run:
        return {"a": set(), "b": set()}
    gone = {side: {task: one.removed for task, one in pair.inputs[side].tasks.items()} for side in SIDES}
    return {
        side: {task for task, count in gone[side].items() if count > gone[other].get(task, 0)}
        for side, other in zip(SIDES, reversed(SIDES), strict=True)
    }


def _add_removed(pair: Pair, walks: Mapping[Side, Walk], fewer: Mapping[Side, set[int]]) -> None:
    """Counts documents that were taken out of one version and that no ledger of the other names, for no node dropped them."""
    removed = pair.fates.number(REMOVED)
    for side, other in zip(SIDES, reversed(SIDES), strict=True):
        here, there = pair.inputs[side].tasks, pair.inputs[other].tasks
        by_source: dict[str, list[int]] = {}
        for task in sorted(fewer[side] & there.keys()):
            by_source.setdefault(here[task].source, []).append(task)
        for source, tasks in by_source.items():
            gone = sum(here[task].removed - there[task].removed for task in tasks)
            gone -= pair.documents.count(f"{pair.documents.listed(other, tasks)} AND f{side} = {removed}")
            if gone > 0:
                fates = {side: removed, other: walks[other].plain[source][0]}
                pair.plain.append((source, fates["a"], fates["b"], gone))


def _add_plain(
    pair: Pair, walks: Mapping[Side, Walk], shared: Mapping[tuple[Side, str, Shared], Sequence[int]]
) -> None:
    """Counts documents in neither ledger whose way alone differs: another graph, another output, files that one run read."""
    for (side, source, known), tasks in shared.items():
        ways = [walks[one].plain[source] if known == "yes" or one == side else None for one in SIDES]
        if known == "partly" or (known == "yes" and side == "b") or ways[0] == ways[1]:
            continue
        condition = pair.documents.listed(side, tasks)
        if known == "yes":
            condition += f" OR {pair.documents.listed('b', shared.get(('b', source, 'yes'), ()))}"
        slices = [pair.inputs[side].tasks[task] for task in tasks]
        count = sum(one.rows + one.rejects - one.removed for one in slices) - pair.documents.count(condition)
        if count > 0:
            fates = [pair.fates.number(ABSENT) if way is None else way[0] for way in ways]
            pair.plain.append((source, fates[0], fates[1], count))


def compare(
    a: str,
    b: str,
    *,
    rows: bool,
    show: int = 3,
    join: str = "auto",
    beside: Sequence[str] = (),
    beside_b: Sequence[str] = (),
) -> dict[str, Any]:
    """Everything about two outputs but their distributions, for programs; see `opened_pair`. `show`: examples of each change,
    with texts where `rows`."""
    with (
        what_a_run_wrote(f"{a} or {b}"),
        opened_pair(a, b, rows=rows, join=join, beside=beside, beside_b=beside_b) as pair,
    ):
        return told(pair, rows=rows, show=show)


def told(pair: Pair, *, rows: bool, show: int) -> dict[str, Any]:
    """A joined pair as JSON."""
    manifests = {side: pair.runs[side].manifest for side in SIDES}
    found = differences(manifests["a"], manifests["b"])
    why = causes(manifests["a"], manifests["b"], found) | {"": [one["key"] for one in found["removals"]]}
    changes = _changes(pair, why)
    _add_examples(pair, changes, show, rows)
    changed = pair.inputs["a"].changed(pair.inputs["b"])
    totals = pair.documents.totals()
    return {
        "a": _side(pair, "a"),
        "b": _side(pair, "b"),
        "same_run": manifests["a"].run == manifests["b"].run,
        "differences": found,
        "join": {
            "by": pair.join,
            "because": pair.because,
            "from": "rows" if rows or pair.join == "content" else "ledgers",
            "files_common": pair.inputs["a"].common(pair.inputs["b"]),
            "files_changed": changed[:MOST_CHANGED_FILES],
            "unjoined": {side: pair.numbers[f"unjoined_{side}"] for side in SIDES},
            "unknown": totals["unknown"],
            "contrary_to_ledger": {side: pair.numbers[f"contrary_{side}"] for side in SIDES},
        },
        "in_both": totals["both"] if rows or pair.join == "content" else None,
        "changes": changes,
    }


def _side(pair: Pair, side: Side) -> dict[str, Any]:
    run = pair.runs[side]
    one = run.manifest
    return {
        "folder": run.folder,
        "name": one.name,
        "output": one.output,
        "run": one.run,
        "written": one.varies.written,
        "rows": one.data.rows,
        "bytes": one.data.bytes,
        "read": sum(source.rows + source.rejects for source in one.sources.values()),
        "files": len(pair.inputs[side].sizes),
    }


def _changes(pair: Pair, why: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    known = pair.fates.known
    for one in pair.documents.changes():
        made.append(_change(one["kind"], known[one["fa"]], known[one["fb"]], one["documents"], why))
        made[-1] |= {
            "copies_a": one["copies_a"],
            "copies_b": one["copies_b"],
            "_of": (one["kind"], one["fa"], one["fb"]),
        }
    for source, first, second, count in pair.plain:
        inside = [known[fate].what == "in" for fate in (first, second)]
        kind = "left" if inside == [True, False] else "entered" if inside == [False, True] else "reason"
        if kind == "reason" and "absent" in (known[first].what, known[second].what):
            continue
        change = _change(kind, known[first], known[second], count, why)
        made.append(
            {**change, "copies_a": int(inside[0]) * count, "copies_b": int(inside[1]) * count, "source": source}
        )
    return sorted(made, key=lambda one: (-one["documents"], one["kind"], str(one["a"]), str(one["b"])))


def _change(kind: str, a: Fate, b: Fate, documents: int, why: Mapping[str, list[str]]) -> dict[str, Any]:
    """A change; it is put down to the node that keeps documents out on one side, or that makes copies on the later one."""
    by = a if kind == "entered" else b if b.node else a
    was_removed = REMOVED in (a, b)
    return {
        "kind": kind,
        "a": {"fate": a.what, "node": a.node or None, "rule": a.rule or None},
        "b": {"fate": b.what, "node": b.node or None, "rule": b.rule or None},
        "node": by.node or None,
        "rule": by.rule or None,
        "documents": documents,
        "causes": why.get("" if was_removed else by.node, [])[:20],
        "examples": [],
    }


def _add_examples(pair: Pair, changes: Sequence[dict[str, Any]], show: int, rows: bool) -> None:
    by_change = {one.pop("_of"): one for one in changes if "_of" in one}
    found = pair.documents.examples(MOST_EXAMPLES if rows else show) if show else []
    wanted: dict[Side, dict[bytes, int]] = {"a": {}, "b": {}}
    ranks = {kind: rank for rank, kind in enumerate(by_change)}
    if rows:
        for one in sorted(found, key=lambda one: ranks[one["kind"], one["fa"], one["fb"]]):
            if sum(len(keys) for keys in wanted.values()) >= MOST_TEXTS:
                break
            for side in SIDES:
                if one[f"k{side}"] is not None:
                    wanted[side][one[f"k{side}"]] = one[f"t{side}"]
    texts: dict[Side, dict[bytes, Text]] = {"a": {}, "b": {}}
    for side in SIDES:
        if wanted[side]:
            texts[side] = texts_of(pair.runs[side], wanted[side])
    for one in found:
        change = by_change[one["kind"], one["fa"], one["fb"]]
        text = texts["a"].get(one["ka"]) or texts["b"].get(one["kb"])
        change["examples"].append(
            {
                "doc_key": (one["ka"] or one["kb"]).hex(),
                "doc_key_b": None if one["kb"] is None else one["kb"].hex(),
                "id": one["id"] if text is None or text.id is None else text.id,
                "url": None if text is None else text.url,
                "text": None if text is None else text.text,
                "a": _saw(one, "a"),
                "b": _saw(one, "b"),
            }
        )
    for change in changes:
        change["examples"] = sorted(change["examples"], key=_without_text)[:show]


def _without_text(example: Mapping[str, Any]) -> bool:
    return example["text"] is None


def _saw(one: Mapping[str, Any], side: Side) -> dict[str, Any]:
    return {
        "copies": one[f"c{side}"],
        "value": _finite(one[f"value_{side}"]),
        "threshold": _finite(one[f"threshold_{side}"]),
        "witness": one[f"witness_{side}"],
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _answer(argument: Mapping[str, Any]) -> dict[str, Any]:
    return compare(**argument)


FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {"compare": _answer}
"""What a reading process is asked for."""
