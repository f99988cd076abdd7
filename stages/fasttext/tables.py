"""A fastText model as the arrays that the inference kernels read: dictionary, kept buckets, matrices, label tree."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from gristmill.stages.fasttext.model_file import FastTextModel
from gristmill.stages.kernels.elementary import exp
from gristmill.stages.kernels.row_sums import LANES
from gristmill.stages.kernels.scalars import Int

FNV_BASIS = np.uint32(2166136261)
FNV_PRIME = np.uint32(16777619)
MAX_DEQUANTISED_BYTES = 256 << 20
"""A quantised input matrix is expanded once if its float32 form is no larger than this; else rows are decoded as they
are used."""
SIGMOID_STEPS = 512
SIGMOID_BOUND = 8.0
"""The library's sigmoid of one-vs-all and negative-sampling models is a table of 512 steps over [-8, 8]."""


class Tables(NamedTuple):
    """A model in the form that kernels read. Rows of the input matrix are numbered words first, then kept buckets in
    ascending order."""

    dim: int
    width: int
    minn: int
    maxn: int
    word_ngrams: int
    bucket: np.uint64
    magic: np.uint64
    n_words: int
    loss: int
    slots: np.ndarray
    entry_hashes: np.ndarray
    entry_starts: np.ndarray
    entry_bytes: np.ndarray
    is_pruned: bool
    kept_bits: np.ndarray
    kept_before: np.ndarray
    rows: np.ndarray
    codes: np.ndarray
    centroids: np.ndarray
    norms: np.ndarray
    part: int
    last_part: int
    output: np.ndarray
    output_norms: np.ndarray
    left: np.ndarray
    right: np.ndarray
    sigmoid: np.ndarray


@njit(cache=True, nogil=True, inline="always")
def hash_step(value: np.uint32, byte: np.int8) -> np.uint32:
    return np.uint32((value ^ np.uint32(byte)) * FNV_PRIME)


@njit(cache=True, nogil=True)
def hash_bytes(data: np.ndarray, start: Int, end: Int) -> np.uint32:
    value = FNV_BASIS
    for at in range(start, end):
        value = hash_step(value, data[at])
    return value


@njit(cache=True, nogil=True)
def _fill_slots(hashes: np.ndarray, slots: np.ndarray) -> None:
    mask = slots.size - 1
    for entry in range(hashes.size):
        at = np.int64(hashes[entry]) & mask
        while slots[at] >= 0:
            at = (at + 1) & mask
        slots[at] = np.int32(entry)


@njit(cache=True, nogil=True)
def _hash_entries(data: np.ndarray, starts: np.ndarray, hashes: np.ndarray) -> None:
    for entry in range(hashes.size):
        hashes[entry] = hash_bytes(data, starts[entry], starts[entry + 1])


def make_tables(model: FastTextModel) -> Tables:
    """The arrays of a model. The file's input rows are put into our order."""
    entries = model.words + model.label_words
    starts = np.zeros(len(entries) + 1, np.int64)
    np.cumsum([len(entry) for entry in entries], out=starts[1:])
    entry_bytes = np.frombuffer(b"".join(entries) or b"\0", np.int8)
    hashes = np.empty(len(entries), np.uint32)
    _hash_entries(entry_bytes, starts, hashes)
    slots = np.full(1 << (2 * len(entries)).bit_length(), -1, np.int32)
    _fill_slots(hashes, slots)

    order, kept_bits, kept_before = _kept_buckets(model)
    width = -(-model.dim // LANES) * LANES
    rows, codes = np.zeros(0, np.float32), np.zeros((0, 1), np.uint8)
    centroids, norms = np.zeros(0, np.float32), np.zeros(0, np.float32)
    source = model.input
    if source.codes is not None and source.rows * width * 4 > MAX_DEQUANTISED_BYTES:
        codes = np.ascontiguousarray(source.codes[order])
        centroids = source.centroids if source.centroids is not None else centroids
        norms = source.norms[order] if source.norms is not None else norms
    elif source.dense is not None and width == model.dim:
        rows = source.dense.reshape(-1)  # Never pruned, so already in order; no second copy of a large matrix.
    else:
        padded = np.zeros((source.rows, width), np.float32)
        padded[:, : model.dim] = source.rows_scaled()[order]
        rows = padded.reshape(-1)

    output_norms = np.ones(model.output.rows, np.float32) if model.output.norms is None else model.output.norms
    left, right = _huffman_tree(model.label_counts)
    return Tables(
        dim=model.dim,
        width=width,
        minn=model.minn,
        maxn=max(model.maxn, 0),
        word_ngrams=model.word_ngrams,
        bucket=np.uint64(max(model.bucket, 1)),
        magic=np.uint64(-(-(1 << 64) // max(model.bucket, 2))),
        n_words=len(model.words),
        loss=model.loss,
        slots=slots,
        entry_hashes=hashes,
        entry_starts=starts,
        entry_bytes=entry_bytes,
        is_pruned=model.pruned is not None,
        kept_bits=kept_bits,
        kept_before=kept_before,
        rows=rows,
        codes=codes,
        centroids=centroids,
        norms=norms,
        part=source.part,
        last_part=source.last_part,
        output=np.ascontiguousarray(model.output.unscaled()),
        output_norms=output_norms,
        left=left,
        right=right,
        sigmoid=_sigmoid_table(),
    )


def _kept_buckets(model: FastTextModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(order, bits, before): our order of the file's input rows, and kept buckets as a bit set with, for each of its
    64-bit words, how many buckets are kept before it."""
    if model.pruned is None:
        return np.arange(model.input.rows), np.zeros(1, np.uint64), np.zeros(1, np.int32)
    kept = model.pruned[np.argsort(model.pruned[:, 0])].astype(np.int64)
    words = np.arange(len(model.words), dtype=np.int64)
    flags = np.zeros(-(-max(model.bucket, 1) // 64) * 64, np.uint8)
    flags[kept[:, 0]] = 1
    bits = np.packbits(flags, bitorder="little").view("<u8").astype(np.uint64)
    counts = flags.reshape(-1, 64).sum(axis=1)
    before = (np.cumsum(counts) - counts).astype(np.int32)
    return np.concatenate([words, len(model.words) + kept[:, 1]]), bits, before


def _huffman_tree(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Children of the inner nodes of the library's Huffman tree over descending label counts: int32 arrays (left,
    right) of n − 1 entries. Nodes below n are labels; inner node i is n + i, and the last one is the root."""
    n = len(counts)
    limit = 10**15
    weights = [int(count) for count in counts] + [limit] * (n - 1)
    left, right = np.zeros(max(n - 1, 1), np.int32), np.zeros(max(n - 1, 1), np.int32)
    leaf, inner = n - 1, n
    for node in range(n, 2 * n - 1):
        pair = []
        for _ in range(2):
            if leaf >= 0 and weights[leaf] < weights[inner]:
                pair.append(leaf)
                leaf -= 1
            else:
                pair.append(inner)
                inner += 1
        left[node - n], right[node - n] = pair
        weights[node] = weights[pair[0]] + weights[pair[1]]
    return left, right


def _sigmoid_table() -> np.ndarray:
    table = np.empty(SIGMOID_STEPS + 1, np.float32)
    for step in range(SIGMOID_STEPS + 1):
        x = np.float32(step * 2 * SIGMOID_BOUND) / np.float32(SIGMOID_STEPS) - np.float32(SIGMOID_BOUND)
        table[step] = np.float32(1.0 / (1.0 + np.float64(np.float32(exp(-float(x))))))
    return table
