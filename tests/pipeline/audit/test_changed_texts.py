"""Tampering with what stages change and keep: cut and prefixed texts, shuffled rows, and notes for later runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.pipeline.audit.conftest import run
from tests.pipeline.audit.tampering import Output
from tests.pipeline.audit.test_format import verify
from tests.pipeline.audit.test_sweep import flips

CONFIG = """
name: changed
seed: 3
sidecar_documents: 40
sources: {{s: {{format: parquet, paths: ["{root}/in/*.parquet"]}}}}
stages:
  exact: {{keep_notes: true}}
  paragraphs: {{unit: line, max_repeats: 2}}
  warn: {{use: content_warning, from: exact}}
outputs:
  cut: {{path: "{root}/out/cut", from: paragraphs}}
  warned: {{path: "{root}/out/warned", from: warn, shuffle: {{}}, shard_bytes: 1200}}
"""


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two outputs: `cut` lost repeated lines, `warned` got content warnings and is shuffled. Both keep notes.

    Of the three tasks, the first two share their sidecars, and the last has its own."""
    root = tmp_path_factory.mktemp("changed")
    (root / "in").mkdir()
    for part in range(3):
        texts = [f"Page {n % 37} of its kind, {'words ' * (n % 5)}." for n in range(20 * part, 20 * part + 20)]
        menus = [text if n % 4 else f"Home\n{text}\nImprint" for n, text in enumerate(texts)]
        pq.write_table(
            pa.table({"id": [f"d{part}-{n}" for n in range(20)], "text": menus}), root / f"in/{part}.parquet"
        )
    text = CONFIG.format(root=root)
    run(text.replace("  warned:", "  #").replace("  warn:", "  #"))
    run(text.replace("  cut:", "  #").replace("  paragraphs:", "  #"))
    return root


@pytest.fixture
def cut(changed: Path, copied: Callable[[Path], Output], in_process: None) -> Output:
    output = copied(changed / "out/cut")
    output.back = True
    return output


@pytest.fixture
def warned(changed: Path, copied: Callable[[Path], Output], in_process: None) -> Output:
    output = copied(changed / "out/warned")
    output.back = True
    return output


def edit(output: Output, name: str, column: str, change: Callable[[int, dict[str, Any]], Any]) -> None:
    """Makes a column of a file anew, row by row, and all outer digests follow."""

    def made(table: pa.Table) -> pa.Table:
        values = [change(number, row) for number, row in enumerate(table.to_pylist())]
        index = table.column_names.index(column)
        return table.set_column(index, table.schema.field(column), pa.array(values, table.schema.field(column).type))

    output.rewrite(name, made, consistent=True)
    output.seal(content=[name])


def listed(output: Output, node: str) -> dict[bytes, dict[str, Any]]:
    """What the ledger records of documents at a node."""
    rows = (row for name in output.named("ledger") for row in output.rows(name).to_pylist())
    return {row["doc_key"]: row for row in rows if row["node"] == node}


@pytest.mark.parametrize("kind", ["cut", "warned"])
def test_both_outputs_are_clean_as_they_are(kind: str, request: pytest.FixtureRequest) -> None:
    output: Output = request.getfixturevalue(kind)
    result = output.audit()
    assert result.exit_code == 0, result.problems
    assert {result[name].status for name in ("source", "text", "replay", "signals", "join")} == {"pass"}


def test_a_line_taken_from_a_document_that_lost_none_by_the_ledger(cut: Output) -> None:
    name, told = cut.named("data")[0], listed(cut, "paragraphs")
    assert told and all(row["rule"] == "repeated_line" for row in told.values())
    row = next(n for n, row in enumerate(cut.rows(name).to_pylist()) if row["doc_key"] not in told)
    edit(cut, name, "text", lambda n, old: old["text"][:-3] if n == row else old["text"])
    result = cut.expect("text")
    assert [(finding.file, finding.row) for finding in result["text"].findings] == [(name, row)]


def test_a_cut_that_is_taken_off_the_record(cut: Output) -> None:
    """The text stays without its lines, the ledger and the accounts no longer say why."""
    ledger = cut.named("ledger")[0]
    told = cut.rows(ledger).to_pylist()
    row = next(n for n, row in enumerate(told) if row["node"] == "paragraphs")
    cut.rewrite(
        ledger, lambda t: pa.concat_tables([t.slice(0, row), t.slice(row + 1)]).combine_chunks(), consistent=True
    )
    cut.seal(content=[ledger])
    result = cut.expect("ledger", "text")
    assert [finding.document for finding in result["text"].findings] == [told[row]["doc_key"].hex()]


