"""Which files a source's paths name, relative to a root that does not change with the mount."""

from __future__ import annotations

import fnmatch
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from gristmill.pipeline.errors import ConfigError, DataError, GristmillError, StorageError
from gristmill.pipeline.hashing import digest
from gristmill.pipeline.source import FoundFile, SourceConfig
from gristmill.pipeline.storage import file_system_of, info_of, is_remote, is_web, reason, retrying, web_file
from gristmill.pipeline.storage.advice import advice
from gristmill.stages.sources.path_lists import listed_files

_WILD = "*?["
ASKED_AT_ONCE = 16
"""Files of a list whose sizes are asked for at the same time."""
MAX_LOOKED_AT = 1_000_000
"""Files and folders below a pattern's literal folder; looking at a million takes some five seconds on a local disk."""


def find_files(source: str, config: SourceConfig, endings: Sequence[str]) -> list[FoundFile]:
    """All files that a source's paths and path lists name, sorted by relative path; with `sample`, those drawn of them.

    A path is a file, a folder (all files below it with one of `endings`) or a glob (`*`, `?`, `[…]`, `**`). The root of
    the relative paths is `root:`, or the literal folder before the first wildcard, or the folder itself, or a file's
    folder.

    Raises ConfigError when neither `paths` nor `path_lists` is given, when a path begins at the root of the file system,
    has an unknown protocol or lies above more than MAX_LOOKED_AT files and folders, when one file is matched twice or two
    files share a relative path, and DataError when nothing matches, when something matched is no regular file, or when a
    store does not answer.
    """
    if not (config.paths or config.path_lists):
        raise ConfigError(f"sources.{source}.paths: no path is given. Name files, folders or globs.")
    found: dict[str, str] = {}
    by_path: dict[str, FoundFile] = {}
    looked_at = 0
    for pattern, file in _named(source, config, endings):
        looked_at += 1
        if file is None:
            continue
        if file.location in found:
            raise ConfigError(
                f"sources.{source}.paths: {file.location} is matched by `{found[file.location]}` and again by `{pattern}`; "
                "its documents would be read twice. Narrow one of them, or use `exclude`."
            )
        if file.path in by_path:
            raise ConfigError(
                f"sources.{source}.paths: {file.location} and {by_path[file.path].location} are both `{file.path}` below "
                "their roots, so their documents would share keys. Set `root:` to a folder above both, or make two sources."
            )
        found[file.location] = pattern
        by_path[file.path] = file
    if not by_path and config.sample is not None:
        raise DataError(
            f"sources.{source}.sample: none of {looked_at:,} files was drawn at {config.sample}. Raise the share."
        )
    return [by_path[path] for path in sorted(by_path)]


def _named(source: str, config: SourceConfig, endings: Sequence[str]) -> Iterator[tuple[str, FoundFile | None]]:
    """Files with what names them; None for one that the sample leaves out."""
    for pattern in config.paths:
        kept = _matches(source, pattern, config, endings)
        if not kept:
            raise DataError(
                f"sources.{source}.paths: {pattern} matches no file{_hint(pattern, endings)}. Check the path "
                f"(relative paths start at the current folder, {os.getcwd()})."
            )
        root = _root(source, pattern, config.root, [location for location, _, _ in kept])
        for location, size, stamp in kept:
            path = _relative(source, location, root)
            yield pattern, FoundFile(location, path, size, stamp) if drawn(config, path) else None
    for name in config.path_lists:
        where = f"sources.{source}.path_lists: {name:.200}"
        files = list(listed_files(where, name, config.root))
        kept_files = [
            (path, location)
            for path, location in files
            if drawn(config, path) and not any(_excluded(location, e) for e in config.exclude)
        ]
        yield from ((name, None) for _ in range(len(files) - len(kept_files)))
        with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
            infos = pool.map(partial(_size_and_stamp, where), [location for _, location in kept_files])
            for (path, location), (size, stamp) in zip(kept_files, infos, strict=True):
                yield name, FoundFile(location, path, size, stamp)


def drawn(config: SourceConfig, path: str) -> bool:
    """Whether a file is in the sample: by a hash of its path and the seed, so that a larger share holds the files of a
    smaller one."""
    if config.sample is None:
        return True
    return int(digest("gristmill.sample", [config.sample_seed or 0, path])[:16], 16) < config.sample * 2**64


def _size_and_stamp(where: str, location: str) -> tuple[int, str]:
    try:
        if is_web(location):
            return web_file(location)
        system, plain = _system(where, location)
        info = info_of(system, plain)
    except StorageError as error:
        raise DataError(f"{where}: {error}.") from error
    except GristmillError:
        raise
    except Exception as error:
        raise DataError(f"{where}: {location} cannot be looked up: {advice(location, error)}.") from error
    if info is None:
        raise DataError(f"{where}: {location} is not there. Check the list and `root:`.")
    if info.get("type") != "file":
        raise DataError(f"{where}: {location} is no regular file. Take it out of the list.")
    return int(info["size"]), _stamp(info)


