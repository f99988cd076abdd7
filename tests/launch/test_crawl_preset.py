"""The preset `crawl` takes WARC files to an audited corpus, and a document leads back to its bytes in the crawl."""

from __future__ import annotations

import gzip
import html
import json
from pathlib import Path

import pyarrow.dataset as ds

from gristmill.launch.quickstart.small_web import load_pages
from tests.launch.running import Command
from tests.stages.sources.test_warc import packed, page, record


def site(text: str, language: str) -> bytes:
    """A page as sites send it: the text as an article, between what is on every page."""
    body = "".join(f"<p>{html.escape(part)}</p>" for part in text.split("\n") if part.strip())
    menu = "<nav><a href='/'>Home</a> <a href='/about'>About us</a></nav>"
    return (
        f"<html lang='{language[:2]}'><head><title>A page</title></head><body>{menu}<article>{body}</article>"
        "<footer>All rights reserved</footer></body></html>"
    ).encode()


def test_a_crawl_becomes_an_audited_corpus_that_leads_back_to_the_crawl(gristmill: Command, tmp_path: Path) -> None:
    wanted = [one for one in load_pages() if one.verdict == "keep" and one.language == "eng_Latn"][:20]
    bodies = [site(one.text, one.language) for one in wanted]
    bodies.append(bodies[0])
    records = [record(number, page(body)) for number, body in enumerate(bodies)]
    records.append(record(90, page(b"gone", "404 Not Found")))
    (tmp_path / "a.warc.gz").write_bytes(b"".join(packed(records)))

    ran = gristmill("run", "crawl", "--executor", "inline", "--set", "sources.crawl.paths=[a.warc.gz]", "--json")
    assert ran.code == 0, ran.err
    nodes = {node["node"]: node for node in json.loads(ran.out)["funnel"]["nodes"]}
    assert nodes["crawl"]["entered"][0] == 22 and nodes["crawl"]["dropped"][0] == 1
    assert nodes["equal_pages"]["dropped"][0] == 1
    corpus = Path("out/crawl/corpus")
    rows = ds.dataset(corpus / "data").to_table().to_pylist()
    assert rows and "html" not in rows[0] and not any("About us" in row["text"] for row in rows)

    audited = gristmill("audit", str(corpus), str(tmp_path), "--full", "--sources")
    assert audited.code == 0, audited.out
    row = rows[0]
    told = gristmill("explain", str(corpus), row["doc_key"].hex()).out
    assert f"{row['length']} bytes from byte {row['offset']} on" in told and "extractor trafilatura" in told
    stored = (tmp_path / "a.warc.gz").read_bytes()[row["offset"] :][: row["length"]]
    assert gzip.decompress(stored) in records
