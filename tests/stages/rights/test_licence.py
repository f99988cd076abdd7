"""The stage `licence`: what pages, columns, tables and sources state, conflicts, and what is allowed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.spdx import expression
from gristmill.pipeline.stage import Decisions, StageContext
from gristmill.stages.rights.facts import facts_in
from gristmill.stages.rights.licence import Licence, LicenceConfig
from gristmill.stages.rights.licences import is_allowed, licence_of_address
from gristmill.stages.rights.statements import page_statements
from tests.pipeline.toy_runs import rows_of, run

BY = "https://creativecommons.org/licenses/by/4.0/"
STATED_COLUMNS = ("licence", "licence_stated_by", "licence_evidence")
STATED = {"spdx": "ODC-By-1.0", "stated_by": "distributor", "evidence": "https://example.org/terms"}
CONFIG = """
name: licences
sources:
  pages: {{format: parquet, paths: ["{root}/in/*.parquet"], license: {{spdx: MIT, stated_by: author, evidence: LICENSE}}}}
stages:
  licence: {{allowed: [CC-BY-4.0, MIT], others: route}}
outputs:
  corpus: {{from: licence, path: {root}/out}}
  others: {{from: licence.others, path: {root}/others}}
"""


def decide(
    columns: dict[str, Any], license: dict[str, Any] | None = None, /, **config: Any
) -> tuple[Decisions, list[tuple[Any, ...]]]:
    found, rows = decide_whole(columns, license, **config)
    return found, [tuple(row[name] for name in STATED_COLUMNS) for row in rows]


def decide_whole(
    columns: dict[str, Any], license: dict[str, Any] | None = None, /, **config: Any
) -> tuple[Decisions, list[dict[str, Any]]]:
    stage = Licence(LicenceConfig(**{"allowed": "CC-BY-4.0", **config}))
    stage.check_files()
    batch = pa.table(columns)
    measured = pa.table(dict(stage.measure(batch, StageContext())))
    found = stage.decide(measured, None, StageContext(license=license))
    return found, pa.table(dict(found.columns)).to_pylist()


@pytest.mark.parametrize(
    ("address", "licence"),
    [
        (BY, "CC-BY-4.0"),
        ("//www.creativecommons.org/licenses/by-nc-nd/3.0/igo/", "CC-BY-NC-ND-3.0-IGO"),
        ("http://creativecommons.org/licenses/by-sa/3.0/de/deed.de", "CC-BY-SA-3.0-DE"),
        ("http://creativecommons.org/licenses/by-sa/3.0/xx/", None),
        ("https://creativecommons.org/licenses/by/4.0/legalcode.fr", "CC-BY-4.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "CC-PDM-1.0"),
        ("https://creativecommons.org/licenses/by/", None),
        ("https://creativecommons.org/licenses/by/9.0/", None),
        ("https://spdx.org/licenses/odc-by-1.0.html", "ODC-By-1.0"),
        ("https://opensource.org/licenses/MIT", "MIT"),
        ("https://evil.org/creativecommons.org/licenses/by/4.0/", None),
    ],
)
def test_addresses_of_licence_texts_are_known(address: str, licence: str | None) -> None:
    assert licence_of_address(address) == licence


def test_expressions_are_checked_by_the_library_and_met_side_by_side() -> None:
    assert expression("apache-2.0 or MIT") == "Apache-2.0 OR MIT"
    assert (
        expression("GPL-2.0-or-later WITH Classpath-exception-2.0") == "GPL-2.0-or-later WITH Classpath-exception-2.0"
    )
    for text in ("MIT AND", "(MIT", "free for all", "", "MIT " * 1000, "(" * 400, "MIT\x00", "CC-BY", "LicenseRef-ä"):
        assert expression(text) is None, text
    assert is_allowed("MIT OR (GPL-3.0-only AND CC-BY-4.0)", ("GPL-3.0-*", "CC-BY-4.0"))
    assert not is_allowed("MIT AND LicenseRef-x", ("MIT",)) and not is_allowed("nonsense", ("*",))


@pytest.mark.parametrize(
    ("page", "found"),
    [
        (f"<link rel='license' href={BY}>", [("CC-BY-4.0", "page (rel=license)")]),
        (f"<body><a href='{BY}' REL='noopener License'>", [("CC-BY-4.0", "page (rel=license)")]),
        (f"<body><a href='{BY}'>", [("CC-BY-4.0", "page (link)")]),
        (f"<meta itemprop=license content={BY}>", [("CC-BY-4.0", "page (schema.org)")]),
        ("<a rel=license href=/terms>", [(None, "page (rel=license)")]),
        (f"<!-- <a rel=license href={BY}> -->", []),
        ("<script type=application/ld+json>{broken</script>", []),
        ("<script type=application/ld+json>" + "[" * 100_000 + "</script>", []),
    ],
)
def test_pages_state_licences_in_three_ways(page: str, found: list[tuple[str | None, str]]) -> None:
    assert [(one.spdx, one.stated_by) for one in page_statements(page.encode())] == found


def test_json_ld_states_the_licence_of_the_page_and_not_of_its_images() -> None:
    data = {
        "@graph": [
            {
                "@type": "Article",
                "license": [{"@id": BY}, "CC0-1.0"],
                "image": {"@type": "ImageObject", "license": "MIT"},
            },
            {"@type": "ImageObject", "license": "MIT"},
            {"license": 3},
        ]
    }
    page = f"<script type='application/ld+json'>{json.dumps(data)}</script>".encode()
    assert [one.spdx for one in page_statements(page)] == ["CC-BY-4.0", "CC0-1.0"]


def test_conflicts_are_unknown_and_unknown_is_not_allowed_unless_said() -> None:
    pages = [f"<a rel=license href={BY}><a href={BY}>", f"<a rel=license href={BY}><a rel=license href=/terms>", "<p>"]
    found, rows = decide({"html": pages})
    assert [row[0] for row in rows] == ["CC-BY-4.0", None, None]
    assert rows[1] == (None, "page (rel=license)", f"{BY}; /terms") and rows[2] == (None, None, None)
    assert found.rule is not None and [found.rules[n] if n >= 0 else None for n in found.rule] == [
        None,
        "licence_unknown",
        "licence_unknown",
    ]
    assert found.port.tolist() == [0, -1, -1] and found.tallies == {"licence: CC-BY-4.0": 1, "licence: unknown": 2}
    assert decide({"html": pages}, unknown="allowed")[0].port.tolist() == [0, 0, 0]
    # A conflict does not fall back on the source, silence does.
    assert [row[0] for row in decide({"html": pages}, STATED)[1]] == ["CC-BY-4.0", None, "ODC-By-1.0"]


def test_the_first_of_the_order_that_says_something_counts(tmp_path: Path) -> None:
    rows = [
        {"of": "a.org", "spdx": "mit", "stated_by": "author", "evidence": "mail"},
        {"of": "a.org/cc0", "spdx": "CC0-1.0"},
    ]
    rows = [{"stated_by": None, "evidence": None, **row} for row in rows]
    lines, table = tmp_path / "t.jsonl", tmp_path / "t.parquet"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), table)
    urls = [
        "https://www.A.org/cc0/x?y",
        "http://a.org:80/cc00",
        "https://b.org/",
        None,
        "https://a.org/" + "/" * 1_000_000,
    ]
    columns = {"url": urls, "own": ["apache-2.0", None, None, "my own terms", None], "html": [f"<a href={BY}>"] * 5}
    for path in (lines, table):
        _, found = decide(columns, STATED, column="own", table=str(path))
        assert [row[:2] for row in found] == [
            ("Apache-2.0", "column (own)"),
            ("MIT", "table (author)"),
            ("CC-BY-4.0", "page (link)"),
            (None, "column (own)"),
            ("MIT", "table (author)"),
        ]
        _, found = decide(columns, STATED, column="own", table=str(path), order=["table", "source"])
        assert [row[0] for row in found] == ["MIT", "MIT", "ODC-By-1.0", "ODC-By-1.0", "MIT"]
        assert found[2][1:] == ("source (distributor)", "https://example.org/terms")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"of": "a.org", "spdx": "free"}', ":1: `spdx`: 'free' is no SPDX expression"),
        ('{"of": "a.org", "spdx": "CC BY-SA 4"}', "Nearest: CC-BY-SA-4.0"),
        ('{"of": "a.org", "spdx": ["MIT"]}', "is no SPDX expression"),
        ('{"spdx": "MIT"}', ":1: expected a text `of`"),
        ('{"of": "a.org"}', ":1: it says nothing of 'a.org'; expected `spdx`, `statement` or one of attribution"),
        ('{"of": "a.org", "conditions": ["by"]}', ":1: `conditions` is \"['by']\"; expected some of attribution"),
        ('{"of": "a.org", "conditions": 3}', ":1: `conditions` is '3'; expected some of"),
        ('{"of": "a.org", "language": "German language"}', "`language` is 'German language'; expected at most 20"),
        ('{"of": "a.org", "terms": ["x"]}', "`terms` is \"['x']\"; expected a text"),
        (
            json.dumps({"of": "a.org", "creators": [str(n) for n in range(10**5)]}),
            "; expected at most 20 different names",
        ),
        ('{"of": "a.org", "creators": ["A"]}\n{"of": "a.org", "creators": ["B"]}', ":2: `a.org` is there twice"),
        ('{"of": "a.org", "spdx": "MIT"}\n{"of": "https://a.org/", "spdx": "CC0-1.0"}', ":2: `a.org` is there twice"),
    ],
)
def test_a_table_that_is_none_is_refused_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "licences.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        Licence(LicenceConfig(allowed="MIT", table=str(path))).check_files()
    assert told in str(error.value)
    with pytest.raises(ValueError, match="no licence that SPDX names; expected one such as CC-BY-4.0"):
        LicenceConfig(allowed="CC-BY")


def test_hostile_pages_take_time_that_is_bounded() -> None:
    started = time.process_time()
    for page in (b"<a rel=license href=x>" * 50_000, b'<a href="//creativecommons.org/licenses/' + b"by-" * 300_000):
        assert len(page_statements(page)) <= 20
    assert time.process_time() - started < 10


def test_a_run_routes_by_licence_counts_shares_and_is_audited(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pages = [f"<a rel=license href={BY}>", "<a rel=license href=//creativecommons.org/licenses/by-nc/4.0/>", "<p>"]
    table = pa.table({"id": ["by", "nc", "none"], "text": ["some text"] * 3, "html": pages})
    pq.write_table(table, tmp_path / "in/0.parquet")
    run(CONFIG.format(root=tmp_path))
    kept = {
        row["id"]: (row["licence"], row["licence_stated_by"], row["licence_evidence"])
        for row in rows_of(tmp_path / "out")
    }
    assert kept == {"by": ("CC-BY-4.0", "page (rel=license)", BY), "none": ("MIT", "source (author)", "LICENSE")}
    assert [row["licence"] for row in rows_of(tmp_path / "others")] == ["CC-BY-NC-4.0"]
    manifest = (tmp_path / "out/manifest.json").read_text()
    assert '"licence: CC-BY-4.0":1' in manifest.replace(" ", "").replace("licence:", "licence: ")
    for name in ("out", "others"):
        result = audit_output(str(tmp_path / name), full=True, sources=(), plugins=("toy_stages",))
        assert result.exit_code == 0, result.problems
        assert result["replay"].status == "pass", result["replay"].skipped


def test_facts_come_with_the_licence_or_from_the_first_who_knows_them(tmp_path: Path) -> None:
    table = tmp_path / "facts.jsonl"
    rows: list[dict[str, Any]] = [
        {"of": "a.org", "spdx": "CC-BY-4.0", "attribution": "A, a.org", "conditions": ["attribution"], "creators": "A"},
        {"of": "b.org", "creators": ["B", "C", "B"][:2], "terms": "https://b.org/tos", "model_generated": ["GPT-4"]},
        {"of": "c.org", "statement": "ask first", "stated_by": "author", "evidence": "mail", "collector": "C"},
    ]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {**STATED, "terms": "https://example.org/tos", "collector": "Crawlers", "model_generated": []}
    columns = {
        "url": ["https://a.org/", "https://b.org/x", "https://www.c.org/", None],
        "authors": [["Ada", "", "Ada"], None, [], ["X" * 1000] * 10**5],
        "made": [True, None, False, None],
    }
    _, found = decide_whole(
        columns, source, table=str(table), columns={"creators": "authors", "model_generated": "made"}
    )
    a, b, c, none = found
    assert (a["licence"], a["licence_attribution"], a["licence_conditions"]) == (
        "CC-BY-4.0",
        "A, a.org",
        ["attribution"],
    )
    # What goes with a licence is never taken from who states another one; what is so of the texts is.
    assert (a["licence_terms"], a["licence_collector"], a["licence_creators"]) == (None, "Crawlers", ["Ada"])
    assert (a["licence_model_generated"], b["licence_model_generated"]) == (["unnamed model"], ["GPT-4"])
    assert (b["licence"], b["licence_stated_by"]) == ("ODC-By-1.0", "source (distributor)")
    assert (b["licence_creators"], b["licence_terms"]) == (["B", "C"], "https://example.org/tos")
    assert (c["licence"], c["licence_evidence"], c["licence_collector"]) == (None, "ask first; mail", "C")
    assert (c["licence_creators"], c["licence_model_generated"]) == (None, [])  # an empty list of creators says nothing
    assert [len(name) for name in none["licence_creators"]] == [200] and none["licence_language"] is None


def test_facts_of_columns_that_cannot_be_one_are_left_out_and_bounded() -> None:
    hostile: dict[str, Any] = {
        "creators": [f"n{n}" for n in range(1000)], "conditions": ["attribution", "eat more"], "attribution": 3,
        "language": ["de", "<script>", "x" * 100], "terms": "a\n\x00" * 10**6, "collector": b"\xff", "model_generated": {},
    }  # fmt: skip
    found = facts_in(hostile)
    assert len(found["creators"]) == 20 and found["conditions"] == ["attribution"] and found["language"] == ["de"]
    assert len(found["terms"]) == 200 and found["collector"] == "\ufffd"
    assert "attribution" not in found and "model_generated" not in found
