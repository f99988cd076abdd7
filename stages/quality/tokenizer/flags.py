"""The flags of a code point that word splitting and the quality signals use, and the names of the tokenizers.

Plain numbers without imports: the build script of the tables reads them too.
"""

ALPHA = 1
"""A letter in the rules of the splitter: of the scripts that spaCy's character classes list, fewer than Unicode's."""
LOWER = 2
"""ALPHA that is lower case or has no case."""
UPPER = 4
"""ALPHA that is upper case or has no case."""
QUOTE = 8
"""A quotation mark or bracket that may stand beside a full stop inside a token."""
PREFIX = 16
"""Split off the beginning of a token wherever it stands there."""
SUFFIX = 32
"""Split off the end of a token wherever it stands there."""
ALWAYS_INFIX = 64
"""Divides a token wherever it stands (icons, emoji, the ellipsis)."""
BEFORE_STOP = 128
"""A full stop after it, at the end of a token, is split off."""
DIGIT = 256
"""One of 0 to 9."""
SYMBOLIC = 512
"""In datatrove's set of punctuation: a word of such characters alone does not count as a word."""
TERMINAL = 1024
"""In datatrove's set of characters that end a sentence."""
LETTER = 2048
"""Unicode letter, as `str.isalpha`."""
ACTIVE = 4096
"""May begin, end or divide a token: a chunk without such a character is one token unless it is an exception."""
SPACE = 8192
"""White space, as `str.isspace`."""
SPACELESS = 16384
"""Of a script that is written without spaces between words, or, as Hangul, that datatrove cuts below the space."""
CLINGING = 32768
"""A mark or a sign that belongs to the character before it."""

TOKENIZERS = (
    "xx", "tn", "ms", "en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "uk", "sv", "da", "nb", "fi", "et", "lv",
    "lt", "cs", "sk", "sl", "hr", "sr", "bg", "mk", "ro", "hu", "el", "tr", "id", "ca", "eu", "ar", "fa", "he", "hy",
    "af", "sq", "az", "tt", "ky", "is", "fo", "ga", "la", "lb", "lij", "lg", "tl", "yo", "hsb", "dsb", "grc", "am", "ti",
    "indic", "urdu",
)  # fmt: skip
"""spaCy's language codes that have rules or exceptions of their own; `xx`, which has none, is the default. The last two
are the tokenizers of the Indic NLP library."""

OWN_MARKS = (
    "\u0964\u0965\uaaf1\uaaf0\uabeb\uabec\uabed\uabee\uabef\u1c7e\u1c7f"
    "\u0609\u060a\u060c\u061e\u066a\u066b\u066c\u066d\u06d4"
)
"""Marks, beside ASCII's, that the Indic NLP library makes words of, for the scripts of India and for Urdu."""
