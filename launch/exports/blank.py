"""A file of answers to fill in: what a form asks of people, with the answers that there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import yaml

from gristmill.launch.exports.answers import ANSWER, AS_OF, SOURCE_KEYS, SOURCES, Answers


def blank(questions: Iterable[tuple[str, str]], sources: Iterable[str], answers: Answers) -> str:
    """YAML that `read_answers` reads as those answers.

    Args:
        questions: keys with what is asked. Answers to others follow them.
        sources: names of all sources; each is asked for what people know of it.
        answers: those that there are.
    """
    asked = dict(questions)
    given = {**answers.values, **({} if answers.size is None else {"provider.size": answers.size})}
    groups: dict[str, list[str]] = {}
    for key in [*asked, *(key for key in given if key not in asked)]:
        group, _, name = key.partition(".")
        lines = groups.setdefault(group, [])
        if key in asked:
            lines.append(f"  # {asked[key]}")
        day = answers.dates.get(key)
        if key not in given:
            lines.append(f"  {name}:")
        elif day is None:
            lines.append(f"  {name}: {_flow({ANSWER: given[key]})}")
        else:
            lines.append(f"  {name}: {_flow({ANSWER: given[key], AS_OF: day.isoformat()})}")
    made = [
        f"# To every answer its day: {AS_OF}: 2026-11-01 at the top, in a group or beside it. Blanks are no answers."
    ]
    for group, lines in groups.items():
        made += [f"{group}:", *lines]
    names = dict.fromkeys([*sources, *answers.sources])
    if names:
        made += [f"{SOURCES}:", f"  # {', '.join(SOURCE_KEYS)}"]
    for name in names:
        day = answers.dates.get(f"{SOURCES}.{name}")
        said = {**answers.sources.get(name, {}), **({} if day is None else {AS_OF: day.isoformat()})}
        made.append(f"  {_flow({name: said})[1:-1]}")
    return "\n".join(made) + "\n"


def _flow(value: Mapping[str, object]) -> str:
    """A map in one line of YAML: every character that could end the line is escaped."""
    return yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=False, width=float("inf"), sort_keys=False
    ).strip()
