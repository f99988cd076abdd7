"""The functional cases: where they lie, how they are read, and whether other texts repeat one."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

FILES = {
    "functional_en.jsonl": "a0c15cee3c81712485567d9af1067087a2181c305130c3dd8a27b4a074bb1a25",
    "functional_de.jsonl": "f5aae31e31a2d95e80c1d510e3fa98db03dcc2cc6e442e363268b98c2372d179",
}
"""The files and their SHA-256, frozen before training: written on 2026-11-21."""
FOLDER = Path(__file__).parent


def read_cases(name: str) -> list[dict[str, str]]:
    """The cases of one file, in its order."""
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


def normalised(text: str) -> str:
    """Letters and digits of a text, in lower case and without accents, words by single spaces."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return " ".join(re.findall(r"[^\W_]+", "".join(c for c in plain if not unicodedata.combining(c))))


def repeated(texts: Iterable[str]) -> set[str]:
    """The cases that one of the texts holds, both normalised: as the whole of it, or as words within it."""
    cases = {normalised(case["text"]): case["text"] for name in FILES for case in read_cases(name)}
    # Only a text with a case's first two words in a row can hold it.
    starts: dict[tuple[str, ...], list[str]] = {}
    for case in cases:
        starts.setdefault(tuple(case.split()[:2]), []).append(case)
    found = set()
    for text in texts:
        words = normalised(text).split()
        padded = f" {' '.join(words)} "
        for pair in {*zip(words, words[1:], strict=False), *((word,) for word in words)}:
            found.update(cases[case] for case in starts.get(pair, ()) if f" {case} " in padded)
    return found
