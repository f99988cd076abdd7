"""The tamper matrix: each kind of damage or deceit really changes bytes, and exactly the expected checks fire."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.hashing import canonical, merkle_root
from gristmill.pipeline.provenance.accounts import Accounts
from gristmill.pipeline.provenance.values import parse, to_json
from gristmill.pipeline.writing.parquet import read_log
from tests.pipeline.audit.tampering import Output, restore_times

Copied = Callable[[Path], Output]


def without_row(row: int) -> Callable[[pa.Table], pa.Table]:
    return lambda table: pa.concat_tables([table.slice(0, row), table.slice(row + 1)]).combine_chunks()


def with_value(column: str, row: int, value: Any) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        values = table[column].to_pylist()
        assert values[row] != value
        values[row] = value
        index = table.column_names.index(column)
        return table.set_column(index, column, pa.array(values, table.schema.field(column).type))

    return change


def mended(output: Output, name: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Changes a file's rows, and makes its log and all outer digests follow."""
    output.rewrite(name, change, consistent=True)
    output.seal(content=[name])


# Damage to one file


def test_a_flipped_data_byte(output: Output) -> None:
    name = output.named("data")[0]
    output.flip(name, 40)
    result = output.expect("sha256")
    assert [finding.file for finding in result["sha256"].findings] == [name]
    assert result["content"].status == result["join"].status == "unread"
    assert output.audit(full=False).exit_code == 0, "a fast audit reads no rows"


def test_a_flipped_footer_byte(output: Output) -> None:
    name = output.named("data")[0]
    digest = output.log(name)["content_digest"].encode()
    output.replace_bytes(name, digest, digest[:-1] + (b"0" if digest[-1:] != b"0" else b"1"))
    output.expect("footer", "sha256")


def test_a_flipped_byte_of_the_footer_s_length(output: Output) -> None:
    name = output.named("data")[0]
    output.flip(name, output.path(name).stat().st_size - 7)
    output.expect("footer", "sha256")


def test_truncation(output: Output) -> None:
    path = output.path(output.named("data")[0])
    path.write_bytes(path.read_bytes()[:-100])
    output.expect("size", "footer", "sha256")


def test_an_emptied_file(output: Output) -> None:
    output.path(output.named("data")[0]).write_bytes(b"")
    output.expect("size", "footer", "sha256")


def test_a_zeroed_page(output: Output) -> None:
    name = output.named("data")[0]
    chunk = pq.read_metadata(output.path(name)).row_group(0).column(3)
    data = bytearray(output.path(name).read_bytes())
    start = chunk.data_page_offset + 60
    data[start : start + 20] = bytes(20)
    output.path(name).write_bytes(data)
    output.expect("sha256")
    output.seal()
    result = output.expect("pages")
    assert result["pages"].findings[0].file == name


def pages_without_checksums(output: Output) -> None:
    name = output.named("data")[0]
    table, log = output.rows(name), output.log(name)
    metadata = {"gristmill.log": canonical(log).decode()}
    with pq.ParquetWriter(
        output.path(name), table.schema.remove_metadata(), compression="zstd", version="2.6"
    ) as writer:
        writer.write_table(table.replace_schema_metadata(None))
        writer.add_key_value_metadata(metadata)
    output.seal()


def test_pages_without_checksums(output: Output) -> None:
    pages_without_checksums(output)
    result = output.expect("pages")
    assert "has no checksum" in result["pages"].findings[0].message


def further_footer_key(output: Output) -> None:
    name = output.named("signals:bounds")[0]
    table = output.rows(name)
    with pq.ParquetWriter(
        output.path(name), table.schema, compression="zstd", write_page_checksum=True, version="2.6"
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"huggingface": "{}"})
    output.seal()


def test_further_keys_in_a_footer(output: Output) -> None:
    further_footer_key(output)
    result = output.expect("footer")
    assert "'huggingface'" in result["footer"].findings[0].message


def test_appended_junk(output: Output) -> None:
    with output.path(output.named("ledger")[0]).open("ab") as stream:
        stream.write(b"junk")
    output.expect("size", "footer", "sha256")


