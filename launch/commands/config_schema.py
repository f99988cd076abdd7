"""The JSON Schema of configs (draft 2020-12), from the models that read them; configs/config.schema.json holds it.

python -m gristmill.launch.commands.config_schema > configs/config.schema.json

It accepts what the reader accepts as far as a schema can tell, and refuses unknown keys, stages and formats. What depends on
the graph or the data is left to the reader.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from gristmill.launch.commands.stages import attribute_docs, nested_model, yaml_words
from gristmill.pipeline.planning.config import LISTS_OF_ONE, MAX_ENTRIES, MAX_NAME, NAME, OutputConfig, ResourcesConfig
from gristmill.pipeline.planning.revoked import RevokedConfig
from gristmill.pipeline.planning.top_level import StageEntry, TopLevel
from gristmill.pipeline.registry import SOURCES, STAGES, Registry
from gristmill.pipeline.source import SourceConfig
from gristmill.pipeline.stage import StageConfig

_OURS = ("kind", "resource", "expected", "otherwise", "title")
"""What fields say of themselves for us, and what says no more than their names."""
_TEXTS = {"type": "array", "items": {"type": "string"}}
_SHARES = {"type": "array", "items": {"type": "number", "minimum": 0}, "minItems": 2, "maxItems": 2}

Schema = dict[str, Any]


def schema_text(registry: Registry) -> str:
    """The schema as a file has it: a definition a line, so that changes show where they are."""
    made = config_schema(registry)
    lines = [f"{_json(name)}: {_json(value)}" for name, value in made.pop("$defs").items()]
    return f'{_json(made)[:-1]}, "$defs": {{\n' + ",\n".join(lines) + "\n}}\n"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def config_schema(registry: Registry) -> Schema:
    """The schema of a config with the stages and sources of a registry. It names no URL but its dialect's."""
    defs: dict[str, Schema] = {}
    entry = _of_model(StageEntry, "entry", defs)["properties"]
    stages = {name: registry.stage(name, name) for name in registry.names(STAGES)}
    sources = {name: registry.source(name, name) for name in registry.names(SOURCES)}
    for name, stage in stages.items():
        made = _of_model(stage.Config, f"stage.{name}", defs)
        made |= {
            "type": ["object", "null"],
            "properties": {**entry, **made["properties"]},
            "description": stage.summary,
        }
        defs[f"stage.{name}"] = made
    for name, source in sources.items():
        made = _of_model(source.Config, f"source.{name}", defs)
        made["properties"]["format"] |= {"const": name}
        defs[f"source.{name}"] = {**_without(made, "required"), "description": source.summary}
    defs["node"] = _chosen("use", {name: f"stage.{name}" for name in stages})
    defs["source"] = {
        "if": {"required": ["format"]},
        "then": _chosen("format", {name: f"source.{name}" for name in sources}),
        "else": {"anyOf": [_ref(f"source.{name}") for name, made in sources.items() if made.known_endings]},
    }
    defs["output"] = _of_model(OutputConfig, "output", defs)
    defs["revoked"] = _of_model(RevokedConfig, "revoked", defs)
    defs["resources"] = _of_model(ResourcesConfig, "resources", defs)
    by_name = {name: {"if": {"type": "object", "required": ["use"]}, "then": _ref("node"), "else": _ref(f"stage.{name}")}
               for name in stages}  # fmt: skip
    top = _of_model(TopLevel, "top", defs)
    keys = top["properties"]
    keys["sources"] |= _section("sources", {"additionalProperties": _ref("source")})
    keys["stages"] |= _section("stages", {"properties": by_name, "additionalProperties": _ref("node")})
    keys["outputs"] |= _section("outputs", {"additionalProperties": _ref("output")})
    keys["resources"] |= {"type": ["object", "null"], "additionalProperties": _ref("resources")}
    one_list = {"anyOf": [{"type": "string"}, _ref("revoked")]}
    keys["revoked"] |= {"anyOf": [*one_list["anyOf"], {"type": "array", "items": one_list}, {"type": "null"}]}
    keys["discard"] |= {"anyOf": [_TEXTS, {"type": ["string", "null"]}]}
    keys["expect"] |= {
        "type": ["object", "null"],
        "additionalProperties": {"type": "object", "additionalProperties": _SHARES},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A config of Gristmill",
        **top,
        "$defs": dict(sorted(defs.items())),
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _without(schema: Schema, *words: str) -> Schema:
    return {word: value for word, value in schema.items() if word not in words}


def _section(key: str, entries: Schema) -> Schema:
    least = {"type": ["object", "null"]} if key == "stages" else {"type": "object", "minProperties": 1}
    names = {"pattern": f"^{NAME.pattern}$", "maxLength": MAX_NAME}
    return {**least, "maxProperties": MAX_ENTRIES[key], "propertyNames": names, **entries}


def _chosen(key: str, names: Mapping[str, str]) -> Schema:
    """A map whose `key` says which definition it fits."""
    return {
        "type": "object",
        "required": [key],
        "properties": {key: {"enum": list(names)}},
        "allOf": [
            {"if": {"required": [key], "properties": {key: {"const": name}}}, "then": _ref(definition)}
            for name, definition in names.items()
        ],
    }


def _of_model(model: type[BaseModel], name: str, defs: dict[str, Schema]) -> Schema:
    """The schema of a model's maps; those of models in its fields become definitions named after `name`."""
    made = model.model_json_schema(ref_template=f"#/$defs/{name}.{{model}}")
    inner = made.pop("$defs", {})
    for nested in (model, *_nested(model)):
        _describe(nested, made if nested is model else inner[nested.__name__])
    defs |= {f"{name}.{key}": value for key, value in inner.items()}
    return made


def _nested(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for info in model.model_fields.values():
        inner = nested_model(info.annotation)
        if inner is not None:
            yield inner
            yield from _nested(inner)


def _describe(model: type[BaseModel], made: Schema) -> None:
    """Gives each key what its author wrote about it, and what the reader takes beside its type."""
    docs = attribute_docs(model)
    for word in ("title", "description"):
        made.pop(word, None)
    for name, info in model.model_fields.items():
        key = info.alias or name
        field = _without(made["properties"][key], *_OURS)
        also = list(_also(model, name, field))
        if also:
            outside: Schema = {word: field.pop(word) for word in ("default", "examples") if word in field}
            field = {"anyOf": [*field.pop("anyOf", [field]), *also], **outside}
        text = info.description or docs.get(name, "")
        made["properties"][key] = {"description": yaml_words(text), **field} if text else field


def _also(model: type[BaseModel], name: str, field: Schema) -> Iterator[Schema]:
    """What validators make a value of the field's type from: they are asked."""
    if issubclass(model, SourceConfig) and name in LISTS_OF_ONE:
        yield {"type": "string"}
    if issubclass(model, StageConfig | OutputConfig):
        for each in model.__pydantic_decorators__.field_validators.values():
            if each.info.mode == "before" and name in each.info.fields:
                take = getattr(model, each.cls_var_name)
                if not isinstance(take("a"), str):
                    lists = [kind["items"] for kind in (field, *field.get("anyOf", ())) if "items" in kind]
                    yield lists[0] if lists else {"type": "string"}
                if not isinstance(take(True), bool):
                    yield {"type": "boolean"}


if __name__ == "__main__":
    sys.stdout.write(schema_text(Registry()))
