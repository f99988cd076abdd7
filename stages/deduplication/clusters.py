"""From edges between duplicates to decisions: clusters, their keepers, and what is reported about them.

Shared by the stages that find duplicates. Edges become components; where the keeper is not simply the lowest doc_key,
members are joined with the ranks that their notes carry, and the first of each cluster is kept. Everything goes through
the exchange: no process holds all clustered documents, nor all members of one cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import field_validator, model_validator

from gristmill.pipeline.document import DOC_KEY, KEY_TYPE, key_words, keys_from_words, one_chunk
from gristmill.pipeline.errors import ConservationError, ContractError
from gristmill.pipeline.exchange import Exchange, Rows
from gristmill.pipeline.planning.prior_runs import is_emitted
from gristmill.pipeline.stage import (
    DROPPED,
    Decisions,
    Settled,
    SettledView,
    StageConfig,
    one_or_several,
    resource,
    signal,
    threshold,
)
from gristmill.stages.deduplication.cluster_report import (
    SURVIVORS,
    check_retention,
    crowded_report,
    largest_report,
    power_of_two,
    prior_report,
    retention_report,
    survivors_report,
)
from gristmill.stages.deduplication.keepers import Keeper, keeper_reads, ranks
from gristmill.stages.deduplication.similarity import (
    SIMILARITY,
    Evidence,
    EvidenceFields,
    similarity_columns,
    with_evidence,
    witness_ends,
)

MEMBER = pa.schema([("doc_key", KEY_TYPE), ("task", pa.int32()), ("label", KEY_TYPE), ("size", pa.int64())])
"""Members of clusters, as `Exchange.components` gives them."""
ATTRIBUTES = pa.schema([("marked", pa.bool_()), ("rank", pa.uint64()), ("source", pa.string()), ("copies", pa.int64())])
"""What notes say about members for the choice of a keeper, the retention of sources and the size of clusters."""
DESCRIBED = pa.schema([*MEMBER, *ATTRIBUTES, ("order", pa.int8())])
"""Members with their attributes, and for each cluster a row before them with the sum of their copies."""
TOTAL, EMITTED_EARLIER, PRIOR, OURS = range(4)
"""`order` in DESCRIBED: the row of a cluster's total; members that a prior run emitted; those that it knew and dropped;
and this run's. The keeper is chosen among the first that there are."""


class ClusterConfig(StageConfig):
    """Settings that all stages share which keep one document of each cluster.

    Attributes:
        keeper: which member is kept: `lowest` doc_key (a pseudo-random member), `longest` text in bytes, `newest` by the
            column `date` or `{newest: COLUMN}`, `{best: COLUMN}` for the highest number, or `{source_order: [A, B]}` for
            the first listed value of the column `source` (another one: `column:`). Ties by doc_key.
        prefer_unmarked: nodes (or columns `…_failed`) whose marks a keeper should not carry if some member has none;
            `true` stands for the node `quality`.
        copies: a column with how many documents each one already stands for, such as the `exact_cluster_size` that an earlier
            `exact` leaves: the size of a cluster is then the sum over its members, and that of a document outside
            clusters its own number. Null counts as 1.
        per_source: a column by whose values documents entered and removed are counted in the report.
        max_removed_per_source: the largest share of a source's documents that may be removed before the run stops.
        keep_notes: keep the notes in the outputs, so that a later run can name one of them in `against`.
        against: outputs of finished runs that kept the notes of this stage with the same settings. Their documents are
            members of clusters too, and count in the sizes.
        keep_earlier: what a prior run emitted stays the keeper of its cluster, so that only this run loses documents. If
            false, the keeper is chosen among all members; the report counts what prior runs then hold in excess.
        report_clusters: how many of the largest clusters the report lists.
        report_size: the least size of a cluster to be listed.
    """

    keeper: Keeper = signal("lowest")
    prefer_unmarked: tuple[str, ...] = signal(())
    copies: str | None = signal(None)
    per_source: str | None = signal(None)
    max_removed_per_source: float | None = threshold(None, gt=0.0, le=1.0)
    keep_notes: bool = threshold(False)
    against: tuple[str, ...] = resource("threshold", ())
    keep_earlier: bool = threshold(True)
    report_clusters: int = threshold(20, ge=0, le=1000)
    report_size: int = threshold(2, ge=2)

    @field_validator("against", mode="before")
    @classmethod
    def _one_or_several_outputs(cls, value: Any) -> Any:
        return one_or_several(value)

    @field_validator("prefer_unmarked", mode="before")
    @classmethod
    def _true_is_quality(cls, value: Any) -> Any:
        if isinstance(value, bool):
            return ("quality",) if value else ()
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _alarm_needs_sources(self) -> ClusterConfig:
        if self.max_removed_per_source is not None and self.per_source is None:
            raise ValueError("max_removed_per_source needs `per_source`: the column that names the sources")
        return self

    @property
    def ranked(self) -> bool:
        """Whether the keeper depends on more than the doc_key."""
        return self.keeper != "lowest" or bool(self.prefer_unmarked)


