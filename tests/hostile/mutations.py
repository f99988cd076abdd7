"""Damaged files, each made from a sound one by a numbered draw: the same seed and number give the same bytes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.hostile.sound_files import SoundFile, sound_files


@dataclass(frozen=True)
class Mutant:
    """A damaged file.

    Attributes:
        number: its place in the series.
        what: how it was made, for people.
        sound: what it was made from.
        data: its bytes.
        changed: the places that were overwritten, where nothing moved; None where bytes were moved, added or removed.
        alone: whether it lies alone in its folder, and not beside the sound file.
        slice_bytes: into how large slices the run cuts it.
    """

    number: int
    what: str
    sound: SoundFile
    data: bytes
    changed: tuple[int, ...] | None
    alone: bool
    slice_bytes: int


_Change = Callable[[random.Random, bytearray, Sequence[SoundFile]], "tuple[int, ...] | None"]


def mutant(seed: int, number: int) -> Mutant:
    """The mutant of that number in the series of that seed."""
    draw = random.Random(f"{seed}/{number}")
    files = sound_files()
    sound = draw.choice(files)
    data = bytearray(sound.data)
    if sound.parquet:
        kinds = [*_ANYWHERE, *_IN_PARQUET * 2]
    elif sound.ending in (".jsonl", ".ndjson"):
        kinds = [*_ANYWHERE, *_IN_LINES * 3]
    else:
        kinds = _ANYWHERE
    change = draw.choice(kinds)
    changed = change(draw, data, files)
    name = f"{sound.name}: {change.__name__.strip('_')}"
    slice_bytes = 1 + len(sound.data) // draw.choice((1, 3, 12))
    return Mutant(number, name, sound, bytes(data), changed, draw.random() < 0.5, slice_bytes)


# Changes that need to know nothing of the format


def _flip_bits(draw: random.Random, data: bytearray, files: Sequence[SoundFile]) -> tuple[int, ...]:
    places = [draw.randrange(len(data)) for _ in range(draw.choice((1, 1, 1, 2, 8)))]
    for place in places:
        data[place] ^= 1 << draw.randrange(8)
    return tuple(places)


_BYTES = (0, 1, 2, 0x0A, 0x22, 0x5C, 0x7F, 0x80, 0xFE, 0xFF)


def _set_bytes(draw: random.Random, data: bytearray, files: Sequence[SoundFile]) -> tuple[int, ...]:
    start = draw.randrange(len(data))
    places = range(start, min(len(data), start + draw.choice((1, 1, 2, 4, 16, 200))))
    value = draw.choice((*_BYTES, None))
    for place in places:
        data[place] = draw.randrange(256) if value is None else value
    return tuple(places)


def _truncate(draw: random.Random, data: bytearray, files: Sequence[SoundFile]) -> None:
    keep = draw.choice((draw.randrange(len(data)), len(data) - draw.randrange(1, 20), draw.randrange(20)))
    del data[keep:]


def _insert(draw: random.Random, data: bytearray, files: Sequence[SoundFile]) -> None:
    place = draw.choice((0, len(data), draw.randrange(len(data))))
    data[place:place] = bytes(draw.choice(_BYTES) for _ in range(draw.choice((1, 3, 50))))


def _remove(draw: random.Random, data: bytearray, files: Sequence[SoundFile]) -> None:
    start = draw.randrange(len(data))
    del data[start : start + draw.choice((1, 2, 16, 300))]


def _splice(draw: random.Random, data: bytearray, files: Sequence[SoundFile]) -> None:
    """A piece of this file or of another one, put in between or over what is there."""
    other = bytes(data) if draw.random() < 0.5 else draw.choice(files).data
    start = draw.randrange(len(other))
    piece = other[start : start + draw.choice((4, 40, 400, 4000))]
    place = draw.randrange(len(data))
    data[place : place + (len(piece) if draw.random() < 0.5 else 0)] = piece


def _join(draw: random.Random, data: bytearray, files: Sequence[SoundFile]) -> None:
    """The beginning of this file and the end of another one."""
    other = draw.choice(files).data
    data[draw.randrange(len(data)) :] = other[draw.randrange(len(other)) :]


_ANYWHERE: Sequence[_Change] = (_flip_bits, _set_bytes, _truncate, _insert, _remove, _splice, _join)

# Parquet


def _footer_start(data: bytes | bytearray) -> int:
    return len(data) - 8 - int.from_bytes(data[-8:-4], "little")


def _flip_in_footer(draw: random.Random, data: bytearray, files: Sequence[SoundFile]) -> tuple[int, ...]:
    start = _footer_start(data)
    places = [draw.randrange(start, len(data) - 8) for _ in range(draw.choice((1, 1, 1, 2, 4)))]
    for place in places:
        data[place] ^= 1 << draw.randrange(8)
    return tuple(places)


def _set_in_footer(draw: random.Random, data: bytearray, files: Sequence[SoundFile]) -> tuple[int, ...]:
    start = _footer_start(data)
    place = draw.randrange(start, len(data) - 8)
    places = range(place, min(len(data) - 8, place + draw.choice((1, 1, 1, 2, 9))))
    value = draw.choice(_BYTES)
    for place in places:
        data[place] = value
    return tuple(places)


def _set_tail(draw: random.Random, data: bytearray, files: Sequence[SoundFile]) -> tuple[int, ...]:
    """Another length of the footer, or another magic number."""
    tail = (
        draw.choice((0, 1, 7, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, draw.randrange(1 << 32))),
        draw.choice((b"PAR1", b"PAR1", b"PARE", b"\0\0\0\0")),
    )
    data[-8:] = tail[0].to_bytes(4, "little") + tail[1]
    return tuple(range(len(data) - 8, len(data)))


def _remove_in_footer(draw: random.Random, data: bytearray, files: Sequence[SoundFile]) -> None:
    """A piece of the footer less, or twice, and its length set right."""
    start = _footer_start(data)
    place = draw.randrange(start, len(data) - 8)
    piece = bytes(data[place : min(len(data) - 8, place + draw.choice((1, 2, 8, 60)))])
    if draw.random() < 0.5:
        del data[place : place + len(piece)]
    else:
        data[place:place] = piece
    data[-8:-4] = (len(data) - 8 - start).to_bytes(4, "little")


def _foreign_footer(draw: random.Random, data: bytearray, files: Sequence[SoundFile]) -> None:
    """Another file's footer over these pages."""
    other = draw.choice([file.data for file in files if file.parquet])
    data[_footer_start(data) :] = other[_footer_start(other) :]


