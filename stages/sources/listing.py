"""Which files a source's paths name, relative to a root that does not change with the mount."""

from __future__ import annotations

import fnmatch
import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import fsspec

from gristmill.pipeline.errors import ConfigError, DataError, GristmillError
from gristmill.pipeline.source import SourceConfig
from gristmill.pipeline.storage import is_remote, reason

_WILD = "*?["
MAX_LOOKED_AT = 1_000_000
"""Files and folders below a pattern's literal folder; looking at a million takes some five seconds on a local disk."""


@dataclass(frozen=True)
class FoundFile:
    """A file of a source: where it is now, what it is called below the root, its size, and a stamp of its state."""

    location: str
    path: str
    size: int
    stamp: str


def find_files(source: str, config: SourceConfig, endings: Sequence[str]) -> list[FoundFile]:
    """All files that a source's paths name, sorted by relative path.

    A path is a file, a folder (all files below it with one of `endings`) or a glob (`*`, `?`, `[…]`, `**`). The root of
    the relative paths is `root:`, or the literal folder before the first wildcard, or the folder itself, or a file's
    folder.

    Raises ConfigError when `paths` is empty, when a path begins at the root of the file system, has an unknown protocol
    or lies above more than MAX_LOOKED_AT files and folders, when one file is matched twice or two files share a relative
    path, and DataError when nothing matches, when something matched is no regular file, or when a store does not answer.
    """
    if not config.paths:
        raise ConfigError(f"sources.{source}.paths: no path is given. Name files, folders or globs.")
    found: dict[str, tuple[FoundFile, str]] = {}
    by_path: dict[str, FoundFile] = {}
    for pattern in config.paths:
        kept = _matches(source, pattern, config, endings)
        root = _root(source, pattern, config.root)
        if not kept:
            raise DataError(
                f"sources.{source}.paths: {pattern} matches no file{_hint(pattern, endings)}. Check the path "
                f"(relative paths start at the current folder)."
            )
        for location, size, stamp in kept:
            if location in found:
                raise ConfigError(
                    f"sources.{source}.paths: {location} is matched by `{found[location][1]}` and again by `{pattern}`; "
                    "its documents would be read twice. Narrow one of them, or use `exclude`."
                )
            path = _relative(source, location, root)
            file = FoundFile(location, path, size, stamp)
            if path in by_path:
                raise ConfigError(
                    f"sources.{source}.paths: {location} and {by_path[path].location} are both `{path}` below their roots, "
                    "so their documents would share keys. Set `root:` to a folder above both, or make two sources."
                )
            found[location] = (file, pattern)
            by_path[path] = file
    return [by_path[path] for path in sorted(by_path)]


def _matches(source: str, pattern: str, config: SourceConfig, endings: Sequence[str]) -> list[tuple[str, int, str]]:
    where = f"sources.{source}.paths: {pattern:.200}"
    system, plain = _system(where, pattern)
    try:
        if not is_remote(pattern):
            _refuse_endless(where, pattern, plain)
        return _listed(where, system, plain, pattern, endings, config.exclude)
    except GristmillError:
        raise
    except OSError as error:
        raise DataError(f"{where}: cannot be listed ({reason(error)}). Check the path.") from error
    except Exception as error:
        # A store's library raises what it likes: no credentials, no network, no such bucket.
        if not is_remote(pattern):
            raise
        raise DataError(
            f"{where}: the store cannot be listed ({type(error).__name__}: {str(error)[:300]}). Check the address, the "
            "network and the credentials."
        ) from error


def _system(where: str, pattern: str) -> tuple[Any, str]:
    """The file system of a path, and the path in it."""
    if not pattern:
        raise ConfigError(f"{where}`` is an empty path. Name files, folders or globs.")
    try:
        system, plain = fsspec.core.url_to_fs(pattern)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"{where}: {error}. Use a local path or a URL whose file system is installed.") from error
    except Exception as error:
        raise DataError(
            f"{where}: the store cannot be opened ({type(error).__name__}: {str(error)[:300]}). Check the address."
        ) from error
    return system, str(plain)


