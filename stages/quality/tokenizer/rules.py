"""What the word splitter knows: flags of characters, rules of each language's tokenizer, and its exceptions.

The tables come from `rules.npz`, which `build_rules.py` makes (sources and licences there), and the rules of
each tokenizer are the features below: which characters divide a token between which neighbours.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit

from gristmill.pipeline.table_cache import kept_tables
from gristmill.stages.kernels import unicode
from gristmill.stages.kernels.hashing64 import hash_bytes
from gristmill.stages.kernels.pointers import pointer
from gristmill.stages.quality.tokenizer import flags as word_flags
from gristmill.stages.quality.tokenizer.flags import TOKENIZERS

HYPHEN = 1
"""A hyphen or dash between letters divides."""
HYPHEN_AFTER_DIGIT = 2
"""… and between a digit and a letter."""
DASH_ONLY = 4
"""A single hyphen-minus between letters does not divide, dashes and `--` do."""
DOUBLE_HYPHEN = 8
"""`--` between letters divides."""
STOP_BESIDE_QUOTE = 16
"""A full stop divides between a lower-case letter or quotation mark and an upper-case letter or quotation mark;
without the feature, between letters only."""
MARKS_INSIDE = 32
"""`!`, `?`, brackets and quotation marks other than the apostrophe divide between letters."""
COLON_AFTER_DIGIT = 64
"""`:`, `<`, `>`, `=` divide after a digit too, before a letter."""
SLASH = 128
"""`/` divides as they do."""
SLASH_AROUND_DIGITS = 256
"""`/` divides between any letters and digits."""
ARITHMETIC = 512
"""`+`, `*`, `^` divide between digits."""
MINUS = 1024
"""`-` divides between digits."""
ELISION = 2048
"""A token ends after an apostrophe that follows a letter, before a letter."""
APOSTROPHE_S = 4096
"""`'s` is split off the end."""
DASH_SUFFIX = 8192
"""En and em dash are split off the end."""
STOP_AFTER_DIGIT = 16384
"""A full stop after a digit is split off the end."""
STOP_ALWAYS = 32768
"""A full stop is split off the end, whatever is before it."""
SLASH_SUFFIX = 65536
"""`/` is split off the end."""
COMBINING = 131072
"""A combining diacritic after a letter counts as the letter."""
MALAY = 262144
"""The particles `-nya`, `-ku`, `-mu` and a final hyphen are split off the end; `/` but not `#` off the beginning; and
hyphens and slashes divide between letters and digits."""
LOWER_AFTER_HYPHEN = 524288
"""A hyphen divides before a lower-case letter only."""
APOSTROPHE_INSIDE = 1048576
"""The apostrophe is not split off the end."""
PERCENT_SUFFIX = 2097152
"""`%` is split off after a digit."""
ICON_SUFFIX_OFF = 4194304
"""Icons are not split off the end."""
COMPOUNDS = 8388608
"""French: words such as `demi-heure`, whose part before the first hyphen or apostrophe is listed, stay whole, and so do
those with a listed word between hyphens; listed pronouns are split off the end with their hyphen."""
HYPHEN_ALWAYS = 16777216
"""Every hyphen and dash divides."""
STOP_AMONG_DIGITS = 33554432
"""A full stop divides between digits and letters, before a digit or an upper-case letter."""
ELISION_FIRST = 67108864
"""A token ends after `d'` at the beginning of a chunk, before a letter."""
ETHIOPIC = 134217728
"""Ethiopic punctuation is split off the end."""
STOP_AFTER_UPPER = 268435456
"""A full stop is split off the end only after two upper-case or caseless letters."""
COLON_BEFORE_UPPER = 536870912
"""`:` divides before an upper-case letter only."""
COLON_NEVER = 1073741824
"""`:` does not divide."""
PUNCTUATION_ALONE = 2147483648
"""Every ASCII mark and every mark of the languages' own is a word; no other rule and no exception applies."""
NUMBERS_WHOLE = 4294967296
"""With PUNCTUATION_ALONE: digits with one of `,`, `.`, `:` and `/` between them stay whole."""

