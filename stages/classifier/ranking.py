"""The highest-ranking documents of a corpus, exactly: cuts in a total order, found by refining histograms.

A document's *place* is 20 bytes: the rank in four, lowest first, then the doc_key, so that no two documents have the same
place and ties in the score go to the lower doc_key. The place of the k-th document is found one or two bytes at a time:
a reduction over the notes counts documents by the next bytes of their places among those that share the bytes found so
far. After two to five sweeps over the notes it is known; no process ever holds more than a histogram of
`WIDE_SCOPES` · 65,536 bins, or 256 bins for each scope.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import DOC_KEY, KEY_BYTES, KEY_TYPE, key_words, one_chunk
from gristmill.pipeline.errors import ConservationError
from gristmill.stages.kernels.draws import draws

if TYPE_CHECKING:
    from gristmill.pipeline.exchange import Exchange, Rows

NOTES = pa.schema(
    [
        (DOC_KEY, KEY_TYPE),
        ("scope", pa.string()),
        ("label", pa.string()),
        ("score", pa.float32()),
        ("text_bytes", pa.int64()),
    ]
)
"""One row per document: the scope in which it is ranked, the label that its kind is reported under, its score (null: not
ranked by score), and the bytes of its text."""

BINS = pa.schema([("scope", pa.string()), ("bin", pa.int32()), ("documents", pa.int64())])
FIGURES = pa.schema(
    [
        ("selection", pa.string()),
        ("label", pa.string()),
        ("documents", pa.int64()),
        ("text_bytes", pa.int64()),
        ("scored", pa.int64()),
        ("score", pa.int64()),
    ]
)
"""By selection and label: documents, bytes of text, documents with a score, and their scores' sum in units of 2^-20."""
SCORE_UNIT = 1 << 20
RANK_BYTES = 4
PLACE_BYTES = RANK_BYTES + KEY_BYTES
WIDE_SCOPES = 16
"""Up to this many scopes are refined by two bytes at a time, more by one."""
WHOLE = ""
"""The scope of everything."""


@dataclass(frozen=True)
class Cut:
    """The last place that is within; places beyond it are not.

    Attributes:
        place: 20 bytes, of rank and doc_key. Where whole bins are within, a place that no document has.
    """

    place: bytes

    @property
    def rank(self) -> int:
        """The rank in the place."""
        return int.from_bytes(self.place[:RANK_BYTES], "big")

    def score(self) -> float:
        """The score of that rank."""
        return float(scores_of(np.array([self.rank], np.uint32))[0])


NOTHING = Cut(b"")
"""Within it is no document."""


def ranks(scores: np.ndarray) -> np.ndarray:
    """uint32 ranks of float32 scores, the highest score first: equal scores have equal ranks, and −0 is 0.

    >>> ranks(np.array([1.0, 0.5, -2.0], np.float32)).argsort().tolist()
    [0, 1, 2]
    """
    bits = (np.asarray(scores, np.float32) + np.float32(0.0)).view(np.uint32)
    sign = np.uint32(0x80000000)
    return np.where(bits & sign, bits, ~(bits | sign))


def scores_of(found: np.ndarray) -> np.ndarray:
    """The inverse of `ranks`."""
    sign = np.uint32(0x80000000)
    return np.where(found & sign, found, ~found & ~sign).astype(np.uint32).view(np.float32)


def chance_ranks(keys: pa.Array, seed: int) -> np.ndarray:
    """uint32 ranks that a seeded draw gives the documents."""
    drawn = np.empty(len(keys))
    draws(key_words(keys), np.uint64(seed), drawn)
    return (drawn * 2.0**32).astype(np.uint32)


