"""What `explain` tells about a document: kept, dropped, repeated, rejected, sent elsewhere, unknown."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from gristmill.launch.terminal.random_baseline import signals_against_baseline
from gristmill.pipeline.audit.explain import DocumentNotFoundError, explain
from gristmill.pipeline.audit.explanation_text import DocumentWay, Step, document_lines
from gristmill.pipeline.errors import ConfigError, DataError
from gristmill.pipeline.provenance.statement import read_manifest
from tests.pipeline.audit.conftest import run
from tests.pipeline.audit.tampering import Output
from tests.pipeline.toy_runs import rows_of, write_corpus


def test_a_dropped_document_with_its_reason_and_where_its_text_is(wide_run: Path) -> None:
    folder = wide_run / "out/corpus"
    row = next(r for r in rows_of(folder, "ledger") if r["rule"] == "too_short" and r["node"] == "again")
    found = explain(str(folder), row["id"])
    (document,) = found.documents
    step = document.steps[-1]
    assert (step.node, step.use, step.decision, step.rule) == ("again", "bounds", "dropped", "too_short")
    assert (step.value, step.threshold) == (row["value"], 6.0) and step.columns["size"] == row["value"]
    assert document.shards == () and document.outputs == {}
    assert [place.file.split("/")[0] for place in document.text] == ["dropped"]
    assert f"dropped: too_short (value {row['value']:g}, threshold 6)" in "\n".join(found.lines())
    assert "it is in no output" in "\n".join(found.lines())


def test_all_failing_rules_and_the_witness_of_a_duplicate(two_outputs: Path) -> None:
    folder = two_outputs / "out/corpus"
    row = next(r for r in rows_of(folder, "ledger") if r["rule"] == "same_text")
    step = explain(str(folder), row["id"]).documents[0].steps[-1]
    assert step.witness == row["witness"] and step.witness_document is not None
    keeper = explain(str(folder), row["witness"]).documents[0]
    assert step.witness_document["id"] == keeper.id != row["id"]


def test_a_kept_document_with_its_copies_and_source_record(wide_run: Path) -> None:
    folder = wide_run / "out/corpus"
    data = rows_of(folder)
    twice = next(r for r in data if r["copy"] == 1 and r["id"].startswith("d1-"))
    for ident in (twice["id"], twice["doc_key"].hex(), twice["doc_key"].hex().upper(), twice["url"]):
        (document,) = explain(str(folder), ident).documents
        assert document.doc_key == twice["doc_key"].hex() and document.url == twice["url"]
        assert document.outputs == {"corpus": 2} and [place.copy for place in document.shards] == [0, 1]
        assert document.source["path"] == "part-001.parquet"
        assert document.source["record"] == int(twice["id"].removeprefix("d1-"))
        for place in document.shards:
            row = Output(folder).rows(place.file).to_pylist()[place.row]
            assert (row["doc_key"], row["copy"]) == (twice["doc_key"], place.copy)
    double = next(step for step in document.steps if step.node == "double")
    assert (double.copies_in, double.copies_out, double.rule) == (1, 2, "doubled")
    assert "text" not in document.columns


def test_a_rejected_record_and_an_oversized_document(wide_run: Path) -> None:
    folder = wide_run / "out/corpus"
    reject = next(r for r in rows_of(folder, "ledger") if r["node"] == "b" and r["id"] is None)
    document = explain(str(folder), reject["doc_key"].hex(), []).documents[0]
    assert (document.steps[-1].node, document.steps[-1].decision) == ("b", "quarantined")
    assert (wide_run / "b/more.jsonl").read_bytes()[document.source["byte"] :].startswith(b'{"id": "broken"')
    oversized = next(r for r in rows_of(folder, "ledger") if r["rule"] == "too_large")
    step = explain(str(folder), oversized["id"]).documents[0].steps[-1]
    assert (step.decision, step.value, step.threshold) == ("quarantined", 61.0, 60.0)


def test_a_document_of_json_lines_stands_at_a_byte_and_not_at_a_record(wide_run: Path, tmp_path: Path) -> None:
    folder, lines = wide_run / "out/corpus", (wide_run / "b/more.jsonl").read_bytes()
    places = set()
    for row in (r for part in ("data", "ledger") for r in rows_of(folder, part) if (r["id"] or "").startswith("j")):
        found = explain(str(folder), row["id"], [])
        source = found.documents[0].source
        assert source["record"] is None
        assert json.loads(lines[source["byte"] :].split(b"\n")[0])["id"] == row["id"]
        assert f"more.jsonl, the record that begins at byte {source['byte']}" in "\n".join(found.lines())
        places.add(source["byte"])
    assert places & set(range(1, lines.count(b"\n"))), "an offset that could pass for a record's number is among them"
    # Far from the input the place is not known, and nothing is made up.
    shutil.copytree(folder, tmp_path / "copy")
    output = Output(tmp_path / "copy")
    gone = str(tmp_path / "gone")
    output.set_manifest(
        lambda s: s["predicate"]["varies"].update(
            config=s["predicate"]["varies"]["config"].replace(str(wide_run), gone)
        )
    )
    source = explain(str(tmp_path / "copy"), row["id"], []).documents[0].source
    assert (source["path"], source["record"], source["byte"]) == ("more.jsonl", None, None)


def test_a_document_is_found_by_its_url_alone(two_outputs: Path) -> None:
    folder = two_outputs / "out/corpus"
    for part in ("data", "ledger"):
        row = rows_of(folder, part)[0]
        assert explain(str(folder), row["url"]).documents[0].doc_key == row["doc_key"].hex()


def test_a_document_that_went_to_another_output(two_outputs: Path) -> None:
    long = rows_of(two_outputs / "out/long")[0]
    found = explain(str(two_outputs / "out/corpus"), long["id"])
    assert found.documents[0].outputs == {"long": 1} and found.documents[0].shards == ()
    assert "went to the output long, another folder" in "\n".join(found.lines())
    kept = rows_of(two_outputs / "out/corpus")[0]
    by_key = explain(str(two_outputs / "out/long"), kept["doc_key"].hex())
    assert set(by_key.documents[0].outputs) == {"corpus"}


def test_an_unknown_document_is_an_error_that_says_what_was_searched(wide_run: Path) -> None:
    with pytest.raises(
        DocumentNotFoundError, match=r"no document has the id or URL 'nobody'\. Searched \d+ rows in \d+ ledger"
    ):
        explain(str(wide_run / "out/corpus"), "nobody")
    with pytest.raises(DocumentNotFoundError, match=r"doc_key, id or URL .* signals files"):
        explain(str(wide_run / "out/corpus"), "00" * 16)


@pytest.mark.parametrize("ident", ["nobody", "https://example.org/nobody", "00" * 16])
def test_each_row_that_was_searched_is_counted_once(wide_run: Path, ident: str) -> None:
    folder = wide_run / "out/corpus"
    rows, files = (
        {role: function(role) for role in ("ledger", "data")}
        for function in (
            lambda role: len(rows_of(folder, role)),
            lambda role: len(list((folder / role).iterdir())),
        )
    )
    with pytest.raises(DocumentNotFoundError) as raised:
        explain(str(folder), ident)
    said = (
        f"{rows['ledger']} rows in {files['ledger']} ledger files, {rows['data']} rows in {files['data']} shard files"
    )
    assert f"Searched {said}" in str(raised.value)


def test_one_row_in_one_file_is_said_in_the_singular(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=1, rows=2)
    run(
        f"""
