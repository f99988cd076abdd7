"""YAML into plain values, with the line of every key: doubled keys, merges and odd scalars are refused.

PyYAML alone lets a doubled key overwrite the first and turns `2024-10-01` into a date and `no` into False where a
person wrote a label; here only integers, floats, `true`/`false` and null are anything but strings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from gristmill.pipeline.errors import ConfigError

_KEPT = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:null"})


class _Loader(yaml.SafeLoader):
    """SafeLoader that resolves only numbers, nulls and true/false."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _KEPT]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _letter, _words in (("t", "true"), ("T", "True"), ("f", "false"), ("F", "False")):
    _Loader.yaml_implicit_resolvers.setdefault(_letter, []).append(
        ("tag:yaml.org,2002:bool", re.compile(f"^{_words}$"))
    )


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
    key (`<<`) or a tagged value.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{name}{line}: this is not YAML: {error.problem}. Mend the syntax.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: this is not YAML: {error}. Mend the syntax.") from error
    document = Document(name, None)
    if node is not None:
        document.value = _plain(node, "", document)
    return document


def _plain(node: yaml.Node, path: str, document: Document) -> Any:
    line = node.start_mark.line + 1
    document.lines.setdefault(path, line)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document)
    if isinstance(node, yaml.SequenceNode):
        return [
            _plain(item, f"{path}.{index}" if path else str(index), document) for index, item in enumerate(node.value)
        ]
    if node.tag not in _KEPT | {"tag:yaml.org,2002:str", "tag:yaml.org,2002:bool"}:
        raise ConfigError(f"{document.name}:{line}: {path}: the tag {node.tag} is not allowed. Write a plain value.")
    return _Loader("").construct_object(node)


def _mapping(node: yaml.MappingNode, path: str, document: Document) -> dict[str, Any]:
    result: dict[str, Any] = {}
    first_line: dict[str, int] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(f"{document.name}:{line}: {path}: a key must be a plain word.")
        key = key_node.value
        inner = f"{path}.{key}" if path else key
        if key == "<<":
            raise ConfigError(f"{document.name}:{line}: {inner}: merge keys are not allowed. Write the values out.")
        if key in result:
            raise ConfigError(
                f"{document.name}:{line}: {inner}: the key stands twice, first on line {first_line[key]}. "
                "Keep one: a doubled key would silently overwrite the other."
            )
        first_line[key] = line
        document.lines[inner] = line
        result[key] = _plain(value_node, inner, document)
    return result
