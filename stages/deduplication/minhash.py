"""Near-duplicates by MinHash: documents whose sets of word n-grams are similar form clusters, one of which is kept.

Broder, "On the resemblance and containment of documents", 1997; banding as in Leskovec, Rajaraman & Ullman, *Mining of
Massive Datasets*, chapter 3. The defaults are FineWeb2's (Penedo et al., arXiv:2506.20920): 14 bands of 8 permutations over
5 words, so that documents of Jaccard similarity s are compared with probability 1 - (1 - s^8)^14: 0.77 at 0.75, 0.92 at
0.8, 0.999 at 0.9.

    survey   each document's buckets (one 64-bit hash a band) and its sketch (4 bits a lane)
    settle   documents that share a bucket are compared by sketch, edges become clusters, each cluster has a keeper
    decide   all but the keeper are dropped

Two documents in one bucket are candidates. `verify: sketch` asks for an estimated similarity of at least `verify_min`:
within a bucket, in doc_key order, a document joins the first of at most 64 leaders that it resembles so, else it becomes
a leader. A chance collision, or a boilerplate page that resembles two families, then chains nothing together.

`verify: jaccard` compares the sets of shingles themselves in place of their sketches: 4 bytes for each distinct shingle of a
document in the notes, and once more for each bucket that it shares with another. The similarity is exact between documents
of at most `shingles` (2,048) distinct shingles; of a longer one its `shingles` least hashes are compared, an estimate with a
standard deviation of at most 0.5/√shingles (0.011).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import field_validator, model_validator

from gristmill.pipeline.document import DOC_KEY, TEXT, key_words, keys_from_words, one_chunk, text_buffers
from gristmill.pipeline.exchange import Exchange, Rows
from gristmill.pipeline.exchange.numbered_components import OTHER_NUMBER
from gristmill.pipeline.exchange.recurring import NUMBER, RECURS
from gristmill.pipeline.exchange.union_find import EDGE_SCHEMA
from gristmill.pipeline.stage import (
    Cost,
    Decisions,
    Settled,
    SettledView,
    Stage,
    StageContext,
    StageSpec,
    one_or_several,
    signal,
)
from gristmill.pipeline.stage import threshold as threshold_field
from gristmill.stages.deduplication.clusters import (
    ClusterConfig,
    attributes,
    cluster_findings,
    cluster_reads,
    cluster_rules,
    decide_clusters,
    decide_reads,
    settle_clusters,
)
from gristmill.stages.deduplication.jaccard_candidates import (
    BUCKET,
    SETS,
    packed,
    sets_field,
    shared_buckets,
    with_sets,
)
from gristmill.stages.deduplication.kernels.bucket_leaders import (
    BucketRows,
    CrowdedBuckets,
    LeaderEdges,
    Similarity,
    end_bucket,
    join_leaders,
    no_leaders,
)
from gristmill.stages.deduplication.kernels.normalise import normal_forms
from gristmill.stages.deduplication.kernels.permutations import lane_multipliers
from gristmill.stages.deduplication.kernels.shingles import most_entries, shingle_sets
from gristmill.stages.deduplication.kernels.signatures import (
    Shingling,
    band_buckets,
    required_equal,
    shingle_seed,
    signatures,
    sketch_words,
    sketches,
)
from gristmill.stages.deduplication.scopes import scope_hashes
from gristmill.stages.deduplication.similarity import Evidence, fixed_words, set_entries
from gristmill.stages.kernels.scalars import Int

MAX_PERMUTATIONS = 4096
SHINGLES = 2048
"""Places of a set by default: more than nine in ten web pages have fewer words."""
BLOCK_DOCUMENTS = 1024
"""Documents signed at a time: whole signatures are 900 bytes each and are not kept."""
ROW_BYTES = 28
"""Bytes of a band's row on disk beside its sketch: bucket, doc_key, task."""


