"""Ray gives what one process gives, byte for byte, with workers that die and users who have a `pipeline/` too."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gristmill.pipeline.errors import ConservationError, DataError, GristmillError, StorageError
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.executor.ray import RayExecutor
from gristmill.pipeline.planning.foreign_files import FILES_HERE, described
from gristmill.pipeline.planning.plan_file import stored_plan
from gristmill.pipeline.source import SourceConfig
from gristmill.pipeline.storage import sha256_of
from tests.pipeline.toy_runs import GRAPH, PLUGINS, plan_of, run, shards, write_corpus

pytestmark = pytest.mark.ray
ROOT = str(Path(__file__).parents[3] / "src")


@pytest.fixture(scope="module")
def ray_executor() -> Iterator[RayExecutor]:
    with RayExecutor(workers=2, plugin_folders=[PLUGINS]) as executor:
        yield executor


def test_ray_and_one_process_write_the_same_bytes_though_a_worker_is_killed(
    tmp_path: Path, ray_executor: RayExecutor
) -> None:
    write_corpus(tmp_path / "in", files=24)
    marker = tmp_path / "killed-once"
    text = GRAPH.format(root=tmp_path).replace("  same: {}", f"  crash: {{marker: '{marker}'}}\n  same: {{}}")
    run(text, ray_executor, output=str(tmp_path / "ray"))
    assert marker.exists(), "no worker was killed"
    run(text, InlineExecutor(order=3), output=str(tmp_path / "inline"))
    found = {name: shards(tmp_path / "ray" / name) for name in ("corpus", "long")}
    assert found == {name: shards(tmp_path / "inline" / name) for name in found}
    ledgers = {name: sum(path.startswith("ledger/") for path in found[name]) for name in found}
    assert ledgers == {"corpus": 24, "long": 0}  # the first output keeps what both need


def test_a_worker_killed_in_the_middle_of_settling_changes_nothing(tmp_path: Path, ray_executor: RayExecutor) -> None:
    write_corpus(tmp_path / "in", files=6)
    marker = tmp_path / "killed-once"
    text = GRAPH.format(root=tmp_path).replace("  same: {}", f"  same: {{die_in_fold: '{marker}'}}")
    run(text, ray_executor, output=str(tmp_path / "ray"))
    assert marker.exists(), "no worker was killed"
    run(text, InlineExecutor(order=1), output=str(tmp_path / "inline"))
    assert shards(tmp_path / "ray/corpus") == shards(tmp_path / "inline/corpus")


def test_one_worker_and_two_give_the_same(tmp_path: Path, ray_executor: RayExecutor) -> None:
    write_corpus(tmp_path / "in", files=5)
    text = GRAPH.format(root=tmp_path).replace("from: repeat}", "from: repeat, shuffle: {}, shard_bytes: 2000}")
    run(text, ray_executor, output=str(tmp_path / "two"))
    with RayExecutor(workers=1, plugin_folders=[PLUGINS]) as one:
        run(text, one, output=str(tmp_path / "one"))
    assert len(list((tmp_path / "one/corpus/data").iterdir())) > 4
    assert shards(tmp_path / "one/corpus") == shards(tmp_path / "two/corpus")


def test_many_files_are_looked_at_by_tasks(tmp_path: Path, ray_executor: RayExecutor) -> None:
    write_corpus(tmp_path / "in", files=3)
    copied = (tmp_path / "in/part-001.parquet").read_bytes()
    for number in range(3, FILES_HERE + 100):
        (tmp_path / f"in/part-{number:03d}.parquet").write_bytes(copied)
    text = GRAPH.format(root=tmp_path)
    by_tasks = plan_of(text, lambda files: ray_executor)
    here = plan_of(text)
    assert stored_plan(by_tasks) == stored_plan(here) and by_tasks.slices == here.slices
    for number in (270, 300):
        (tmp_path / f"in/part-{number}.parquet").write_bytes(copied[:-1])
    for workers in (None, lambda files: ray_executor):
        with pytest.raises(DataError, match=r"part-270.parquet: this is not a readable Parquet file"):
            plan_of(text, workers)


def test_a_file_that_ends_the_workers_that_look_at_it_is_named(tmp_path: Path, ray_executor: RayExecutor) -> None:
    for number in range(FILES_HERE + 10):
        (tmp_path / f"{number:03d}.{'slices' if number == 200 else 'fine'}").touch()
    from crashing_sources import CrashingFiles  # on the path by toy_runs, as a plugin's folder is

    source = CrashingFiles("s", SourceConfig(format="crashing_files", paths=(str(tmp_path),)))
    with pytest.raises(DataError, match=r"200.slices: the file cannot be read: the reader ended with signal 6"):
        described(source, executor=lambda files: ray_executor)


def test_an_error_in_a_task_arrives_as_it_was(tmp_path: Path, ray_executor: RayExecutor) -> None:
    with pytest.raises(StorageError, match="/nowhere: cannot be opened"):
        list(ray_executor.run(sha256_of, ["/nowhere"]))
    write_corpus(tmp_path / "in", files=1)
    text = GRAPH.format(root=tmp_path).replace("  same: {}", "  liar: {lie: lose}\n  same: {}")
    with pytest.raises(ConservationError, match="`liar`"):
        run(text, ray_executor)


@dataclass(frozen=True)
class About:
    """A payload that says what it is about."""

    subject: str


def kill_self(payload: About) -> About:
    os.kill(os.getpid(), 9)
    return payload


def test_a_task_that_kills_every_worker_ends_with_words(ray_executor: RayExecutor) -> None:
    with pytest.raises(GristmillError, match=r"in/damaged\.parquet: a worker died 4 times over the same task"):
        list(ray_executor.run(kill_self, [About("in/damaged.parquet")]))


def test_an_address_where_nobody_answers_is_refused_in_words() -> None:
    script = (
        "from gristmill.pipeline.executor.ray import RayExecutor\n"
        "from gristmill.pipeline.errors import GristmillError\n"
        "try:\n"
        "    RayExecutor(address='127.0.0.1:1').__enter__()\n"
        "except GristmillError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "--address 127.0.0.1:1: no Ray cluster answers" in done.stdout, done.stderr[-2000:]


def test_workers_import_our_packages_in_a_folder_that_has_its_own_pipeline(tmp_path: Path) -> None:
    for name in ("pipeline", "stages"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the user\\'s own package')\n")
    script = (
        "import sys\n"
        f"sys.path.insert(0, {ROOT!r})\n"
        "from gristmill.pipeline.executor.ray import RayExecutor\n"
        "from gristmill.pipeline.storage import sha256_of\n"
        "sys.path.remove(sys.path[0])\n"
        "sys.path.insert(0, '')\n"
        "with RayExecutor(workers=1) as executor:\n"
        "    print(list(executor.run(sha256_of, ['mine.txt'])))\n"
    )
    (tmp_path / "mine.txt").write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False
    )
    assert "e3b0c44298fc1c149afbf4c8996fb924" in done.stdout, done.stderr[-2000:]
