"""The configs that docs/encoder.md and docs/toxicity.md show are taken as they stand there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gristmill.stages.encoder.stage import EncoderConfig
from gristmill.stages.toxicity.stage import ToxicityConfig

DOCS = Path(__file__).parents[3] / "docs"


def blocks(page: str) -> list[dict[str, Any]]:
    """The YAML blocks of a page."""
    found = re.findall(r"^( *)```yaml\n(.*?)^ *```$", (DOCS / page).read_text(encoding="utf-8"), re.S | re.M)
    return [yaml.safe_load(re.sub(rf"^{indent}", "", text, flags=re.M)) for indent, text in found]


def test_the_config_for_fineweb_edus_classifier_is_one() -> None:
    settings = dict(blocks("encoder.md")[0]["stages"]["edu"])
    assert settings.pop("use") == "encoder"
    config = EncoderConfig.model_validate_json(json.dumps(settings), strict=True)
    assert config.thresholds == {"edu": 3.0} and config.device == "cuda"


def test_every_kind_of_score_that_is_shown_is_one() -> None:
    shown = blocks("encoder.md")[1]
    config = EncoderConfig.model_validate_json(json.dumps({"model": "m", **shown}), strict=True)
    assert [score.head for score in config.scores.values()] == [0, 0, 4] and config.at_most == {"hate": 0.5}


def test_the_config_for_celadon_is_one() -> None:
    (settings,) = [
        block["stages"]["toxicity"]
        for block in blocks("toxicity.md")
        if "backend" in block.get("stages", {}).get("toxicity", {})
    ]
    assert ToxicityConfig.model_validate_json(json.dumps(settings), strict=True).backend == "celadon"
    page = (DOCS / "toxicity.md").read_text(encoding="utf-8")
    (head,) = re.findall(r"`scores: (\{violence: .*?\}\})`", page)
    EncoderConfig.model_validate_json(json.dumps({"model": "m", "scores": yaml.safe_load(head)}), strict=True)


@pytest.mark.parametrize("page", ["encoder.md", "toxicity.md"])
def test_commands_that_download_name_a_commit(page: str) -> None:
    commands = re.findall(r"hf download .*", (DOCS / page).read_text(encoding="utf-8"))
    assert commands and all("--revision COMMIT" in command for command in commands)
