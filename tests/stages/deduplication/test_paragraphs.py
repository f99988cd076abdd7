"""The stage `paragraphs`: what is cut out equals brute force, is recorded in the ledger, and passes the audit."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from pydantic import ValidationError

from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.errors import ConservationError
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.planning.config import load
from gristmill.pipeline.planning.plan import make_plan
from gristmill.pipeline.running.engine import Engine
from gristmill.pipeline.stage import DROPPED, SettledView, StageContext
from gristmill.pipeline.testing import Result, doc_key_column, make_stage, run_stage, splits, whole
from gristmill.stages.deduplication.paragraphs import Paragraphs, ParagraphsConfig
from tests.invariance_cases.paragraphs import pages
from tests.pipeline.toy_runs import rows_of
from tests.stages.deduplication.kernels.test_digests import form

BLANK = "".join(map(chr, range(0x21)))


def documents(texts: list[str | None], **columns: Any) -> pa.Table:
    return pa.table({"doc_key": doc_key_column(len(texts)), "text": pa.array(texts, pa.large_string()), **columns})


def run(table: pa.Table, **config: Any) -> Result:
    return run_stage(make_stage(Paragraphs, config), table, whole(len(table)))


def lines_of(text: str, unit: str) -> list[tuple[str, int | None]]:
    """(line, the number of its passage or None for a blank one)."""
    found: list[tuple[str, int | None]] = []
    number = -1
    for line in text.split("\n"):
        if not line.strip(BLANK):
            found.append((line, None))
            continue
        if unit == "line" or not found or found[-1][1] is None:
            number += 1
        found.append((line, number))
    return found


def passages_of(text: str, unit: str) -> list[str]:
    parts: dict[int, list[str]] = defaultdict(list)
    for line, number in lines_of(text, unit):
        if number is not None:
            parts[number].append(line)
    return ["\n".join(lines) for _, lines in sorted(parts.items())]


def without(text: str, unit: str, removed: set[int]) -> str:
    left: list[str] = []
    dropping = False
    for line, number in lines_of(text, unit):
        if number is not None:
            dropping = number in removed
        elif unit == "line":
            dropping = False
        if not dropping:
            left.append(line)
    while left and not left[0].strip(BLANK):
        left.pop(0)
    while left and not left[-1].strip(BLANK):
        left.pop()
    return "\n".join(left)


def brute_force(table: pa.Table, config: ParagraphsConfig) -> dict[bytes, tuple[str, int]]:
    """New text and number of removed passages of each document that loses some."""
    rows = {row["doc_key"]: row for row in table.to_pylist()}
    places: dict[Any, list[tuple[bytes, int]]] = defaultdict(list)
    for key, row in sorted(rows.items()):
        for number, passage in enumerate(passages_of(row["text"] or "", config.unit)):
            normal = form(passage, config.normalise)
            if normal and len(passage) >= config.min_characters:
                places[(normal, *(row[name] for name in config.within))].append((key, number))
    removed: dict[bytes, set[int]] = defaultdict(set)
    for found in places.values():
        if len(found) > config.max_repeats:
            for key, number in found[config.keep_first :]:
                removed[key].add(number)
    return {key: (without(rows[key]["text"], config.unit, gone), len(gone)) for key, gone in removed.items()}


@pytest.mark.parametrize(
    "config",
    [
        {"max_repeats": 4},
        {"max_repeats": 1, "keep_first": False},
        {"unit": "line", "max_repeats": 6},
        {"unit": "line", "max_repeats": 2, "min_characters": 12, "within": "language", "keep_first": False},
        {"unit": "line", "max_repeats": 3, "normalise": "spaces"},
        {"unit": "paragraph", "max_repeats": 2, "normalise": "none"},
    ],
)
def test_texts_equal_brute_force_whatever_the_slicing(config: dict[str, Any]) -> None:
    table = pages()
    texts = dict(zip(table["doc_key"].to_pylist(), table["text"].to_pylist(), strict=True))
    expected = brute_force(table, ParagraphsConfig(**config))
    assert len(expected) > 5 and any(text.strip(BLANK) for text, _ in expected.values())
    rule = f"repeated_{config.get('unit', 'paragraph')}"

    @settings(max_examples=4, suppress_health_check=list(HealthCheck))
    @given(splits(len(table)))
    def equal(split: Any) -> None:
        result = run_stage(make_stage(Paragraphs, config), table, split)
        for key, row in result.decisions.items():
            text, removed = expected.get(key, (texts[key], 0))
            assert row["column passages_removed"] == removed
            if not removed:
                assert (row["port"], row["rule"], row["column text"]) == (0, None, None)
            elif text:
                assert (row["port"], row["rule"], row["column text"]) == (0, rule, text)
            else:
                assert (row["port"], row["rule"], row["column text"]) == (DROPPED, "emptied", None)
                assert row["failed"] == sorted(["emptied", rule])
        assert result.report["removed"] == sum(removed for _, removed in expected.values())
        assert result.report["documents"] == len(expected)

    equal()


def test_the_first_occurrence_stays_and_the_witness_says_where_the_first_loss_was() -> None:
    table = documents(["own line é\nmenu\nmenu\nother line", "menu\nthird line"])
    keys = table["doc_key"].to_pylist()
    result = run(table, unit="line", max_repeats=2)
    first = min(keys)
    texts = {key: result.decisions[key]["column text"] for key in keys}
    if first == keys[0]:
        assert texts == {keys[0]: "own line é\nmenu\nother line", keys[1]: "third line"}
        assert result.decisions[keys[0]]["witness"].split()[0] == "17"
    else:
        assert texts == {keys[0]: "own line é\nother line", keys[1]: None}
        assert result.decisions[keys[0]]["witness"].split()[0] == "12"
    removed = run(table, unit="line", max_repeats=2, keep_first=False)
    assert [removed.decisions[key]["column text"] for key in keys] == ["own line é\nother line", "third line"]
    assert len({row["witness"].split()[1] for row in removed.decisions.values()}) == 1


def test_a_passage_exactly_as_often_as_allowed_stays() -> None:
    table = documents(["menu\n\none"] * 3)
    assert all(row["column passages_removed"] == 0 for row in run(table, max_repeats=3).decisions.values())
    assert sum(row["column passages_removed"] > 0 for row in run(table, max_repeats=2).decisions.values()) == 2


def test_numbers_that_the_text_does_not_have_stop_the_run() -> None:
    stage = make_stage(Paragraphs, {})
    answer = pa.table(
        {"key": pa.array([b"k" * 16], pa.binary(16)), "numbers": pa.array([b"\x07\0\0\0"], pa.large_binary())}
    )
    with pytest.raises(ConservationError, match="fewer passages"):
        stage.decide(documents(["one\n\ntwo"]), SettledView(columns=answer), StageContext())


def test_a_wrong_setting_is_refused_with_what_is_allowed() -> None:
    for config, message in (
        ({"unit": "sentence"}, "'line' or 'paragraph'"),
        ({"max_repeats": 0}, "greater than or equal"),
    ):
        with pytest.raises(ValidationError, match=message):
            ParagraphsConfig(**config)


def test_a_corpus_of_one_text_loses_all_but_the_first() -> None:
    result = run(documents(["the same\n\npage"] * 50), max_repeats=1)
    assert sum(row["port"] == DROPPED for row in result.decisions.values()) == 49


# A run.

CONFIG = """
sources: {{s: {{format: parquet, paths: ["{root}/in/*.parquet"]}}}}
stages:
  paragraphs: {{unit: line, max_repeats: 3}}
  exact: {{}}
outputs: {{corpus: {{path: "{root}/out"}}}}
"""


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    table = pages().drop_columns(["doc_key"])
    for part in range(3):
        pq.write_table(table.slice(20 * part, 20), tmp_path / f"in/{part}.parquet")
    Engine(make_plan(load(CONFIG.format(root=tmp_path), "test.yaml")), InlineExecutor()).run()
    return tmp_path / "out"


def test_changed_texts_are_in_the_shards_on_record_and_clean(output: Path) -> None:
    ledger = {row["doc_key"]: row for row in rows_of(output, "ledger") if row["node"] == "paragraphs"}
    rows = rows_of(output)
    changed = [row for row in rows if row["doc_key"] in ledger]
    assert changed and all(row["passages_removed"] == ledger[row["doc_key"]]["value"] for row in changed)
    texts = [row["text"] for row in rows]
    assert len(set(texts)) == len(texts), "`exact` after it sees the new texts"
    assert any(row["rule"] == "emptied" for row in ledger.values())
    result = audit_output(str(output), full=True, sources=())
    assert result.exit_code == 0, result.problems
    assert result["text"].status == "pass"
