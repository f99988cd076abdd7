"""Outputs that somebody prepared: links out of them, pipes, files of ten gigabytes, texts that are none.

Each audit ends within seconds, with a finding of the right check; `explain`, `report` and runs that read an output end in a
message.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.launch.cli import run_command
from gristmill.pipeline.audit.explain import explain
from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.errors import ConfigError, GristmillError, StorageError
from gristmill.pipeline.reader_process import ReaderCrashed
from gristmill.pipeline.storage import NotRegularError, open_within, read_within, sha256_within
from gristmill.stages.sources.jsonl import JsonlSource
from gristmill.stages.sources.parquet import ParquetSource
from tests.hostile.configs import QUICK
from tests.pipeline.audit.tampering import Output, SameProcess

pytestmark = pytest.mark.usefixtures("alarm")


def _elsewhere(output: Output) -> Path:
    """A folder beside the output with a file that readers take for data."""
    folder = output.folder.with_name("elsewhere")
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table({"text": ["not of this corpus"]}), folder / "more.parquet")
    return folder


def link_to_a_folder(output: Output) -> None:
    output.path("data/more").symlink_to(_elsewhere(output))


def link_to_a_file(output: Output) -> None:
    output.path("data/part-99999-00.parquet").symlink_to(_elsewhere(output) / "more.parquet")


def dangling_link(output: Output) -> None:
    output.path("data/gone.parquet").symlink_to(output.folder / "nowhere")


def link_in_a_folder_of_tools(output: Output) -> None:
    output.path(".cache").mkdir()
    output.path(".cache/more").symlink_to(_elsewhere(output))


def shard_as_link_to_equal_bytes(output: Output) -> None:
    shard = output.path(output.named("data")[0])
    aside = output.folder.with_name("aside.parquet")
    shard.rename(aside)
    shard.symlink_to(aside)


def data_as_link_to_equal_files(output: Output) -> None:
    aside = output.folder.with_name("aside")
    output.path("data").rename(aside)
    output.path("data").symlink_to(aside)


def manifest_as_link(output: Output) -> None:
    aside = output.folder.with_name("aside.json")
    output.path("manifest.json").rename(aside)
    output.path("manifest.json").symlink_to(aside)


def pipe(output: Output) -> None:
    os.mkfifo(output.path("data/pipe.parquet"))


def shard_as_pipe(output: Output) -> None:
    shard = output.path(output.named("data")[0])
    shard.unlink()
    os.mkfifo(shard)


def manifest_as_pipe(output: Output) -> None:
    output.path("manifest.json").unlink()
    os.mkfifo(output.path("manifest.json"))


def envelope_as_pipe(output: Output) -> None:
    output.path("manifest.dsse.json").unlink(missing_ok=True)
    os.mkfifo(output.path("manifest.dsse.json"))


def bound_socket(output: Output) -> None:
    here = os.getcwd()
    os.chdir(output.path("data"))  # a socket's path may have no more than a hundred characters
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("s")
    finally:
        os.chdir(here)


def hidden_parquet(output: Output) -> None:
    output.path(".cache").mkdir()
    shutil.copy(_elsewhere(output) / "more.parquet", output.path(".cache/more.parquet"))


def hidden_parquet_of_another_name(output: Output) -> None:
    output.path(".git/x").mkdir(parents=True)
    shutil.copy(_elsewhere(output) / "more.parquet", output.path(".git/x/more"))


def folder_called_gitattributes(output: Output) -> None:
    output.path(".gitattributes").mkdir()
    shutil.copy(_elsewhere(output) / "more.parquet", output.path(".gitattributes/more.parquet"))


def cache_below_data(output: Output) -> None:
    output.path("data/.cache").mkdir()


def sparse_card(output: Output) -> None:
    os.truncate(output.path("README.md"), 10 << 30)


def sparse_manifest(output: Output) -> None:
    os.truncate(output.path("manifest.json"), 10 << 30)


def sparse_envelope(output: Output) -> None:
    output.path("manifest.dsse.json").touch()
    os.truncate(output.path("manifest.dsse.json"), 10 << 30)


def sparse_files_table(output: Output) -> None:
    os.truncate(output.path("files.parquet"), 10 << 30)


def sparse_shard(output: Output) -> None:
    os.truncate(output.path(output.named("data")[0]), 10 << 30)


def half_a_character(output: Output) -> None:
    output.replace_bytes("manifest.json", b'"name": "wide"', b'"name": "\\ud800"')


def truncated_manifest(output: Output) -> None:
    path = output.path("manifest.json")
    path.write_bytes(path.read_bytes()[:-500])


def deep_manifest(output: Output) -> None:
    output.path("manifest.json").write_text('{"predicate": ' + "[" * 200_000)


def long_number(output: Output) -> None:
    output.replace_bytes("manifest.json", b'"seed": 7', b'"seed": ' + b"7" * 6_000)


def manifest_of_another_form(output: Output) -> None:
    statement = output.manifest()
    predicate = {name: statement["predicate"][name] for name in ("format", "run")}
    output.path("manifest.json").write_text(json.dumps({**statement, "predicate": predicate}))


def half_a_character_in_a_log(output: Output) -> None:
    output.rewrite(output.named("ledger")[0], log=lambda log: json.dumps({**log, "run": "\ud800"}))
    output.seal()


def truncated_log(output: Output) -> None:
    output.rewrite(output.named("ledger")[0], log=lambda log: json.dumps(log)[:-40])
    output.seal()


def shard_without_keys(output: Output) -> None:
    output.rewrite(output.named("data")[0], lambda table: table.drop_columns(["doc_key"]))
    output.seal()


def signals_without_keys(output: Output) -> None:
    output.rewrite(output.named("signals:bounds")[0], lambda table: table.drop_columns(["doc_key"]))
    output.seal()


def path_out_of_the_output(output: Output) -> None:
    shard = output.named("data")[0]
    shutil.move(output.path(shard), output.folder.with_name("out-of-it.parquet"))
    output.seal(entries=[{**e, "path": "../out-of-it.parquet"} if e["path"] == shard else e for e in output.entries()])


ATTACKS: dict[Callable[[Output], None], str] = {
    link_to_a_folder: "regular",
    link_to_a_file: "regular",
    dangling_link: "regular",
    link_in_a_folder_of_tools: "regular",
    shard_as_link_to_equal_bytes: "regular",
    data_as_link_to_equal_files: "missing",
    manifest_as_link: "manifest",
    pipe: "regular",
    shard_as_pipe: "regular",
    manifest_as_pipe: "manifest",
    envelope_as_pipe: "regular",
    bound_socket: "regular",
    hidden_parquet: "stray",
    hidden_parquet_of_another_name: "stray",
    folder_called_gitattributes: "stray",
    cache_below_data: "regular",
    sparse_card: "documents",
    sparse_manifest: "manifest",
    sparse_envelope: "signature",
    sparse_files_table: "files",
    sparse_shard: "size",
    half_a_character: "manifest",
    truncated_manifest: "manifest",
    deep_manifest: "manifest",
    long_number: "manifest",
    manifest_of_another_form: "schema",
    half_a_character_in_a_log: "schema",
    truncated_log: "schema",
    shard_without_keys: "footer",
    signals_without_keys: "content",
    path_out_of_the_output: "missing",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_the_audit_names_what_is_wrong(attack: Callable[[Output], None], output: Output) -> None:
    attack(output)
    result = output.audit()
    check = result[ATTACKS[attack]]
    assert check.failed or check.unread, "\n".join(result.problems)
    assert result.exit_code not in (0, 4)


READ_BY_ALL = (
    manifest_as_link, manifest_as_pipe, sparse_manifest, half_a_character, truncated_manifest, deep_manifest, long_number,
    manifest_of_another_form,
)  # fmt: skip


@pytest.mark.parametrize(
    "command", [["explain", "{folder}", "d0-5"], ["report", "{folder}"]], ids=["explain", "report"]
)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_other_readers_end_in_a_message(
    attack: Callable[[Output], None],
    command: list[str],
    output: Output,
    kept_readers: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    attack(output)
    code = run_command([argument.replace("{folder}", str(output.folder)) for argument in command])
    told = capsys.readouterr().err
    assert "Traceback" not in told and "defect" not in told, told
    assert code in (1, 2, 3) or attack not in READ_BY_ALL, told


def test_tools_that_carry_data_sets_about_may_leave_their_traces(output: Output) -> None:
    for name in (".gitattributes", ".git/HEAD", ".cache/huggingface/download/data/part-00000-00.parquet.metadata"):
        output.path(name).parent.mkdir(parents=True, exist_ok=True)
        output.path(name).write_text("x")
    stored = output.path(".git/lfs/objects/ab/cd") / ("ab" * 32)
    stored.parent.mkdir(parents=True)
    shutil.copy(output.path(output.named("data")[0]), stored)
    assert output.audit(full=False).exit_code == 0


def test_an_output_that_is_itself_reached_by_a_link_is_read(output: Output) -> None:
    link = output.folder.with_name("link")
    link.symlink_to(output.folder)
    assert Output(link).audit(full=False).exit_code == 0


@pytest.mark.parametrize("name", ["../x", "/x", "a/../x", "a//x", "", ".", "a\0b", "a/./x"])
def test_names_that_lead_out_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("secret")
    (tmp_path / "in/a").mkdir(parents=True)
    with pytest.raises(NotRegularError):
        open_within(str(tmp_path / "in"), name)


def test_no_more_is_read_than_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    assert read_within(str(tmp_path), "x", 5) == read_within(str(tmp_path), "x", 1 << 64) == b"12345"
    with pytest.raises(StorageError, match="more than 4 bytes"):
        read_within(str(tmp_path), "x", 4)
    assert sha256_within(str(tmp_path), "x", 5) is not None
    assert sha256_within(str(tmp_path), "x", 4) is None


# The config in the manifest is the word of whoever wrote the output


def with_config(output: Output, old: str, new: str) -> None:
    config = output.manifest()["predicate"]["varies"]["config"]
    assert old in config
    output.set_manifest(lambda s: s["predicate"]["varies"].update(config=config.replace(old, new)))


def test_nothing_that_a_manifest_names_is_opened_unasked(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    for name in ("slices", "schema", "read", "offsets"):
        for source in (JsonlSource, ParquetSource):
            monkeypatch.setattr(source, name, lambda self, *_: opened.append(self.name), raising=False)
    assert output.audit(sources=False).exit_code == 0
    explain(str(output.folder), "j3")
    assert opened == []


@pytest.mark.parametrize(
    "place",
    [
        "http://127.0.0.1:9/x/*.parquet",
        "s3://bucket/*.parquet",
        "memory://x/*.parquet",
        "simplecache::http://127.0.0.1:9/x",
    ],
)
def test_no_host_is_asked_because_a_manifest_names_it(place: str, output: Output, wide_run: Path) -> None:
    with_config(output, f"{wide_run}/a/*.parquet", place)
    result = output.audit(plugins=("toy_stages", "audit_stages"))
    assert result.exit_code == 3
    assert (
        f"the config names {place}, which is not below a folder given with --sources"
        in result["replay"].findings[0].message
    )
    with pytest.raises(ConfigError, match="not below a folder"):
        explain(str(output.folder), "j3", [])


def test_a_model_s_place_is_no_host_either(output: Output, wide_run: Path) -> None:
    with_config(output, f"{wide_run}/words.txt", "s3://bucket/words.txt")
    assert "not below a folder" in output.audit(plugins=("toy_stages", "audit_stages"))["text"].findings[0].message


def test_roots_bound_where_the_input_may_lie(output: Output, wide_run: Path, tmp_path: Path) -> None:
    plugins = ("toy_stages", "audit_stages")
    assert audit_output(str(output.folder), full=True, sources=[str(wide_run)], plugins=plugins).exit_code == 0
    both = [str(wide_run / "a"), str(wide_run / "b")]
    assert audit_output(str(output.folder), full=True, sources=both, plugins=plugins).exit_code == 0
    (tmp_path / "link").symlink_to(wide_run)
    for roots in ([str(wide_run / "a")], [str(tmp_path)], ["s3://bucket"]):
        result = audit_output(str(output.folder), full=True, sources=roots, plugins=plugins)
        assert result.exit_code == 3 and "is not below" in result["source"].findings[0].message


@pytest.mark.parametrize(
    "name", ["anchor_bomb", "deep_lists", "int_of_5000_digits", "half_surrogate", "everything", "a_word"]
)
def test_configs_that_mean_harm_are_a_finding(name: str, output: Output) -> None:
    output.set_manifest(lambda s: s["predicate"]["varies"].update(config=QUICK[name].replace("{root}", "/")))
    result = output.audit(sources=True)
    assert result.exit_code == 3
    with suppress(GristmillError):
        assert explain(str(output.folder), "j3", []).documents[0].source["byte"] is None


def test_an_audit_gives_up_where_the_input_kills_its_reader(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    call = SameProcess.call

    def dying(self: SameProcess, function: str, argument: object, size: int = 0) -> object:
        asked.append(function)
        if function == "check_sources":
            raise ReaderCrashed("the reader was stopped after 120 s")
        return call(self, function, argument, size)

    monkeypatch.setattr(SameProcess, "call", dying)
    monkeypatch.setattr("gristmill.pipeline.audit.run.MOST_CRASHES", 2)
    assert output.audit(plugins=("toy_stages", "audit_stages")).exit_code == 3
    assert asked.count("check_sources") == 2


def test_a_failure_of_the_reader_is_a_finding(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    call = SameProcess.call

    def failing(self: SameProcess, function: str, argument: object, size: int = 0) -> object:
        if function == "check_task":
            raise RuntimeError("the reader has a defect: Traceback\nKeyError: 'x'")
        return call(self, function, argument, size)

    monkeypatch.setattr(SameProcess, "call", failing)
    result = output.audit()
    assert result.exit_code == 3 and "KeyError: 'x'" in result["content"].findings[0].message
