"""`gristmill audit` and `gristmill explain`: what the engine's audit finds in an output, for people and programs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gristmill.launch.terminal.console import say, say_json
from gristmill.pipeline.errors import ConfigError

_KEY_BYTES = 1 << 16
"""What is read of a public key's file, which has some hundred bytes."""


@dataclass(frozen=True)
class AuditOptions:
    """The arguments of `gristmill audit`."""

    folder: str
    full: bool = False
    sample: str | None = None
    key: str | None = None
    trust: str | None = None
    previous: Sequence[str] = ()
    sources: bool = False
    roots: Sequence[str] = ()
    plugins: Sequence[str] = ()
    beside: Sequence[str] = ()
    json: bool = False
    jobs: int | None = None
    removal_keys: Sequence[str] = ()
    revoked: Sequence[str] = ()
    require_licences: bool = False


def audit(options: AuditOptions) -> int:
    """Audits an output and returns the audit's exit code. Raises ConfigError for a share that is none and for a key or a
    trust file that cannot be read."""
    from gristmill.pipeline.audit.run import audit_output
    from gristmill.pipeline.audit.trust import read_trust

    share = None if options.sample is None else _share(options.sample)
    if share is not None and not options.full:
        raise ConfigError("--sample takes a share of the files of a full audit: add --full.")
    if options.roots and not options.sources:
        raise ConfigError(f"{options.roots[0]}: folders after the output are those of its input: add --sources.")
    if options.jobs is not None and not options.full:
        raise ConfigError("--jobs says how many processes read rows, in a full audit: add --full.")
    if options.removal_keys and not (options.sources or (options.previous and options.full)):
        raise ConfigError(
            "--removal-key tells which documents were removed, of the input or of a previous version: add --full and --sources "
            "or --previous."
        )
    if options.revoked and not options.full:
        raise ConfigError("--revoked looks all documents up in a revocation list, in a full audit: add --full.")
    if options.sources and not options.full:
        raise ConfigError("--sources compares rows with the input, as part of a full audit: add --full.")
    if options.key is not None and options.trust is not None:
        raise ConfigError("--key and --trust both say whose signature counts: name that key in the trust file.")
    result = audit_output(
        options.folder,
        full=options.full,
        sample=share,
        key=None if options.key is None else _key(options.key),
        trust=None if options.trust is None else read_trust(options.trust),
        previous=options.previous,
        sources=tuple(options.roots) if options.sources else None,
        plugins=options.plugins,
        beside=options.beside,
        jobs=options.jobs,
        removal_keys=[_removal_key(path) for path in options.removal_keys],
        revoked=options.revoked,
        require_licences=options.require_licences,
    )
    if options.json:
        say_json(result.to_json())
    else:
        for line in result.lines():
            say(line)
    return result.exit_code


def _share(text: str) -> tuple[int, int]:
    """`1/20` as (0, 20): people count shares from 1."""
    found = re.fullmatch(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,8})", text)
    if found is None or int(found[1]) > int(found[2]):
        raise ConfigError(f"--sample {text}: expected K/N with 1 ≤ K ≤ N, such as 1/20.")
    return int(found[1]) - 1, int(found[2])


def _key(path: str) -> bytes:
    try:
        with Path(path).open("rb") as stream:
            return stream.read(_KEY_BYTES)
    except OSError as error:
        raise ConfigError(f"--key {path}: cannot be read: {error.strerror}. Name the file of a public key.") from error


def _removal_key(path: str) -> str:
    from gristmill.pipeline.provenance.removal import RemovalKey

    try:
        with Path(path).open("rb") as stream:
            text = stream.read(1000).decode("ascii", "replace")
    except OSError as error:
        raise ConfigError(f"--removal-key {path}: cannot be read: {error.strerror}. Name a removal's key.") from error
    return RemovalKey.from_text(text, f"--removal-key {path}").text


def stored_bytes(folder: str) -> int:
    """Bytes below a local folder: how long a search may take goes by that."""
    from gristmill.pipeline.storage import is_remote, items_within, local

    here = local(folder)
    return 1 << 36 if is_remote(folder) else sum(item.size for item in items_within(str(here))) if here.is_dir() else 0


def explain(
    folder: str,
    ident: str,
    as_json: bool,
    roots: Sequence[str] | None = None,
    beside: Sequence[str] = (),
    removal_keys: Sequence[str] = (),
) -> int:
    """Tells a document's way through a run; `roots` as `audit_output` takes `sources`, `beside` and files of `removal_keys`.

    The files are read in a process of their own: an output may be anybody's.
    """
    from gristmill.pipeline.reader_process import shared_reader

    with shared_reader("gristmill.pipeline.audit.explain") as reader:  # which `launch.start` has begun
        reader.start()
        keys = [_removal_key(path) for path in removal_keys]
        argument = [folder, ident, None if roots is None else list(roots), list(beside), keys]
        found = reader.call("explain", argument, stored_bytes(folder))
    if as_json:
        say_json(found["json"])
    else:
        for line in found["lines"]:
            say(line)
    return 0
