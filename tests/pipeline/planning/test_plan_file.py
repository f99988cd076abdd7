"""The plan travels as data: the same work from the file as from the driver's objects, and nothing else is taken for it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from gristmill.pipeline.errors import ConfigError, ConservationError, StorageError
from gristmill.pipeline.planning.plan import Plan
from gristmill.pipeline.planning.plan_file import MOST_BYTES, plan_from, read_plan, write_plan
from gristmill.pipeline.running.task_keys import TaskKeys, signal_keys
from gristmill.pipeline.writing.task_files import data_columns, node_log
from tests.pipeline.toy_runs import GRAPH, plan_of, write_corpus


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    write_corpus(tmp_path / "in", files=2)
    return plan_of(GRAPH.format(root=tmp_path), output=str(tmp_path / "other"), overrides=["stages.length.least=3"])


def changed(location: Path, **fields: object) -> str:
    value = json.loads(location.read_text())
    location.write_text(json.dumps({**value, **fields}))
    return hashlib.sha256(location.read_bytes()).hexdigest()


def test_a_task_finds_in_the_file_what_the_driver_planned(tmp_path: Path, plan: Plan) -> None:
    location = str(tmp_path / "plan.json")
    found = read_plan(location, write_plan(plan, location))
    assert found.key == plan.key and found.identity() == plan.identity() and found.passes == plan.passes
    assert found.config.nodes == plan.config.nodes and found.config.outputs == plan.config.outputs
    assert found.slices == ()
    for index in range(len(plan.passes)):
        keys = [TaskKeys(one, index, {}).key(plan.slices[0], "0" * 64) for one in (plan, found)]
        assert keys[0] == keys[1]
    assert signal_keys(found, "0" * 64) == signal_keys(plan, "0" * 64)
    for output, other in zip(plan.graph.outputs, found.graph.outputs, strict=True):
        assert data_columns(plan, output) == data_columns(found, other)
    assert [node_log(found, node) for node in found.graph.nodes] == [node_log(plan, node) for node in plan.graph.nodes]
    assert found.config.where("stages.length.least") == plan.config.where("stages.length.least")


def test_what_the_driver_tried_is_what_tasks_of_its_process_read(tmp_path: Path, plan: Plan) -> None:
    location = tmp_path / "plan.json"
    sha256 = write_plan(plan, str(location))
    assert read_plan(str(location), sha256) is plan_from(location.read_bytes(), str(location))


def test_the_size_of_the_file_does_not_follow_the_slices(tmp_path: Path, plan: Plan) -> None:
    few, many = tmp_path / "few.json", tmp_path / "many.json"
    write_plan(plan, str(few))
    write_corpus(tmp_path / "in", files=60)
    write_plan(plan_of(GRAPH.format(root=tmp_path), output=str(tmp_path / "other")), str(many))
    assert abs(few.stat().st_size - many.stat().st_size) < 100


def test_another_file_is_not_taken_for_the_plan(tmp_path: Path, plan: Plan) -> None:
    path = tmp_path / "plan.json"
    sha256 = write_plan(plan, str(path))
    changed(path, run="0" * 64)
    with pytest.raises(ConservationError, match="the plan changed under a running task"):
        read_plan(str(path), sha256)
    path.unlink()
    with pytest.raises(StorageError, match="the plan is gone"):
        read_plan(str(path), sha256)
    with path.open("wb") as stream:
        stream.truncate(MOST_BYTES + 1)
    with pytest.raises(StorageError, match="expected at most"):
        read_plan(str(path), sha256)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"format": 2}, "format"),
        ({"more": 1}, "more"),
        ({"passes": [{"index": "one"}]}, "passes"),
        ({"outputs": 5}, "outputs"),
    ],
)
def test_a_file_of_another_form_is_refused_by_its_schema(
    tmp_path: Path, plan: Plan, fields: dict[str, object], told: str
) -> None:
    path = tmp_path / "plan.json"
    write_plan(plan, str(path))
    sha256 = changed(path, **fields)
    with pytest.raises(ConservationError, match=rf"no plan of this version of Gristmill \({told}"):
        read_plan(str(path), sha256)
    for data in (b"", b"[1]", b"\xff", b"[" * 100_000):
        with pytest.raises(ConservationError, match="no plan"):
            plan_from(data, "plan.json")


@pytest.mark.parametrize(
    ("named", "told"),
    [("no_such_module:Length", "cannot be imported on this node"), ("os:getcwd", "is not a Stage on this node")],
)
def test_a_class_that_a_node_lacks_is_named(tmp_path: Path, plan: Plan, named: str, told: str) -> None:
    path = tmp_path / "plan.json"
    write_plan(plan, str(path))
    classes = json.loads(path.read_text())["classes"]
    assert classes["stage length"] == "toy_stages:Length"
    sha256 = changed(path, classes={**classes, "stage length": named})
    with pytest.raises(ConfigError, match=rf"test.yaml:8: stages.length: .*{told}"):
        read_plan(str(path), sha256)


def test_a_worker_with_other_libraries_is_refused(tmp_path: Path, plan: Plan) -> None:
    path = tmp_path / "plan.json"
    write_plan(plan, str(path))
    prints = json.loads(path.read_text())["fingerprints"]
    prints["same"]["fields"]["signal"]["library:pythainlp"] = "5.0"
    sha256 = changed(path, fingerprints=prints)
    with pytest.raises(ConfigError, match=r"stages.same: this process has none .*, the driver has pythainlp 5\.0"):
        read_plan(str(path), sha256)
