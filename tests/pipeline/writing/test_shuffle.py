"""Shuffled outputs: the same on any number of workers and after any death, copies apart, every row accounted for."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gristmill.pipeline.writing.shuffle as shuffled
from gristmill.pipeline.audit.explain import explain
from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.errors import ConfigError, ConservationError
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.running.engine import work_folder
from gristmill.pipeline.writing.shuffle import bucket_count, range_of, shuffle_hash, shuffle_order
from tests.pipeline.audit.tampering import Output, SameProcess
from tests.pipeline.toy_runs import plan_of, rows_of, run, shards, write_corpus

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.usefixtures("in_process")
GRAPH = """
name: toys
seed: 5
sources:
  s: {{format: parquet, paths: ["{root}/in/*.parquet"], license: {{spdx: CC0-1.0, stated_by: author}}}}
stages:
  length: {{least: 2}}
  same: {{}}
  repeat: {{times: 3, observe: same}}
outputs:
  corpus: {{path: "{out}", from: repeat, shard_bytes: {shard_bytes}{shuffle}}}
"""


def graph(root: Path, out: Path, shuffle: str = ", shuffle: {seed: 1}", shard_bytes: int = 4000) -> str:
    return GRAPH.format(root=root, out=out, shuffle=shuffle, shard_bytes=shard_bytes)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Audits read in this process, which has the toy stages on its path."""
    monkeypatch.setattr("gristmill.pipeline.audit.run.ReaderProcess", SameProcess)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the corpus and a shuffled output of it."""
    folder = tmp_path_factory.mktemp("untouched")
    write_corpus(folder / "in")
    run(graph(folder, folder / "out"))
    return folder


def pairs(folder: Path) -> list[tuple[bytes, int]]:
    """(doc_key, copy) of all rows, in the order of the shards."""
    return [(row["doc_key"], row["copy"]) for row in rows_of(folder)]


def oracle_hash(key: bytes, copy: int, seed: int) -> int:
    """The hash as docs/provenance.md writes it, in whole numbers."""

    def mix(x: int) -> int:
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    golden = 0x9E3779B97F4A7C15
    high, low = int.from_bytes(key[:8], "big"), int.from_bytes(key[8:], "big")
    return mix((mix(mix(high ^ mix((seed + golden) % 2**64)) ^ low) + copy * golden) % 2**64)


def test_rows_are_those_of_the_unshuffled_output_in_the_order_of_their_hashes(untouched: Path, tmp_path: Path) -> None:
    run(graph(untouched, tmp_path / "plain", shuffle=""))
    plain, mixed = rows_of(tmp_path / "plain"), rows_of(untouched / "out")
    assert Counter(pairs(tmp_path / "plain")) == Counter(pairs(untouched / "out"))
    assert len({row["copy"] for row in mixed}) == 3
    files = len(list((untouched / "out/data").iterdir()))
    assert files >= 4

    def content(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        some = [{name: value for name, value in row.items() if name != "from_task"} for row in rows]
        return sorted(some, key=lambda row: (row["doc_key"], row["copy"]))

    assert content(mixed) == content(plain)
    hashes = [oracle_hash(row["doc_key"], row["copy"], 1) for row in mixed]
    assert hashes == sorted(hashes)
    # The task that a row names is the ledger that tells of its document.
    ledgers = {row["doc_key"]: task for task in range(3) for row in ledger(untouched / "out", task)}
    told = [row for row in mixed if row["doc_key"] in ledgers]
    assert told and all(row["from_task"] == ledgers[row["doc_key"]] for row in told)


def test_documents_without_copies_are_shuffled_too(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    run(graph(tmp_path, tmp_path / "out").replace("times: 3", "times: 1"))
    rows = rows_of(tmp_path / "out")
    assert {row["copy"] for row in rows} == {0} and len(rows) > 30
    source = {row["id"]: row["text"] for row in rows_of(tmp_path, "in")}
    assert all(row["text"] == source[row["id"]] for row in rows)
    hashes = [oracle_hash(row["doc_key"], 0, 1) for row in rows]
    assert hashes == sorted(hashes)
    assert audit_output(str(tmp_path / "out"), full=True, sources=(), plugins=("toy_stages",)).exit_code == 0


def ledger(folder: Path, task: int) -> list[dict[str, Any]]:
    rows = pq.read_table(folder / "ledger").to_pylist()
    return [row for row in rows if row["from_task"] == task]


def test_copies_do_not_lie_beside_each_other(tmp_path: Path) -> None:
    # An odd number of texts of one length: the toy repeats them all.
    for file in range(3):
        texts = [f"text number {file * 667 + row:06d}" for row in range(667)]
        (tmp_path / "in").mkdir(exist_ok=True)
        pq.write_table(pa.table({"id": texts, "text": texts}), tmp_path / f"in/part-{file}.parquet")
    run(graph(tmp_path, tmp_path / "out", shard_bytes=1 << 20))
    place: dict[bytes, list[int]] = {}
    found = pairs(tmp_path / "out")
    for index, (key, _) in enumerate(found):
        place.setdefault(key, []).append(index)
    repeated = [places for places in place.values() if len(places) > 1]
    distances = np.concatenate([np.diff(places) for places in repeated]) / len(found)
    assert len(repeated) == 2001 and len(found) == 6003
    # Of three places drawn alike the neighbours are a quarter of the whole apart on average.
    assert distances.mean() == pytest.approx(0.25, abs=0.02)
    # Beside each other only as often as chance has it: 6 of 6,003 · 6,002 ordered pairs, for 2,001 documents: 2 documents.
    assert sum(int((np.diff(places) == 1).any()) for places in repeated) <= 10


@pytest.mark.parametrize("order", [1, 2])
def test_the_corpus_is_the_same_in_whatever_order_tasks_end(untouched: Path, tmp_path: Path, order: int) -> None:
    run(graph(untouched, tmp_path / "out"), InlineExecutor(order))
    assert shards(tmp_path / "out") == shards(untouched / "out")


def test_another_seed_gives_another_order_of_the_same_rows(untouched: Path, tmp_path: Path) -> None:
    run(graph(untouched, tmp_path / "out", ", shuffle: {seed: 2}"))
    assert pairs(tmp_path / "out") != pairs(untouched / "out")
    assert Counter(pairs(tmp_path / "out")) == Counter(pairs(untouched / "out"))


def test_without_a_seed_the_run_s_is_taken(untouched: Path, tmp_path: Path) -> None:
    run(graph(untouched, tmp_path / "a", ", shuffle: {}"))
    run(graph(untouched, tmp_path / "b", ", shuffle: {seed: 5}"))
    assert pairs(tmp_path / "a") == pairs(tmp_path / "b")
    assert audit_output(str(tmp_path / "a"), full=True, sources=(), plugins=("toy_stages",)).exit_code == 0


@pytest.mark.parametrize("parts", [1, 8, 4096])
def test_how_staged_files_are_divided_changes_nothing(
    untouched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    monkeypatch.setattr(shuffled, "PARTS", parts)
    monkeypatch.setattr(shuffled, "PART_BYTES", 1)
    run(graph(untouched, tmp_path / "out"))
    assert shards(tmp_path / "out") == shards(untouched / "out")


def test_an_output_without_rows_has_no_shards(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    run(graph(tmp_path, tmp_path / "out").replace("least: 2", "least: 1000"))
    assert not (tmp_path / "out/data").exists()
    assert audit_output(str(tmp_path / "out"), full=True, sources=(), plugins=("toy_stages",)).exit_code == 0


def test_a_full_audit_is_clean_and_so_are_its_samples(untouched: Path) -> None:
    whole = audit_output(str(untouched / "out"), full=True, sources=(), plugins=("toy_stages",))
    assert whole.exit_code == 0, whole.problems
    made = {result.check.name for result in whole.checks if result.status == "pass"}
    assert {"lineage", "accounts", "keys", "content", "join", "text", "replay"} <= made
    for number in range(2):
        part = audit_output(str(untouched / "out"), sample=(number, 2), sources=(), plugins=("toy_stages",))
        assert part.exit_code == 0, part.problems


def test_explain_finds_the_documents_of_a_shuffled_output(untouched: Path) -> None:
    rows = rows_of(untouched / "out")
    one = max(rows, key=lambda row: row["copy"])
    for ident in (one["doc_key"].hex(), one["id"]):
        (way,) = explain(str(untouched / "out"), ident).documents
        assert way.id == one["id"] and way.source["path"] == f"part-{one['id'][1:].split('-')[0].zfill(3)}.parquet"
        assert len(way.shards) == sum(row["id"] == one["id"] for row in rows) == way.outputs["corpus"]
        assert sorted(place.copy for place in way.shards) == list(range(len(way.shards)))


# Tampering: a shard is written anew with other rows, and every digest, name and sum that depends on it made to fit, as
# someone would who knows the format. What is left to find is what the rows themselves say.


def swapped(table: pa.Table) -> pa.Table:
    return table.take(pa.array([1, 0, *range(2, table.num_rows)]))


def renamed_task(table: pa.Table) -> pa.Table:
    task = np.array(table["from_task"].to_pylist())
    task[0] = (task[0] + 1) % 3
    return table.set_column(table.schema.get_field_index("from_task"), "from_task", pa.array(task, pa.int32()))


def doubled(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table.slice(0, 1), table])


def lost(table: pa.Table) -> pa.Table:
    return table.slice(1)


def other_text(table: pa.Table) -> pa.Table:
    text = ["forged", *table["text"].to_pylist()[1:]]
    return table.set_column(
        table.schema.get_field_index("text"), table.schema.field("text"), pa.array(text, pa.large_string())
    )


@pytest.mark.parametrize(
    ("change", "checks"),
    [
        (swapped, ["join"]),
        (renamed_task, ["join", "text"]),
        (doubled, ["keys", "join"]),
        (lost, ["keys", "join"]),
        (other_text, ["text", "shares"]),
    ],
)
def test_a_forged_shard_is_found_though_its_digests_fit(
    untouched: Path, tmp_path: Path, change: Any, checks: list[str]
) -> None:
    shutil.copytree(untouched / "out", tmp_path / "out")
    output = Output(tmp_path / "out")
    shard = output.named("data")[0]
    output.rewrite(shard, change, consistent=True)
    output.seal(content=[shard])
    output.expect(*checks, plugins=("toy_stages",))


def test_a_changed_byte_is_found(untouched: Path, tmp_path: Path) -> None:
    shutil.copytree(untouched / "out", tmp_path / "out")
    path = sorted((tmp_path / "out/data").iterdir())[1]
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    audit = audit_output(str(tmp_path / "out"), full=True, sources=(), plugins=("toy_stages",))
    assert audit.exit_code == 30
    assert any("were not joined with their ledgers" in problem for problem in audit.problems)


@pytest.mark.parametrize(("point", "number"), [("told", 8), ("link", 11), ("link", 13), ("link", 14)])
def test_a_killed_run_goes_on_where_it_was(untouched: Path, tmp_path: Path, point: str, number: int) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(graph(untouched, tmp_path / "out"))
    command = [
        sys.executable,
        "-m",
        "tests.pipeline.running.killed_run",
        str(config),
        str(tmp_path / "out"),
        point,
        str(number),
    ]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "out/manifest.json").exists()
    # A record appears by its link: the first eleven are tasks and settled answers, then buckets follow.
    assert bool(list((tmp_path / "out").glob(".gristmill-attempt-*/data"))) == (number > 11)
    result = run(config.read_text())
    assert shards(tmp_path / "out") == shards(untouched / "out")
    assert not Path(work_folder(result.plan.config)).exists()


def test_staged_rows_that_changed_stop_the_run(
    untouched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(*arguments: Any) -> Any:
        path = tmp_path / "out.work/gristmill-run/shuffled/corpus/task-00001.arrow"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        return shuffled.publish_shuffled(*arguments)

    monkeypatch.setattr("gristmill.pipeline.writing.run_files.publish_shuffled", changed)
    with pytest.raises(ConservationError, match=r"task-00001\.arrow: the staged rows are not what was committed"):
        run(graph(untouched, tmp_path / "out"))


@pytest.mark.parametrize("shuffle", ["", ", shuffle: {}"])
def test_an_input_column_of_the_name_that_rows_need_goes_on_under_another(tmp_path: Path, shuffle: str) -> None:
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"id": ["a"], "text": ["a text"], "from_task": [7]}), tmp_path / "in/part.parquet")
    run(graph(tmp_path, tmp_path / "out", shuffle=shuffle))
    assert [row["input_from_task"] for row in rows_of(tmp_path / "out")] == [7, 7, 7]


def test_the_shuffle_is_part_of_the_run_s_identity_and_no_shuffle_is_not(untouched: Path) -> None:
    plain = plan_of(graph(untouched, Path("out"), shuffle=""))
    assert "shuffle" not in plain.identity()["outputs"]["corpus"]
    keys = {
        plan_of(graph(untouched, Path("out"), shuffle=s)).key for s in ("", ", shuffle: {}", ", shuffle: {seed: 1}")
    }
    assert len(keys) == 3


def test_a_shuffle_is_asked_for_by_true_as_well_as_by_a_map(untouched: Path) -> None:
    def key(shuffle: str) -> str:
        return plan_of(graph(untouched, Path("out"), shuffle=shuffle)).key

    assert key(", shuffle: true") == key(", shuffle: {}") != key("")
    assert key(", shuffle: false") == key("")
    with pytest.raises(ConfigError, match=r"outputs.corpus.shuffle: expected a map such as .*found text \('yes'\)"):
        key(", shuffle: 'yes'")
    with pytest.raises(
        ConfigError, match=r"outputs.corpus.shuffle.sed: unknown key; did you mean `seed`\? Allowed: seed"
    ):
        key(", shuffle: {sed: 1}")


@given(
    st.lists(st.tuples(st.binary(min_size=16, max_size=16), st.integers(0, 999)), min_size=1), st.integers(0, 2**63 - 1)
)
def test_the_hash_is_that_of_the_documentation(rows: list[tuple[bytes, int]], seed: int) -> None:
    words = np.array([[int.from_bytes(k[:8], "big"), int.from_bytes(k[8:], "big")] for k, _ in rows], np.uint64)
    copy = np.array([c for _, c in rows])
    hashes = shuffle_hash(words, copy, seed)
    assert hashes.tolist() == [oracle_hash(k, c, seed) for k, c in rows]
    expected = sorted(range(len(rows)), key=lambda i: (int(hashes[i]), *rows[i]))
    assert [rows[i] for i in shuffle_order(hashes, words, copy).tolist()] == [rows[i] for i in expected]
    ranges = range_of(hashes, 16)
    assert ranges.tolist() == [int(h) * 16 >> 64 for h in hashes.tolist()]


@pytest.mark.parametrize(
    ("total", "shard", "buckets"), [(0, 100, 1), (80, 100, 1), (81, 100, 2), (160, 100, 2), (161, 100, 4), (5, 1, 8)]
)
def test_buckets_are_filled_to_four_fifths_at_most(total: int, shard: int, buckets: int) -> None:
    assert bucket_count(total, shard) == buckets