def is_within(rank: np.ndarray, keys: pa.Array, cuts: Sequence[Cut], codes: np.ndarray) -> np.ndarray:
    """Which documents lie within the cut of their scope, as a bool array.

    Args:
        rank: uint32, one per document.
        cuts: by scope; codes: int64 per document, index into them.
    """
    words = key_words(keys)
    limits = [cut.place or bytes(PLACE_BYTES) for cut in cuts]
    parts = [
        np.array([int.from_bytes(limit[start:stop], "big") for limit in limits], np.uint64)[codes]
        for start, stop in ((0, 4), (4, 12), (12, 20))
    ]
    mine = (rank.astype(np.uint64), words[:, 0], words[:, 1])
    below = mine[2] <= parts[2]
    for own, limit in zip(mine[1::-1], parts[1::-1], strict=True):
        below = (own < limit) | ((own == limit) & below)
    return np.asarray(below & np.array([bool(cut.place) for cut in cuts], bool)[codes], bool)


def cut_at(least: float) -> Cut:
    """The cut that scores of at least `least` are within."""
    lowest = np.float32(least)
    if float(lowest) < least:
        lowest = np.nextafter(lowest, np.float32(np.inf))
    return Cut(int(ranks(np.array([lowest]))[0]).to_bytes(RANK_BYTES, "big") + b"\xff" * KEY_BYTES)


def find_cuts(notes: Rows, exchange: Exchange, wanted: Mapping[str, int], *, seed: int | None = None) -> dict[str, Cut]:
    """The place of the last of the `wanted` best documents of each scope.

    Args:
        notes: rows of NOTES.
        wanted: documents by scope, no more than the scope has.
        seed: ranks by a seeded draw over all documents, in the one scope WHOLE, instead of by score.

    Raises ConservationError when a scope has fewer documents than it had when they were counted.
    """
    cuts = {scope: NOTHING for scope, number in wanted.items() if number <= 0}
    refined = {scope: (b"", number) for scope, number in sorted(wanted.items()) if number > 0}
    while refined:
        depth = len(next(iter(refined.values()))[0])
        width = 2 if len(refined) <= WIDE_SCOPES and PLACE_BYTES - depth >= 2 else 1
        params: dict[str, Any] = {
            "scopes": list(refined),
            "prefixes": [prefix.hex() for prefix, _ in refined.values()],
            "width": width,
            "seed": seed,
        }
        counted = exchange.reduce(notes, count_bins, params)
        scope_of = counted["scope"].to_pylist()
        bins, documents = (counted[name].to_numpy() for name in ("bin", "documents"))
        ends = {scope: index + 1 for index, scope in enumerate(scope_of)}
        start, deeper = 0, {}
        for scope in sorted(refined):
            prefix, number = refined[scope]
            stop = ends.get(scope, start)
            total = np.cumsum(documents[start:stop])
            at = int(np.searchsorted(total, number))
            if at == len(total):
                raise ConservationError(
                    f"ranking: {number} documents were expected below the place {prefix.hex() or 'first of all'} of the "
                    f"scope {scope!r}, found {int(total[-1]) if len(total) else 0}. Notes were lost; run again."
                )
            found = prefix + int(bins[start + at]).to_bytes(width, "big")
            start = stop
            if total[at] == number:
                cuts[scope] = Cut(found + b"\xff" * (PLACE_BYTES - len(found)))
            elif len(found) == PLACE_BYTES:
                raise ConservationError(
                    f"ranking: {int(total[at])} documents of the scope {scope!r} have the place {found.hex()}. A doc_key "
                    "occurs twice in the notes; run again."
                )
            else:
                before = int(total[at - 1]) if at else 0
                deeper[scope] = (found, number - before)
        refined = deeper
    return cuts


def count_bins(
    tables: list[pa.Table], *, scopes: Sequence[str], prefixes: Sequence[str], width: int, seed: int | None
) -> pa.Table:
    """Combines notes, or bins, into bins: documents by scope and the next `width` bytes of their places, among those whose
    places begin with their scope's prefix."""
    parts = [
        _bins_of(table, scopes, prefixes, width, seed) if DOC_KEY in table.column_names else table.select(BINS.names)
        for table in tables
    ]
    summed = pa.concat_tables(parts).group_by(["scope", "bin"], use_threads=False).aggregate([("documents", "sum")])
    summed = summed.select(["scope", "bin", "documents_sum"]).rename_columns(BINS.names).cast(BINS)
    return summed.sort_by([("scope", "ascending"), ("bin", "ascending")]).combine_chunks()


