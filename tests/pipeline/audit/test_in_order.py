"""Several reading processes at once: each call has one to itself, and the report is that of one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gristmill.pipeline.audit import run
from gristmill.pipeline.audit.in_order import AHEAD, BYTES_PER_PROCESS, in_order, processes_for
from gristmill.pipeline.audit.run import MOST_CRASHES, audit_output
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.reader_process import ReaderCrashed, ReaderProcess
from tests.pipeline.audit.deadly_requests import DEADLY
from tests.pipeline.audit.tampering import Output, SameProcess


def test_results_come_in_order_and_each_call_has_a_reader_to_itself() -> None:
    readers = [ReaderProcess() for _ in range(3)]
    busy: set[int] = set()
    begun: list[int] = []
    met = threading.Barrier(3)

    def work(reader: ReaderProcess, item: int) -> int:
        assert id(reader) not in busy
        busy.add(id(reader))
        begun.append(item)
        if item < 3:
            met.wait(60)  # nobody passes before three calls run at once
        time.sleep(0.001 * (item % 3 == 0))
        busy.remove(id(reader))
        return item * item

    done = []
    for result in in_order(readers, range(20), work):
        done.append(result)
        assert len(begun) - len(done) < AHEAD * len(readers), "results that wait are bounded"
    assert done == [item * item for item in range(20)]


def test_what_the_work_raises_is_raised() -> None:
    def work(reader: ReaderProcess, item: int) -> int:
        if item == 2:
            raise ConfigError("the third")
        return item

    for count in (1, 3):
        with pytest.raises(ConfigError, match="the third"):
            list(in_order([ReaderProcess() for _ in range(count)], range(5), work))


def test_a_small_output_is_read_by_one_process() -> None:
    assert processes_for(0) == processes_for(BYTES_PER_PROCESS - 1) == 1
    assert processes_for(1 << 50) >= 1
    with pytest.raises(ConfigError, match="at least 1 process, found 0"):
        audit_output("/", full=True, jobs=0)


def test_processes_of_their_own_report_what_one_reports(wide_run: Path, copied: Callable[[Path], Output]) -> None:
    output = copied(wide_run / "out/corpus")
    output.flip(output.named("data")[0], 40)
    output.path(output.named("ledger")[1]).unlink()
    output.flip(output.named("dropped")[-1], 60)
    one, three = (output.audit(jobs=jobs, plugins=("toy_stages", "audit_stages")) for jobs in (1, 3))
    assert one.failed == {"sha256", "missing"}
    assert three.checks == one.checks and three.bytes_read == one.bytes_read


def test_files_that_kill_their_readers_end_nobody_elses_reading(
    wide_run: Path, copied: Callable[[Path], Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = copied(wide_run / "out/corpus")
    monkeypatch.setitem(run.READERS, "rows", "tests.pipeline.audit.deadly_requests")
    sound = audit_output(str(output.folder), full=True, jobs=2)
    monkeypatch.setenv(DEADLY, "dropped")
    one, two = (audit_output(str(output.folder), full=True, jobs=jobs) for jobs in (1, 2))
    assert sound.exit_code == 0 and one.exit_code == 3 and one.failed == set()
    assert two.checks == one.checks and two.bytes_read == one.bytes_read == sound.bytes_read
    of_task = {entry["path"] for entry in output.entries() if entry["task"] == 1}
    assert {finding.file for finding in one["content"].findings} == {*output.named("dropped"), *of_task}
    assert {"SIGABRT", "SIGSEGV"} == {name for name in ("SIGABRT", "SIGSEGV") if name in "".join(one.problems)}


def test_shards_are_read_while_another_reads_what_all_tasks_wait_for(
    wide_run: Path, copied: Callable[[Path], Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[str] = []
    ended: list[str] = []
    ahead = threading.Event()

    class Slow(SameProcess):
        def call(self, function: str, argument: Any, size: int = 0) -> Any:
            began.append(function)
            if function == "check_sidecar" and argument["entry"]["path"] == slowest:
                assert ahead.wait(60), "no shard was read meanwhile"
            if function == "check_task":
                assert ended.count("check_sidecar") == sidecars, "a task was checked before all that it needs"
            answer = super().call(function, argument, size)
            ended.append(function)
            if function == "scan_shards":
                ahead.set()
            return answer

    monkeypatch.setattr("gristmill.pipeline.audit.run.ReaderProcess", Slow)
    output = copied(wide_run / "out/corpus")
    files = [entry for entry in output.entries() if entry["role"] != "data"]
    sidecars, slowest = len(files), max(files, key=lambda entry: entry["size"])["path"]
    result = output.audit(jobs=2)
    assert result.exit_code == 0, result.problems
    assert began.count("check_task") == began.count("scan_shards") == 3 and began.count("check_sidecar") == sidecars


@pytest.mark.parametrize("jobs", [1, 3])
def test_an_audit_gives_up_on_the_input_at_the_same_task_however_many_read(
    wide_run: Path, copied: Callable[[Path], Output], monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    class NoInput(SameProcess):
        def call(self, function: str, argument: Any, size: int = 0) -> Any:
            if function == "check_sources":
                raise ReaderCrashed("the reader ended with signal 6 (SIGABRT)")
            return super().call(function, argument, size)

    monkeypatch.setattr("gristmill.pipeline.audit.run.ReaderProcess", NoInput)
    monkeypatch.setattr("gristmill.pipeline.audit.run.MOST_CRASHES", 2)
    output = copied(wide_run / "out/corpus")
    assert MOST_CRASHES > 2 and len(output.named("ledger")) == 3, "the third task comes after giving up"
    result = output.audit(jobs=jobs, plugins=("toy_stages", "audit_stages"))
    said = [(finding.message, finding.file) for finding in result["source"].findings]
    assert "given up after 2 tasks" in said[-1][0]
    assert not any("part-00002" in str(file) for _, file in said)
    assert {file for _, file in said[:-1]} == {entry["path"] for entry in output.entries() if entry["task"] < 2}
