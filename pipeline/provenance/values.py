"""Stored values: the kinds of numbers and digests in logs, manifests and records, and a class's way into JSON and back.

What is stored is defined once, as a dataclass. Writers construct it, `to_json` gives what is written, `parse` reads it back
and refuses what has another form; `schema.json` follows from the same classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import fields
from functools import partial
from typing import Annotated, Any, TypeVar

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PlainSerializer,
    Strict,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_before_validator_function

STORED = ConfigDict(extra="forbid")
"""Of every stored class, as `__pydantic_config__`."""

_KEY_SUM = "^[0-9a-f]{32}$"
_is_key_sum = re.compile(_KEY_SUM).fullmatch


def _read_key_sum(value: object) -> int:
    if not (isinstance(value, str) and _is_key_sum(value)):
        raise ValueError(f"String should match pattern '{_KEY_SUM}'")
    return int(value, 16)


Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="SHA-256 in lower-case hexadecimal")]
KeySum = Annotated[
    int,
    BeforeValidator(_read_key_sum),
    PlainSerializer(lambda value: f"{value:032x}", return_type=str),
    WithJsonSchema(
        {"type": "string", "pattern": _KEY_SUM, "description": "Σ doc_key mod 2^128 in lower-case hexadecimal"}
    ),
]
"""An int below 2^128, stored as 32 hexadecimal digits."""
# JSON has one kind of number: without Strict, 1.0, "1" and true would pass for 1.
Whole = Annotated[int, Strict()]
Count = Annotated[int, Strict(), Field(ge=0)]
Seed = Annotated[int, Strict(), Field(ge=0, lt=1 << 63)]
Pair = Annotated[list[Count], Field(min_length=2, max_length=2, description="[rows, UTF-8 bytes]")]


class Complete:
    """A stored class whose fields have defaults in memory only, or the annotation of one: a stored value has them all, but
    for those that the class names in `OPTIONAL`."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema: Any = handler(source)
        whole: Any = handler.resolve_ref_schema(schema)
        optional: frozenset[str] = getattr(source, "OPTIONAL", frozenset())
        if cls is Complete:
            # An annotation: the class itself may be in use with its defaults, as a part of a config.
            whole = deepcopy(whole)
            whole["ref"] += "0"
            names = [name for name in source.model_fields if name not in optional]
            schema = no_info_before_validator_function(partial(_check_complete, names), whole)
        parts = whole["schema"]["fields"]
        named = parts.items() if isinstance(parts, dict) else [(part["name"], part) for part in parts]
        for name, part in named:
            if part["schema"]["type"] == "default" and name not in optional:
                part["schema"] = part["schema"]["schema"]
        return schema  # type: ignore[no-any-return]  # a TypedDict per kind of schema; only their common keys are used


def _check_complete(names: Iterable[str], value: Any) -> Any:
    missing = [name for name in names if isinstance(value, Mapping) and name not in value]
    if missing:
        raise ValueError(f"Field required: {', '.join(missing)}")
    return value


T = TypeVar("T")


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


def adapter(kind: type[T]) -> TypeAdapter[T]:
    """Validator, serialiser and JSON Schema of a stored class, made once."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def parse(kind: type[T], value: Mapping[str, Any]) -> T:
    """A stored value, parsed from JSON, as what it is. Raises pydantic.ValidationError where it has another form."""
    return adapter(kind).validate_python(value)


def to_json(value: Any) -> dict[str, Any]:
    """A stored value as JSON's types, with its keys as they are stored."""
    made: dict[str, Any] = adapter(type(value)).dump_python(value, by_alias=True)
    return made


def extend(kind: type[T], value: Any, **rest: Any) -> T:
    """A stored value of a class with more fields than that of `value`, which gives those that both have."""
    return kind(**{item.name: getattr(value, item.name) for item in fields(value)}, **rest)


def problems(kind: type[T], value: Any) -> list[str]:
    """Where a value has not the form of a stored class: see `described`."""
    try:
        parse(kind, value)
    except ValidationError as error:
        return described(error)
    return []


def described(error: ValidationError) -> list[str]:
    """Key paths with what is wrong, the first twenty."""
    return [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()[:20]]
