"""The definitions behind MinHash a second time, in plain Python: normalisation, word hashes, signatures, buckets."""

from __future__ import annotations

import re
import unicodedata

MASK = (1 << 64) - 1

SPACELESS_RANGES = (
    (0x0E01, 0x0E3A), (0x0E40, 0x0E4E), (0x0E81, 0x0EDF),  # Thai, Lao
    (0x1000, 0x109F), (0xA9E0, 0xA9FE), (0xAA60, 0xAA7F),  # Myanmar
    (0x1780, 0x17F9), (0x19E0, 0x19FF),  # Khmer
    (0x3005, 0x3007), (0x3021, 0x3029), (0x3038, 0x303C), (0x3041, 0x30FF), (0x3105, 0x312F), (0x31A0, 0x31BF),
    (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xA4C6), (0xF900, 0xFAD9), (0xFF66, 0xFF9F),
    (0x20000, 0x323AF),
)  # fmt: skip
"""Letters of these blocks stand alone; written from the code charts, for the characters that the tests use."""


def parts(text: str) -> list[str]:
    """The normalised text as a list of words and of single spaces where separators lay."""
    found: list[str] = []
    word = ""
    zero = False
    decomposed = "".join(unicodedata.normalize("NFD", c.lower().replace("ς", "σ")) for c in text)
    for c in decomposed + " ":
        category = unicodedata.category(c)
        separator = c.isspace() or (category[0] == "P" and (0xF00 <= ord(c) < 0x1000 or 0x1360 <= ord(c) <= 0x1368))
        alone = any(low <= ord(c) <= high for low, high in SPACELESS_RANGES) and category not in ("Mn", "Nd")
        if not separator and (category in ("Mn", "Cc", "Cf", "Cs") or category[0] in "PS"):
            continue
        if separator or alone:
            found += [word] * bool(word) + [" " if separator else c]
            word, zero = "", False
        elif category == "Nd":
            word += "" if zero else "0"
            zero = True
        else:
            word += c
            zero = False
    return found


def words(text: str) -> list[str]:
    """The words of a text, normalised."""
    return [part for part in parts(text) if part != " "]


def characters(text: str) -> list[str]:
    """The characters of the normalised text."""
    return list(re.sub(" +", " ", "".join(parts(text))).strip(" "))


def word_hash(word: str) -> int:
    """The hash of a normalised word."""
    data = word.encode("utf-8")
    h = 0x243F6A8885A308D3
    for start in range(0, len(data), 8):
        m = ((h ^ int.from_bytes(data[start : start + 8], "little")) * 0x13198A2E03707345) & MASK
        h = m ^ (m >> 32)
    m = (h * 0xA4093822299F31D1) & MASK
    return m ^ (m >> 29)


def mix64(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def splitmix64(state: int, count: int) -> list[int]:
    return [mix64((state + (i + 1) * 0x9E3779B97F4A7C15) & MASK) for i in range(count)]


def shingles(units: list[str], ngram: int, seed: int) -> set[int]:
    """Shingle hashes of a list of words or characters; empty for none."""
    hashes = [word_hash(unit) for unit in units]
    if not hashes:
        return set()
    windows = [hashes[i : i + ngram] for i in range(max(1, len(hashes) - ngram + 1))]
    found = set()
    for window in windows:
        total = 0
        for value in window:
            total = (total * 0x452821E638D01377 + value) & MASK
        found.add(mix64(total ^ splitmix64(seed ^ 0xC0AC29B7C97C50DD, 1)[0]))
    return found


def multipliers(lanes: int, seed: int) -> list[int]:
    values = splitmix64(seed, 16 + lanes)
    return [(values[16 + lane // 16] + values[lane % 16]) & MASK for lane in range(lanes)]


def signature(units: list[str], ngram: int, lanes: int, seed: int) -> list[int]:
    """The least v_j of each lane; all ones for a document without shingles."""
    pairs = []
    for h in shingles(units, ngram, seed):
        m = (h * 0xC2B2AE3D27D4EB4F) & MASK
        pairs.append((h, m ^ (m >> 32)))
    return [min(((h + a * x) & MASK for h, x in pairs), default=MASK) for a in multipliers(lanes, seed)]


def buckets(row: list[int], rows: int, scope: int) -> list[int]:
    """The bucket of each band."""
    factor = 0xBE5466CF34E90C6D
    found = []
    for band in range(len(row) // rows):
        x = mix64((scope + (band + 1) * factor) & MASK)
        for value in row[band * rows : (band + 1) * rows]:
            x = ((x ^ value) * factor) & MASK
            x ^= x >> 32
        found.append(mix64(x))
    return found


def sketch(row: list[int]) -> list[int]:
    """The four bits of each lane."""
    return [mix64(value) >> 60 for value in row]


def estimate(a: list[int], b: list[int]) -> float:
    """Estimated Jaccard similarity from two sketches."""
    equal = sum(x == y for x, y in zip(a, b, strict=True)) / len(a)
    return (equal - 1 / 16) / (1 - 1 / 16)


def jaccard(a: set[int], b: set[int]) -> float:
    return len(a & b) / len(a | b)