_COMMON = STOP_BESIDE_QUOTE | COLON_AFTER_DIGIT | SLASH | ARITHMETIC | APOSTROPHE_S | DASH_SUFFIX
_COMMON |= STOP_AFTER_DIGIT | PERCENT_SUFFIX
DEFAULT = _COMMON | HYPHEN | MINUS
_ENGLISH = DEFAULT | HYPHEN_AFTER_DIGIT
_NORDIC = MARKS_INSIDE | DOUBLE_HYPHEN | DASH_SUFFIX | STOP_AFTER_DIGIT | PERCENT_SUFFIX

FEATURES: dict[str, int] = {
    "tn": _ENGLISH,
    "lg": _ENGLISH,
    "en": _ENGLISH,
    "ms": DEFAULT | MALAY,
    "id": DEFAULT | MALAY,
    "de": MARKS_INSIDE | DOUBLE_HYPHEN | SLASH_AROUND_DIGITS | MINUS | SLASH_SUFFIX | PERCENT_SUFFIX,
    "fr": (DEFAULT | ELISION | ICON_SUFFIX_OFF | COMPOUNDS) & ~(APOSTROPHE_S | DASH_SUFFIX),
    "es": (_COMMON | DASH_SUFFIX) & ~(APOSTROPHE_S | PERCENT_SUFFIX),
    "it": DEFAULT | ELISION | LOWER_AFTER_HYPHEN,
    "ca": (_COMMON | MINUS | ELISION) & ~(APOSTROPHE_S | PERCENT_SUFFIX),
    "nl": (_NORDIC) & ~PERCENT_SUFFIX,
    "pl": (_NORDIC | SLASH | STOP_ALWAYS | HYPHEN_ALWAYS | STOP_AMONG_DIGITS) & ~(DOUBLE_HYPHEN | DASH_SUFFIX),
    "pt": (DEFAULT | DASH_ONLY) & ~MINUS,
    "nb": (_NORDIC | SLASH | APOSTROPHE_INSIDE) & ~STOP_AFTER_DIGIT,
    "sv": _NORDIC | SLASH | COLON_AFTER_DIGIT | APOSTROPHE_INSIDE | COLON_BEFORE_UPPER,
    "da": _NORDIC | SLASH | COLON_AFTER_DIGIT | APOSTROPHE_INSIDE,
    "fi": (_NORDIC | SLASH | COLON_AFTER_DIGIT | HYPHEN | DASH_ONLY | COLON_NEVER) & ~DOUBLE_HYPHEN,
    "hu": MARKS_INSIDE | DOUBLE_HYPHEN,
    "sr": (_COMMON | MINUS) & ~(APOSTROPHE_S | DASH_SUFFIX | STOP_AFTER_DIGIT),
    "ro": (_COMMON & ~(APOSTROPHE_S | SLASH | PERCENT_SUFFIX)),
    "lt": (DEFAULT & ~MINUS) | STOP_ALWAYS,
    "sl": _ENGLISH & ~(STOP_AFTER_DIGIT | APOSTROPHE_S),
    "el": (DEFAULT & ~(COLON_AFTER_DIGIT | STOP_BESIDE_QUOTE | APOSTROPHE_S)),
    "ru": DEFAULT | COMBINING,
    "uk": DEFAULT | COMBINING,
    "bg": DEFAULT | COMBINING,
    "tt": MARKS_INSIDE | HYPHEN | DASH_ONLY | MINUS | STOP_AFTER_DIGIT | DASH_SUFFIX | APOSTROPHE_S | PERCENT_SUFFIX,
    "ky": MARKS_INSIDE | HYPHEN | DASH_ONLY | MINUS | STOP_AFTER_DIGIT | DASH_SUFFIX | APOSTROPHE_S | PERCENT_SUFFIX,
    "lij": DEFAULT | ELISION,
    "lb": (MARKS_INSIDE | DOUBLE_HYPHEN | MINUS | ELISION_FIRST | APOSTROPHE_S | DASH_SUFFIX | STOP_AFTER_DIGIT)
    | PERCENT_SUFFIX,
    "ar": (DEFAULT | STOP_AFTER_UPPER | ICON_SUFFIX_OFF) & ~(APOSTROPHE_S | DASH_SUFFIX),
    "fa": (DEFAULT | STOP_AFTER_UPPER | ICON_SUFFIX_OFF) & ~(APOSTROPHE_S | DASH_SUFFIX),
    "am": (DEFAULT | STOP_AFTER_UPPER | ICON_SUFFIX_OFF | ETHIOPIC) & ~(APOSTROPHE_S | DASH_SUFFIX),
    "indic": PUNCTUATION_ALONE | NUMBERS_WHOLE,
    "urdu": PUNCTUATION_ALONE,
    "ti": (DEFAULT | STOP_AFTER_UPPER | ICON_SUFFIX_OFF | ETHIOPIC) & ~(APOSTROPHE_S | DASH_SUFFIX),
}
"""Features of each tokenizer that has others than DEFAULT."""