def cluster_reads(config: ClusterConfig) -> frozenset[str]:
    """The columns that `attributes` reads."""
    source = frozenset() if config.per_source is None else frozenset({config.per_source})
    return keeper_reads(config.keeper, config.prefer_unmarked) | source | decide_reads(config)


def decide_reads(config: ClusterConfig) -> frozenset[str]:
    """The columns that `decide_clusters` reads."""
    return frozenset() if config.copies is None else frozenset({config.copies})


def attributes(batch: pa.Table, config: ClusterConfig) -> dict[str, pa.Array]:
    """The columns of ATTRIBUTES that the config needs, for the notes of a survey."""
    found: dict[str, pa.Array] = {}
    if config.ranked:
        found.update(ranks(batch, config.keeper, config.prefer_unmarked))
    if config.per_source is not None:
        found["source"] = _source_names(batch[config.per_source], config.per_source)
    if config.copies is not None:
        found["copies"] = pa.array(_copies(batch[config.copies], config.copies))
    return found


def _copies(column: pa.ChunkedArray, name: str) -> np.ndarray:
    """int64, at least 1."""
    array = one_chunk(column)
    if not pa.types.is_integer(array.type):
        raise ContractError(f"copies names the column `{name}` of type {array.type}; expected whole numbers.")
    copies: np.ndarray = np.asarray(array.cast(pa.int64()).fill_null(1))
    if len(copies) and copies.min() < 1:
        raise ContractError(f"copies: the column `{name}` holds {copies.min()}; a document stands for 1 or more.")
    return copies


def _source_names(column: pa.ChunkedArray, name: str) -> pa.Array:
    array = one_chunk(column)
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
        raise ContractError(f"per_source names the column `{name}` of type {kind}; expected text or whole numbers.")
    return array.cast(pa.string())


def settle_clusters(
    config: ClusterConfig,
    notes: Rows,
    edges: Rows,
    exchange: Exchange,
    evidence: Evidence | None = None,
    candidates: Rows | None = None,
) -> Settled:
    """Clusters of what the edges connect, each member with its cluster's keeper, and with `evidence` its similarity to it.

    `edges` has the columns of `Exchange.components` and, where buckets may be crowded, `bucket_size` and `unmatched` (see
    `cluster_report`). `candidates`: the notes of the documents that edges may name, where they are known apart. Keyed are
    `label`, `size`, `keeper` where it may not be the label, `similarity`. Raises DataError when a source loses more than it
    may.
    """
    report = crowded_report(edges, exchange) if "unmatched" in edges.schema.names else {}
    counted = config.per_source is not None or config.copies is not None
    chosen = config.ranked or counted or bool(config.against) or evidence is not None
    described = _described_by(candidates, evidence) if candidates is not None and chosen else []
    members = exchange.components(edges, candidates, described)
    keyed, survivors = members, None
    if chosen:
        keyed, survivors = _with_keepers(members, candidates or notes, exchange, config, evidence)
        exchange.release(members)
    report.update(largest_report(keyed, exchange, config.report_clusters, config.report_size))
    if survivors is not None:
        report["survivors"] = survivors_report(survivors, exchange)
        exchange.release(survivors)
    if config.per_source is not None:
        retention = retention_report(notes, keyed, exchange, config.per_source)
        report["sources"] = retention
        check_retention(retention, config.per_source, config.max_removed_per_source)
    if config.against:
        report["earlier"] = prior_report(keyed, exchange)
        both = keyed
        keyed = exchange.group(both, [DOC_KEY], pass_on, prepare=our_rows)
        exchange.release(both)
    return Settled(keyed=keyed, report=report)


