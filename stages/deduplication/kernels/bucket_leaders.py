"""Edges between the documents of one bucket, verified against leaders, in one pass over sorted rows."""

from __future__ import annotations

import numpy as np
from numba import njit

from gristmill.stages.deduplication.kernels.shingles import jaccard
from gristmill.stages.deduplication.kernels.signatures import equal_lanes
from gristmill.stages.kernels.scalars import Int

LEADERS = 64
"""Documents of a bucket that others may join. With the bucket's size it bounds the comparisons: a bucket of 10^6
documents takes at most 64·10^6, where all pairs would be 5·10^11."""

BUCKET, LED, SIZE, UNMATCHED, STARTED = range(5)
"""Entries of `state`, uint64[5]: the current bucket, its leaders so far, its documents so far, those that found neither
a leader nor room to become one, and whether there is a current bucket at all."""


@njit(cache=True, nogil=True)
def join_leaders(
    buckets: np.ndarray,
    keys: np.ndarray,
    tasks: np.ndarray,
    sketch: np.ndarray,
    lanes: int,
    required: int,
    sets: np.ndarray,
    set_offsets: np.ndarray,
    places: int,
    least: float,
    state: np.ndarray,
    leader_keys: np.ndarray,
    leader_tasks: np.ndarray,
    leader_sketches: np.ndarray,
    leader_sets: np.ndarray,
    edge_rows: np.ndarray,
    edge_keys: np.ndarray,
    edge_tasks: np.ndarray,
    crowded: np.ndarray,
    crowded_counts: np.ndarray,
) -> tuple[Int, Int]:
    """Read rows sorted by (bucket, doc_key) and write an edge for each that joins a leader.

    Within a bucket, in order, a document joins the first of at most LEADERS leaders that it resembles, and becomes a leader
    when there is none: whose sketch has `required` equal lanes with its own, or, for no lanes, whose set of shingles has a
    Jaccard similarity of `least` with its own. The first row always leads.

    Args:
        buckets: uint64 of shape (rows,).
        keys: uint64 of shape (rows, 2), doc_keys as words.
        tasks: int32 of shape (rows,).
        sketch: uint64 of shape (rows, words); no words and `required` 0 join everything to the first.
        sets, set_offsets, places: uint32, int64 of shape (rows + 1,) and the most hashes of a set, see
            `stages.deduplication.kernels.shingles`; not looked at where sketches are compared.
        state, leader_keys, leader_tasks, leader_sketches, leader_sets: where the last call stopped; see BUCKET and
            following, and arrays of LEADERS rows, `leader_sets` of LEADERS · (places + 1) entries. All zeros at first.
        edge_rows: int64 of shape (rows,), out: the row that joins.
        edge_keys, edge_tasks: out: its leader; shapes (rows, 2) and (rows,).
        crowded: uint64 of shape (rows + 1, 2), out: the first leader of each ended bucket that had unmatched documents.
        crowded_counts: int64 of shape (rows + 1, 3), out: that leader's task, the bucket's documents, those unmatched.

    Returns (edges, crowded buckets), both int64.
    """
    edges = np.int64(0)
    found: Int = np.int64(0)
    for row in range(buckets.shape[0]):
        if state[STARTED] == np.uint64(0) or buckets[row] != state[BUCKET]:
            found = end_bucket(state, leader_keys, leader_tasks, crowded, crowded_counts, found)
            state[BUCKET] = buckets[row]
            state[STARTED] = np.uint64(1)
        leaders = np.int64(state[LED])
        state[SIZE] += np.uint64(1)
        joined: Int = np.int64(-1)
        for leader in range(leaders):
            if lanes > 0:
                similar = equal_lanes(leader_sketches, leader, sketch, row, lanes) >= required
            else:
                similar = jaccard(leader_sets, leader * (places + 1), sets, set_offsets[row], places) >= least
            if similar:
                joined = leader
                break
        if joined >= 0:
            edge_rows[edges] = row
            edge_keys[edges, 0] = leader_keys[joined, 0]
            edge_keys[edges, 1] = leader_keys[joined, 1]
            edge_tasks[edges] = leader_tasks[joined]
            edges += 1
        elif leaders < LEADERS:
            leader_keys[leaders, 0] = keys[row, 0]
            leader_keys[leaders, 1] = keys[row, 1]
            leader_tasks[leaders] = tasks[row]
            for word in range(sketch.shape[1]):
                leader_sketches[leaders, word] = sketch[row, word]
            if lanes == 0:
                base = leaders * (places + 1)
                for entry in range(set_offsets[row + 1] - set_offsets[row]):
                    leader_sets[base + entry] = sets[set_offsets[row] + entry]
            state[LED] += np.uint64(1)
        else:
            state[UNMATCHED] += np.uint64(1)
    return edges, found


@njit(cache=True, nogil=True)
def end_bucket(
    state: np.ndarray,
    leader_keys: np.ndarray,
    leader_tasks: np.ndarray,
    crowded: np.ndarray,
    crowded_counts: np.ndarray,
    found: Int,
) -> Int:
    """Note the current bucket at place `found` if it had unmatched documents, and forget it. Returns the next place."""
    if state[UNMATCHED] > np.uint64(0):
        crowded[found, 0] = leader_keys[0, 0]
        crowded[found, 1] = leader_keys[0, 1]
        crowded_counts[found, 0] = np.int64(leader_tasks[0])
        crowded_counts[found, 1] = np.int64(state[SIZE])
        crowded_counts[found, 2] = np.int64(state[UNMATCHED])
        found += 1
    state[LED] = np.uint64(0)
    state[SIZE] = np.uint64(0)
    state[UNMATCHED] = np.uint64(0)
    state[STARTED] = np.uint64(0)
    return found