def test_other_texts_below_the_warnings(warned: Output) -> None:
    """The ledger lists each document as changed, so that only producing the texts again can show it."""
    for name in warned.named("data"):
        edit(warned, name, "text", lambda n, old: old["text"].replace("Page", "Sheet"))
    result = warned.expect("text")
    assert "differs from what the nodes in the ledger produce from its source's" in result.problems[0]
    assert {finding.file for finding in result["text"].findings} <= set(warned.named("data"))


def test_a_warning_taken_away(warned: Output) -> None:
    for name in warned.named("data"):
        edit(warned, name, "text", lambda n, old: old["text"].partition("\n\n")[2])
    warned.expect("text")


def test_another_language_s_warning_in_the_ledger(warned: Output) -> None:
    """The witness names the template: it decides nothing, so the content digest alone holds it."""
    name = warned.named("ledger")[0]
    warned.rewrite(name, lambda t: with_column(t, "witness", "template:deu_Latn"))
    warned.seal()
    warned.expect("content", "replay")


def with_column(table: pa.Table, column: str, value: Any) -> pa.Table:
    index = table.column_names.index(column)
    assert table[column].to_pylist() != [value] * table.num_rows
    return table.set_column(index, table.schema.field(column), pa.array([value] * table.num_rows, pa.string()))


def test_the_script_in_the_documentation_verifies_a_shuffled_output_with_notes(warned: Output) -> None:
    assert {"data", "notes:exact", "ledger"} <= {entry["role"] for entry in warned.entries()}
    assert len(warned.named("data")) > 1
    found = verify(warned.folder)
    assert (found.returncode, found.stdout, found.stderr) == (0, "verified\n", "")
    shard, notes = warned.named("data")[0], warned.named("notes:exact")[0]
    warned.rewrite(shard, lambda table: table.slice(1), consistent=True)
    warned.seal(content=[shard])
    warned.flip(notes, 60)
    assert verify(warned.folder).stderr.splitlines() == [
        f"FAILED: {notes}: its SHA-256",
        "FAILED: the rows that were sent here",
    ]


# A shuffled output's shards