_PATH = Path(__file__).with_name("rules.npz")

# Seeds far apart in every byte: a seed is mixed into the first bytes that are hashed.
EXCEPTION_SEED = 0x6A09E667F3BCC908
UNIT_SEED = 0xBB67AE8584CAA73B
COMPOUND_SEED = 0x3C6EF372FE94F82B
ENCLITIC_SEED = 0xA54FF53A5F1D36F1
LONGEST_EXCEPTION = 63
"""Bytes; no exception and no unit is longer, so that longer strings need not be looked up."""

_UNITS = (
    "km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz m/s km/h kmh mph hPa Pa "
    "mbar mb MB kb KB gb GB tb TB T G M K км км² км³ м м² м³ дм дм² дм³ см см² см³ мм мм² мм³ нм кг г мг м/с км/ч кПа "
    "Па мбар Кб КБ кб Мб МБ мб Гб ГБ гб Тб ТБ тб كم كم² كم³ م م² م³ سم سم² سم³ مم مم² مم³ غرام جرام جم كغ ملغ كوب اكواب"
).split()
"""Units of measurement that are split off a number; each tokenizer knows all of them."""


PIECE_LENGTH: dict[str, float] = {
    "Hani": 3.0, "Bopo": 3.0, "Hira": 6.0, "Kana": 6.0, "Hang": 8.0, "Thai": 8.0, "Laoo": 3.0, "Khmr": 5.5, "Mymr": 10.0,
    "Tibt": 4.0,
}  # fmt: skip
"""Mean code points of a piece between stop words, by script, in the fallback for text without spaces. With these and
FineWeb2's stop words a text has as many words, within 10 %, as datatrove's segmenters find on the same text (jieba,
SudachiPy, Kiwi, PyThaiNLP, LaoNLP, khmer-nltk; Burmese has half as many again as by pyidaungsu). Tibetan is cut at every
tsheg instead."""
_LABEL_SCRIPTS = {"Hans": "Hani", "Hant": "Hani", "Jpan": "Hira", "Kore": "Hang"}
_CLINGING = "\u0f0bーｰ々ゝゞヽヾ" + "ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ" + "ะาำๅๆະາຳໆ"
"""Signs that begin no word in Tibetan, Japanese, Thai and Lao, beside the marks."""


class WordRules(NamedTuple):
    """Arrays of all tokenizers, as kernels take them; every one is C-contiguous and read-only.

    Attributes:
        flags: uint16[0x110000], see `word_flags`.
        features: int64 per tokenizer.
        plain: uint64[tokenizers × PLAIN]: a sieve of PLAIN · 64 bits for each tokenizer's exceptions that divide a word
            without any ACTIVE character (`cannot`); bits as in `plain_bit`.
        table_start, table_mask: int64 per tokenizer: its slots in the tables below, a power of two of them.
        keys: uint64 hashes of exceptions and units; 0 marks an empty slot. In front of each tokenizer's slots, its sieve.
        values: int32 index of the first part; −1 for a unit.
        parts: uint8 lengths of the tokens in code points, each exception's followed by a 0.
    """

    flags: np.ndarray
    features: np.ndarray
    plain: np.ndarray
    table_start: np.ndarray
    table_mask: np.ndarray
    keys: np.ndarray
    values: np.ndarray
    parts: np.ndarray


