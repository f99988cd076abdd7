"""What the readers of tests answer with: who they are, and requests that end them."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

LOADED_BY = os.getpid()


def who(argument: Any) -> dict[str, Any]:
    return {"pid": os.getpid(), "parent": os.getppid(), "loaded by": LOADED_BY}


def die(argument: int) -> None:
    os.kill(os.getpid(), signal.Signals(argument))


def hang(argument: Any) -> None:
    time.sleep(3600)


def environment(argument: str) -> str | None:
    return os.environ.get(argument)


FUNCTIONS = {"who": who, "die": die, "hang": hang, "environment": environment}
