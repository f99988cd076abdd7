"""Deduplication against the notes of finished runs: the clusters of one run over everything, and what is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.launch.commands.plan import plan_json, plan_lines
from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.errors import ConfigError, ConservationError, DataError
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.planning import prior_runs
from gristmill.pipeline.planning.config import load
from gristmill.pipeline.planning.plan import make_plan
from gristmill.pipeline.planning.prior_runs import prior_notes
from gristmill.pipeline.reader_process import ReaderCrashed, ReaderProcess
from gristmill.pipeline.running.engine import Engine, RunResult
from tests.invariance_cases.minhash import similar_texts
from tests.pipeline.toy_runs import rows_of

MINHASH = "bands: 20, rows: 2, ngram: 2, verify_min: 0.5"
PARTS = ("a", "b", "c")

Run = Callable[..., RunResult]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a deduplication of some of the sources a, b and c into out/NAME."""
    texts = similar_texts().slice(9)["text"].to_pylist()
    for number, part in enumerate(PARTS):
        folder = tmp_path / part
        folder.mkdir()
        mine = texts[20 * number : 20 * (number + 1)]
        for file in range(2):
            pq.write_table(
                pa.table({"text": mine[file::2], "seen": range(1, 1 + len(mine[file::2]))}), folder / f"{file}.parquet"
            )

    def start(name: str, parts: str, stage: str, settings: str, snapshot: str = "", **options: Any) -> RunResult:
        sources = ", ".join(
            f'{part}: {{format: parquet, paths: ["{tmp_path}/{part}/*.parquet"]{snapshot}}}' for part in parts
        )
        text = f"""
sources: {{{sources}}}
stages: {{dedup: {{use: {stage}, {settings}}}}}
outputs: {{corpus: {{path: "{tmp_path}/out/{name}", dropped: all}}}}
"""
        return Engine(make_plan(load(text, "test.yaml")), InlineExecutor(), **options).run()

    return start


def outcomes(output: Path) -> dict[bytes, tuple[str, float | None, str | None, str | None]]:
    """(decision, cluster size, witness, rule) of every document of a run."""
    found = {
        row["doc_key"]: ("kept", float(row[next(c for c in row if c.endswith("cluster_size"))]), None, None)
        for row in rows_of(output)
    }
    for row in rows_of(output, "ledger"):
        assert row["doc_key"] not in found
        witness = row["witness"] and row["witness"].partition(":")[0]  # what follows is the similarity to it
        found[row["doc_key"]] = (row["decision"], row["value"], witness, row["rule"])
    return found


@pytest.mark.parametrize(
    ("stage", "settings"),
    [
        ("minhash", MINHASH),
        ("minhash", f"{MINHASH}, verify: jaccard, copies: seen"),
        ("minhash", f"{MINHASH}, keeper: longest, verify: none"),
        ("exact", "normalise: words, keeper: {best: seen}"),
    ],
    ids=["sketch", "true similarity and copies", "unverified, longest", "exact"],
)
def test_runs_after_one_another_find_the_clusters_of_one_run_over_everything(
    run: Run, tmp_path: Path, stage: str, settings: str
) -> None:
    if stage == "exact":
        for part in PARTS:
            table = pq.read_table(tmp_path / "a/0.parquet")
            pq.write_table(table.slice(0, 4 + ord(part) % 3), tmp_path / part / "9.parquet")
    out = tmp_path / "out"
    run("union", "abc", stage, settings)
    run("a", "a", stage, f"{settings}, keep_notes: true")
    run("b", "b", stage, f'{settings}, keep_notes: true, against: "{out}/a"')
    result = run("c", "c", stage, f'{settings}, against: ["{out}/a", "{out}/b"]')
    union, first, second, third = (outcomes(out / name) for name in ("union", *PARTS))
    assert first.keys() | second.keys() | third.keys() == union.keys() and len(third) > 15
    earlier = first.keys() | second.keys()
    # Clusters of the union, by the keeper that its ledger names.
    cluster = {key: bytes.fromhex(fate[2]) if fate[2] else key for key, fate in union.items()}
    known = {cluster[key] for key in earlier}
    for key, (decision, size, witness, rule) in third.items():
        if cluster[key] in known:
            assert (decision, rule) == ("dropped", f"{stage}_duplicate_of_earlier")
            assert bytes.fromhex(str(witness)) in earlier and cluster[bytes.fromhex(str(witness))] == cluster[key]
        else:
            mates = [other for other in third if cluster[other] == cluster[key]]
            assert sum(third[other][0] == "kept" for other in mates) == 1
            assert rule in (None, f"{stage}_duplicate")
        assert size == union[key][1], "sizes add up over runs"
    kept_before = {key for key, fate in (first | second).items() if fate[0] == "kept"}
    witnesses = {bytes.fromhex(str(fate[2])) for fate in third.values() if fate[3] == f"{stage}_duplicate_of_earlier"}
    assert witnesses and witnesses <= kept_before, "the witness is what a prior run holds"
    report = result.reports["dedup"]
    assert [item["documents"] for item in report["against"]] == [len(first), len(second)]
    assert report["earlier"]["known"] == sum(fate[3] == f"{stage}_duplicate_of_earlier" for fate in third.values())
    assert report["earlier"]["superseded"] == 0
    for name in ("a", "b", "c"):
        audit = audit_output(str(out / name), full=True, sources=())
        assert audit.exit_code == 0, audit.problems


