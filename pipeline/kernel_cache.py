"""Where the machine code of compiled kernels is cached: one folder per state of their sources.

Numba checks a cached function against its own file alone. A kernel that calls another file's would go on with stale code
after a change there, so the folder's name follows from the digest of every file that holds kernels. `NUMBA_CACHE_DIR`,
where a person has set it, is left as it is.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_PACKAGES = ("pipeline", "stages")
_IMPORTS_NUMBA = re.compile(rb"^(?:from|import) numba\b", re.MULTILINE)


def sources_digest(root: Path = _ROOT) -> str:
    """Digest of the names and bytes of all kernel sources, 16 hexadecimal characters: every file of a folder in which a
    file imports Numba, since kernels compile in the constants of the modules beside them."""
    sha256 = hashlib.sha256()
    sources = {path: path.read_bytes() for top in _PACKAGES for path in (root / top).rglob("*.py")}
    folders = {path.parent for path, body in sources.items() if _IMPORTS_NUMBA.search(body)}
    for path in sorted(path for path in sources if path.parent in folders):
        body = sources[path]
        sha256.update(f"{path.relative_to(root).as_posix()}\x00{len(body)}\x00".encode() + body)
    return sha256.hexdigest()[:16]


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/gristmill/kernels/DIGEST`, or below ~/.cache; below the temporary folder where neither can be
    written."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    private = Path(tempfile.gettempdir()) / f"gristmill-{os.getuid()}"
    for parent in (Path(base) / "gristmill", private):
        folder = parent / "kernels" / sources_digest()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK) and folder.stat().st_uid == os.getuid():
            return folder
    return Path(tempfile.mkdtemp(prefix="gristmill-kernels-"))


def use_cache() -> None:
    """Tells Numba where to cache. Call before the first kernel is defined."""
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    folder = str(cache_folder())
    os.environ["NUMBA_CACHE_DIR"] = folder
    numba = sys.modules.get("numba")
    if numba is not None:
        numba.config.CACHE_DIR = folder
