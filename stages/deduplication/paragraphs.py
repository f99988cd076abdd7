"""Lines or paragraphs that the corpus repeats are removed from their documents: menus, footers, licences, templates.

After CCNet, which removes lines that were seen before (Wenzek et al., arXiv:1911.00359), and Dolma, which does so with
paragraphs (Soldaini et al., arXiv:2402.00159); both decide within a part of the corpus or by a Bloom filter, this stage
exactly and over all of it.

    survey   a 128-bit digest of each passage (see `stages.deduplication.kernels.digests`) with its document and its
             number in it
    settle   passages that occur more than `max_repeats` times in the corpus; the documents that contain them get the list
    decide   they are cut out; a document of which nothing is left is dropped

Every document with a new text is in the ledger: its value is the number of passages that it lost, its witness the place
(bytes) and the digest of the first. Notes take 36 bytes for each passage; what travels back is 4 bytes for each that goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import field_validator

from gristmill.pipeline.document import (
    DOC_KEY,
    TEXT,
    TEXT_TYPE,
    blank_rows,
    key_words,
    keys_from_words,
    one_chunk,
    text_buffers,
)
from gristmill.pipeline.errors import ConservationError
from gristmill.pipeline.exchange import Exchange, Rows
from gristmill.pipeline.stage import (
    DROPPED,
    Cost,
    Decisions,
    Settled,
    SettledView,
    Stage,
    StageConfig,
    StageContext,
    StageSpec,
    one_or_several,
    signal,
    threshold,
)
from gristmill.stages.deduplication.content_keys import KEY, Normalise, digests_of
from gristmill.stages.deduplication.kernels.passages import NEWLINE, passages, without_passages
from gristmill.stages.deduplication.scopes import scope_hashes

REMOVED = "passages_removed"
EMPTIED = "emptied"


class ParagraphsConfig(StageConfig):
    """Config of `paragraphs`.

    Attributes:
        unit: `line`, or `paragraph`: lines between blank ones.
        max_repeats: a passage that occurs more often in the corpus (several times in one document counted so) is removed.
        keep_first: leave one occurrence: the first in the document with the lowest doc_key.
        min_characters: passages with fewer are left alone.
        normalise: how passages are compared: `words` (lower case, no accents, no punctuation, runs of digits as one: those
            without a word are left alone), `spaces` (runs of white space as one space) or `none` (byte by byte).
        within: columns; passages are counted among documents with equal values in them. None: the whole corpus.
    """

    unit: Literal["line", "paragraph"] = signal("paragraph")
    max_repeats: int = threshold(10, ge=1, le=1_000_000)
    keep_first: bool = threshold(True)
    min_characters: int = signal(1, ge=1)
    normalise: Normalise = signal("words")
    within: tuple[str, ...] = signal(())

    @field_validator("within", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return one_or_several(value)


class Paragraphs(Stage):
    """Removes repeated lines or paragraphs from texts."""

    Config = ParagraphsConfig
    version = 1
    summary = "removes lines or paragraphs that occur more than a number of times in the corpus"

    config: ParagraphsConfig

    def declare(self) -> StageSpec:
        return StageSpec(
            # about 20 lines or paragraphs a document
            cost=Cost(measure=0, survey=3.4, settle=0.5, note_bytes=800, shuffled_rows=20, shuffled_bytes=40),
            survey_reads={TEXT, *self.config.within},
            decide_reads={TEXT},
            findings=pa.schema([(TEXT, TEXT_TYPE), (REMOVED, pa.int32())]),
            rules=(EMPTIED, f"repeated_{self.config.unit}"),
            changes_text=True,
        )

    def check_survey_types(self, nothing: pa.Table) -> None:
        scope_hashes(nothing, self.config.within)

    def survey(self, batch: pa.Table, context: StageContext) -> pa.Table:
        """One row per passage with something to compare: `key` (16 bytes), `doc_key`, `number` in its document."""
        config = self.config
        data, offsets = text_buffers(batch[TEXT])
        most = int(np.count_nonzero(data[offsets[0] : offsets[-1]] == NEWLINE)) + batch.num_rows
        rows, numbers = np.empty(most, np.int32), np.empty(most, np.int32)
        starts, ends = np.empty(most, np.int64), np.empty(most, np.int64)
        found = passages(data, offsets, config.unit == "paragraph", config.min_characters, rows, numbers, starts, ends)
        scopes = scope_hashes(batch, config.within)[rows[:found]]
        digests, lengths = digests_of(data, starts[:found], ends[:found], config.normalise, scopes)
        chosen = np.flatnonzero(lengths)
        return pa.table(
            {
                KEY: keys_from_words(digests[chosen]),
                DOC_KEY: one_chunk(batch[DOC_KEY]).take(pa.array(rows[chosen])),
                "number": pa.array(numbers[chosen]),
            }
        )

    def settle(self, notes: Rows, exchange: Exchange, context: StageContext) -> Settled:
        """Keyed: `numbers` of the passages that a document loses (int32, ascending, as bytes) and the first one's `key`."""
        config = self.config
        gone = exchange.group(
            notes,
            [KEY],
            frequent,
            {"most": config.max_repeats, "keep_first": config.keep_first},
            sort=[KEY, DOC_KEY, "number"],
        )
        keyed = exchange.group(gone, [DOC_KEY], numbers_by_document, sort=[DOC_KEY, "number"])
        report = {"passages": notes.count, "removed": gone.count, "documents": keyed.count}
        exchange.release(gone)
        return Settled(keyed=keyed, report=report)

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        """New texts for the documents that lose passages."""
        rows = batch.num_rows
        port, rule, failed = np.zeros(rows, np.int16), np.full(rows, -1, np.int16), np.zeros(rows, np.uint64)
        count = np.zeros(rows, np.int32)
        text, witness = pa.nulls(rows, TEXT_TYPE), pa.nulls(rows, pa.string())
        found = None if settled is None else settled.columns
        changed = np.empty(0, np.int64)
        if found is not None:
            changed = np.flatnonzero(found["numbers"].is_valid().to_numpy())
        if found is not None and len(changed):
            chosen = found.take(pa.array(changed))
            numbers, bounds = _numbers(chosen["numbers"])
            count[changed] = np.diff(bounds)
            made, first = self._without(batch, changed, numbers, bounds)
            emptied = blank_rows(made)
            port[changed[emptied]] = DROPPED
            rule[changed] = np.where(emptied, 0, 1)
            failed[changed] = np.where(emptied, np.uint64(3), np.uint64(2))
            keys = key_words(chosen[KEY]).tolist()
            told = [f"{at} {high:016x}{low:016x}" for at, (high, low) in zip(first.tolist(), keys, strict=True)]
            made = pc.if_else(pa.array(emptied), pa.scalar(None, TEXT_TYPE), made)
            text, witness = _placed(made, changed, rows), _placed(pa.array(told, pa.string()), changed, rows)
        return Decisions(
            port=port,
            rules=self.spec.rules,
            rule=rule,
            failed=failed,
            value=np.where(count > 0, count, np.nan),
            witness=witness,
            columns={TEXT: text, REMOVED: pa.array(count)},
        )

    def _without(
        self, batch: pa.Table, rows: np.ndarray, numbers: np.ndarray, bounds: np.ndarray
    ) -> tuple[pa.Array, np.ndarray]:
        """The texts of `rows` without their passages `numbers`, and where the first of these began, in bytes."""
        texts = one_chunk(batch[TEXT]).take(pa.array(rows))
        data, offsets = text_buffers(texts)
        out, out_offsets = np.empty(int(offsets[-1] - offsets[0]), np.uint8), np.empty(len(rows) + 1, np.int64)
        first = np.empty(len(rows), np.int64)
        wrong = without_passages(
            data, offsets, self.config.unit == "paragraph", numbers, bounds, out, out_offsets, first
        )
        if wrong >= 0:
            key = batch[DOC_KEY][int(rows[wrong])].as_py().hex()
            raise ConservationError(
                f"the document {key} has fewer passages than when they were counted: its text is another one. Remove the "
                "work folder and run again."
            )
        made = pa.LargeStringArray.from_buffers(
            len(rows), pa.py_buffer(out_offsets), pa.py_buffer(out[: int(out_offsets[-1])])
        )
        return made, first


