"""Logs of tasks: only of those that have something to say, and never needed."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import pytest

from gristmill.pipeline.errors import DataError, StorageError
from gristmill.pipeline.running import task_log as task_log_module
from gristmill.pipeline.running.task_log import log_names, task_log
from tests.pipeline.toy_runs import GRAPH, run, write_corpus


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_log_module, "_written", 0)


def logs(folder: Path) -> list[list[dict[str, Any]]]:
    return [
        [json.loads(line) for line in (folder / "logs" / name).read_text().splitlines()]
        for name in log_names(str(folder))
    ]


def test_a_task_that_has_nothing_to_say_leaves_nothing(tmp_path: Path) -> None:
    with task_log(str(tmp_path), 3, 0, "a.parquet"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_warnings_of_python_and_of_loggers_are_kept(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        before = warnings.showwarning, list(logging.getLogger().handlers)
        with task_log(str(tmp_path), 3, 1, "a.parquet"):
            warnings.warn("an old file", UserWarning, stacklevel=1)
            logging.getLogger("reader").warning("page %d is odd", 7)
            logging.getLogger("reader").info("nothing")
        assert (warnings.showwarning, logging.getLogger().handlers) == before
    first, python, logger, last = logs(tmp_path)[0]
    assert (first["event"], first["task"], first["pass"], first["slice"]) == ("begin", 3, 2, "a.parquet")
    assert first["host"] and first["process"] > 0
    assert (python["kind"], python["text"].split(": ")[1]) == ("UserWarning", "an old file")
    assert (logger["kind"], logger["text"]) == ("WARNING", "reader: page 7 is odd")
    assert last["event"] == "end" and last["seconds"] >= 0 and last["peak_memory_bytes"] > 1 << 20


def test_an_error_is_kept_with_its_traceback_if_it_is_a_defect(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), task_log(str(tmp_path), 1, 0, "a.parquet"):
        _ = 1 // 0
    with pytest.raises(DataError), task_log(str(tmp_path), 2, 0, "b.parquet"):
        raise DataError("b.parquet: it is no parquet")
    defect, data = logs(tmp_path)
    assert defect[1]["kind"] == "ZeroDivisionError" and "_ = 1 // 0" in defect[1]["traceback"]
    assert data[1] == {"event": "error", "kind": "DataError", "text": "b.parquet: it is no parquet"}


def test_what_is_kept_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_log_module, "MOST_FILES", 2)
    for task in range(5):
        with task_log(str(tmp_path), task, 0, "a.parquet"):
            for number in range(1000):
                logging.getLogger("reader").warning("%d %s", number, "x" * 10_000)
    found = logs(tmp_path)
    assert len(found) == 2
    assert all(len(lines) == task_log_module.MOST_LINES + 2 for lines in found)
    assert all(len(line["text"]) <= task_log_module.MOST_CHARACTERS for lines in found for line in lines[1:-1])


def test_a_log_that_cannot_be_written_does_not_hide_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StorageError("no room")

    monkeypatch.setattr(task_log_module, "put", fail)
    with pytest.raises(ZeroDivisionError), task_log(str(tmp_path), 1, 0, "a.parquet"):
        _ = 1 // 0
    with task_log(str(tmp_path), 1, 0, "a.parquet"):
        logging.getLogger("reader").warning("odd")


def test_a_run_that_fails_leaves_the_log_of_the_task_in_its_work_folder(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")

    def damage(progress: Any) -> None:
        if progress.stage == "pass 2 of 3" and not progress.tasks_done:
            (tmp_path / "in/part-001.parquet").write_bytes(b"no parquet")

    with pytest.raises(Exception, match="part-001"):
        run(GRAPH.format(root=tmp_path), listener=damage)
    found = logs(tmp_path / "out/corpus.work/gristmill-run")
    assert found and found[0][0]["slice"] == "part-001.parquet"
    assert found[0][1]["event"] == "error" and "part-001" in found[0][1]["text"]
