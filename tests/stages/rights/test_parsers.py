"""Content-Usage, Content-Signal, TDMRep, robots directives and markup, by the protocols' own examples and by hostile input."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.url import host_and_target
from gristmill.stages.rights.captures import read_captures
from gristmill.stages.rights.markup import attributes_of, elements
from gristmill.stages.rights.preferences import signal_state, usage_dictionary, usage_state
from gristmill.stages.rights.robots import compared_path
from gristmill.stages.rights.tags import header_directives
from gristmill.stages.rights.tdmrep import file_rule, reservation

KIND = "robots_txt"


@pytest.mark.parametrize(
    ("value", "state"),
    [
        (b"train-ai=n", "reserved"),
        (b"train-ai=y, search=n", "allowed"),
        (b"search=n", None),
        # The vocabulary's own cases: the last of a key counts, other types say nothing, parameters are passed over.
        (b'train-ai=y, train-ai, search=n, search="n"', None),
        (b'train-ai;has;parameters="?"', None),
        (b"train-ai=n;why=1.5;b=:aGk=:", "reserved"),
        (b"train-ai=y, train-ai=n", "reserved"),
        (b"Train-AI=n", None),
        (b"train-ai=n,", None),
        (b"train-ai=n,, search=y", None),
        (b"train-ai=n; x = 1", None),
        (b'other=(a "b";q=1 2.5), train-ai=n', "reserved"),
        (b'train-ai="n"', None),
        (b"train-ai=no", None),
        (b"train-ai=?0", None),
        (b"train-ai=n, x=12345678901234567", None),
        ("train-ai=n, x=é".encode(), None),
        (b"", None),
    ],
)
def test_content_usage_is_a_dictionary_of_structured_fields(value: bytes, state: str | None) -> None:
    assert usage_state(value, "train-ai") == state


def test_hostile_values_of_content_usage_end_soon() -> None:
    started = time.process_time()
    for value in (
        b"a=(" + b"b " * 4000,
        b"a;" * 4000,
        b'a="' + b'\\"' * 4000,
        b"a=(" + b"b;c" * 2500,
        b"x" * 10_000_000,
    ):
        assert usage_dictionary(value) is None
    assert time.process_time() - started < 5


def test_content_signals_are_read_in_any_case_and_no_outweighs_yes() -> None:
    assert signal_state(b"search=yes, ai-train=no") == "reserved"
    assert signal_state(b"AI-Train = YES ,ai-input=no") == "allowed"
    assert signal_state(b"ai-train=yes, ai-train=no") == "reserved"
    assert signal_state(b"ai-train=maybe") is None and signal_state(b"search=yes") is None


def test_a_tdmrep_file_decides_by_the_first_location_that_matches() -> None:
    body = json.dumps(
        [
            {"location": "/directory-a/", "tdm-reservation": 1},
            {"location": "/directory-b/html/", "tdm-reservation": 1, "tdm-policy": "https://provider.com/policy.json"},
            {"location": "/directory-b/images/*.jpg", "tdm-reservation": 0},
            {"location": "/directory-b/", "tdm-reservation": 2},
            {"location": "/path/foo-%24", "tdm-reservation": 1},
            {"location": "/no#comment", "tdm-reservation": True},
        ]
    ).encode()

    def state(path: str) -> object:
        found = file_rule(body, compared_path(path.encode()))
        return found and found[0]

    assert state("/directory-a/x.pdf") == "reserved" and state("/directory-b/html/p") == "reserved"
    assert state("/directory-b/images/a.jpg") == "allowed" and state("/path/foo-$") == "reserved"
    assert state("/directory-b/other") is None and state("/elsewhere") is None and state("/no") is None
    assert reservation(" 1 ") == "reserved" and reservation("0") == "allowed" and reservation("2") is None


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"{}", b"[1]", b"[" * 200_000, b'[{"location": 3}]', b"[" + b" " * 2_000_000]
)
def test_what_is_no_tdmrep_file_says_nothing(body: bytes) -> None:
    assert file_rule(body, b"/") is None


def test_a_header_may_name_the_agent_that_it_is_for() -> None:
    assert header_directives("noimageai, NoAI", set()) == ("*", ["noimageai", "noai"])
    assert header_directives("unavailable_after: 25 Jun 2010 15:00:00 PST, noai", set())[0] == "*"
    assert header_directives("otherbot: noai", {"gptbot"}) == ("otherbot", [])
    assert header_directives("GPTBot: noai", {"gptbot"}) == ("gptbot", ["noai"])


@pytest.mark.parametrize(
    "tag",
    [
        b'<meta name="robots" content="noai">',
        b"<META NAME='robots' CONTENT='noai'/>",
        b"<meta name=robots content=noai>",
        b"<meta\n\tcontent = noai\r\nname\n=\nrobots />",
        b'<meta data-x="a>b" name="robots" content="no&#97;i">',
        b"<meta title=it's name=robots content=noai>",
    ],
)
def test_attributes_are_read_in_every_quoting(tag: bytes) -> None:
    page = b"<!doctype html><html><head><title>x</title>" + tag + b"<link rel=icon href=x></head><body>"
    found = [one for one in elements(page) if one.name == "meta"]
    assert len(found) == 1 and found[0].in_head and found[0].raw == tag
    assert (found[0].attributes["name"], found[0].attributes["content"]) == ("robots", "noai")


def test_what_stands_in_comments_scripts_and_the_body_is_no_meta_of_the_head() -> None:
    page = (
        b"<!-- <meta name=robots content=noai> --><script>'<meta name=robots content=noai>'</script>"
        b"<textarea><meta name=robots></textarea><metadata name=robots><body><meta name=robots content=noai>"
    )
    assert [one.in_head for one in elements(page) if one.name == "meta"] == [False]
    wide = "<head><meta name=robots content=noai>".encode("utf-16")
    assert [one.attributes["content"] for one in elements(wide)] == ["noai"]


def test_hostile_markup_takes_time_that_is_bounded() -> None:
    started = time.process_time()
    for page in (
        b"<meta " * 200_000,
        b"<!--" * 300_000,
        b"<script>" * 200_000,
        b'<a b="' * 200_000,
        b"<meta a=" + b"'" * 1_000_000,
    ):
        list(elements(page))
    assert time.process_time() - started < 20


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    list(elements(b"<meta " + data))
    attributes_of(data)
    usage_dictionary(data)
    file_rule(data, b"/")
    host_and_target(data.decode("latin-1"))


def test_captures_are_found_by_time_and_host_in_either_format(tmp_path: Path) -> None:
    rows = [
        {"host": "https://A.org:443/robots.txt", "body": "new", "observed_at": "2024-06-01T00:00:00+02:00"},
        {"host": "a.org", "body": "old", "observed_at": "2024-01-01"},
        {"host": "a.org:8080", "body": None, "observed_at": None},
    ]
    lines, table = tmp_path / "t.jsonl", tmp_path / "t.parquet"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), table)
    for path in (lines, table):
        found = read_captures(((KIND, (path,)),), None)[KIND]
        assert found.at("a.org", "2024-05-31T21:59:59Z") == ("2024-01-01T00:00:00Z", b"old", 200)
        assert (
            found.at("a.org", "2024-05-31T22:00:00Z")
            == ("2024-05-31T22:00:00Z", b"new", 200)
            == found.at("a.org", None)
        )
        assert found.at("a.org", "2020-01-01T00:00:00Z") == ("2024-01-01T00:00:00Z", b"old", 200)
        assert found.at("a.org:8080", None) is None
        assert read_captures(((KIND, (path,)),), "2024-02-01T00:00:00Z")[KIND].at("a.org", None) == (
            "2024-01-01T00:00:00Z",
            b"old",
            200,
        )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[1]", ":1: expected a JSON object, found list"),
        ("{", ":1: expected a JSON object"),
        ('\n{"host": 3, "body": "", "observed_at": "2024-01-01"}', ":2: expected texts `host` and `body`, found 3"),
        ('{"host": "a", "body": "", "observed_at": "soon"}', "`observed_at` is 'soon'; expected a time"),
        ("[" * 100_000, ":1: expected a JSON object"),
    ],
)
def test_a_table_that_is_none_is_refused_with_file_and_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "table.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        read_captures(((KIND, (path,)),), None)
    assert str(path) in str(error.value) and told in str(error.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_captures(((KIND, (tmp_path / "none.jsonl",)),), None)