def _matches(source: str, pattern: str, config: SourceConfig, endings: Sequence[str]) -> list[tuple[str, int, str]]:
    where = f"sources.{source}.paths: {pattern:.200}"
    if is_web(pattern):
        return _on_the_web(where, pattern)
    system, plain = _system(where, pattern)
    try:
        if not is_remote(pattern):
            _refuse_endless(where, pattern, plain)
        return _listed(where, system, plain, pattern, endings, config.exclude)
    except StorageError as error:
        raise DataError(f"{where}: {error}.") from error
    except GristmillError:
        raise
    except Exception as error:
        # A store's library raises what it likes: no credentials, no network, no such bucket.
        if isinstance(error, OSError) and not is_remote(pattern):
            raise DataError(f"{where}: cannot be listed ({reason(error)}). Check the path.") from error
        if not is_remote(pattern):
            raise
        raise DataError(f"{where}: the store cannot be listed: {advice(pattern, error)}.") from error


def _on_the_web(where: str, address: str) -> list[tuple[str, int, str]]:
    """The one file that a web address names. A server lists no folders, and `?` and `*` are parts of an address."""
    if address.endswith("/"):
        raise ConfigError(f"{where}: a web server lists no folders. Name files, or a list of them under `path_lists`.")
    try:
        return [(address, *web_file(address))]
    except FileNotFoundError:
        return []
    except StorageError as error:
        raise DataError(f"{where}: {error}.") from error


def _system(where: str, pattern: str) -> tuple[Any, str]:
    """The file system of a path, and the path in it."""
    if not pattern:
        raise ConfigError(f"{where}`` is an empty path. Name files, folders or globs.")
    try:
        system, plain = file_system_of(pattern)
    except ImportError as error:
        raise ConfigError(f"{where}: {advice(pattern, error)}.") from error
    except ValueError as error:
        raise ConfigError(f"{where}: {error}. Use a local path or a URL whose file system is installed.") from error
    except Exception as error:
        raise DataError(f"{where}: the store cannot be opened: {advice(pattern, error)}.") from error
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
        names = [name for name in retrying(lambda: system.glob(plain)) if not _is_folder(system, name, pattern)]
    elif _is_folder(system, plain, pattern):
        names = [name for name in retrying(lambda: system.find(plain)) if name.lower().endswith(tuple(endings))]
    else:
        there = info_of(system, plain) is not None if is_remote(pattern) else system.exists(plain)
        names = [plain] if there else []
    result = []
    for name in names:
        parts = name.split("/")
        if any(part.startswith((".", "_")) for part in parts[len(plain.split("/")) - 1 :]) and name != plain:
            # `_SUCCESS`, `.crc` and partial files of other writers are no data.
            continue
        location = system.unstrip_protocol(name) if is_remote(pattern) else name
        if any(_excluded(location, e) for e in exclude):
            continue
        info = info_of(system, name)
        if info is None:
            raise DataError(f"{where}: {name} is a link to nothing, or was removed. Leave it out with `exclude`.")
        if info.get("type") != "file":
            raise DataError(f"{where}: {name} is no regular file. Leave it out with `exclude`.")
        result.append((location, int(info["size"]), _stamp(info)))
    return sorted(result)


def _is_folder(system: Any, path: str, pattern: str) -> bool:
    if not is_remote(pattern):
        return bool(system.isdir(path))
    return (info_of(system, path) or {}).get("type") == "directory"


def _is_glob(pattern: str) -> bool:
    """Whether a path has wildcards; one that exists as it is written, such as `page[1].parquet`, has none."""
    if not any(c in pattern for c in _WILD):
        return False
    system, plain = file_system_of(pattern)
    return is_remote(pattern) or not system.exists(plain)


def _stamp(info: Mapping[str, Any]) -> str:
    for key in ("ETag", "etag", "e_tag", "md5Hash", "mtime", "LastModified", "last_modified", "created"):
        if info.get(key) is not None:
            value = info[key]
            return f"{key}:{value.hex() if isinstance(value, float) else value}"
    return "none"


def _root(source: str, pattern: str, root: str | None, matched: Sequence[str]) -> str:
    if root is not None:
        return _absolute(source, root, "root").rstrip("/")
    if is_web(pattern):
        return posixpath.dirname(pattern)
    system, plain = file_system_of(pattern)
    parts = plain.split("/")
    if _is_glob(pattern):
        return "/".join(parts[: next(i for i, part in enumerate(parts) if any(c in part for c in _WILD))])
    is_file = len(matched) == 1 and _absolute(source, matched[0]) == plain
    return str(posixpath.dirname(plain) if is_file else plain.rstrip("/"))


def _absolute(source: str, location: str, key: str = "paths") -> str:
    return location if is_web(location) else _system(f"sources.{source}.{key}: {location:.200}", location)[1]


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
