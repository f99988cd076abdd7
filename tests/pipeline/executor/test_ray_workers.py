"""Tasks with needs of their own on Ray: processes that keep what they were given, and results that are the same."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from gristmill.pipeline.errors import ConfigError, GristmillError, StorageError
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.executor.ray import RayExecutor
from gristmill.pipeline.resources import Resources, visible_gpus
from gristmill.pipeline.storage import sha256_of
from tests.pipeline.toy_runs import GRAPH, PLUGINS, run, shards, write_corpus

pytestmark = pytest.mark.ray
ROOT = str(Path(__file__).parents[3])
OWN = Resources(shares_worker=False)


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayExecutor]:
    """Somebody else's cluster, of which Ray believes that it has two accelerators."""
    import ray

    # Without `local`, Ray connects to any cluster that it finds running on this machine.
    ray.init(
        "local", num_cpus=2, num_gpus=2, include_dashboard=False, object_store_memory=80 << 20, log_to_driver=False
    )
    try:
        with RayExecutor(workers=2, plugin_folders=[PLUGINS, ROOT]) as executor:
            yield executor
    finally:
        ray.shutdown()


@cache
def loaded() -> list[int]:
    """Stands for a model: what a process loads once."""
    return []


def told(number: int) -> tuple[int, str, int]:
    loaded().append(number)
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES", ""), len(loaded())


def test_each_process_keeps_its_accelerator_and_what_it_loaded(cluster: RayExecutor) -> None:
    answers = [answer for _, answer in sorted(cluster.run(told, range(24), Resources(gpus=1.0)))]
    devices: dict[int, set[str]] = {}
    for process, device, _ in answers:
        devices.setdefault(process, set()).add(device)
    assert 1 <= len(devices) <= 2 and all(len(seen) == 1 for seen in devices.values())
    assert set().union(*devices.values()) <= {"0", "1"} and len(set().union(*devices.values())) == len(devices)
    assert sorted(calls for _, _, calls in answers if calls == 1) == [1] * len(devices), "loaded more than once"


class Holder:
    """Somebody else's actor, with an accelerator."""

    def ready(self) -> bool:
        return True


def test_a_process_for_which_there_is_no_room_just_now_holds_nothing_up(cluster: RayExecutor) -> None:
    import ray

    holder = ray.remote(num_gpus=1, num_cpus=0)(Holder).remote()
    ray.get(holder.ready.remote())
    try:
        answers = dict(cluster.run(told, range(8), Resources(gpus=1.0)))
    finally:
        ray.kill(holder)
    assert sorted(answers) == list(range(8)) and len({process for process, _, _ in answers.values()}) == 1


def test_processes_of_ones_own_end_with_their_pass(cluster: RayExecutor) -> None:
    first = {process for _, (process, _, _) in cluster.run(told, range(6), OWN)}
    second = {process for _, (process, _, _) in cluster.run(told, range(6), OWN)}
    assert first and second and not first & second


def double_or_die(task: tuple[int, str]) -> int:
    number, marker = task
    if number == 5 and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number


def always_die(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_of_ones_own_that_dies_is_started_again_and_nothing_is_lost(
    cluster: RayExecutor, tmp_path: Path
) -> None:
    marker = str(tmp_path / "died-once")
    answers = dict(cluster.run(double_or_die, [(number, marker) for number in range(12)], OWN))
    assert Path(marker).exists() and answers == {number: 2 * number for number in range(12)}
    with pytest.raises(GristmillError, match="a worker died"):
        list(cluster.run(always_die, [0], OWN))


def test_an_error_in_a_process_of_ones_own_arrives_as_it_was(cluster: RayExecutor) -> None:
    with pytest.raises(StorageError, match="/nowhere: cannot be opened"):
        list(cluster.run(sha256_of, ["/nowhere"], OWN))


def test_needs_change_no_byte_of_a_result_on_ray(cluster: RayExecutor, tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=5)
    text = GRAPH.format(root=tmp_path).replace("  same: {}", "  neural: {}\n  same: {}")
    needs = "resources: {length: {cpus: 2}, neural: {gpus: 0.5, memory_bytes: 1000000}, same: {shares_worker: false}}\n"
    run(text + needs, cluster, output=str(tmp_path / "ray"))
    run(text, InlineExecutor(order=2), output=str(tmp_path / "inline"))
    for name in ("corpus", "long"):
        mine, plain = shards(tmp_path / "ray" / name), shards(tmp_path / "inline" / name)
        assert mine.keys() == plain.keys()
        assert {k for k in mine if mine[k] != plain[k]} <= {"README.md", "croissant.json"}


def test_a_cluster_without_accelerators_refuses_a_plan_that_needs_one(tmp_path: Path, cluster: RayExecutor) -> None:
    write_corpus(tmp_path / "in", files=1)
    text = GRAPH.format(root=tmp_path).replace("  same: {}", "  neural: {gpus: 3}\n  same: {}")
    with pytest.raises(ConfigError, match=r"\(`neural`\) needs 3 GPUs per task, and the largest machine here has 2\."):
        run(text, cluster)
    assert not (tmp_path / "out").exists()


def test_accelerators_of_this_process_are_those_that_it_may_see(monkeypatch: pytest.MonkeyPatch) -> None:
    there = visible_gpus()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert len(visible_gpus()) == min(1, len(there))