def of_log(**new: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda log: {**log, **new}


def test_a_shuffled_shard_whose_log_tells_another_shuffle(warned: Output) -> None:
    name = warned.named("data")[0]
    shuffle = warned.log(name)["shuffle"]
    warned.rewrite(name, log=of_log(shuffle={**shuffle, "seed": shuffle["seed"] + 1}))
    warned.seal()
    warned.expect("footer")


def test_shuffled_shards_that_tell_of_more_buckets(warned: Output) -> None:
    """In all logs alike, so that no two contradict each other: the rows then lie in other buckets than theirs."""
    for name in warned.named("data"):
        shuffle = warned.log(name)["shuffle"]
        warned.rewrite(name, log=of_log(shuffle={**shuffle, "buckets": 2 * shuffle["buckets"]}))
    warned.seal()
    result = warned.expect("join")
    assert "belongs in another bucket" in result.problems[0]


@pytest.mark.parametrize("shuffle", [None, {"seed": -1, "buckets": 2}, {"seed": 3, "buckets": 1 << 70}, 5])
def test_a_shuffled_shard_s_log_of_another_form_is_named_and_the_audit_goes_on(warned: Output, shuffle: Any) -> None:
    name = warned.named("data")[0]
    warned.rewrite(name, log=of_log(shuffle=shuffle))
    warned.seal()
    result = warned.expect("schema")
    assert result["join"].status == "unread" and result["replay"].status == "pass"


def test_two_shuffled_shards_names_exchanged(warned: Output) -> None:
    first, second = warned.named("data")[:2]
    warned.path(first).rename(warned.path("aside"))
    warned.path(second).rename(warned.path(first))
    warned.path("aside").rename(warned.path(second))
    warned.seal(content=[first, second])
    warned.expect("footer")


def test_a_row_moved_to_another_bucket(warned: Output) -> None:
    first, second = warned.named("data")[:2]
    row = warned.rows(first).slice(0, 1).replace_schema_metadata(None)
    warned.rewrite(first, lambda table: table.slice(1), consistent=True)
    warned.rewrite(second, lambda table: pa.concat_tables([row, table]).combine_chunks(), consistent=True)
    warned.seal(content=[first, second])
    result = warned.expect("join")
    assert {finding.file for finding in result["join"].findings} == {second}


def test_a_row_that_names_a_task_which_the_run_has_not(warned: Output) -> None:
    name = warned.named("data")[0]
    edit(warned, name, "from_task", lambda n, old: 99 if n == 0 else old["from_task"])
    result = warned.expect("join")
    assert "names a task that does not exist; tasks of the run: 3" in "\n".join(result.problems)


def test_a_copy_of_a_shuffled_row_numbered_anew(warned: Output) -> None:
    name = warned.named("data")[0]
    edit(warned, name, "copy", lambda n, old: 1 if n == 0 else old["copy"])
    warned.expect("join")


def test_a_shuffled_shard_left_out(warned: Output) -> None:
    name = warned.named("data")[0]
    warned.path(name).unlink()
    warned.seal(entries=[entry for entry in warned.entries() if entry["path"] != name])
    warned.expect("keys", "join")


# Notes kept for later runs


@pytest.mark.parametrize("kind", ["cut", "warned"])
def test_a_note_that_says_a_dropped_document_was_kept(kind: str, request: pytest.FixtureRequest) -> None:
    output: Output = request.getfixturevalue(kind)
    name = next(n for n in output.named("notes:exact") if not all(output.rows(n)["emitted"].to_pylist()))
    edit(output, name, "emitted", lambda n, old: True)
    result = output.expect("signals")
    assert result["signals"].findings[0].node == "exact" and result["signals"].findings[0].file == name
    assert "`emitted` differs from the ledger's decision" in result.problems[0]


def test_a_note_of_a_document_that_never_came(cut: Output) -> None:
    name = cut.named("notes:exact")[0]
    edit(cut, name, "doc_key", lambda n, old: b"\x01" * 16 if n == 0 else old["doc_key"])
    cut.expect("signals")


def test_a_note_left_out(cut: Output) -> None:
    name = cut.named("notes:exact")[0]
    cut.rewrite(name, lambda table: table.slice(0, 0), consistent=True)
    cut.seal(content=[name])
    result = cut.expect("replay")
    assert "no note of it is kept" in result.problems[0]


def test_a_note_doubled(cut: Output) -> None:
    """At the end of its task's rows, so that the file is still in the order of its tasks."""
    name = cut.named("notes:exact")[0]
    end = cut.rows(name)["from_task"].to_pylist().count(0)

    def doubled(table: pa.Table) -> pa.Table:
        return pa.concat_tables([table.slice(0, end), table.slice(0, 1), table.slice(end)]).combine_chunks()

    cut.rewrite(name, doubled, consistent=True)
    cut.seal(content=[name])
    cut.expect("signals", "agreement")


def test_a_note_that_is_another_document_s(cut: Output) -> None:
    name = cut.named("notes:exact")[0]
    edit(cut, name, "key", lambda n, old: b"\x02" * 16)
    result = cut.expect("replay")
    assert "its kept note is not what it gives when it is surveyed again" in result.problems[0]


def test_all_notes_of_a_task_left_out_that_shares_their_file(cut: Output) -> None:
    name = cut.named("notes:exact")[0]
    assert set(cut.rows(name)["from_task"].to_pylist()) == {0, 1}
    cut.rewrite(name, lambda table: table.filter(pc.equal(table["from_task"], 1)).combine_chunks(), consistent=True)
    cut.seal(content=[name])
    cut.expect("replay")


def test_all_notes_of_a_task_left_out(cut: Output) -> None:
    name = cut.named("notes:exact")[-1]
    assert set(cut.rows(name)["from_task"].to_pylist()) == {2}
    cut.path(name).unlink()
    cut.seal(entries=[entry for entry in cut.entries() if entry["path"] != name])
    cut.expect("replay")


def test_notes_of_a_node_that_the_run_has_not(cut: Output) -> None:
    name = cut.named("notes:exact")[0]
    entries = [{**e, "role": "notes:other"} if e["path"] == name else e for e in cut.entries()]
    cut.seal(entries=entries)
    cut.expect("signals", "replay")


def test_a_flipped_byte_of_a_note(cut: Output) -> None:
    cut.flip(cut.named("notes:exact")[0], 60)
    cut.expect("sha256")


@pytest.mark.parametrize("role", ["notes:exact", "data"])
def test_no_flip_of_a_byte_of_notes_or_of_a_shuffled_shard_keeps_its_digest(warned: Output, role: str) -> None:
    entry = next(entry for entry in warned.entries() if entry["role"] == role)
    data = warned.path(entry["path"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == entry["sha256"]
    assert all(hashlib.sha256(flipped).hexdigest() != entry["sha256"] for flipped in flips(data))


def test_a_notes_file_deleted_and_one_added(cut: Output) -> None:
    first, second = cut.named("notes:exact")[:2]
    cut.path(second).rename(cut.path("notes/exact/part-00077.parquet"))
    cut.path(first).write_bytes(cut.path(first).read_bytes() + b"junk")
    cut.expect("missing", "stray", "size", "footer", "sha256")