name: small
sources: {{s: {{format: parquet, paths: ["{tmp_path}/in/*.parquet"]}}}}
stages: {{bounds: {{}}}}
outputs: {{corpus: {{path: "{tmp_path}/out"}}}}
"""
    )
    assert (len(rows_of(tmp_path / "out")), len(rows_of(tmp_path / "out", "ledger"))) == (1, 1)
    with pytest.raises(DocumentNotFoundError, match="1 row in 1 ledger file, 1 row in 1 shard file\\. A document"):
        explain(str(tmp_path / "out"), "nobody")


def test_a_folder_without_a_manifest_and_a_damaged_file_are_errors(wide_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no manifest\.json"):
        explain(str(tmp_path), "d0-1")
    folder = tmp_path / "copy"
    shutil.copytree(wide_run / "out/corpus", folder)
    output = Output(folder)
    output.path(output.named("ledger")[0]).write_bytes(b"PAR1nothing")
    with pytest.raises(DataError, match="gristmill audit"):
        explain(str(folder), "d0-1")


def test_an_id_that_several_documents_share_tells_all_of_them(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=2, rows=30)
    (tmp_path / "in/part-000.parquet").rename(tmp_path / "in/copy.parquet")
    shutil.copy(tmp_path / "in/copy.parquet", tmp_path / "in/part-000.parquet")
    run(
        f"""
