"""Functions of a reading process that take their time."""

from __future__ import annotations

import time
from typing import Any


def _sleep(seconds: Any) -> None:
    time.sleep(seconds)


FUNCTIONS = {"sleep": _sleep}
