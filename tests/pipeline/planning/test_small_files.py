"""Small files share a task: which ones follows from sizes and order, and nothing but the files' number changes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.pipeline.audit.explain import explain
from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.executor.ray import RayExecutor
from gristmill.pipeline.planning import small_files
from gristmill.pipeline.planning.small_files import (
    FEW_FILES,
    FILES_ALONE,
    SLICE_OF_FEW,
    TASKS_OF_FEW,
    names_digest,
    together,
)
from gristmill.pipeline.source import Slice, SourceConfig
from tests.pipeline.audit.tampering import Output, SameProcess
from tests.pipeline.toy_runs import PLUGINS, plan_of, rows_of, run, shards

FILES = 80
GRAPH = """
name: small
seed: 5
sources:
  s: {{format: {format}, paths: ["{root}/in/*"], license: {{spdx: CC0-1.0, stated_by: author}}}}
stages:
  length: {{least: 2}}
  same: {{}}
outputs:
  corpus: {{path: "{root}/{out}"}}
"""


def write(root: Path, format_: str, files: int = FILES) -> None:
    (root / "in").mkdir(parents=True)
    for file in range(files):
        rows = [{"id": f"{file}-{row}", "text": "ab " * (file * 3 + row)} for row in range(3)]
        if file % 7 == 0:
            rows = [{**row, "more": file} for row in rows]
        if format_ == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), root / f"in/{file:03d}.parquet")
        else:
            lines = [json.dumps(row) for row in rows] + (["{broken"] if file == 5 else [])
            (root / f"in/{file:03d}.jsonl").write_text("\n".join(lines) + "\n")


def slices(sizes: list[int], **options: int) -> list[Slice]:
    return [Slice("s", f"{n:04d}", f"/{n:04d}", {}, size, size, str(n), **options) for n, size in enumerate(sizes)]


@given(sizes=st.lists(st.integers(0, 120), min_size=FEW_FILES + 1, max_size=200))
def test_files_are_taken_in_order_up_to_the_size_of_a_slice(sizes: list[int]) -> None:
    config = SourceConfig(format="parquet", slice_bytes=100)
    found = together(slices(sizes), config)
    assert [one.path for whole in found for one in whole.each] == [f"{n:04d}" for n in range(len(sizes))]
    assert all(sum(one.bytes for one in whole.each) <= 100 or len(whole.each) == 1 for whole in found)
    for first, second in zip(found, found[1:], strict=False):
        assert first.bytes + second.each[0].bytes > 100, "a file that would have fitted begins another slice"
    assert sum(whole.file_bytes for whole in found) == sum(sizes)


@given(sizes=st.lists(st.integers(1, SLICE_OF_FEW), min_size=FILES_ALONE + 1, max_size=FEW_FILES))
def test_few_files_still_divide_among_many_workers(sizes: list[int]) -> None:
    config = SourceConfig(format="parquet", slice_bytes=1 << 30)
    found = together(slices(sizes), config)
    assert [one.path for whole in found for one in whole.each] == [f"{n:04d}" for n in range(len(sizes))]
    for whole in found:
        assert whole.bytes <= SLICE_OF_FEW
        before_the_last = whole.bytes - whole.each[-1].bytes
        assert before_the_last * TASKS_OF_FEW < sum(sizes), "a slice ends with the file in which a sixteenth ends"


@pytest.mark.parametrize(
    ("files", "size", "tasks"),
    [
        (FILES_ALONE, 1, 32), (33, 10, 16), (40, 100, 16), (64, 900_000, 16),
        (64, 3 << 20, 32), (64, 5 << 20, 64), (65, 900_000, 2), (40, 0, 1),
    ],
)  # fmt: skip
def test_how_many_tasks_files_of_one_size_are(files: int, size: int, tasks: int) -> None:
    assert len(together(slices([size] * files), SourceConfig(format="parquet"))) == tasks
    assert len(together(slices([size] * files), SourceConfig(format="parquet", slice_bytes=max(1, size)))) == (
        files if size else 1
    )


def test_what_is_no_whole_small_file_stays_alone_and_few_files_do_too() -> None:
    config = SourceConfig(format="parquet", slice_bytes=100)
    few = slices([1] * FILES_ALONE)
    assert together(few, config) == few
    many = slices([1] * 70)
    cut = [*many[:10], *(Slice("s", "x", "/x", {"row_group": n}, 60, 120) for n in range(2)), *many[10:]]
    assert [len(one.each) for one in together(cut, config)] == [10, 1, 1, 60]
    assert [len(one.each) for one in together(slices([1] * 70, expanded=400), config)] == [2] * 35
    assert [len(one.each) for one in together(slices([1] * 70, rows=100_000), config)] == [2] * 35
    assert len({one.part["names"] for one in together(slices([50] * 70), config)}) == 35


@pytest.mark.parametrize("format_", ["parquet", "jsonl"])
def test_documents_and_decisions_are_those_of_a_task_per_file_and_audits_go_back_to_each(
    tmp_path: Path, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, format_)
    text = GRAPH.format(root=tmp_path, format=format_, out="out")
    found = run(text)
    assert len(found.plan.slices) == 1 and len(found.plan.slices[0].members) == FILES
    monkeypatch.setattr(small_files, "FILES_ALONE", FILES)
    alone = run(text, output=str(tmp_path / "alone"))
    assert len(alone.plan.slices) == FILES
    monkeypatch.undo()
    assert alone.accounts == found.accounts
    for part in ("data", "ledger", "signals/length", "dropped"):
        mine, theirs = ([{**row, "from_task": 0} for row in rows_of(tmp_path / out, part)] for out in ("out", "alone"))
        order = "node" if part in ("ledger", "dropped") else "doc_key"
        # A ledger is in the order of nodes within a task.
        assert sorted(mine, key=lambda r: (r[order], r["doc_key"])) == sorted(
            theirs, key=lambda r: (r[order], r["doc_key"])
        ), part
    monkeypatch.setattr("gristmill.pipeline.audit.run.ReaderProcess", SameProcess)
    result = audit_output(str(tmp_path / "out"), full=True, sources=(), plugins=("toy_stages",))
    assert result.exit_code == 0, result.problems
    told = explain(str(tmp_path / "out"), "42-1", ()).documents[0].source
    assert (told["path"], told["record"]) == (f"042.{format_}", 1 if format_ == "parquet" else None)


def test_a_file_more_or_another_name_is_another_run_and_the_log_names_every_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "parquet")
    text = GRAPH.format(root=tmp_path, format="parquet", out="out")
    run(text)
    output = Output(tmp_path / "out")
    (task,) = output.log("ledger/part-00000.parquet")["tasks"]
    files = task["slices"][0]["files"]
    assert [file["path"] for file in files] == [f"{n:03d}.parquet" for n in range(FILES)]
    assert [file["rows"] for file in files] == [3] * FILES
    part = task["slices"][0]["part"]
    assert part == {
        "files": FILES,
        "names": names_digest([(file["path"], file["part"], file["file_bytes"]) for file in files]),
    }
    # A name exchanged in the logs shows: it enters the part, and so the run's key.
    monkeypatch.setattr("gristmill.pipeline.audit.run.ReaderProcess", SameProcess)

    def rename(log: dict[str, object]) -> dict[str, object]:
        log["tasks"][0]["slices"][0]["files"][3]["path"] = "elsewhere.parquet"  # type: ignore[index]
        return log

    output.rewrite("ledger/part-00000.parquet", log=rename)
    output.seal()
    assert any("files of its slice" in finding.message for finding in output.audit()["footer"].findings)
    key = plan_of(text).key
    (tmp_path / "in/079.parquet").rename(tmp_path / "in/080.parquet")
    assert plan_of(text).key != key


def test_a_stopped_run_of_small_files_gives_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path, "parquet", files=70)
    text = GRAPH.format(root=tmp_path, format="parquet", out="out").replace(
        "format: parquet,", "format: parquet, slice_bytes: 20000,"
    )
    whole = run(text)
    assert 3 < len(whole.plan.slices) < 70

    class Stop(Exception):
        pass

    def stop(progress: object) -> None:
        if getattr(progress, "tasks_done", 0) == 2:
            raise Stop

    with pytest.raises(Stop):
        run(text, listener=stop, output=str(tmp_path / "again"))
    assert run(text, output=str(tmp_path / "again")).reused_tasks == 2
    assert shards(tmp_path / "again") == shards(tmp_path / "out")


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """Files that this process opens through Python, and folders that it flushes."""
    names: list[str] = []
    counting = [True]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if counting[0] and event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
            names.append(os.fsdecode(arguments[0]))

    sys.addaudithook(hook)
    yield names
    counting[0] = False


def test_a_run_of_small_files_opens_each_of_them_a_few_times_and_little_besides(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inputs: planning and each of two passes. What is written and committed depends on tasks, of which there is one."""
    write(tmp_path, "jsonl", files=200)  # read in this process, so that every open is seen
    flushed: list[str] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        name = os.readlink(f"/proc/self/fd/{handle}")
        # Leases are renewed by the clock.
        if "gristmill-lease" not in name and Path(name) not in (tmp_path / "out", tmp_path / "out.work"):
            flushed.append(name)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    plan = run(GRAPH.format(root=tmp_path, format="jsonl", out="out")).plan
    inputs = [name for name in opened if name.startswith(str(tmp_path / "in"))]
    written = [
        name for name in opened if name.startswith(str(tmp_path)) and name not in set(inputs) and "lease" not in name
    ]
    passes = len(plan.passes)
    print(len(inputs), len(written), len(flushed))
    assert len(plan.slices) == 1 and passes == 2
    assert len(inputs) <= (2 * passes + 2) * 200, len(inputs)
    assert len(written) <= 120, len(written)
    assert len(flushed) <= 45, len(flushed)


def test_ray_gives_what_one_process_gives(tmp_path: Path) -> None:
    write(tmp_path, "parquet", files=70)
    text = GRAPH.format(root=tmp_path, format="parquet", out="out").replace(
        "format: parquet,", "format: parquet, slice_bytes: 20000,"
    )
    with RayExecutor(workers=2, plugin_folders=[PLUGINS]) as executor:
        assert len(run(text, executor, output=str(tmp_path / "ray")).plan.slices) > 3
    run(text, InlineExecutor(order=3))
    assert shards(tmp_path / "ray") == shards(tmp_path / "out")
