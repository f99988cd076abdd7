"""Captured robots.txt, ai.txt and tdmrep.json out of WARC files: statuses, redirects, hostile files, what is kept."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.reader_process import ReaderCrashed, ReaderProcess
from gristmill.stages.rights import capture_rows, captures
from gristmill.stages.rights.capture_rows import captured
from gristmill.stages.rights.captures import read_captures
from gristmill.stages.rights.warc_captures import MAX_BODY
from tests.pipeline.toy_runs import rows_of, run
from tests.stages.rights.test_stage import ARTICLE, CONFIG, decide, states
from tests.stages.sources.test_warc import packed, page, record

HOSTS = ("closed", "moved", "down", "open")
CLOSED = b"User-agent: *\nDisallow: /\n"
OPEN = b"User-agent: *\nAllow: /\n"


def answer(url: str, body: bytes, status: str = "200 OK", when: str = "2024-05-01T00:00:00Z", *headers: str) -> bytes:
    return record(0, page(body, status, "text/plain", *headers), WARC_Target_URI=url, WARC_Date=when)


def moved(url: str, location: str | None, when: str = "2024-05-01T00:00:00Z") -> bytes:
    return answer(url, b"", "301 Moved", when, *([f"Location: {location}"] if location else []))


def archive(folder: Path, *records: bytes, name: str = "robots.warc.gz") -> Path:
    (folder / name).write_bytes(b"".join(packed(list(records))) if name.endswith(".gz") else b"".join(records))
    return folder / name


def rows(*files: Path) -> list[tuple[str, str, str, int, bytes]]:
    return [tuple(row.values()) for row in captured([("robots_txt", files)], None).to_pylist()]


def test_answers_about_the_three_files_are_found_with_status_and_time(tmp_path: Path) -> None:
    file = archive(
        tmp_path,
        record(1, b"software: x\r\n", "warcinfo"),
        record(2, b"GET /robots.txt HTTP/1.1\r\n\r\n", "request", WARC_Target_URI="https://a.org/robots.txt"),
        answer("https://a.org/robots.txt", CLOSED),
        answer("<http://A.org:80/robots.txt>", OPEN, "200 OK", "2024-06-01T02:00:00+02:00"),
        answer("https://b.org:8443/robots.txt", b"no such page", "404 Not Found"),
        answer("https://c.org/robots.txt", b"busy", "503 Service Unavailable"),
        answer("https://a.org/ai.txt", CLOSED),
        answer("https://a.org/.well-known/tdmrep.json", b"[]"),
        answer("https://a.org/robots.txt.html", CLOSED),
        answer("https://a.org/page/robots.txt", CLOSED),
        answer("https://d.org/robots.txt", b"", "304 Not Modified"),
        answer("https://e.org/robots.txt", gzip.compress(CLOSED), "200 OK", "2024-05-01T00:00:00Z", "Content-Encoding: gzip"),
        answer("https://f.org/robots.txt", CLOSED, "200 OK", "some day"),
        answer("ftp://g.org/robots.txt", CLOSED),
    )  # fmt: skip
    may, june = "2024-05-01T00:00:00Z", "2024-06-01T00:00:00Z"
    assert rows(file) == [
        ("ai_txt", "a.org", may, 200, CLOSED),
        ("robots_txt", "a.org", may, 200, CLOSED),
        ("robots_txt", "a.org", june, 200, OPEN),
        ("robots_txt", "b.org:8443", may, 404, b""),
        ("robots_txt", "c.org", may, 503, b""),
        ("robots_txt", "e.org", may, 200, CLOSED),
        ("tdmrep", "a.org", may, 200, b"[]"),
    ]


def test_redirects_are_followed_from_capture_to_capture(tmp_path: Path) -> None:
    first = archive(
        tmp_path,
        moved("http://a.org/robots.txt", "https://www.a.org/robots.txt"),
        moved("https://www.a.org/robots.txt", "/rules/robots"),
        moved("http://nowhere.org/robots.txt", "https://elsewhere.org/robots.txt"),
        moved("http://silent.org/robots.txt", None),
        moved("http://odd.org/robots.txt", "http://["),
        moved("http://ftp.org/robots.txt", "ftp://ftp.org/robots.txt"),
        moved("http://loop.org/robots.txt", "https://loop.org/robots.txt"),
        moved("https://loop.org/robots.txt", "http://loop.org/robots.txt"),
        moved("http://gone.org/robots.txt", "https://gone.org/none"),
    )
    second = archive(
        tmp_path,
        answer("https://www.a.org/rules/robots", OPEN, "200 OK", "2024-04-01T00:00:00Z"),
        answer("https://www.a.org/rules/robots", CLOSED, "200 OK", "2024-05-01T00:00:03Z"),
        answer("https://gone.org/none", b"", "410 Gone"),
        *(moved(f"http://h{number}.org/robots.txt", f"http://h{number + 1}.org/robots.txt") for number in range(7)),
        answer("http://h7.org/robots.txt", CLOSED),
        name="more.warc.gz",
    )
    found = {host: (status, body) for _, host, _, status, body in rows(first, second)}
    # Six hops are one too many for h0 and h1; RFC 9309 asks for five.
    reached = {f"h{number}.org": (200, CLOSED) for number in range(2, 8)}
    assert found == {"a.org": (200, CLOSED), "www.a.org": (200, CLOSED), "gone.org": (410, b""), **reached}


def test_a_stage_obeys_statuses_as_rfc_9309_has_it(tmp_path: Path) -> None:
    archive(
        tmp_path,
        answer("https://closed.org/robots.txt", CLOSED),
        answer("https://none.org/robots.txt", b"", "404 Not Found"),
        answer("https://down.org/robots.txt", b"", "503 Service Unavailable"),
        answer("https://tdm.org/.well-known/tdmrep.json", b'[{"location": "/", "tdm-reservation": 1}]'),
        answer("https://ai.org/ai.txt", CLOSED),
        answer("https://mute.org/.well-known/tdmrep.json", b"", "500 Oops"),
        answer("https://mute.org/ai.txt", b"", "500 Oops"),
    )
    hosts = ("closed", "none", "down", "tdm", "ai", "mute", "other")
    columns = {"url": [f"https://{host}.org/page" for host in hosts], "text": ["t"] * len(hosts)}
    decided, found = decide(columns, robots_txt=str(tmp_path / "*.warc.gz"))
    assert [(row["rights_state"], row["rights_protocol"]) for row in found] == [
        ("reserved", "robots_txt"),
        ("unknown", None),
        ("reserved", "robots_txt"),
        ("reserved", "tdmrep"),
        ("reserved", "ai_txt"),
        ("unknown", None),
        ("unknown", None),
    ]
    assert decided.witness is not None
    assert decided.witness[2].as_py() == (
        "robots_txt for *, 2024-05-01T00:00:00Z: HTTP 503: unreachable, so nothing may be fetched (RFC 9309, 2.3.1.4)"
    )
    allowed = states(columns, robots_txt=str(tmp_path / "*.warc.gz"), permits="robots_txt")
    assert allowed[1] == ("allowed", "robots_txt"), "404: everything may be fetched"


def test_a_run_reads_what_a_pattern_matches_and_its_audit_reads_it_again(tmp_path: Path, in_process: None) -> None:
    (tmp_path / "in").mkdir()
    pages = [record(n, page(ARTICLE % b""), WARC_Target_URI=f"https://{host}.org/page") for n, host in enumerate(HOSTS)]
    (tmp_path / "in/0.warc.gz").write_bytes(b"".join(packed(pages)))
    closed = [
        answer("https://closed.org/robots.txt", CLOSED),
        moved("http://moved.org/robots.txt", "https://closed.org/robots.txt"),
    ]
    archive(tmp_path, *closed)
    archive(tmp_path, answer("https://down.org/robots.txt", b"", "500 Oops"), name="more.warc.gz")
    run(CONFIG.format(root=tmp_path).replace("robots.jsonl", "*.warc.gz"))
    ledger = {
        row["doc_key"]: row["witness"]
        for row in rows_of(tmp_path / "out", "ledger")
        if row["rule"] == "rights_reserved"
    }
    assert sorted(told.partition(": ")[2] for told in ledger.values()) == [
        "Disallow: /", "Disallow: /", "HTTP 500: unreachable, so nothing may be fetched (RFC 9309, 2.3.1.4)",
    ]  # fmt: skip
    assert [row["url"] for row in rows_of(tmp_path / "out")] == ["https://open.org/page"]
    result = audit_output(str(tmp_path / "out"), full=True, sources=())
    assert result.exit_code == 0 and result["replay"].status == "pass", result.problems
    archive(tmp_path, answer("https://down.org/robots.txt", b"", "404 Not Found"), name="more.warc.gz")
    changed = audit_output(str(tmp_path / "out"), full=True, sources=())
    assert "replay" in {check.name for check in changed.checks if check.status in ("fail", "unread")}, changed.problems


def test_tables_have_statuses_too(tmp_path: Path) -> None:
    table = tmp_path / "robots.jsonl"
    told = [
        {"host": f"{status}.org", "observed_at": "2024-01-01", "status": status, "body": None}
        for status in (200, 301, 404, 503)
    ]
    table.write_text("".join(json.dumps(row) + "\n" for row in told))
    columns = {"url": [f"https://{row['host']}/" for row in told]}
    assert [state for state, _ in states(columns, robots_txt=str(table), permits="robots_txt")] == [
        "unknown", "unknown", "allowed", "reserved",
    ]  # fmt: skip
    table = tmp_path / "other.jsonl"
    table.write_text('{"host": "a.org", "body": "", "observed_at": "2024-01-01", "status": "404"}')
    with pytest.raises(ConfigError, match="other.jsonl:1: `status` is '404'; expected the status"):
        states(columns, robots_txt=str(table))


def test_hostile_records_cost_nothing_but_themselves(tmp_path: Path) -> None:
    sound = answer("https://a.org/robots.txt", CLOSED)
    long = CLOSED + b"# " + b"x" * (3 * MAX_BODY)
    bomb = gzip.compress(b"x" * (4 * MAX_BODY))
    records = packed(
        [
            answer("https://long.org/robots.txt", long),
            answer("https://bomb.org/robots.txt", bomb, "200 OK", "2024-05-01T00:00:00Z", "Content-Encoding: gzip"),
            answer("https://half.org/robots.txt", CLOSED)[:-30],
            answer("https://\0\n.org/robots.txt", CLOSED),
            b"WARC/1.0\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"nothing at all",
            record(1, b"\xff" * 50, WARC_Target_URI="https://x.org/robots.txt"),
            moved("https://y.org/robots.txt", "https://" + "y" * 100_000),
            sound,
        ]
    )
    damaged = bytearray(records[0])
    damaged[40] ^= 0xFF
    file = tmp_path / "a.warc.gz"
    file.write_bytes(b"".join([*records, bytes(damaged), gzip.compress(answer("https://z.org/robots.txt", OPEN))]))
    found = {host: body for _, host, _, _, body in rows(file)}
    assert found["a.org"] == CLOSED and found["z.org"] == OPEN
    assert found["long.org"] == long[:MAX_BODY] and found["bomb.org"] == b"x" * MAX_BODY and "x.org" not in found


def test_a_plain_warc_and_one_that_ends_too_soon_are_read(tmp_path: Path) -> None:
    plain = archive(
        tmp_path, answer("https://a.org/robots.txt", CLOSED), answer("https://b.org/robots.txt", OPEN), name="p.warc"
    )
    plain.write_bytes(plain.read_bytes()[:-40])
    assert [host for _, host, *_ in rows(plain)] == ["a.org"]


@pytest.mark.parametrize(
    ("first", "what"), [(40, "expected a WARC record"), (10**12, "the record states 1,000,000,000,000")]
)
def test_a_file_of_which_more_than_a_record_cannot_be_read_is_refused(tmp_path: Path, first: int, what: str) -> None:
    lies = answer("https://a.org/robots.txt", CLOSED)
    size = int(lies.split(b"Content-Length: ")[1].split(b"\r\n")[0])
    lies = lies.replace(b"Content-Length: %d\r\n" % size, b"Content-Length: %d\r\n" % first, 1)
    sound = answer("https://b.org/robots.txt", CLOSED)
    plain = archive(tmp_path, sound, lies, sound, name="p.warc")
    with pytest.raises(ConfigError, match=rf"p\.warc: at byte [\d,]+: {what}.* captures in them would be left out"):
        rows(plain)
    # A compressed file has its records' ends from the compression.
    assert {host for _, host, *_ in rows(archive(tmp_path, sound, lies))} == {"a.org", "b.org"}
    damaged = bytearray(gzip.compress(sound, mtime=0) + bytes(99))
    damaged[10:] = b"\xff" * (len(damaged) - 10)  # no block of such a type
    (tmp_path / "d.warc.gz").write_bytes(gzip.compress(sound) + bytes(damaged))
    with pytest.raises(ConfigError, match=r"d\.warc\.gz: at byte \d+: .* captures in them would be left out"):
        rows(tmp_path / "d.warc.gz")


@pytest.mark.parametrize("coding", ["br", "gzip", "deflate", "zstd", "UTF-8", "gzip, br"])
def test_a_stated_encoding_that_a_text_does_not_have_hides_no_opt_out(tmp_path: Path, coding: str) -> None:
    said = ("200 OK", "2024-05-01T00:00:00Z", f"Content-Encoding: {coding}")
    file = archive(
        tmp_path, answer("https://a.org/robots.txt", CLOSED, *said), answer("https://b.org/robots.txt", OPEN)
    )
    assert {host: body for _, host, _, _, body in rows(file)}["a.org"] == CLOSED
    noise = archive(
        tmp_path, answer("https://a.org/robots.txt", b"\xff\0" * 90, *said), answer("https://b.org/robots.txt", OPEN)
    )
    assert "a.org" not in {host for _, host, *_ in rows(noise)} or coding == "gzip"


def test_a_redirect_leads_to_what_was_captured_before_it_in_the_files(tmp_path: Path) -> None:
    early = archive(
        tmp_path,
        answer("https://b.org/2", CLOSED, "200 OK", "2024-04-03T00:00:00Z"),
        moved("https://b.org/1", "/2", "2024-04-02T00:00:00Z"),
        answer("https://c.org/robots.txt", OPEN),
        name="1.warc.gz",
    )
    late = archive(
        tmp_path, moved("https://a.org/robots.txt", "https://b.org/1", "2024-04-01T00:00:00Z"), name="2.warc.gz"
    )
    assert {host: body for _, host, _, _, body in rows(early, late)} == {"a.org": CLOSED, "c.org": OPEN}


@pytest.mark.parametrize("turned", [False, True])
def test_of_captures_of_one_second_the_one_that_brought_a_file_counts(tmp_path: Path, turned: bool) -> None:
    same = [
        answer("https://a.org/robots.txt", CLOSED),
        answer("http://a.org/robots.txt", b"", "404 Not Found"),
        answer("https://a.org/robots.txt", b"", "503 Down"),
    ]
    file = archive(tmp_path, *(reversed(same) if turned else same))
    found = read_captures((("robots_txt", (file,)),), None)["robots_txt"].at("a.org", None)
    assert found is not None and (found.status, found.body) == (200, CLOSED)


@pytest.mark.parametrize("kind", ["no capture", "empty", "folder", "pipe", "missing"])
def test_what_is_no_archive_of_captures_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "x.warc.gz"
    if kind == "no capture":
        archive(tmp_path, answer("https://a.org/page", CLOSED), name="x.warc.gz")
    elif kind == "empty":
        file.touch()
    elif kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    with pytest.raises(ConfigError, match=r"x\.warc\.gz: (none of its \d records is|expected a file)"):
        states({"url": ["https://a.org/"]}, robots_txt=str(file))


def test_too_many_bytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture_rows, "MAX_TABLE_BYTES", 2000)
    file = archive(tmp_path, *(answer(f"https://h{number}.org/robots.txt", CLOSED) for number in range(8)))
    with pytest.raises(ConfigError, match="robots.warc.gz: the captured files take more than 2,000 bytes"):
        rows(file)


def test_a_large_table_is_read_once_on_a_machine_and_outside_of_the_process(
    tmp_path: Path, kept_captures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "robots.parquet"
    bodies = [b"# %d %s" % (number, os.urandom(2000)) for number in range(500)]
    told = [{"host": f"h{n}.org", "body": body, "observed_at": "2024-01-01"} for n, body in enumerate(bodies)]
    pq.write_table(pa.Table.from_pylist(told), table)
    asked = []
    call = ReaderProcess.call
    monkeypatch.setattr(ReaderProcess, "call", lambda self, *given: (asked.append(given[0]), call(self, *given))[1])
    monkeypatch.setattr(captures, "captured", None)  # this process reads nothing itself

    def read() -> None:
        read_captures.cache_clear()
        held = pa.total_allocated_bytes()
        found = read_captures((("robots_txt", (table,)),), None)["robots_txt"]
        for number in (0, 250, 499):
            assert found.at(f"h{number}.org", None) == ("2024-01-01T00:00:00Z", bodies[number], 200)
        assert pa.total_allocated_bytes() - held < 100_000, "bodies are mapped, and not copied"
        assert found.at("h500.org", None) is None and found.at("", "2024-01-01T00:00:00Z") is None

    read()
    read()
    assert asked == ["write"], "the second time it was kept"
    (kept,) = kept_captures.glob("*.arrow")
    kept.write_bytes(kept.read_bytes()[:-1] + b"\0")
    read()
    assert asked == ["write"] * 2, "what is kept is not believed"
    os.utime(table, ns=(0, 0))
    read()
    assert asked == ["write"] * 3, "the table is another one"


def test_a_reader_that_dies_of_a_file_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = archive(tmp_path, answer("https://a.org/robots.txt", CLOSED))

    def dies(*given: object) -> str:
        raise ReaderCrashed("killed by signal 11", str(file))

    monkeypatch.setattr(ReaderProcess, "call", dies)
    with pytest.raises(ConfigError, match="robots.warc.gz: reading it was stopped"):
        states({"url": ["https://a.org/"]}, robots_txt=str(file))
