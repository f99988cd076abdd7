"""Elements and depth counted before a page is parsed."""

from __future__ import annotations

import pyarrow as pa
import pytest

from gristmill.stages.extraction.stage import markup_counts


@pytest.mark.parametrize(
    ("page", "elements", "depth"),
    [
        ("", 0, 0),
        ("no tags, 1 < 2 > 0, a<b", 1, 1),
        ("<div><b>x</b></div><div></div>", 3, 2),
        ("<DIV><Div></dIV></DIV>", 2, 2),
        ("<p>a<p>b<p>c<ul><li>1<li>2</ul>", 6, 1),  # what the next element closes is not nested
        ("<br><img src='a'><input>" * 9, 27, 0),
        ("<svg>" + "<path d='m'/>" * 50 + "</svg>", 51, 1),
        ("<!-- <div><div> --><div></div>", 1, 1),
        ("<!-- never closed <div>", 0, 0),
        ("<script>if (a<b) { '<div><div>' }</script><div></div>", 2, 1),
        ("<script>a</style><div>", 1, 1),
        ("<!DOCTYPE html><html><body><h1>a</h1>", 3, 1),
        ("</div></div><div>", 1, 1),
        ("<verylongelementname><verylongelementname>", 2, 2),
        ("<div", 1, 1),
        ("<", 0, 0),
        ("</", 0, 0),
        ("<div>" * 100_000, 100_000, 100_000),
    ],
)
def test_start_tags_and_depth(page: str, elements: int, depth: int) -> None:
    pages = pa.array([b"<a><a>", page.encode(), page.encode("utf-16"), b"</a>"], pa.large_binary())
    found = [counts.tolist() for counts in markup_counts(pages)[:2]]
    assert found == [[2, elements, elements, 0], [2, depth, depth, 0]]
    assert [counts.tolist() for counts in markup_counts(pages.slice(1, 1))[:2]] == [[elements], [depth]]


@pytest.mark.parametrize(
    ("page", "blocks"),
    [
        ("<p>a<b>c</p>", ""),
        ("a<tr>b", "<tr>"),
        ("<p><Table class='x'><tr><td>a</td></tr></TABLE ></p>", "<Table class='x'><tr><td>a</td></tr></TABLE >"),
        ("<pre>a</pre>b<math>c</math>d", "<pre>a</pre>b<math>c</math>"),
        ("<pretty><trx><ta>", ""),
        ("<!-- <tr> --><script>'<pre>'</script><p>", ""),
        ("<b></pre", "</pre"),
        ("<b><tr class=", "<tr class="),
        ("</tr>", "</tr>"),
    ],
)
def test_where_tables_code_and_formulas_lie(page: str, blocks: str) -> None:
    pages = pa.array([b"<tr>", page.encode()], pa.large_binary())
    begin, end = markup_counts(pages)[2][1].tolist()
    assert page[begin:end] == blocks
    assert markup_counts(pages.slice(1, 1))[2].tolist() == [[begin, end]]
