"""What modules say of themselves, as blocks (text, lists, tables of names and meanings, code), for terminals and pages."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

_GAP = re.compile(r" {2,}")
_ITEM = re.compile(r"(?:- |\d+\. )")
MOST_NAME = 30
"""Cells of a table's first column; a longer name has a line of its own."""


@dataclass(frozen=True)
class Block:
    """A paragraph of a docstring.

    Attributes:
        kind: code is as it is; a table has a row (name, meaning) for each of its entries; a list has its items.
        text: as it stands, lines and all.
        rows: of tables and lists; an item is (its sign, its text).
    """

    kind: Literal["text", "code", "table", "list"]
    text: str
    rows: tuple[tuple[str, str], ...] = ()


def blocks(doc: str) -> Iterator[Block]:
    """The paragraphs of a docstring."""
    for paragraph in inspect.cleandoc(doc).split("\n\n"):
        lines = paragraph.split("\n")
        if re.match(r" {4}|\S+:\n", paragraph):
            yield Block("code", paragraph)
        elif sum(_is_row(line) for line in lines) >= 2 and _is_row(lines[0]):
            yield Block("table", paragraph, tuple(_rows(lines)))
        elif any(_ITEM.match(line) for line in lines):
            yield from _with_items(lines)
        else:
            yield Block("text", paragraph)


def _is_row(line: str) -> bool:
    return not line.startswith(" ") and _GAP.search(line) is not None


def _rows(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    held: list[str] = []
    for line in lines:
        if _is_row(line) and held:
            yield _row(held)
            held = []
        held.append(line)
    yield _row(held)


def _row(lines: Sequence[str]) -> tuple[str, str]:
    name, first = _GAP.split(lines[0], maxsplit=1)
    return name, " ".join([first, *(line.strip() for line in lines[1:])])


def _with_items(lines: Sequence[str]) -> Iterator[Block]:
    before = [line for line in lines[: next(i for i, line in enumerate(lines) if _ITEM.match(line))]]
    if before:
        yield Block("text", "\n".join(before))
    items: list[list[str]] = []
    for line in lines[len(before) :]:
        if _ITEM.match(line):
            items.append([])
        items[-1].append(line.strip())
    rows = [(item[0].split(" ", 1)[0], " ".join([item[0].split(" ", 1)[1], *item[1:]])) for item in items]
    yield Block("list", "\n".join(lines[len(before) :]), tuple(rows))


def terminal_lines(block: Block, width: int) -> list[str]:
    """A block for a terminal of so many cells."""
    if block.kind == "code":
        return block.text.split("\n")
    if block.kind == "text":
        return textwrap.wrap(" ".join(block.text.split()), width)
    indent = 2 + min(MOST_NAME, max(len(name) for name, _ in block.rows)) if block.kind == "table" else 3
    lines = []
    for name, meaning in block.rows:
        start = name.ljust(indent) if len(name) < indent else " " * indent
        if len(name) >= indent:
            lines += textwrap.wrap(name, width)
        lines += textwrap.wrap(meaning, width, initial_indent=start, subsequent_indent=" " * indent)
    return lines


def markdown_lines(block: Block) -> list[str]:
    """A block for a page in Markdown."""
    if block.kind == "code":
        return ["```", inspect.cleandoc(block.text), "```"] if block.text.startswith("    ") else [block.text]
    if block.kind in ("text", "list"):
        return [block.text]
    cells = ([f"`{one}`" for one in name.split(", ")] for name, _ in block.rows)
    meanings = (meaning.replace("|", "\\|") for _, meaning in block.rows)
    return [
        "| name | meaning |",
        "|---|---|",
        *(f"| {', '.join(c)} | {m} |" for c, m in zip(cells, meanings, strict=True)),
    ]
