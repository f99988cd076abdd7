"""Which places an audit may go back to: the config of an output is the word of whoever wrote it, and nothing is fetched
because a file says so."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.planning.yaml_reader import parse
from gristmill.pipeline.storage import is_remote, local

_URL = re.compile(r"\S*[A-Za-z0-9]://\S*")
_NO_PLACE = frozenset({"format", "license", "snapshot", "exclude", "base_url"})
"""Settings that may look like a place and are not opened while a run is planned or replayed: an endpoint is not asked."""


def allowed_config(text: str, roots: Sequence[str]) -> str:
    """A manifest's config with nothing in it that leads elsewhere than to its input: it writes nowhere.

    Args:
        text: the config, as YAML.
        roots: folders, local or URLs, below which the sources must lie; with none, they must be local.

    Raises ConfigError for a config that names another place.
    """
    value = parse(text, "manifest.json").value
    if not isinstance(value, dict) or not all(isinstance(value.get(key), dict) for key in ("sources", "outputs")):
        raise ConfigError("manifest.json: its config has no sources or no outputs")
    for name, setting in _strings({key: value.get(key) for key in ("sources", "stages")}):
        if name in _NO_PLACE:
            continue
        if _URL.fullmatch(setting) and is_remote(setting) and not _below(setting, roots):
            raise ConfigError(f"the config names {setting}, which is not below a folder given with --sources")
        if name in ("paths", "path_lists", "root") and not is_remote(setting):
            refuse_elsewhere(setting, roots)
    for name, setting in _strings(value.get("revoked"), "path"):
        if name == "path":
            refuse_elsewhere(setting, roots)
    value.pop("work", None)
    for name, output in value["outputs"].items():
        if isinstance(output, dict):
            output["path"] = f"gristmill-audit-writes-nothing/{name}"
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def refuse_elsewhere(location: str, roots: Sequence[str]) -> None:
    """Raises ConfigError for a local place that is not below one of some folders, links followed; with none, all are."""
    if roots and not _below(location, roots):
        raise ConfigError(f"the config names {location}, which is not below {', '.join(roots)}")


def _below(location: str, roots: Sequence[str]) -> bool:
    if is_remote(location):
        parts = location.split("/")
        return ".." not in parts and any(location == root or location.startswith(f"{root}/") for root in _remote(roots))
    literal = re.split(r"[*?\[{]", str(local(location)), maxsplit=1)[0]
    here = os.path.realpath(literal)
    return any(os.path.commonpath([here, os.path.realpath(root)]) == os.path.realpath(root) for root in _local(roots))


def _remote(roots: Sequence[str]) -> Iterator[str]:
    return (root.rstrip("/") for root in roots if is_remote(root))


def _local(roots: Sequence[str]) -> Iterator[str]:
    return (str(local(root)) for root in roots if not is_remote(root))


def _strings(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """All texts of a value, each with the nearest key above it."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _strings(item, str(key)) if key not in _NO_PLACE else ()
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, name)
