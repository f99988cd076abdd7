"""Exact duplicates: documents whose text, or whose values in other columns, are equal; one of each cluster is kept.

    survey   a 128-bit digest of each document's key (see `stages.deduplication.content_keys` and, for the normal forms,
             `stages.deduplication.kernels.digests`)
    settle   documents with equal digests form a cluster, each cluster has a keeper
    decide   all but the keeper are dropped

With `normalise: words`, the default, texts are compared by the words that MinHash compares: two documents that are equal
have equal signatures, so `exact` before `minhash` takes the bulk of the copies out cheaply. `copies: exact_cluster_size` there
counts them all the same, and with `keeper: lowest` the clusters and their sizes are those of `minhash` alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import field_validator

from gristmill.pipeline.document import DOC_KEY, TEXT, key_words, keys_from_words, one_chunk
from gristmill.pipeline.exchange import Exchange, Rows
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
from gristmill.stages.deduplication.content_keys import KEY, Normalise, check_on_types, row_keys
from gristmill.stages.deduplication.scopes import scope_hashes


class ExactConfig(ClusterConfig):
    """Config of `exact`; see also `ClusterConfig`.

    Attributes:
        on: the column, or the columns, whose values must be equal: `text`, or any of text, binary, whole numbers, true/false
            or dates, such as `url`. A document with a null or empty value there is no duplicate of any.
        normalise: how the column `text` is compared: `words` (as MinHash does: lower case, no accents, no punctuation, runs
            of digits as one), `spaces` (runs of white space as one space) or `none` (byte by byte). Other columns are
            compared as they are.
        within: columns; only documents with equal values in them are compared. None: the whole corpus.
    """

    on: tuple[str, ...] = signal((TEXT,), min_length=1)
    normalise: Normalise = signal("words")
    within: tuple[str, ...] = signal(())

    @field_validator("on", "within", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return one_or_several(value)


class Exact(Stage):
    """Drops exact duplicates, all but one of each cluster."""

    Config = ExactConfig
    version = 1
    summary = "finds exact duplicates, by normalised text or by any columns, and keeps one document of each cluster"
    RULE: ClassVar[str] = "exact_duplicate"

    config: ExactConfig

    def declare(self) -> StageSpec:
        return StageSpec(
            cost=Cost(measure=0, survey=2, settle=0.4, note_bytes=40, shuffled_rows=1, shuffled_bytes=36),
            survey_reads={*self.config.on, *self.config.within} | cluster_reads(self.config),
            decide_reads=decide_reads(self.config),
            findings=cluster_findings("exact"),
            rules=cluster_rules(self.RULE, self.config),
            keeps_notes=self.config.keep_notes,
            against=self.config.against,
        )

    def check_survey_types(self, nothing: pa.Table) -> None:
        check_on_types(nothing, self.config.on)
        scope_hashes(nothing, self.config.within)
        attributes(nothing, self.config)

    def survey(self, batch: pa.Table, context: StageContext) -> pa.Table:
        """One row per document with a key: `key` (16 bytes), and what the keeper policy needs.

        With `per_source`, documents without a key have a row too: they count as having entered.
        """
        config = self.config
        keys = row_keys(batch, config.on, config.normalise, scope_hashes(batch, config.within))
        notes = pa.table({DOC_KEY: one_chunk(batch[DOC_KEY]), KEY: keys, **attributes(batch, config)})
        return notes if config.per_source is not None else notes.filter(keys.is_valid())

    def settle(self, notes: Rows, exchange: Exchange, context: StageContext) -> Settled:
        """Documents of one key become edges to the first of them, then clusters with their keepers."""
        edges = exchange.group(notes, [KEY], equal_keys, prepare=keyed_rows)
        settled = settle_clusters(self.config, notes, edges, exchange)
        exchange.release(edges)
        return settled

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        """Keepers and documents outside clusters are kept."""
        return decide_clusters(batch, settled, self.RULE, "exact", self.config)


# Functions for the exchange.


def keyed_rows(table: pa.Table) -> pa.Table:
    """Notes that have a key: `key`, `doc_key`, `task`."""
    return table.filter(table[KEY].is_valid()).select([KEY, DOC_KEY, "task"]).combine_chunks()


def equal_keys(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Fold over rows sorted by (key, doc_key): edges from each to the first of its key."""
    first = np.empty((0, 2), np.uint64), np.empty((0, 2), np.uint64), np.empty(0, np.int32)
    for table in tables:
        rows = [key_words(table[KEY]), key_words(table[DOC_KEY]), one_chunk(table["task"]).to_numpy()]
        # The first row of the group that goes on stands before the others once more.
        keys, documents, tasks = (np.concatenate([a, b]) for a, b in zip(first, rows, strict=True))
        starts = np.ones(len(keys), bool)
        starts[1:] = (keys[1:] != keys[:-1]).any(axis=1)
        leader = np.maximum.accumulate(np.where(starts, np.arange(len(keys)), 0))
        joined = np.flatnonzero(~starts)
        last = leader[-1:]
        first = keys[last], documents[last], tasks[last]
        yield pa.table(
            [
                keys_from_words(documents[joined]),
                pa.array(tasks[joined]),
                keys_from_words(documents[leader[joined]]),
                pa.array(tasks[leader[joined]]),
            ],
            schema=EDGE_SCHEMA,
        )