def _in_page_header(draw: random.Random, data: bytearray, files: Sequence[SoundFile]) -> tuple[int, ...]:
    group = draw.choice(next(file.groups for file in files if file.parquet and file.data == bytes(data)))
    place = min(len(data) - 9, draw.choice((group[0], draw.randrange(group[0], group[1]))) + draw.randrange(24))
    data[place] = draw.choice((*_BYTES, data[place] ^ 1 << draw.randrange(8)))
    return (place,)


_IN_PARQUET: Sequence[_Change] = (
    _flip_in_footer, _flip_in_footer, _set_in_footer, _set_tail, _remove_in_footer, _foreign_footer, _in_page_header,
)  # fmt: skip

# JSON lines

_VALUES: Sequence[bytes] = (
    b"null", b"true", b"0", b"-0", b"-1", b"1e999", b"-1e999", b"1.5", b"NaN", b"Infinity", b"1" * 18, b"9" * 20, b"9" * 400,
    b"9" * 5000, b"1" + b"0" * 400, b"9007199254740993", b'""', b'"\\ud800"', b'"\\udfff\\ud800"', b'"\\u0000"', b'"\xff"',
    b'"\xed\xa0\x80"', b"[]", b"{}", b"[[]]", b"[{}]", b'{"a": {}}', b"[1, 2.5]", b'[1, "a", null]', b'{"": 1}',
    b'{"a": 1, "a": "b"}', b'{"\\ud800": 1}', b"[" * 40 + b"]" * 40, b"[" * 3000 + b"]" * 3000,
    b'{"a":' * 150 + b"1" + b"}" * 150, b"[" * 100_000, b"'x'", b"undefined", b"", b"01", b"1_000", b'"2024-01-01"',
    b'"' + b"y" * 70_000 + b'"',
)  # fmt: skip
_KEYS: Sequence[bytes] = (
    b"id", b"text", b"doc_key", b"copy", b"input_text", b"input_doc_key", b"input_copy", b"length", b"task", b"from_task", b"",
    b"\\u0000", b"\\ud800", b"a.b", b"a\\nb", b"x" * 300, b"x" * 70_000, b"language", b"minhash_cluster_id", b"quality_failed",
    b"__proto__", b"\xff", b"signal", b"port", b"node", b"row", b"*", b"/",
)  # fmt: skip


