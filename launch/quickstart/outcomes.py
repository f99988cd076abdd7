"""The small web's answers and what a finished run did with each document, read from the outputs alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gristmill.launch.quickstart.score import Answer, Outcome

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.pipeline.planning.plan import Plan

DEDUPLICATIONS = ("minhash", "exact")
"""Stages whose witness is the document that was kept instead."""


@dataclass(frozen=True)
class Page:
    """A document as it went in, for showing it."""

    id: str
    url: str
    text: str


@dataclass(frozen=True)
class Reason:
    """A ledger row of a document, for showing it."""

    node: str
    decision: str
    rule: str | None
    failed: tuple[str, ...]
    value: float | None
    threshold: float | None


@dataclass(frozen=True)
class RunTrace:
    """A run over the small web: every document's answer, page, outcome and the reasons in the ledger, by id."""

    answers: tuple[Answer, ...]
    pages: Mapping[str, Page]
    outcomes: Mapping[str, Outcome]
    reasons: Mapping[str, Sequence[Reason]]


def read_run_trace(plan: Plan) -> RunTrace:
    """Reads the outputs of a finished run. The documents' own texts come from the source, which makes them again."""
    answers: list[Answer] = []
    pages: dict[str, Page] = {}
    names: dict[bytes, str] = {}
    for row in _documents(plan):
        names[row["doc_key"]] = row["id"]
        pages[row["id"]] = Page(row["id"], row["url"], row["text"])
        answers.append(Answer(row["id"], *(row[f"answer_{name}"] for name in _ANSWERS)))
    reasons: dict[str, list[Reason]] = {}
    ended: dict[str, tuple[str, str | None]] = {}
    keepers: dict[str, str] = {}
    uses = {node.name: node.use for node in plan.graph.nodes}
    first = plan.graph.outputs[0].config.path
    discarded = {(edge.node, edge.port) for edge in plan.graph.discarded}
    for row in _rows(first, "ledger", _LEDGER):
        ident = names[row["doc_key"]]
        reasons.setdefault(ident, []).append(
            Reason(
                row["node"], row["decision"], row["rule"], tuple(row["failed"] or ()), row["value"], row["threshold"]
            )
        )
        if row["decision"] in ("dropped", "quarantined") or (row["node"], row["port"]) in discarded:
            ended[ident] = (row["node"], row["rule"])
            if uses.get(row["node"]) in DEDUPLICATIONS and row["witness"]:
                keepers[ident] = names[bytes.fromhex(row["witness"][:32])]
    outputs: dict[str, set[str]] = {}
    for output in plan.graph.outputs:
        for row in _rows(output.config.path, "data", ["doc_key"]):
            outputs.setdefault(names[row["doc_key"]], set()).add(output.name)
    languages = _languages(plan, names)
    before = _before_deduplication(plan)
    outcomes = {}
    for ident in pages:
        node, rule = ended.get(ident, (None, None))
        compared = bool(before) and node not in before
        keeper = keepers.get(ident, ident if compared else None)
        held = tuple(sorted(outputs.get(ident, ())))
        outcomes[ident] = Outcome(node, rule, compared, keeper, held, languages.get(ident))
    return RunTrace(tuple(answers), pages, outcomes, reasons)


_ANSWERS = ("language", "verdict", "kind", "copy", "cluster", "similarity", "trap")
_LEDGER = ["node", "doc_key", "decision", "port", "rule", "failed", "value", "threshold", "witness"]


def _documents(plan: Plan) -> Iterator[dict[str, Any]]:
    for one in plan.slices:
        if plan.graph.sources[one.source].config.format == "small_web":
            for member in one.each:
                yield from plan.graph.sources[one.source].read(member).table.to_pylist()


def _before_deduplication(plan: Plan) -> set[str]:
    """Sources and nodes upstream of the deduplication: what they drop is never compared. Empty without one."""
    nodes = [node.name for node in plan.graph.nodes if node.use in DEDUPLICATIONS]
    return set().union(*(plan.graph.ancestors[name] for name in nodes)) if nodes else set()


def _languages(plan: Plan, names: Mapping[bytes, str]) -> dict[str, str]:
    """The label of each document, from the signals of the language node, where the first output keeps them."""
    node = next((node.name for node in plan.graph.nodes if node.use == "language"), None)
    if node is None:
        return {}
    rows = _rows(plan.graph.outputs[0].config.path, f"signals/{node}", ["doc_key", "language", "language_script"])
    return {names[row["doc_key"]]: f"{row['language']}_{row['language_script']}" for row in rows}


def _rows(folder: str, part: str, columns: list[str]) -> Iterator[dict[str, Any]]:
    for table in _tables(folder, part, columns):
        yield from table.to_pylist()


def _tables(folder: str, part: str, columns: list[str]) -> Iterator[pa.Table]:
    import pyarrow.parquet as pq

    from gristmill.pipeline.storage import list_files, open_within

    for name in list_files(folder):
        if name.startswith(f"{part}/") and name.endswith(".parquet"):
            with open_within(folder, name) as stream:
                yield pq.ParquetFile(stream).read(columns=columns, use_threads=False)
