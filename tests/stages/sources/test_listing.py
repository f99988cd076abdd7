"""Which files a source reads: lists of paths, samples, and web servers that fail for a while."""

from __future__ import annotations

import gzip
import re
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gristmill.pipeline.audit.explain import explain
from gristmill.pipeline.errors import ConfigError, DataError, StorageError
from gristmill.pipeline.storage import buckets, open_read, read_small, retries
from gristmill.pipeline.storage.store_errors import NoCredentialsError
from gristmill.stages.sources.jsonl import JsonlConfig, JsonlSource
from gristmill.stages.sources.listing import find_files
from tests.pipeline.toy_runs import plan_of, rows_of, run


def config(**options: Any) -> JsonlConfig:
    return JsonlConfig(format="jsonl", **options)


def found(**options: Any) -> list[str]:
    return [file.path for file in find_files("s", config(**options), (".jsonl",))]


def folder_of(root: Path, files: int) -> Path:
    (root / "data").mkdir(parents=True)
    for number in range(files):
        (root / f"data/{number:03d}.jsonl").write_text(f'{{"text": "text {number}"}}\n')
    return root


def test_a_list_names_files_below_its_folder_or_a_root(tmp_path: Path) -> None:
    folder_of(tmp_path, 3)
    (tmp_path / "plain.paths").write_text(f"data/001.jsonl\n\n{tmp_path}/data/000.jsonl\n")
    assert found(path_lists=(f"{tmp_path}/plain.paths",)) == ["data/000.jsonl", "data/001.jsonl"]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/all.paths.gz").write_bytes(gzip.compress(b"000.jsonl\n002.jsonl\n"))
    lists = (f"{tmp_path}/elsewhere/all.paths.gz",)
    assert found(path_lists=lists, root=f"{tmp_path}/data") == ["000.jsonl", "002.jsonl"]
    assert found(path_lists=lists, root=f"{tmp_path}/data", exclude=("002*",)) == ["000.jsonl"]


@pytest.mark.parametrize(
    "line",
    ["/etc/passwd", "../secret.jsonl", "data/../../x", "s3://other/x", "file:" + 3 * "/" + "etc/passwd", "a\x07b"],
)
def test_a_line_that_leads_out_of_the_root_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "all.paths").write_text(f"\n{line}\n")
    with pytest.raises(DataError, match=r"all\.paths, line 2: .* does not lie below"):
        found(path_lists=(f"{tmp_path}/all.paths",))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"missing.jsonl\n", "missing.jsonl is not there"),
        (b"\xff\xfe\n", "line 1: this is not UTF-8"),
        (b"x" * 5000, "a line of more than 4096 bytes"),
        (b"data/000.jsonl\n" * 2, "is matched by .* and again by"),
        (b"data\n", "is no regular file"),
    ],
)
def test_a_bad_list_is_refused(tmp_path: Path, body: bytes, told: str) -> None:
    folder_of(tmp_path, 1)
    (tmp_path / "all.paths").write_bytes(body)
    with pytest.raises((DataError, ConfigError), match=told):
        found(path_lists=(f"{tmp_path}/all.paths",))
    (tmp_path / "cut.paths.gz").write_bytes(gzip.compress(b"data/000.jsonl\n")[:-9])
    with pytest.raises(DataError, match="cannot be read to its end"):
        found(path_lists=(f"{tmp_path}/cut.paths.gz",))


def test_a_sample_is_stable_grows_with_its_share_and_depends_on_the_seed(tmp_path: Path) -> None:
    folder_of(tmp_path, 400)
    paths = (f"{tmp_path}/data",)
    few, more = found(paths=paths, sample=0.05, sample_seed=1), found(paths=paths, sample=0.25, sample_seed=1)
    assert set(few) < set(more) < set(found(paths=paths))
    assert 5 <= len(few) <= 40 and 60 <= len(more) <= 140
    assert found(paths=paths, sample=0.25, sample_seed=2) != more
    assert few[:2] == ["000.jsonl", "067.jsonl"]
    (tmp_path / "data/all.paths").write_text("".join(f"{n:03d}.jsonl\n" for n in range(400)))
    assert found(path_lists=(f"{tmp_path}/data/all.paths",), sample=0.05, sample_seed=1) == few
    with pytest.raises(DataError, match=r"sample: none of 400 files was drawn at 1e-09. Raise the share"):
        found(paths=paths, sample=1e-9)


RUN = """
seed: {seed}
sources: {{s: {{format: jsonl, paths: "{root}/data", sample: 0.2}}}}
outputs: {{o: {{path: "{root}/out-{seed}"}}}}
"""


