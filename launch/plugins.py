"""Modules named by `--plugin`: where they lie, so that workers find them too."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


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