def test_without_keep_earlier_the_keeper_is_that_of_the_union(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("union", "ab", "minhash", MINHASH)
    run("a", "a", "minhash", f"{MINHASH}, keep_notes: true")
    result = run("b", "b", "minhash", f'{MINHASH}, against: "{out}/a", keep_earlier: false')
    union, first, second = (outcomes(out / name) for name in ("union", "a", "b"))
    assert {key: fate[:3] for key, fate in second.items()} == {key: union[key][:3] for key in second}
    lost = sum(fate[0] == "kept" and union[key][0] == "dropped" for key, fate in first.items())
    assert result.reports["dedup"]["earlier"]["superseded"] == lost > 0


def test_the_plan_tells_what_a_node_settles_with(run: Run, tmp_path: Path) -> None:
    run("a", "a", "minhash", "keep_notes: true")
    text = f"""
sources: {{b: {{format: parquet, paths: ["{tmp_path}/b/*.parquet"]}}}}
stages: {{dedup: {{use: minhash, against: "{tmp_path}/out/a"}}}}
outputs: {{corpus: {{path: "{tmp_path}/out/b"}}}}
"""
    plan = make_plan(load(text, "test.yaml"))
    assert "and 20 documents of 1 prior run" in " ".join(" ".join(plan_lines(plan)).split())
    found = plan_json(plan)["nodes"][0]["earlier"]
    assert [(item["folder"], item["documents"]) for item in found] == [(str(tmp_path / "out/a"), 20)]
    alone = make_plan(load(text.replace(f', against: "{tmp_path}/out/a"', ""), "test.yaml"))
    assert plan.disk_bytes()["work"] > alone.disk_bytes()["work"]


def test_kept_notes_say_what_became_of_each_document_and_are_audited(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out/a"
    run("a", "a", "minhash", f"{MINHASH}, keep_notes: true")
    notes = rows_of(out, "notes/dedup")
    found = outcomes(out)
    assert {row["doc_key"]: row["emitted"] for row in notes} == {key: fate[0] == "kept" for key, fate in found.items()}
    listed = pq.read_table(out / "files.parquet").to_pylist()
    assert sum(row["rows"] for row in listed if row["role"] == "notes:dedup") == len(notes)
    (out / "notes/dedup/part-00000.parquet").write_bytes(b"other")
    assert "sha256" in {
        item.name for item in audit_output(str(out), full=True, sources=()).checks if item.status == "fail"
    }


# What is refused.


@pytest.mark.parametrize(
    ("kept", "settings", "complaint"),
    [
        ("", "", "kept no notes of the node `dedup`"),
        ("keep_notes: true", "seed: 7", "`seed` is 1 there and 7 here"),
        ("keep_notes: true", "ngram: 3", "`ngram` is 2 there and 3 here"),
        ("keep_notes: true", "within: seen", r"`within` is \[\] there and \['seen'\] here"),
    ],
)
def test_notes_that_cannot_be_compared_are_refused_with_both_settings(
    run: Run, tmp_path: Path, kept: str, settings: str, complaint: str
) -> None:
    base = "bands: 20, rows: 2"
    run("a", "a", "minhash", f"{base}, {kept or 'ngram: 2'}, {'ngram: 2' if kept else 'seed: 1'}")
    other = f"{base}, {settings or 'ngram: 2'}{'' if 'ngram' in settings or not settings else ', ngram: 2'}"
    with pytest.raises(ConfigError, match=complaint) as stopped:
        run("b", "b", "minhash", f'{other}, against: "{tmp_path}/out/a"')
    assert "stages.dedup.against" in str(stopped.value) and str(tmp_path / "out/a") in str(stopped.value)
    assert not (tmp_path / "out/b").exists()


def test_an_output_that_is_none_or_stands_twice_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no finished run"):
        run("b", "b", "minhash", f'against: "{tmp_path}/nowhere"')
    run("a", "a", "minhash", "keep_notes: true")
    with pytest.raises(ConfigError, match="is a duplicate entry"):
        run("b", "b", "minhash", f'against: ["{tmp_path}/out/a", "{tmp_path}/out/a/"]')
    with pytest.raises(ConfigError, match="expected one node of the stage `exact` there, found none"):
        run("b", "b", "exact", f'against: "{tmp_path}/out/a"')


def test_a_file_that_an_earlier_run_read_is_refused_unless_its_snapshot_is_new(run: Run, tmp_path: Path) -> None:
    run("a", "a", "minhash", f"{MINHASH}, keep_notes: true")
    against = f'{MINHASH}, against: "{tmp_path}/out/a"'
    pq.write_table(pa.table({"text": ["a new text in the old place"], "seen": [1]}), tmp_path / "a/0.parquet")
    with pytest.raises(ConfigError, match=r"has read `0.parquet` of the source `a` with the snapshot None already"):
        run("b", "ab", "minhash", against)
    result = run("b", "a", "minhash", against, snapshot=", snapshot: second")
    assert result.reports["dedup"]["earlier"]["known"] > 5


def test_runs_that_an_earlier_run_was_settled_against_must_be_named_too(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("a", "a", "minhash", "keep_notes: true")
    run("b", "b", "minhash", f'keep_notes: true, against: "{out}/a"')
    with pytest.raises(ConfigError, match="itself deduplicated against notes"):
        run("c", "c", "minhash", f'against: "{out}/b"')


def test_kept_notes_that_were_changed_or_lost_since_stop_the_run(run: Run, tmp_path: Path) -> None:
    run("a", "a", "minhash", "keep_notes: true")
    file = tmp_path / "out/a/notes/dedup/part-00000.parquet"
    table = pq.read_table(file)
    pq.write_table(table.slice(1), file)
    with pytest.raises(ConservationError, match="not what their run wrote"):
        run("b", "b", "minhash", f'against: "{tmp_path}/out/a"')


@pytest.mark.parametrize("what", ["rows", "garbage", "gone", "manifest", "no manifest of ours"])
def test_an_output_whose_list_of_files_or_manifest_was_changed_is_refused(run: Run, tmp_path: Path, what: str) -> None:
    """With a list that names fewer notes, documents would silently be no duplicates any more."""
    run("a", "a", "minhash", "keep_notes: true")
    folder = tmp_path / "out/a"
    listed, manifest = folder / "files.parquet", folder / "manifest.json"
    if what == "rows":
        table = pq.read_table(listed)
        last = max(index for index, role in enumerate(table["role"].to_pylist()) if role.startswith("notes:"))
        pq.write_table(table.take([index for index in range(table.num_rows) if index != last]), listed)
    elif what == "garbage":
        listed.write_bytes(b"x")
    elif what == "gone":
        listed.unlink()
    elif what == "manifest":
        manifest.write_text(manifest.read_text().replace('"name": "dedup"', '"name": "dedupe"'))
    else:
        statement = json.loads(manifest.read_bytes())
        statement["predicate"] = {"format": statement["predicate"]["format"]}
        manifest.write_text(json.dumps(statement))
    with pytest.raises(ConfigError, match=r"stages.dedup.against.*gristmill audit") as stopped:
        run("b", "b", "minhash", f'against: "{folder}"')
    assert str(folder) in str(stopped.value)
    assert not (tmp_path / "out/b").exists()


@pytest.mark.parametrize(
    ("stage", "settings", "complaint"),
    [
        ("minhash", "copies: text", "copies names the column `text` of type"),
        ("minhash", "within: share", "`within` names the column `share` of type double"),
        ("exact", "per_source: share", "per_source names the column `share` of type double"),
        ("exact", "on: [share]", "`on` names the column `share` of type double"),
        ("paragraphs", "within: share", "`within` names the column `share` of type double"),
    ],
)
def test_columns_of_the_wrong_type_are_refused_before_any_work(
    tmp_path: Path, stage: str, settings: str, complaint: str
) -> None:
    pq.write_table(pa.table({"text": ["some words"], "share": [0.5]}), tmp_path / "0.parquet")
    text = f"""
sources: {{s: {{format: parquet, paths: ["{tmp_path}/*.parquet"]}}}}
stages: {{dedup: {{use: {stage}, {settings}}}}}
outputs: {{corpus: {{path: "{tmp_path}/out"}}}}
"""
    with pytest.raises(ConfigError, match=f"stages.dedup: {complaint}"):
        make_plan(load(text, "test.yaml"))


def test_a_wrong_keeper_is_told_by_the_key_that_the_config_has(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"stages.exact.keeper: Input should be 'lowest', 'longest' or 'newest'"):
        load(
            f"""
sources: {{s: {{format: parquet, paths: ["{tmp_path}/*.parquet"]}}}}
stages: {{exact: {{keeper: best}}}}
outputs: {{corpus: {{path: "{tmp_path}/out"}}}}
""",
            "test.yaml",
        )


@pytest.fixture
def forged_list(run: Run, tmp_path: Path) -> Path:
    """An output whose manifest states the digest of a files.parquet that is damaged."""
    run("old", "a", "exact", "keep_notes: true")
    folder = tmp_path / "out/old"
    data = bytearray((folder / "files.parquet").read_bytes())
    data[-100:-8] = bytes(92)
    (folder / "files.parquet").write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    subject = next(item for item in manifest["subject"] if item["name"] == "files.parquet")
    subject["digest"]["sha256"] = hashlib.sha256(data).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_no_file_of_a_prior_run_is_parsed_in_the_driver(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrow aborts the process that parses some damaged footers."""
    run("old", "a", "exact", "keep_notes: true")
    monkeypatch.setattr(prior_runs, "pq", None)
    run("new", "b", "exact", f'against: ["{tmp_path}/out/old"]')
    assert (tmp_path / "out/new/manifest.json").exists()


def test_a_damaged_list_that_its_manifest_vouches_for_is_refused_by_name(run: Run, forged_list: Path) -> None:
    with pytest.raises(ConfigError, match=r"against.*out/old: files.parquet cannot be read"):
        run("new", "b", "exact", f'against: ["{forged_list}"]')


def test_a_prior_run_that_ends_its_reader_is_refused_by_name(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("old", "a", "exact", "keep_notes: true")

    def ends(*arguments: Any) -> Any:
        raise ReaderCrashed("the reader ended with signal 6 (SIGABRT)")

    call = ReaderProcess.call
    monkeypatch.setattr(
        ReaderProcess, "call", lambda self, name, *rest: ends() if name == "listed_files" else call(self, name, *rest)
    )
    with pytest.raises(ConfigError, match=r"out/old.*files.parquet: cannot be read: .*SIGABRT"):
        run("new", "b", "exact", f'against: ["{tmp_path}/out/old"]')


def test_damaged_notes_are_refused_by_name(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("old", "a", "exact", "keep_notes: true")

    def forged(*arguments: Any) -> Any:
        """As with a manifest and a list that state the digests of damaged files."""
        (found,) = prior_notes(*arguments)
        files = []
        for path, _, rows in found.files:
            (tmp_path / "out/old" / path).write_bytes(b"damaged")
            files.append((path, hashlib.sha256(b"damaged").hexdigest(), rows))
        return (replace(found, files=tuple(files)),)

    monkeypatch.setattr("gristmill.pipeline.planning.plan.prior_notes", forged)
    with pytest.raises(DataError, match=r"notes/.*parquet: these notes cannot be read"):
        run("new", "b", "exact", f'against: ["{tmp_path}/out/old"]')
