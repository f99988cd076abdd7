"""The environment variable with the signing key: taken out of the process before anything else is started.

Workers, readers of foreign files and whatever else a command starts inherit its environment; the key must not.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterable

from gristmill.pipeline.errors import ConfigError

KEY_VARIABLE = "GRISTMILL_SIGNING_KEY"
"""Environment variable with the private key: PEM text, or the path of a file that holds it."""

_PR_SET_DUMPABLE = 4
_KEY_TEXT = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY|wBQYDK2VwBCIEI")
"""PEM, and how every Ed25519 private key goes on in base64 (RFC 8410) where somebody left the first line out."""
_held: list[str] = []


def withdraw_key() -> None:
    """Takes the key out of the environment, at the beginning of a command; `key_from_environment` gives it once."""
    _held.clear()
    value = os.environ.get(KEY_VARIABLE)
    if value is None:
        return
    _blank()
    del os.environ[KEY_VARIABLE]
    if value:
        keep_memory_private()
        _held.append(value)


def key_from_environment() -> str | None:
    """What the variable held, or None. It is given once, and not kept."""
    if KEY_VARIABLE in os.environ:
        withdraw_key()
    return _held.pop() if _held else None


def environment_without_key() -> dict[str, str]:
    """This process's environment for a child, also where no command has withdrawn the key (in a notebook, say)."""
    return {name: value for name, value in os.environ.items() if name != KEY_VARIABLE}


def refuse_inherited_key() -> None:
    """Raises ConfigError in a worker that was started with the key: then every stage of every run there can sign."""
    if KEY_VARIABLE in os.environ:
        raise ConfigError(
            f"the workers of this Ray cluster were started with ${KEY_VARIABLE} in their environment, where every stage can "
            "read it. Start the cluster without it, and consider the key lost if strangers' code ran there. The driver alone "
            "needs a key: --key FILE, or the variable of the `gristmill` command."
        )


def keep_memory_private() -> None:
    """Leaves no core dump of a process that holds a key and, on Linux, lets no other process of the user (without
    CAP_SYS_PTRACE) read its memory or its environment, as ssh-agent does.

    Other programs that this one starts are not affected.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    else:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def refuse_key_text(arguments: Iterable[str]) -> None:
    """Raises ConfigError for an argument that is a private key and not the file of one, without repeating it."""
    if any(_KEY_TEXT.search(argument) for argument in arguments):
        raise ConfigError(
            "an argument is the text of a private key, and not the name of its file. Everyone on a machine sees the arguments "
            "of a command, and shells and clusters keep them: take that key for lost. Put a new one in a file "
            f"(`gristmill keys new`), or in ${KEY_VARIABLE}."
        )


def _blank() -> None:
    """Overwrites the value where the system keeps it: /proc/PID/environ and `ps e` show what a process was started with,
    whatever it has removed from its environment since."""
    if os.name != "posix":
        return
    library = ctypes.CDLL(None)
    library.getenv.restype = ctypes.c_void_p
    address = library.getenv(KEY_VARIABLE.encode())
    if address:
        ctypes.memset(address, 0, len(ctypes.string_at(address)))
