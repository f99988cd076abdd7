"""The rules of the quality stage: what each compares with what, and where it comes from.

Four filters, each a list of rules, in the form that datatrove gives them:

- `gopher_repetition`: Rae et al. 2021, https://arxiv.org/abs/2112.11446, table A1.
- `gopher_quality`: the same paper, appendix A.1.1.
- `fineweb`: Penedo et al. 2024, https://arxiv.org/abs/2406.17557, section 3.6.
- `c4`: Raffel et al. 2020, https://jmlr.org/papers/v21/20-074.html, section 2.2, without its list of words.

A rule compares one signal with one threshold, which has the rule's name. A threshold that is None switches the rule off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

GOPHER_REPETITION = "gopher_repetition"
GOPHER_QUALITY = "gopher_quality"
FINEWEB = "fineweb"
FILTERS = (GOPHER_REPETITION, GOPHER_QUALITY, FINEWEB)
C4 = "c4"
"""The filter with signals of its own, measured where the stage's config asks for them."""

NO_WORDS = "no_words"
"""The rule that needs no threshold: the text has no word at all, only white space."""


@dataclass(frozen=True)
class Rule:
    """One comparison.

    Attributes:
        name: name of the rule and of its threshold.
        filter: the filter that it belongs to.
        signal: the column that it looks at.
        at_least: whether values below the threshold fail; otherwise values above it do.
        what: what must hold, for the stage's reference page.
        universal: the threshold that FineWeb2 uses in every language, for a language without a config; None if the
            threshold is each language's own, or if FineWeb2 does not use the rule.
    """

    name: str
    filter: str
    signal: str
    at_least: bool
    what: str
    universal: float | None = None


RULES: tuple[Rule, ...] = (
    Rule(
        "dup_para_frac",
        GOPHER_REPETITION,
        "quality_dup_para_frac",
        False,
        "share of paragraphs that came before",
    ),
    Rule(
        "dup_para_char_frac",
        GOPHER_REPETITION,
        "quality_dup_para_char_frac",
        False,
        "characters in paragraphs that came before, of all characters",
    ),
    Rule("dup_line_frac", GOPHER_REPETITION, "quality_dup_line_frac", False, "share of lines that came before"),
    Rule(
        "dup_line_char_frac",
        GOPHER_REPETITION,
        "quality_dup_line_char_frac",
        False,
        "characters in lines that came before, of all characters",
    ),
    *(
        Rule(
            f"top_{n}_gram",
            GOPHER_REPETITION,
            f"quality_top_{n}_gram",
            False,
            f"characters in occurrences of the most frequent {n}-gram of words, of all characters",
        )
        for n in (2, 3, 4)
    ),
    *(
        Rule(
            f"dup_{n}_grams",
            GOPHER_REPETITION,
            f"quality_dup_{n}_grams",
            False,
            f"characters in {n}-grams of words that came before, of all characters",
        )
        for n in range(5, 11)
    ),
    Rule("too_few_words", GOPHER_QUALITY, "quality_words", True, "words that are not only punctuation", 50),
    Rule("too_many_words", GOPHER_QUALITY, "quality_words", False, "words that are not only punctuation", 100_000),
    Rule("words_too_short", GOPHER_QUALITY, "quality_mean_word_length", True, "mean characters of a word"),
    Rule("words_too_long", GOPHER_QUALITY, "quality_mean_word_length", False, "mean characters of a word"),
    Rule("too_many_hashes", GOPHER_QUALITY, "quality_hash_ratio", False, "`#` per word", 0.1),
    Rule("too_many_ellipses", GOPHER_QUALITY, "quality_ellipsis_ratio", False, "`...` and `…` per word", 0.1),
    Rule(
        "too_many_bullet_lines",
        GOPHER_QUALITY,
        "quality_bullet_line_ratio",
        False,
        "share of lines that begin with `•` or `-`",
        0.9,
    ),
    Rule(
        "too_many_ellipsis_lines",
        GOPHER_QUALITY,
        "quality_ellipsis_line_ratio",
        False,
        "share of lines that end with `...` or `…`",
        0.3,
    ),
    Rule("too_few_alpha_words", GOPHER_QUALITY, "quality_alpha_word_ratio", True, "share of words with a letter"),
    Rule(
        "too_few_stop_words",
        GOPHER_QUALITY,
        "quality_stop_words",
        True,
        "different stop words of the language in the text",
    ),
    Rule(
        "too_few_terminal_lines",
        FINEWEB,
        "quality_terminal_line_ratio",
        True,
        "share of lines that end with sentence-ending punctuation",
    ),
    Rule(
        "too_many_short_lines",
        FINEWEB,
        "quality_short_line_ratio",
        False,
        "share of lines of at most `short_line_length` characters",
    ),
    Rule(
        "dup_content_chars",
        FINEWEB,
        "quality_dup_content_char_frac",
        False,
        "characters in lines that came before, of all characters but newlines",
        0.1,
    ),
    Rule("too_many_newlines", FINEWEB, "quality_newline_ratio", False, "newlines per word"),
    Rule("too_few_sentences", C4, "quality_c4_sentences", True, "sentences in the lines that C4 keeps"),
    Rule("lorem_ipsum", C4, "quality_c4_lorem_ipsum_lines", False, "lines with `lorem ipsum`", 0),
    Rule("curly_bracket", C4, "quality_c4_curly_bracket_lines", False, "lines with `{`", 0),
    Rule(
        "too_few_chars_left",
        C4,
        "quality_c4_left_char_ratio",
        True,
        "characters in the lines that C4 keeps, of all characters",
    ),
)

RULE_NAMES = tuple(rule.name for rule in RULES)

Thresholds = Mapping[str, float | None]
"""Threshold of each rule by name; None or a missing name switches the rule off."""

ENGLISH: Thresholds = MappingProxyType(
    {
        "dup_para_frac": 0.3,
        "dup_para_char_frac": 0.2,
        "dup_line_frac": 0.3,
        "dup_line_char_frac": 0.2,
        "top_2_gram": 0.2,
        "top_3_gram": 0.18,
        "top_4_gram": 0.16,
        "dup_5_grams": 0.15,
        "dup_6_grams": 0.14,
        "dup_7_grams": 0.13,
        "dup_8_grams": 0.12,
        "dup_9_grams": 0.11,
        "dup_10_grams": 0.1,
        "too_few_words": 50,
        "too_many_words": 100_000,
        "words_too_short": 3,
        "words_too_long": 10,
        "too_many_hashes": 0.1,
        "too_many_ellipses": 0.1,
        "too_many_bullet_lines": 0.9,
        "too_many_ellipsis_lines": 0.3,
        "too_few_alpha_words": 0.8,
        "too_few_stop_words": 2,
        "too_few_terminal_lines": 0.12,
        "too_many_short_lines": 0.67,
        "dup_content_chars": 0.01,
        "too_many_newlines": 0.3,
        "too_few_sentences": 5,
        "lorem_ipsum": 0,
        "curly_bracket": 0,
        "too_few_chars_left": None,
    }
)
"""FineWeb's thresholds for English: Gopher's, its own, and C4's. `too_few_chars_left` is no rule of C4's, which removes
the lines and keeps the rest: it is there to be switched on."""

ENGLISH_LABEL = "eng_Latn"
ENGLISH_STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
"""Gopher's stop words."""

UNIVERSAL: Thresholds = MappingProxyType({rule.name: rule.universal for rule in RULES if rule.universal is not None})
"""What applies in a language without a config: the thresholds that FineWeb2 uses in all of its languages."""
