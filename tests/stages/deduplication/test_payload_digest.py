"""Digests of payloads, and `exact` on them before anything is extracted."""

from __future__ import annotations

import pyarrow as pa

from gristmill.pipeline.stage import StageContext
from gristmill.pipeline.testing import assert_partition_invariant, documents
from gristmill.stages.deduplication.exact import Exact
from gristmill.stages.deduplication.payload_digest import DIGEST, PayloadDigest, PayloadDigestConfig


def digests(pages: list[bytes | None], headers: list[str | None] | None = None) -> list[bytes | None]:
    columns = {"html": pa.array(pages, pa.large_binary())}
    if headers is not None:
        columns["http_content_type"] = pa.array(headers, pa.string())
    found = PayloadDigest(PayloadDigestConfig()).measure(pa.table(columns), StageContext())[DIGEST]
    return found.to_pylist()


def test_equal_pages_of_one_charset_are_equal_however_it_is_spelt() -> None:
    headers: list[str | None] = [
        "text/html; charset=utf-8",
        'text/html;Charset="UTF8"',
        "text/html; charset=koi8-r",
        None,
    ]
    first, second, third, fourth = digests([b"<p>x"] * 4, headers)
    assert first == second and len({first, third, fourth}) == 3
    one, other, none, empty = digests([b"<p>x", b"<p>y", None, b""])
    assert one == fourth and one != other and none is None and empty is None


def test_digests_are_pinned_since_they_join_runs() -> None:
    found = digests([b"<p>x"], ["text/html; charset=utf-8"])[0]
    assert found is not None and found.hex() == "5a046b3a03148c2dabfef18a14189ecc008f57dc40c2b0be45f902651e26a543"


def test_exact_on_digests_keeps_one_page_of_each_and_those_without_a_payload() -> None:
    pages: list[bytes | None] = [b"<p>a", b"<p>b", b"<p>a", None, b"", b"<p>a", None]
    headers = [None, None, None, None, None, "text/html; charset=utf-8", None]
    rows = documents(["x"] * 7, html=pa.array(pages, pa.large_binary()))
    rows = rows.append_column(DIGEST, pa.array(digests(pages, headers), pa.binary(32)))
    result = assert_partition_invariant(Exact, {"on": DIGEST, "keeper": "lowest"}, rows)
    kept = [result.decisions[key]["rule"] is None for key in rows["doc_key"].to_pylist()]
    assert sorted(kept[0:3:2]) == [False, True] and all(kept[number] for number in (1, 3, 4, 5, 6))


def test_exact_compares_payloads_themselves_too() -> None:
    pages: list[bytes | None] = [b"<p>a", b"<p>b", b"<p>a", None]
    rows = documents(["x"] * 4, html=pa.array(pages, pa.large_binary()))
    result = assert_partition_invariant(Exact, {"on": "html", "keeper": "lowest"}, rows)
    kept = [result.decisions[key]["rule"] is None for key in rows["doc_key"].to_pylist()]
    assert sorted(kept[0:3:2]) == [False, True] and kept[1] and kept[3]
