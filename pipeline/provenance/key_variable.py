"""The environment variable with the signing key, taken out of the environment before anything else is started.

Workers, readers of foreign files and whatever else a command starts inherit its environment; the key must not.
"""

from __future__ import annotations

import os

KEY_VARIABLE = "GRISTMILL_SIGNING_KEY"
"""Environment variable with the private key: PEM text, or the path of a file that holds it."""

_held: list[str] = []


def withdraw_key() -> None:
    """Takes the key out of the environment, at the beginning of a command; `key_from_environment` gives it once."""
    _held.clear()
    value = os.environ.pop(KEY_VARIABLE, None)
    if value:
        _held.append(value)


def key_from_environment() -> str | None:
    """What the variable held, or None. It is given once, and not kept."""
    if KEY_VARIABLE in os.environ:
        withdraw_key()
    return _held.pop() if _held else None
