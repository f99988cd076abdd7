"""Networks in whole runs: in this process and on Ray, scores on record, loaded once per process, audited.

All of it needs torch; `make test-torch` runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.audit.result import AuditResult
from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.executor import Executor
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.executor.ray import RayExecutor
from gristmill.pipeline.hashing import tree_digest
from tests.pipeline.audit.tampering import SameProcess
from tests.pipeline.toy_runs import PLUGINS, rows_of, run, shards
from tests.stages.networks.tiny_networks import WORDS, write_bert, write_celadon

pytestmark = pytest.mark.torch

EDU = """
name: edu
seed: 5
sources:
  s: {{format: parquet, paths: ["{root}/in/*.parquet"]}}
stages:
  edu: {{use: encoder, model: "{root}/net", scores: {{edu: {{}}}}, thresholds: {{edu: 0.6}}}}
  length: {{least: 8}}
outputs:
  corpus: {{path: "{root}/out"}}
{more}
"""
CELADON = """
name: commons
seed: 5
sources:
  s: {{format: parquet, paths: ["{root}/in/*.parquet"]}}
stages:
  toxicity: {{backend: celadon, model: "{root}/celadon", tiers: commons, window_tokens: 32}}
outputs:
  corpus: {{path: "{root}/out/corpus", from: toxicity.none}}
  mild: {{path: "{root}/out/mild", from: toxicity.mild}}
discard: [toxicity.toxic]
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    draw = np.random.default_rng(11)
    (tmp_path / "in").mkdir()
    for file in range(3):
        texts = [" ".join(draw.choice(WORDS, draw.integers(1, 120))) for _ in range(40)]
        table = pa.table({"id": [f"{file}-{row}" for row in range(40)], "text": texts})
        pq.write_table(table, tmp_path / f"in/part-{file}.parquet")
    return tmp_path


def audited(folder: Path) -> AuditResult:
    return audit_output(str(folder), full=True, sources=(), plugins=("toy_stages",))


def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    from gristmill.stages.networks import network

    network.network.cache_clear()
    seen: list[str] = []
    load = network.Network.__init__

    def counted(self: Any, model: str, **options: Any) -> None:
        seen.append(model)
        load(self, model, **options)

    monkeypatch.setattr(network.Network, "__init__", counted)
    return seen


def test_scores_are_measured_before_the_last_pass_with_one_model_and_an_audit_agrees(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bert(corpus / "net")
    seen = loads(monkeypatch)
    result = run(EDU.format(root=corpus, more=""))
    assert [one.final for one in result.plan.passes] == [False, True] and seen == [str(corpus / "net")]
    kept = rows_of(corpus / "out")
    assert 0 < len(kept) < 120 and all(row["edu_score"] >= 0.6 for row in kept)
    node = json.loads((corpus / "out/manifest.json").read_text())["predicate"]["nodes"][0]
    assert node["models"]["model"] == tree_digest(corpus / "net")
    assert {"library:torch", "library:transformers", "device", "dtype"} <= set(node["fields"]["signal"])
    found = audited(corpus / "out")
    assert found.exit_code == 0, found.problems
    assert found["replay"].looked_at and found["columns"].looked_at


@pytest.mark.ray
def test_workers_and_processes_of_their_own_give_the_bytes_of_one_process(corpus: Path) -> None:
    write_bert(corpus / "net")
    run(EDU.format(root=corpus, more=""), InlineExecutor(order=3), output=str(corpus / "inline"))
    expected = shards(corpus / "inline")

    def same(executor: Executor, more: str, name: str) -> None:
        run(EDU.format(root=corpus, more=more), executor, output=str(corpus / name))
        found = shards(corpus / name)
        assert {k: v for k, v in found.items() if k.endswith(".parquet")} == {
            k: v for k, v in expected.items() if k.endswith(".parquet")
        }

    with RayExecutor(workers=2, plugin_folders=[PLUGINS]) as ray:
        same(ray, "", "shared")
        same(ray, "resources: {edu: {shares_worker: false, cpus: 0.5}}", "own")


def test_a_checkpoint_in_celadons_layout_routes_documents_and_an_audit_replays_it(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gristmill.pipeline.audit.run.ReaderProcess", SameProcess)
    write_celadon(corpus / "celadon")
    result = run(CELADON.format(root=corpus))
    account = result.accounts.nodes["toxicity"]
    assert account.entered.rows == 120 and sum(port.rows for port in account.ports.values()) == 120
    tiers = {name: port.rows for name, port in account.ports.items()}
    assert tiers["none"] and tiers["mild"] + tiers["toxic"], tiers
    for name in ("corpus", "mild"):
        found = audited(corpus / "out" / name)
        assert found.exit_code == 0, found.problems
    node = json.loads((corpus / "out/corpus/manifest.json").read_text())["predicate"]["nodes"][0]
    assert node["models"]["model"] == tree_digest(corpus / "celadon")
    assert "toxicity_windows" not in rows_of(corpus / "out/corpus")[0]