def _with_keepers(
    members: Rows, notes: Rows, exchange: Exchange, config: ClusterConfig, evidence: Evidence | None
) -> tuple[Rows, Rows | None]:
    """Members with their keepers and, where keepers without a mark are preferred, counts of such (`count_survivors`)."""
    by = {"evidence": None if evidence is None else asdict(evidence)}
    ordered = {"keep_earlier": config.keep_earlier, **by}
    # Components by number bring what notes say of their documents; others are joined with it.
    made: dict[str, Any] = {"prepare": described_rows, "prepare_params": ordered}
    described = members
    if not set(_described_by(notes, evidence)) <= set(members.schema.names):
        joined = [
            exchange.group(rows, [DOC_KEY], pass_on, prepare=member_rows, prepare_params=by)
            for rows in (members, notes)
        ]
        both = Rows(joined[0].files + joined[1].files, joined[0].schema, joined[0].count + joined[1].count)
        described, made = exchange.group(both, [DOC_KEY], join_attributes, ordered), {}
        exchange.release(both)
    if config.copies is not None:
        uncounted = described
        described, made = exchange.group(uncounted, ["label"], count_copies, by, **made), {}
        if uncounted is not members:
            exchange.release(uncounted)
    sort = ["label", "order", "marked", "rank", DOC_KEY]
    keyed = exchange.group(described, ["label"], choose_keepers, by, sort=sort, **made)
    survivors = None
    if config.prefer_unmarked:
        survivors = exchange.group(described, ["label"], count_survivors, by, sort=sort, **made)
    if described is not members:
        exchange.release(described)
    return keyed, survivors


def _described_by(notes: Rows, evidence: Evidence | None) -> list[str]:
    """The columns of notes that a choice of keepers uses."""
    wanted = [*ATTRIBUTES.names, *([] if evidence is None else [evidence.column])]
    return [name for name in wanted if name in notes.schema.names]


# Functions for the exchange.


def member_rows(table: pa.Table, evidence: EvidenceFields = None) -> pa.Table:
    """Members or notes with all columns of MEMBER, ATTRIBUTES and the evidence, null where they have none."""
    schema = with_evidence(pa.schema([*MEMBER, *ATTRIBUTES]), evidence)
    # Nulls would mean that the document is no member; a missing attribute is one that the config does not need.
    return pa.table(_filled(table, schema, {} if "label" in table.schema.names else USUAL), schema=schema)


def described_rows(table: pa.Table, keep_earlier: bool, evidence: EvidenceFields = None) -> pa.Table:
    """Members that have their attributes already, as `join_attributes` makes them."""
    columns = _filled(table, with_evidence(DESCRIBED, evidence), USUAL)
    columns["order"] = _order(columns["task"], keep_earlier)
    return pa.table(columns, schema=with_evidence(DESCRIBED, evidence))


USUAL = {"marked": False, "rank": 0, "copies": 1}
"""What holds of documents whose notes do not say."""


