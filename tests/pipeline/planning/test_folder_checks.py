"""Nothing that is not its own is destroyed or read by a run, and nothing stale is taken for its result."""

from __future__ import annotations

from pathlib import Path

import pytest

from gristmill.pipeline.errors import ConfigError, DataError, StorageError
from gristmill.pipeline.running.progress import Progress
from gristmill.pipeline.work_folder import WorkFolder
from tests.pipeline.toy_runs import rows_of, run, shards, write_corpus

TWO = "{length: {}, split: {at: 5}}"


def config(
    folder: Path, more: str = "", paths: str = "in/*.parquet", out: str = "out", stages: str = "{length: {}}"
) -> str:
    return (
        f'name: x\nsources: {{s: {{format: parquet, paths: ["{folder}/{paths}"]}}}}\nstages: {stages}\n'
        f"outputs: {{corpus: {{path: {folder}/{out}}}}}\n{more}\n"
    )


def stopped(text: str, stage: str, tasks: int = 0) -> None:
    """Runs until that many tasks of a pass, or that stage, and stops there."""

    def listen(progress: Progress) -> None:
        if progress.stage.startswith(stage) and progress.tasks_done >= tasks:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(text, listener=listen)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("work", "told"),
    [
        ("mine", "files that no run of Gristmill wrote"),
        ("in", "holds the input"),
        (".", "holds the input"),
        ("out", "inside each other"),
        ("out/work", "inside each other"),
        ("link", "holds the input"),
        ("mine/thesis.txt", "is a file"),
    ],
)
def test_a_work_folder_that_is_not_only_that_is_refused_and_left_alone(tmp_path: Path, work: str, told: str) -> None:
    write_corpus(tmp_path / "in")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    before = everything(tmp_path)
    with pytest.raises(ConfigError, match=told):
        run(config(tmp_path, f"work: {tmp_path}/{work}"))
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("paths", "out"), [("**/*.parquet", "out"), ("in", "in/out"), ("in/", "link/out"), ("**", "in/deep/out")]
)
def test_an_output_that_the_next_run_would_read_is_refused(tmp_path: Path, paths: str, out: str) -> None:
    write_corpus(tmp_path / "in")
    if out.startswith("link"):
        (tmp_path / "link").symlink_to(tmp_path / "in")
    with pytest.raises(ConfigError, match="would read what this one writes"):
        run(config(tmp_path, paths=paths, out=out))


def test_an_output_that_the_source_excludes_may_lie_below_it(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    text = config(tmp_path, paths="**/*.parquet").replace("format: parquet,", 'format: parquet, exclude: ["*/out*"],')
    run(text)
    assert run(text).already_done


def test_two_outputs_of_one_folder_are_refused_by_whatever_name(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to(tmp_path / "a")
    text = config(tmp_path, stages=TWO)
    text = text.replace(
        f"{{corpus: {{path: {tmp_path}/out}}}}",
        f"{{low: {{path: {tmp_path}/a, from: split.low}}, high: {{path: {tmp_path}/b, from: split.high}}}}",
    )
    with pytest.raises(ConfigError, match="inside each other"):
        run(text)


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    (tmp_path / "out").write_text("years of work")
    with pytest.raises(ConfigError, match="is a file"):
        run(config(tmp_path))
    assert (tmp_path / "out").read_text() == "years of work"


def test_a_work_folder_that_cannot_be_made_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be made"):
        WorkFolder(str(tmp_path / "file/work")).make()


def test_shards_of_a_run_over_fewer_files_are_not_taken_into_one_over_more(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=4)
    (tmp_path / "in/part-003.parquet").rename(tmp_path / "later.parquet")
    stopped(config(tmp_path), "pass 1", tasks=2)
    (tmp_path / "later.parquet").rename(tmp_path / "in/part-003.parquet")
    run(config(tmp_path))
    run(config(tmp_path, out="fresh"))
    assert shards(tmp_path / "out") == shards(tmp_path / "fresh")


def test_a_work_folder_may_be_mounted_elsewhere_when_the_run_goes_on(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    stages = "{length: {least: 10}, same: {}}"
    stopped(config(tmp_path, f"work: {tmp_path}/one", stages=stages), "publishing")
    (tmp_path / "one").rename(tmp_path / "two")
    result = run(config(tmp_path, f"work: {tmp_path}/two", stages=stages))
    assert result.reused_tasks == 6
    assert rows_of(tmp_path / "out", "dropped")


@pytest.mark.parametrize("more", ["expect: {length: {emitted: [0.999, 1]}}", "expect: {length: {dropped: [0.9, 1]}}"])
def test_a_finished_run_is_held_to_the_expectations_of_now(tmp_path: Path, more: str) -> None:
    write_corpus(tmp_path / "in")
    run(config(tmp_path, stages="{length: {least: 5}}"))
    with pytest.raises(DataError, match=r"expected a share .* outputs of the previous run are unchanged"):
        run(config(tmp_path, more, stages="{length: {least: 5}}"))


def test_an_output_without_a_name_is_refused(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    with pytest.raises(ConfigError, match="--output: expected a folder"):
        run(config(tmp_path), output="")
    with pytest.raises(ConfigError, match=r"outputs\.corpus\.path: .* found .*''"):
        run(config(tmp_path).replace(f"path: {tmp_path}/out", 'path: ""'))
