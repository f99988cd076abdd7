"""What `--plugin` names: files and modules, and where they lie, so that workers find them too."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import invalidate_caches
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

from gristmill.pipeline.errors import ConfigError


def module_names(plugins: Sequence[str] | None) -> list[str]:
    """What `--plugin` names, as names of modules that can be imported here: a file `FILE.py`, a module in the current folder,
    or one on Python's path, which goes first. Raises ConfigError for a file that is not there or cannot be a module."""
    return [_of_file(plugin) if plugin.endswith(".py") else _of_module(plugin) for plugin in plugins or ()]


def _of_file(plugin: str) -> str:
    file = Path(plugin).resolve()
    if not file.is_file():
        raise ConfigError(f"--plugin {plugin}: there is no such file; it was looked for at {file}.")
    if not file.stem.isidentifier():
        raise ConfigError(
            f"--plugin {plugin}: `{file.stem}` cannot be the name of a module, which is letters, digits and underscores. "
            "Rename the file."
        )
    _find_in(file.parent)
    spec = _spec(file.stem)
    found = None if spec is None or spec.origin is None else Path(spec.origin).resolve()
    if found != file:
        raise ConfigError(
            f"--plugin {plugin}: Python finds another module named `{file.stem}`, {found or 'built in'}, before {file}. Rename "
            "the file."
        )
    return file.stem


def _of_module(plugin: str) -> str:
    top = plugin.partition(".")[0]
    here = Path.cwd()
    if top.isidentifier() and _spec(top) is None and ((here / f"{top}.py").is_file() or (here / top).is_dir()):
        _find_in(here)
    return plugin


def _spec(name: str) -> ModuleSpec | None:
    try:
        return find_spec(name)
    except ValueError:  # imported already, by whoever gave it no spec
        return None


def _find_in(folder: Path) -> None:
    """Puts a folder at the end of the path, where it hides nothing; readers and Ray's workers are told of it."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    invalidate_caches()


def plugin_folders(plugins: Sequence[str]) -> list[str]:
    """The folders that must be on a worker's path so that it can import the plugins, which are imported already."""
    folders = []
    for plugin in plugins:
        file = getattr(sys.modules[plugin], "__file__", None)
        if file is None:
            continue
        # `a.b` in /x/a/b.py needs /x; a package is a folder with __init__.py.
        depth = plugin.count(".") + (Path(file).name == "__init__.py")
        folders.append(str(Path(file).resolve().parents[depth]))
    return list(dict.fromkeys(folders))
