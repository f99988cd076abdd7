"""Writes models in py3langid's format, small, for tests of their reader and kernel."""

from __future__ import annotations

import io
import lzma
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def arrays(
    features: Sequence[bytes] = (b"a", b"ab", b"the", "кот".encode(), "ж".encode()),
    classes: Sequence[str] = ("en", "ru", "sr", "sr"),
    seed: int = 0,
    scale: float = 3.0,
) -> dict[str, np.ndarray]:
    """A model with random likelihoods whose automaton (Aho and Corasick, 1975) completes, at each byte, the longest
    feature that ends there."""
    rng = np.random.default_rng(seed)
    prefixes = sorted({feature[:n] for feature in features for n in range(len(feature) + 1)}, key=lambda p: (len(p), p))
    number = {prefix: state for state, prefix in enumerate(prefixes)}

    def longest(text: bytes, among: set[bytes]) -> bytes | None:
        return next((text[i:] for i in range(len(text) + 1) if text[i:] in among), None)

    moves = np.zeros((len(prefixes), 256), np.uint16)
    out = np.full(len(prefixes), -1, np.int32)
    for prefix, state in number.items():
        for byte in range(256):
            following = longest(prefix + bytes([byte]), set(prefixes))
            moves[state, byte] = number[following if following is not None else b""]
        ends = longest(prefix, set(features))
        out[state] = features.index(ends) if ends else -1
    rows, row = np.unique(moves, axis=0, return_inverse=True)
    return {
        "ptc": (-np.abs(rng.normal(size=(len(features), len(classes)))) * scale).astype(np.float16),
        "pc": rng.normal(size=len(classes)).astype(np.float32),
        "classes": np.array(classes),
        "nextmove": rows.ravel(),
        "nextmove_row": row.ravel().astype(np.uint16),
        "out_feat": out,
    }


def write(path: Path, **changes: object) -> Path:
    """Writes a model; `changes` replaces arrays by name, and None leaves one out."""
    model = {name: value for name, value in (arrays() | changes).items() if value is not None}
    buffer = io.BytesIO()
    np.savez(buffer, **model)  # type: ignore[arg-type]
    path.write_bytes(lzma.compress(buffer.getvalue(), preset=1))
    return path
