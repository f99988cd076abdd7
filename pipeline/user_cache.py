"""Where things are cached for the user who runs Gristmill, on this machine and over runs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def user_cache(name: str, chosen: str | None = None) -> Path:
    """`chosen`, or `$XDG_CACHE_HOME/gristmill/NAME`, or below ~/.cache; below the temporary folder where none can be written.
    What is cached is used, so the folder must be the user's own."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    private = Path(tempfile.gettempdir()) / f"gristmill-{os.getuid()}"
    for folder in (*([Path(chosen)] if chosen else []), Path(base) / "gristmill" / name, private / name):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK) and folder.stat().st_uid == os.getuid():
            return folder
    return Path(tempfile.mkdtemp(prefix=f"gristmill-{name}-"))