def test_a_same_size_edit_with_restored_times(output: Output) -> None:
    name = output.named("dropped")[0]
    stat = output.path(name).stat()
    output.flip(name, 12)
    restore_times(output.path(name), stat)
    assert output.path(name).stat().st_mtime_ns == stat.st_mtime_ns
    output.expect("sha256")


def test_re_encoding(output: Output) -> None:
    name = output.named("data")[1]
    output.rewrite(name, codec="gzip")
    output.expect("size", "sha256")


def test_a_column_cast(output: Output) -> None:
    name = output.named("data")[0]
    output.rewrite(name, lambda t: t.set_column(1, "copy", t["copy"].cast(pa.int64())))
    output.seal()
    output.expect("footer", "content")


def test_null_turned_into_empty(output: Output) -> None:
    name = next(n for n in output.named("data") if output.rows(n)["url"].null_count)
    output.rewrite(name, lambda t: t.set_column(t.column_names.index("url"), "url", pc.fill_null(t["url"], "")))
    output.seal()
    output.expect("content", "agreement")


def test_swapped_rows(output: Output) -> None:
    name = output.named("data")[0]
    order = [1, 0, *range(2, output.rows(name).num_rows)]
    output.rewrite(name, lambda t: t.take(pa.array(order)))
    output.seal()
    output.expect("content", "agreement")


def test_a_rewrite_that_keeps_a_stale_log(output: Output) -> None:
    name = output.named("data")[0]
    output.rewrite(name, without_row(1))
    output.seal()
    output.expect("footer", "content", "join")


def test_a_rewrite_that_loses_the_log(output: Output) -> None:
    output.rewrite(output.named("data")[0], log=None)
    output.seal()
    output.expect("footer")


def test_a_ledger_that_lost_its_log(output: Output) -> None:
    output.rewrite(output.named("ledger")[0], log=None)
    output.seal()
    result = output.expect("footer")
    assert {"accounts", "lineage", "ledger", "join"} <= {c.name for c in result.checks if c.status == "unread"}


# Files that come, go and change places


def test_two_shards_names_exchanged(output: Output) -> None:
    first, second = output.named("data")[0], output.named("data")[-1]
    output.path(first).rename(output.path("aside"))
    output.path(second).rename(output.path(first))
    output.path("aside").rename(output.path(second))
    output.expect("size", "footer", "sha256")


def test_a_shard_deleted(output: Output) -> None:
    output.path(output.named("data")[0]).unlink()
    result = output.expect("missing")
    assert result["join"].status == "unread"


def test_a_ledger_deleted(output: Output) -> None:
    output.path(output.named("ledger")[1]).unlink()
    result = output.expect("missing")
    assert result["accounts"].status == "unread"


def test_a_stray_shard(output: Output) -> None:
    shutil.copy(output.path(output.named("data")[0]), output.path("data/part-00000-77.parquet"))
    result = output.expect("stray")
    assert result["stray"].findings[0].file == "data/part-00000-77.parquet"


def test_what_a_killed_run_leaves_is_no_stray_but_a_file_that_borrows_its_name_is(output: Output) -> None:
    claim = output.folder / ".gristmill-lease.json.000000000001"
    claim.write_text("{}")
    output.expect()
    claim.write_bytes(bytes((1 << 16) + 1))
    output.expect("stray")


def test_a_writer_s_partial_file_is_a_stray(output: Output) -> None:
    output.path("data/.part-00000-00.parquet.host-1").write_bytes(b"half")
    output.expect("stray")


def test_a_link_to_a_folder(output: Output, tmp_path: Path) -> None:
    """Readers of data sets follow it, and would take what lies there for a part of the corpus."""
    (tmp_path / "more").mkdir()
    shutil.copy(output.path(output.named("data")[0]), tmp_path / "more/part-00000-77.parquet")
    output.path("data/more").symlink_to(tmp_path / "more")
    assert output.audit(full=False).failed == {"regular"}


