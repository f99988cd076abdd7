"""What a text is made of: prose, tables, code and formulas, by the page that it is from."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from gristmill.pipeline.stage import StageContext
from gristmill.stages.extraction.parsers import (
    EXTRACTORS,
    blocks_of,
    decode,
    kinds_of_characters,
    markup_of_blocks,
    visible,
)
from gristmill.stages.extraction.stage import CHARACTERS, Extract, ExtractConfig, markup_counts, visible_characters
from tests.invariance_cases.extract import SENTENCE
from tests.pipeline.toy_runs import rows_of, run
from tests.stages.extraction.test_stage import CONFIG, crawl

TABLE = "<table><tr><th>Name</th><th>Value x</th></tr><TR class=a><td>alpha &amp; beta</td><td>12 <b>bold</b></td></TR></table>"
CODE = "<pre><code>def f(x):\n    return x &lt; 1\n\nprint(f(2), '&lt;tr&gt;')</code></pre>"
FORMULAS = (
    '<p>Let <math><mi>x</mi><mo>=</mo><mn>2</mn><annotation encoding="application/x-tex">x=2</annotation></math> be, and '
    "\\(a^2+b^2\\), and $$E=mc^2$$, for $5 or \\( this.</p>"
)
PROSE = f"<h1>Title of it</h1><p>{SENTENCE * 6}</p>"


def page(*parts: str) -> str:
    return f"<html><body><nav>Home</nav><article>{''.join(parts)}<p>Last: {SENTENCE * 5}</p></article></body></html>"


@pytest.mark.parametrize("name", sorted(EXTRACTORS))
def test_tables_code_and_formulas_are_counted_apart_from_prose(name: str) -> None:
    made = page(PROSE, TABLE, CODE, FORMULAS)
    text = EXTRACTORS[name]()(made)
    assert text is not None
    measured = Extract(ExtractConfig(**{"with": name})).measure(pa.table({"html": [made.encode()]}), StageContext())
    prose, table, code, formula, *in_page = (measured[signal][0].as_py() for signal in CHARACTERS)
    assert (table, code) == (len("NameValuexalpha&beta12bold"), len("deff(x):returnx<1print(f(2),'<tr>')"))
    math = {"trafilatura": "x=2", "resiliparse": "x=2x=2"}[name]  # as the one writes TeX, the other both forms
    assert formula == len(math) + len("a^2+b^2") + len("E=mc^2")
    assert in_page == [table, code, len("x=2x=2")]
    own = sum(line.count("|") + line.count("-") for line in text.splitlines() if line.startswith("|"))
    assert prose + table + code + formula == len("".join(text.split())) - own
    plain = page(PROSE)
    assert kinds_of_characters(plain, EXTRACTORS[name]()(plain) or "") == [0] * 7


def test_what_an_extractor_leaves_out_is_counted_in_the_page_alone() -> None:
    assert kinds_of_characters(page(TABLE, CODE), "Prose a|b <tr> &lt;.") == [0, 0, 0, 26, 35, 0, 0]


@pytest.mark.parametrize("charset", ["ascii", "utf-8", "utf-8-sig", "utf-16", "cp1251", "gb18030"])
def test_the_part_with_the_blocks_is_all_that_counts_in_any_encoding(charset: str) -> None:
    fence = "" if charset == "ascii" else "Паром " * 50
    made = page(fence, PROSE, TABLE, fence, CODE, FORMULAS, fence)
    body = made.encode(charset)
    read, found = decode(body, f"text/html; charset={charset}")
    begin, end = markup_counts(pa.array([body], pa.large_binary()))[2][0].tolist()
    markup = markup_of_blocks(read, body, found, begin, end)
    assert markup.startswith("<table>") and markup.endswith("</math>") or charset in ("utf-16", "gb18030")
    text = EXTRACTORS["resiliparse"]()(read) or ""
    assert kinds_of_characters(markup, text) == kinds_of_characters(read, text) != [0] * 7


def test_characters_that_are_seen_are_counted_as_python_does() -> None:
    everything = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x11000)]))
    texts = [None, *(chr(code) for code in range(0x3100)), everything, "a|b c\u2003d\n", ""]
    counted = visible_characters(pa.array(texts, pa.large_string()))
    assert counted.tolist() == [len(visible(text or "")) for text in texts]


def test_layout_tables_and_nested_ones_are_no_tables_but_their_innermost_rows() -> None:
    layout = f"<table><tr><td>{SENTENCE}<table><tr><td>in<td>ner</tr></table>{SENTENCE}</td></tr></table>"
    assert blocks_of(layout).rows == {"in", "ner", "inner"}
    assert blocks_of("<table><tr><td>alone</td></tr></table>").rows == set()
    assert blocks_of("<pre><tr><td>a<td>b</pre><tr><td>c<td>d").rows == set()  # code, and a row that never ends


@pytest.mark.parametrize(
    "markup",
    [
        "<tr ",
        "<tr>",
        "<tr><td>",
        "<pre>",
        "<math>",
        "<table><tr><td>x<td>y",
        "<",
        "&",
        "<math>a</math>",
        "<pre>\n",
        "|\n",
    ],
)
def test_pages_made_to_take_long_do_not(markup: str) -> None:
    """Quadratic work would take hours at these sizes."""
    begin = time.process_time()
    kinds_of_characters(markup * (3_000_000 // len(markup)), "\\(" * 300_000 + "$$" * 300_000 + markup * 100_000)
    assert time.process_time() - begin < 20


def test_a_share_above_a_threshold_drops_a_page_by_a_rule_and_the_signals_say_what_it_was(tmp_path: Path) -> None:
    rows = "".join(f"<tr><td>item {n} of the list</td><td>{n * n} pieces of it</td></tr>" for n in range(40))
    pages = {"prose": page(PROSE), "table": page(PROSE, f"<table>{rows}</table>"), "code": page(PROSE, CODE)}
    crawl(tmp_path, {name: text.encode() for name, text in pages.items()})
    run(CONFIG.format(root=tmp_path, settings="{with: resiliparse, max_table_share: 0.4}"))
    ledger = {row["id"]: row for row in rows_of(tmp_path / "out", "ledger")}
    assert {row["id"] for row in rows_of(tmp_path / "out")} == {"prose", "code"}
    dropped = ledger["table"]
    with pytest.raises(ValidationError, match="so none can be too many"):
        ExtractConfig(kinds=False, max_code_share=0.5)
    uncounted = Extract(ExtractConfig(kinds=False)).measure(
        pa.table({"html": [pages["code"].encode()]}), StageContext()
    )
    assert uncounted["text"].null_count == 0 and all(uncounted[name].null_count == 1 for name in CHARACTERS)
    signals = {row["doc_key"]: row for row in rows_of(tmp_path / "out", "signals/extract")}
    found = signals[dropped["doc_key"]]
    kinds = [found[f"{kind}_characters"] for kind in ("prose", "table", "code", "formula")]
    assert dropped["rule"] == "mostly_table" and dropped["value"] == pytest.approx(kinds[1] / sum(kinds))
    assert dropped["threshold"] == 0.4 < dropped["value"] and found["page_table_characters"] == kinds[1]