def _filled(table: pa.Table, schema: pa.Schema, usual: Mapping[str, Any]) -> dict[str, pa.Array]:
    """The columns of a schema, null where the table has none, with `usual` in place of nulls."""
    found = {}
    for field in schema:
        known = field.name in table.schema.names
        column = one_chunk(table[field.name]) if known else pa.nulls(table.num_rows, field.type)
        found[field.name] = column.fill_null(usual[field.name]) if field.name in usual else column
    return found


def _order(task: pa.Array, keep_earlier: bool) -> pa.Array:
    """`order` of members by the tasks that own them."""
    tasks = task.to_numpy()
    order = np.full(len(tasks), OURS, np.int8)
    if keep_earlier:
        order[tasks < 0] = PRIOR
        order[is_emitted(tasks)] = EMITTED_EARLIER
    return pa.array(order)


def pass_on(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The rows as they are."""
    yield from tables


def our_rows(table: pa.Table) -> pa.Table:
    """The members that are documents of this run: those of prior runs have a negative task."""
    return table.filter(pc.greater_equal(table["task"], 0)).combine_chunks()


def join_attributes(
    tables: Iterator[pa.Table], keep_earlier: bool, evidence: EvidenceFields = None
) -> Iterator[pa.Table]:
    """Rows of members with their attributes, from rows of both sorted by doc_key; other documents are left out."""
    waiting: pa.Table | None = None
    schema = with_evidence(DESCRIBED, evidence)
    for piece in tables:
        table = piece if waiting is None else pa.concat_tables([waiting, piece])
        waiting, made = _joined(table.combine_chunks(), keep_earlier, schema, last=False)
        yield made
    if waiting is not None:
        yield _joined(waiting, keep_earlier, schema, last=True)[1]


def _joined(table: pa.Table, keep_earlier: bool, schema: pa.Schema, last: bool) -> tuple[pa.Table, pa.Table]:
    """(rows whose partner may still come, joined rows of a schema)."""
    words = key_words(table[DOC_KEY])
    member = table["label"].is_valid().to_numpy()
    rows = table.num_rows
    with_next = np.zeros(rows, bool)
    if rows > 1:
        with_next[:-1] = (words[:-1] == words[1:]).all(axis=1)
    first = np.flatnonzero(with_next)
    held = 0 if last or rows == 0 or (len(first) and first[-1] == rows - 2) else 1
    paired = np.zeros(rows, bool)
    paired[first] = True
    paired[first + 1] = True
    alone = member & ~paired
    alone[rows - held :] = False
    if alone.any() or (member[first] == member[first + 1]).any():
        raise ConservationError(
            "a clustered document has no note, or two: notes and clusters come from different runs. Remove the work "
            "folder and run again."
        )
    own = np.where(member[first], first, first + 1)
    note = np.where(member[first], first + 1, first)
    left = table.select(MEMBER.names).take(pa.array(own, pa.int64()))
    named = [name for name in schema.names if name not in (*MEMBER.names, "order")]
    right = table.select(named).take(pa.array(note, pa.int64()))
    columns = {name: left[name] for name in left.schema.names} | {name: right[name] for name in right.schema.names}
    columns["order"] = _order(one_chunk(left["task"]), keep_earlier)
    return table.slice(rows - held), pa.table(columns, schema=schema).combine_chunks()


def count_copies(tables: Iterator[pa.Table], evidence: EvidenceFields = None) -> Iterator[pa.Table]:
    """Members sorted by (label, doc_key) as they are, and after each cluster's last a row with the sum of their copies.

    What is a component by itself (a crowded bucket's leader that nobody joined) is left out: it is no cluster, and its
    size is its own number of copies.
    """
    # The cluster that goes on, as if all of it so far were one row.
    words, copies = np.empty((0, 2), np.uint64), np.empty(0, np.int64)
    schema = with_evidence(DESCRIBED, evidence)
    for piece in tables:
        table = piece.filter(pc.greater(piece["size"], 1)).combine_chunks()
        words = np.concatenate([words, key_words(table["label"])])
        copies = np.concatenate([copies, table["copies"].to_numpy()])
        first = np.flatnonzero(np.r_[True, (words[1:] != words[:-1]).any(axis=1)][: len(words)])
        sums = np.add.reduceat(copies, first) if len(first) else copies
        yield pa.concat_tables([table, _totals(words[first[:-1]], sums[:-1], schema)]).combine_chunks()
        words, copies = words[first[-1:]], sums[-1:]
    yield _totals(words, copies, schema)


def _totals(labels: np.ndarray, copies: np.ndarray, schema: pa.Schema) -> pa.Table:
    rows = len(copies)
    keys = keys_from_words(labels)
    filled = {"doc_key": keys, "label": keys, "copies": pa.array(copies, pa.int64())}
    filled |= {"task": pa.array(np.zeros(rows, np.int32)), "order": pa.array(np.full(rows, TOTAL, np.int8))}
    return pa.table([filled.get(field.name, pa.nulls(rows, field.type)) for field in schema], schema=schema)


def choose_keepers(tables: Iterator[pa.Table], evidence: EvidenceFields = None) -> Iterator[pa.Table]:
    """Members with the `keeper` of their cluster, the first of rows sorted by (label, order, marked, rank, doc_key), with
    the total as their `size` where a row of it comes first, and with their `similarity` to it where there is evidence."""
    for table, chosen, keeper, size in _keepers_of(tables, evidence):
        members = table.take(pa.array(chosen))
        made = {field.name: members[field.name] for field in MEMBER} | {"size": pa.array(size, pa.int64())}
        keepers = table.select([DOC_KEY, "task"]).take(pa.array(keeper))
        made |= {"keeper": keepers[DOC_KEY], "keeper_earlier": pc.less(keepers["task"], 0), "source": members["source"]}
        yield pa.table(made | similarity_columns(table, chosen, keeper, evidence))


def count_survivors(tables: Iterator[pa.Table], evidence: EvidenceFields = None) -> Iterator[pa.Table]:
    """By power of two of their size, clusters, those whose keeper has no mark, and those whose member with the lowest doc_key
    has none; rows sorted as for `choose_keepers`."""
    for table, chosen, keeper, size in _keepers_of(tables, evidence):
        rows = table.take(pa.array(chosen))
        unmarked = ~rows["marked"].to_numpy(zero_copy_only=False).astype(bool)
        kept = chosen == keeper
        lowest = (key_words(rows[DOC_KEY]) == key_words(rows["label"])).all(axis=1)
        some = (kept | lowest) & (size > 1)
        columns = [kept, kept & unmarked, lowest & unmarked]
        yield pa.table([power_of_two(size[some]), *(one[some].astype(np.int64) for one in columns)], schema=SURVIVORS)


def _keepers_of(
    tables: Iterator[pa.Table], evidence: EvidenceFields
) -> Iterator[tuple[pa.Table, np.ndarray, np.ndarray, np.ndarray]]:
    """(table, rows of it that are members, the row of each one's keeper, the size of its cluster), piece by piece."""
    # The total, if there is one, and the keeper of a cluster that goes on stand before its next rows once more.
    head = with_evidence(DESCRIBED, evidence).empty_table()
    for piece in tables:
        table = pa.concat_tables([head, piece]).combine_chunks()
        rows = table.num_rows
        words, order = key_words(table["label"]), table["order"].to_numpy()
        starts = np.ones(rows, bool)
        starts[1:] = (words[1:] != words[:-1]).any(axis=1)
        start = np.maximum.accumulate(np.where(starts, np.arange(rows), 0))
        total = order[start] == TOTAL
        keeper = np.minimum(start + total, max(0, rows - 1))
        chosen = np.flatnonzero(order != TOTAL)
        chosen = chosen[chosen >= head.num_rows]
        last = int(start[-1]) if rows else 0
        head = table.slice(last, min(rows - last, 1 + int(rows > 0 and total[-1])))
        size = np.where(total, table["copies"].to_numpy()[start], table["size"].fill_null(0).to_numpy())[chosen]
        yield table, chosen, keeper[chosen], size


# Decisions.


def cluster_ids(labels: np.ndarray) -> np.ndarray:
    """int64 ids from labels as words (uint64, shape (rows, 2)): the upper 63 bits of a cluster's lowest doc_key.

    Two of n clusters have one id with probability n²/2^64: 5·10^-8 for 10^6 clusters, 0.05 for 10^9. Ids serve people
    and statistics; the engine itself joins by whole doc_keys.
    """
    return (labels[:, 0] >> np.uint64(1)).astype(np.int64)


def decide_clusters(
    batch: pa.Table, settled: SettledView | None, rule: str, prefix: str, config: ClusterConfig
) -> Decisions:
    """Drop all but the keepers, by `rule`, or by `RULE_of_earlier` where the keeper is a document of a prior run.

    Adds `PREFIX_cluster_id` (-1 outside clusters) and `PREFIX_cluster_size` (then 1, or the row's own copies).

    The decision's value is the cluster's size, its witness the keeper's doc_key in hexadecimal, where it is known with the
    similarity to it (see `similarity.witness_ends`).
    """
    rows = batch.num_rows
    ids = np.full(rows, -1, np.int64)
    sizes = np.ones(rows, np.int64) if config.copies is None else _copies(batch[config.copies], config.copies)
    dropped = np.zeros(rows, bool)
    witness: pa.Array | None = None
    why = np.full(rows, -1, np.int16)
    found = None if settled is None else settled.columns
    if found is not None:
        size = pc.fill_null(one_chunk(found["size"]), 1).to_numpy(zero_copy_only=False)
        clustered = np.flatnonzero(size > 1)
        sizes = np.where(size > 1, size, sizes)
        member = pa.array(clustered, pa.int64())
        ids[clustered] = cluster_ids(key_words(one_chunk(found["label"]).take(member)))
        keeper = one_chunk(found["keeper" if "keeper" in found.schema.names else "label"]).take(member)
        own = key_words(one_chunk(batch[DOC_KEY]).take(member))
        lost = (key_words(keeper) != own).any(axis=1)
        dropped[clustered[lost]] = True
        why[dropped] = 0
        if config.against:
            earlier = one_chunk(found["keeper_earlier"]).take(member).to_numpy(zero_copy_only=False)
            why[clustered[lost & earlier.astype(bool)]] = 1
        witness = _hexadecimal(keeper.filter(pa.array(lost)), np.flatnonzero(dropped), rows)
        if SIMILARITY in found.schema.names:
            witness = pc.binary_join_element_wise(witness, witness_ends(found), "")
    return Decisions(
        port=np.where(dropped, DROPPED, 0).astype(np.int16),
        rules=cluster_rules(rule, config),
        rule=why,
        value=np.where(dropped, sizes, np.nan),
        threshold=np.where(dropped, 1.0, np.nan),
        witness=witness,
        columns={f"{prefix}_cluster_id": pa.array(ids), f"{prefix}_cluster_size": pa.array(sizes)},
    )


def _hexadecimal(keys: pa.Array, places: np.ndarray, rows: int) -> pa.Array:
    """A string column of `rows` with keys in hexadecimal at `places`, null elsewhere."""
    texts = key_words(keys).astype(">u8").tobytes().hex()
    index = np.full(rows, -1, np.int64)
    index[places] = np.arange(len(places))
    strings = pa.array([texts[i : i + 32] for i in range(0, len(texts), 32)], pa.string())
    return strings.take(pa.array(index, pa.int64(), mask=index < 0))


def cluster_rules(rule: str, config: ClusterConfig) -> tuple[str, ...]:
    """The rules by which `decide_clusters` drops."""
    return (rule, f"{rule}_of_earlier") if config.against else (rule,)


def cluster_findings(prefix: str) -> pa.Schema:
    """The columns that `decide_clusters` adds."""
    return pa.schema([(f"{prefix}_cluster_id", pa.int64()), (f"{prefix}_cluster_size", pa.int64())])
