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
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.launch.cli import run_command
from gristmill.pipeline.errors import StorageError
from gristmill.pipeline.storage import NotRegularError, open_within, read_within, sha256_within
from tests.pipeline.audit.tampering import Output

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
    attack: Callable[[Output], None], command: list[str], output: Output, capsys: pytest.CaptureFixture[str]
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
    assert read_within(str(tmp_path), "x", 5) == b"12345"
    with pytest.raises(StorageError, match="more than 4 bytes"):
        read_within(str(tmp_path), "x", 4)
    assert sha256_within(str(tmp_path), "x", 5) is not None
    assert sha256_within(str(tmp_path), "x", 4) is None