def _bins_of(notes: pa.Table, scopes: Sequence[str], prefixes: Sequence[str], width: int, seed: int | None) -> pa.Table:
    keys = one_chunk(notes[DOC_KEY])
    if seed is None:
        codes = one_chunk(pc.index_in(notes["scope"], value_set=pa.array(scopes, pa.string())).fill_null(-1)).to_numpy()
        score = one_chunk(notes["score"])
        chosen = (codes >= 0) & score.is_valid().to_numpy(zero_copy_only=False)
        rank = ranks(score.fill_null(0.0).to_numpy(zero_copy_only=False))
    else:
        codes = np.zeros(len(keys), np.int32)
        chosen = np.ones(len(keys), bool)
        rank = chance_ranks(keys, seed)
    places = np.empty((len(keys), PLACE_BYTES), np.uint8)
    places[:, :RANK_BYTES] = rank.astype(">u4").view(np.uint8).reshape(-1, RANK_BYTES)
    places[:, RANK_BYTES:] = key_words(keys).astype(">u8").view(np.uint8).reshape(-1, KEY_BYTES)
    depth = len(prefixes[0]) // 2
    if depth:
        wanted = np.array([list(bytes.fromhex(prefix)) for prefix in prefixes], np.uint8)
        chosen &= (places[:, :depth] == wanted[codes]).all(axis=1)
    rows = np.flatnonzero(chosen)
    bins = np.zeros(len(rows), np.int64)
    for byte in range(depth, depth + width):
        bins = bins * 256 + places[rows, byte]
    joined, counts = np.unique(codes[rows].astype(np.int64) << 16 | bins, return_counts=True)
    return pa.table(
        {
            "scope": pa.array(scopes, pa.string()).take(pa.array(joined >> 16)),
            "bin": pa.array((joined & 0xFFFF).astype(np.int32)),
            "documents": pa.array(counts.astype(np.int64)),
        },
        schema=BINS,
    )


def add_figures(tables: list[pa.Table], *, cuts: Mapping[str, str], chance: str | None, seed: int) -> pa.Table:
    """Combines notes, or figures, into figures of the selections `all`, `kept`, `random` and `both`.

    Args:
        cuts: hexadecimal place of the last kept document, by scope; scopes that are not named keep nothing.
        chance: place of the last document of the random selection; None leaves that out, and `both`.
        seed: of the random selection.
    """
    parts = [
        _figures_of(table, cuts, chance, seed) if DOC_KEY in table.column_names else table.select(FIGURES.names)
        for table in tables
    ]
    return _summed(pa.concat_tables(parts))


def _figures_of(notes: pa.Table, cuts: Mapping[str, str], chance: str | None, seed: int) -> pa.Table:
    keys = one_chunk(notes[DOC_KEY])
    score = one_chunk(notes["score"])
    scored = score.is_valid().to_numpy(zero_copy_only=False)
    values = score.fill_null(0.0).to_numpy(zero_copy_only=False)
    kept = scored & is_within(ranks(values), keys, *_coded(cuts, notes["scope"]))
    selections = {"all": np.ones(len(keys), bool), "kept": kept}
    if chance is not None:
        drawn = is_within(chance_ranks(keys, seed), keys, [Cut(bytes.fromhex(chance))], np.zeros(len(keys), np.int64))
        selections |= {"random": drawn, "both": drawn & kept}
    columns = {
        "label": one_chunk(notes["label"]),
        "documents": pa.array(np.ones(len(keys), np.int64)),
        "text_bytes": one_chunk(notes["text_bytes"]),
        "scored": pa.array(scored.astype(np.int64)),
        "score": pa.array(np.rint(values.astype(np.float64) * SCORE_UNIT).astype(np.int64) * scored),
    }
    parts = []
    for name, chosen in selections.items():
        table = pa.table(columns).filter(pa.array(chosen))
        named = pa.array([name], pa.string()).take(pa.array(np.zeros(table.num_rows, np.int64)))
        parts.append(table.add_column(0, "selection", named).cast(FIGURES))
    return _summed(pa.concat_tables(parts))


