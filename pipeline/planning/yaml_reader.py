"""YAML into plain values, with the line of every key: doubled keys, merges and odd scalars are refused, and so is what
would keep a reader busy for ever.

PyYAML alone lets a doubled key overwrite the first and turns `2024-10-01` into a date, `1:30` into ninety and `no` into
False where a person wrote a label; here only integers, floats, `true`/`false` and null are anything but strings. A
document is taken event by event, so that nothing of it is built before its limits are checked.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from gristmill.pipeline.errors import ConfigError

MAX_BYTES = 512 << 10
"""Size of a document. PyYAML parses some 200 kB a second; the largest config that we know of has 30 kB."""
MAX_DEPTH = 32
"""Maps and lists within each other."""
MAX_VALUES = 50_000
"""Values in all, each alias counted as all that it stands for: nine anchors can stand for a thousand million values."""
MAX_KEY = 200
"""Characters of a key."""
MAX_DIGITS = 40
"""Characters of a number; Python refuses to read more than 4,300 digits, and no setting takes more than 2^63."""

_PREFIX = "tag:yaml.org,2002:"
_NUMBERS = {
    "int": re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|0[0-7_]+|0b[01_]+)"),
    "float": re.compile(
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|\.(?:inf|Inf|INF))"
        r"|\.(?:nan|NaN|NAN)"
    ),
}
_WORDS: dict[str, dict[str, Any]] = {
    "null": {"": None, "~": None, "null": None, "Null": None, "NULL": None},
    "bool": {"true": True, "True": True, "false": False, "False": False},
}


@dataclass
class Document:
    """A parsed YAML file: its plain value, and the line (from 1) of every key path."""

    name: str
    value: Any
    lines: dict[str, int] = field(default_factory=dict)

    def where(self, path: str) -> str:
        """`file:line: key.path`, with the line of the nearest known parent."""
        probe = path
        while probe and probe not in self.lines:
            probe = probe.rpartition(".")[0]
        line = f":{self.lines[probe]}" if probe else ""
        return f"{self.name}{line}: {path}" if path else self.name


def parse(text: str, name: str) -> Document:
    """Parses one YAML document.

    Raises ConfigError with file, line and key path for a syntax error, a doubled key, a key that is no string, a merge
    key (`<<`), a tag that does not fit its value, a character that no path can hold, and for a document over one of the
    limits of this module.
    """
    if len(text) > MAX_BYTES:
        raise ConfigError(
            f"{name}: the document has {len(text):,} characters; at most {MAX_BYTES:,} are read. Name files by globs, and "
            "keep lists in files of their own."
        )
    document = Document(name, None)
    try:
        document.value = _Reader(document, yaml.parse(text, Loader=yaml.SafeLoader)).read()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{name}{line}: this is not YAML: {error.problem}. Fix the syntax.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: this is not YAML: {error}. Fix the syntax.") from error
    return document


@dataclass
class _Anchored:
    """What an anchor stands for: its value, how many values that is, and how deep they go; no value while it is read."""

    value: Any = None
    count: int = 0
    depth: int = 0
    complete: bool = False


class _Reader:
    """Builds the plain value of one document from its events."""

    def __init__(self, document: Document, events: Iterator[yaml.Event]) -> None:
        self.document = document
        self.events = events
        self.count = 0
        self.deepest = 0
        self.anchors: dict[str, _Anchored] = {}

    def read(self) -> Any:
        self._next()  # the stream's beginning
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        value = self._value(self._next(), "", 1)
        self._next()  # the document's end
        event = self._next()
        if not isinstance(event, yaml.StreamEndEvent):
            raise self._refuse(event, "", "a second document begins here. Keep one.")
        return value

    def _next(self) -> yaml.Event:
        try:
            return next(self.events)
        except (ValueError, OverflowError) as error:
            # `\UFFFFFFFF` is no character, and `%YAML` may be followed by 5,000 digits.
            if isinstance(error, yaml.YAMLError):
                raise
            raise ConfigError(f"{self.document.name}: this is not YAML: {error}. Fix the syntax.") from error

    def _refuse(self, event: yaml.Event, path: str, problem: str) -> ConfigError:
        place = f"{self.document.name}:{_line(event)}"
        return ConfigError(f"{place}: {path}: {problem}" if path else f"{place}: {problem}")

    def _value(self, event: Any, path: str, depth: int) -> Any:
        self.document.lines.setdefault(path, _line(event))
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path, depth)
        self._counted(event, path, 1, depth)
        anchored = _Anchored()
        if event.anchor is not None:
            self.anchors[event.anchor] = anchored
        before, outer, self.deepest = self.count - 1, self.deepest, depth
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, path)
        else:
            if event.tag is not None:
                raise self._refuse(event, path, f"the tag {event.tag} is not allowed. Write a plain value.")
            value = self._map(path, depth) if isinstance(event, yaml.MappingStartEvent) else self._list(path, depth)
        anchored.value, anchored.complete = value, True
        anchored.count, anchored.depth = self.count - before, self.deepest - depth
        self.deepest = max(outer, self.deepest)
        return value

    def _counted(self, event: yaml.Event, path: str, values: int, depth: int) -> None:
        self.count += values
        self.deepest = max(self.deepest, depth)
        if depth > MAX_DEPTH:
            raise self._refuse(
                event, path[:MAX_KEY], f"maps and lists lie {depth} deep in each other; at most {MAX_DEPTH} are read."
            )
        if self.count > MAX_VALUES:
            raise self._refuse(
                event,
                path[:MAX_KEY],
                f"the document holds more than {MAX_VALUES:,} values, those that aliases (`*name`) stand for among them; "
                "no more are read.",
            )

    def _alias(self, event: Any, path: str, depth: int) -> Any:
        anchored = self.anchors.get(event.anchor)
        if anchored is None:
            raise self._refuse(event, path, f"no anchor `&{event.anchor:.60}` stands before this alias.")
        if not anchored.complete:
            raise self._refuse(
                event, path, f"the alias `*{event.anchor:.60}` stands within what it names. Take it out."
            )
        self._counted(event, path, anchored.count, depth + anchored.depth)
        # A copy, so that `--set` on one of them leaves the others alone.
        return copy.deepcopy(anchored.value)

    def _list(self, path: str, depth: int) -> list[Any]:
        result: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            result.append(self._value(event, f"{path}.{len(result)}" if path else str(len(result)), depth + 1))
        return result

    def _map(self, path: str, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        first_line: dict[str, int] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._refuse(event, path, "a key must be a plain scalar.")
            line = _line(event)
            key = self._text(event, event.value, path)
            if len(key) > MAX_KEY:
                raise self._refuse(
                    event, path, f"a key of {len(key):,} characters (`{key:.40}…`); at most {MAX_KEY} are read."
                )
            inner = f"{path}.{key}" if path else key
            if key == "<<":
                raise self._refuse(event, inner, "YAML merge keys (`<<`) are not supported. Write the values out.")
            if key in result:
                raise self._refuse(
                    event,
                    inner,
                    f"duplicate key, first on line {first_line[key]}. "
                    "Keep one: the second would silently overwrite the first.",
                )
            first_line[key] = line
            self.document.lines[inner] = line
            result[key] = self._value(self._next(), inner, depth + 1)
        return result

    def _scalar(self, event: yaml.ScalarEvent, path: str) -> Any:
        text = event.value
        if event.tag is None:
            kind = _kind_of(text) if event.implicit[0] else "str"
        else:
            kind = event.tag.removeprefix(_PREFIX) if event.tag != "!" else "str"
        if kind == "str":
            return self._text(event, text, path)
        if kind in _WORDS and text in _WORDS[kind]:
            return _WORDS[kind][text]
        if kind in _NUMBERS:
            return self._number(event, kind, path)
        raise self._refuse(
            event, path, f"the tag {event.tag:.60} is not allowed before `{text:.40}`. Write a plain value."
        )

    def _number(self, event: yaml.ScalarEvent, kind: str, path: str) -> int | float:
        text = event.value
        if len(text) > MAX_DIGITS:
            raise self._refuse(
                event, path, f"a number of {len(text):,} characters (`{text:.20}…`); at most {MAX_DIGITS} are read."
            )
        plain = text.replace("_", "").lower()
        try:
            if kind == "float":
                return float(plain.replace(".inf", "inf").replace(".nan", "nan"))
            # As YAML 1.1 has it, 010 is eight.
            return int(re.sub(r"^([-+]?)0(?=[0-7])", r"\g<1>0o", plain), 0)
        except ValueError as error:
            raise self._refuse(event, path, f"`{text:.40}` is no {kind}. Write a plain value.") from error

    def _text(self, event: yaml.Event, text: str, path: str) -> str:
        if "\0" in text:
            raise self._refuse(event, path, "a text holds the character NUL, which no name or path can. Take it out.")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise self._refuse(
                event, path, f"a text holds half a surrogate pair ({text!a:.60}), no character. Take it out."
            )
        return text


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _kind_of(text: str) -> str:
    """What a scalar without quotes and tag is."""
    for kind, words in _WORDS.items():
        if text in words:
            return kind
    return next((kind for kind, pattern in _NUMBERS.items() if pattern.fullmatch(text)), "str")
