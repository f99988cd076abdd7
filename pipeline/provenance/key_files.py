"""Where signing keys come from: a file that is its owner's alone, or the environment; and how a new pair is written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gristmill.pipeline.errors import ConfigError, StorageError
from gristmill.pipeline.key_variable import (
    KEY_VARIABLE,
    keep_memory_private,
    key_from_environment,
    refuse_key_text,
)
from gristmill.pipeline.provenance.signing import SigningKey
from gristmill.pipeline.storage import reason

MOST_BYTES = 1 << 16
"""Size of a key's file. A pair of Ed25519 keys in PEM has some two hundred bytes."""


def find_signing_key(path: str | None) -> SigningKey | None:
    """The key to sign with: from a file, else from the environment, else none. The environment loses it in any case.

    Raises ConfigError for a key that cannot be used, and for a file that others can read. What a key may be made of is never
    part of the message.
    """
    value = key_from_environment()
    if path is not None:
        refuse_key_text([path])
        return _from_file(path, path)
    if not value:
        return None
    name = f"${KEY_VARIABLE}"
    if "-----BEGIN" in value:
        return SigningKey.from_pem(value.encode("utf-8", "surrogateescape"), name)
    try:
        is_path = Path(value).exists()
    except (OSError, ValueError):
        is_path = False
    if not is_path:
        raise ConfigError(
            f"{name} holds {len(value)} characters that are neither a private key in PEM (from its line `-----BEGIN` on) nor "
            "the path of a file that is there. They are not shown, for they may be a key."
        )
    return _from_file(value, f"{name}: {value}")


def _from_file(path: str, where: str) -> SigningKey:
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        with os.fdopen(handle, "rb") as stream:
            _refuse_shared(os.fstat(handle), where)
            text = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{where}: the key cannot be read: {reason(error)}.") from error
    if len(text) > MOST_BYTES:
        raise ConfigError(f"{where}: this is not the file of a key: it has more than {MOST_BYTES:,} bytes.")
    keep_memory_private()
    return SigningKey.from_pem(text, where)


def _refuse_shared(found: os.stat_result, where: str) -> None:
    """Raises ConfigError for a file that others can read or change. The group of somebody else's file may read it: so an
    administrator or a Kubernetes secret (`fsGroup`) hands a key to a process."""
    if os.name != "posix" or not stat.S_ISREG(found.st_mode):  # a pipe has one reader
        return
    mine = found.st_uid == os.geteuid()
    shared = stat.S_IMODE(found.st_mode) & (0o077 if mine else 0o027)
    if shared:
        others = "everyone on the machine" if shared & 0o007 else "its group"
        raise ConfigError(
            f"{where}: the key's file has the mode {stat.S_IMODE(found.st_mode):04o}: {others} can read or change it, and sign "
            f"as you. {'`chmod 600` it' if mine else 'Have its owner take that away'}; if others may have read it, make a new "
            "one (docs/provenance.md, Signing)."
        )


def write_key_pair(path: Path) -> SigningKey:
    """Makes a key: the private one at `path`, readable by its owner only, the public one beside it with `.pub`.

    Raises ConfigError when one of the files exists already: a key is never overwritten.
    """
    key = SigningKey.generate()
    public = path.with_name(f"{path.name}.pub")
    try:
        if public.exists():
            raise ConfigError(f"{public} exists already and is not overwritten. Choose another name.")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(key.private_pem())
        public.write_bytes(key.public_pem())
    except FileExistsError as error:
        raise ConfigError(f"{path} exists already and is not overwritten. Choose another name.") from error
    except OSError as error:
        raise StorageError(f"{path}: the key cannot be written: {reason(error)}.") from error
    return key