def _numbers(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """(int32 values, int64 bounds) of a column of int32 values as bytes."""
    array = one_chunk(column)
    _, offsets_buffer, data = array.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[array.offset : array.offset + len(array) + 1]
    values = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]].tobytes()
    return np.frombuffer(values, "<i4").astype(np.int32), (offsets - offsets[0]) // 4


def _placed(values: pa.Array, places: np.ndarray, rows: int) -> pa.Array:
    """Values at `places` of `rows`, null elsewhere."""
    index = np.full(rows, -1, np.int64)
    index[places] = np.arange(len(places))
    return values.take(pa.array(index, mask=index < 0))


# Functions for the exchange.


def frequent(tables: Iterator[pa.Table], most: int, keep_first: bool) -> Iterator[pa.Table]:
    """Fold over rows sorted by (key, doc_key, number): those of keys with more than `most` rows, apart from the first."""
    held: pa.Table | None = None  # the last key's rows so far, while they are not too many
    going_on: tuple[int, int] | None = None  # the last key, when they are and all of its rows were passed on
    for piece in tables:
        table = (piece if held is None else pa.concat_tables([held, piece])).combine_chunks()
        keys = key_words(table[KEY])
        rows = table.num_rows
        starts = np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]).any(axis=1)][:rows])
        counts = np.diff(np.append(starts, rows))
        over = counts > most
        first = np.zeros(rows, bool)
        first[starts] = True
        if rows and going_on == tuple(keys[0].tolist()):
            over[0], first[0] = True, False
        gone = np.repeat(over, counts) & ~(first & keep_first)
        yield table.filter(pa.array(gone))
        if rows:
            going_on = tuple(keys[-1].tolist()) if over[-1] else None
            held = None if over[-1] else table.slice(int(starts[-1]))


def numbers_by_document(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Fold over rows sorted by (doc_key, number): one row per document."""
    held: pa.Table | None = None
    for piece in tables:
        table = (piece if held is None else pa.concat_tables([held, piece])).combine_chunks()
        starts = _starts(table)
        last = int(starts[-1]) if len(starts) else 0
        yield _documents(table.slice(0, last), starts[:-1])
        held = table.slice(last)
    if held is not None:
        yield _documents(held, _starts(held))


def _starts(table: pa.Table) -> np.ndarray:
    keys = key_words(table[DOC_KEY])
    return np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]).any(axis=1)][: len(keys)])


def _documents(table: pa.Table, starts: np.ndarray) -> pa.Table:
    numbers = np.asarray(one_chunk(table["number"])).astype("<i4")
    offsets = 4 * np.append(starts, table.num_rows).astype(np.int64)
    values = pa.Array.from_buffers(
        pa.large_binary(), len(starts), [None, pa.py_buffer(offsets), pa.py_buffer(numbers.tobytes())]
    )
    heads = table.take(pa.array(starts, pa.int64()))
    return pa.table({DOC_KEY: heads[DOC_KEY], "task": heads["task"], KEY: heads[KEY], "numbers": values})
