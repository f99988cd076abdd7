"""Clean outputs, written once per session and copied for each test."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.planning.config import load
from gristmill.pipeline.planning.plan import make_plan
from gristmill.pipeline.running.engine import Engine
from gristmill.pipeline.writing.kinds.derive import derive
from tests.pipeline.audit.tampering import Output
from tests.pipeline.toy_runs import GRAPH, PLUGINS, write_corpus
from tests.pipeline.toy_runs import run as run_toys
from tests.pipeline.writing.kind_runs import graph, write_topics

assert PLUGINS

WIDE = """
name: wide
sidecar_documents: 1
seed: {seed}
sources:
  a: {{format: parquet, paths: ["{root}/a/*.parquet"], snapshot: s1, max_document_bytes: 60,
       license: {{spdx: CC0-1.0, stated_by: author}}}}
  b: {{format: jsonl, paths: ["{root}/b/*.jsonl"]}}
stages:
  bounds: {{from: [a, b], words: "{root}/words.txt"}}
  same: {{}}
  double: {{}}
  split: {{at: 12}}
  again: {{use: bounds, from: split.low, least: 6, most: 400, mark: {mark}}}
  upper: {{from: [again, split.high]}}
outputs:
  corpus: {{path: "{root}/out/corpus", from: upper, shard_bytes: 900, dropped: all}}
"""
"""Two sources, copies before drops and branches, several reasons, rejects, an oversized document, edited text, several
shards a task."""


def run(text: str) -> None:
    Engine(make_plan(load(text, "test.yaml", plugins=("toy_stages", "audit_stages"))), InlineExecutor()).run()


def write_wide(root: Path, seed: int = 7, mark: str = "false") -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "words.txt").write_text("ab\n")
    write_corpus(root / "a", files=2, rows=60)
    first = root / "a/part-000.parquet"
    rows = pq.read_table(first).to_pylist()
    rows[7]["text"] = "x" * 61
    for row in rows[::5]:
        row["url"] = None
    pq.write_table(pa.Table.from_pylist(rows), first)
    (root / "b").mkdir(exist_ok=True)
    lines = [json.dumps({"id": f"j{n}", "text": "cd " * (n % 9), "url": None}) for n in range(40)]
    lines[5] = '{"id": "broken", "text": '
    lines[9] = json.dumps({"id": "number", "text": 5})
    (root / "b/more.jsonl").write_text("\n".join(lines) + "\n")
    run(WIDE.format(root=root, seed=seed, mark=mark))


@pytest.fixture(scope="session")
def wide_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of WIDE: the folder with its input and output."""
    root = tmp_path_factory.mktemp("wide")
    write_wide(root)
    return root


@pytest.fixture(scope="session")
def other_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same input under another config."""
    root = tmp_path_factory.mktemp("other")
    write_wide(root, seed=8, mark="true")
    return root


@pytest.fixture(scope="session")
def two_outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two outputs."""
    root = tmp_path_factory.mktemp("two")
    write_corpus(root / "in")
    run(GRAPH.format(root=root))
    return root


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Output]:
    """Copies an output for a test to change."""

    def copy(folder: Path) -> Output:
        target = tmp_path / f"copy-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(folder, target)
        return Output(target)

    return copy


@pytest.fixture
def output(wide_run: Path, copied: Callable[[Path], Output], in_process: None) -> Iterator[Output]:
    yield copied(wide_run / "out/corpus")


KINDS = "{lines: {format: jsonl}, topics: {format: parquet, partition_by: [topic]}}"


@pytest.fixture(scope="session")
def kinds_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one output with two kinds, in `out`."""
    root = tmp_path_factory.mktemp("kinds")
    write_topics(root / "in")
    run_toys(graph(root, root / "out", KINDS))
    return root


@pytest.fixture(scope="session")
def lying_run(kinds_run: Path) -> Path:
    """The same, but its JSON lines have each other's identifiers."""
    makers = derive.__globals__["_MAKERS"]

    def lies(folder: str, settings: Any, stem: str, pieces: Iterator[pa.Table], target: Any) -> Any:
        def other(piece: pa.Table) -> pa.Table:
            place = piece.schema.get_field_index("id")
            return piece.set_column(place, piece.schema.field(place), piece["id"][::-1])

        return honest(folder, settings, stem, (other(piece) for piece in pieces), target)

    honest = makers["jsonl"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(makers, "jsonl", lies)
        run_toys(graph(kinds_run, kinds_run / "lying", KINDS))
    return kinds_run


@pytest.fixture
def kinds(kinds_run: Path, copied: Callable[[Path], Output], in_process: None) -> Output:
    """A copy of the output with kinds, whose files tests change."""
    return copied(kinds_run / "out")


@pytest.fixture
def lying(lying_run: Path, copied: Callable[[Path], Output], in_process: None) -> Output:
    """A copy of the output whose JSON lines are wrong."""
    return copied(lying_run / "lying")


LISTED = """
name: listed
seed: 5
sources:
  a: {{format: parquet, paths: ["{root}/in/part-000.parquet"]}}
  b: {{format: parquet, paths: ["{root}/in/part-00[12].parquet"]}}
revoked: ["{root}/list.jsonl", {{path: "{root}/ids.txt", kind: id, source: a}}]
stages:
  length: {{least: 2, from: [a, b]}}
outputs:
  corpus: {{path: "{root}/{out}", shuffle: {shuffle}}}
"""
GONE = "https://example.org/1/5"


def list_files(root: Path) -> list[str]:
    """The files of the list of `listed_runs`."""
    return [str(root / "list.jsonl"), str(root / "ids.txt")]


@pytest.fixture(scope="session")
def listed_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs with a revocation list of two files, URLs and ids of the source `a`: `inorder` and `shuffled`."""
    root = tmp_path_factory.mktemp("listed")
    write_corpus(root / "in")
    (root / "list.jsonl").write_text(f'{{"url": "{GONE}"}}\n')
    (root / "ids.txt").write_text("d0-1\n")
    for out, shuffle in (("inorder", "false"), ("shuffled", "true")):
        run(LISTED.format(root=root, out=out, shuffle=shuffle))
    return root


@pytest.fixture
def listed(listed_runs: Path, copied: Callable[[Path], Output], in_process: None) -> tuple[Output, list[str]]:
    """A copy of the output of the first of these runs, and the files of its list."""
    return copied(listed_runs / "inorder"), list_files(listed_runs)
