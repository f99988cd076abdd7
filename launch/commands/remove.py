"""`gristmill remove`: what is to go, by which keys, and what was done."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.launch.terminal.console import say, say_json
from gristmill.pipeline.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from gristmill.pipeline.provenance.removal import RemovalKey
    from gristmill.pipeline.removal.remove import Removed
    from gristmill.pipeline.removal.selection import Request

MOST_LIST = 1 << 30
"""Bytes of a list of documents."""


@dataclass(frozen=True)
class RemoveOptions:
    """The arguments of `gristmill remove`."""

    folders: tuple[str, ...]
    output: str
    reason: str
    ids: str | None = None
    urls: str | None = None
    where: str | None = None
    removal_key: str | None = None
    key: str | None = None
    signed_by: str | None = None
    only_these: bool = False
    allow_missing: bool = False
    unsigned: bool = False
    unaudited: bool = False
    later: tuple[str, ...] = ()
    json: bool = False


def remove(options: RemoveOptions) -> int:
    """Removes documents and says what went. Raises ConfigError for arguments that cannot be followed."""
    from gristmill.pipeline.provenance.key_files import find_signing_key
    from gristmill.pipeline.provenance.signing import public_key
    from gristmill.pipeline.removal.remove import Terms, remove_documents
    from gristmill.pipeline.storage import list_files

    request = _request(options)
    key = find_signing_key(options.key)
    signed_by = (
        None if options.signed_by is None else public_key(_read(options.signed_by, "--signed-by"), options.signed_by)
    )
    removal_key, made = _removal_key(options)
    terms = Terms(options.reason, removal_key, key, signed_by, options.unsigned, options.unaudited, options.later)
    try:
        done = remove_documents(options.folders, options.output, request, terms)
    except Exception:
        # Where files of the new version stand, or a signal came, the same command goes on with the same key.
        if made is not None and not list_files(options.output):
            made.unlink(missing_ok=True)
        raise
    place = str(made) if made is not None else str(options.removal_key or _default_key(options))
    if options.json:
        rests = [{"output": folder, "node": node} for folder, node in done.dependents.found]
        told = {
            "folders": dict(done.folders),
            "removal": asdict(done.record),
            "missing": list(done.missing),
            "key": place,
        }
        say_json({**told, "settled_against": rests, "untouched": list(done.left)})
    else:
        for line in _lines(done, place, made is not None):
            say(line)
    return 0


def _request(options: RemoveOptions) -> Request:
    from gristmill.pipeline.removal.selection import Request

    given = [name for name in ("ids", "urls", "where") if getattr(options, name) is not None]
    if len(given) != 1:
        found = " and ".join(f"--{name}" for name in given) or "none of them"
        raise ConfigError(f"say what to remove by one of --ids, --urls and --where; found {found}.")
    clusters, missing = not options.only_these, options.allow_missing
    if options.where is not None:
        return Request("where", (options.where,), None, clusters, missing)
    by, path = ("ids", options.ids) if options.ids is not None else ("urls", options.urls)
    lines = _lines_of(str(path), f"--{by}")
    return Request("ids" if by == "ids" else "urls", lines, None, clusters, missing)


def _lines_of(path: str, option: str) -> tuple[str, ...]:
    try:
        text = _read(path, option).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{option} {path}: is not UTF-8 (byte {error.start}). Save it as UTF-8, one entry a line."
        ) from error
    # At line feeds alone: an id may hold any of the other characters that Unicode has for the ends of lines.
    lines = tuple(line for line in (line.strip(" \t\r") for line in text.split("\n")) if line)
    if not lines:
        raise ConfigError(f"{option} {path}: holds nothing. Write one entry a line.")
    return lines


def _read(path: str, option: str) -> bytes:
    try:
        with Path(path).expanduser().open("rb") as file:
            found = file.read(MOST_LIST + 1)  # of a device or a pipe no size is known before
        if len(found) > MOST_LIST:
            raise ConfigError(f"{option} {path}: has more than {MOST_LIST:,} bytes. Split it.")
        return found
    except OSError as error:
        raise ConfigError(f"{option} {path}: cannot be read: {error.strerror}. Name a file.") from error


def _default_key(options: RemoveOptions) -> Path:
    if "://" in options.output:
        raise ConfigError(
            f"--output {options.output}: is not local, so say where the removal's key is kept: --removal-key."
        )
    return Path(f"{options.output.rstrip('/')}.removal-key")


def _removal_key(options: RemoveOptions) -> tuple[RemovalKey, Path | None]:
    """The key of the removal, and its file where it was made now."""
    from gristmill.pipeline.provenance.removal import RemovalKey

    path = _default_key(options) if options.removal_key is None else Path(options.removal_key).expanduser()
    if path.exists():
        return RemovalKey.from_text(_read(str(path), "--removal-key").decode("ascii", "replace"), str(path)), None
    key = RemovalKey(secrets.token_bytes(32))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(key.text)
    except OSError as error:
        raise StorageError(f"{path}: the removal's key cannot be written: {error.strerror}.") from error
    return key, path


def _lines(done: Removed, key: str, made: bool) -> Iterator[str]:
    record = done.record
    others = record.documents - record.chosen
    yield f"removed        {record.documents:,} documents" + (
        f", {others:,} of them as near-duplicates" if others else ""
    )
    for name, folder in done.folders.items():
        yield f"new version    {folder} ({record.rows.get(name, 0):,} rows fewer)"
    yield f"removal's key  {key} ({'made now; ' if made else ''}keep it secret: it proves which documents were meant)"
    if done.missing:
        yield f"in no output   {len(done.missing):,} entries of the list"
    if record.answers:
        yield (
            f"still settled with them: {', '.join(record.answers)}. Of others these nodes might decide otherwise in a run "
            "without the removed ones; such a run tells."
        )
    else:
        yield "no answer about the whole corpus depends on them: a run without them has the same shards"
    if record.tallies:
        yield f"still counted in the tallies of {', '.join(record.tallies)}"
    if record.payloads:
        yield f"the sizes of {record.payloads:,} payloads are not on record: bytes before their text was made still count them"
    for folder, node in done.dependents.found:
        yield f"settled against it  {folder}, node {node}: it may have lost documents to these, and names them then"
    for why in done.dependents.unread:
        yield f"not looked into  {why}"
    yield f"untouched      {', '.join(done.left)}: these, and copies elsewhere, still hold the documents"
