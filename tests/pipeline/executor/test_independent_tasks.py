"""Independent tasks: one that fails is set aside with its reason while the others end; what breaks a promise stops all."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gristmill.pipeline.errors import ConservationError, DataError, StorageError
from gristmill.pipeline.executor import SetAside, ray_tasks
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.executor.ray import RayExecutor
from gristmill.pipeline.storage import sha256_of


@dataclass(frozen=True)
class Job:
    """A payload like a task's: what it is about, what it does, and its attempt."""

    subject: str
    what: str = "ends"
    folder: str = ""
    attempt: str = "0"


def work(job: Job) -> str:
    if job.folder:
        with (Path(job.folder) / f"began-{job.subject}-{job.attempt}").open("a") as stream:
            stream.write(f"{os.getpid()}\n")
    if job.what == "lags" and job.attempt == "0":
        time.sleep(120)
    if job.what == "damaged":
        raise DataError(f"{job.subject}: not Parquet")
    if job.what == "full":
        raise StorageError(f"{job.subject}: no space left")
    if job.what == "gone":
        return sha256_of(job.subject)
    if job.what == "reset":
        raise ConnectionResetError("connection reset by peer")
    if job.what == "lost":
        raise ConservationError("a row was lost")
    if job.what == "defect":
        raise KeyError("x")
    if job.what == "kills":
        os.kill(os.getpid(), 9)
    return f"{job.subject} {job.attempt}"


@pytest.fixture(scope="module")
def ray_executor() -> Iterator[RayExecutor]:
    with RayExecutor(workers=2) as executor:
        yield executor


JOBS = [Job("a"), Job("b", "damaged"), Job("c", "full"), Job("/nowhere/d", "gone"), Job("e", "reset"), Job("f")]


def assert_set_aside(found: dict[int, str | SetAside]) -> None:
    assert (found[0], found[5]) == ("a 0", "f 0")
    aside = {index: one for index, one in found.items() if isinstance(one, SetAside)}
    assert {index: one.subject for index, one in aside.items()} == {1: "b", 2: "c", 3: "/nowhere/d", 4: "e"}
    assert {index: one.input_is_cause for index, one in aside.items()} == {1: True, 2: False, 3: True, 4: False}
    assert aside[1].reason == "b: not Parquet" and "No such file" in aside[3].reason


def test_a_task_that_fails_is_set_aside_and_the_others_end() -> None:
    assert_set_aside(dict(InlineExecutor().run_independent(work, JOBS)))


@pytest.mark.parametrize(("what", "kind"), [("lost", ConservationError), ("defect", KeyError)])
def test_a_broken_promise_and_a_defect_stop_everything(what: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        list(InlineExecutor().run_independent(work, [Job("a", what)]))
    with pytest.raises(StorageError):  # and a task of the exchange is never set aside
        list(InlineExecutor().run(work, [Job("a", "full")]))


@pytest.mark.ray
def test_ray_sets_the_same_tasks_aside_and_one_that_kills_its_workers(ray_executor: RayExecutor) -> None:
    found = dict(ray_executor.run_independent(work, [*JOBS, Job("in/g.parquet", "kills")]))
    killer = found.pop(6)
    assert_set_aside(found)
    assert isinstance(killer, SetAside) and killer.subject == "in/g.parquet" and killer.input_is_cause
    assert "a worker died 4 times over the same task" in killer.reason
    with pytest.raises(ConservationError):
        list(ray_executor.run_independent(work, [Job("a", "lost")]))


@pytest.mark.ray
def test_a_task_that_lags_is_run_a_second_time_when_workers_idle_and_the_first_has_ended_before_the_call_does(
    tmp_path: Path, ray_executor: RayExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_tasks, "LAGS_SECONDS", 1.0)
    jobs = [Job("slow", "lags", str(tmp_path)), *(Job(str(n)) for n in range(6))]
    begin = time.monotonic()
    found = dict(ray_executor.run_independent(work, jobs))
    assert found[0] == "slow 1" and found[6] == "5 0"
    assert time.monotonic() - begin < 60
    pids = {int(line) for path in tmp_path.iterdir() for line in path.read_text().splitlines()}
    assert len(list(tmp_path.iterdir())) == 2 and len(pids) == 2
    # The one that lost is not asleep any more: its worker takes the next task, or is gone.
    begin = time.monotonic()
    assert len(list(ray_executor.run(work, [Job(str(n)) for n in range(4)]))) == 4
    assert time.monotonic() - begin < 30


@pytest.mark.ray
def test_tasks_that_depend_on_each_other_run_once(
    tmp_path: Path, ray_executor: RayExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_tasks, "LAGS_SECONDS", 0.2)
    monkeypatch.setattr(ray_tasks, "_POLL_SECONDS", 0.1)
    jobs = [Job("sleeper", "naps", str(tmp_path)), *(Job(str(n)) for n in range(6))]
    assert dict(ray_executor.run(nap, jobs))[0] == "sleeper 0"
    assert len(list(tmp_path.iterdir())) == 1


def nap(job: Job) -> str:
    if job.what == "naps":
        time.sleep(2)
    return work(job)