SIEVE = 256
"""Words of uint64 in front of each tokenizer's slots: a sieve of SIEVE · 64 bits for exceptions, one for each combination
of first byte, last byte and length, folded. Most strings that are no exception fall through it without being hashed."""


@njit(nogil=True)
def sieve_bit(first, last, length):  # type: ignore[no-untyped-def]
    """The bit of the sieve for a string with that first and last byte and that many bytes."""
    return ((np.int64(first) << 6) ^ (np.int64(last) * 67) ^ (length * 1039)) & (SIEVE * 64 - 1)


PLAIN = 64
_PLAIN_FACTOR = 0x9E3779B97F4A7C15


@njit(nogil=True)
def plain_bit(head, length):  # type: ignore[no-untyped-def]
    """The bit of the sieve `plain` for a word of `length` bytes of which the first eight are the uint64 `head`, the first
    in the lowest bits, with zeros behind."""
    return np.int64(((head + np.uint64(length)) * np.uint64(_PLAIN_FACTOR)) >> np.uint64(52))


@njit(cache=True)
def _fill(data, ends, seeds, firsts, keys, values, start, mask):  # type: ignore[no-untyped-def]
    """Put the strings data[ends[i-1]:ends[i]] into one tokenizer's slots; the first of two equal strings stays."""
    text = pointer(data)
    begin = np.int64(0)
    for i in range(len(ends)):
        end = np.int64(ends[i])
        key = hash_bytes(text, begin, end, seeds[i])
        if seeds[i] == np.uint64(EXCEPTION_SEED):
            bit = sieve_bit(data[begin], data[end - 1], end - begin)
            keys[start - SIEVE + (bit >> 6)] |= np.uint64(1) << np.uint64(bit & 63)
        slot = np.int64(key) & mask
        while keys[start + slot] != np.uint64(0) and keys[start + slot] != key:
            slot = (slot + 1) & mask
        if keys[start + slot] == np.uint64(0):
            keys[start + slot] = key
            values[start + slot] = firsts[i]
        begin = end


def _bit_of(word: bytes) -> int:
    """`plain_bit` of a word."""
    return ((int.from_bytes(word[:8], "little") + len(word)) * _PLAIN_FACTOR & 0xFFFFFFFFFFFFFFFF) >> 52


@cache
def word_rules() -> WordRules:
    """The tables, read once per process, and kept from one to the next."""
    tables = kept_tables("word-rules", __file__, _tables, (_PATH, unicode.PATH))
    for table in tables.values():
        table.setflags(write=False)
    return WordRules(**tables)


