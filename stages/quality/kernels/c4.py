"""What C4's rules see in a batch of documents: lines that they remove, and sentences in what is left; see `c4_counts`.

The rules are those of Raffel et al. 2020 (https://jmlr.org/papers/v21/20-074.html, section 2.2) in the form of
TensorFlow Datasets' `c4_utils.py` and datatrove's `C4QualityFilter`. Lines end at every boundary of `str.splitlines`.
Sentences are counted as spaCy's rule-based sentencizer ends them: behind a word that is one sentence-ending mark and the
punctuation that follows it, or at white space that is more than one space.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from gristmill.stages.kernels import unicode
from gristmill.stages.kernels.hashing64 import PADDING
from gristmill.stages.kernels.pointers import pointer, read_only
from gristmill.stages.kernels.scalars import Bool, Int
from gristmill.stages.kernels.unicode import decode_at
from gristmill.stages.kernels.vectors import WIDTH
from gristmill.stages.quality.kernels.c4_counts import C4_INDEX, C4_NAMES
from gristmill.stages.quality.kernels.counts import NAMES
from gristmill.stages.quality.kernels.spaceless import StopWords
from gristmill.stages.quality.kernels.text_scan import scan
from gristmill.stages.quality.tokenizer import flags as word_flags
from gristmill.stages.quality.tokenizer import rules as rule
from gristmill.stages.quality.tokenizer.chunk import chunk_pointers, new_chunk, tokenizer_at

_CHARS = C4_INDEX["chars"]
_LONG_WORD = C4_INDEX["long_word_lines"]
_NO_TERMINAL = C4_INDEX["no_terminal_lines"]
_FEW_WORDS = C4_INDEX["few_words_lines"]
_JAVASCRIPT = C4_INDEX["javascript_lines"]
_POLICY = C4_INDEX["policy_lines"]
_LOREM_IPSUM = C4_INDEX["lorem_ipsum_lines"]
_CURLY_BRACKET = C4_INDEX["curly_bracket_lines"]
_KEPT = C4_INDEX["kept_lines"]
_KEPT_CHARS = C4_INDEX["kept_chars"]
_SENTENCES = C4_INDEX["sentences"]

MIN_WORDS_PER_LINE = 3
"""Words, parted by white space, that a line must have."""
MAX_WORD_LENGTH = 1000
"""Code points that a word of a line may have."""
POLICY_PHRASES = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
"""Phrases of notices; a line with one of them, in whatever case, is removed."""
CITATIONS = ("[edit]", "[citation needed]")
"""Cut out of lines before they are looked at, as are brackets around nothing but digits."""


class Phrases(NamedTuple):
    """ASCII strings that are looked for: their bytes (uint8), and where each ends in them (int64)."""

    data: np.ndarray
    ends: np.ndarray


def _phrases(strings: tuple[str, ...]) -> Phrases:
    data = np.frombuffer("".join(strings).encode(), np.uint8)
    return Phrases(data, read_only(np.cumsum([len(string) for string in strings]), np.int64))


_PHRASES = _phrases((*POLICY_PHRASES, "javascript", "lorem ipsum"))
_CITATIONS = _phrases(CITATIONS)
_POLICIES = (1 << len(POLICY_PHRASES)) - 1
_HAS_JAVASCRIPT = 1 << len(POLICY_PHRASES)
_HAS_LOREM_IPSUM = _HAS_JAVASCRIPT << 1

_PUNCTUATION = 1
_ENDS_SENTENCE = 2
_DECIMAL = 4

SENTENCE_ENDS = (
    "!.?։؟۔܀܁܂߹।॥၊။።፧፨᙮᜵᜶᠃᠉᥄᥅᪨᪩᪪᪫᭚᭛᭞᭟᰻᰼᱾᱿‼‽⁇⁈⁉⸮⸼꓿꘎꘏꛳꛷꡶꡷꣎꣏꤯꧈꧉꩝꩞꩟꫰꫱꯫﹒﹖﹗！．？𐩖𐩗𑁇𑁈𑂾𑂿𑃀𑃁𑅁𑅂𑅃𑇅𑇆𑇍𑇞𑇟𑈸𑈹𑈻𑈼𑊩𑑋"
    "𑑌𑗂𑗃𑗉𑗊𑗋𑗌𑗍𑗎𑗏𑗐𑗑𑗒𑗓𑗔𑗕𑗖𑗗𑙁𑙂𑜼𑜽𑜾𑩂𑩃𑪛𑪜𑱁𑱂𖩮𖩯𖫵𖬷𖬸𖭄𛲟𝪈｡。"
)
"""Marks that end a sentence where they are a word of their own (spaCy's sentencizer)."""


@cache
def _classes() -> np.ndarray:
    """uint8 per code point: whether it is punctuation (Unicode category P), ends sentences, is a decimal digit."""
    kinds = unicode.char_class()
    classes = np.where(kinds == unicode.PUNCTUATION, _PUNCTUATION, 0).astype(np.uint8)
    classes[kinds == unicode.DIGIT] |= np.uint8(_DECIMAL)
    classes[[ord(char) for char in SENTENCE_ENDS]] |= np.uint8(_ENDS_SENTENCE)
    classes.setflags(write=False)
    return classes


@njit(nogil=True)
def _line_end(data: Any, i: Int, end: Int) -> tuple[Int, Int]:
    """(where the line that begins at i ends, where the next begins)."""
    while i < end:
        byte = data[i]
        if byte >= 0x80:
            code, following = decode_at(data, i, end)
            if code == 0x85 or code == 0x2028 or code == 0x2029:
                return i, following
            i = following
            continue
        if byte <= 0x1E and (0x0A <= byte <= 0x0D or byte >= 0x1C):
            if byte == 0x0D and i + 1 < end and data[i + 1] == 0x0A:
                return i, i + 2
            return i, i + 1
        i += 1
    return end, end


@njit(nogil=True)
def _measure_line(data: Any, begin: Int, end: Int, flags: Any) -> tuple[Int, Int, Int, Int]:
    """(first byte that is no white space, byte behind the last, words, code points of the longest word)."""
    first = end
    last = begin
    words = np.int64(0)
    longest: Int = np.int64(0)
    chars: Int = np.int64(0)
    i = begin
    while i < end:
        byte = data[i]
        if byte < 0x80:
            space = flags[byte] & word_flags.SPACE
            following = i + 1
        else:
            code, following = decode_at(data, i, end)
            space = flags[code] & word_flags.SPACE
        if space:
            chars = 0
        else:
            if chars == 0:
                words += 1
                first = min(first, i)
            chars += 1
            longest = max(longest, chars)
            last = following
        i = following
    return first, last, words, longest


@njit(nogil=True)
def _citation_end(data: Any, i: Int, end: Int, classes: Any, citations: Phrases) -> Int:
    """Behind the citation that begins at the bracket data[i]; i if none does."""
    j = i + 1
    while j < end:
        code, following = decode_at(data, j, end)
        if code == 0x5D:
            return np.int64(following)
        if not classes[code] & _DECIMAL:
            break
        j = following
    begin = np.int64(0)
    ends = citations.ends
    for k in range(len(ends)):
        size: Int = ends[k] - begin
        if i + size <= end:
            equal = True
            for m in range(size):
                if data[i + m] != citations.data[begin + m]:
                    equal = False
                    break
            if equal:
                return i + size
        begin = ends[k]
    return i


@njit(nogil=True)
def _reduced(data: Any, begin: Int, end: Int, classes: Any, citations: Phrases, line: Any) -> tuple[Int, Int, Bool]:
    """(bytes, code points, whether a curly bracket is in it) of the line without citations, which goes to `line`."""
    size = np.int64(0)
    chars = np.int64(0)
    curly = False
    i = begin
    while i < end:
        byte = data[i]
        if byte == 0x5B:
            behind = _citation_end(data, i, end, classes, citations)
            if behind > i:
                i = behind
                continue
        elif byte == 0x7B:
            curly = True
        chars += np.int64((byte & 0xC0) != 0x80)
        line[size] = byte
        size += 1
        i += 1
    return size, chars, curly


@njit(nogil=True)
def _ends_as_text(line: Any, size: Int) -> Bool:
    """Whether a line ends with one of . ? ! " ' and not with three full stops."""
    if size == 0:
        return False
    last: Int = line[size - 1]
    if last == 0x2E:
        return not (size >= 3 and line[size - 2] == 0x2E and line[size - 3] == 0x2E)
    return last == 0x3F or last == 0x21 or last == 0x22 or last == 0x27


@njit(nogil=True)
def _phrases_in(line: Any, size: Int, folded: Any, phrases: Phrases) -> Int:
    """Bit mask of the phrases that a line has, in whatever case; the line in lower case goes to `folded`."""
    length = np.int64(0)
    i: Int = np.int64(0)
    while i < size:
        byte = line[i]
        if 0x41 <= byte <= 0x5A:
            byte |= 0x20
        elif byte == 0xE2 and i + 2 < size and line[i + 1] == 0x84 and line[i + 2] == 0xAA:
            # The Kelvin sign is the one character beyond ASCII that lower case makes a letter of ASCII.
            byte = 0x6B
            i += 2
        folded[length] = byte
        length += 1
        i += 1
    found = np.int64(0)
    phrase_bytes, phrase_ends = phrases.data, phrases.ends
    for i in range(length):
        byte = folded[i]
        if not (byte == 0x6A or byte == 0x6C or byte == 0x74 or byte == 0x70 or byte == 0x63 or byte == 0x75):
            continue
        begin = np.int64(0)
        for k in range(len(phrase_ends)):
            count = phrase_ends[k] - begin
            if phrase_bytes[begin] == byte and i + count <= length:
                equal = True
                for m in range(1, count):
                    if folded[i + m] != phrase_bytes[begin + m]:
                        equal = False
                        break
                if equal:
                    found |= np.int64(1) << k
            begin = phrase_ends[k]
    return found


@njit(nogil=True)
def _sentences(line: Any, size: Int, compact: Any, starts: Any, words: Int, flags: Any, classes: Any) -> Int:
    """Sentences of a line, given its words."""
    count = np.int64(words > 0)
    seen = False
    i = np.int64(0)
    for w in range(words):
        begin = np.int64(starts[w])
        end = np.int64(starts[w + 1])
        gap = i
        while i < size:
            code, following = decode_at(line, i, size)
            if not flags[code] & word_flags.SPACE:
                break
            i = following
        if seen and i > gap and (i > gap + 1 or line[gap] != 0x20):
            # Such white space is a token of spaCy's, and no punctuation.
            count += 1
            seen = False
        i += end - begin
        code, following = decode_at(compact, begin, end)
        kind = classes[code]
        if following == end and kind & _ENDS_SENTENCE:
            seen = True
            continue
        if not seen:
            continue
        while kind & _PUNCTUATION and following < end:
            code, following = decode_at(compact, following, end)
            kind = classes[code]
        if not kind & _PUNCTUATION:
            count += 1
            seen = False
    return count


@njit(cache=True, nogil=True)
def _count(
    data: np.ndarray,
    offsets: np.ndarray,
    tokenizers: np.ndarray,
    rules: rule.WordRules,
    classes_array: np.ndarray,
    phrases: Phrases,
    citations: Phrases,
    line_ends: Bool,
    out: np.ndarray,
) -> None:
    rows = len(offsets) - 1
    longest = np.int64(0)
    for r in range(rows):
        longest = max(longest, offsets[r + 1] - offsets[r])
    line_array = np.zeros(longest + PADDING, np.uint8)
    folded_array = np.zeros(longest + PADDING, np.uint8)
    compact_array = np.zeros(longest + PADDING + WIDTH, np.uint8)
    starts_array = np.empty(longest + 2, np.int32)
    chunk_arrays = new_chunk(compact_array)
    unused_array = np.zeros(len(NAMES), np.int64)
    no_keys_array = np.zeros(1, np.uint64)
    text = pointer(data)
    classes = pointer(classes_array)
    for r in range(rows):
        # Inside the loop, because an array is released after its last use by name, pointers notwithstanding.
        line = pointer(line_array)
        folded = pointer(folded_array)
        compact = pointer(compact_array)
        starts = pointer(starts_array)
        chunk = chunk_pointers(chunk_arrays)
        unused = pointer(unused_array)
        no_stop_words = StopWords(np.int64(0), np.int64(-1), np.int64(0), pointer(no_keys_array))
        end = offsets[r + 1]
        tokenizer = tokenizer_at(rules, np.int64(tokenizers[r]))
        all_flags = tokenizer.char_flags
        row = out[r]
        following = offsets[r]
        for i in range(following, end):
            row[_CHARS] += np.int64((text[i] & 0xC0) != 0x80)
        while following < end:
            begin = following
            stop, following = _line_end(text, begin, end)
            first, last, words, longest_word = _measure_line(text, begin, stop, all_flags)
            if words == 0:
                continue
            if longest_word > MAX_WORD_LENGTH:
                row[_LONG_WORD] += 1
                continue
            size, chars, curly = _reduced(text, first, last, classes, citations, line)
            if line_ends and not _ends_as_text(line, size):
                row[_NO_TERMINAL] += 1
                continue
            if words < MIN_WORDS_PER_LINE:
                row[_FEW_WORDS] += 1
                continue
            found = _phrases_in(line, size, folded, phrases)
            row[_LOREM_IPSUM] += np.int64((found & _HAS_LOREM_IPSUM) != 0)
            if found & _HAS_JAVASCRIPT:
                row[_JAVASCRIPT] += 1
                continue
            row[_CURLY_BRACKET] += np.int64(curly)
            if found & _POLICIES:
                row[_POLICY] += 1
                continue
            row[_KEPT] += 1
            row[_KEPT_CHARS] += chars
            _, tokens, _, _ = scan(line, np.int64(0), size, tokenizer, 0.0, no_stop_words, chunk, starts, unused)
            row[_SENTENCES] += _sentences(line, size, compact, starts, tokens, all_flags, classes)


def count_c4(data: np.ndarray, offsets: np.ndarray, tokenizers: np.ndarray, line_ends: bool = True) -> np.ndarray:
    """C4's counts of each document of a batch.

    Args:
        data, offsets: text as `pipeline.document.text_buffers` gives it.
        tokenizers: int64 per document: number of its tokenizer, an index into `word_flags.TOKENIZERS`.
        line_ends: whether lines without a sentence-ending mark are removed.

    Returns int64 of shape (documents, len(C4_NAMES)), columns as in `c4_counts.C4_NAMES`.
    """
    rules = rule.word_rules()
    rows = len(offsets) - 1
    out = np.zeros((rows, len(C4_NAMES)), np.int64)
    if rows:
        _count(
            read_only(data, np.uint8),
            read_only(offsets, np.int64),
            read_only(tokenizers, np.int64),
            rules,
            _classes(),
            _PHRASES,
            _CITATIONS,
            bool(line_ends),
            out,
        )
    return out
