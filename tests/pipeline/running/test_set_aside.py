"""One failed read ends one task: the others are committed, nothing goes on without it, and the next run tries just it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gristmill.pipeline.errors import InputSetAside, StorageSetAside
from gristmill.pipeline.executor import SetAside
from gristmill.pipeline.running.set_aside import TasksSetAside
from tests.pipeline.toy_runs import GRAPH, run, shards, write_corpus


def test_a_damaged_file_ends_its_task_alone(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=6)
    run(GRAPH.format(root=tmp_path), output=str(tmp_path / "whole"))
    bad = tmp_path / "in/part-002.parquet"
    body = bad.read_bytes()
    told: list[str] = []

    def damage(progress: object) -> None:
        told.append(getattr(progress, "stage", ""))
        if told[-1] == "pass 1 of 3":  # planned already
            bad.write_bytes(body[:4] + bytes(len(body) - 8) + body[-4:])

    with pytest.raises(InputSetAside, match=r"pass 1 of 3: 1 of 6 tasks set aside") as stopped:
        run(GRAPH.format(root=tmp_path), listener=damage)
    assert stopped.value.exit_code == 3 and "part-002.parquet" in str(stopped.value)
    assert not [step for step in told if step.startswith(("settling", "pass 2", "publishing"))]
    assert not (tmp_path / "out/corpus/manifest.json").exists()
    (listed,) = list(tmp_path.rglob("set-aside.jsonl"))
    (line,) = [json.loads(line) for line in listed.read_text().splitlines()]
    assert (line["task"], line["file"], line["input_is_cause"]) == (2, str(bad), True)
    bad.write_bytes(body)
    assert run(GRAPH.format(root=tmp_path)).reused_tasks == 5
    for name in ("corpus", "long"):
        assert shards(tmp_path / "out" / name) == shards(tmp_path / "whole" / name)


def test_storage_that_fails_says_go_on_and_input_that_fails_does_not(tmp_path: Path) -> None:
    aside = TasksSetAside(str(tmp_path), "pass 1 of 1", 50)
    aside.check()
    aside.add(7, SetAside("s3://b/x", "s3://b/x: 503 Slow Down", False))
    with pytest.raises(StorageSetAside, match=r"s3://b/x: 503 Slow Down") as stopped:
        aside.check()
    assert stopped.value.exit_code == 75
    aside.add(8, SetAside("s3://b/y", "no Parquet file", True))
    with pytest.raises(InputSetAside, match=r"2 of 50 tasks .*\n  s3://b/y: no Parquet file\n  s3://b/x: 503"):
        aside.check()


def test_too_many_stop_the_run_at_once(tmp_path: Path) -> None:
    for tasks, most in ((50, 10), (60_000, 60)):
        aside = TasksSetAside(str(tmp_path), "pass 1 of 1", tasks)
        for task in range(most):
            aside.add(task, SetAside(f"f{task}", "reset", False))
        with pytest.raises(StorageSetAside, match=rf"(?s)too many to go on.*and {most - 2} more") as stopped:
            aside.add(most, SetAside("last", "reset", False))
        assert len(str(stopped.value)) < 1000
        assert len((tmp_path / "set-aside.jsonl").read_text().splitlines()) == most + 1
