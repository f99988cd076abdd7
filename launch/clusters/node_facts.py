"""What a node has to run our tasks with: interpreter, packages, the digest of the `gristmill` that it would import.

Nothing here imports Gristmill: the function is also sent to nodes by value, so that one without Gristmill can say so.
"""

from __future__ import annotations

import typing

# Read by the oldest Python that a cluster may have, to say that it is too old: no newer syntax here.


def package_digest(folder: str) -> str:
    """SHA-256, in hexadecimal, over names and contents of a package's files; what compilers and editors leave is no part.

    Args:
        folder: the folder of the package.
    """
    import hashlib
    import os

    total = hashlib.sha256()
    names = []
    for base, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in files:
            if not name.endswith((".pyc", ".pyo", ".nbi", ".nbc", ".tmp")):
                names.append(os.path.relpath(os.path.join(base, name), folder))
    for name in sorted(names):
        with open(os.path.join(folder, name), "rb") as stream:
            content = hashlib.sha256(stream.read()).hexdigest()
        total.update((name.replace(os.sep, "/") + "\0" + content + "\n").encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def node_facts(packages: list[str]) -> dict[str, typing.Any]:
    """A map of `python`, `executable`, `host`, `ray`, `packages` (name → version, or None where it is missing), and of
    `gristmill`, the digest of the package that would be imported, or None.

    Args:
        packages: names of distributions.
    """
    import importlib.util
    import os
    import socket
    import sys
    from importlib import metadata

    versions: dict[str, str | None] = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    found = importlib.util.find_spec("gristmill")
    digest = package_digest(os.path.dirname(found.origin)) if found is not None and found.origin else None
    try:
        ray: str | None = metadata.version("ray")
    except metadata.PackageNotFoundError:
        ray = None
    return {
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "executable": sys.executable,
        "host": socket.gethostname(),
        "ray": ray,
        "packages": versions,
        "gristmill": digest,
    }
