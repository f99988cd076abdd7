"""Crawls as a source: records and their places, what is no page, damage that costs its record alone."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from fastwarc.warc import ArchiveIterator
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.pipeline.audit.explain import explain
from gristmill.pipeline.audit.run import audit_output
from gristmill.stages.sources.warc import WarcConfig, WarcSource
from gristmill.stages.web_archives import warc_members
from tests.pipeline.payload_runs import PAGES
from tests.pipeline.toy_runs import rows_of, run

URN = "<urn:uuid:00000000-0000-0000-0000-%012d>"


def record(number: int, content: bytes, kind: str = "response", **fields: str) -> bytes:
    head = {
        "WARC-Type": kind, "WARC-Record-ID": URN % number, "WARC-Date": "2024-05-01T00:00:00Z",
        "WARC-Target-URI": f"https://example.org/{number}", "Content-Length": str(len(content)),
    }  # fmt: skip
    head |= {"Content-Type": "application/http"} if kind in ("response", "request") else {}
    head |= {name.replace("_", "-"): value for name, value in fields.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return f"WARC/1.0\r\n{lines}\r\n".encode() + content + b"\r\n\r\n"


def page(body: bytes, status: str = "200 OK", kind: str = "text/html; charset=utf-8", *more: str) -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", *([f"Content-Type: {kind}"] if kind else []), *more])
    return head.encode() + b"\r\n\r\n" + body


def crawl(pages: int, size: int = 400) -> list[bytes]:
    noise = random.Random(5)
    return [
        record(n, page(b"<p>page %d " % n + noise.randbytes(size).hex().encode()))
        if n % 3
        else record(n, b"GET / HTTP/1.1\r\n\r\n", "request")
        for n in range(pages)
    ]


def packed(records: list[bytes], level: int = 6) -> list[bytes]:
    return [gzip.compress(one, level, mtime=0) for one in records]


def source(path: object, **options: Any) -> WarcSource:
    return WarcSource("s", WarcConfig(format="warc", paths=(str(path),), **options))


def read(path: Path, body: bytes | None = None, **options: Any) -> tuple[pa.Table, pa.Table]:
    if body is not None:
        path.write_bytes(body)
    reader = source(path, **options)
    found = [reader.read(one) for one in reader.slices()]
    return pa.concat_tables([r.table for r in found]), pa.concat_tables([r.rejects for r in found])


def urls(table: pa.Table) -> list[str]:
    return [url.rpartition("/")[2] for url in table["url"].to_pylist()]


@settings(max_examples=25)
@given(pages=st.integers(1, 25), size=st.integers(1, 4000), plain=st.booleans(), damaged=st.integers(0, 40))
def test_any_slicing_gives_the_same_records_and_the_same_rejects(
    tmp_path_factory: pytest.TempPathFactory, pages: int, size: int, plain: bool, damaged: int
) -> None:
    path = tmp_path_factory.mktemp("warc") / ("a.warc" if plain else "a.warc.gz")
    stored = crawl(pages) if plain else packed(crawl(pages))
    if damaged < pages and not plain:
        stored[damaged] = stored[damaged][:60] + b"\xff" * 20 + stored[damaged][80:]
    table, rejects = read(path, b"".join(stored))
    cut = source(path, slice_bytes=size)
    assert all(read(path, slice_bytes=size)[n].equals(whole) for n, whole in enumerate((table, rejects)))
    assert table.num_rows == pages - (damaged < pages and not plain) and rejects.num_rows == pages - table.num_rows
    offsets = [offset for one in cut.slices() for offset in cut.offsets(one).tolist()]
    assert offsets == [sum(map(len, stored[:n])) for n in range(pages)]
    assert max(one.rows for one in cut.slices()) <= max(1, size // 60)


def test_records_are_those_that_fastwarc_finds(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    table, _ = read(path, b"".join(packed(crawl(40))))
    with path.open("rb") as stream:
        known = [
            (one.headers["WARC-Record-ID"], one.stream_pos, one.http_content_type, one.reader.read())
            for one in ArchiveIterator(stream, parse_http=True)
        ]
    assert table["record_id"].to_pylist() == [one[0] for one in known]
    assert table["offset"].to_pylist() == [one[1] for one in known]
    found = table.filter(pa.compute.is_null(table["source_rule"]))
    assert found["html"].to_pylist() == [one[3] for one in known if one[3].startswith(b"<p>")]
    first = found.slice(0, 1).to_pylist()[0]
    assert (first["date"], first["file_path"]) == ("2024-05-01T00:00:00Z", "a.warc.gz")
    assert first["http_content_type"] == "text/html; charset=utf-8" and first["id"] == URN % 1
    body = path.read_bytes()[first["offset"] : first["offset"] + first["length"]]
    assert gzip.decompress(body) == crawl(2)[1]


BODY = b"<html><p>text</p></html>"
CHUNKED = b"a\r\n<html><p>t\r\ne;x=1\r\next</p></html>\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("stored", "rule"),
    [
        (record(0, page(BODY)), None),
        (record(0, page(BODY, kind="")), None),
        (record(0, page(CHUNKED, "200 OK", "text/html", "Transfer-Encoding: chunked")), None),
        (record(0, page(BODY, "200 OK", "text/html", "Transfer-Encoding: chunked")), None),
        (record(0, page(gzip.compress(BODY, mtime=0), "200 OK", "text/html", "Content-Encoding: gzip")), None),
        (record(0, page(BODY, "200 OK", "text/html", "Content-Encoding: gzip")), None),
        (record(0, page(zlib.compress(BODY), "200 OK", "text/html", "Content-Encoding: deflate")), None),
        (record(0, page(zstandard.compress(BODY), "200 OK", "text/html", "Content-Encoding: zstd")), None),
        (record(0, BODY, "resource", Content_Type="text/html"), None),
        (record(0, page(BODY, kind="text/plain"), WARC_Identified_Payload_Type="text/html"), None),
        (record(0, b"GET / HTTP/1.1\r\n\r\n", "request"), "not_a_page"),
        (record(0, page(BODY), "revisit"), "not_a_page"),
        (record(0, b"203.0.113.1 example.org"), "not_http"),
        (record(0, b""), "not_http"),
        (record(0, page(BODY, "404 Not Found")), "not_200"),
        (record(0, page(b"%PDF-1.7 ...", kind="text/html")), "pdf"),
        (record(0, page(b"...", kind="application/pdf")), "pdf"),
        (record(0, page(b"\x89PNG", kind="image/png")), "not_html"),
        (record(0, page(b"\x89PNG", kind="")), "not_html"),
        (record(0, page(BODY), WARC_Identified_Payload_Type="text/plain"), "not_html"),
        (record(0, page(b"\x1f\x8bnothing", "200 OK", "text/html", "Content-Encoding: gzip")), "undecodable"),
        (record(0, page(gzip.compress(bytes(1 << 20)), "200 OK", "text/html", "Content-Encoding: gzip")), "undecodable"),
        (record(0, page(b"whatever", "200 OK", "text/html", "Content-Encoding: secret")), "undecodable"),
    ],
)  # fmt: skip
def test_what_is_no_page_leaves_by_a_rule(tmp_path: Path, stored: bytes, rule: str | None) -> None:
    table, rejects = read(tmp_path / "a.warc.gz", b"".join(packed([stored])), max_document_bytes=1 << 19)
    assert rejects.num_rows == 0
    assert table["source_rule"].to_pylist() == [rule]
    assert table["html"].to_pylist() == [BODY if rule is None else None]


def test_a_page_that_the_crawler_cut_is_marked(tmp_path: Path) -> None:
    stored = packed([record(0, page(BODY), WARC_Truncated="length"), record(1, page(BODY))])
    assert read(tmp_path / "a.warc.gz", b"".join(stored))[0]["truncated"].to_pylist() == ["length", None]


def test_extracted_texts_are_texts(tmp_path: Path) -> None:
    records = [
        record(0, b"software: x\r\n", "warcinfo"),
        record(1, "Übung".encode(), "conversion", Content_Type="text/plain"),
        record(2, b"\xff\xfe", "conversion"),
    ]
    table, rejects = read(tmp_path / "a.wet.gz", b"".join(packed(records)))
    assert table.select(["text", "source_rule"]).to_pylist() == [
        {"text": None, "source_rule": "not_a_page"}, {"text": "Übung", "source_rule": None},
    ]  # fmt: skip
    assert rejects["reason"].to_pylist() == ["not_utf8"]


def test_damage_costs_its_record_and_no_page_inside_another_one_appears(tmp_path: Path) -> None:
    inner = b"".join(packed([record(900 + n, page(BODY)) for n in range(20)]))
    records = crawl(12)
    records[4] = record(4, page(inner))
    stored = packed(records, 0)
    assert inner[:200] in stored[4], "level 0 keeps the inner members as they are"
    place = stored[4].index(inner) + 1
    for at in (40, place - 5, place + len(inner) // 2):
        bad = [*stored[:4], stored[4][:at] + b"\x00\x00\xff\xff" * 2 + stored[4][at + 8 :], *stored[5:]]
        table, rejects = read(tmp_path / "a.warc.gz", b"".join(bad))
        assert urls(table) == [str(n) for n in range(12) if n != 4]
        assert rejects["reason"].to_pylist() == ["corrupt_gzip_member"]
        assert rejects["position"].to_pylist() == [sum(map(len, stored[:4]))]
        assert rejects["bytes"].to_pylist() == [len(stored[4])]


def test_every_damaged_record_is_set_aside_on_its_own_where_its_header_is_whole(tmp_path: Path) -> None:
    stored = packed([record(n, page(random.Random(n).randbytes(200_000))) for n in range(9)])
    for n in (2, 6):
        stored[n] = stored[n][:150_000] + b"\xff" * 40 + stored[n][150_040:]
    table, rejects = read(tmp_path / "a.warc.gz", b"".join(stored))
    assert urls(table) == [str(n) for n in range(9) if n not in (2, 6)]
    assert rejects["position"].to_pylist() == [sum(map(len, stored[:n])) for n in (2, 6)]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (gzip.compress(record(5, bytes(3 << 20)), mtime=0), "gzip_bomb"),
        (gzip.compress(record(5, page(BODY), Content_Length=str(4 << 30)), mtime=0), "truncated_record"),
        (gzip.compress(record(5, bytes(2000)), mtime=0), "too_large"),
        (gzip.compress(record(5, page(BODY)) + record(6, page(BODY)), mtime=0), "more_than_a_record"),
        (gzip.compress(record(5, page(BODY), Content_Length="many"), mtime=0), "no_content_length"),
        (gzip.compress(b"nothing of the kind", mtime=0), "no_warc_header"),
        (gzip.compress(b"", mtime=0), "no_warc_header"),
    ],
)  # fmt: skip
def test_a_bad_record_is_set_aside_and_the_rest_is_read(
    tmp_path: Path, bad: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gristmill.stages.sources.warc._MOST_BESIDES", 1 << 20)
    stored = [*packed(crawl(5, 40)), bad, *packed(crawl(5, 40))]
    table, rejects = read(tmp_path / "a.warc.gz", b"".join(stored), max_document_bytes=1000)
    assert table.num_rows == 10
    assert rejects["reason"].to_pylist() == [reason]
    assert rejects["position"].to_pylist() == [sum(map(len, stored[:5]))]


def test_a_file_that_is_cut_gives_what_is_whole(tmp_path: Path) -> None:
    for plain in (False, True):
        body = b"".join(crawl(6) if plain else packed(crawl(6)))
        table, rejects = read(tmp_path / ("a.warc" if plain else "a.warc.gz"), body[:-100])
        assert table.num_rows == 5 and rejects["reason"].to_pylist() == ["truncated_record"]
    table, rejects = read(tmp_path / "a.warc", body[: len(body) // 2] + b"xxxx" + body[len(body) // 2 :])
    assert "no_warc_header" in rejects["reason"].to_pylist() and table.num_rows < 6
    assert read(tmp_path / "a.warc", b"")[0].num_rows == 0


def mutants(count: int, seed: int, path: Path) -> None:
    """Files with one damaged place each: nothing but the records there may change, and every byte is told of."""
    noise = random.Random(seed)
    stored = packed(crawl(12, 60))
    whole = {row["offset"]: row for row in read(path, b"".join(stored))[0].to_pylist()}
    ends = [sum(map(len, stored[: n + 1])) for n in range(12)]
    for number in range(count):
        body = bytearray(b"".join(stored))
        place, length = noise.randrange(len(body)), noise.choice([1, 1, 1, 2, 30])
        body[place : place + length] = noise.randbytes(len(body[place : place + length]))
        hit = {n for n in range(12) if ends[n] > place and ends[n] - len(stored[n]) < place + length}
        table, rejects = read(path, bytes(body))
        rows = {row["offset"]: row for row in table.to_pylist()}
        aside = list(zip(rejects["position"].to_pylist(), rejects["bytes"].to_pylist(), strict=True))
        for n in set(range(12)) - hit:
            begin = ends[n] - len(stored[n])
            swallowed = any(p <= begin < p + size for p, size in aside)
            assert rows.get(begin) == whole[begin] or (swallowed and len(hit) > 1), (seed, number, n)
        covered = sum(row["length"] for row in rows.values()) + sum(rejects["bytes"].to_pylist())
        assert covered == len(body), (seed, number)


def test_mutants_change_the_records_that_they_hit_and_no_others(tmp_path: Path) -> None:
    mutants(150, 1, tmp_path / "a.warc.gz")


@pytest.mark.long
def test_ten_thousand_mutants_change_the_records_that_they_hit_and_no_others(tmp_path: Path) -> None:
    mutants(10_000, 2, tmp_path / "a.warc.gz")


def test_looking_for_the_next_record_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warc_members, "RESYNC_BYTES", 1 << 20)
    decoys = b"".join(gzip.compress(b"WARC/1.0" + bytes(200_000)) for _ in range(200))
    stored = packed(crawl(3))
    body = stored[0] + b"\x1f\x8b\x08damaged" + decoys + b"damaged" + b"".join(stored[1:])
    table, rejects = read(tmp_path / "a.warc.gz", body)
    assert table.num_rows == 1 and rejects["bytes"].to_pylist() == [len(body) - len(stored[0])]


def test_a_run_over_a_crawl_accounts_for_every_record_and_leads_back_to_it(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.warc.gz").write_bytes(b"".join(packed([*crawl(12), record(50, page(b"%PDF-"))])))
    config = PAGES.format(root=tmp_path).replace("format: parquet", "format: warc").replace("*.parquet", "*.gz")
    config = config.replace("max_document_bytes: 400", "max_document_bytes: 4000")
    run(config)
    assert json.dumps(rows_of(tmp_path / "out"), default=str)
    ledger = rows_of(tmp_path / "out", "ledger")
    dropped = [row["rule"] for row in ledger if row["decision"] == "dropped"]
    assert sorted(dropped) == ["not_a_page"] * 4 + ["pdf"]
    row = rows_of(tmp_path / "out")[0]
    told = "\n".join(explain(str(tmp_path / "out"), row["doc_key"].hex()).lines())
    assert f"by its columns, {row['length']} bytes from byte {row['offset']} on" in told
    found = explain(str(tmp_path / "out"), row["doc_key"].hex(), []).documents[0]
    assert found.source["byte"] == row["offset"]
    result = audit_output(str(tmp_path / "out"), sources=[], plugins=("toy_stages",))
    assert result.exit_code == 0, result.problems
