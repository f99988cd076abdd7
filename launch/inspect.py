"""`gristmill audit` and `gristmill explain`: what the engine's audit finds in an output, for people and programs."""

from __future__ import annotations

import re

from launch.console import say, say_json
from pipeline.errors import ConfigError


def audit(folder: str, full: bool, sample: str | None, as_json: bool) -> int:
    """Audits an output and returns the audit's exit code. Raises ConfigError for a share that is none."""
    from pipeline.audit.checks import audit_output

    share = None if sample is None else _share(sample)
    if share is not None and not full:
        raise ConfigError("--sample takes a share of the files of a full audit: add --full.")
    result = audit_output(folder, full=full, sample=share)
    if as_json:
        say_json(result.to_json())
    else:
        for line in result.lines():
            say(line)
    return result.exit_code


def _share(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,8})", text)
    if found is None or int(found[1]) > int(found[2]):
        raise ConfigError(f"--sample {text}: expected K/N with 1 ≤ K ≤ N, such as 1/20.")
    return int(found[1]), int(found[2])


def explain(folder: str, ident: str, as_json: bool) -> int:
    """Tells a document's way through a run."""
    from pipeline.audit.explain import explain as explain_document

    found = explain_document(folder, ident)
    if as_json:
        say_json(found.to_json())
    else:
        for line in found.lines():
            say(line)
    return 0
