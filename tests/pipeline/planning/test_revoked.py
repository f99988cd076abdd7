"""Revocation lists: what is an entry, what is refused and where, and which documents entries stand for."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.planning import revoked
from gristmill.pipeline.planning.revoked import Revoked, RevokedConfig, read_revoked


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revoked, "is_expendable", lambda: True)


def listed(tmp_path: Path, kind: str, *lines: str, source: str | None = None) -> Revoked:
    path = tmp_path / f"{kind}.txt"
    path.write_text("\n".join(lines) + "\n")
    found = read_revoked([RevokedConfig(path=str(path), kind=kind, source=source)])  # type: ignore[arg-type]
    assert found is not None
    return found


def documents(
    found: Revoked, source: str = "s", payloads: frozenset[str] = frozenset(), **columns: list[Any]
) -> list[int]:
    count = len(next(iter(columns.values())))
    given: dict[str, Any] = {"id": [str(n) for n in range(count)], "text": ["t"] * count, **columns}
    table = pa.table(
        {name: pa.array(values, pa.large_string() if name == "text" else None) for name, values in given.items()}
    )
    return np.flatnonzero(found.documents(source, table, payloads)).tolist()


def test_a_page_is_known_by_host_path_and_query(tmp_path: Path) -> None:
    found = listed(
        tmp_path, "url", "https://Example.com/a?b=1#top", "# a comment", "", "münchen.de/", "http://a.org:8080/x"
    )
    urls = [
        "http://user@example.com:80/a?b=1", "https://example.com/a", "https://xn--mnchen-3ya.de", "http://a.org:8080/x",
        "http://a.org/x", None, "", "https://example.com/A?b=1", "no url", " https://example.com/a?b=1\n",
    ]  # fmt: skip
    assert documents(found, url=urls) == [0, 2, 3, 9]
    assert found.entries == {"url": 3}


@pytest.mark.parametrize(
    ("entry", "same", "others"),
    [
        ("https://e.com/ä/%7Ex?q=%c3%a4", ["https://e.com/%C3%A4/~x?q=ä", "https://e.com/%c3%a4/%7ex?q=%C3%A4"],
         ["https://e.com/a/~x?q=ä"]),
        ("https://e.com/a%2Fb", ["https://e.com/a%2fb"], ["https://e.com/a/b"]),
        ("https://straße.de/", ["https://xn--strae-oqa.de/", "https://STRASSE.de/".replace("SS", "ß")], ["https://strasse.de/"]),
        ("https://xn--ls8h.la/", ["https://💩.la/"], []),
        ("https://例え。jp/", ["https://xn--r8jz45g.jp/"], []),
        ("https://🫠.example.com/", ["https://xn--129h.example.com./"], []),
    ],
)  # fmt: skip
def test_spellings_of_one_page_are_one(tmp_path: Path, entry: str, same: list[str], others: list[str]) -> None:
    assert documents(listed(tmp_path, "url", entry), url=[*same, *others]) == list(range(len(same)))


@pytest.mark.parametrize("kind", ["id", "url", "domain"])
def test_a_list_from_another_editor_loses_no_entry(tmp_path: Path, kind: str) -> None:
    entries = {"id": ["a", "b"], "url": ["e.com/a", "e.org/b"], "domain": ["e.com", "e.org"]}[kind]
    (tmp_path / "l.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(["# withdrawn", *entries, ""]).encode())
    for text in (tmp_path / "l.txt").read_bytes(), b"\xef\xbb\xbf" + "\n".join(entries).encode():
        (tmp_path / "l.txt").write_bytes(text)
        found = read_revoked([RevokedConfig(path=str(tmp_path / "l.txt"), kind=kind)])  # type: ignore[arg-type]
        assert found is not None and found.entries == {kind: 2}
        assert documents(found, id=["a", "b"], url=["https://e.com/a", "https://e.org/b"]) == [0, 1]


def test_a_domain_stands_for_the_hosts_under_it(tmp_path: Path) -> None:
    found = listed(tmp_path, "domain", "example.com", "https://Sub.other.org/", "[::1]")
    urls = [
        "https://example.com/x", "https://www.EXAMPLE.com.:8443/", "https://notexample.com/", "https://other.org/",
        "https://a.sub.other.org/", "http://[::1]:80/a", None,
    ]  # fmt: skip
    assert documents(found, url=urls) == [0, 1, 4, 5]


def test_ids_of_any_source_or_of_one(tmp_path: Path) -> None:
    ids = ["a", "b", None, "urn:c"]
    assert documents(listed(tmp_path, "id", "a", "urn:c"), id=ids) == [0, 3]
    one = listed(tmp_path, "id", "b", source="crawl")
    assert documents(one, "crawl", id=ids) == [1] and documents(one, "s", id=ids) == []
    assert documents(listed(tmp_path, "id", "7"), id=[7, 8]) == [0]


def test_a_digest_is_of_the_text_as_read_or_of_the_payload(tmp_path: Path) -> None:
    digest = hashlib.sha256("naïve".encode()).hexdigest()
    found = listed(tmp_path, "sha256", digest.upper())
    assert documents(found, text=["naïve", "naive", None]) == [0]
    sliced = pa.table({"id": ["0"] * 3, "text": pa.array(["x", "naïve", None], pa.large_string())}).slice(1)
    assert found.documents("s", sliced, frozenset()).tolist() == [True, False]
    table = pa.table({"id": ["0", "1"], "html": pa.array([b"x", "naïve".encode()])})
    assert found.documents("s", table, frozenset({"html"})).tolist() == [False, True]
    assert found.columns(frozenset({"html"})) == {"id", "text", "html"}


def test_tables_name_entries_by_their_columns_and_all_files_make_one_list(tmp_path: Path) -> None:
    pq.write_table(
        pa.table(
            {
                "id": ["a", "b", None],
                "source": ["crawl", None, None],
                "url": [None, "https://a.org/1", "https://a.org/2"],
            }
        ),
        tmp_path / "list.parquet",
    )
    rows = [{"url": "http://a.org/2"}, {"domain": "b.org"}, {"id": 7, "source": None}]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    both = [RevokedConfig(path=str(tmp_path / name)) for name in ("list.parquet", "list.jsonl")]
    found = read_revoked(both)
    assert found is not None and found.entries == {"domain": 1, "id": 2, "source_id": 1, "url": 2}
    assert documents(found, "crawl", id=["a", "b", "7", "x"], url=[None, None, None, "https://a.org/1"]) == [0, 1, 2, 3]
    again = read_revoked(both[::-1] + both)
    assert again == found, "order and doubles do not count"


@pytest.mark.parametrize(
    ("name", "kind", "content", "told"),
    [
        ("l.txt", "domain", "a.org\n*.example.com\n", r"l\.txt:2: '\*\.example\.com' has a wildcard.*list `example\.com`"),
        ("l.txt", "url", "https://a.org/*\n", r"l\.txt:1: .*wildcard"),
        ("l.txt", "id", "crawl-*\n", r"l\.txt:1: .*wildcard.*List each id"),
        ("l.txt", "domain", "com\n", r"l\.txt:1: 'com' is none; expected a domain"),
        ("l.txt", "domain", "a.org/page\n", r"l\.txt:1: .* is a page"),
        ("l.txt", "url", "a.org\n", r"l\.txt:1: 'a\.org' has no path.*`a\.org/`"),
        ("l.txt", "url", "https:///x\n", r"l\.txt:1: .*expected a URL"),
        ("l.txt", "sha256", "abc\n", r"l\.txt:1: 'abc' is no SHA-256"),
        ("l.txt", "id", "a\rb\r", r"l\.txt:1: 'a\\rb' holds more than one line"),
        ("l.txt", "id", "a\0\n\0b\0\n", r"l\.txt:1: 'a\\x00' holds .* or NUL"),
        ("l.txt", "domain", "me@example.com\n", r"l\.txt:1: 'me@example\.com' is an address"),
        ("l.jsonl", None, '{"id": "a", "id": "b"}\n', r"l\.jsonl:1: .*a key stands in it twice"),
        ("l.txt", "id", b"\xff\n", r"l\.txt:1: expected UTF-8, found the byte 0xff"),
        ("l.jsonl", None, '{"id": "a"}\n{"ids": "b"}\n', r"l\.jsonl:2: expected an entry in one of the columns"),
        ("l.jsonl", None, '{"id": true}\n', r"l\.jsonl:1: `id` is True; expected a text"),
        ("l.jsonl", None, '{"id": ""}\n', r"l\.jsonl:1: `id` is ''"),
        ("l.jsonl", None, '{"id": "a", "source": 5}\n', r"l\.jsonl:1: `source` is 5"),
        ("l.jsonl", None, '{"id": \n', r"l\.jsonl:1: expected a JSON object"),
        ("l.parquet", None, "PAR1", r"l\.parquet: it cannot be read"),
        ("none.txt", "id", None, r"none\.txt: it cannot be read"),
    ],
)  # fmt: skip
def test_what_is_no_entry_is_refused_where_it_stands(
    tmp_path: Path, name: str, kind: Any, content: Any, told: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as error:
        read_revoked([RevokedConfig(path=str(path), kind=kind)])
    assert re.search(told, str(error.value)), str(error.value)


def test_more_entries_than_a_worker_may_hold_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revoked, "MAX_ENTRIES", 2)
    with pytest.raises(ConfigError, match=r"id\.txt:3: more than 2 entries"):
        listed(tmp_path, "id", "a", "b", "c")


def test_entries_whose_first_halves_are_equal_are_told_apart() -> None:
    rows = np.array([[1, 2], [5, 1], [5, 3], [5, 7], [9, 0]], np.uint64)
    found = Revoked("", {"id": 5}, held=rows.astype(">u8").tobytes())
    asked = np.array([[5, 0], [5, 3], [5, 7], [5, 8], [1, 2], [0, 0], [9, 0], [9, 1], [10, 0]], np.uint64)
    assert found._holds(asked).tolist() == [False, True, True, False, True, False, True, False, False]


def test_a_long_list_is_held_in_sixteen_bytes_an_entry(tmp_path: Path) -> None:
    found = listed(tmp_path, "url", *(f"https://h{n % 997}.org/{n}" for n in range(5000)))
    assert len(found.packed) == 16 * 5000 and found.digest == hashlib.sha256(found.packed).hexdigest()
    assert documents(found, url=[f"http://h{n % 997}.org/{n}" for n in range(4990, 5010)]) == list(range(10))
    assert read_revoked([]) is None
