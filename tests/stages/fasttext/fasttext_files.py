"""Writes models in fastText's binary format, small and with any numbers, for tests of their reader and kernels."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

LOSSES = {"hs": 1, "ns": 2, "softmax": 3, "ova": 4}


@dataclass
class TinyModel:
    """A supervised model with random matrices. Words and labels are drawn by the caller."""

    words: Sequence[bytes] = (b"</s>", b"the", b"cat", "кот".encode(), b"neko")
    labels: Sequence[bytes] = (b"__label__en", b"__label__ru", b"__label__ja")
    label_counts: Sequence[int] = (50, 20, 3)
    dim: int = 5
    minn: int = 2
    maxn: int = 4
    word_ngrams: int = 1
    bucket: int = 37
    loss: str = "softmax"
    quantised: bool = False
    norms: bool = False
    quantised_output: bool = False
    part: int = 2
    pruned: Sequence[tuple[int, int]] | None = None
    version: int = 12
    magic: int = 793712314
    kind: int = 3
    seed: int = 0
    output: np.ndarray | None = None
    rng: np.random.Generator = field(init=False)

    def write(self, path: Path) -> Path:
        path.write_bytes(self.to_bytes())
        return path

    def to_bytes(self) -> bytes:
        self.rng = np.random.default_rng(self.seed)
        kept = self.bucket if self.pruned is None else len(self.pruned)
        parts = [struct.pack("<2i", self.magic, self.version)]
        parts.append(
            struct.pack(
                "<12id",
                *(self.dim, 5, 5, 1, 5, self.word_ngrams, LOSSES[self.loss], self.kind),
                *(self.bucket, self.minn, self.maxn, 100, 1e-4),
            )
        )
        entries = [(word, 100 - i, 0) for i, word in enumerate(self.words)]
        entries += [(label, n, 1) for label, n in zip(self.labels, self.label_counts, strict=True)]
        n_pruned = -1 if self.pruned is None else len(self.pruned)
        parts.append(struct.pack("<3i2q", len(entries), len(self.words), len(self.labels), 1000, n_pruned))
        parts += [word + b"\0" + struct.pack("<qb", count, kind) for word, count, kind in entries]
        parts += [struct.pack("<2i", *pair) for pair in self.pruned or ()]
        parts.append(struct.pack("<?", self.quantised))
        parts.append(self._matrix(len(self.words) + kept, self.quantised))
        parts.append(struct.pack("<?", self.quantised_output))
        if self.output is not None:
            values = np.asarray(self.output, "<f4")
            parts.append(struct.pack("<2q", *values.shape) + values.tobytes())
        else:
            parts.append(self._matrix(len(self.labels), self.quantised and self.quantised_output, 2.0))
        return b"".join(parts)

    def _matrix(self, rows: int, quantised: bool, scale: float = 1.0) -> bytes:
        if not quantised:
            values = (self.rng.normal(size=(rows, self.dim)) * scale).astype("<f4")
            return struct.pack("<2q", rows, self.dim) + values.tobytes()
        parts = -(-self.dim // self.part)
        codes = self.rng.integers(0, 256, rows * parts, np.uint8)
        packed = struct.pack("<?2qi", self.norms, rows, self.dim, codes.size) + codes.tobytes()
        packed += self._quantiser(self.dim, self.part, scale)
        if self.norms:
            packed += self.rng.integers(0, 256, rows, np.uint8).tobytes() + self._quantiser(1, 1, 1.0)
        return packed

    def _quantiser(self, dim: int, part: int, scale: float) -> bytes:
        parts = -(-dim // part)
        values = (self.rng.normal(size=dim * 256) * scale).astype("<f4")
        return struct.pack("<4i", dim, parts, part, dim - (parts - 1) * part) + values.tobytes()