def _coded(cuts: Mapping[str, str], scopes: pa.Array) -> tuple[list[Cut], np.ndarray]:
    """The cuts, and for each row which of them is its scope's."""
    names = sorted(cuts)
    codes = pc.index_in(scopes, value_set=pa.array(names, pa.string())).fill_null(len(names))
    return [*(Cut(bytes.fromhex(cuts[name])) for name in names), NOTHING], one_chunk(codes).to_numpy().astype(np.int64)


def _summed(table: pa.Table) -> pa.Table:
    keys, sums = FIGURES.names[:2], FIGURES.names[2:]
    # One thread: the order of groups would otherwise depend on the machine; sorted, it depends on the rows alone.
    summed = table.group_by(keys, use_threads=False).aggregate([(name, "sum") for name in sums])
    summed = summed.select([*keys, *(f"{name}_sum" for name in sums)]).rename_columns(FIGURES.names).cast(FIGURES)
    return summed.sort_by([(name, "ascending") for name in keys]).combine_chunks()


def add_scopes(tables: list[pa.Table], *, least: float | None) -> pa.Table:
    """Combines notes, or counts, into counts by scope: documents, those with a score, and those with at least `least`."""
    parts = [
        _scopes_of(table, least) if DOC_KEY in table.column_names else table.select(["scope", *_COUNTS])
        for table in tables
    ]
    grouped = pa.concat_tables(parts).group_by("scope", use_threads=False)
    summed = grouped.aggregate([(name, "sum") for name in _COUNTS])
    summed = summed.select(["scope", *(f"{name}_sum" for name in _COUNTS)]).rename_columns(["scope", *_COUNTS])
    return summed.sort_by("scope").combine_chunks()


_COUNTS = ("documents", "scored", "reaching")


def _scopes_of(notes: pa.Table, least: float | None) -> pa.Table:
    score = one_chunk(notes["score"])
    scored = score.is_valid().to_numpy(zero_copy_only=False)
    reaching = np.zeros(len(score), bool)
    if least is not None:
        reaching = scored & (ranks(score.fill_null(0.0).to_numpy(zero_copy_only=False)) <= cut_at(least).rank)
    columns = {
        "scope": one_chunk(notes["scope"]),
        "documents": pa.array(np.ones(len(score), np.int64)),
        "scored": pa.array(scored.astype(np.int64)),
        "reaching": pa.array(reaching.astype(np.int64)),
    }
    return pa.table(columns)


def selection_figures(figures: pa.Table, most: int) -> dict[str, Any]:
    """The figures of each selection as plain values: documents, text_bytes, mean_bytes, mean_score, and documents by label
    for the `most` frequent ones of the whole corpus, the others as `(others)`."""
    rows = figures.to_pylist()
    whole = sorted(
        (row for row in rows if row["selection"] == "all"), key=lambda row: (-row["documents"], row["label"])
    )
    named = [row["label"] for row in whole[:most]]
    return {
        name: _selection([r for r in rows if r["selection"] == name], named)
        for name in ("all", "kept", "random", "both")
    }


def _selection(rows: Iterable[Mapping[str, Any]], named: Sequence[str]) -> dict[str, Any]:
    found = list(rows)
    totals = {name: sum(row[name] for row in found) for name in ("documents", "text_bytes", "scored", "score")}
    labels = dict.fromkeys(named, 0)
    for row in found:
        label = row["label"] if row["label"] in labels else "(others)"
        labels[label] = labels.get(label, 0) + row["documents"]
    return {
        "documents": totals["documents"],
        "text_bytes": totals["text_bytes"],
        "mean_bytes": round(totals["text_bytes"] / totals["documents"], 1) if totals["documents"] else None,
        "mean_score": round(totals["score"] / SCORE_UNIT / totals["scored"], 6) if totals["scored"] else None,
        "labels": labels,
    }
