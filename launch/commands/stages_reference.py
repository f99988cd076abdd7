"""The stage reference in docs/stages.md, generated from the stages' own declarations.

python -m gristmill.launch.commands.stages_reference > docs/stages.md
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

from gristmill.launch.commands.stages import field_helps, with_defaults, yaml_words
from gristmill.launch.terminal.doc_text import blocks, markdown_lines
from gristmill.pipeline.registry import SOURCES, STAGES, Registry

_INTRODUCTION = """\
# Stages and sources

Generated from what the stages declare about themselves (`python -m gristmill.launch.commands.stages_reference`);
`gristmill stages NAME` shows the same in a terminal. A *signal* setting changes what is measured; a *threshold* setting only
what is decided from it, so that a run with another threshold reads signals instead of computing them; a *runtime* setting
says where and how fast, and is no part of a result's identity. Every stage drops rows on the implicit port `dropped`, with a
rule.
"""


def reference() -> str:
    """The whole page, as Markdown."""
    registry = Registry()
    lines = [_INTRODUCTION, "## Stages", ""]
    stages = {name: registry.stage(name, name) for name in registry.names(STAGES)}
    sources = {name: registry.source(name, name) for name in registry.names(SOURCES)}
    lines += [f"- [`{name}`](#{name}): {stage.summary}" for name, stage in stages.items()]
    lines += ["", "## Sources", ""]
    lines += [f"- [`{name}`](#{name}): {source.summary}" for name, source in sources.items()]
    for name, stage in stages.items():
        lines += ["", f"## {name}", "", *_about(stage), *_facts(stage), "", *_settings(stage.Config), *_columns(stage)]
    for name, source in sources.items():
        lines += ["", f"## {name}", "", *_about(source), "", *_settings(source.Config)]
    return "\n".join(lines).rstrip() + "\n"


def _about(cls: type[Any]) -> Iterator[str]:
    """The module's docstring."""
    for block in blocks(sys.modules[cls.__module__].__doc__ or ""):
        yield from (*markdown_lines(block), "")


def _facts(stage: type[Any]) -> Iterator[str]:
    parts = [part for part in ("measure", "survey", "settle", "decide") if stage.implements(part)]
    yield f"Ports: {', '.join(f'`{port}`' for port in stage.ports)}. Functions: {', '.join(parts)}. Version {stage.version}."


def _settings(model: type[Any]) -> Iterator[str]:
    fields = [item for item in field_helps(model) if item.name != "format"]
    if not fields:
        return
    yield from ("| setting | kind | default | type and meaning |", "|---|---|---|---|")
    for item in fields:
        meaning = item.type + (f". {yaml_words(item.text)}" if item.text else "")
        cells = (f"`{item.name}`", item.kind, f"`{item.default}`", meaning)
        yield "| " + " | ".join(re.sub(r"\s+", " ", cell).replace("|", "\\|") for cell in cells) + " |"


def _columns(stage: type[Any]) -> Iterator[str]:
    made = with_defaults(stage)
    if made is None:
        return
    if made.rules:
        yield from ("", f"Rules: {', '.join(f'`{rule}`' for rule in made.rules)}.")
    shown = [item for item in made.signals if item.name not in made.hidden]
    for title, items in (("Signals", shown), ("Findings", list(made.findings))):
        if items:
            yield from ("", f"{title}: " + ", ".join(f"`{item.name}` ({item.type})" for item in items) + ".")


if __name__ == "__main__":
    sys.stdout.write(reference())