def _replace_line(draw: random.Random, data: bytearray, change: Callable[[bytes], bytes]) -> None:
    lines = bytes(data).split(b"\n")
    place = draw.choice([number for number, line in enumerate(lines) if line])
    lines[place] = change(lines[place])
    data[:] = b"\n".join(lines)


def _other_value(draw: random.Random, data: bytearray, files: Sequence[SoundFile]) -> None:
    """One record with a value that nobody expects, in a column that there is."""

    def change(line: bytes) -> bytes:
        places = [place for place in range(len(line)) if line.startswith(b'": ', place)]
        start = draw.choice(places) + 3
        ends = [place for place in (line.find(b', "', start), line.rfind(b"}")) if place >= start]
        return line[:start] + draw.choice(_VALUES) + line[min(ends) :]

    _replace_line(draw, data, change)


def _other_key(draw: random.Random, data: bytearray, files: Sequence[SoundFile]) -> None:
    """One record with a column more, in front or at the end."""
    item = b'"' + draw.choice(_KEYS) + b'": ' + draw.choice(_VALUES)
    front = draw.random() < 0.5
    _replace_line(draw, data, lambda line: b"{" + item + b", " + line[1:] if front else line[:-1] + b", " + item + b"}")


def _same_key_everywhere(draw: random.Random, data: bytearray, files: Sequence[SoundFile]) -> None:
    """All records with a column more, of values drawn from two."""
    key = draw.choice([key for key in _KEYS if len(key) < 1000])
    values = draw.choices([value for value in _VALUES if len(value) < 1000], k=2)
    lines = bytes(data).split(b"\n")
    data[:] = b"\n".join(
        line[:-1] + b', "' + key + b'": ' + draw.choice(values) + b"}" if line and draw.random() < 0.7 else line
        for line in lines
    )


_LINES: Sequence[bytes] = (
    b"", b" \t ", b"\r", b"\0", b"null", b"[]", b"{}", b'"text"', b"7", b"{", b"}", b'{"text": "a"',
    b'\xef\xbb\xbf{"text": "bom"}', b'{"text": "a"}{"text": "b"}', b"[" * 100_000, b'{"text": "' + b"\\u00" * 3,
    b"\xff\xfe{\x00}\x00", b'{"text": "a", "text": 1}', b"# a comment", b"{'text': 'a'}",
    b'{"text": "tab\tin it"}', b'{"text": "a",}', b'{"id": "lines-1", "text": "again"}',
)  # fmt: skip


def _other_line(draw: random.Random, data: bytearray, files: Sequence[SoundFile]) -> None:
    _replace_line(draw, data, lambda line: draw.choice(_LINES))


def _more_lines(draw: random.Random, data: bytearray, files: Sequence[SoundFile]) -> None:
    _replace_line(draw, data, lambda line: b"\n".join([*draw.choices(_LINES, k=3), line, *draw.choices(_LINES, k=3)]))


def _other_breaks(draw: random.Random, data: bytearray, files: Sequence[SoundFile]) -> None:
    how = draw.choice((b"\r\n", b"\r", b"\n\n", b"\n\x00", b" ", b"", b"\xe2\x80\xa8"))
    data[:] = bytes(data).replace(b"\n", how, draw.choice((1, 5, -1)))


_IN_LINES: Sequence[_Change] = (
    _other_value, _other_value, _other_key, _same_key_everywhere, _other_line, _more_lines, _other_breaks,
)  # fmt: skip
