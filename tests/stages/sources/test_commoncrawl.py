"""Common Crawl by selection: an index and WARCs written here, served by a server that counts, against whole WARCs."""

from __future__ import annotations

import base64
import gzip
import hashlib
import random
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.launch.commands.plan import plan_json, plan_lines
from gristmill.pipeline.audit.explain import explain
from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.audit.source_position import origin
from gristmill.pipeline.document import doc_keys
from gristmill.pipeline.errors import ConfigError, DataError, StorageError
from gristmill.pipeline.provenance.logs import SliceRead
from gristmill.pipeline.storage import RangeError, range_get, retries
from gristmill.stages.sources import commoncrawl_index
from gristmill.stages.sources.commoncrawl import CommonCrawlConfig, CommonCrawlSource
from gristmill.stages.sources.warc import WarcConfig, WarcSource
from tests.pipeline.payload_runs import PAGES
from tests.pipeline.toy_runs import plan_of, rows_of, run
from tests.stages.sources.test_warc import page, record

CRAWL = "CC-MAIN-2024-10"
SCHEMA = pa.schema(
    {
        "url": pa.string(), "url_host_name": pa.string(), "url_host_registered_domain": pa.string(),
        "fetch_status": pa.int16(), "content_digest": pa.string(), "content_mime_detected": pa.string(),
        "content_languages": pa.string(), "content_truncated": pa.string(), "warc_filename": pa.string(),
        "warc_record_offset": pa.int64(), "warc_record_length": pa.int32(),
    }
)  # fmt: skip
Row = dict[str, Any]


def write_crawl(root: Path, files: int = 2, pages: int = 60, size: int = 3000) -> list[Row]:
    """WARC files of requests and responses with an index in two files, as Common Crawl lays them out. Returns index rows."""
    noise = random.Random(7)
    rows: list[Row] = []
    for file in range(files):
        name = f"crawl-data/{CRAWL}/segments/1/warc/part-{file:05d}.warc.gz"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        with (root / name).open("wb") as stream:
            for number in range(pages):
                host = f"www.site{number % 7}.org"
                url = f"https://{host}/{file}/{number}"
                stream.write(gzip.compress(record(number, b"GET / HTTP/1.1\r\n\r\n", "request"), mtime=0))
                mime = "application/pdf" if number % 10 == 9 else "text/html"
                body = (
                    b"<html><p>page %d of %d " % (number, file)
                    + base64.b64encode(noise.randbytes(size))
                    + b"</p></html>"
                )
                digest = base64.b32encode(hashlib.sha1(body).digest()).decode()
                more = {"WARC_Truncated": "length"} if number % 11 == 5 else {}
                answer = record(
                    number, page(body, "404 Not Found" if number % 13 == 4 else "200 OK", mime),
                    WARC_Target_URI=url, WARC_Payload_Digest=f"sha1:{digest}", **more,
                )  # fmt: skip
                member = gzip.compress(answer, mtime=0)
                rows.append(
                    {
                        "url": url, "url_host_name": host, "url_host_registered_domain": host[4:],
                        "fetch_status": 404 if number % 13 == 4 else 200, "content_digest": digest,
                        "content_mime_detected": mime, "content_truncated": "length" if more else None,
                        "content_languages": ("deu", "eng,deu", "eng", None)[number % 4], "warc_filename": name,
                        "warc_record_offset": stream.tell(), "warc_record_length": len(member),
                    }
                )  # fmt: skip
                stream.write(member)
    write_index(root, rows)
    return rows


def write_index(root: Path, rows: list[Row]) -> None:
    folder = f"cc-index/table/cc-main/warc/crawl={CRAWL}/subset="
    ordered = sorted(rows, key=lambda row: (row["url_host_registered_domain"], row["url"]))
    half = len(ordered) // 2
    parts = {
        "warc/part-0.parquet": ordered[:half],
        "warc/part-1.parquet": ordered[half:],
        "robotstxt/part-0.parquet": ordered,
    }
    for name, mine in parts.items():
        (root / (folder + name)).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(
            pa.Table.from_pylist(mine, SCHEMA), root / (folder + name), row_group_size=20, write_page_checksum=True
        )
    paths = gzip.compress("".join(f"{folder}{name}\n" for name in parts).encode())
    (root / f"crawl-data/{CRAWL}/cc-index-table.paths.gz").write_bytes(paths)


