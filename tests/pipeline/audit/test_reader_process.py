"""Reading in a process of its own: a file that kills the reader, storage that fails, readers that hang."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from gristmill.pipeline import reader_process as child_module
from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.reader_process import ReaderCrashed, ReaderProcess
from gristmill.pipeline.storage import regular_files
from tests.pipeline.audit.tampering import Output, SameProcess


class Deadly(SameProcess):
    """Dies of some files, as a Parquet reader may of a corrupt one."""

    deadly = ""

    def call(self, function: str, argument: Any, size: int = 0) -> Any:
        if self.deadly in str(argument) and function != "listing":
            raise ReaderCrashed("the reader ended with signal 6 (SIGABRT)")
        return super().call(function, argument, size)


def test_a_killed_reader_is_told_apart_from_a_defect_and_started_again() -> None:
    with ReaderProcess() as reader:
        assert reader.call("footers", [], 1 << 70) == [], "a size that a hostile manifest claims"
        process = reader._process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        process.send_signal(signal.SIGKILL)
        with pytest.raises(ReaderCrashed, match="signal 9 .SIGKILL."):
            reader.call("footers", [])
        assert reader.call("footers", []) == []
        with pytest.raises(RuntimeError, match="has a defect"):
            reader.call("footers", "nonsense")
        assert reader.call("footers", []) == [], "a defect does not end the process"
    assert process.poll() is not None


def test_a_reader_that_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "SECONDS", 0.2)
    with ReaderProcess() as reader:
        reader._started().send_signal(signal.SIGSTOP)
        with pytest.raises(ReaderCrashed, match="stopped after"):
            reader.call("footers", [])


def test_the_reader_takes_our_packages_whatever_lies_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline/__init__.py").write_text("raise SystemExit('the wrong package')")
    monkeypatch.chdir(tmp_path)
    with ReaderProcess() as reader:
        assert reader.call("footers", []) == []


def test_a_footer_that_kills_the_reader_leaves_the_audit_incomplete(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gristmill.pipeline.audit.run.ReaderProcess", Deadly)
    monkeypatch.setattr(Deadly, "deadly", output.named("data")[0])
    result = output.audit(full=False)
    assert result.exit_code == 3
    assert [(f.file, f.unread) for f in result["footer"].findings] == [(output.named("data")[0], True)]
    assert "SIGABRT" in result.problems[0]


def test_rows_that_kill_the_reader_leave_the_audit_incomplete(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    class DeadlyRows(Deadly):
        def call(self, function: str, argument: Any, size: int = 0) -> Any:
            return (
                SameProcess.call(self, function, argument, size)
                if function != "check_task"
                else super().call(function, argument, size)
            )

    monkeypatch.setattr("gristmill.pipeline.audit.run.ReaderProcess", DeadlyRows)
    monkeypatch.setattr(DeadlyRows, "deadly", "part-00001")
    result = output.audit()
    assert result.exit_code == 3 and result.failed == set()
    assert {finding.file for finding in result["content"].findings} == {
        entry["path"] for entry in output.entries() if entry["task"] == 1
    }


@pytest.mark.parametrize("kind", ["data", "ledger", "signals:bounds"])
def test_a_link_to_nowhere_is_no_regular_file(output: Output, kind: str) -> None:
    path = output.path(output.named(kind)[0])
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))
    output.expect("regular")


@pytest.mark.parametrize("where", ["open", "read"])
def test_read_errors_leave_the_audit_incomplete(output: Output, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    name = output.named("data")[0]
    real = regular_files._opened

    class Broken:
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        def read(self, size: int = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

        def __getattr__(self, attribute: str) -> Any:
            return getattr(self.stream, attribute)

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *exception: object) -> None:
            self.stream.close()

    def opened(folder: str, parts: list[str]) -> Any:
        if "/".join(parts) != name:
            return real(folder, parts)
        if where == "open":
            raise PermissionError(errno.EACCES, "Permission denied")
        return Broken(real(folder, parts))

    monkeypatch.setattr(regular_files, "_opened", opened)
    for full in (False, True):
        result = output.audit(full=full)
        assert result.exit_code == 3 and result.failed == set(), result.problems
        assert any("Permission denied" in line or "Input/output error" in line for line in result.problems)


def test_a_sound_audit_in_a_real_process_survives_a_truncated_and_a_zeroed_file(
    copied: Callable[[Path], Output], wide_run: Path
) -> None:
    output = copied(wide_run / "out/corpus")
    first, second = output.named("data")[:2]
    os.truncate(output.path(first), 50)
    output.path(second).write_bytes(bytes(output.path(second).stat().st_size))
    output.seal()
    result = audit_output(str(output.folder), full=True)
    assert {"footer", "content"} <= result.failed
    assert {finding.file for finding in result["footer"].findings} == {first, second}


def test_explaining_a_document_imports_nothing_heavy_that_it_does_not_use(wide_run: Path) -> None:
    # Half of the time of `gristmill explain` was importing: what plans runs, and pandas, which PyArrow takes where it is.
    output = wide_run / "out/corpus"
    ident = pq.read_table(output / "ledger", columns=["doc_key"])["doc_key"][0].as_py().hex()
    heavy = set(
        "numba fsspec ray scipy cryptography pandas yaml gristmill.pipeline.planning gristmill.pipeline.slices".split()
    )
    code = (
        f"import sys; from gristmill.pipeline.audit.explain import BEGIN, explained; BEGIN(); "
        f"assert explained([{str(output)!r}, {ident!r}, None, []])['lines']; print(sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_audit_without_the_input_imports_nothing_that_plans_or_runs() -> None:
    heavy = set("numba fsspec ray scipy pandas gristmill.pipeline.planning.plan gristmill.pipeline.slices".split())
    for module in ("run", "row_requests"):
        code = f"import sys, gristmill.pipeline.audit.{module}; print(sorted({heavy!r} & set(sys.modules)))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "[]\n", module
