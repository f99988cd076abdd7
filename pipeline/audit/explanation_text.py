"""The way of a document as values, as JSON and as lines for people."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gristmill.pipeline.audit.kind_places import Piece

_CLUSTER = re.compile(r"\w*_duplicate(_of_earlier)?")
"""Rules that drop the members of a cluster but for its keeper: the value is the cluster's size, the witness the keeper."""
_KEEPER = re.compile(r"(?P<key>[0-9a-f]{32})(:(?P<estimated>~?)(?P<similarity>[01]\.[0-9]{3}))?")


@dataclass(frozen=True)
class Step:
    """What a node did with a document.

    Attributes:
        node: its name, or a source's.
        decision: dropped, quarantined, marked or emitted.
        port: where it left, or None.
        copies_in, copies_out: with how many copies it came and left.
        rule, value, threshold: the deciding rule, what it saw and what it compared that with.
        failed: all failing rules.
        witness: what else decided it: a document's key, or an offset and a digest.
        witness_document: id and URL of the witness, where it is a document that this output knows.
        columns: what the node measured and found, as far as the output holds it.
        text: `made` where the node made the document's text, `changed` where it may have changed it (the rule says
            whether it did), else None.
    """

    node: str
    use: str
    decision: str
    port: str | None
    copies_in: int
    copies_out: int
    rule: str | None = None
    value: float | None = None
    threshold: float | None = None
    failed: tuple[str, ...] = ()
    witness: str | None = None
    witness_document: Mapping[str, Any] | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    text: str | None = None


@dataclass(frozen=True)
class Place:
    """Where a copy of a document stands."""

    file: str
    row: int
    copy: int | None = None


@dataclass(frozen=True)
class DocumentWay:
    """The way of one document.

    Attributes:
        source: name, file path relative to the source's root, part of the file, the record's number in the file or the
            byte at which it begins (see pipeline.audit.origin), licence and snapshot.
        outputs: output → copies that went there.
        shards: where they stand in this output.
        text: where its text is kept although it was dropped.
        pieces: where they lie in this output's kinds, `more_pieces` are not told.
    """

    doc_key: str
    id: str | None
    url: str | None
    source: Mapping[str, Any]
    steps: tuple[Step, ...]
    outputs: Mapping[str, int]
    shards: tuple[Place, ...]
    text: tuple[Place, ...] = ()
    columns: Mapping[str, Any] = field(default_factory=dict)
    pieces: tuple[Piece, ...] = ()
    more_pieces: int = 0


def as_json(value: Any) -> Any:
    """A way, or a part of one, as JSON values: bytes in hexadecimal, times as text."""
    if isinstance(value, (Step, Place, Piece, DocumentWay)):
        return {name: as_json(item) for name, item in vars(value).items()}
    if isinstance(value, Mapping):
        return {str(name): as_json(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def document_lines(document: DocumentWay, output: str) -> list[str]:
    """A way for people; `output` is the output that they look at."""
    names = [f"id {document.id}" if document.id is not None else "", document.url or ""]
    title = f"document {document.doc_key}"
    made = [title + (f" ({', '.join(n for n in names if n)})" if any(names) else "")]
    source = document.source
    where = f"{source['path']}"
    if source["record"] is not None:
        where += f", record {source['record']}"
    elif source["byte"] is not None:
        where += f", the record that begins at byte {source['byte']}"
    elif source["part"]:
        where += f", somewhere in {', '.join(f'{n} {v}' for n, v in source['part'].items())}"
    stored = [document.columns.get(name) for name in ("offset", "length")]
    if all(isinstance(value, int) for value in stored):
        where += f"; by its columns, {stored[1]} bytes from byte {stored[0]} on"
    licence = source["license"]
    named = licence["spdx"] or licence.get("statement", "unknown") if licence else None
    stated = f", licence {named} (stated by {licence['stated_by']})" if licence else ""
    snapshot = f", snapshot {source['snapshot']}" if source["snapshot"] else ""
    made.append(f"  read from {source['name']}: {where}{snapshot}{stated}")
    width = max(len(step.node) for step in document.steps)
    for step in document.steps:
        made.append(f"  {step.node:<{width}}  {_step(step)}")
        made += [f"  {'':<{width}}    {line}" for line in _step_details(step)]
    for place in document.shards:
        made.append(f"  copy {place.copy} is in {place.file}, row {place.row}")
    made += [f"  {piece.line()}" for piece in document.pieces]
    if document.more_pieces:
        made.append(f"  … and {document.more_pieces} more pieces in kinds of this output")
    for name, copies in document.outputs.items():
        if name != output:
            made.append(f"  {copies} {'copy' if copies == 1 else 'copies'} went to the output {name}, another folder")
    if not document.outputs:
        made.append("  it is in no output")
    made += [f"  its text is kept in {place.file}, row {place.row}" for place in document.text]
    return made


def _step(step: Step) -> str:
    said = step.decision
    if step.port is not None:
        said += f" on {step.port}"
        said += f" in {step.copies_out} copies" if step.copies_out != 1 else ""
    if step.rule is None:
        return said
    if step.value is not None and _CLUSTER.fullmatch(step.rule):
        return f"{said}: {step.rule} (a cluster of {step.value:g} documents, of which one is kept)"
    numbers = "" if step.value is None else f" (value {step.value:g}"
    if numbers and step.threshold is not None:
        numbers += f", threshold {step.threshold:g}"
    return f"{said}: {step.rule}{numbers}{')' if numbers else ''}"


def _step_details(step: Step) -> list[str]:
    lines = []
    if step.text is not None:
        lines.append("the text was made here" if step.text == "made" else "the text may have been changed here")
    if len(step.failed) > 1:
        lines.append(f"failed: {', '.join(step.failed)}")
    if step.witness is not None:
        known = step.witness_document
        key = _KEEPER.fullmatch(step.witness)
        said = step.witness if key is None else key["key"]
        if known is not None:
            identity = ", ".join(str(v) for v in (known["id"], known["url"]) if v is not None)
            said = f"{said} ({identity}; {known['file']}, row {known['row']})"
        if key is not None and key["similarity"]:
            said += f"; similarity to it {key['similarity']}{', estimated' if key['estimated'] else ''}"
        lines.append(f"witness: {said}")
    if step.columns:
        lines += textwrap.wrap(
            ", ".join(f"{name} {_value(value)}" for name, value in step.columns.items()), 100, break_long_words=False
        )
    return lines


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bytes):
        return value.hex()
    text = str(value)
    return text if len(text) <= 120 else f"{text[:120]}…"
