"""Edges between the documents of one bucket, verified against leaders, in one pass over sorted rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from gristmill.stages.deduplication.kernels.shingles import jaccard
from gristmill.stages.deduplication.kernels.signatures import equal_lanes
from gristmill.stages.kernels.scalars import Int

LEADERS = 64
"""Documents of a bucket that others may join. With the bucket's size it bounds the comparisons: a bucket of 10^6
documents takes at most 64·10^6, where all pairs would be 5·10^11."""

BUCKET, LED, SIZE, UNMATCHED, STARTED = range(5)
"""Entries of `Leaders.state`: the current bucket, its leaders so far, its documents so far, those that found neither a
leader nor room to become one, and whether there is a current bucket at all."""


class Similarity(NamedTuple):
    """When a document resembles a leader: `required` of their sketches' `lanes` are equal, or, for no lanes, the Jaccard
    similarity of their sets of at most `places` shingle hashes is `least`. `required` 0 takes all for similar."""

    lanes: int
    required: int
    places: int
    least: float


class BucketRows(NamedTuple):
    """Documents sorted by (bucket, doc_key).

    Attributes:
        buckets: uint64 of shape (rows,).
        keys: uint64 of shape (rows, 2), doc_keys as words.
        owners: int64 of shape (rows,), what else an edge tells about its ends.
        sketches: uint64 of shape (rows, words); no words where they are not compared.
        sets, set_offsets: uint32, and int64 of shape (rows + 1,), see `shingles`; not looked at where sketches are compared.
    """

    buckets: np.ndarray
    keys: np.ndarray
    owners: np.ndarray
    sketches: np.ndarray
    sets: np.ndarray
    set_offsets: np.ndarray


class Leaders(NamedTuple):
    """The leaders of the current bucket.

    Attributes:
        state: uint64[5], see BUCKET and following.
        keys, owners, sketches: as in `BucketRows`, LEADERS rows.
        sets: uint32 of LEADERS · (places + 1) entries.
    """

    state: np.ndarray
    keys: np.ndarray
    owners: np.ndarray
    sketches: np.ndarray
    sets: np.ndarray


class LeaderEdges(NamedTuple):
    """Edges that `join_leaders` writes: `rows` (int64 of shape (rows,)), the row that joins; `keys` and `owners`, its
    leader (uint64 of shape (rows, 2), int64 of shape (rows,))."""

    rows: np.ndarray
    keys: np.ndarray
    owners: np.ndarray


class CrowdedBuckets(NamedTuple):
    """Ended buckets that had unmatched documents, one for each row and one more at most: `keys` (uint64 of shape (…, 2)),
    the first leader; `counts` (int64 of shape (…, 3)), its owner, the bucket's documents, those unmatched."""

    keys: np.ndarray
    counts: np.ndarray


def no_leaders(words: int, places: int) -> Leaders:
    """What `join_leaders` starts with, for sketches of so many words and sets of so many hashes."""
    return Leaders(
        np.zeros(5, np.uint64),
        np.zeros((LEADERS, 2), np.uint64),
        np.zeros(LEADERS, np.int64),
        np.zeros((LEADERS, words), np.uint64),
        np.zeros(LEADERS * (places + 1), np.uint32),
    )


@njit(cache=True, nogil=True)
def join_leaders(
    rows: BucketRows, similarity: Similarity, leaders: Leaders, edges: LeaderEdges, crowded: CrowdedBuckets
) -> tuple[Int, Int]:
    """Read rows and write an edge for each that joins a leader.

    Within a bucket, in order, a document joins the first of at most LEADERS leaders that it resembles, and becomes a leader
    when there is none. The first row always leads. `leaders` is where the last call stopped.

    Returns (edges, crowded buckets), both int64.
    """
    # As locals, because reading a field of a tuple counts a reference to the array.
    buckets, sketches, sets, set_offsets = rows.buckets, rows.sketches, rows.sets, rows.set_offsets
    lanes, places = similarity.lanes, similarity.places
    state, leader_sketches, leader_sets = leaders.state, leaders.sketches, leaders.sets
    joins = np.int64(0)
    found: Int = np.int64(0)
    for row in range(buckets.shape[0]):
        if state[STARTED] == np.uint64(0) or buckets[row] != state[BUCKET]:
            found = end_bucket(leaders, crowded, found)
            state[BUCKET] = buckets[row]
            state[STARTED] = np.uint64(1)
        led = np.int64(state[LED])
        state[SIZE] += np.uint64(1)
        joined: Int = np.int64(-1)
        for leader in range(led):
            if lanes > 0:
                similar = equal_lanes(leader_sketches, leader, sketches, row, lanes) >= similarity.required
            else:
                shared = jaccard(leader_sets, leader * (places + 1), sets, set_offsets[row], places)
                similar = shared >= similarity.least
            if similar:
                joined = leader
                break
        if joined >= 0:
            edges.rows[joins] = row
            edges.keys[joins, 0] = leaders.keys[joined, 0]
            edges.keys[joins, 1] = leaders.keys[joined, 1]
            edges.owners[joins] = leaders.owners[joined]
            joins += 1
        elif led < LEADERS:
            leaders.keys[led, 0] = rows.keys[row, 0]
            leaders.keys[led, 1] = rows.keys[row, 1]
            leaders.owners[led] = rows.owners[row]
            for word in range(sketches.shape[1]):
                leader_sketches[led, word] = sketches[row, word]
            if lanes == 0:
                base = led * (places + 1)
                for entry in range(set_offsets[row + 1] - set_offsets[row]):
                    leader_sets[base + entry] = sets[set_offsets[row] + entry]
            state[LED] += np.uint64(1)
        else:
            state[UNMATCHED] += np.uint64(1)
    return joins, found


@njit(cache=True, nogil=True)
def end_bucket(leaders: Leaders, crowded: CrowdedBuckets, found: Int) -> Int:
    """Note the current bucket at place `found` if it had unmatched documents, and forget it. Returns the next place."""
    state = leaders.state
    if state[UNMATCHED] > np.uint64(0):
        crowded.keys[found, 0] = leaders.keys[0, 0]
        crowded.keys[found, 1] = leaders.keys[0, 1]
        crowded.counts[found, 0] = leaders.owners[0]
        crowded.counts[found, 1] = np.int64(state[SIZE])
        crowded.counts[found, 2] = np.int64(state[UNMATCHED])
        found += 1
    state[LED] = np.uint64(0)
    state[SIZE] = np.uint64(0)
    state[UNMATCHED] = np.uint64(0)
    state[STARTED] = np.uint64(0)
    return found
