"""Answers of a model that may also say that a text was flagged wrongly: the form it is asked for, and its reading."""

from __future__ import annotations

import json
from dataclasses import dataclass

MISCLASSIFIED_RULE = "misclassified"
FENCE = "```"


def form(verdict: str, text: str) -> str:
    """What to answer with: `verdict` with a text (described by `text`), or the reason why there is none to write."""
    return (
        f'Answer with one JSON object and nothing else: {{"verdict": "{verdict}", "text": "{text}"}} or '
        f'{{"verdict": "{MISCLASSIFIED_RULE}", "justification": "why the text is not toxic"}}.'
    )


@dataclass(frozen=True)
class Reply:
    """An answer, understood: the text that was asked for, or a justification."""

    text: str | None = None
    justification: str | None = None


def understood(content: str, verdict: str) -> Reply | str:
    """The reply in an answer, or what is wrong with it. A code fence around the JSON is overlooked."""
    body = content.strip()
    if body.startswith(FENCE) and body.endswith(FENCE) and "\n" in body:
        body = body[body.index("\n") : -len(FENCE)]
    try:
        value = json.loads(body)
    except ValueError:
        return f"not JSON: {content[:80]!r}"
    if not isinstance(value, dict):
        return f"not a JSON object: {content[:80]!r}"
    given = value.get("verdict")
    name = {verdict: "text", MISCLASSIFIED_RULE: "justification"}.get(given if isinstance(given, str) else "")
    if name is None:
        return f"verdict {given!r}; expected {verdict} or {MISCLASSIFIED_RULE}"
    said = value.get(name)
    if not isinstance(said, str) or not said.strip():
        return f"verdict {given!r} without `{name}`"
    try:
        said.encode("utf-8")
    except UnicodeEncodeError:
        return f"`{name}` holds half a surrogate pair, which is not valid text"
    return Reply(text=said) if name == "text" else Reply(justification=said)
