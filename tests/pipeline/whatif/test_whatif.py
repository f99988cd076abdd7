"""Other thresholds on a finished run: counts are a real run's where they are said to be exact, and elsewhere it is said."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.errors import ConfigError, DataError
from gristmill.pipeline.whatif.counts import Fate
from gristmill.pipeline.whatif.whatif import WhatIf, what_if, what_if_json
from tests.pipeline.toy_runs import run, write_corpus

GRAPH = """
name: tried
sidecar_documents: 90
seed: 5
sources:
  s: {{format: parquet, paths: ["{root}/in/*.parquet"]}}
stages:
  first: {{use: length, least: {first}}}
  marks: {{use: length, least: 9, mark: true}}
  clean: {{use: drop_marked, by: [length_failed]}}
  split: {{at: 14}}
  second: {{use: length, from: split.high, least: {second}}}
  {last}
outputs:
  corpus: {{path: "{root}/{out}/corpus", from: second, dropped: all}}
  low: {{path: "{root}/{out}/low", from: split.low}}
"""


def config(root: Path, out: str, first: int = 4, second: int = 16, last: str = "") -> str:
    return GRAPH.format(root=root, out=out, first=first, second=second, last=last)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tried")
    write_corpus(folder / "in", files=3)
    run(config(folder, "old"))
    return folder


def tried(root: Path, *overrides: str, **options: int) -> WhatIf:
    return what_if(str(root / "old/corpus"), overrides, plugins=("toy_stages",), **options)


def shard_rows(folder: Path) -> int:
    return sum(pq.read_metadata(file).num_rows for file in folder.glob("data/*.parquet"))


def by_run(folder: Path, node: str) -> Counter[str]:
    """What the ledger of a run says of a node: decisions other than plain emissions, by decision, port and rule."""
    ledger = pq.read_table(folder / "ledger").to_pylist()
    return Counter(f"{row['decision']} {row['port']} {row['rule']}" for row in ledger if row["node"] == node)


def by_what_if(counts: dict[Fate, int]) -> Counter[str]:
    names = {"marked": "marked kept", "dropped": "dropped None", "high": "emitted high"}
    return Counter({f"{names[f.what]} {f.rule or None}": n for f, n in counts.items() if f.what not in ("kept", "low")})


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("stages.first.least=12", {"first": 12}),
        ("stages.first.least=17", {"first": 17}),
        ("stages.second.least=19", {"second": 19}),
    ],
)
def test_counts_are_those_of_a_real_run_wherever_they_are_said_to_be_exact(
    root: Path, setting: str, changed: dict[str, int], tmp_path: Path
) -> None:
    made = tried(root, setting)
    run(config(root, f"new-{setting}", **changed))
    new = root / f"new-{setting}"
    assert made.reasons == {} and not made.unknown
    for name, counts in made.nodes.items():
        assert by_what_if(counts.before) == by_run(root / "old/corpus", name), name
        assert by_what_if(counts.after) == by_run(new / "corpus", name), name
    for name, ends in made.outputs.items():
        assert ends.after == shard_rows(new / name), name
        assert ends.before == shard_rows(root / "old" / name)
        assert ends.after - ends.before == ends.gained - ends.lost
    assert any(ends.lost for ends in made.outputs.values())


def test_documents_that_a_node_never_measured_are_unknown_from_there_on(root: Path) -> None:
    made = tried(root, "stages.first.least=1")
    run(config(root, "lower", first=1))
    lower = root / "lower/corpus"
    assert "first" not in made.reasons
    assert by_what_if(made.nodes["first"].after) == by_run(lower, "first")
    before, now = (pq.read_table(folder / "signals/marks").num_rows for folder in (root / "old/corpus", lower))
    assert made.unknown == {"marks": now - before} and now > before
    assert made.nodes["marks"].after[Fate("unknown")] == now - before
    assert "counted as unknown" in made.reasons["marks"] and "unknown at `marks`" in made.reasons["clean"]
    told = what_if_json(made, 2)
    assert told["nodes"]["first"]["exact"] and not told["nodes"]["clean"]["exact"]
    assert not told["outputs"]["corpus"]["exact"]


def test_marks_reach_the_node_that_drops_by_them(root: Path) -> None:
    made = tried(root, "stages.marks.least=15")
    assert made.reasons == {}
    before, after = made.nodes["clean"].before, made.nodes["clean"].after
    marked = Fate("dropped", "marked_by_length")
    assert after[marked] == made.nodes["marks"].after[Fate("marked", "too_short")] > before[marked]


def test_documents_that_change_sides_come_with_their_texts_and_numbers(root: Path) -> None:
    made = tried(root, "stages.first.least=9", show=3)
    (move,) = [move for fates, move in made.nodes["first"].moves.items() if fates[1].what == "dropped"]
    assert (
        move.documents
        == made.nodes["first"].after[Fate("dropped", "too_short")]
        - made.nodes["first"].before[Fate("dropped", "too_short")]
    )
    assert [one.key for one in move.candidates] == sorted(one.key for one in move.candidates)
    for one in move.candidates:
        text = made.texts[one.key].text
        assert 4 <= len(text) < 9 and one.after == (len(text), 9.0)
    examples = what_if_json(made, 3)["nodes"]["first"]["moves"][0]["examples"]
    assert len(examples) == 3 and all(example["text"] and example["id"] for example in examples)


def test_an_answer_of_the_whole_corpus_stays_as_it_was_and_is_said(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=2)
    text = config(tmp_path, "old").replace("split:", "same: {}\n  split:")
    run(text)
    made = what_if(str(tmp_path / "old/corpus"), ["stages.first.least=9"], plugins=("toy_stages",))
    assert "whole corpus" in made.reasons["same"] and "`same`" in made.reasons["second"]
    assert "marks" not in made.reasons and "first" not in made.reasons
    assert what_if_json(made, 0)["corpus_wide"] == ["same"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("stages.split.at=18", "decides from `text` of the input"),
        ("stages.first.unit=words", "stages.first.unit decides what the node measures"),
        ("stages.first.least=4", "no setting differs from the run's"),
        ("seed=6", "--set changes `seed`"),
        ("revoked=list.jsonl", "--set changes `revoked`"),
        ("stages.clean.by=[marks]", "nobody"),
        ("stages.clean.from=split.low", "which nodes there are or what they read"),
        ("stages.first.most=4", "most"),
        ("stages.first.least=none", "least"),
        ("outputs.corpus.path=elsewhere", "--set changes `outputs`"),
        ("stages.first", "expected KEY.PATH=VALUE"),
    ],
)
def test_what_cannot_be_told_is_refused_with_what_to_do(root: Path, setting: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said if said != "nobody" else "marks"):
        tried(root, setting)


def test_an_output_without_signals_or_with_other_decisions_is_no_ground(root: Path, tmp_path: Path) -> None:
    run(
        config(root, "none").replace("dropped: all", "signals: none").replace("split.low}", "split.low, signals: none}")
    )
    with pytest.raises(ConfigError, match="keeps no signals"):
        what_if(str(root / "none/low"), ["stages.first.least=9"], plugins=("toy_stages",))
    with pytest.raises(ConfigError, match=r"no manifest\.json"):
        what_if(str(tmp_path), ["stages.first.least=9"])
    shutil.copytree(root / "old", tmp_path / "old")
    for file in (tmp_path / "old/corpus/signals/first").iterdir():
        table = pq.read_table(file)
        shorter = pa.array(table["length"].to_numpy() - 2)
        lengths = table.set_column(table.column_names.index("length"), "length", shorter)
        pq.write_table(lengths, file)
    made = what_if(str(tmp_path / "old/corpus"), ["stages.first.least=9"], plugins=("toy_stages",))
    assert "decide otherwise here" in made.reasons["first"]
    for file in (tmp_path / "old/corpus/signals/first").iterdir():
        file.write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match="--full` shows"):
        what_if(str(tmp_path / "old/corpus"), ["stages.first.least=9"], plugins=("toy_stages",))