def _refuse_endless(where: str, pattern: str, plain: str) -> None:
    """A walk over everything there is would also find devices and other people's files."""
    parts = plain.split("/")
    wild = next((i for i, part in enumerate(parts) if any(c in part for c in _WILD)), None)
    if wild is not None and os.path.lexists(plain):
        wild = None
    top = plain if wild is None else "/".join(parts[:wild])
    if os.path.realpath(top or "/") == "/":
        raise ConfigError(f"{where}: this begins at the root of the file system. Name the folder that holds the data.")
    depth = None if wild is None or "**" in pattern else len(parts) - wild
    looked_at = 0
    for folder, folders, files in os.walk(top):
        looked_at += len(folders) + len(files)
        if looked_at > MAX_LOOKED_AT:
            raise ConfigError(
                f"{where}: there are more than {MAX_LOOKED_AT:,} files and folders below {top}. Name a smaller folder, or "
                "several."
            )
        if depth is not None and folder.removeprefix(top).count("/") + 1 >= depth:
            folders.clear()


def _listed(
    where: str, system: Any, plain: str, pattern: str, endings: Sequence[str], exclude: Sequence[str]
) -> list[tuple[str, int, str]]:
    if _is_glob(pattern):
        names = [name for name in system.glob(plain) if not system.isdir(name)]
    elif system.isdir(plain):
        names = [name for name in system.find(plain) if name.lower().endswith(tuple(endings))]
    else:
        names = [plain] if system.exists(plain) else []
    result = []
    for name in names:
        parts = name.split("/")
        if any(part.startswith((".", "_")) for part in parts[len(plain.split("/")) - 1 :]) and name != plain:
            # `_SUCCESS`, `.crc` and partial files of other writers are no data.
            continue
        location = system.unstrip_protocol(name) if is_remote(pattern) else name
        if any(_excluded(location, e) for e in exclude):
            continue
        try:
            info = system.info(name)
        except FileNotFoundError as error:
            raise DataError(
                f"{where}: {name} is a link to nothing, or was removed. Leave it out with `exclude`."
            ) from error
        if info.get("type") != "file":
            raise DataError(f"{where}: {name} is no regular file. Leave it out with `exclude`.")
        result.append((location, int(info["size"]), _stamp(info)))
    return sorted(result)


def _is_glob(pattern: str) -> bool:
    """Whether a path has wildcards; one that exists as it is written, such as `page[1].parquet`, has none."""
    if not any(c in pattern for c in _WILD):
        return False
    system, plain = fsspec.core.url_to_fs(pattern)
    return is_remote(pattern) or not system.exists(plain)


def _stamp(info: dict[str, Any]) -> str:
    for key in ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created"):
        if info.get(key) is not None:
            value = info[key]
            return f"{key}:{value.hex() if isinstance(value, float) else value}"
    return "none"


def _root(source: str, pattern: str, root: str | None) -> str:
    if root is not None:
        return _absolute(source, root, "root").rstrip("/")
    system, plain = fsspec.core.url_to_fs(pattern)
    parts = plain.split("/")
    if _is_glob(pattern):
        return "/".join(parts[: next(i for i, part in enumerate(parts) if any(c in part for c in _WILD))])
    return str(plain.rstrip("/") if system.isdir(plain) else posixpath.dirname(plain))


def _absolute(source: str, location: str, key: str = "paths") -> str:
    return _system(f"sources.{source}.{key}: {location:.200}", location)[1]


def _relative(source: str, location: str, root: str) -> str:
    plain = _absolute(source, location)
    if not plain.startswith(root.rstrip("/") + "/"):
        raise ConfigError(f"sources.{source}.root: {location} does not lie below the root {root}. Set another root.")
    return plain[len(root.rstrip("/")) + 1 :]


def _excluded(location: str, pattern: str) -> bool:
    return fnmatch.fnmatch(location, pattern) or fnmatch.fnmatch(posixpath.basename(location), pattern)


def _hint(pattern: str, endings: Sequence[str]) -> str:
    if "[" in pattern:
        return " (`[` begins a set of letters; `[[]` stands for the bracket itself)"
    return "" if any(c in pattern for c in _WILD) else f" (a folder is searched for {', '.join(endings)})"
