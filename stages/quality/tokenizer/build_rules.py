"""Builds `rules.npz`, what the word splitter and the quality signals know of characters and languages.

    python3.12 -m venv build && build/bin/pip install numpy spacy==3.8.18 datatrove==0.10.1 regex
    build/bin/python stages/quality/tokenizer/build_rules.py

The splitter follows the tokenizer that datatrove uses for languages written with spaces, which is spaCy's with each
language's own prefix, suffix and infix expressions and exceptions (spaCy, MIT licence, language data). This script
asks those expressions about every code point and writes the answers down as tables; it takes the exceptions that the
splitter has to look up, datatrove's assignment of a tokenizer to each language, and its two sets of punctuation
(datatrove, Apache-2.0). Nothing of either is needed at run time.

It runs as a plain script and imports nothing of the package but the numbers of the flags, by path.
"""

from __future__ import annotations

import csv
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
FLAGS = runpy.run_path(str(HERE / "flags.py"))
SIZE = 0x110000
SPACY = FLAGS["TOKENIZERS"][:-2]
"""The last two are not spaCy's."""
VERSIONS = {"spacy": "3.8.18", "datatrove": "0.10.1"}


def matches(pattern: str) -> np.ndarray:
    """bool[SIZE]: code points that a character class matches."""
    found = np.zeros(SIZE, bool)
    for match in re.finditer(pattern, EVERYTHING):
        found[ord(match.group()[0])] = True
    return found


EVERYTHING = "".join(chr(code) for code in range(SIZE) if not 0xD800 <= code < 0xE000)


def probe(expression: re.Pattern[str], before: str, after: str, length: int) -> np.ndarray:
    """bool[SIZE]: code points c for which `expression` finds in before + c + after a match of `length`."""
    found = np.zeros(SIZE, bool)
    for char in EVERYTHING:
        if char.isspace():
            continue
        match = expression.search(before + char + after)
        found[ord(char)] = match is not None and match.end() - match.start() == length
    return found


def flags() -> np.ndarray:
    """uint16[SIZE]: the flags of `flags` for each code point, from the rules shared by spaCy's languages."""
    import spacy
    from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION
    from spacy.lang import char_classes as classes

    tokenizer: Any = spacy.blank("xx").tokenizer
    prefix = re.compile(tokenizer.prefix_search.__self__.pattern)
    suffix = re.compile(tokenizer.suffix_search.__self__.pattern)
    infix = re.compile(tokenizer.infix_finditer.__self__.pattern)
    table = np.zeros(SIZE, np.uint16)

    def put(name: str, where: np.ndarray) -> None:
        table[where] |= np.uint16(FLAGS[name])

    chars = [chr(code) for code in range(SIZE)]
    put("ALPHA", matches(f"[{classes.ALPHA}]"))
    put("LOWER", matches(f"[{classes.ALPHA_LOWER}]"))
    put("UPPER", matches(f"[{classes.ALPHA_UPPER}]"))
    put("QUOTE", matches(f"[{classes.CONCAT_QUOTES}]"))
    put("PREFIX", probe(prefix, "", "\x01", 1))
    put("SUFFIX", probe(suffix, "\x01", "", 1))
    put("ALWAYS_INFIX", probe(infix, "\x01", "\x01", 1))
    # `x.` loses its full stop after these; the upper-case pair is a rule of its own.
    put("BEFORE_STOP", probe(suffix, "", ".", 1))
    put("DIGIT", np.array([c in "0123456789" for c in chars]))
    put("SYMBOLIC", np.array([c in PUNCTUATION_SET for c in chars]))
    put("TERMINAL", np.array([c in TERMINAL_PUNCTUATION for c in chars]))
    # Whatever may begin, end or divide a token, so that a chunk without any such character is one token at once.
    active = table & np.uint16(FLAGS["PREFIX"] | FLAGS["SUFFIX"] | FLAGS["ALWAYS_INFIX"])
    marks = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~–—°" + FLAGS["OWN_MARKS"]
    put("ACTIVE", (active != 0) | np.array([c in marks or 0x1360 <= ord(c) <= 0x1368 for c in chars]))
    return table


def exceptions() -> tuple[list[str], list[int], list[list[int]]]:
    """(strings, tokenizer of each, character lengths of its tokens), for every tokenizer in use; no white space."""
    from spacy.attrs import ORTH
    from spacy.util import get_lang_class

    strings, owners, parts = [], [], []
    shared = set(get_lang_class("xx").Defaults.tokenizer_exceptions)
    for number, name in enumerate(SPACY):
        for string, tokens in sorted(get_lang_class(name).Defaults.tokenizer_exceptions.items()):
            if any(char.isspace() for char in string) or (name != "xx" and string in shared):
                continue
            strings.append(string)
            owners.append(number)
            parts.append([len(token[ORTH]) for token in tokens])
    return strings, owners, parts


