"""Words of languages that are written without spaces, or with particles joined on, by maintained segmenters.

Which language has which segmenter is what datatrove's table of word tokenizers assigns (github.com/huggingface/datatrove,
`assets/tokenizer_assignment.csv`), so that FineWeb2's thresholds mean the same words:

    Chinese   rjieba (jieba's dictionary and algorithm; datatrove has jieba by way of spaCy)
    Japanese  SudachiPy with the core dictionary, short units, as spaCy has it
    Korean    kiwipiepy
    Thai      PyThaiNLP, `newmm-safe`
    Lao       LaoNLP
    Khmer     khmer-nltk
    Burmese   pyidaungsu
    Tibetan   botok

They are optional: the extra `segmenters` brings those that install as wheels and neither overwrite another package nor fetch
data when first used (docs/segmenters.md tells about the others). Where one is not installed, words are cut by the compiled
fallback (`stages.quality.kernels.spaceless`), and how many documents that were is counted. Names and versions of those that are
installed belong to the node's identity, since words decide signals.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from gristmill.pipeline.hashing import tree_digest

Spans = Iterable[tuple[int, int]]
Cutter = Callable[[str], Spans]
"""cutter(text) → code points at which the words begin and end, in order; they may overlap."""

PART = 10_000
"""Code points that a segmenter is given at once: SudachiPy takes at most 49,149 bytes, and the memory of the others grows
with the text. Longer texts are divided at the last line end or white space before."""
_LINE_END = re.compile(r".*\n", re.DOTALL)
_GAP = re.compile(r".*\s", re.DOTALL)
_NUMBER = re.compile(r"[0-9,]{20,}")
"""Kiwi fails on very long numbers; as in datatrove, they are no words."""


@dataclass(frozen=True)
class Segmenter:
    """A segmenter, known whether or not it is installed.

    Attributes:
        name: what it is called in reports; how to install it is in docs/segmenters.md.
        modules: what is imported.
        packages: distributions whose versions decide the words.
        labels: languages that it is for.
        load: makes it ready.
        data: the folder without which it would fetch data from the network, if there is one.
    """

    name: str
    modules: tuple[str, ...]
    packages: tuple[str, ...]
    labels: tuple[str, ...]
    load: Callable[[], Cutter]
    data: Callable[[], Path] | None = None

    def versions(self) -> Mapping[str, str]:
        """Versions by distribution, and the digest of its data as `NAME:data`; empty when something of it is missing."""
        if any(find_spec(module) is None for module in self.modules):
            return {}
        if self.data is not None and not self.data().is_dir():
            return {}
        try:
            found = {name: _version(name) for name in self.packages}
        except PackageNotFoundError:
            return {}
        return found if self.data is None else {**found, f"{self.name}:data": tree_digest(self.data())}


_version = cache(version)
"""A package's version: read once per process, since every part of a plan asks for those of all segmenters."""


class _NotInText(Exception):
    """A segmenter answered a word that its text does not hold."""


