"""Calls of tasks as they travel to other processes: a function's name and its payload as JSON, never as pickled code.

One reader rebuilds a payload by the type that the function names for it, within bounds. What a type leaves open (`Any`, the
parameters that stages give to folds) keeps its kind: JSON's own, tuples, bytes, and mappings with other keys than texts.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from functools import cache
from inspect import signature
from typing import Annotated, Any, get_type_hints

import pyarrow as pa
from pydantic import ConfigDict, PlainSerializer, PlainValidator, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from gristmill.pipeline.errors import ContractError
from gristmill.pipeline.executor.function_names import reference, resolve

MOST_BYTES = 256 << 20
"""Bytes of a call: what a task needs to know, of which its data are no part."""

_TAG = "$"
_CONFIG = ConfigDict(extra="forbid", arbitrary_types_allowed=True, ser_json_inf_nan="constants")


def _schema(value: object) -> pa.Schema:
    if isinstance(value, pa.Schema):
        return value
    if not isinstance(value, str):
        raise ValueError("expected an Arrow schema in base64")
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(value)))


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise ValueError("expected bytes in base64")
    return base64.b64decode(value)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _open(value: Any) -> Any:
    """A value of an open type as JSON's types. Raises ContractError for one that has no form there."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is list:
        return [_open(item) for item in value]
    if isinstance(value, Mapping) and all(type(name) is str and not name.startswith(_TAG) for name in value):
        return {name: _open(item) for name, item in value.items()}
    if isinstance(value, Mapping):
        return {f"{_TAG}pairs": [[_open(name), _open(item)] for name, item in value.items()]}
    if type(value) is tuple:
        return {f"{_TAG}tuple": [_open(item) for item in value]}
    if type(value) is bytes:
        return {f"{_TAG}bytes": _text(value)}
    raise ContractError(
        f"a {type(value).__name__} cannot travel to workers as a parameter ({value!r:.80}). Give numbers, texts, bytes, lists, "
        "tuples or mappings of these, and build the rest of them there."
    )


def _opened(value: Any) -> Any:
    if isinstance(value, list):
        return [_opened(item) for item in value]
    if not isinstance(value, dict):
        return value
    tag = next(iter(value), "")
    if len(value) == 1 and tag.startswith(_TAG):
        kinds: dict[str, Callable[[Any], Any]] = {
            f"{_TAG}pairs": lambda pairs: {_opened(name): _opened(item) for name, item in pairs},
            f"{_TAG}tuple": lambda items: tuple(_opened(item) for item in items),
            f"{_TAG}bytes": _bytes,
        }
        if tag not in kinds:
            raise ValueError(f"there is no kind of value `{tag}`")
        return kinds[tag](value[tag])
    return {name: _opened(item) for name, item in value.items()}


ArrowSchema = Annotated[
    pa.Schema, PlainValidator(_schema), PlainSerializer(lambda one: _text(one.serialize().to_pybytes()))
]
"""A schema in a payload."""
Bytes = Annotated[bytes, PlainValidator(_bytes), PlainSerializer(_text)]
"""Bytes in a payload."""
Open = Annotated[Any, PlainValidator(_opened), PlainSerializer(_open)]
"""A value of which only the function that gets it knows more."""
Params = Mapping[str, Open]
"""Parameters of a stage's function."""


def encoded(function: Callable[[Any], Any], payload: Any, independent: bool = False) -> bytes:
    """A call; `independent`: see `Executor.run_independent`.

    Raises ContractError for a function that workers cannot find by its name, and for what cannot travel.
    """
    name = reference(function)
    try:
        plain = _adapter(name).dump_python([payload], mode="json", by_alias=True)
    except PydanticSerializationError as error:
        raise ContractError(f"{name}: {str(error).rpartition('ContractError: ')[2]}") from error
    data = json.dumps([name, independent, *plain]).encode()
    if len(data) > MOST_BYTES:
        raise ContractError(
            f"{name}: its payload has {len(data):,} bytes; at most {MOST_BYTES:,} travel to a worker. Write what is large into "
            "the work folder, and give its path."
        )
    return data


def decoded(data: bytes) -> tuple[Callable[[Any], Any], bool, Any]:
    """The function of a call, whether it is independent, and its payload. Raises ContractError for what is no call of this
    version of Gristmill."""
    if len(data) > MOST_BYTES:
        raise ContractError(f"a call of {len(data):,} bytes; at most {MOST_BYTES:,} are read")
    try:
        name, independent, value = json.loads(data)
        return resolve(name), bool(independent), _adapter(name).validate_python([value])[0]
    except (ValidationError, ValueError, RecursionError, TypeError, AttributeError) as error:
        raise ContractError(
            f"this is no call of this version of Gristmill ({' '.join(str(error).split()):.300}). Install the same packages on "
            "every node."
        ) from error


@cache
def _adapter(name: str) -> TypeAdapter[list[Any]]:
    """What reads and writes the payload of a function: by its one parameter's type. In a list, since a dataclass takes no
    settings from outside."""
    function = resolve(name)
    try:
        hints = get_type_hints(function, include_extras=True)
        parameter = next(iter(signature(function).parameters))
    except (TypeError, ValueError, NameError, StopIteration):  # a function of C, or one of no arguments
        hints, parameter = {}, ""
    kind: Any = hints.get(parameter, Any)
    kind = Open if kind is Any else kind
    return TypeAdapter(list[kind], config=_CONFIG)