def _tables() -> dict[str, np.ndarray]:
    """The fields of WordRules."""
    archive = _archive()
    classes = unicode.char_class()
    flags = archive["flags"].copy()
    flags[classes == unicode.LETTER] |= np.uint16(word_flags.LETTER)
    flags[classes == unicode.SPACE] = word_flags.SPACE
    of_script = np.array([name in PIECE_LENGTH for name in unicode.SCRIPTS])[unicode.script()]
    flags[of_script & ((classes == unicode.LETTER) | (classes == unicode.MARK))] |= np.uint16(word_flags.SPACELESS)
    flags[classes == unicode.MARK] |= np.uint16(word_flags.CLINGING)
    flags[[ord(char) for char in _CLINGING]] |= np.uint16(word_flags.CLINGING | word_flags.SPACELESS)
    ends = archive["exception_ends"].astype(np.int64)
    begins = np.concatenate(([0], ends[:-1]))
    raw = archive["exception_bytes"].tobytes()
    owner = archive["exception_tokenizer"]
    # Lengths of parts with a 0 behind each exception's.
    counts = archive["exception_parts"].astype(np.int64)
    firsts = np.cumsum(counts + 1) - counts - 1
    parts = np.zeros(int((counts + 1).sum()) + 1, np.uint8)
    inside = np.ones(len(parts), bool)
    inside[firsts + counts] = False
    inside[-1] = False
    parts[inside] = archive["exception_lengths"]

    def divides_a_plain_word(i: int) -> bool:
        text = raw[begins[i] : ends[i]].decode()
        return counts[i] > 1 and not any(flags[ord(char)] & word_flags.ACTIVE for char in text)

    units = [unit.encode() for unit in _UNITS]
    compounds = [word.encode() for word in archive["compounds"].tolist()]
    enclitics = [word.encode() for word in archive["enclitics"].tolist()]
    extra = len(compounds) + len(enclitics)
    # An exception that all tokenizers share but some lack.
    lacking = set(zip(archive["lacking_tokenizer"].tolist(), archive["lacking_exception"].tolist(), strict=True))
    sizes, chosen = [], []
    plain = np.zeros((len(TOKENIZERS), PLAIN), np.uint64)
    for number in range(len(TOKENIZERS)):
        own = np.flatnonzero((owner == number) | (owner == 0))
        own = np.array([i for i in own if (number, i) not in lacking], np.int64)
        strings = [raw[begins[i] : ends[i]] for i in own]
        chosen.append((own, strings))
        for i, string in zip(own, strings, strict=True):
            if divides_a_plain_word(int(i)):
                bit = _bit_of(string)
                plain[number, bit >> 6] |= np.uint64(1 << (bit & 63))
        sizes.append(1 << int(np.ceil(np.log2(2 * (len(own) + len(units) + extra) + 1))))
    taken = np.cumsum([SIEVE + size for size in sizes])
    starts = (taken - np.array(sizes)).astype(np.int64)
    keys = np.zeros(int(taken[-1]), np.uint64)
    values = np.full(len(keys), -1, np.int32)
    for (own, strings), start, size in zip(chosen, starts.tolist(), sizes, strict=True):
        # The language's own exceptions go before the shared ones.
        order = np.argsort(owner[own] == 0, kind="stable")
        listed = [strings[i] for i in order] + units + compounds + enclitics
        data = np.frombuffer(b"".join(listed) + bytes(16), np.uint8)
        kinds = ((EXCEPTION_SEED, own), (UNIT_SEED, units), (COMPOUND_SEED, compounds), (ENCLITIC_SEED, enclitics))
        seeds = np.concatenate([np.full(len(members), seed, np.uint64) for seed, members in kinds])
        first = np.concatenate((firsts[own[order]], np.full(len(units) + extra, -1))).astype(np.int32)
        lengths = np.cumsum([len(item) for item in listed]).astype(np.int64)
        _fill(data, lengths, seeds, first, keys, values, start, size - 1)
    features = np.array([FEATURES.get(name, DEFAULT) for name in TOKENIZERS], np.int64)
    mask = np.array(sizes, np.int64) - 1
    tables = (flags, features, plain.reshape(-1), starts, mask, keys, values, parts)
    return dict(zip(WordRules._fields, tables, strict=True))


@cache
def _archive() -> dict[str, np.ndarray]:
    with np.load(_PATH, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


@cache
def _assigned() -> dict[str, int]:
    archive = _archive()
    return dict(zip(archive["labels"].tolist(), archive["label_tokenizer"].tolist(), strict=True))


def piece_length(label: str) -> float:
    """Mean length of a piece for a label whose script needs the fallback (`cmn_Hani`, `tha_Thai`); 0 for others."""
    script = label.partition("_")[2]
    return PIECE_LENGTH.get(_LABEL_SCRIPTS.get(script, script), 0.0)


def tokenizer_of(label: str) -> int:
    """Number of the tokenizer (an index into TOKENIZERS) for a label such as `deu_Latn`; 0, the default, if it has
    none of its own."""
    return _assigned().get(label, 0)
