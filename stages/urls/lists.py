"""Reads lists of domains, URLs and words into sets, in bounded memory, and says where a list is wrong."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from gristmill.pipeline.errors import ConfigError
from gristmill.stages.urls.kernels.entries import (
    MAX_LINE,
    OK,
    TOO_LONG,
    TOO_SHORT,
    add_lines,
    letter_or_digit,
    room_for,
    slots_for,
)

BLOCK = 1 << 23
"""Bytes that are read at once."""
MAX_LIST_BYTES = (1 << 32) - (1 << 20)
"""Bytes of all lists of a kind: positions in a set are 32 bits wide."""
_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Kind:
    """What a kind of list holds.

    Attributes:
        expected: an entry, for messages.
        allowed: bool[256], the bytes that an entry may have.
        is_words: entries are compared by their letters and digits alone.
        least: bytes of the shortest entry.
        lower: whether entries are compared in lower case.
    """

    expected: str
    allowed: np.ndarray
    is_words: bool = False
    least: int = 2
    lower: bool = False


def _bytes(found: bytes, beyond_ascii: bool) -> np.ndarray:
    table = np.zeros(256, bool)
    table[list(found)] = True
    table[128:] = beyond_ascii
    return table


_NAMES = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
_PRINTED = bytes(range(33, 127))
KINDS = {
    "domains": Kind("a domain such as example.com", _bytes(_NAMES, True)),
    "lower_domains": Kind(
        "a domain in ASCII such as example.com or xn--mnchen-3ya.de", _bytes(_NAMES, False), lower=True
    ),
    "urls": Kind("a URL without white space", _bytes(_PRINTED, True)),
    "words": Kind("ASCII letters and digits, as in URLs", _bytes(b" \t" + _PRINTED, False), is_words=True, least=1),
}
"""Kinds of lists. Letters beyond ASCII are refused in words: URLs have them percent-encoded, so that the rest of the word
would stand for it."""


@dataclass(frozen=True)
class EntrySet:
    """A set of entries (see `stages.urls.kernels.entries`): bytes, how many are used, slots, and the number of entries."""

    data: np.ndarray
    used: int
    slots: np.ndarray
    count: int


@cache
def read_entries(kind: str, files: tuple[Path, ...]) -> EntrySet:
    """The distinct entries of some lists of one kind (a key of KINDS); one per process.

    A line is an entry. Blank lines and lines that start with `#` are none.
    Raises ConfigError for what is no list: file, line, what was expected, what was found.
    """
    size, lines = 0, 0
    for path in files:
        for block in _blocks(path):
            size += len(block)
            lines += int(np.count_nonzero(block == 10))
    if size > MAX_LIST_BYTES:
        raise ConfigError(
            f"{', '.join(map(str, files))}: {size:,} bytes of lists; at most {MAX_LIST_BYTES:,} are possible for one kind. "
            "Filter by several nodes, each with some of the lists."
        )
    one = KINDS[kind]
    entries = min(lines, size // (one.least + 1))
    data, slots = np.zeros(room_for(size), np.uint8), np.zeros(slots_for(entries), np.uint32)
    used, count = 0, 0
    for path in files:
        before = 0
        for block in _blocks(path):
            if used + len(block) > size:
                raise ConfigError(f"{path}: it grew while it was read. Start again when nobody writes to it.")
            _check_utf8(path, block, before)
            used, added, wrong, line, _ = add_lines(
                block, one.allowed, letter_or_digit(), one.is_words, one.lower, one.least, data, used, slots
            )
            if wrong == TOO_LONG:
                raise _too_long(path, before + line + 1)
            if wrong != OK:
                text = _line(block, line)
                raise ConfigError(
                    f"{path}:{before + line + 1}: expected {one.expected}, one a line; found {_shown(text)}"
                    f"{' (nothing is left of it)' if wrong == TOO_SHORT and one.is_words else ''}. {_remedy(text)}"
                )
            count += added
            before += int(np.count_nonzero(block == 10))
    data.setflags(write=False)
    slots.setflags(write=False)
    return EntrySet(data, used, slots, count)


def entries_of(names: Sequence[str]) -> EntrySet:
    """A set of names that a program has."""
    lines = np.frombuffer("".join(f"{name}\n" for name in names).encode("utf-8"), np.uint8)
    data, slots = np.zeros(room_for(len(lines)), np.uint8), np.zeros(slots_for(len(names)), np.uint32)
    used, count, *_ = add_lines(lines, np.ones(256, bool), letter_or_digit(), False, False, 1, data, 0, slots)
    return EntrySet(data, used, slots, count)


def most_bytes(kind: str, files: Sequence[Path]) -> int:
    """A bound on the memory that the lists' set takes, from the sizes of the files; 0 for those that are not there."""
    size = sum(path.stat().st_size + 1 for path in files if path.is_file())
    return room_for(size) + 4 * slots_for(size // (KINDS[kind].least + 1)) + 3 * BLOCK


def _blocks(path: Path) -> Iterator[np.ndarray]:
    """The file's lines, whole ones, each with its newline; the last one gets one."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(
                f"{path}: expected a file with one entry a line, found a folder or a device. Name the file."
            )
        with path.open("rb") as stream:
            rest, first, before = b"", True, 0
            while block := stream.read(BLOCK):
                if first:
                    block, first = block.removeprefix(_MARK), False
                end = block.rfind(b"\n") + 1
                if end:
                    yield np.frombuffer(rest + block[:end], np.uint8)
                    rest = block[end:]
                else:
                    rest += block
                before += block.count(b"\n")
                if len(rest) > MAX_LINE:
                    raise _too_long(path, before + 1)
            if rest:
                yield np.frombuffer(rest + b"\n", np.uint8)
    except OSError as error:
        raise ConfigError(f"{path}: it cannot be read ({error.strerror}). Name a list, one entry a line.") from error


def _too_long(path: Path, line: int) -> ConfigError:
    return ConfigError(f"{path}:{line}: a line of more than {MAX_LINE:,} bytes; expected one entry a line.")


def _check_utf8(path: Path, block: np.ndarray, before: int) -> None:
    try:
        block.tobytes().decode("utf-8")
    except UnicodeDecodeError as error:
        line = int(np.count_nonzero(block[: error.start] == 10))
        raise ConfigError(
            f"{path}:{before + line + 1}: expected UTF-8, found the byte 0x{block[error.start]:02x} in "
            f"{_shown(_line(block, line))}. Write the list in UTF-8; compressed files are to be unpacked."
        ) from error


def _line(block: np.ndarray, number: int) -> bytes:
    return block.tobytes().split(b"\n", number + 1)[number].strip()


def _shown(line: bytes) -> str:
    text = line[:60].decode("utf-8", "backslashreplace")
    return repr(text + ("…" if len(line) > 60 else ""))


def _remedy(line: bytes) -> str:
    """What the line probably is."""
    if line.startswith((b"0.0.0.0", b"127.0.0.1")):
        return "Of a file of hosts, keep the names alone."
    if line.startswith((b"||", b"@@", b"!", b"[Adblock")):
        return "Rules of ad blockers are not read: keep the domains alone."
    if b"://" in line:
        return "URLs go under `urls`."
    return "Mend the line, or put a `#` in front of it."
