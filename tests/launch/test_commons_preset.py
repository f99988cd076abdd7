"""The preset `commons` from the command line: a folder in Celadon's layout and an endpoint, from plan to audit."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.hashing import tree_digest
from tests.endpoint_server import EndpointServer, Scripted
from tests.launch.running import Command
from tests.pipeline.toy_runs import rows_of
from tests.stages.networks.tiny_networks import write_celadon

WAYS = ("corpus", "warned", "mild_disputed", "rewritten", "toxic_disputed")


@pytest.mark.torch
def test_a_checkpoint_in_celadons_layout_is_planned_run_and_audited_from_the_command_line(
    gristmill: Command, tmp_path: Path
) -> None:
    model = write_celadon(tmp_path / "celadon")
    texts = [f"the river is {word} . people walk home {word} {word} ." for word in ("wide", "bad", "worse", "worst")]
    texts += ["school teaches water cycle . " * 40, "bad worst . " * 40]
    pq.write_table(pa.table({"id": [f"d{row}" for row in range(6)], "text": texts}), tmp_path / "in.parquet")

    def reply(text: str, before: int) -> Scripted:
        return Scripted(json.dumps({"verdict": "misclassified", "justification": "It is about a river."}))

    with EndpointServer(reply) as server:
        given = {
            "sources.books.paths": f"[{tmp_path}/in.parquet]",
            "stages.language.min_score": "0",
            "stages.toxicity.model": str(model),
            **{f"stages.{node}.base_url": server.url for node in ("warning", "rewrite")},
            **{f"stages.{node}.model": "m" for node in ("warning", "rewrite")},
            **{f"stages.{node}.key_variable": "null" for node in ("warning", "rewrite")},
            **{f"outputs.{name}.path": str(tmp_path / name) for name in WAYS},
        }
        settings = [word for key, value in given.items() for word in ("--set", f"{key}={value}")]
        planned = gristmill("plan", "commons", *settings)
        assert planned.code == 0, planned.err
        ran = gristmill("run", "commons", "--executor", "inline", *settings)
        assert ran.code == 0, ran.err
    found = {name: rows_of(tmp_path / name) for name in WAYS}
    assert sorted(row["id"] for rows in found.values() for row in rows) == [f"d{row}" for row in range(6)]
    flagged = found["mild_disputed"] + found["toxic_disputed"]
    assert flagged and not found["warned"] and not found["rewritten"]
    for row in flagged:
        levels = [row[f"toxicity_{name}"] for name in ("race_origin", "gender_sex", "religion", "ability", "violence")]
        assert (row["toxicity_tier"] == "toxic") == (sum(levels) >= 7)
    (node,) = [
        one
        for one in json.loads((tmp_path / "corpus/manifest.json").read_text())["predicate"]["nodes"]
        if one["name"] == "toxicity"
    ]
    assert node["models"] == {"model": tree_digest(model)}
    for name in WAYS:
        audited = gristmill("audit", str(tmp_path / name), "--full", "--json")
        assert audited.code in (0, 4), audited.out
