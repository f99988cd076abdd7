"""Numbers and texts as a person reads them in a terminal: counts, sizes, shares, durations, safe excerpts."""

from __future__ import annotations

from typing import Any

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def count(number: int) -> str:
    """A count with separators.

    >>> count(1234567)
    '1,234,567'
    """
    return f"{number:,}"


def documents(number: int) -> str:
    """A number of documents.

    >>> documents(1), documents(2000)
    ('1 document', '2,000 documents')
    """
    return f"{number:,} document{'' if number == 1 else 's'}"


def size(number: float) -> str:
    """Bytes in decimal units, three digits or so.

    >>> size(999), size(4_640_000), size(31_000_000_000)
    ('999 B', '4.6 MB', '31.0 GB')
    """
    value = float(number)
    for unit in _UNITS:
        if value < 999.95 or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise ValueError(f"{number!r} is no number of bytes")


def share(part: int, whole: int) -> str:
    """A share in per cent. What is not quite nothing or not quite all is never shown as 0 or 100.

    >>> share(1, 3), share(0, 0), share(1, 100_000), share(99_999, 100_000)
    ('33.3 %', '–', '<0.1 %', '>99.9 %')
    """
    if not whole:
        return "–"
    per_cent = 100 * part / whole
    if 0 < per_cent < 0.1:
        return "<0.1 %"
    if 99.9 < per_cent < 100:
        return ">99.9 %"
    return f"{per_cent:.1f} %"


def duration(seconds: float) -> str:
    """A duration.

    >>> duration(4.23), duration(75), duration(7322)
    ('4.2 s', '1 min 15 s', '2 h 02 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def plain(text: str) -> str:
    """The text on one line, without anything that a terminal would obey: it comes from the web.

    >>> plain("a\\x1b[31mred\\u202e\\n\\n b")
    'a [31mred b'
    """
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def excerpt(text: str, cells: int) -> str:
    """The beginning of a text on one line of at most `cells` terminal cells (wide characters take two)."""
    from rich.cells import cell_len, set_cell_size

    # A text of 100 MB is not looked at beyond what can be shown.
    line = plain(text[: 4 * cells + 200])
    if cell_len(line) <= cells:
        return line
    return set_cell_size(line, cells - 1).rstrip() + "…"


def number(value: Any) -> str:
    """A measured value or a threshold, without needless digits.

    >>> number(0.5), number(12.0), number(0.123456), number(None)
    ('0.5', '12', '0.1235', '–')
    """
    if value is None or value != value:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) and abs(value) < 1e6 else f"{value:,.0f}"