def test_a_changed_card_is_a_warning(output: Output) -> None:
    with output.path("README.md").open("a") as stream:
        stream.write("More words.\n")
    assert output.expect("documents").exit_code == 4


def test_an_entry_removed_from_files_parquet(output: Output) -> None:
    entries = output.entries()
    last = next(e for e in reversed(entries) if e["role"] == "data")
    output.set_entries([entry for entry in entries if entry["path"] != last["path"]])
    output.expect("files", "stray", "roots", "keys", "join")
    output.seal()
    output.expect("stray", "keys", "join")


def test_an_entry_doubled_in_files_parquet(output: Output) -> None:
    entries = output.entries()
    output.seal(entries=[*entries, next(e for e in entries if e["role"] == "signals:bounds")])
    output.expect("files")


def test_files_parquet_damaged(output: Output) -> None:
    output.flip("files.parquet", output.path("files.parquet").stat().st_size - 7)
    result = output.expect("files")
    assert result["size"].status == result["accounts"].status == "unread"


def test_two_attempts_committed(output: Output) -> None:
    entries = output.entries()
    index, ledger = next((i, e) for i, e in enumerate(entries) if e["role"] == "ledger")
    name = ledger["path"].replace(".parquet", "-attempt.parquet")
    shutil.copy(output.path(ledger["path"]), output.path(name))
    output.seal(entries=[*entries[: index + 1], {**ledger, "path": name}, *entries[index + 1 :]])
    output.expect("footer", "lineage")


def test_two_attempts_of_a_shard_committed(output: Output) -> None:
    entries = output.entries()
    index, shard = next((i, e) for i, e in enumerate(entries) if e["role"] == "data")
    name = shard["path"].replace(".parquet", "-attempt.parquet")
    shutil.copy(output.path(shard["path"]), output.path(name))
    output.seal(entries=[*entries[: index + 1], {**shard, "path": name}, *entries[index + 1 :]])
    output.expect("footer", "lineage", "keys", "join", "agreement")


def test_an_old_manifest_restored(output: Output, other_run: Path) -> None:
    shutil.copy(other_run / "out/corpus/manifest.json", output.path("manifest.json"))
    assert output.expect("files", "documents", "roots", "footer", "accounts", "keys", full=False).exit_code == 13


def test_a_shard_of_another_run(output: Output, other_run: Path) -> None:
    """Even one with the same rows, and with its own entry in files.parquet."""
    name = output.named("data")[0]
    other = Output(other_run / "out/corpus")
    assert output.rows(name).equals(other.rows(name))
    shutil.copy(other.path(name), output.path(name))
    theirs = next(entry for entry in other.entries() if entry["path"] == name)
    output.seal(entries=[theirs if entry["path"] == name else entry for entry in output.entries()])
    result = output.expect("footer")
    assert {finding.file for finding in result["footer"].findings} == {name}


# Deceit with outer digests recomputed


def test_a_dropped_row_group_with_counts_mended(output: Output) -> None:
    mended(output, output.named("data")[0], lambda table: table.slice(2))
    output.expect("keys", "join")


def test_a_row_deleted_with_counts_lowered(output: Output) -> None:
    name = output.named("data")[0]
    mended(output, name, without_row(1))
    task = output.log(name)["task"]

    def lower(accounts: dict[str, Any]) -> None:
        accounts["outputs"]["corpus"]["upper.kept"]["rows"] -= 1

    change_accounts(output, task, lower)
    output.expect("accounts", "keys", "join")


