"""Reader of fastText's binary model format: supervised models, dense (.bin) or quantised (.ftz).

The format is what fastText's `saveModel` writes (version 12, and 11, which differs in one default): magic and version,
arguments, dictionary with an optional map of pruned n-gram buckets, input matrix, output matrix. All numbers are
little-endian. Source: https://github.com/facebookresearch/fastText, `src/{fasttext,args,dictionary,densematrix,
quantmatrix,productquantizer}.cc`; Joulin et al., *FastText.zip* (arXiv:1612.03651) for the quantised form.

Everything that the file states is checked before it is used: a model that is cut short, of another kind or
contradictory is refused with file, place, what was expected and what was found.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from gristmill.pipeline.errors import ConfigError

MAGIC = 793712314
VERSIONS = (11, 12)
LABEL_PREFIX = "__label__"
"""fastText's default prefix of labels. A model does not store another one, and neither does the library read one: an
unknown token that starts with this prefix counts as a label, and so not as text."""
HIERARCHICAL_SOFTMAX, NEGATIVE_SAMPLING, SOFTMAX, ONE_VS_ALL = 1, 2, 3, 4
LOSSES = {
    HIERARCHICAL_SOFTMAX: "hierarchical softmax",
    NEGATIVE_SAMPLING: "negative sampling",
    SOFTMAX: "softmax",
    ONE_VS_ALL: "one-vs-all",
}
SUPERVISED = 3
MODEL_KINDS = {1: "cbow", 2: "skipgram", SUPERVISED: "supervised"}
MAX_NGRAM = 128
"""Longest character n-gram that is taken for a real argument and not for damage; models in use have up to 6."""
CENTROIDS = 256
"""Centroids of each subquantiser: a code is one byte."""
_ARGUMENTS = struct.Struct("<12id")
_DICTIONARY = struct.Struct("<3i2q")
_ENTRY = struct.Struct("<qb")


@dataclass(frozen=True)
class Matrix:
    """A matrix of the model, dense or product-quantised.

    Attributes:
        rows, columns: its shape.
        dense: float32 of shape (rows, columns), or None.
        codes: uint8 of shape (rows, subquantisers): which centroid stands for each part of a row; None when dense.
        centroids: float32, flat as in the file: subquantiser q starts at q * 256 * part, and its centroids have `part`
            numbers each, the last subquantiser's `last_part`.
        norms: float32 of shape (rows,), the factor of each row; None where norms are not quantised apart (all 1).
        part, last_part: columns of a subvector, and of the last one.
    """

    rows: int
    columns: int
    dense: np.ndarray | None = None
    codes: np.ndarray | None = None
    centroids: np.ndarray | None = None
    norms: np.ndarray | None = None
    part: int = 0
    last_part: int = 0

    def unscaled(self) -> np.ndarray:
        """All rows as float32 of shape (rows, columns), without the factors in `norms`."""
        if self.dense is not None:
            return self.dense
        if self.codes is None or self.centroids is None:
            raise ValueError("a matrix is either dense or quantised")
        table = np.empty((self.rows, self.columns), np.float32)
        subquantisers = self.codes.shape[1]
        for q in range(subquantisers):
            width = self.last_part if q == subquantisers - 1 else self.part
            start = q * CENTROIDS * self.part
            block = self.centroids[start : start + CENTROIDS * width].reshape(CENTROIDS, width)
            table[:, q * self.part : q * self.part + width] = block[self.codes[:, q]]
        return table

    def rows_scaled(self) -> np.ndarray:
        """All rows as float32 of shape (rows, columns)."""
        table = self.unscaled()
        return table if self.norms is None else table * self.norms[:, None]


@dataclass(frozen=True)
class FastTextModel:
    """A supervised fastText model as its file has it.

    Attributes:
        path: where it was read from.
        dim: columns of both matrices.
        word_ngrams: longest word n-gram; 1 means none.
        loss: one of LOSSES.
        bucket: number of hash buckets of character and word n-grams.
        minn, maxn: shortest and longest character n-gram, in code points; maxn 0 means none.
        words: the dictionary's words, most frequent first, as bytes. Word i has row i of the input matrix.
        labels: labels without LABEL_PREFIX; label i has row i of the output matrix.
        label_words: labels as the dictionary has them, as bytes.
        label_counts: int64, occurrences in training, descending; they define the tree of the hierarchical softmax.
        pruned: int32 of shape (n, 2): the buckets that were kept, and their row after the words' rows; None when
            nothing was pruned and bucket b has row len(words) + b.
        input, output: the matrices.
    """

    path: Path
    dim: int
    word_ngrams: int
    loss: int
    bucket: int
    minn: int
    maxn: int
    words: tuple[bytes, ...]
    labels: tuple[str, ...]
    label_words: tuple[bytes, ...]
    label_counts: np.ndarray
    pruned: np.ndarray | None
    input: Matrix
    output: Matrix


class _Cursor:
    """Sequential reads from a file, each checked against its end."""

    def __init__(self, path: Path, data: Any) -> None:
        self.path = path
        self.data = data
        self.at = 0

    def refuse(self, expected: str, found: str) -> NoReturn:
        raise ConfigError(
            f"{self.path}: not a usable fastText model: at byte {self.at}: expected {expected}, found {found}. "
            "Give a supervised model saved by fastText (.bin or .ftz), and download it again if it was cut short."
        )

    def claim(self, size: int, what: str) -> int:
        start, rest = self.at, len(self.data) - self.at
        if size < 0 or size > rest:
            self.refuse(f"{size} bytes of {what}", f"{rest} bytes to the end of the file")
        self.at += size
        return start

    def unpack(self, layout: struct.Struct, what: str) -> tuple[Any, ...]:
        return layout.unpack_from(self.data, self.claim(layout.size, what))

    def flag(self, what: str) -> bool:
        value = self.data[self.claim(1, what)]
        if value not in (0, 1):
            self.at -= 1
            self.refuse(f"0 or 1 for {what}", str(value))
        return bool(value)

    def array(self, dtype: str, count: int, what: str) -> np.ndarray:
        """An aligned copy, so that kernels see one array type and the file can be closed."""
        kind = np.dtype(dtype)
        start = self.claim(count * kind.itemsize, what)
        return np.frombuffer(self.data, kind, count, start).copy()

    def word(self, what: str) -> bytes:
        end = self.data.find(b"\0", self.at)
        if end < 0:
            self.refuse(f"{what} with its closing zero byte", "the end of the file")
        word = self.data[self.at : end]
        self.at = end + 1
        return bytes(word)

    def check(self, holds: bool, expected: str, found: object) -> None:
        if not holds:
            self.refuse(expected, str(found))


def read_model(path: Path) -> FastTextModel:
    """Read a supervised fastText model.

    Raises ConfigError when the file is missing, cut short, no fastText model, not supervised or contradicts itself.
    """
    try:
        with path.open("rb") as stream:
            if stream.seek(0, 2) == 0:
                raise ConfigError(f"{path}: expected a fastText model, found an empty file. Download it again.")
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _read(_Cursor(path, data))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot read the fastText model: {error.strerror or error}. Check the path and its permissions."
        ) from error


def _read(cursor: _Cursor) -> FastTextModel:
    header = cursor.unpack(struct.Struct("<2i"), "magic number and version")
    cursor.check(header[0] == MAGIC, f"fastText's magic number {MAGIC}", header[0])
    cursor.check(header[1] in VERSIONS, f"format version {' or '.join(map(str, VERSIONS))}", header[1])
    (dim, _, _, _, _, word_ngrams, loss, kind, bucket, minn, maxn, _, _) = cursor.unpack(_ARGUMENTS, "arguments")
    cursor.check(kind == SUPERVISED, "a supervised model (kind 3)", f"{MODEL_KINDS.get(kind, 'kind')} ({kind})")
    cursor.check(loss in LOSSES, f"a loss among {sorted(LOSSES)}", loss)
    cursor.check(dim > 0, "a positive dimension", dim)
    cursor.check(bucket >= 0, "a number of buckets that is not negative", bucket)
    cursor.check(maxn <= MAX_NGRAM, f"character n-grams of at most {MAX_NGRAM}", maxn)
    if header[1] == 11:
        maxn = 0  # Supervised models of version 11 had no character n-grams whatever the argument says.
    cursor.check(bucket > 0 or (maxn <= 0 and word_ngrams <= 1), "buckets for the n-grams that the model uses", bucket)
    words, label_words, counts, pruned = _read_dictionary(cursor, bucket)
    quantised = cursor.flag("`quantised input`")
    input_matrix = _read_matrix(cursor, quantised, "input matrix")
    cursor.check(quantised or pruned is None, "a quantised input matrix, as the dictionary is pruned", "a dense one")
    quantised_output = cursor.flag("`quantised output`")
    output_matrix = _read_matrix(cursor, quantised and quantised_output, "output matrix")
    cursor.check(cursor.at == len(cursor.data), "the end of the file", f"{len(cursor.data) - cursor.at} more bytes")
    rows = len(words) + (bucket if pruned is None else len(pruned))
    cursor.check(input_matrix.rows == rows, f"{rows} rows of the input matrix", input_matrix.rows)
    cursor.check(output_matrix.rows == len(label_words), f"{len(label_words)} output rows", output_matrix.rows)
    for matrix in (input_matrix, output_matrix):
        cursor.check(matrix.columns == dim, f"matrices of {dim} columns", matrix.columns)
    try:
        labels = tuple(word.decode("utf-8").removeprefix(LABEL_PREFIX) for word in label_words)
    except UnicodeDecodeError as error:
        cursor.refuse("labels in UTF-8", repr(error.object))
    return FastTextModel(
        path=cursor.path,
        dim=dim,
        word_ngrams=word_ngrams,
        loss=loss,
        bucket=bucket,
        minn=minn,
        maxn=maxn,
        words=words,
        labels=labels,
        label_words=label_words,
        label_counts=counts,
        pruned=pruned,
        input=input_matrix,
        output=output_matrix,
    )


def _read_dictionary(
    cursor: _Cursor, bucket: int
) -> tuple[tuple[bytes, ...], tuple[bytes, ...], np.ndarray, np.ndarray | None]:
    size, n_words, n_labels, _, n_pruned = cursor.unpack(_DICTIONARY, "sizes of the dictionary")
    cursor.check(
        n_words >= 0 and n_labels > 0 and size == n_words + n_labels,
        "a dictionary of words and at least one label, whose numbers add up",
        f"{size} entries, {n_words} words, {n_labels} labels",
    )
    entries: list[bytes] = []
    counts = np.empty(n_labels, np.int64)
    for index in range(size):
        entries.append(cursor.word("a dictionary entry"))
        count, kind = cursor.unpack(_ENTRY, "a dictionary entry's count and type")
        cursor.check(kind == (index >= n_words), "all words before all labels (types 0 and 1)", f"type {kind}")
        if index >= n_words:
            counts[index - n_words] = count
    pruned = None
    if n_pruned >= 0:
        pruned = cursor.array("<i4", 2 * n_pruned, "pruned n-grams").reshape(-1, 2)
        rows = np.sort(pruned[:, 1])
        cursor.check(bool((rows == np.arange(n_pruned)).all()), "each pruned row once", "rows missing or doubled")
        cursor.check(len(np.unique(pruned[:, 0])) == n_pruned, "each kept bucket once", "a doubled bucket")
        inside = n_pruned == 0 or (pruned[:, 0].min() >= 0 and pruned[:, 0].max() < bucket)
        cursor.check(bool(inside), f"kept buckets below {bucket}", "others")
    return tuple(entries[:n_words]), tuple(entries[n_words:]), counts, pruned


def _read_matrix(cursor: _Cursor, quantised: bool, what: str) -> Matrix:
    with_norms = cursor.flag(f"`norms apart` of the {what}") if quantised else False
    rows, columns = cursor.unpack(struct.Struct("<2q"), f"shape of the {what}")
    cursor.check(rows >= 0 and columns > 0, f"a shape of the {what}", f"({rows}, {columns})")
    if not quantised:
        dense = cursor.array("<f4", rows * columns, what).reshape(rows, columns)
        cursor.check(bool(np.isfinite(dense).all()), f"finite numbers in the {what}", "infinity or NaN")
        return Matrix(rows, columns, dense=dense)
    (size,) = cursor.unpack(struct.Struct("<i"), f"size of the codes of the {what}")
    codes = cursor.array("u1", size, f"codes of the {what}")
    centroids, subquantisers, part, last_part = _read_quantiser(cursor, columns, what)
    cursor.check(size == rows * subquantisers, f"{rows * subquantisers} codes of the {what}", size)
    norms = None
    if with_norms:
        norm_codes = cursor.array("u1", rows, f"norm codes of the {what}")
        norm_centroids, *_ = _read_quantiser(cursor, 1, f"norms of the {what}")
        norms = norm_centroids[norm_codes]
    return Matrix(
        rows,
        columns,
        codes=codes.reshape(rows, subquantisers),
        centroids=centroids,
        norms=norms,
        part=part,
        last_part=last_part,
    )


def _read_quantiser(cursor: _Cursor, columns: int, what: str) -> tuple[np.ndarray, int, int, int]:
    dim, subquantisers, part, last_part = cursor.unpack(struct.Struct("<4i"), f"quantiser of the {what}")
    cursor.check(
        dim == columns
        and part > 0
        and subquantisers == -(-dim // part)
        and last_part == dim - (subquantisers - 1) * part,
        f"a product quantiser for {columns} columns of the {what}",
        f"{dim} columns in {subquantisers} parts of {part}, the last of {last_part}",
    )
    centroids = cursor.array("<f4", dim * CENTROIDS, f"centroids of the {what}")
    cursor.check(bool(np.isfinite(centroids).all()), f"finite centroids of the {what}", "infinity or NaN")
    return centroids, subquantisers, part, last_part
