"""The rebalancer in whole runs: every copy accounted for, equal corpora everywhere, wiring errors refused in the plan."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.executor.inline import InlineExecutor
from tests.pipeline.toy_runs import plan_of, rows_of, run, shards

# `length` marks short texts, and stands for the deduplication too: its incoming documents are counted by cluster size.
GRAPH = """
name: repeats
seed: 3
sources:
  s: {{format: parquet, paths: ["{root}/in/*.parquet"], license: {{spdx: CC0-1.0, stated_by: author}}}}
stages:
  length: {{least: 12, mark: true}}
  clean: {{use: drop_marked, by: [length]}}
  rebalance: {settings}
outputs:
  corpus: {{path: "{out}", from: rebalance}}
"""
SETTINGS = "{rates: {observe: length, marked_by: length}, exact: true, max_repeats: 5}"
TILTED = (
    "{rates: {observe: length, marked_by: length}, exact: true, max_repeats: 5, seed: 9, max_copies: cluster_size, "
    "quality: {column: score, none_below: 0.1, full_above: 0.9}}"
)


def write_corpus(folder: Path, files: int = 4, rows: int = 150) -> dict[str, tuple[int, bool, str]]:
    """Documents with cluster sizes; texts of larger clusters are less often short. Returns (size, short, language)."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(8)
    known = {}
    for file in range(files):
        size = draw.integers(1, 7, rows)
        short = draw.random(rows) < 0.9 - 0.12 * size
        language = draw.choice(["por", "deu"], rows)
        names = [f"d{file}-{row}" for row in range(rows)]
        table = pa.table(
            {
                "id": names,
                "text": [
                    "short text" if s else f"a text that is long enough {n}" for s, n in zip(short, names, strict=True)
                ],
                "minhash_cluster_size": size,
                "language": language.tolist(),
                "language_script": ["Latn"] * rows,
                "score": draw.random(rows),
            }
        )
        pq.write_table(table, folder / f"part-{file}.parquet", row_group_size=40)
        known.update({n: (int(a), bool(b), str(c)) for n, a, b, c in zip(names, size, short, language, strict=True)})
    return known


def graph(root: Path, out: Path, settings: str = SETTINGS) -> str:
    return GRAPH.format(root=root, out=out, settings=settings)


def test_each_document_is_emitted_as_often_as_its_ledger_entry_says(tmp_path: Path) -> None:
    known = write_corpus(tmp_path / "in")
    run(graph(tmp_path, tmp_path / "out"))
    data, ledger = rows_of(tmp_path / "out"), rows_of(tmp_path / "out", "ledger")
    emitted = Counter(row["id"] for row in data)
    assert set(emitted) == {name for name, (_, short, _) in known.items() if not short}
    assert Counter((row["id"], row["copy"]) for row in data) == {
        (n, c): 1 for n, m in emitted.items() for c in range(m)
    }
    said = {row["id"]: row["copies"] for row in ledger if row["node"] == "rebalance"}
    assert said == {name: count for name, count in emitted.items() if count > 1} and said
    rules = {row["rule"] for row in ledger if row["node"] == "clean"}
    assert rules == {"marked_by_length"}
    # Removal falls with size, so the largest clusters are repeated most, and nothing of size 1.
    by_size = {
        size: {emitted[n] for n, (s, short, _) in known.items() if s == size and not short} for size in range(1, 7)
    }
    assert by_size[1] == {1} and max(by_size[6]) == 5
    audit = audit_output(str(tmp_path / "out"), full=True, sources=(), plugins=("toy_stages",))
    assert audit.exit_code == 0, audit.problems


def test_tallies_give_shares_before_and_after(tmp_path: Path) -> None:
    known = write_corpus(tmp_path / "in")
    result = run(graph(tmp_path, tmp_path / "out"))
    tallies = result.accounts.nodes["rebalance"].tallies
    emitted = Counter(row["id"] for row in rows_of(tmp_path / "out"))
    for language in ("por", "deu"):
        mine = [name for name, (_, short, tongue) in known.items() if tongue == language and not short]
        assert tallies[f"documents.{language}_Latn"] == len(mine)
        assert tallies[f"copies.{language}_Latn"] == sum(emitted[name] for name in mine)


@pytest.mark.parametrize("settings", [SETTINGS, TILTED])
def test_the_corpus_is_the_same_in_whatever_order_tasks_end(tmp_path: Path, settings: str) -> None:
    write_corpus(tmp_path / "in")
    found = []
    for order in (None, 1, 2):
        out = tmp_path / f"out{order}"
        run(graph(tmp_path, out, settings), InlineExecutor(order))
        found.append(shards(out))
    assert found[0] == found[1] == found[2]


def test_no_cluster_sizes_are_refused_in_the_plan_naming_the_missing_stage(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"id": ["a"], "text": ["a text"]}), tmp_path / "in" / "part.parquet")
    with pytest.raises(ConfigError, match="`minhash_cluster_size`, which no upstream node produces") as refusal:
        plan_of(graph(tmp_path, tmp_path / "out"))
    assert "The stage `minhash` produces it" in str(refusal.value)
    assert "stages.rebalance" in str(refusal.value)


def test_a_marking_node_that_is_not_there_is_refused_in_the_plan(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    with pytest.raises(
        ConfigError, match="`lenght_failed`, which no upstream node produces; did you mean `length_failed`"
    ):
        plan_of(graph(tmp_path, tmp_path / "out", "{rates: {observe: length, marked_by: lenght}}"))


def test_an_observed_node_that_is_not_upstream_is_refused_in_the_plan(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    with pytest.raises(
        ConfigError, match="observes `lenght`, which is not a node upstream of it; did you mean `length`"
    ):
        plan_of(graph(tmp_path, tmp_path / "out", "{rates: {observe: lenght, marked_by: length}}"))


def test_a_missing_weights_file_is_refused_in_the_plan(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    with pytest.raises(ConfigError, match=r"none\.json"):
        plan_of(graph(tmp_path, tmp_path / "out", f'{{rates: {{table: "{tmp_path}/none.json"}}}}'))


def test_settings_without_rates_say_what_to_give(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    with pytest.raises(ConfigError, match="exactly one of `observe`"):
        plan_of(graph(tmp_path, tmp_path / "out", "{rates: {}}"))
