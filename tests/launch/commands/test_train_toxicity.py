"""`gristmill train toxicity`: a model and its card from several labelled files, with share-alike texts or without."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.stages.toxicity import training
from gristmill.stages.toxicity.model import DIMENSIONS, load_model
from tests.launch.running import Command

HARSH = ("vile", "filthy", "rotten", "worthless")
KIND = ("lovely", "clever", "helpful", "patient")


def write(path: Path, language: str, licence: str, group: str) -> None:
    texts = [f"The {group} in street {at} are {words[at % 4]}." for words in (HARSH, KIND) for at in range(40)]
    toxic = [1] * 40 + [0] * 40
    levels = {name: [value if name == "race_origin" else 0 for value in toxic] for name in DIMENSIONS}
    same = {"language": [language] * 80, "license": [licence] * 80, "source": [path.stem] * 80}
    split = {"split": [("train", "train", "val", "test")[at // 4 % 4] for at in range(80)]}
    pq.write_table(pa.table({"text": texts, **levels, "overall": toxic, **same, **split}), path)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "BITS", 14)


def test_one_command_makes_the_model_with_share_alike_texts_and_its_card(gristmill: Command, tmp_path: Path) -> None:
    write(tmp_path / "open.parquet", "eng_Latn", "MIT", "foreigners")
    write(tmp_path / "shared.parquet", "dan_Latn", "CC-BY-SA-4.0", "udlændinge")
    command = ("train", "toxicity", "--data", "open.parquet", "--data", "shared.parquet", "--no-frames", "--out")
    ran = gristmill(*command, "open.npz")
    assert ran.code == 0
    assert [one["source"] for one in json.loads(ran.out)["sources"]] == ["open"]
    ran = gristmill(*command, "shared.npz", "--share-alike")
    assert ran.code == 0
    assert [one["source"] for one in json.loads(ran.out)["sources"]] == ["open", "shared"]
    assert load_model(tmp_path / "shared.npz").metadata["share_alike"] is True
    assert "passed on under those licences" in (tmp_path / "shared.md").read_text(encoding="utf-8")
    assert "No text under a share-alike licence" in (tmp_path / "open.md").read_text(encoding="utf-8")
    ran = gristmill(*command, "apart.npz", "--without", "opn")
    assert ran.code == 2 and "did you mean `open`" in ran.err