def lacking(strings: list[str]) -> tuple[list[int], list[int]]:
    """(tokenizer, index of a shared exception) of the shared exceptions that a tokenizer does not have."""
    from spacy.util import get_lang_class

    shared = get_lang_class("xx").Defaults.tokenizer_exceptions
    found = []
    for number, name in enumerate(SPACY):
        own = get_lang_class(name).Defaults.tokenizer_exceptions
        found += [(number, index) for index, string in enumerate(strings) if string in shared and string not in own]
    return [number for number, _ in found], [index for _, index in found]


def expanded(pattern: str) -> set[str]:
    """All strings that a finite regular expression matches."""
    from re import _parser as parser  # type: ignore[attr-defined]

    def strings(items: object) -> set[str]:
        found = {""}
        for kind, value in items:  # type: ignore[attr-defined]
            name = str(kind)
            if name == "LITERAL":
                options = {chr(value)}
            elif name == "IN":
                options = {chr(code) for _, code in value}
            elif name == "SUBPATTERN":
                options = strings(value[-1])
            elif name == "BRANCH":
                options = set().union(*(strings(branch) for branch in value[1]))
            elif name == "MAX_REPEAT" and value[:2] == (0, 1):
                options = {""} | strings(value[2])
            else:
                raise SystemExit(f"{pattern!r} has the part {name}, which expands to no finite list here")
            found = {head + tail for head in found for tail in options}
        return found

    return strings(parser.parse(pattern))


def french() -> tuple[list[str], list[str]]:
    """(beginnings of French compounds in lower case, pronouns behind a hyphen)."""
    from spacy.lang.fr import punctuation, tokenizer_exceptions

    compounds: set[str] = set()
    for pattern in tokenizer_exceptions._hyphen_prefix:
        compounds |= {word.lower() + "-" for word in expanded(pattern)}
    for pattern in tokenizer_exceptions._elision_prefix:
        compounds |= {word.lower() + "'" for word in expanded(pattern)}
    for pattern in tokenizer_exceptions._hyphen_combination:
        compounds |= {"-" + word.lower() + "-" for word in expanded(pattern)}
    # From its list of single compounds, those that are common.
    compounds |= {"états-", "etats-", "premier-", "hip-", "fac-", "new-"}
    return sorted(compounds), sorted(punctuation._hyphen_suffixes.split())


def assignments() -> tuple[list[str], list[int]]:
    """(labels, tokenizer of each): datatrove's table, restricted to the tokenizers that the splitter knows."""
    import datatrove.utils.word_tokenizers as tokenizers

    path = Path(tokenizers.ASSETS_PATH) / "tokenizer_assignment.csv"
    known = {name: number for number, name in enumerate(FLAGS["TOKENIZERS"])}
    found: dict[str, int] = {}
    with path.open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            label = f"{row['code_3']}_{row['script']}"
            if row["type"] == "SpaCyTokenizer" and row["tok_code"] in known:
                found.setdefault(label, known[row["tok_code"]])
            elif row["type"] == "IndicNLPTokenizer":
                found.setdefault(label, known["urdu" if row["tok_code"] == "ur" else "indic"])
    labels = sorted(label for label, number in found.items() if number)
    return labels, [found[label] for label in labels]


def main() -> None:
    """Write `rules.npz` beside this file."""
    from importlib.metadata import version

    found = {name: version(name) for name in VERSIONS}
    if found != VERSIONS:
        raise SystemExit(f"the tables are pinned to {VERSIONS}, found {found}: install those versions")
    strings, owners, parts = exceptions()
    labels, tokenizers = assignments()
    lacking_tokenizer, lacking_exception = lacking(strings)
    compounds, enclitics = french()
    encoded = [string.encode() for string in strings]
    path = HERE / "rules.npz"
    np.savez_compressed(
        path,
        flags=flags(),
        exception_bytes=np.frombuffer(b"".join(encoded), np.uint8),
        exception_ends=np.cumsum([len(item) for item in encoded]).astype(np.uint32),
        exception_tokenizer=np.array(owners, np.uint8),
        exception_lengths=np.array([length for lengths in parts for length in lengths], np.uint8),
        exception_parts=np.array([len(lengths) for lengths in parts], np.uint8),
        lacking_tokenizer=np.array(lacking_tokenizer, np.uint8),
        lacking_exception=np.array(lacking_exception, np.uint32),
        compounds=np.array(compounds),
        enclitics=np.array(enclitics),
        labels=np.array(labels),
        label_tokenizer=np.array(tokenizers, np.uint8),
    )
    size = path.stat().st_size
    sys.stdout.write(f"{path}: {len(strings)} exceptions, {len(labels)} labels, {size} bytes\n")


if __name__ == "__main__":
    main()