name: twice
sources: {{s: {{format: parquet, paths: ["{tmp_path}/in/*.parquet"]}}}}
stages: {{bounds: {{}}}}
outputs: {{corpus: {{path: "{tmp_path}/out"}}}}
"""
    )
    found = explain(str(tmp_path / "out"), "d0-3")
    assert len(found.documents) == 2 and len({document.doc_key for document in found.documents}) == 2
    assert {document.source["path"] for document in found.documents} == {"copy.parquet", "part-000.parquet"}


def test_an_explanation_has_a_json_form(wide_run: Path) -> None:
    folder = wide_run / "out/corpus"
    for row in (rows_of(folder)[0], rows_of(folder, "ledger")[0]):
        value = json.loads(json.dumps(explain(str(folder), row["doc_key"].hex()).to_json(), allow_nan=False))
        assert value["documents"][0]["doc_key"] == row["doc_key"].hex()
        assert value["documents"][0]["steps"][0]["use"] == "source"


def test_a_ledger_with_a_port_that_no_node_has_is_an_error_that_names_it(wide_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(wide_run / "out/corpus", folder)
    output = Output(folder)
    name, row = next(
        (name, row)
        for name in output.named("ledger")
        for row in output.rows(name).to_pylist()
        if row["decision"] == "emitted" and row["id"] is not None
    )
    rows = [{**one, "port": "nowhere"} if one == row else one for one in output.rows(name).to_pylist()]
    output.rewrite(name, lambda table: pa.Table.from_pylist(rows, table.schema))
    with pytest.raises(DataError, match="on the port 'nowhere'; the node's ports are"):
        explain(str(folder), row["doc_key"].hex())


def test_a_damaged_list_of_files_is_no_defect_of_ours(wide_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(wide_run / "out/corpus", folder)
    manifest = read_manifest(str(folder))
    assert manifest is not None
    (folder / "files.parquet").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"out: a file of it is damaged .*gristmill audit .* --full"):
        explain(str(folder), "any")
    with pytest.raises(DataError, match=r"out: a file of it is damaged .*gristmill audit .* --full"):
        signals_against_baseline(str(folder), manifest)


def test_a_duplicate_has_the_size_of_its_cluster_and_its_similarity_told_as_such() -> None:
    key = "ab" * 16
    step = Step("dedup", "minhash", "dropped", None, 1, 0, "minhash_duplicate", 2.0, 1.0, witness=f"{key}:~0.934")
    way = DocumentWay(
        "00" * 16,
        "a",
        None,
        {"name": "s", "path": "p", "record": 1, "snapshot": None, "license": None},
        (step,),
        {},
        (),
    )
    lines = [line.strip() for line in document_lines(way, "corpus")]
    assert "dedup  dropped: minhash_duplicate (a cluster of 2 documents, of which one is kept)" in lines
    assert f"witness: {key}; similarity to it 0.934, estimated" in lines
    exact = replace(way, steps=(replace(step, rule="exact_duplicate", witness=key),))
    assert f"witness: {key}" in [line.strip() for line in document_lines(exact, "corpus")]
