"""Stages and source formats by name: installed packages announce them as entry points, `--plugin` adds a module.

A config alone never imports code: it can only name what an installed package announces or what the person who runs the
command names with `--plugin`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from gristmill.pipeline.errors import ConfigError, ContractError, GristmillError, nearest
from gristmill.pipeline.kernel_cache import use_cache
from gristmill.pipeline.source import Source
from gristmill.pipeline.stage import Stage

STAGES = "gristmill.stages"
SOURCES = "gristmill.sources"


@cache
def _announced(group: str) -> dict[str, Any]:
    return {point.name: point for point in entry_points(group=group)}


class Registry:
    """What a run may use: announced stages and sources, and those of the plugin modules."""

    def __init__(self, plugins: Sequence[str] = ()) -> None:
        self.plugins = tuple(plugins)
        self._extra: dict[str, dict[str, type[Any]]] = {STAGES: {}, SOURCES: {}}
        if self.plugins:
            use_cache()  # they may define kernels
        for plugin in self.plugins:
            self._add(plugin)

    def _add(self, plugin: str) -> None:
        if not all(part.isidentifier() for part in plugin.split(".")):
            raise ConfigError(f"--plugin {plugin}: this is no name of a module. Expected a name such as `my_stages`.")
        try:
            module = importlib.import_module(plugin)
        except ImportError as error:
            raise ConfigError(
                f"--plugin {plugin}: the module cannot be imported ({error}). Install it, or put its folder on "
                "PYTHONPATH on every node."
            ) from error
        except GristmillError:
            raise
        except Exception as error:
            raise ConfigError(
                f"--plugin {plugin}: importing the module raises {type(error).__name__}: {error}. Mend the module."
            ) from error
        found = 0
        for name, item in vars(module).items():
            if not inspect.isclass(item) or item.__module__ != module.__name__ or name.startswith("_"):
                continue
            for group, base in ((STAGES, Stage), (SOURCES, Source)):
                if issubclass(item, base):
                    self._extra[group][snake_case(name)] = item
                    found += 1
        if not found:
            raise ConfigError(f"--plugin {plugin}: the module defines no Stage and no Source. Name another module.")

    def names(self, group: str) -> list[str]:
        """Names that a config may use."""
        return sorted({*_announced(group), *self._extra[group]})

    def stage(self, name: str, where: str) -> type[Stage]:
        """The stage class of a name. Raises ConfigError for an unknown one."""
        found: type[Stage] = self._load(STAGES, name, where, Stage, "stage")
        return found

    def source(self, name: str, where: str) -> type[Source]:
        """The source class of a format's name. Raises ConfigError for an unknown one."""
        found: type[Source] = self._load(SOURCES, name, where, Source, "source format")
        return found

    def _load(self, group: str, name: str, where: str, base: type[Any], what: str) -> Any:
        if name in self._extra[group]:
            return self._extra[group][name]
        points = _announced(group)
        if name not in points:
            raise ConfigError(f"{where}: there is no {what} named `{name}`; {nearest(name, self.names(group))}")
        use_cache()  # its module may define kernels
        loaded = points[name].load()
        if not (inspect.isclass(loaded) and issubclass(loaded, base)):
            raise ContractError(f"entry point {group}:{name} is {loaded!r}, not a subclass of {base.__name__}.")
        return loaded


def snake_case(name: str) -> str:
    """`DropMarked` → `drop_marked`.

    >>> snake_case("DropMarked")
    'drop_marked'
    """
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))
