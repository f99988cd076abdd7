"""Finds the items of evaluation sets in documents, and drops these, cuts the passages out or marks the documents.

The rule follows allenai/decon (https://github.com/allenai/decon, doc/simple-details.md), which decontaminated OLMo's data: the
share of an item's distinct n-grams, weighted by inverse document frequency, in one window of a document must be 0.8, rising to
1.0 for items of 20 words and fewer. docs/decontamination.md says what is different here, and why.

    measure   the distinct n-grams of items in each document: hashes of its words, compared with the items' words
    survey    in how many documents of each source each of these n-grams is
    settle    the n-grams that are common within a source or across sources: they show nothing, and are ignored
    decide    windows of the documents that have any, scored by the n-grams that are left

No decision rests on a hash: n-grams are the same where their words are, byte by byte. Every finding is in the ledger: its
value is the share, its witness the set, the item and the bytes of the text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import TEXT, TEXT_TYPE, blank_rows, one_chunk, text_buffers
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.exchange import Exchange, Rows
from gristmill.pipeline.stage import (
    DROPPED,
    Cost,
    Decisions,
    Resources,
    Settled,
    SettledView,
    Stage,
    StageContext,
    StageSpec,
    from_failures,
    keep_all,
)
from gristmill.stages.decontamination import datatrove_filter
from gristmill.stages.decontamination.corpus_counts import (
    common_units,
    document_notes,
    ignored_units,
    one_table,
    only_documents,
    source_limits,
    without_documents,
)
from gristmill.stages.decontamination.cut import without_passages
from gristmill.stages.decontamination.datatrove_filter import Method, first_ngram, known_ngrams
from gristmill.stages.decontamination.index import FACTS, Index, SetSpec, most_bytes, read_index
from gristmill.stages.decontamination.kernels.forms import forms
from gristmill.stages.decontamination.kernels.scan import units_of
from gristmill.stages.decontamination.kernels.windows import (
    END_AT,
    ITEM,
    MATCHED,
    ROW,
    START,
    TOTAL,
    Rule,
    find_windows,
    weigh_items,
)
from gristmill.stages.decontamination.sets import kind_of
from gristmill.stages.decontamination.settings import DecontaminateConfig

CONTAMINATED, CUT, EMPTIED = "contaminated", "passage_cut", "emptied"
UNITS, NGRAMS = "decontaminate_units", "contamination_ngrams"
FIRST, FIRST_ITEM, FIRST_SET = "contamination_ngram", "contamination_first_item", "contamination_first_set"
FAILED, SET, SHARE = "decontaminate_failed", "contamination_set", "contamination_share"
_MOST_NGRAMS = 50_000_000
_EXPANSION = 10
"""By how much a compressed set may grow without `max_ngrams`."""
_EXAMPLES = 5


@dataclass(frozen=True)
class _Window:
    """A window that decides, in a row of the batch: bytes of its text, the share and what was needed, numbers of n-grams."""

    row: int
    item: int
    start: int
    end: int
    share: float
    needed: float
    matched: int
    total: int
    set_name: str
    item_id: str

    @property
    def witness(self) -> str:
        grams = "n-gram" if self.total == 1 else "n-grams"
        return (
            f"{self.set_name} {self.item_id}: {self.matched} of {self.total} {grams}, share {self.share:.3f}, "
            f"bytes {self.start}-{self.end}"
        )


class Decontaminate(Stage):
    """Finds items of evaluation sets in documents."""

    Config = DecontaminateConfig
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "finds items of evaluation sets in documents: drops or marks these, or cuts the passages"

    config: DecontaminateConfig

    def declare(self) -> StageSpec:
        config = self.config
        theirs = config.method == "datatrove"
        rules = {"drop": (CONTAMINATED,), "mark": (CONTAMINATED,), "cut": (CUT, EMPTIED)}[config.action]
        if not config.sets:
            notice = (
                "no evaluation set is named under `sets`, so that nothing is looked for and every document is kept. Name "
                "yours: `sets: {NAME: FILE}`."
            )
            return StageSpec(cost=Cost(measure=0, survey=0, settle=0), rules=rules, surveys=False, notices=(notice,))
        marked = [(FAILED, pa.list_(pa.string())), (SET, pa.string()), (SHARE, pa.float64())]
        return StageSpec(
            cost=Cost(measure=2000 if theirs else 12, survey=0.1, settle=0.1, note_bytes=1),
            measure_reads={TEXT},
            decide_reads={TEXT},
            signals=pa.schema(
                [(FIRST, pa.string()), (FIRST_ITEM, pa.string()), (FIRST_SET, pa.string())]
                if theirs
                else [(NGRAMS, pa.int32()), (UNITS, pa.large_binary())]
            ),
            findings=pa.schema({"drop": [], "cut": [(TEXT, TEXT_TYPE)], "mark": marked}[config.action]),
            rules=rules,
            settings={} if theirs else dict.fromkeys(rules[:1], "share"),
            hidden=set() if theirs else {UNITS},
            shown=set(),
            models={f"{name} {number}": path for name, path, number in self._files()},
            changes_text=config.action == "cut",
            libraries=datatrove_filter.libraries() if theirs else {},
            surveys=config.ignore_common and not theirs,
            slow=theirs,
            resources=Resources(
                memory_bytes=datatrove_filter.TOKENIZER_BYTES + datatrove_filter.BYTES_PER_NGRAM * self._most_ngrams()
                if theirs
                else most_bytes(self._most_ngrams())
            ),
        )

    def check_files(self) -> None:
        """Reads all sets. Raises ConfigError with file, line, expected, found."""
        for _, path, _ in self._files():
            kind_of(path)
            if not path.exists():
                raise ConfigError(f"{path}: there is no such file. Name the files of the set, relative to this folder.")
        if not self.config.sets:
            return
        if self.config.method == "datatrove":
            datatrove_filter.check(self.config.language)
            self._known()
            return
        index = self._index()
        for name, facts in zip(index.sets, index.facts.tolist(), strict=True):
            told = dict(zip(FACTS, facts, strict=True))
            if not told["indexed"]:
                raise ConfigError(
                    f"stage decontaminate: sets.{name}: no item can be looked for: of {told['items']:,}, "
                    f"{told['without_text']:,} have no text and {told['too_short']:,} fewer than {self.config.min_words} "
                    f"words. Name the fields with the texts under `fields.{name}`, lower `min_words`, or leave the set out."
                )

    def measure(self, batch: pa.Table, context: StageContext) -> Mapping[str, pa.Array]:
        """How many different n-grams of items each document has, and which."""
        if not self.config.sets:
            return {}
        if self.config.method == "datatrove":
            return self._first_ngrams(batch)
        index = self._index()
        data, offsets = text_buffers(batch[TEXT])
        bounds = np.empty(batch.num_rows + 1, np.int64)
        units = units_of(data, offsets, forms(), index.units, self.config.n - 1, index.per_word, bounds)
        packed = pa.Array.from_buffers(
            pa.large_binary(), batch.num_rows, [None, pa.py_buffer(4 * bounds), pa.py_buffer(units.astype("<u4"))]
        )
        return {NGRAMS: pa.array(np.diff(bounds).astype(np.int32)), UNITS: packed}

    def survey(self, batch: pa.Table, context: StageContext) -> pa.Table:
        """See `corpus_counts.document_notes`."""
        return document_notes(_unpacked(batch[UNITS]), batch.num_rows, context.source or "")

    def settle(self, notes: Rows, exchange: Exchange, context: StageContext) -> Settled:
        """The n-grams that are common in the corpus: `corpus_counts.COMMON`."""
        config = self.config
        counted = exchange.reduce(notes, only_documents)
        documents = dict(zip(counted["source"].to_pylist(), counted["documents"].to_pylist(), strict=True))
        limits = source_limits(documents, config.common_share, config.common_documents)
        params = {"least": limits, "documents": config.across_documents, "sources": config.across_sources}
        rows = exchange.group(notes, ["unit"], common_units, params, sort=["unit", "source"], prepare=without_documents)
        common = exchange.reduce(rows, one_table)
        exchange.release(rows)
        return Settled(broadcast=common, report=self._report(common, documents, limits))

    def _report(self, common: pa.Table, documents: Mapping[str, int], limits: Mapping[str, int]) -> dict[str, Any]:
        index = self._index()
        frequent = self._frequent(index)
        everywhere = ignored_units(common, None, frequent)
        lost: dict[str, list[str]] = {name: [] for name in index.sets}
        counts = dict.fromkeys(index.sets, 0)
        weights = np.empty(len(index.item_sets), np.int64)
        weigh_items(index.items, everywhere, self._rule(), weights)
        for item in np.flatnonzero(weights == 0).tolist():
            name = index.sets[index.item_sets[item]]
            counts[name] += 1
            if len(lost[name]) < _EXAMPLES:
                lost[name].append(index.item_id(item))
        within: dict[str, int] = {}
        for source in common["source"].to_pylist():
            if source is not None:
                within[source] = within.get(source, 0) + 1
        return {
            "sets": {
                name: {
                    **dict(zip(FACTS, facts, strict=True)),
                    "mostly_common": counts[name],
                    "mostly_common_examples": lost[name],
                }
                for name, facts in zip(index.sets, index.facts.tolist(), strict=True)
            },
            "ngrams": len(frequent),
            "ignored": {
                "in_many_items": int(np.count_nonzero(frequent)),
                "across_sources": int(common["source"].null_count),
                "within": {
                    source: {
                        "documents": documents[source],
                        "from_documents": limits[source],
                        "ngrams": within.get(source, 0),
                    }
                    for source in sorted(documents)
                },
            },
        }

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        """Documents with a window are dropped, cut or marked; the one with the largest share is the witness."""
        rows = batch.num_rows
        if not self.config.sets:
            return keep_all(rows)
        if self.config.method == "datatrove":
            return self._decide_by_first(batch)
        chosen = np.flatnonzero(batch[NGRAMS].to_numpy() > 0)
        found = self._windows(batch, chosen, settled, context) if len(chosen) else []
        port, rule, value = np.zeros(rows, np.int16), np.full(rows, -1, np.int16), np.full(rows, np.nan)
        limit = np.full(rows, np.nan)
        witness: list[str | None] = [None] * rows
        columns: dict[str, pa.Array] = {}
        tallies: dict[str, int] = {}
        leading: dict[int, _Window] = {}
        by_row: dict[int, list[_Window]] = {}
        for window in found:
            by_row.setdefault(window.row, []).append(window)
        for row, windows in by_row.items():
            best = min(windows, key=lambda one: (-one.share, -one.total, one.start, one.item))
            leading[row] = best
            rule[row], value[row], limit[row], witness[row] = 0, best.share, best.needed, best.witness
            for name in {one.set_name for one in windows}:
                tallies[f"documents.{name}"] = tallies.get(f"documents.{name}", 0) + 1
        hit = np.array(sorted(by_row), np.int64)
        if self.config.action == "drop":
            port[hit] = DROPPED
        elif self.config.action == "mark":
            columns = {
                FAILED: pa.array(
                    [[CONTAMINATED] if row in leading else [] for row in range(rows)], pa.list_(pa.string())
                ),
                SET: pa.array([leading[row].set_name if row in leading else None for row in range(rows)], pa.string()),
                SHARE: pa.array([leading[row].share if row in leading else None for row in range(rows)], pa.float64()),
            }
        else:
            text = _without(batch, by_row)
            emptied = blank_rows(text) & (rule == 0)
            port[emptied], rule[emptied] = DROPPED, 1
            columns = {TEXT: pc.if_else(pa.array(emptied), pa.scalar(None, TEXT_TYPE), text)}
        return Decisions(
            port=port,
            rules=self.spec.rules,
            rule=rule,
            value=value,
            threshold=limit,
            witness=pa.array(witness, pa.string()),
            columns=columns,
            tallies=tallies,
        )

    def _windows(
        self, batch: pa.Table, rows: np.ndarray, settled: SettledView | None, context: StageContext
    ) -> list[_Window]:
        """The windows of some rows."""
        index = self._index()
        common = None if settled is None else settled.table
        ignored = ignored_units(common, context.source or "", self._frequent(index))
        data, offsets = text_buffers(one_chunk(batch[TEXT]).take(pa.array(rows)))
        places, shares = find_windows(
            data,
            offsets,
            forms(),
            index.units,
            index.items,
            ignored,
            self._rule(),
            self.config.n - 1,
            index.per_word,
        )
        return [
            _Window(
                int(rows[place[ROW]]),
                place[ITEM],
                place[START],
                place[END_AT],
                share,
                needed,
                place[MATCHED],
                place[TOTAL],
                index.sets[index.item_sets[place[ITEM]]],
                index.item_id(place[ITEM]),
            )
            for place, (share, needed) in zip(places.tolist(), shares.tolist(), strict=True)
        ]

    def _first_ngrams(self, batch: pa.Table) -> Mapping[str, pa.Array]:
        known, method = self._known(), self._method()
        grams = [first_ngram(text or "", known, method) for text in batch[TEXT].to_pylist()]
        owners = [(None, None) if gram is None else known[gram] for gram in grams]
        columns = (grams, [item for _, item in owners], [name for name, _ in owners])
        return {
            name: pa.array(column, pa.string())
            for name, column in zip((FIRST, FIRST_ITEM, FIRST_SET), columns, strict=True)
        }

    def _decide_by_first(self, batch: pa.Table) -> Decisions:
        found = one_chunk(batch[FIRST]).is_valid()
        names = one_chunk(batch[FIRST_SET])
        counts = Counter(name for name in names.to_pylist() if name is not None)
        columns = {}
        if self.config.action == "mark":
            failed = [[CONTAMINATED] if one else [] for one in found.to_pylist()]
            share = pa.nulls(batch.num_rows, pa.float64())
            columns = {FAILED: pa.array(failed, pa.list_(pa.string())), SET: names, SHARE: share}
        decisions = from_failures(
            {CONTAMINATED: np.asarray(found)},
            mark=self.config.action == "mark",
            columns=columns,
            tallies={f"documents.{name}": count for name, count in counts.items()},
        )
        item = pc.binary_join_element_wise(names, one_chunk(batch[FIRST_ITEM]), " ")
        return replace(decisions, witness=pc.binary_join_element_wise(item, one_chunk(batch[FIRST]), ": "))

    def _method(self) -> Method:
        config = self.config
        return Method(config.n, config.language, config.query_ngrams, config.overlap_ngrams)

    def _known(self) -> Mapping[str, tuple[str, str]]:
        return known_ngrams(self._sets(), self._method(), self._most_ngrams())

    def _rule(self) -> Rule:
        config = self.config
        misses = 3 * config.n if config.max_misses is None else config.max_misses
        return Rule(
            config.n, misses, float(config.share), config.all_below, config.share_from, float(config.most_ignored)
        )

    def _frequent(self, index: Index) -> np.ndarray:
        """bool, by unit: what is in many items."""
        per_unit = index.items_per_unit()
        return per_unit >= (self.config.frequent_from or len(per_unit) + 1)

    def _index(self) -> Index:
        return read_index(self._sets(), self.config.n, self.config.min_words, self._most_ngrams())

    def _sets(self) -> tuple[SetSpec, ...]:
        config = self.config
        return tuple(
            SetSpec(name, config.sets[name], config.fields.get(name, ("text",)), config.ids.get(name))
            for name in sorted(config.sets)
        )

    def _files(self) -> list[tuple[str, Path, int]]:
        """(set, file, its number in the set)."""
        return [
            (name, path, number)
            for name in sorted(self.config.sets)
            for number, path in enumerate(self.config.sets[name], 1)
        ]

    def _most_ngrams(self) -> int:
        """The n-grams that the plan counts on: one for two bytes of the files, of which compressed ones may grow."""
        if self.config.max_ngrams is not None:
            return self.config.max_ngrams
        total = 0
        for _, path, _ in self._files():
            if path.is_file():
                size = path.stat().st_size
                total += (
                    size if path.suffix.lower() in (".jsonl", ".ndjson", ".json") else _EXPANSION * size + (1 << 16)
                )
        return min(_MOST_NGRAMS, total // 2 + 1)


def _unpacked(column: pa.ChunkedArray) -> np.ndarray:
    """The numbers of all rows of a column of uint32 as bytes, in one array."""
    array = one_chunk(column)
    _, offsets_buffer, data = array.buffers()
    if data is None or not len(array):
        return np.empty(0, np.uint32)
    offsets = np.frombuffer(offsets_buffer, np.int64)[array.offset : array.offset + len(array) + 1]
    return np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]].view("<u4").astype(np.uint32)


def _without(batch: pa.Table, windows: Mapping[int, Sequence[_Window]]) -> pa.Array:
    """The texts of some rows without their windows; null for the others."""
    texts: list[str | None] = [None] * batch.num_rows
    for row, own in windows.items():
        whole = batch[TEXT][row].as_py()
        data = whole.encode("utf-8")
        places = sorted({at for one in own for at in (one.start, one.end)})
        characters, done, count = {}, 0, 0
        for at in places:
            count += len(data[done:at].decode("utf-8"))
            characters[at], done = count, at
        texts[row] = without_passages(whole, [(characters[one.start], characters[one.end]) for one in own])
    return pa.array(texts, TEXT_TYPE)