def change_accounts(output: Output, task: int, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes a task's accounts in all its logs and the run's in the manifest, and seals."""

    def edit(log: dict[str, Any]) -> dict[str, Any]:
        for one in log["tasks"] if "tasks" in log else [log]:
            if one["task"] == task:
                change(one["accounts"])
        return log

    for entry in output.entries():
        if entry["task"] <= task < entry["task"] + entry["tasks"] and entry["role"] in ("data", "ledger"):
            output.rewrite(entry["path"], log=edit)
    output.set_manifest(lambda statement: change(statement["predicate"]["accounts"]))
    output.seal()


def test_one_row_overwritten_by_another(output: Output) -> None:
    mended(output, output.named("data")[0], lambda t: pa.concat_tables([t.slice(2, 1), t.slice(1)]).combine_chunks())
    output.expect("keys", "join", "agreement")


def test_one_lost_and_one_doubled_elsewhere(output: Output) -> None:
    first, last = output.named("data")[0], output.named("data")[-1]
    assert output.log(first)["task"] != output.log(last)["task"]
    output.rewrite(first, without_row(0), consistent=True)
    output.rewrite(last, lambda t: pa.concat_tables([t, t.slice(0, 1)]).combine_chunks(), consistent=True)
    output.seal(content=[first, last])
    result = output.expect("keys", "join", "agreement")
    documents = {finding.document for finding in result["join"].findings if finding.document}
    assert output.rows(last)["doc_key"][0].as_py().hex() in documents


def test_a_document_moved_to_another_task_s_shard(output: Output) -> None:
    first, last = output.named("data")[0], output.named("data")[-1]
    row = output.rows(first).slice(0, 1).replace_schema_metadata(None)
    output.rewrite(first, without_row(0), consistent=True)
    output.rewrite(last, lambda t: pa.concat_tables([t, row.cast(t.schema)]).combine_chunks(), consistent=True)
    output.seal(content=[first, last])
    result = output.expect("keys", "join")
    assert not any("all shards" in finding.message for finding in result["keys"].findings), "the run's sums still hold"


def test_drops_moved_between_reasons(output: Output) -> None:
    name, row = row_of_ledger(output, rule="too_short")

    def change(table: pa.Table) -> pa.Table:
        return with_value("failed", row, ["too_long"])(with_value("rule", row, "too_long")(table))

    mended(output, name, change)
    output.expect("ledger", "dropped")


def row_of_ledger(output: Output, **wanted: Any) -> tuple[str, int]:
    """The first row of a ledger that has some values: (file, row)."""
    for name in output.named("ledger"):
        for row, item in enumerate(output.rows(name).to_pylist()):
            if all(item[column] == value for column, value in wanted.items()):
                return name, row
    raise AssertionError(f"no ledger row has {wanted}")


def test_a_reason_that_the_node_does_not_have(output: Output) -> None:
    name, row = row_of_ledger(output, rule="too_short")

    def change(table: pa.Table) -> pa.Table:
        return with_value("failed", row, ["because"])(with_value("rule", row, "because")(table))

    mended(output, name, change)
    result = output.expect("vocabulary")
    assert "'because'" in result["vocabulary"].findings[0].message and result["vocabulary"].findings[0].row == row


def test_a_reason_that_is_not_among_the_failing_ones(output: Output) -> None:
    name, row = row_of_ledger(output, rule="too_short")
    mended(output, name, with_value("failed", row, ["odd_size"]))
    output.expect("vocabulary")


def test_a_node_that_the_run_does_not_have(output: Output) -> None:
    name, row = row_of_ledger(output, rule="too_short")
    mended(output, name, with_value("node", row, "nowhere"))
    output.expect("vocabulary")


def test_copies_that_the_ledger_does_not_tell(output: Output) -> None:
    name, row = row_of_ledger(output, node="double", copies=2)
    mended(output, name, with_value("copies", row, 3))
    result = output.expect("ledger", "join")
    assert result["join"].findings


def test_a_copy_numbered_twice(output: Output) -> None:
    name = output.named("data")[0]
    row = output.rows(name)["copy"].to_pylist().index(1)
    mended(output, name, with_value("copy", row, 0))
    result = output.expect("join", "agreement")
    assert result["join"].findings[0].row is not None


def test_a_drop_removed_from_the_ledger(output: Output) -> None:
    name, row = row_of_ledger(output, decision="dropped", node="bounds")
    mended(output, name, without_row(row))
    output.expect("ledger", "dropped", "agreement")


def test_a_decision_doubled_in_the_ledger(output: Output) -> None:
    name, row = row_of_ledger(output, decision="dropped", node="bounds")
    mended(output, name, lambda t: pa.concat_tables([t, t.slice(row, 1)]).combine_chunks())
    result = output.expect("ledger")
    assert "a second time" in result["ledger"].findings[0].message


def test_a_kept_document_declared_dropped(output: Output) -> None:
    name, row = row_of_ledger(output, decision="dropped", node="bounds")
    task = output.log(name)["tasks"][0]["task"]
    data = next(n for n in output.named("data") if output.log(n)["task"] == task)
    mended(output, name, with_value("doc_key", row, output.rows(data)["doc_key"][0].as_py()))
    output.expect("ledger", "join", "dropped", "agreement")


def test_signals_of_a_document_exchanged(output: Output) -> None:
    first, second = output.named("signals:bounds")[:2]
    foreign = output.rows(second)["doc_key"][0].as_py()
    mended(output, first, with_value("doc_key", 0, foreign))
    output.expect("signals")


def test_a_dropped_text_of_a_kept_document(output: Output) -> None:
    name = output.named("dropped")[0]
    kept = output.rows(output.named("data")[0])["doc_key"][0].as_py()
    mended(output, name, with_value("doc_key", 0, kept))
    output.expect("dropped", "agreement")


def test_an_empty_output_with_a_plausible_log(output: Output) -> None:
    names = output.named("data")
    for name in names:
        output.rewrite(name, lambda table: table.slice(0, 0), consistent=True)
    output.seal(content=names)
    output.expect("keys", "join")


def test_an_input_slice_skipped(output: Output) -> None:
    """The last task is taken out everywhere, with accounts, totals and roots recomputed: only the run's key tells."""
    entries = output.entries()
    last = max(entry["task"] for entry in entries)
    kept = [entry for entry in entries if entry["task"] != last]
    gone = parse(Accounts, output.log(f"ledger/part-{last:05d}.parquet")["tasks"][0]["accounts"])
    total = Accounts()
    for entry in kept:
        if entry["role"] == "ledger":
            total.add(parse(Accounts, output.log(entry["path"])["tasks"][0]["accounts"]))
    for entry in entries:
        if entry["task"] == last:
            output.path(entry["path"]).unlink()
    slices = [output.log(entry["path"])["tasks"][0]["slices"][0] for entry in kept if entry["role"] == "ledger"]

    def change(statement: dict[str, Any]) -> None:
        predicate = statement["predicate"]
        predicate["tasks"] -= 1
        predicate["accounts"] = to_json(total)
        predicate["slices_root"] = merkle_root([one["digest"] for one in slices])
        assert gone.nodes["b"].entered.rows
        predicate["sources"]["b"] |= {"slices": 0, "files": 0, "rows": 0, "rejects": 0}

    output.set_manifest(change)
    output.seal(entries=kept)
    result = output.expect("lineage")
    assert "run's key" in result["lineage"].findings[0].message


def test_a_slice_consumed_twice(output: Output) -> None:
    first = output.log("ledger/part-00000.parquet")["tasks"][0]["slices"][0]

    def change(log: dict[str, Any]) -> dict[str, Any]:
        if "tasks" in log:
            return {**log, "tasks": [change(one) for one in log["tasks"]]}
        return {**log, "slices": [{**log["slices"][0], "path": first["path"], "part": first["part"]}]}

    for entry in output.entries():
        if entry["task"] == 1 and entry["role"] in ("data", "ledger"):
            output.rewrite(entry["path"], log=change)
    slice_part = output.entries()[0]["slice_part"]
    entries = [
        {**e, "slice_path": first["path"], "slice_part": slice_part} if e["task"] == 1 else e for e in output.entries()
    ]
    output.seal(entries=entries)
    result = output.expect("lineage")
    assert any("both consumed" in finding.message for finding in result["lineage"].findings)


def test_a_changed_model_or_word_list(output: Output) -> None:
    def change(log: dict[str, Any]) -> dict[str, Any]:
        log["nodes"][0]["models"]["words"] = "0" * 64
        return log

    for entry in output.entries():
        if entry["role"] in ("data", "ledger"):
            output.rewrite(entry["path"], log=change)
    output.set_manifest(lambda s: s["predicate"]["nodes"][0]["models"].update(words="0" * 64))
    output.seal()
    result = output.expect("models")
    assert result["models"].findings[0].node == "bounds"


def test_a_changed_threshold(output: Output) -> None:
    output.set_manifest(lambda s: s["predicate"]["nodes"][0]["fields"]["threshold"].update(least=1))
    output.expect("models")


def test_accounts_that_do_not_balance(output: Output) -> None:
    def change(accounts: dict[str, Any]) -> None:
        accounts["nodes"]["same"]["dropped"]["rows"] += 1

    change_accounts(output, 0, change)
    result = output.expect("accounts", "ledger")
    assert {finding.file for finding in result["accounts"].findings} == {"manifest.json", "ledger/part-00000.parquet"}


def test_shares_moved_between_licences(output: Output) -> None:
    def change(accounts: dict[str, Any]) -> None:
        licences = accounts["shares"]["corpus"]["licences"]
        documents, size, tokens = licences["CC0-1.0"]
        licences |= {"CC0-1.0": [documents - 1, size - 5, tokens], "MIT": [1, 5, 0]}

    change_accounts(output, 0, change)
    result = output.expect("shares")
    assert "licences, 'CC0-1.0': [documents, bytes, tokens]" in result["shares"].findings[0].message


def test_tasks_that_do_not_add_up_to_the_run(output: Output) -> None:
    output.set_manifest(lambda s: s["predicate"]["accounts"]["nodes"]["bounds"]["tallies"].update(extra=1))
    output.expect("accounts")


# Deceit with every digest recomputed: files that contradict each other


def column_of(output: Output, role: str, column: str) -> tuple[str, int]:
    """The first file of a role with a row whose document is in its task's ledger and has a value in a column."""
    for name in output.named(role):
        task = output.log(name)["task"] if role == "data" else int(name.rpartition("-")[2].removesuffix(".parquet"))
        known = set(output.rows(f"ledger/part-{task:05d}.parquet")["doc_key"].to_pylist())
        for row, item in enumerate(output.rows(name).to_pylist()):
            if item["doc_key"] in known and item[column] is not None:
                return name, row
    raise AssertionError(f"no file of {role} has such a row")


@pytest.mark.parametrize("column", ["id", "url"])
def test_an_identifier_that_the_ledger_contradicts(output: Output, column: str) -> None:
    name, row = column_of(output, "data", column)
    mended(output, name, with_value(column, row, "https://example.org/forged"))
    result = output.expect("agreement")
    assert any(f.row == row and f.file == name for f in result["agreement"].findings)


def test_a_url_that_the_ledger_contradicts(output: Output) -> None:
    test_an_identifier_that_the_ledger_contradicts(output, "url")


def test_all_rows_of_a_shard_in_another_order(output: Output) -> None:
    for name in output.named("data"):
        output.rewrite(name, lambda t: t.take(pa.array(range(t.num_rows - 1, -1, -1))), consistent=True)
    output.seal(content=output.named("data"))
    assert "agreement" in output.audit().failed


def test_signals_in_another_order(output: Output) -> None:
    mended(output, output.named("signals:bounds")[0], lambda t: t.take(pa.array(range(t.num_rows - 1, -1, -1))))
    output.expect("agreement")


def test_a_ledger_in_another_order(output: Output) -> None:
    mended(output, output.named("ledger")[0], lambda t: t.take(pa.array(range(t.num_rows - 1, -1, -1))))
    output.expect("agreement")


def test_a_signal_in_the_shards_that_was_not_measured(output: Output) -> None:
    name = next(name for name in output.named("data") if "size" in output.rows(name).column_names)
    mended(output, name, with_value("size", 0, 4711))
    result = output.expect("agreement")
    assert "`size` is 4711" in result["agreement"].findings[0].message


def test_a_signal_that_the_shards_contradict(output: Output) -> None:
    shown = {key for name in output.named("data") for key in output.rows(name)["doc_key"].to_pylist()}
    name = output.named("signals:again")[0]
    row = next(row for row, key in enumerate(output.rows(name)["doc_key"].to_pylist()) if key in shown)
    mended(output, name, with_value("share", row, 0.125))
    output.expect("agreement")


def test_signals_of_a_task_left_out(output: Output) -> None:
    name = output.named("signals:bounds")[0]
    output.path(name).unlink()
    output.seal(entries=[entry for entry in output.entries() if entry["path"] != name])
    result = output.expect("agreement")
    assert "no file has its signals" in result["agreement"].findings[0].message


@pytest.mark.parametrize("column", ["text", "rank", "id"])
def test_a_dropped_text_that_the_ledger_contradicts(output: Output, column: str) -> None:
    name = output.named("dropped")[0]
    old = next(row for row, text in enumerate(output.rows(name)["text"].to_pylist()) if text)
    value = 1 if column == "rank" else "another text than that"
    mended(output, name, with_value(column, old, value))
    output.expect("agreement")


def test_dropped_texts_left_out(output: Output) -> None:
    mended(output, output.named("dropped")[0], without_row(0))
    output.expect("agreement")


# The manifest and the logs as documents


def test_no_manifest(output: Output) -> None:
    output.path("manifest.json").unlink()
    assert output.expect("manifest").exit_code == 10


def test_a_changed_value_in_the_manifest(output: Output) -> None:
    output.set_manifest(lambda s: s["predicate"].update(name="other"), digests=False)
    result = output.expect("manifest")
    assert len(result["manifest"].findings) == 2, "the predicate's digest and the statement's"


def test_a_changed_value_among_what_varies(output: Output) -> None:
    output.set_manifest(lambda s: s["predicate"]["varies"].update(python="2.7"), digests=False)
    result = output.expect("manifest")
    assert ["statement" in finding.message for finding in result["manifest"].findings] == [True]


def test_another_spelling_of_the_same_manifest(output: Output) -> None:
    output.path("manifest.json").write_text(json.dumps(output.manifest()))
    output.expect("manifest")


def test_a_doubled_key_in_the_manifest(output: Output) -> None:
    run = output.manifest()["predicate"]["run"]
    output.replace_bytes(
        "manifest.json", f'"run": "{run}"'.encode(), f'"run": "{"0" * 64}",\n  "run": "{run}"'.encode()
    )
    assert output.manifest()["predicate"]["run"] == run, "a lenient reader sees no difference"
    result = output.expect("manifest")
    assert "'run' is a duplicate key in one object" in result["manifest"].findings[0].message


def test_a_doubled_key_in_a_log(output: Output) -> None:
    name = output.named("data")[0]
    output.rewrite(name, log=lambda log: canonical(log).decode()[:-1] + ',"seed":7}')
    output.seal()
    result = output.expect("schema")
    assert "'seed' is a duplicate key in one object" in result["schema"].findings[0].message


def test_an_unknown_key_in_the_manifest(output: Output) -> None:
    output.set_manifest(lambda s: s["predicate"].update(note="trust me"))
    assert output.expect("schema").exit_code == 12


def test_another_format_version(output: Output) -> None:
    output.set_manifest(lambda s: s["predicate"].update(format=1))
    output.expect("schema")


def test_a_log_of_another_form(output: Output) -> None:
    name = output.named("ledger")[0]
    output.rewrite(name, log=lambda log: {**log, "seed": "seven"})
    output.seal()
    output.expect("schema")


def test_a_log_with_other_white_space(output: Output) -> None:
    output.rewrite(output.named("data")[0], log=lambda log: json.dumps(log, sort_keys=True))
    output.seal()
    output.expect("schema")


def test_a_log_whose_licence_was_changed(output: Output) -> None:
    name = output.named("data")[0]
    output.rewrite(
        name, log=lambda log: {**log, "licenses": {"a": {"spdx": "MIT", "stated_by": "author", "evidence": None}}}
    )
    output.seal()
    output.expect("footer")
    assert read_log(pq.read_metadata(output.path(name)).metadata) is not None