class MinHashConfig(ClusterConfig):
    """Config of `minhash`; see also `ClusterConfig`.

    Attributes:
        bands, rows: bands of a signature, and permutations per band.
        threshold: a target Jaccard similarity instead of `bands` and `rows`: those of at most `permutations` permutations are
            chosen that minimise the sum of the areas of false positives and false negatives (datasketch's choice).
        permutations: the most permutations to choose from with `threshold`.
        ngram: words or characters of a shingle.
        unit: shingles of words or of characters of the normalised text (see `stages.deduplication.kernels.normalise`).
        seed: of all hash functions.
        within: columns; only documents with equal values in them are compared. None: the whole corpus.
        verify: `sketch` asks candidates for an estimated similarity of `verify_min`, `jaccard` for a true one; `none` takes
            them as they are.
        verify_min: the least Jaccard similarity of an edge.
        similarity: whether the similarity of each duplicate to its keeper is found, for the ledger: in its `witness`, after the
            keeper's key, as `:0.934`, or `:~0.934` where it is estimated. It may lie below `verify_min` where other members
            of the cluster connect the two. Without it settling joins and sorts less, unless the keeper depends on more than
            the doc_key.
        shingles: distinct shingles of a document that notes hold, for `verify: jaccard`, which sets it to 2048 unless it is
            given; 0: none.
    """

    bands: int = signal(14, ge=1)
    rows: int = signal(8, ge=1)
    permutations: int = signal(112, ge=2, le=MAX_PERMUTATIONS)
    ngram: int = signal(5, ge=1, le=1000)
    unit: Literal["words", "characters"] = signal("words")
    seed: int = signal(1, ge=0, lt=1 << 64)
    within: tuple[str, ...] = signal(())
    threshold: float | None = signal(None, gt=0.0, lt=1.0)
    shingles: int = signal(0, ge=0, le=1 << 16)
    verify: Literal["sketch", "jaccard", "none"] = threshold_field("sketch")
    verify_min: float = threshold_field(0.65, ge=0.0, le=1.0)
    similarity: bool = threshold_field(True)

    @field_validator("within", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return one_or_several(value)

    @model_validator(mode="after")
    def _bands_for_threshold(self) -> MinHashConfig:
        if self.threshold is not None:
            given = self.model_fields_set & {"bands", "rows"}
            if given:
                raise ValueError(
                    f"`threshold` chooses bands and rows; found `{min(given)}` as well. Leave one of them out"
                )
            bands, rows = bands_and_rows(self.threshold, self.permutations)
            # Frozen is for those who use a config; here it is still being made.
            self.__dict__.update(bands=bands, rows=rows)
        if self.verify == "jaccard" and "shingles" not in self.model_fields_set:
            self.__dict__.update(shingles=SHINGLES)
        if self.verify == "jaccard" and self.shingles == 0:
            raise ValueError("`verify: jaccard` compares `shingles`, which is 0; give it a number, or leave it out")
        if self.bands * self.rows > MAX_PERMUTATIONS:
            raise ValueError(
                f"bands · rows is {self.bands * self.rows}; expected at most {MAX_PERMUTATIONS} permutations"
            )
        return self

    @property
    def lanes(self) -> int:
        """Permutations of a signature."""
        return self.bands * self.rows


def bands_and_rows(threshold: float, permutations: int) -> tuple[int, int]:
    """Bands and rows for a target Jaccard similarity, by datasketch's MinHashLSH with equal weights."""
    from datasketch import MinHashLSH  # takes half a second to import, and few configs need it

    lsh = MinHashLSH(threshold=threshold, num_perm=permutations)
    return int(lsh.b), int(lsh.r)


class MinHash(Stage):
    """Drops near-duplicates, all but one of each cluster."""

    Config = MinHashConfig
    version = 1
    summary = "finds near-duplicates by MinHash over the whole corpus and keeps one document of each cluster"
    RULE: ClassVar[str] = "minhash_duplicate"

    config: MinHashConfig

    def declare(self) -> StageSpec:
        config = self.config
        chosen = f"threshold {config.threshold} gives {config.bands} bands of {config.rows} rows"
        return StageSpec(
            cost=Cost(
                measure=0,
                survey=2.6,
                settle=1,
                note_bytes=188,
                shuffled_rows=config.bands,
                shuffled_bytes=ROW_BYTES + self._sketch_bytes(),
            ),
            survey_reads={TEXT, *config.within} | cluster_reads(config),
            decide_reads=decide_reads(config),
            findings=cluster_findings("minhash"),
            rules=cluster_rules(self.RULE, config),
            settings=dict.fromkeys(cluster_rules(self.RULE, config), "verify_min"),
            keeps_notes=config.keep_notes,
            against=config.against,
            notices=() if config.threshold is None else (chosen,),
        )

    def check_survey_types(self, nothing: pa.Table) -> None:
        scope_hashes(nothing, self.config.within)
        attributes(nothing, self.config)

    def survey(self, batch: pa.Table, context: StageContext) -> pa.Table:
        """One row per document with words: `buckets` (bands · 8 bytes), `sketch`, and what the keeper policy needs.

        With `per_source`, documents without words have a row too, with null buckets: they count as having entered.
        """
        buckets, sketch, shingles = self._sign(batch)
        signed = shingles > 0
        missing = pa.array(~signed)
        notes = pa.table(
            {
                DOC_KEY: one_chunk(batch[DOC_KEY]),
                "buckets": pc.if_else(missing, None, _fixed_size(buckets)),
                "sketch": _fixed_size(sketch),
                **self._sets(batch, signed),
                **attributes(batch, self.config),
            }
        )
        if self.config.shingles:
            place = notes.schema.get_field_index(SETS)
            notes = notes.set_column(place, sets_field(self.config.shingles), notes[SETS])
        return notes if self.config.per_source is not None else notes.filter(pa.array(signed))

    def _shingling(self) -> Shingling:
        return Shingling(self.config.unit == "characters", self.config.ngram, shingle_seed(self.config.seed))

    def _sets(self, batch: pa.Table, signed: np.ndarray) -> dict[str, pa.Array]:
        """The sets of shingles, null without words, and a place for the bucket of rows made from notes; or nothing."""
        config = self.config
        if not config.shingles:
            return {}
        data, offsets = text_buffers(batch[TEXT])
        found = np.empty(most_entries(np.diff(offsets), config.shingles), np.uint32)
        bounds = np.empty(batch.num_rows + 1, np.int64)
        shingle_sets(data, offsets, normal_forms(), self._shingling(), config.shingles, found, bounds)
        buffers = [
            pa.array(signed).buffers()[1],
            pa.py_buffer(4 * bounds),
            pa.py_buffer(found[: bounds[-1]].astype("<u4")),
        ]
        sets = pa.Array.from_buffers(pa.large_binary(), batch.num_rows, buffers)
        return {SETS: sets, BUCKET: pa.nulls(batch.num_rows, pa.uint64())}

    def _sign(self, batch: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(buckets, sketches, shingle counts) of a batch: uint64, uint64, int64, one row each per document."""
        config = self.config
        data, offsets = text_buffers(batch[TEXT])
        rows = batch.num_rows
        scopes = scope_hashes(batch, config.within)
        buckets = np.empty((rows, config.bands), np.uint64)
        sketch = np.empty((rows, sketch_words(config.lanes)), np.uint64)
        counts = np.empty(rows, np.int64)
        signature = np.empty((min(rows, BLOCK_DOCUMENTS), config.lanes), np.uint64)
        multipliers = lane_multipliers(config.lanes, config.seed)
        for start in range(0, rows, BLOCK_DOCUMENTS):
            stop = min(rows, start + BLOCK_DOCUMENTS)
            block = signature[: stop - start]
            part = offsets[start : stop + 1]
            signatures(data, part, normal_forms(), self._shingling(), multipliers, block, counts[start:stop])
            band_buckets(block, config.rows, scopes[start:stop], buckets[start:stop])
            sketches(block, sketch[start:stop])
        return buckets, sketch, counts

    def settle(self, notes: Rows, exchange: Exchange, context: StageContext) -> Settled:
        """Edges by bucket, in waves of bands, then clusters and their keepers."""
        config = self.config
        # Most buckets hold one document; only documents that share one go further.
        found = exchange.recurring(notes, "buckets")
        candidates, buckets = found or (notes, config.bands * notes.count)
        # Each wave is one `group`: the bands' rows are made from the notes as they are read, and lie on disk only in it.
        band_bytes = -(-buckets // config.bands) * (self._sketch_bytes() + ROW_BYTES)
        wave = max(1, min(config.bands, exchange.disk_bytes // max(1, band_bytes)))
        parts = []
        for first in range(0, config.bands, wave):
            stop = min(config.bands, first + wave)
            expansion = -(-buckets * (stop - first) // max(1, config.bands * candidates.count))
            parts.append(self._edges(candidates, exchange, first, stop, max(1, expansion)))
        edges = Rows(sum((rows.files for rows in parts), ()), parts[0].schema, sum(rows.count for rows in parts))
        evidence = self._evidence() if config.similarity else None
        settled = settle_clusters(config, notes, edges, exchange, evidence, candidates)
        exchange.release(edges)
        if found:
            exchange.release(candidates)
        return settled

    def _evidence(self) -> Evidence:
        if self.config.verify == "jaccard":
            return Evidence(SETS, places=self.config.shingles)
        return Evidence("sketch", self.config.lanes, 8 * sketch_words(self.config.lanes))

    def _sketch_bytes(self) -> int:
        return 8 * sketch_words(self.config.lanes) if self.config.verify == "sketch" else 0

    def _edges(self, notes: Rows, exchange: Exchange, first: int, stop: int, expansion: int) -> Rows:
        """The edges of the bands from `first` to `stop`, of which a note has about `expansion` rows."""
        config = self.config
        bands = {"first": first, "stop": stop, "sketched": config.verify == "sketch"}
        bands["numbered"] = config.verify != "jaccard" and NUMBER in notes.schema.names
        required = required_equal(config.lanes, config.verify_min) if config.verify == "sketch" else 0
        by_sketch = {"lanes": config.lanes, "required": required, "places": 0, "least": 0.0}
        if config.verify != "jaccard":
            return exchange.group(
                notes,
                [BUCKET],
                bucket_edges,
                by_sketch,
                prepare=band_rows,
                prepare_params=bands,
                expansion=expansion,
            )
        shared = exchange.group(
            notes,
            [BUCKET],
            shared_buckets,
            {"notes": packed(notes.schema)},
            prepare=band_rows,
            prepare_params=bands,
            expansion=expansion,
        )
        candidates = with_sets(notes, shared, exchange)
        exchange.release(shared)
        edges = exchange.group(
            candidates,
            [BUCKET],
            bucket_edges,
            {"lanes": 0, "required": 0, "places": config.shingles, "least": config.verify_min},
        )
        exchange.release(candidates)
        return edges

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        """Keepers and documents outside clusters are kept."""
        return decide_clusters(batch, settled, self.RULE, "minhash", self.config)


def _fixed_size(words: np.ndarray) -> pa.Array:
    """Rows of uint64 as fixed-size binary, each word little-endian."""
    kind = pa.binary(8 * words.shape[1])
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(words), [None, pa.py_buffer(words.astype("<u8").tobytes())])


# Functions for the exchange.


def band_rows(table: pa.Table, first: int, stop: int, sketched: bool, numbered: bool) -> pa.Table:
    """A row for each document and each band from `first` to `stop`, or those that may recur: `bucket`, `doc_key`, `task`,
    the `sketch` if edges are verified by it, and the document's NUMBER if edges are to have it."""
    table = table.filter(table["buckets"].is_valid()).combine_chunks()
    buckets = fixed_words(table["buckets"])[:, first:stop]
    shared = np.ones(buckets.shape, bool)
    if RECURS in table.schema.names:
        marks = one_chunk(table[RECURS])
        width = marks.type.byte_width
        bits = np.frombuffer(marks.buffers()[1], np.uint8, len(marks) * width, marks.offset * width)
        shared = np.unpackbits(bits.reshape(len(marks), width), axis=1, bitorder="little")[:, first:stop].astype(bool)
    row = pa.array(np.repeat(np.arange(table.num_rows), shared.sum(axis=1)), pa.int64())
    columns = {BUCKET: pa.array(buckets[shared])}
    for name in (DOC_KEY, "task", *(("sketch",) if sketched else ()), *((NUMBER,) if numbered else ())):
        columns[name] = one_chunk(table[name]).take(row)
    return pa.table(columns)


EDGES = pa.schema([*EDGE_SCHEMA, ("bucket_size", pa.int64()), ("unmatched", pa.int64())])
"""Edges, and crowded buckets as edges of their first leader to itself, with how many documents the bucket has and how
many of them found no leader."""
NUMBERED_EDGES = pa.schema([*EDGES, (NUMBER, pa.uint32()), (OTHER_NUMBER, pa.uint32())])


def bucket_edges(
    tables: Iterator[pa.Table], lanes: int, required: int, places: int, least: float
) -> Iterator[pa.Table]:
    """Fold over rows sorted by (bucket, doc_key): EDGES. Sketches are compared where `required` is not 0, sets of shingles
    where `lanes` is."""
    similarity = Similarity(lanes, required, places, least)
    leaders = no_leaders(sketch_words(lanes), places)
    numbered = False
    no_sets: tuple[np.ndarray, np.ndarray] = np.empty(0, np.uint32), np.zeros(1, np.int64)
    for table in tables:
        rows = table.num_rows
        keys, owners = key_words(table[DOC_KEY]), one_chunk(table["task"]).to_numpy().astype(np.int64) << 32
        numbered = NUMBER in table.schema.names
        if numbered:
            owners |= one_chunk(table[NUMBER]).to_numpy().astype(np.int64)
        sketches = fixed_words(table["sketch"]) if required else np.zeros((rows, 0), np.uint64)
        sets = set_entries(table[SETS]) if lanes == 0 else no_sets
        sorted_rows = BucketRows(one_chunk(table[BUCKET]).to_numpy(), keys, owners, sketches, *sets)
        edges = LeaderEdges(np.empty(rows, np.int64), np.empty((rows, 2), np.uint64), np.empty(rows, np.int64))
        crowded = CrowdedBuckets(np.empty((rows + 1, 2), np.uint64), np.empty((rows + 1, 3), np.int64))
        joins, buckets = join_leaders(sorted_rows, similarity, leaders, edges, crowded)
        joined = edges.rows[:joins]
        yield _edges(
            (keys[joined], owners[joined]), (edges.keys[:joins], edges.owners[:joins]), crowded, buckets, numbered
        )
    crowded = CrowdedBuckets(np.empty((1, 2), np.uint64), np.empty((1, 3), np.int64))
    buckets = end_bucket(leaders, crowded, 0)
    none = np.empty((0, 2), np.uint64), np.empty(0, np.int64)
    yield _edges(none, none, crowded, buckets, numbered)


Ends = tuple[np.ndarray, np.ndarray]
"""doc_keys of one end of edges as words, and their owners: the task, and in the lower 32 bits the number."""


def _edges(one: Ends, other: Ends, crowded: CrowdedBuckets, buckets: Int, numbered: bool) -> pa.Table:
    counts = crowded.counts[:buckets]
    zeros = np.zeros(len(one[0]), np.int64)
    columns, numbers = [], []
    for keys, owners in (one, other):
        both = np.concatenate([owners, counts[:, 0]])
        columns += [
            keys_from_words(np.concatenate([keys, crowded.keys[:buckets]])),
            pa.array((both >> 32).astype(np.int32)),
        ]
        numbers.append(pa.array(both.astype(np.uint32)))
    columns += [pa.array(np.concatenate([zeros, counts[:, at]])) for at in (1, 2)]
    return pa.table(columns + numbers, schema=NUMBERED_EDGES) if numbered else pa.table(columns, schema=EDGES)
