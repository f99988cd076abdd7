"""What runs inside the audit's reading process: the functions that it answers requests with, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gristmill.pipeline.audit.replay import check_sources, plan_sources
from gristmill.pipeline.audit.row_requests import FUNCTIONS as ABOUT_ROWS

FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    **ABOUT_ROWS,
    "plan_sources": plan_sources,
    "check_sources": check_sources,
}
