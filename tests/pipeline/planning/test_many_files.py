"""Planning of many files: looked at by tasks, with the plan and the errors of one process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.errors import ConfigError, DataError, StorageError
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.planning import foreign_files
from gristmill.pipeline.planning.foreign_files import FILES_HERE, FILES_OF_TASK, FilesJob, look_at
from gristmill.pipeline.planning.plan import Plan
from gristmill.pipeline.planning.plan_file import stored_plan
from gristmill.pipeline.provenance.values import to_json
from gristmill.pipeline.source import SourceConfig
from gristmill.stages.sources.parquet import ParquetSource
from tests.pipeline.toy_runs import plan_of

CONFIG = """
name: many
sources:
  s: {{format: {format}, paths: ["{root}/in"]}}
stages:
  length: {{least: 2}}
outputs:
  corpus: {{path: "{root}/out"}}
"""


def written(root: Path, files: int, odd: dict[int, pa.Table | bytes] | None = None) -> Path:
    """Small Parquet files, all of one content but for some."""
    folder = root / "in"
    folder.mkdir()
    pq.write_table(pa.table({"text": ["some text"] * 3, "id": ["a", "b", "c"]}), root / "usual")
    usual = (root / "usual").read_bytes()
    for number in range(files):
        path, content = folder / f"{number:05d}.parquet", (odd or {}).get(number, usual)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            pq.write_table(content, path)
    return root


def plan(root: Path, executor: Any = None, format_: str = "parquet") -> Plan:
    return plan_of(CONFIG.format(root=root, format=format_), None if executor is None else lambda files: executor)


def as_data(made: Plan) -> tuple[str, list[Any]]:
    """The plan's file, and its slices."""
    return json.dumps(to_json(stored_plan(made))), list(made.slices)


def files_of(made: Plan) -> list[str]:
    """The files of a plan, small ones together in slices."""
    return [each.path for one in made.slices for each in one.each]


class Counting(InlineExecutor):
    """Counts tasks and the files in them; tasks run in another order than theirs."""

    def __init__(self, order: int | None = 11) -> None:
        super().__init__(order)
        self.jobs: list[FilesJob] = []

    def run_independent(
        self, function: Callable[[Any], Any], payloads: Iterable[Any], resources: Any = None
    ) -> Iterator[tuple[int, Any]]:
        def seen() -> Iterator[Any]:
            for job in payloads:
                self.jobs.append(job)
                yield job

        yield from super().run_independent(function, seen())


def test_tasks_in_any_order_plan_what_one_process_plans(tmp_path: Path) -> None:
    later = pa.table({"text": ["x"], "id": ["d"], "more": pa.array([1], pa.int32())})
    written(tmp_path, 2000, {7: pa.table({"text": ["x"], "id": pa.nulls(1)}), 1900: later})
    here = plan(tmp_path)
    assert len(files_of(here)) == 2000 and here.graph.source_schema["s"].names == ["id", "text", "more"]
    for order in (None, 1):
        executor = Counting(order)
        assert as_data(plan(tmp_path, executor)) == as_data(here)
        assert [len(job.files) for job in executor.jobs] == [FILES_OF_TASK] * 31 + [2000 - 31 * FILES_OF_TASK]


def test_a_few_files_need_no_workers(tmp_path: Path) -> None:
    def none(files: int) -> Any:
        raise AssertionError("workers were asked for")

    written(tmp_path, FILES_HERE)
    assert len(files_of(plan_of(CONFIG.format(root=tmp_path, format="parquet"), none))) == FILES_HERE


@pytest.mark.parametrize("order", [None, 3, 4])
def test_the_first_bad_file_is_named_as_one_process_names_it(tmp_path: Path, order: int | None) -> None:
    two = pa.table([["x"], ["y"]], names=["text", "text"])
    written(tmp_path, 700, {150: two, 300: b"", 600: b"no Parquet"})
    with pytest.raises((ConfigError, DataError)) as here:
        plan(tmp_path)
    assert "00150.parquet" in str(here.value)
    executor = Counting(order)
    with pytest.raises(type(here.value)) as by_tasks:
        plan(tmp_path, executor)
    assert str(by_tasks.value) == str(here.value)
    if order is None:  # and nothing is looked at behind it
        assert len(executor.jobs) == 150 // FILES_OF_TASK + 1


def test_files_that_disagree_are_told_as_one_process_tells_them(tmp_path: Path) -> None:
    number, text = (pa.table({"text": ["x"], "more": [value]}) for value in (1, "one"))
    written(tmp_path, 400, {10: text, 390: number, 395: number})
    found = []
    for executor in (None, Counting(5)):
        with pytest.raises(
            DataError, match=r"00390.parquet: the column `more` is int64, but string in .*00010.parquet"
        ) as e:
            plan(tmp_path, executor)
        found.append(str(e.value))
    assert found[0] == found[1]


def test_what_storage_failed_for_a_task_is_read_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, 400)
    calls: list[int] = []

    def failing(source: Any, files: Any, schemas: bool) -> Any:
        calls.append(1)
        if len(calls) in (2, 3):
            raise StorageError("the store is down")
        return really(source, files, schemas)

    really = foreign_files._look_at
    monkeypatch.setattr(foreign_files, "_look_at", failing)
    made = plan(tmp_path, Counting())
    monkeypatch.undo()
    assert as_data(made) == as_data(plan(tmp_path)) and len(calls) == 7 + 2


def test_lines_too_are_looked_at_by_tasks(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(300):
        (tmp_path / f"in/{number:03d}.jsonl").write_text(json.dumps({"text": "x", f"key{number % 3}": number}) + "\n")
    executor = Counting()
    assert as_data(plan(tmp_path, executor, "jsonl")) == as_data(plan(tmp_path, format_="jsonl"))
    assert len(executor.jobs) == 5


def test_a_task_answers_with_nothing_for_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    written(tmp_path, 3, {1: b"no Parquet"})
    made = ParquetSource("s", SourceConfig(format="parquet", paths=(f"{tmp_path}/in",)))
    job = FilesJob(foreign_files._named(made), tuple(made.files() or ()), True)
    assert look_at(job) is None
