"""A few documents that a rule decided on, from the ledger of an output, with the beginnings of texts that it kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.pipeline.errors import DataError
from gristmill.pipeline.reader_process import ReaderCrashed, is_expendable, shared_reader
from gristmill.pipeline.storage import join, names_in, open_within

MOST_FILES = 16
"""Files of a folder that are looked at: what took half of a run is in the first."""
ROWS, TEXT_ROWS = 1 << 12, 1 << 5
"""Rows that are looked at together, and rows with their texts, which may be long."""
SHOWN = 300
"""Characters of a text."""


@dataclass(frozen=True)
class RuleExample:
    """A document that a rule decided on: its id or else its doc_key in hexadecimal, what the ledger says of it, and the
    beginning of its text where the output kept it."""

    id: str
    value: float | None
    threshold: float | None
    witness: str | None
    text: str | None


def rule_examples(folder: str, node: str, rule: str, most: int) -> list[RuleExample]:
    """At most `most` documents on which a rule decided at a node, those with a text first. Raises DataError for files that
    cannot be read."""
    if is_expendable():
        return _examples(folder, node, rule, most)
    try:
        found = shared_reader(__name__).call("examples", [folder, node, rule, most])
    except ReaderCrashed as error:
        raise DataError(f"{folder}: the ledger cannot be read: {error}.") from error
    return [RuleExample(**one) for one in found]


def _examples(folder: str, node: str, rule: str, most: int) -> list[RuleExample]:
    texts: dict[bytes, str] = {}
    for table in _rows(folder, "dropped", ["doc_key", "text"], node, rule, most):
        starts = pc.utf8_slice_codeunits(table["text"], 0, SHOWN).to_pylist()
        texts |= dict(zip(table["doc_key"].to_pylist(), starts, strict=True))
        if len(texts) >= most:
            break
    found: dict[bytes, RuleExample] = {}
    columns = ["doc_key", "id", "value", "threshold", "witness"]
    for table in _rows(folder, "ledger", columns, node, rule, most, frozenset(texts)):
        for row in table.to_pylist():
            key = row.pop("doc_key")
            found[key] = RuleExample(**{**row, "id": row["id"] or key.hex()}, text=texts.get(key))
        if len(found) >= most and texts.keys() <= found.keys():
            break
    return sorted(found.values(), key=lambda one: one.text is None)[:most]


def _rows(
    folder: str, place: str, columns: list[str], node: str, rule: str, most: int, keys: frozenset[bytes] = frozenset()
) -> Iterator[pa.Table]:
    """By file, the first `most` rows about a rule at a node, and those of `keys`."""
    for name in [name for name in names_in(join(folder, place)) if name.endswith(".parquet")][:MOST_FILES]:
        try:
            with open_within(folder, f"{place}/{name}") as stream:
                file = pq.ParquetFile(stream)
                size = TEXT_ROWS if "text" in columns else ROWS
                for batch in file.iter_batches(size, columns=["node", "rule", *columns], use_threads=False):
                    table = pa.Table.from_batches([batch])
                    chosen = table.filter(pc.and_(pc.equal(table["node"], node), pc.equal(table["rule"], rule)))
                    if not chosen.num_rows:
                        continue
                    wanted = chosen.filter(pc.is_in(chosen["doc_key"], pa.array(list(keys), chosen["doc_key"].type)))
                    yield pa.concat_tables([wanted, chosen.slice(0, most)]).select(columns)
        except (OSError, pa.ArrowException, KeyError) as error:
            raise DataError(f"{join(folder, place, name)}: cannot be read: {error}") from error


FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    "examples": lambda argument: [asdict(one) for one in _examples(*argument)],
}
"""What a reading process is asked for."""
