"""Going back to the source: edited texts, false reasons, changed input, and audits far from the input."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.audit.changed_documents import changed_message
from gristmill.pipeline.errors import StorageError
from tests.pipeline.audit.conftest import run, write_wide
from tests.pipeline.audit.tampering import Output
from tests.pipeline.toy_runs import GRAPH, write_corpus

PLUGINS = ("toy_stages", "audit_stages")
BACK = ("source", "text", "replay")


@pytest.fixture
def plain(two_outputs: Path, copied: Callable[[Path], Output], in_process: None) -> Output:
    """An output of a graph in which no node changes text, with settling and observing nodes."""
    return copied(two_outputs / "out/corpus")


def set_column(name: str, values: list[Any]) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        index = table.column_names.index(name)
        return table.set_column(index, name, pa.array(values, table.schema.field(name).type))

    return change


def mended(output: Output, name: str, change: Callable[[pa.Table], pa.Table]) -> None:
    output.rewrite(name, change, consistent=True)
    output.seal(content=[name])


@pytest.mark.parametrize("kind", ["plain", "output"])
def test_a_clean_output_beside_its_input_passes_all_three(kind: str, request: pytest.FixtureRequest) -> None:
    output: Output = request.getfixturevalue(kind)
    result = output.audit(plugins=PLUGINS)
    assert result.exit_code == 0, result.problems
    assert {result[name].status for name in BACK} == {"pass"}
    assert result["replay"].looked_at > 50


def test_an_audit_imports_no_plugin_that_it_was_not_given(output: Output) -> None:
    result = output.audit(sources=True)
    assert result.exit_code == 3 and {result[name].status for name in BACK} == {"unread"}
    assert "no stage named `bounds`" in result["text"].findings[0].message
    assert str(output.audit(sources=False, plugins=PLUGINS)["text"].skipped).startswith("not requested")


def test_text_edited_under_the_same_key(plain: Output) -> None:
    name = plain.named("data")[1]
    texts = plain.rows(name)["text"].to_pylist()
    texts[2] = texts[2].swapcase()
    mended(plain, name, set_column("text", texts))
    assert plain.audit(sources=False).exit_code == 0, "the forger recomputed every digest: only the source can tell"
    result = plain.expect("text", plugins=PLUGINS)
    assert [(finding.file, finding.row) for finding in result["text"].findings] == [(name, 2)]


def test_documents_of_an_edited_shard_are_named(plain: Output) -> None:
    name = plain.named("data")[0]
    before = plain.rows(name)
    texts = before["text"].to_pylist()
    texts[2] = texts[2].swapcase()
    plain.rewrite(name, lambda table: set_column("text", texts)(table).slice(1))
    keys = [key.hex() for key in before["doc_key"].to_pylist()]
    assert "--sources" in plain.audit(sources=False).lines()[-1]
    result = plain.audit(plugins=PLUGINS)
    told = next(finding.message for finding in result["sha256"].findings if "document" in finding.message)
    assert told == f"2 documents differ from what the run wrote: {keys[0]}, {keys[2]}"


def test_of_many_changed_documents_twenty_are_named() -> None:
    told = changed_message([f"{number:032x}" for number in range(23)])
    assert told.startswith("23 documents differ") and told.endswith(f"{19:032x}, and 3 more")


def test_text_may_differ_only_after_a_node_that_may_change_it(output: Output) -> None:
    changed = {key for name in output.named("data") for key in output.rows(name)["text"].to_pylist() if key.isupper()}
    assert changed, "the fixture edits some texts"
    assert output.audit(plugins=PLUGINS)["text"].status == "pass"


def test_a_text_edited_behind_a_node_that_left_it_alone(output: Output) -> None:
    for name in output.named("data"):
        texts = output.rows(name)["text"].to_pylist()
        row = next((row for row, text in enumerate(texts) if not text.isupper()), None)
        if row is not None:
            break
    assert row is not None
    texts[row] = f"{texts[row]}!"
    mended(output, name, set_column("text", texts))
    result = output.expect("text", "shares", plugins=PLUGINS)
    assert [(finding.file, finding.row) for finding in result["text"].findings] == [(name, row)]


def test_a_false_reason(output: Output) -> None:
    """Drops of one reason declared as another, with ledger, dropped texts, accounts and digests all mended."""
    task = "00001"
    ledger, dropped = f"ledger/part-{task}.parquet", f"dropped/part-{task}.parquet"

    def renamed(table: pa.Table) -> pa.Table:
        hit = pc.and_(pc.equal(table["node"], "bounds"), pc.equal(table["rule"], "too_short"))
        table = set_column("rule", pc.if_else(hit, "too_long", table["rule"]).to_pylist())(table)
        if "failed" not in table.column_names:
            return table
        failed = [
            [{"too_short": "too_long"}.get(rule, rule) for rule in rules] if one else rules
            for one, rules in zip(hit.to_pylist(), table["failed"].to_pylist(), strict=True)
        ]
        return set_column("failed", failed)(table)

    def moved(accounts: dict[str, Any], gone: dict[str, Any]) -> None:
        rules = accounts["nodes"]["bounds"]["rules"]
        for kind, (rows, size) in gone.items():
            for rule, sign in (("too_short", -1), ("too_long", 1)):
                into = rules.setdefault(rule, {"first": [0, 0], "any": [0, 0], "sole": [0, 0]})
                into[kind] = [into[kind][0] + sign * rows, into[kind][1] + sign * size]
        if rules["too_short"]["any"] == [0, 0]:
            del rules["too_short"]

    (told,) = output.log(ledger)["tasks"]
    gone = told["accounts"]["nodes"]["bounds"]["rules"]["too_short"]

    def edit(log: dict[str, Any]) -> dict[str, Any]:
        for one in log.get("tasks", [log]):
            moved(one["accounts"], gone)
        return log

    for entry in output.entries():
        if entry["task"] == 1 and entry["role"] in ("data", "ledger"):
            output.rewrite(
                entry["path"], renamed if entry["role"] == "ledger" else lambda t: t, log=edit, consistent=True
            )
    output.rewrite(dropped, renamed)
    output.set_manifest(lambda s: moved(s["predicate"]["accounts"], gone))
    output.seal(content=[ledger, dropped])
    assert output.audit(sources=False).exit_code == 0, "everything in the folder agrees"
    result = output.expect("replay", "columns", plugins=PLUGINS)
    assert '"rule":"too_long"' in result.problems[0] and '"rule":"too_short"' in result.problems[0]
    assert {finding.node for finding in result["replay"].findings} == {"bounds"}


def test_a_false_value(output: Output) -> None:
    name = "ledger/part-00001.parquet"
    values = [None if value is None else value + 1 for value in output.rows(name)["value"].to_pylist()]
    mended(output, name, set_column("value", values))
    output.expect("replay", plugins=PLUGINS)


def test_input_that_changed_since_the_run_is_a_warning(tmp_path: Path, in_process: None) -> None:
    write_corpus(tmp_path / "in")
    victim = tmp_path / "in/part-001.parquet"
    pq.write_table(pq.read_table(victim), victim, compression="none", use_dictionary=False)
    run(GRAPH.format(root=tmp_path))
    output = Output(tmp_path / "out/corpus")
    before = pq.read_table(victim)
    text = before["text"][3].as_py().encode()
    victim.write_bytes(victim.read_bytes().replace(text, text.swapcase(), 1))
    assert not pq.read_table(victim).equals(before), "the same size, other rows"
    result = output.audit(plugins=PLUGINS)
    assert result.failed == {"source"} and result.exit_code == 4
    assert result["source"].findings[0].file == "ledger/part-00001.parquet"


def test_another_input_or_none_is_no_fault_of_the_output(tmp_path: Path, in_process: None) -> None:
    write_wide(tmp_path)
    output = Output(tmp_path / "out/corpus")
    assert output.audit(plugins=PLUGINS)["replay"].status == "pass"
    (tmp_path / "words.txt").write_text("other\n")
    result = output.audit(plugins=PLUGINS)
    assert result.exit_code == 3 and "a different run here" in result["replay"].findings[0].message
    shutil.rmtree(tmp_path / "a")
    result = output.audit(plugins=PLUGINS)
    assert result.exit_code == 3 and "cannot be planned here" in result["replay"].findings[0].message
    assert not result.failed and output.audit(sources=False).exit_code == 0


def test_a_slice_that_cannot_be_read_leaves_the_audit_incomplete(
    tmp_path: Path, in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path / "in", files=1)
    run(GRAPH.format(root=tmp_path))
    output = Output(tmp_path / "out/corpus")

    def fail(*_: object) -> None:
        raise StorageError("the disk went away")

    monkeypatch.setattr("gristmill.pipeline.audit.replay.read_slice", fail)
    result = output.audit(plugins=PLUGINS)
    assert result.exit_code == 3 and "the disk went away" in result.problems[0]


# Every column, and what the manifest says of the config


def changed(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, (int, float)) else "xyz_forged" if isinstance(value, str) else value


def test_a_column_of_the_input_that_no_ledger_holds(output: Output) -> None:
    """Documents that were emitted plainly at every node stand in no ledger."""
    listed = {key for name in output.named("ledger") for key in output.rows(name)["doc_key"].to_pylist()}
    for name in output.named("data"):
        rows = output.rows(name).to_pylist()
        row = next((n for n, item in enumerate(rows) if item["doc_key"] not in listed and item["url"]), None)
        if row is not None:
            break
    else:
        name, row = output.named("data")[0], 0
    values = [changed(item) if n == row else item for n, item in enumerate(output.rows(name)["url"].to_pylist())]
    mended(output, name, set_column("url", values))
    assert "columns" in output.audit(plugins=PLUGINS).failed


def test_signals_and_shards_forged_together(output: Output) -> None:
    """Nothing in the folder contradicts them: the text does."""
    for name in [*output.named("signals:bounds"), *output.named("signals:again"), *output.named("data")]:
        values = [None if value is None else value + 0.5 for value in output.rows(name)["share"].to_pylist()]
        output.rewrite(name, set_column("share", values), consistent=True)
    output.seal(content=[entry["path"] for entry in output.entries()])
    assert output.audit(sources=False).exit_code == 0, "everything in the folder agrees"
    result = output.expect("columns", plugins=PLUGINS)
    assert "measured again" in result["columns"].findings[0].message


def test_all_signals_left_out(output: Output) -> None:
    gone = [entry["path"] for entry in output.entries() if entry["role"].startswith("signals:")]
    shutil.rmtree(output.path("signals"))
    output.seal(entries=[entry for entry in output.entries() if entry["path"] not in gone])
    result = output.expect("columns", plugins=PLUGINS)
    assert "no file has its signals" in result["columns"].findings[0].message


@pytest.mark.parametrize("column", ["value", "threshold", "witness"])
def test_a_single_number_of_the_ledger(output: Output, column: str) -> None:
    """All rows are decided about again, not a sample of them."""
    name = "ledger/part-00000.parquet"
    old = output.rows(name)
    nodes = old["node"].to_pylist()
    row = max(
        n for n, value in enumerate(old[column].to_pylist()) if nodes[n] == "bounds" and (value or column == "witness")
    )
    values = [
        ("forged" if column == "witness" else item + 1) if n == row else item
        for n, item in enumerate(old[column].to_pylist())
    ]
    mended(output, name, set_column(column, values))
    assert output.audit(sources=False).exit_code == 0
    output.expect("replay", plugins=PLUGINS)


def test_a_manifest_that_its_config_contradicts(output: Output) -> None:
    def change(statement: dict[str, Any]) -> None:
        statement["predicate"]["notices"].append("this corpus was checked by hand")

    output.set_manifest(change)
    output.seal()
    assert output.audit(sources=False).exit_code == 0
    result = output.expect("config", plugins=PLUGINS)
    assert "`notices`" in result["config"].findings[0].message
