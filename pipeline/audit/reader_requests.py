"""What runs inside the audit's reading process: the functions that it answers requests with, and the loop that does."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from gristmill.pipeline.audit.file_list import listing
from gristmill.pipeline.audit.open_files import footers
from gristmill.pipeline.audit.replay import check_sources
from gristmill.pipeline.audit.shuffle import check_shard
from gristmill.pipeline.audit.task_checks import check_task

FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    "footers": footers,
    "listing": listing,
    "check_task": check_task,
    "check_shard": check_shard,
    "check_sources": check_sources,
}


def serve() -> None:
    """Answers requests until the input ends (see `reader_process`)."""
    # Whatever else prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        name, argument = json.loads(line)
        try:
            value = {"answer": FUNCTIONS[name](argument)}
        except Exception:
            # Not the file's fault: reading errors are answers, so this is a defect of ours and is raised in the parent.
            value = {"defect": traceback.format_exc()}
        answers.write(json.dumps(value).encode() + b"\n")
        answers.flush()