def source(place: object, **options: Any) -> CommonCrawlSource:
    given = {"snapshot": CRAWL, "root": str(place), **options}
    return CommonCrawlSource("s", CommonCrawlConfig.model_validate({"format": "commoncrawl", **given}))


def read(reader: Any) -> tuple[pa.Table, pa.Table]:
    found = [reader.read(one) for one in reader.slices()]
    return pa.concat_tables([r.table for r in found]), pa.concat_tables([r.rejects for r in found])


def whole(root: Path) -> pa.Table:
    """What the source `warc` reads of all files, with the paths that the index has."""
    config = WarcConfig(format="warc", paths=(f"{root}/crawl-data/**/*.warc.gz",), root=str(root), snapshot=CRAWL)
    return read(WarcSource("s", config))[0]


@dataclass
class Counted:
    """A server of a folder that counts, with faults that a test asks for."""

    folder: Path
    url: str = ""
    requests: list[tuple[str, str, int]] = field(default_factory=list)
    """Path, range and bytes of each answer to GET."""
    refused: list[str] = field(default_factory=list)
    fault: Callable[[str], str] = lambda path: ""

    def of(self, ending: str) -> tuple[int, int]:
        """Requests for files with an ending, and the bytes of their answers."""
        sizes = [size for path, _, size in self.requests if path.endswith(ending)]
        return len(sizes), sum(sizes)


