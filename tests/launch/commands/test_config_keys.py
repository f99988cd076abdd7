"""The reference of a config's keys, the command that shows it, and the JSON Schema: they say what the reader does."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from gristmill.launch.commands.config_keys import sections
from gristmill.launch.commands.config_reference import reference
from gristmill.launch.commands.config_schema import config_schema, schema_text
from gristmill.launch.presets import preset_names, read_preset
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.planning.config import load
from gristmill.pipeline.planning.output_kinds import OPTIONS
from gristmill.pipeline.planning.yaml_reader import parse
from gristmill.pipeline.registry import Registry
from tests.launch.running import Command

DOCS = Path(__file__).parents[3] / "docs"
KINDS: dict[str, dict[str, Any]] = {
    "parquet": {"partition_by": ["language"]},
    "megatron": {"tokenizer": "tokenizer.json", "end_of_document": "</s>"},
}
"""By format of a kind of output, the options that it cannot do without."""
SOURCES = {"s": {"format": "parquet", "paths": ["in.parquet"]}}
GOOD: dict[str, Any] = {"sources": SOURCES, "stages": {"language": None}, "outputs": {"o": {"path": "out"}}}


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    return Draft202012Validator(config_schema(Registry()))


def reads(config: Any) -> bool:
    """Whether the reader takes a config."""
    try:
        load(json.dumps(config), "test.yaml")
    except ConfigError:
        return False
    return True


def test_the_reference_is_up_to_date() -> None:
    assert (DOCS / "config.md").read_text(encoding="utf-8") == reference(), "the keys changed: make reference"


def test_the_packaged_schema_is_up_to_date_and_names_no_place() -> None:
    text = (resources.files("gristmill.configs") / "config.schema.json").read_text(encoding="utf-8")
    assert text == schema_text(Registry()), "the keys changed: make reference"
    made = json.loads(text)
    Draft202012Validator.check_schema(made)
    assert "$id" not in text
    references = [line for line in text.split('"$ref": "')[1:] if not line.startswith("#/$defs/")]
    assert references == []


@pytest.mark.parametrize("name", preset_names())
def test_the_schema_accepts_the_presets(name: str, schema: Draft202012Validator) -> None:
    value = parse(read_preset(name).text, name).value
    assert list(schema.iter_errors(value)) == []


def test_every_key_has_a_meaning_and_an_example_that_schema_and_reader_accept(schema: Draft202012Validator) -> None:
    before = {
        "commoncrawl": {"format": "commoncrawl", "root": "s3://x", "snapshot": "x"},
        "small_web": {"format": "small_web"},
    }
    for section in sections(Registry()):
        for item in section.keys:
            assert item.text and item.example, f"{section.prefix}{item.name}"
            value: Any = yaml.safe_load(item.example)
            for part in reversed(item.name.split(".")):
                value = {part: value}
            if item.name.startswith("license."):
                value["license"] = {"spdx": "MIT"} | value["license"]
            kind = section.prefix.split(".")[0]
            config = {**GOOD}
            if kind == "sources":
                formats = item.text.removeprefix("Of `").split("`")[0] if "of one" in section.title else "parquet"
                base = before.get(formats, {"format": formats, "paths": ["in.x"]})
                config["sources"] = {"s": {**base, **value}}
                if item.name in ("path_lists", "format"):
                    config["sources"] = {"s": {**base, **value, "paths": []}}
            elif kind == "stages":
                config["stages"] = {"language": {}, "second": {"use": "drop_marked", "by": ["language"], **value}}
            elif ".kinds." in section.prefix:
                formats = [name for name, options in OPTIONS.items() if item.name in options]
                base = {"format": formats[0], **KINDS[formats[0]]} if formats else {}
                config["outputs"] = {"o": {"path": "out", "kinds": {"k": {**base, **value}}}}
            elif kind == "outputs":
                config["outputs"] = {"o": {"path": "out", **value}}
            elif kind == "resources":
                config["resources"] = {"language": value}
            elif kind == "revoked":
                config["revoked"] = value if item.name == "path" else {"path": "list.txt", "kind": "id", **value}
                config["sources"] = {"crawl": SOURCES["s"]}
            else:
                config |= value
                if item.name == "resources":
                    config["stages"] = {"toxicity": {}}
                if item.name == "stages":
                    config["stages"]["clean"]["by"] = ["language"]
            assert list(schema.iter_errors(config)) == [], item.name
            assert reads(config), f"{section.prefix}{item.name}: {config}"


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True),
        ({"name": ""}, False),
        ({"seed": -1}, False),
        ({"seed": 1 << 63}, False),
        ({"seed": True}, False),
        ({"max_quarantined": 1}, True),
        ({"max_quarantined": 1.1}, False),
        ({"exchange_bytes": 5}, False),
        ({"sidecar_documents": 0}, False),
        ({"work": ""}, False),
        ({"sourcs": {}}, False),
        ({"revoked": "list.jsonl"}, True),
        ({"revoked": ["list.jsonl", {"path": "hosts.txt", "kind": "domain"}]}, True),
        ({"revoked": {"path": "hosts.txt", "kind": "host"}}, False),
        ({"revoked": 5}, False),
        ({"sources": {}}, False),
        ({"sources": {"s": {"paths": "a.parquet"}}}, True),
        ({"sources": {"s": {"paths": "a.parquet", "kind": "parquet"}}}, False),
        ({"sources": {"s": {"format": "parket", "paths": "a"}}}, False),
        ({"sources": {"s": {"format": "parquet", "paths": "a", "delimiter": ";"}}}, False),
        ({"sources": {"s": {"format": "csv", "paths": "a", "delimiter": ";"}}}, True),
        ({"sources": {"S": SOURCES["s"]}}, False),
        ({"stages": None}, True),
        ({"stages": {"language": {"kep": ["de"]}}}, False),
        ({"stages": {"language": {"keep": "de"}}}, False),
        ({"stages": {"mine": {"use": "language", "keep": ["de"]}}}, True),
        ({"stages": {"mine": {"use": "language", "on": ["text"]}}}, False),
        ({"stages": {"language": {"use": "exact", "on": "text"}}}, True),
        ({"stages": {"mine": {}}}, False),
        ({"stages": {"mine": {"use": "languages"}}}, False),
        ({"stages": {"minhash": {"within": "language", "from": "s", "prefer_unmarked": True}}}, True),
        ({"stages": {"minhash": {"bands": "many"}}}, False),
        ({"stages": {"quantiles": {"score": "edu_score"}}}, True),
        ({"stages": {"url_filter": {"domains": "a.txt"}}}, True),
        ({"stages": {"extract": {"with": "resiliparse"}}}, True),
        ({"stages": {"extract": {"with": "resilience"}}}, False),
        ({"outputs": {"o": {"path": "out", "shuffle": True}}}, True),
        ({"outputs": {"o": {"path": "out", "shuffle": {"seed": 3}}}}, True),
        ({"outputs": {"o": {"path": "out", "shuffle": {"sed": 3}}}}, False),
        ({"outputs": {"o": {}}}, False),
        ({"outputs": {"o": {"path": "out", "dropped": "some"}}}, False),
        ({"discard": "language.kept"}, True),
        ({"discard": 3}, False),
        ({"expect": {"language": {"dropped": [0, 1]}}}, True),
        ({"expect": {"language": {"dropped": 1}}}, False),
        ({"resources": {"language": {"gpus": 1}}}, True),
        ({"resources": {"language": {"gpu": 1}}}, False),
    ],
)  # fmt: skip
def test_schema_and_reader_agree(change: dict[str, Any], valid: bool, schema: Draft202012Validator) -> None:
    config = {**GOOD, **change}
    assert reads(config) is valid
    assert schema.is_valid(config) is valid


def test_the_schema_knows_a_plugins_stages() -> None:
    made = Draft202012Validator(config_schema(Registry(("toy_stages",))))
    assert made.is_valid({**GOOD, "stages": {"length": {"least": 3}}})
    assert not made.is_valid({**GOOD, "stages": {"length": {"leest": 3}}})


@pytest.mark.parametrize("key", ["outputs.columns", "outputs.corpus.columns", "outputs.NAME.columns"])
def test_a_key_is_shown_with_type_default_meaning_and_example(gristmill: Command, key: str) -> None:
    shown = gristmill("config", key).out
    assert shown.startswith("outputs.NAME.columns\n")
    for part in ("all or list of text or null", "default  null", "Columns to write besides", "example  columns: ["):
        assert part in shown


def test_keys_of_stages_and_formats_are_found_too(gristmill: Command) -> None:
    assert gristmill("config", "stages.quality.on_fail").out.startswith(
        "stages.quality.on_fail\n  type     drop | mark"
    )
    assert "Of `csv`, `tsv`." in gristmill("config", "delimiter").out
    assert gristmill("config", "columns").out.count("NAME.columns\n") == 2


def test_all_keys_are_listed_and_an_unknown_one_is_refused(gristmill: Command) -> None:
    listed = gristmill("config").out
    for key in ("max_quarantined", "dropped_sample", "work", "path_lists", "shares_worker", "late_columns"):
        assert key in listed
    refused = gristmill("config", "shufle")
    assert refused.code == 2 and "did you mean `shuffle`?" in refused.error


def test_the_command_prints_the_packaged_schema(gristmill: Command) -> None:
    packaged = resources.files("gristmill.configs") / "config.schema.json"
    assert gristmill("config", "--schema").out == packaged.read_text(encoding="utf-8")
