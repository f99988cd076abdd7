"""`gristmill stages`: settings, types, defaults and meanings come from the classes themselves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict

from gristmill.launch.commands.stages import attribute_docs, field_helps, type_name
from gristmill.pipeline.registry import SOURCES, STAGES, Registry
from gristmill.pipeline.stage import StageConfig, signal, threshold
from tests.launch.running import Command


class Inner(BaseModel):
    """A nested map.

    Attributes:
        column: which one,
            over two lines.
    """

    model_config = ConfigDict(frozen=True)
    column: str


class Example(StageConfig):
    """An example.

    Attributes:
        least, most: bounds in words.
        mode: how.
    """

    least: int = threshold(3, ge=0)
    most: int | None = threshold(None)
    mode: Literal["fast", "exact"] = signal("fast")
    inner: Inner | None = signal(None)
    files: tuple[str, ...] = signal()
    """Files to read."""


def test_every_setting_has_type_default_kind_and_meaning() -> None:
    found = {item.name: item for item in field_helps(Example)}
    assert list(found) == ["least", "most", "mode", "inner", "inner.column", "files"]
    assert (found["least"].type, found["least"].default, found["least"].kind) == ("integer, ≥ 0", "3", "threshold")
    assert found["least"].text == found["most"].text == "bounds in words."
    assert (found["most"].type, found["most"].default) == ("integer or null", "null")
    assert found["mode"].type == "fast | exact"
    assert found["inner.column"].text == "which one, over two lines."
    assert (found["inner.column"].kind, found["inner.column"].default) == ("signal", "required")
    assert (found["files"].type, found["files"].default, found["files"].text) == (
        "list of text",
        "required",
        "Files to read.",
    )


def test_types_read_as_values_of_yaml() -> None:
    assert type_name(bool) == "true/false"
    assert type_name(tuple[float, float, float]) == "list of number"
    assert type_name(dict[str, float | None]) == "map of text to number or null"
    assert type_name(Path | None) == "path or null"
    assert type_name(Inner) == "map"


@pytest.mark.parametrize("name", Registry().names(STAGES))
def test_every_setting_of_a_stage_is_explained(name: str, gristmill: Command) -> None:
    stage = Registry().stage(name, name)
    unexplained = [item.name for item in field_helps(stage.Config) if not item.text and "." not in item.name]
    assert not unexplained
    shown = gristmill("stages", name)
    assert shown.code == 0, shown.err
    assert stage.summary in shown.out
    assert not stage.summary.endswith(".") and not re.match("[A-Z][a-z]+s ", stage.summary), (
        "summaries read as one list"
    )
    for item in field_helps(stage.Config):
        assert item.name in shown.out


@pytest.mark.parametrize("name", Registry().names(SOURCES))
def test_every_source_format_is_shown(name: str, gristmill: Command) -> None:
    shown = gristmill("stages", name)
    assert shown.code == 0
    assert "max_document_bytes" in shown.out


def test_the_list_has_every_stage_and_format(gristmill: Command) -> None:
    listed = gristmill("stages").out
    for name in (*Registry().names(STAGES), *Registry().names(SOURCES)):
        assert f"  {name} " in listed


def test_stages_of_a_plugin_are_shown_too(gristmill: Command) -> None:
    assert "drops short texts" in gristmill("stages", "--plugin", "toy_stages").out
    shown = gristmill("stages", "length", "--plugin", "toy_stages").out
    assert "too_short" in shown
    assert "length  int64" in shown


def test_what_a_base_class_says_is_kept_unless_said_anew() -> None:
    assert "snapshot" in attribute_docs(Registry().source("parquet", "parquet").Config)
    assert "documents" in attribute_docs(Registry().source("small_web", "x").Config)
