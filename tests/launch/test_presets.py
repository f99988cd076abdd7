"""Presets: each is a whole config that loads, says what it is for, and is found by its name."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from gristmill.launch.presets import is_config, preset_names, preset_summary, read_config, read_preset
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.planning.config import load
from gristmill.pipeline.planning.graph import build
from tests.launch.running import Command


def test_the_presets_that_are_promised_are_there() -> None:
    assert {"quickstart", "web", "fineweb2", "books"} <= set(preset_names())


def test_tiers_are_the_papers_for_books_and_the_highest_levels_for_the_web() -> None:
    for name, tiers in (("books", "commons"), ("web", "max_level")):
        text = read_preset(name)
        (toxicity,) = [node for node in load(text.text, text.name).nodes if node.use == "toxicity"]
        assert toxicity.config.model_dump()["tiers"] == tiers


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_loads_and_its_graph_is_sound(name: str) -> None:
    text = read_preset(name)
    graph = build(load(text.text, text.name))
    assert graph.outputs
    assert all(output.config.path.startswith(f"out/{name}/") for output in graph.outputs)


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_says_what_it_is_for(gristmill: Command, name: str) -> None:
    assert len(preset_summary(name)) > 40
    listed = gristmill("presets").out
    assert f"{name} " in listed
    assert gristmill("presets", name).out == read_preset(name).text


def test_hyphens_and_underscores_name_the_same_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "two_words.yaml").write_text("name: mine")
    monkeypatch.setattr("gristmill.launch.presets.resources.files", lambda package: tmp_path)
    assert preset_names() == ["two-words"]
    assert read_config("two-words") == read_config("two_words")


def test_a_file_goes_before_a_preset_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("web").write_text("name: mine")
    assert read_config("web").preset is None
    assert read_config("quickstart").preset == "quickstart"


def test_data_are_not_taken_for_configs() -> None:
    assert is_config("a/b.yml") and is_config("web") and is_config("fineweb2")
    assert not is_config("docs.parquet") and not is_config("crawl/*.jsonl.zst")


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean `fineweb2`"):
        read_preset("fineweb")


def test_configs_are_shipped_as_package_data() -> None:
    assert (resources.files("gristmill.configs") / "quickstart.yaml").is_file()
