"""Builds `unicode.npz`, the Unicode tables that ship with the package, for one pinned version of Unicode.

    python3.12 -m venv build && build/bin/pip install numpy fonttools==4.53.1
    build/bin/python stages/kernels/build_unicode.py

General categories, case, decompositions and normal forms come from Python's own character database, which is Unicode
15.0.0 in Python 3.12; scripts come from `fontTools.unicodedata`, which is generated from the same version's
Scripts.txt in fontTools 4.47 to 4.53. With any other version of either the script stops: tables of two
versions must not mix. The file's bytes are a function of the inputs (the archive carries no times).

It runs as a plain script and imports nothing of the package, so the environment needs nothing else.
"""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path

import numpy as np

UNICODE_VERSION = "15.0.0"
SIZE = 0x110000

# The codes below are stated again in `stages.kernels.unicode`, which reads the file; a test compares the two.
CLASS_BY_CATEGORY = {"L": 2, "M": 3, "Nd": 4, "Nl": 5, "No": 5, "P": 6, "S": 7}
SPACE = 1
HANGUL_SYLLABLES = (0xAC00, 0xD7A3)


def char_classes() -> np.ndarray:
    """uint8[SIZE]: the class of each code point. White space (`str.isspace`) goes before the general
    category."""
    classes = np.zeros(SIZE, np.uint8)
    for code in range(SIZE):
        char = chr(code)
        category = unicodedata.category(char)
        if char.isspace():
            classes[code] = SPACE
        else:
            classes[code] = CLASS_BY_CATEGORY.get(category, CLASS_BY_CATEGORY.get(category[0], 0))
    return classes


def lowered_one(code: int) -> int:
    """The lower-case code point. Only U+0130 lowers to more than one; it is given its first, `i`."""
    return ord(chr(code).lower()[0])


def folded_one(code: int) -> int:
    """Lower case without non-spacing marks: 0 for a mark, the base of a decomposition that has only one base.

    A decomposition with several bases (Hangul syllables into jamo, some Indic vowel signs) is not cut to the
    first of them, because different syllables would become equal: the character stays whole.
    """
    lower = chr(code).lower()
    bases = [char for char in unicodedata.normalize("NFD", lower) if unicodedata.category(char) != "Mn"]
    if not bases:
        return 0
    return ord(bases[0]) if len(bases) == 1 else ord(lower[0])


def case(code: int) -> int:
    """1 for upper case, 2 for lower or title case, 0 for neither, as `str.isupper` counts them."""
    char = chr(code)
    return 1 if char.isupper() else 2 if char.islower() or char.istitle() else 0


def combining_classes() -> np.ndarray:
    """uint32[n, 2]: (code, canonical combining class) of the code points that have one."""
    classes = [(code, unicodedata.combining(chr(code))) for code in range(SIZE)]
    return np.array([pair for pair in classes if pair[1]], np.uint32)


def decompositions() -> np.ndarray:
    """uint32[n, 5]: code points with a canonical decomposition, Hangul syllables aside, and the whole of it, filled up
    with zeros."""
    rows = []
    for code in range(SIZE):
        parts = unicodedata.normalize("NFD", chr(code))
        if parts != chr(code) and not HANGUL_SYLLABLES[0] <= code <= HANGUL_SYLLABLES[1]:
            rows.append([code, *(ord(part) for part in parts)] + [0] * (4 - len(parts)))
    return np.array(rows, np.uint32)


def compositions() -> np.ndarray:
    """uint32[n, 3]: pairs of code points that NFC joins, and what they become, sorted; Hangul aside."""
    rows = []
    for code in range(SIZE):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<") and unicodedata.normalize("NFC", chr(code)) == chr(code):
            rows.append([int(parts[0], 16), int(parts[1], 16), code])
    return np.array(sorted(rows), np.uint32)


def scripts() -> tuple[np.ndarray, list[str]]:
    """uint8[SIZE] of indices into the list of ISO 15924 codes: Zzzz, Zyyy, Zinh, then the rest by name."""
    from fontTools.unicodedata import script

    names = [script(chr(code)) for code in range(SIZE)]
    first = ["Zzzz", "Zyyy", "Zinh"]
    listed = first + sorted(set(names) - set(first))
    index = {name: number for number, name in enumerate(listed)}
    return np.array([index[name] for name in names], np.uint8), listed


def sparse(values: list[int]) -> np.ndarray:
    """uint32[n, 2]: (code, value) of the code points that are not mapped to themselves."""
    return np.array([(code, value) for code, value in enumerate(values) if value != code], np.uint32)


def scripts_version() -> str:
    """The version of Scripts.txt that fontTools was generated from."""
    from fontTools.unicodedata import Scripts

    for line in Path(Scripts.__file__).read_text(encoding="utf-8").splitlines():
        if line.startswith("# Scripts-"):
            return line.removeprefix("# Scripts-").removesuffix(".txt")
    raise SystemExit(f"{Scripts.__file__} does not say which Scripts.txt it was made from")


def main() -> None:
    """Write `unicode.npz` beside this file."""
    found = {"unicodedata": unicodedata.unidata_version, "fontTools": scripts_version()}
    if set(found.values()) != {UNICODE_VERSION}:
        raise SystemExit(
            f"the tables are pinned to Unicode {UNICODE_VERSION}, found {found}: "
            "use Python 3.12 and fonttools 4.53.1 (see the top of this file)"
        )
    script, names = scripts()
    path = Path(__file__).with_name("unicode.npz")
    np.savez_compressed(
        path,
        version=np.array(UNICODE_VERSION),
        char_class=char_classes(),
        lowered=sparse([lowered_one(code) for code in range(SIZE)]),
        folded=sparse([folded_one(code) for code in range(SIZE)]),
        script=script,
        scripts=np.array(names),
        case=np.array([case(code) for code in range(SIZE)], np.uint8),
        combining=combining_classes(),
        decompositions=decompositions(),
        compositions=compositions(),
    )
    size = path.stat().st_size
    sys.stdout.write(f"{path}: Unicode {UNICODE_VERSION}, {size} bytes, {len(names)} scripts\n")


if __name__ == "__main__":
    main()
