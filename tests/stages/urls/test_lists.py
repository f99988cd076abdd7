"""Lists of the URL filter: what is an entry, and what is wrong with a list, where."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from gristmill.pipeline.errors import ConfigError
from gristmill.stages.kernels.pointers import pointer
from gristmill.stages.urls import lists
from gristmill.stages.urls.kernels.entries import find
from gristmill.stages.urls.lists import EntrySet, most_bytes, read_entries


@njit
def found_at(data: np.ndarray, slots: np.ndarray, text: np.ndarray, length: int) -> int:
    return find(pointer(data), pointer(slots), np.uint64(len(slots)), pointer(text), 0, length)


def holds(entries: EntrySet, name: bytes) -> bool:
    text = np.frombuffer(name + bytes(16), np.uint8)
    return found_at(entries.data, entries.slots, text, len(name)) >= 0


def names(entries: EntrySet) -> list[str]:
    return entries.data[: entries.used].tobytes().decode().splitlines()


def write(path: Path, content: bytes) -> tuple[Path]:
    path.write_bytes(content)
    return (path,)


def test_lines_are_entries_and_comments_and_blank_lines_are_none(tmp_path: Path) -> None:
    files = write(tmp_path / "domains", b"\xef\xbb\xbf# UT1\n\n a.example \r\nb.example\na.example\n\t\nc.example")
    entries = read_entries("domains", files)
    assert names(entries) == ["a.example", "b.example", "c.example"] and entries.count == 3
    assert holds(entries, b"b.example")
    assert not any(holds(entries, name) for name in (b"b.exampl", b"b.example\nc.example", b"", b"# UT1"))


def test_words_are_their_letters_and_digits_in_lower_case(tmp_path: Path) -> None:
    assert names(read_entries("words", write(tmp_path / "words", b"2 Girls-1 cup\nX\n"))) == ["2girls1cup", "x"]


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("domains", b"a.example\n\n0.0.0.0 ads.example\n", r"list:3: expected a domain such as example.com, one a line; "
         r"found '0.0.0.0 ads.example'. Of a file of hosts, keep the names alone."),
        ("domains", b"||ads.example^\n", r"list:1: .*Rules of ad blockers are not read"),
        ("domains", b"a.example\nhttps://b.example/\n", r"list:2: .*URLs go under `urls`"),
        ("domains", b"a.example\nx\n", r"list:2: expected a domain"),
        ("domains", b"a.example\nb\x00.example\n", r"list:2: .*found 'b\\x00.example'"),
        ("lower_domains", "m\u00fcnchen.de\n".encode(), r"list:1: expected a domain in ASCII .*xn--mnchen-3ya.de"),
        ("urls", b"http://a.example/\nhttp://a.example/b c\n", r"list:2: expected a URL without white space"),
        ("words", "word\ncaf\u00e9\n".encode(), r"list:2: expected ASCII letters and digits.*found 'caf\u00e9'"),
        ("words", b"word\n--\n", r"list:2: .*nothing is left of it"),
        ("domains", b"a.example\n\xff\xfe.example\n", r"list:2: expected UTF-8, found the byte 0xff"),
        ("domains", b"a" * 70_000, r"list:1: a line of more than 65,536 bytes"),
        ("domains", b"a.example\n" + b"a" * 70_000 + b"\n", r"list:2: a line of more than 65,536"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_named_with_what_was_expected(tmp_path: Path, kind: str, content: bytes, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_entries(kind, write(tmp_path / "list", content))
    assert re.search(message, str(caught.value)), caught.value


def test_lines_are_counted_and_joined_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "BLOCK", 16)
    wanted = [f"host-{number}.example" for number in range(200)]
    assert names(read_entries("domains", write(tmp_path / "a", "\n".join(wanted).encode()))) == wanted
    with pytest.raises(ConfigError, match="b:201: expected a domain"):
        read_entries("domains", write(tmp_path / "b", "\n".join([*wanted, "not one!"]).encode()))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, message in (
        ("missing", "cannot be read"),
        ("fifo", "found a folder or a device"),
        ("", "found a folder"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_entries("domains", (tmp_path / name,))


def test_a_long_list_takes_no_more_memory_than_stated(tmp_path: Path) -> None:
    lines = b"".join(b"host-%d.example\n" % number for number in range(300_000))
    files = write(tmp_path / "domains", lines)
    entries = read_entries("domains", files)
    assert entries.count == 300_000 and holds(entries, b"host-299999.example")
    assert entries.data.nbytes + entries.slots.nbytes < min(most_bytes("domains", files), 1.4 * len(lines))


def test_lists_beyond_the_positions_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MAX_LIST_BYTES", 10)
    with pytest.raises(ConfigError, match="at most 10 are possible for one kind"):
        read_entries("domains", write(tmp_path / "domains", b"host.example\n"))