class Handler(BaseHTTPRequestHandler):
    counted: Counted

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        file = self.counted.folder / self.path.lstrip("/")
        fault = self.counted.fault(self.path) if self.command == "GET" else ""
        if fault.isdigit() or not file.is_file():
            self.counted.refused.append(self.path)
            self.send_error(int(fault) if fault.isdigit() else 404)
            return
        body = file.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, stop = 0, len(body)
        if wanted and fault != "no ranges":
            start, stop = int(wanted[1]), min(len(body), int(wanted[2] or len(body)) + 1)
        if start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if wanted and fault != "no ranges" else 200)
        if wanted and fault != "no ranges":
            self.send_header("Content-Range", f"bytes {start + (fault == 'wrong')}-{stop - 1}/{len(body)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        if self.command == "GET":
            sent = body[start:stop] if fault != "cut" else body[start : start + (stop - start) // 2]
            self.counted.requests.append((self.path, self.headers.get("Range", ""), len(sent)))
            self.wfile.write(sent)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests' output is pytest's."""


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    monkeypatch.setattr(retries, "FIRST_WAIT", 0.001)
    (tmp_path / "web").mkdir()
    counted = Counted(tmp_path / "web")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Mine", (Handler,), {"counted": counted}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    counted.url = f"http://127.0.0.1:{server.server_port}"
    yield counted
    server.shutdown()
    server.server_close()


def test_a_selection_over_http_reads_the_rows_of_the_whole_files_at_a_fraction_of_their_bytes(served: Counted) -> None:
    write_crawl(served.folder)
    reader = source(served.url, select={"languages": ["deu"], "domains": ["site3.org"]}, gap=1000)
    slices = reader.slices()
    assert served.of(".warc.gz") == (0, 0)  # nothing is downloaded before the index has been read
    assert not [path for path, _, _ in served.requests if "robotstxt" in path]
    table, rejects = read(reader)
    expected = whole(served.folder)
    host = pc.match_substring(expected["url"], "www.site3.org")
    number = [int(url.rpartition("/")[2]) for url in expected["url"].to_pylist()]
    keep = [
        h and kind is not None and n % 4 < 2 and n % 10 != 9 and n % 13 != 4
        for h, n, kind in zip(host.to_pylist(), number, expected["html"].to_pylist(), strict=True)
    ]
    assert table.num_rows == sum(keep) == 6
    assert table.equals(expected.filter(pa.array(keep)))
    assert rejects.num_rows == 0
    lengths = pc.sum(table["length"]).as_py()
    assert served.of(".warc.gz") == (6, lengths) == (reader.facts()["requests"], sum(one.bytes for one in slices))
    stored = sum(path.stat().st_size for path in served.folder.rglob("*.warc.gz"))
    assert stored / lengths > 18
    assert reader.facts() | {"index_sha256": "", "selection_sha256": "", "index_bytes": 0} == {
        "index_files": 2, "index_bytes": 0, "index_rows": 120, "rows_selected": 6, "requests": 6, "index_sha256": "",
        "selection_sha256": "",
    }  # fmt: skip


def test_neighbours_are_read_by_one_request_up_to_a_gap_and_the_rows_stay_the_same(served: Counted) -> None:
    rows = write_crawl(served.folder, files=1)
    everything = {"select": {"mime": ["text/*"], "status": []}}
    wide = read(source(served.url, **everything))[0]
    assert wide.num_rows == 54
    requests, size = served.of(".warc.gz")
    assert requests == 1
    chosen = [row for row in rows if row["content_mime_detected"] == "text/html"]
    first, last = chosen[0], chosen[-1]
    assert size == last["warc_record_offset"] + last["warc_record_length"] - first["warc_record_offset"]
    served.requests.clear()
    narrow = read(source(served.url, gap=0, **everything))[0]
    assert served.of(".warc.gz") == (54, sum(row["warc_record_length"] for row in chosen))
    assert narrow.equals(wide)
    small = source(served.url, slice_bytes=20_000, **everything)
    assert len(small.slices()) > 5 and max(one.bytes for one in small.slices()) <= 20_000
    assert read(small)[0].equals(wide)


CONDITIONS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any, Row], bool]]] = {
    "languages": (
        st.lists(st.sampled_from(["deu", "eng", "fra"]), min_size=1),
        lambda wanted, row: bool({*wanted} & {*(row["content_languages"] or "").split(",")}),
    ),
    "status": (st.sampled_from([[200], [404], [200, 404]]), lambda wanted, row: row["fetch_status"] in wanted),
    "truncated": (st.booleans(), lambda wanted, row: wanted == bool(row["content_truncated"])),
    "domains": (
        st.lists(st.sampled_from(["site1.org", "site6.org", "none.org"]), min_size=1),
        lambda wanted, row: row["url_host_registered_domain"] in wanted,
    ),
    "hosts": (st.just(["www.site2.org"]), lambda wanted, row: row["url_host_name"] in wanted),
    "urls": (
        st.sampled_from(
            [["https://www.site1.org/0/*"], ["https://www.site1.org/0/1"], ["https://www.site*", "http:*"]]
        ),
        lambda wanted, row: any(
            row["url"].startswith(one[:-1]) if one.endswith("*") else row["url"] == one for one in wanted
        ),
    ),
    "mime": (
        st.sampled_from([["text/*"], ["text/html", "image/png"], ["application/pdf"]]),
        lambda wanted, row: any(row["content_mime_detected"].startswith(one.rstrip("*")) for one in wanted),
    ),
}


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row], pa.Table]:
    root = tmp_path_factory.mktemp("crawl")
    rows = write_crawl(root, size=100)
    return root, rows, whole(root)


@settings(max_examples=40, deadline=None)
@given(
    st.fixed_dictionaries({}, optional={name: values for name, (values, _) in CONDITIONS.items()}), st.integers(0, 5000)
)
def test_a_selection_is_the_whole_files_filtered_by_the_same_conditions(
    crawl: tuple[Path, list[Row], pa.Table], select: dict[str, Any], gap: int
) -> None:
    root, rows, expected = crawl
    select = {"mime": [], "status": []} | select
    places = {
        (row["warc_filename"], row["warc_record_offset"])
        for row in rows
        if all(not value and value is not False or CONDITIONS[name][1](value, row) for name, value in select.items())
    }
    reader = source(root, select=select, gap=gap)
    if not places:
        with pytest.raises(DataError, match="none of 120 index rows is selected"):
            reader.slices()
        return
    keep = [place in places for place in zip(*(expected[n].to_pylist() for n in ("file_path", "offset")), strict=True)]
    table, rejects = read(reader)
    assert table.equals(expected.filter(pa.array(keep)))
    assert not rejects.num_rows
    offsets = [place for one in reader.slices() for place in reader.offsets(one).tolist()]
    assert offsets == table["offset"].to_pylist()


def test_first_languages_digests_and_samples_of_files_are_selected(crawl: tuple[Path, list[Row], pa.Table]) -> None:
    root, rows, _ = crawl
    digest = rows[8]["content_digest"]
    assert read(source(root, select={"digests": [f"sha1:{digest}"]}))[0]["url"].to_pylist() == [rows[8]["url"]]
    first = read(source(root, select={"languages": ["deu"], "primary_language": True}))[0]
    assert {int(url.rpartition("/")[2]) % 4 for url in first["url"].to_pylist()} == {0}
    seeds = [{one.path for one in _slices(source(root, sample=0.5, sample_seed=seed))} for seed in range(12)]
    for seed, paths in enumerate(seeds):
        config = WarcConfig(
            format="warc", paths=(f"{root}/crawl-data/**/*.warc.gz",), root=str(root), sample=0.5, sample_seed=seed
        )
        assert paths == {one.path for one in _slices(WarcSource("s", config))}
    assert len({*map(len, seeds)}) > 1


def _slices(reader: Any) -> list[Any]:
    try:
        return list(reader.slices())
    except DataError:
        return []


@pytest.mark.parametrize(
    ("change", "reason", "detail"),
    [
        ({"warc_record_length": -7}, "not_as_indexed|truncated_record", "within a record"),
        ({"warc_record_length": 9}, "not_as_indexed", "the index says"),
        ({"warc_record_offset": 3}, "no_gzip_member", "expected a gzip member"),
        ({"warc_record_offset": 1 << 30}, "truncated_record", "the file ends after"),
        ({"url": "https://www.site2.org/else"}, "not_as_indexed", "another URL"),
        ({"content_digest": "B" * 32}, "not_as_indexed", "the index says B{32}"),
        ({"warc_filename": "crawl-data/missing.warc.gz"}, "missing_file", "no such WARC file"),
    ],
)
def test_a_record_that_is_not_what_the_index_says_is_set_aside_with_its_offset(
    tmp_path: Path, change: Row, reason: str, detail: str
) -> None:
    rows = write_crawl(tmp_path, files=1, pages=12, size=100)
    for name, value in change.items():
        rows[2][name] = rows[2][name] + value if isinstance(value, int) else value
    write_index(tmp_path, rows)
    table, rejects = read(source(tmp_path))
    found = rejects.to_pylist()
    assert [one["position"] for one in found] == [rows[2]["warc_record_offset"]]
    assert re.fullmatch(reason, found[0]["reason"]) and re.search(detail, found[0]["detail"]), found
    assert sorted(table["url"].to_pylist()) == sorted(
        row["url"]
        for row in rows[:2] + rows[3:]
        if row["fetch_status"] == 200 and row["content_mime_detected"] == "text/html"
    )


@pytest.mark.parametrize(
    ("fault", "reason", "requests"),
    [("404", "missing_file", 0), ("no ranges", "no_range", 4), ("wrong", "no_range", 4), ("cut", "no_range", 32)],
)
def test_what_a_server_does_not_serve_is_set_aside_and_other_files_are_read(
    served: Counted, fault: str, reason: str, requests: int
) -> None:
    write_crawl(served.folder, files=2, pages=15, size=300)
    served.fault = lambda path: fault if path.endswith("part-00000.warc.gz") else ""
    table, rejects = read(
        source(
            served.url,
            gap=0,
            select={"languages": ["deu"], "urls": ["https://www.site5.org/*", "https://www.site1.org/*"]},
        )
    )
    assert set(rejects["reason"].to_pylist()) == {reason}
    assert rejects.num_rows == table.num_rows == 4
    assert served.of("part-00000.warc.gz")[0] == requests
    assert len(served.refused) == (fault == "404")  # a file that is not there is asked for once


def test_a_server_that_is_busy_for_a_while_is_asked_again_and_one_that_refuses_stops_the_run(served: Counted) -> None:
    write_crawl(served.folder, files=1, pages=15, size=300)
    answers = iter(["503", "429", "500"])
    served.fault = lambda path: next(answers, "") if path.endswith(".warc.gz") else ""
    table, rejects = read(source(served.url))
    assert (table.num_rows, rejects.num_rows) == (13, 0)
    served.fault = lambda path: "403" if path.endswith(".warc.gz") else ""
    with pytest.raises(StorageError, match="part-00000.warc.gz: cannot be read"):
        read(source(served.url))


def test_a_range_is_one_request_for_its_bytes(served: Counted) -> None:
    (served.folder / "f").write_bytes(bytes(range(200)))
    assert range_get(f"{served.url}/f", 10, 5) == bytes(range(10, 15))
    assert range_get(f"{served.url}/f", 195, 50) == bytes(range(195, 200))
    assert range_get(f"{served.url}/f", 400, 5) == b""
    assert served.requests == [("/f", "bytes=10-14", 5), ("/f", "bytes=195-244", 5)]
    served.fault = lambda path: "no ranges"
    with pytest.raises(RangeError, match="does not serve byte ranges"):
        range_get(f"{served.url}/f", 10, 5)


def _damaged(rows: list[Row], **change: Any) -> list[Row]:
    return [rows[0] | change, *rows[1:]]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"warc_filename": "../../etc/passwd"}, "`warc_filename` is '../../etc/passwd'"),
        ({"warc_filename": "https://elsewhere.org/x"}, "`warc_filename` is 'https://elsewhere.org/x'"),
        ({"warc_filename": None}, "`warc_filename` is None"),
        ({"url": ""}, "`url` ''"),
        ({"warc_record_offset": -1}, "`warc_record_offset` is -1"),
        ({"warc_record_offset": (1 << 63) - 1}, "`warc_record_offset` is 9223372036854775807"),
        ({"warc_record_length": None}, "`warc_record_length` None"),
    ],
)
def test_an_index_row_without_a_place_is_set_aside_and_the_others_are_read(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    rows = write_crawl(tmp_path, files=1, pages=9, size=10)
    write_index(tmp_path, [rows[0] | change, *rows[1:]])
    reader = source(tmp_path)
    table, rejects = read(reader)
    # Of nine records three are no page by status, media type or row.
    assert sorted(table["url"].to_pylist()) == sorted(
        row["url"] for row in rows[1:] if row["fetch_status"] == 200 and row["content_mime_detected"] == "text/html"
    )
    (reject,) = rejects.to_pylist()
    assert reject["reason"] == "no_place" and told in reject["detail"] and reject["bytes"] > 0
    index = next(one for one in reader.slices() if "index" in one.part)
    assert pq.read_table(index.location).to_pylist()[reject["position"]]["url"] == (rows[0] | change)["url"]
    assert reader.offsets(index).tolist() == [reject["position"]]
    assert reject["detail"].startswith(f"row {reject['position']}: the row of the index says")
    assert reader.counts_bytes(index.part) is False
    read_of = SliceRead(
        source="crawl", path=index.path, part=dict(index.part), file_bytes=1, digest="0" * 64, rows=0, rejects=1
    )
    key = doc_keys("crawl", CRAWL, index.path, np.array([reject["position"]]))[0].as_py()
    settings = f"format: commoncrawl, snapshot: {CRAWL}, root: '{tmp_path}'"
    place = origin(read_of, CRAWL, key, "commoncrawl", RUN.format(root=tmp_path, source=settings))
    assert place == {"path": index.path, "part": dict(index.part), "record": reject["position"], "byte": None}
    assert all(reader.counts_bytes(one.part) for one in reader.slices() if one != index)
    facts = reader.facts()
    assert facts["rows_set_aside"] == 1 and facts["rows_selected"] == table.num_rows
    write_index(tmp_path, rows[1:])
    assert "rows_set_aside" not in source(tmp_path).facts()
    clean = source(tmp_path)
    clean.slices()
    assert clean.facts()["selection_sha256"] != facts["selection_sha256"]


def test_rows_without_a_place_count_toward_the_quarantine_and_many_of_them_stop_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "web"
    root.mkdir()
    rows = write_crawl(root, files=1, pages=60, size=10)
    write_index(root, [row | ({"warc_record_offset": None} if n < 20 else {}) for n, row in enumerate(rows)])
    settings = f"format: commoncrawl, snapshot: {CRAWL}, root: '{root}'"
    with pytest.raises(DataError, match="records .* are in quarantine.*no_place"):
        run(RUN.format(root=tmp_path, source=settings))
    monkeypatch.setattr(commoncrawl_index, "MAX_ASIDE", 5)
    with pytest.raises(
        DataError, match=r"more than 5 rows do not say where a record lies, such as row \d+: `warc_record_offset`"
    ):
        source(root).slices()


def test_a_row_that_names_a_record_again_is_set_aside_and_the_record_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = write_crawl(tmp_path, files=1, pages=9, size=10)
    write_index(tmp_path, rows)
    once, _ = read(source(tmp_path))
    write_index(tmp_path, [*rows, rows[0], rows[1], rows[0] | {"warc_record_offset": -1}, rows[0]])
    reader = source(tmp_path)
    table, rejects = read(reader)
    assert table.sort_by("offset").equals(once.sort_by("offset"))
    found = rejects.to_pylist()
    told: list[tuple[Row, Row]] = []
    for one in reader.slices():
        if not reader.counts_bytes(one.part):
            written, aside = pq.read_table(one.location).to_pylist(), reader.read(one).rejects.to_pylist()
            assert (
                reader.offsets(one).tolist()
                == [row["position"] for row in aside]
                == sorted(row["position"] for row in aside)
            )
            told += [(row, written[row["position"]]) for row in aside]
    assert len(told) == len(found)
    assert sorted(one["reason"] for one in found) == ["doubled_row"] * 3 + ["no_place"]
    assert len({one["doc_key"] for one in found} | {*once["doc_key"].to_pylist()}) == 4 + once.num_rows
    for one, row in told:
        assert one["detail"].startswith(f"row {one['position']}: ") and one["bytes"] > 0
        assert (row["warc_record_offset"] < 0) == (one["reason"] == "no_place")
        assert (
            one["reason"] == "no_place"
            or f"byte {row['warc_record_offset']} of {row['warc_filename']}" in one["detail"]
        )
    facts = reader.facts()
    assert (facts["rows_set_aside"], facts["rows_selected"]) == (4, once.num_rows)
    monkeypatch.setattr(commoncrawl_index, "MAX_ASIDE", 3)
    with pytest.raises(DataError, match="more than 3 rows name a record that an earlier row names, such as row"):
        source(tmp_path).slices()


def test_files_that_are_no_index_and_selections_without_bounds_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_crawl(tmp_path, files=1, pages=12, size=10)
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="there is no column `warc_filename`"):
        source(tmp_path, paths=[f"{tmp_path}/other.parquet"]).slices()
    (tmp_path / "no.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"no.parquet: the index cannot be read"):
        source(tmp_path, paths=[f"{tmp_path}/no.parquet"]).slices()
    monkeypatch.setattr(commoncrawl_index, "MAX_SELECTED", 5)
    with pytest.raises(ConfigError, match="more than 5 records are selected"):
        source(tmp_path).slices()
    for wrong in (
        {"select": {"languages": ["de"]}},
        {"select": {"digests": ["x"]}},
        {"root": None},
        {"snapshot": "../x"},
    ):
        with pytest.raises(ValueError, match="deu|base32|root|no index is given"):
            source(tmp_path, **wrong)


def test_row_groups_that_cannot_hold_a_wanted_domain_are_not_fetched(served: Counted) -> None:
    write_crawl(served.folder, pages=400, size=10)
    monkey = commoncrawl_index._TAIL
    commoncrawl_index._TAIL = 60_000
    try:
        source(served.url, select={"domains": ["site0.org"]}).slices()
        few = served.of(".parquet")[1]
        served.requests.clear()
        source(served.url).slices()
    finally:
        commoncrawl_index._TAIL = monkey
    assert few < served.of(".parquet")[1]


RUN = PAGES.replace('format: parquet, paths: ["{root}/in/*.parquet"], max_document_bytes: 400', "{source}")


def test_a_run_is_audited_says_what_it_selected_and_is_explained_by_its_bytes(tmp_path: Path) -> None:
    root, out = tmp_path / "web", tmp_path / "out"
    root.mkdir()
    lengths = {row["url"]: row["warc_record_length"] for row in write_crawl(root, size=100)}
    settings = f"format: commoncrawl, snapshot: {CRAWL}, root: '{root}', select: {{languages: [deu]}}"
    text = RUN.format(root=tmp_path, source=settings)
    plan = plan_of(text)
    assert any("48 rows selected, 2 requests" in line for line in plan_lines(plan))
    facts = plan_json(plan)["sources"]["crawl"]["facts"]
    assert facts["index_rows"] == 120
    assert plan.identity()["sources"]["crawl"]["facts"] == facts
    run(text)
    row = rows_of(out)[3]
    found = explain(str(out), row["doc_key"].hex(), []).documents[0].source
    assert (found["path"], found["byte"]) == (row["file_path"], row["offset"])
    stored = (root / row["file_path"]).read_bytes()[row["offset"] : row["offset"] + lengths[row["url"]]]
    assert f"WARC-Target-URI: {row['url']}\r\n".encode() in gzip.decompress(stored)
    result = audit_output(str(out), sources=[str(root)], plugins=("toy_stages",))
    assert result.exit_code == 0, result.problems
