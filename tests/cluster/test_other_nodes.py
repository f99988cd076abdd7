"""A task that fails on one node runs on another: a node whose storage is broken, and one that dies, cost nothing but time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gristmill.pipeline.errors import StorageError
from gristmill.pipeline.executor import SetAside
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.executor.ray import RayExecutor
from gristmill.pipeline.resources import Resources
from tests.cluster.ray_cluster import RayCluster, end, running
from tests.pipeline.toy_runs import GRAPH, PLUGINS, run, shards, write_corpus

pytestmark = pytest.mark.cluster
ROOT = str(Path(__file__).parents[2])


@dataclass(frozen=True)
class Job:
    """What a task is about, and a folder in which each attempt leaves its node's name."""

    subject: str
    folder: str
    attempt: str = "0"


def told(job: Job) -> str:
    """The name of the node. Its disk is full where it is called `broken`; on `dying`, the first attempt never ends."""
    node = os.environ["GRISTMILL_TEST_NODE"]
    (Path(job.folder) / f"{job.subject}-{node}").touch()
    if node == "broken":
        raise StorageError(f"{job.subject}: no space left on device")
    while node == "dying":
        time.sleep(0.1)
    return node


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    path = os.pathsep.join([f"{ROOT}/src", ROOT, PLUGINS])
    with (
        running(tmp_path_factory.mktemp("ray"), 0, {"PYTHONPATH": path}) as made,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in made.environment.items():
            patch.setenv(name, value)
        yield made


@pytest.fixture
def cluster(head: RayCluster) -> Iterator[RayCluster]:
    """The cluster without any node but its head, which runs no tasks."""
    yield head
    while head.nodes:
        end(head.nodes.pop())


def executor_on(cluster: RayCluster) -> RayExecutor:
    return RayExecutor(workers=2, address=cluster.address, plugin_folders=[ROOT, PLUGINS])


def test_what_storage_fails_on_one_node_runs_on_another(tmp_path: Path, cluster: RayCluster) -> None:
    write_corpus(tmp_path / "in", files=4)
    stage = f"  crash: {{how: node, marker: '{tmp_path}/refused'}}\n  same: {{}}"
    text = GRAPH.format(root=tmp_path).replace("  same: {}", stage)
    cluster.add_node(GRISTMILL_TEST_NODE="broken")
    with executor_on(cluster) as executor:
        jobs = [Job(str(number), str(tmp_path)) for number in range(4)]
        alone = dict(executor.run_independent(told, jobs))
        assert all(isinstance(one, SetAside) and "no space left" in one.reason for one in alone.values())
        cluster.add_node(GRISTMILL_TEST_NODE="sound")
        assert set(dict(executor.run_independent(told, jobs)).values()) == {"sound"}
        # Workers of their own, as for a GPU: an actor on each node.
        own = Resources(shares_worker=False)
        assert set(dict(executor.run_independent(told, jobs, own)).values()) == {"sound"}
        run(text, executor, output=str(tmp_path / "by-nodes"))
    assert (tmp_path / "refused").exists(), "the broken node was given no task"
    run(text, InlineExecutor())
    for name in ("corpus", "long"):
        assert shards(tmp_path / "by-nodes" / name) == shards(tmp_path / "out" / name)


def test_what_dies_with_a_node_runs_on_another(tmp_path: Path, cluster: RayCluster) -> None:
    cluster.add_node(GRISTMILL_TEST_NODE="dying")
    with executor_on(cluster) as executor:
        found = executor.run_independent(told, [Job(str(number), str(tmp_path)) for number in range(2)])
        cluster.add_node(GRISTMILL_TEST_NODE="sound")
        answers = [next(found)[1]]
        assert list(tmp_path.glob("?-dying")), "the dying node was given no task"
        end(cluster.nodes.pop(0))
        assert [*answers, *(one for _, one in found)] == ["sound", "sound"]