def test_a_run_draws_its_sample_by_its_seed_and_is_explained(tmp_path: Path) -> None:
    folder_of(tmp_path, 40)
    drawn = [{one.path for one in plan_of(RUN.format(root=tmp_path, seed=seed)).slices} for seed in (1, 2)]
    assert drawn[0] != drawn[1]
    run(RUN.format(root=tmp_path, seed=1))
    rows = rows_of(tmp_path / "out-1")
    assert len(rows) == len(drawn[0])
    assert explain(str(tmp_path / "out-1"), rows[0]["doc_key"].hex(), []).documents[0].source["byte"] == 0


class Served(BaseHTTPRequestHandler):
    """Files from memory, with byte ranges, and failures that a test asks for."""

    files: dict[str, bytes] = {}
    failures: list[int] = []
    """Statuses of the next answers; 0 closes the connection in the middle of the body."""
    ranges = True

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        kind = type(self)
        failure = kind.failures.pop(0) if kind.failures else None
        body = kind.files.get(self.path)
        if failure or body is None:
            self.send_error(failure or 404)
            return
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted and self.ranges else 0
        if wanted and self.ranges and start >= len(body):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if wanted and self.ranges else 200)
        if wanted and self.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if self.command == "GET":
            rest = body[start:]
            self.wfile.write(rest[: len(rest) // 2] if failure == 0 else rest)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests' output is pytest's."""


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[type[Served], str]]:
    monkeypatch.setattr(retries, "FIRST_WAIT", 0.001)
    kind = type("Handler", (Served,), {"files": {}, "failures": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield kind, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


BODY = b"".join(b'{"text": "text %d"}\n' % number for number in range(40_000))


def test_files_on_a_web_server_are_read_though_it_fails_for_a_while(served: tuple[type[Served], str]) -> None:
    handler, address = served
    handler.files["/crawl/a.jsonl"] = BODY
    handler.files["/crawl/all.paths.gz"] = gzip.compress(b"crawl/a.jsonl\n")
    handler.failures += [503, 503, 0]
    reader = JsonlSource("s", config(path_lists=(f"{address}/crawl/all.paths.gz",), root=address, slice_bytes=300_000))
    slices = reader.slices()
    assert [one.path for one in slices] == ["crawl/a.jsonl"] * 4 and not handler.failures
    handler.failures += [503, 0, 500, 0, 0]
    texts = [text for one in slices for text in reader.read(one).table["text"].to_pylist()]
    assert texts == [f"text {number}" for number in range(40_000)] and not handler.failures
    (alone,) = find_files("s", config(paths=(f"{address}/crawl/a.jsonl",)), (".jsonl",))
    assert (alone.path, alone.size) == ("a.jsonl", len(BODY))
    assert read_small(f"{address}/crawl/a.jsonl", 1 << 20) == BODY
    assert read_small(f"{address}/nothing", 10) is None
    handler.files["/empty"] = b""
    with open_read(f"{address}/empty") as stream:
        assert stream.read() == b""


def test_what_a_web_server_cannot_do_is_told(served: tuple[type[Served], str]) -> None:
    handler, address = served
    handler.files["/a.jsonl"] = BODY
    handler.failures += [503] * 20
    with pytest.raises(DataError, match="HTTP 503 after several attempts: run the same command again later"):
        found(paths=(f"{address}/a.jsonl",))
    handler.failures.clear()
    with pytest.raises(DataError, match="matches no file"):
        found(paths=(f"{address}/b.jsonl",))
    with pytest.raises(ConfigError, match="a web server lists no folders"):
        found(paths=(f"{address}/folder/",))
    handler.failures += [403]
    with pytest.raises(DataError, match="access is refused"):
        found(paths=(f"{address}/a.jsonl",))
    handler.ranges = False
    with pytest.raises(StorageError, match="does not serve byte ranges"), open_read(f"{address}/a.jsonl") as stream:
        stream.seek(100_000)
        stream.read(10)


def test_an_unknown_host_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(retries, "LONGEST_WAIT", 0.001)
    with pytest.raises(DataError, match="the name of the server is not known.*HTTPS_PROXY"):
        found(paths=("https://no-such-host.invalid/a.jsonl",))


def test_a_store_without_credentials_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_client(*arguments: Any) -> None:
        raise NoCredentialsError("none are set")

    monkeypatch.setattr(buckets, "_store", no_client)
    for path in ("s3://bucket/a.jsonl", "s3://bucket/*.jsonl", "s3://bucket/folder/"):
        with pytest.raises(DataError, match=r"no credentials: .*AWS_ACCESS_KEY_ID.*AWS_PROFILE.*AWS_SKIP_SIGNATURE"):
            found(paths=(path,))


@pytest.mark.parametrize(("protocol", "extra"), [("s3", "s3"), ("gs", "gcs"), ("az", "azure")])
def test_a_store_whose_package_is_missing_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, protocol: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ConfigError, match=rf"obstore is not installed \(`pip install 'gristmill\[{extra}\]'`\)"):
        found(paths=(f"{protocol}://bucket/a.jsonl",))