def spans_of(text: str, words: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Where words that a segmenter cut out stand in its text, without white space at their ends or within.

    Raises an exception of this module when a word does not stand in the rest of the text.
    """
    at = 0
    for word in words:
        for part in word.split():
            begin = text.find(part, at)
            if begin < 0:
                raise _NotInText(f"the segmenter's word {part!r} does not occur in the text after code point {at}")
            at = begin + len(part)
            yield begin, at


def _by_words(cut: Callable[[str], Iterable[str]]) -> Cutter:
    return lambda text: spans_of(text, cut(text))


def _load_rjieba() -> Cutter:
    return _by_words(import_module("rjieba").cut)


def _load_sudachi() -> Cutter:
    sudachi = import_module("sudachipy")
    tokenizer = sudachi.Dictionary(dict="core").create(mode=sudachi.SplitMode.A)
    return _by_words(lambda text: [morpheme.surface() for morpheme in tokenizer.tokenize(text)])


def _load_kiwi() -> Cutter:
    kiwi = import_module("kiwipiepy").Kiwi(num_workers=1)

    def cut(text: str) -> Iterator[tuple[int, int]]:
        begin = 0
        for number in [*_NUMBER.finditer(text), None]:
            end = len(text) if number is None else number.start()
            for token in kiwi.tokenize(text[begin:end]):
                # Contracted particles share a syllable, and their spans overlap; datatrove counts both.
                for word in re.finditer(r"\S+", text[begin + token.start : begin + token.end]):
                    start = begin + token.start + word.start()
                    yield start, start + len(word.group())
            begin = end if number is None else number.end()

    return cut


def _load_pythainlp() -> Cutter:
    tokenize = import_module("pythainlp.tokenize").word_tokenize
    return _by_words(lambda text: tokenize(text, engine="newmm-safe", keep_whitespace=False))


def _load_laonlp() -> Cutter:
    return _by_words(import_module("laonlp.tokenize").word_tokenize)


def _load_khmer() -> Cutter:
    tokenize = import_module("khmernltk").word_tokenize
    return _by_words(lambda text: tokenize(text, return_tokens=True))


def _load_pyidaungsu() -> Cutter:
    tokenize = import_module("pyidaungsu").tokenize
    return _by_words(lambda text: tokenize(text, form="word"))


def _load_botok() -> Cutter:
    tokenizer = import_module("botok").WordTokenizer()
    return _by_words(lambda text: [token.text for token in tokenizer.tokenize(text, split_affixes=False)])


def _botok_data() -> Path:
    """Where botok keeps the dialect pack that it would fetch."""
    return Path.home() / "Documents" / "pybo" / "dialect_packs" / "general"


def _labels(script: str, languages: str) -> tuple[str, ...]:
    return tuple(f"{language}_{script}" for language in languages.split())


SEGMENTERS = (
    Segmenter("rjieba", ("rjieba",), ("rjieba",), _labels("Hani", "cmn hak nan wuu yue zho"), _load_rjieba),
    Segmenter(
        "sudachipy", ("sudachipy", "sudachidict_core"), ("sudachipy", "sudachidict-core"), ("jpn_Jpan",), _load_sudachi
    ),
    Segmenter(
        "kiwipiepy", ("kiwipiepy", "kiwipiepy_model"), ("kiwipiepy", "kiwipiepy-model"), ("kor_Hang",), _load_kiwi
    ),
    Segmenter(
        "pythainlp", ("pythainlp",), ("pythainlp",), _labels("Thai", "bzi kxm lcp msa nod pww tha urk"), _load_pythainlp
    ),
    Segmenter("laonlp", ("laonlp", "pythainlp"), ("laonlp", "pythainlp"), _labels("Laoo", "lao ncq"), _load_laonlp),
    Segmenter(
        "khmer-nltk", ("khmernltk",), ("khmer-nltk", "sklearn-crfsuite", "python-crfsuite"), _labels("Khmr", "cmo khm"),
        _load_khmer,
    ),
    Segmenter(
        "pyidaungsu", ("pyidaungsu", "pycrfsuite"), ("pyidaungsu-numpy2", "python-crfsuite"),
        _labels("Mymr", "blk ksw kyu mnw mya shn"), _load_pyidaungsu,
    ),
    Segmenter("botok", ("botok",), ("botok",), _labels("Tibt", "bod dzo lbj"), _load_botok, _botok_data),
)  # fmt: skip
"""All segmenters; no two are for the same language."""
_OF_LABEL = {label: segmenter for segmenter in SEGMENTERS for label in segmenter.labels}


def segmenter_of(label: str) -> Segmenter | None:
    """The segmenter that a label such as `tha_Thai` is assigned, installed or not."""
    return _OF_LABEL.get(label)


def installed(label: str) -> Segmenter | None:
    """The segmenter of a label, if it is installed."""
    found = segmenter_of(label)
    return found if found is not None and found.versions() else None


def installed_versions(label: str | None) -> dict[str, str]:
    """Versions of the installed segmenters' packages: of one label's, or for None of all."""
    chosen = SEGMENTERS if label is None else [one for one in [segmenter_of(label)] if one is not None]
    return {name: found for one in chosen for name, found in sorted(one.versions().items())}


@cache
def _cutter(segmenter: Segmenter) -> Cutter:
    """One per process: dictionaries are read when first used."""
    return segmenter.load()


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """(where it begins, text) of consecutive parts of at most PART code points."""
    at = 0
    while len(text) - at > PART:
        window = text[at : at + PART]
        end = _LINE_END.match(window) or _GAP.match(window)
        yield at, window[: end.end()] if end else window
        at += end.end() if end else PART
    yield at, text[at:]


def words_in(text: str, segmenter: Segmenter) -> list[tuple[int, int]] | None:
    """Where the words of a text begin and end, in bytes of its UTF-8. None when the segmenter answers words that are not
    in the text."""
    cut = _cutter(segmenter)
    found: list[tuple[int, int]] = []
    try:
        for at, part in _parts(text):
            found += [(at + begin, at + end) for begin, end in cut(part)]
    except _NotInText:
        return None
    if text.isascii():
        return found
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    sizes = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
    bytes_at = np.concatenate([[0], np.cumsum(sizes)])
    spans = bytes_at[np.array(found, np.int64).reshape(-1, 2)]
    return [(begin, end) for begin, end in spans.tolist()]


def given_words(
    data: np.ndarray, offsets: np.ndarray, segmenters: Sequence[Segmenter | None], index: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The words of the documents that have a segmenter, as `stages.quality.kernels.document_counts.count` takes them.

    Args:
        data, offsets: text as `pipeline.document.text_buffers` gives it.
        segmenters: by language of the batch; None for a language without one. index: int64 per document, its language.

    Returns (rows, begins, ends), int64 each: of row r the words are begins and ends[rows[r] : rows[r + 1]], in bytes from
    the document's start; where rows[r] is negative the row has none of its own, and its place is −1 − rows[r]. None when no
    row has any.
    """
    wanted = np.array([segmenter is not None for segmenter in segmenters], bool)
    if not wanted.any() or not wanted[index].any():
        return None
    rows = np.empty(len(offsets), np.int64)
    begins: list[np.ndarray] = []
    total = 0
    for row in range(len(offsets) - 1):
        segmenter = segmenters[index[row]]
        rows[row] = -1 - total
        if segmenter is None:
            continue
        try:
            text = bytes(data[offsets[row] : offsets[row + 1]]).decode()
        except UnicodeDecodeError:  # The fallback reads what is broken, too.
            continue
        found = words_in(text, segmenter)
        if found is None:
            continue
        rows[row] = total
        begins.append(np.array(found, np.int64).reshape(-1, 2))
        total += len(found)
    rows[-1] = -1 - total
    spans = np.concatenate([np.empty((0, 2), np.int64), *begins])
    return rows, np.ascontiguousarray(spans[:, 0]), np.ascontiguousarray(spans[:, 1])
