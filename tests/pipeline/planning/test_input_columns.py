"""Input columns whose names are taken, missing or doubled: none is lost, and none is taken for another."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.errors import ConfigError, DataError
from tests.pipeline.toy_runs import rows_of, run

TEXTS = [f"words {number} ä" for number in range(30)]


def config(folder: Path, columns: str = "{}", stages: str = "{length: {least: 2}}", selected: str = "null") -> str:
    return (
        f'sources: {{s: {{format: parquet, paths: ["{folder}/in/*.parquet"], columns: {columns}}}}}\n'
        f"stages: {stages}\noutputs: {{corpus: {{path: {folder}/out, columns: {selected}}}}}\n"
    )


def corpus(folder: Path, table: pa.Table) -> None:
    (folder / "in").mkdir()
    pq.write_table(table, folder / "in/a.parquet")


def test_a_file_without_ids_can_be_read_again_by_a_pass_that_needs_no_column(tmp_path: Path) -> None:
    corpus(tmp_path, pa.table({"text": TEXTS}))
    run(config(tmp_path, stages="{length: {}, same: {}, repeat: {times: 3, observe: same}}"))
    assert len({row["doc_key"] for row in rows_of(tmp_path / "out")}) == 30


@pytest.mark.parametrize("selected", ["null", "[input_text]"])
def test_a_column_whose_name_the_mapping_takes_is_passed_on(tmp_path: Path, selected: str) -> None:
    corpus(tmp_path, pa.table({"text": ["short"] * 30, "content": TEXTS}))
    result = run(config(tmp_path, "{text: content}", selected=selected))
    rows = rows_of(tmp_path / "out")
    assert [row["text"] for row in rows] == TEXTS
    assert {row["input_text"] for row in rows} == {"short"}
    assert any("`text` is passed on as `input_text`" in notice for notice in result.plan.graph.notices)


def test_an_output_can_be_the_input_of_the_next_run(tmp_path: Path) -> None:
    corpus(tmp_path, pa.table({"text": TEXTS}))
    run(config(tmp_path))
    first = rows_of(tmp_path / "out")
    run(config(tmp_path, stages="{same: {}}").replace("/in/", "/out/data/").replace("/out,", "/next,"))
    second = rows_of(tmp_path / "next")
    assert [row["input_doc_key"] for row in second] == [row["doc_key"] for row in first]
    assert {row["input_copy"] for row in second} == {0}


def test_one_input_column_can_have_two_names(tmp_path: Path) -> None:
    corpus(tmp_path, pa.table({"body": TEXTS}))
    run(config(tmp_path, "{text: body, original: body}"))
    assert [(row["text"], row["original"]) for row in rows_of(tmp_path / "out")] == [(t, t) for t in TEXTS]


def test_an_input_column_of_the_form_input_name_is_read_in_every_pass(tmp_path: Path) -> None:
    corpus(tmp_path, pa.table({"text": TEXTS, "input_length": TEXTS}))
    run(config(tmp_path, stages="{length: {}, same: {}}", selected="[input_length]"))
    assert [row["input_length"] for row in rows_of(tmp_path / "out")] == TEXTS


@pytest.mark.parametrize(
    ("table", "columns", "error", "told"),
    [
        (pa.table([TEXTS, TEXTS], names=["text", "text"]), "{}", DataError, "2 columns would be called `text`"),
        (pa.table({"a": TEXTS, "b": TEXTS}), "{text: a, copy: b}", ConfigError, "maps `b` to `copy`"),
        (pa.table({"text": TEXTS, "id": [[1]] * 30}), "{}", DataError, "`id` is list"),
        (pa.table({"text": TEXTS, "id": [b"\xff"] * 30}), "{}", DataError, "`id` is binary"),
        (
            pa.table({"text": TEXTS, "length": TEXTS, "input_length": TEXTS}),
            "{}",
            ConfigError,
            "the input has that column too",
        ),
    ],
)
def test_names_that_cannot_be_told_apart_are_refused(
    tmp_path: Path, table: pa.Table, columns: str, error: type[Exception], told: str
) -> None:
    corpus(tmp_path, table)
    with pytest.raises(error, match=told):
        run(config(tmp_path, columns))
    assert not (tmp_path / "out").exists()
