"""`gristmill config`: the keys of a config beside the settings of stages, from the models that read them."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gristmill.launch.commands.stages import FieldHelp, field_helps, yaml_words
from gristmill.launch.terminal.console import columns, out, say
from gristmill.pipeline.errors import ConfigError, nearest
from gristmill.pipeline.planning.config import OutputConfig, ResourcesConfig
from gristmill.pipeline.planning.output_kinds import KindConfig
from gristmill.pipeline.planning.revoked import RevokedConfig
from gristmill.pipeline.planning.top_level import StageEntry, TopLevel
from gristmill.pipeline.registry import SOURCES, STAGES, Registry
from gristmill.pipeline.source import SourceConfig


@dataclass(frozen=True)
class Section:
    """Keys that stand in one place of a config.

    Attributes:
        prefix: of each key, with a name in capitals where a config has one of its own: `outputs.NAME.`, or nothing.
        title: for a heading.
        about: a sentence or two for people.
        keys: what stands there.
    """

    prefix: str
    title: str
    about: str
    keys: tuple[FieldHelp, ...]


def sections(registry: Registry) -> tuple[Section, ...]:
    """All keys but the settings of stages."""
    entries = (
        ("", "The top level", "", field_helps(TopLevel)),
        ("sources.NAME.", "A source", "Keys of every source.", field_helps(SourceConfig)),
        ("sources.NAME.", "A source of one format", "Keys that only some formats have.", _own(registry)),
        ("stages.NODE.", "A stage", "Beside these stand the stage's own settings.", field_helps(StageEntry)),
        ("outputs.NAME.", "An output", "Keys of every output.", field_helps(OutputConfig)),
        (
            "outputs.NAME.kinds.KIND.",
            "A kind of an output",
            "A further form of its shards: docs/outputs.md.",
            field_helps(KindConfig),
        ),
        (
            "revoked.NUMBER.",
            "A revocation list",
            "Keys of every file of `revoked`: docs/rights.md.",
            field_helps(RevokedConfig),
        ),
        (
            "resources.NODE.",
            "Resources of a node",
            "What differs from what the stage states.",
            field_helps(ResourcesConfig),
        ),
    )
    return tuple(Section(prefix, title, about, tuple(keys)) for prefix, title, about, keys in entries)


def _own(registry: Registry) -> Iterator[FieldHelp]:
    """The keys of single formats, each with the names of the formats that have it."""
    shared = {item.name: item for item in field_helps(SourceConfig)}
    formats: dict[FieldHelp, list[str]] = {}
    for name in registry.names(SOURCES):
        for item in field_helps(registry.source(name, name).Config):
            known = shared.get(item.name)
            if known is None or item.text != known.text:
                formats.setdefault(item, []).append(name)
    for item, names in sorted(formats.items(), key=lambda pair: (pair[1], pair[0].name)):
        yield replace(item, text=f"Of {', '.join(f'`{name}`' for name in names)}. {item.text}".strip())


def show_config(key: str | None, schema: bool, plugins: Sequence[str]) -> int:
    """`gristmill config`: an overview, one key or section, or the JSON Schema. Raises ConfigError for an unknown key."""
    registry = Registry(plugins)
    if schema:
        from gristmill.launch.commands.config_schema import schema_text

        sys.stdout.write(schema_text(registry))
        return 0
    known = sections(registry)
    if key is None:
        for section in known:
            _show_section(section)
        say(
            "`gristmill config KEY` explains one, such as `outputs.columns`; `gristmill stages NAME` a stage's own settings."
        )
        say("`gristmill config --schema` prints a JSON Schema for editors.")
        return 0
    found = _matching(known, key) or _matching(_of_stages(registry), key)
    whole = [section for section in known if section.prefix.split(".")[0] == key and key]
    if not found and not whole:
        names = [name for section in known for item in section.keys for name in (item.name, _written(section, item))]
        raise ConfigError(f"a config has no key `{key}`; {nearest(key, list(dict.fromkeys(names)))}")
    for section, item in found:
        _show_key(section, item)
    for section in whole:
        _show_section(section)
    return 0


def _of_stages(registry: Registry) -> tuple[Section, ...]:
    """The settings of all stages, for a key that stands nowhere else."""
    return tuple(
        Section(f"stages.{name}.", name, "", tuple(field_helps(registry.stage(name, name).Config)))
        for name in registry.names(STAGES)
    )


def _written(section: Section, item: FieldHelp) -> str:
    return section.prefix + item.name


def _matching(known: Sequence[Section], key: str) -> list[tuple[Section, FieldHelp]]:
    """The keys that are meant by `outputs.NAME.columns`, `outputs.corpus.columns`, `outputs.columns` or `columns`."""
    given = key.split(".")
    found = []
    for section in known:
        before = section.prefix.split(".")[:-1]
        for item in section.keys:
            own = item.name.split(".")
            forms = [own, [*before[:1], *own]]
            if before:
                forms.append([before[0], given[1] if before[1].isupper() and len(given) > 1 else before[1], *own])
            if given in forms:
                found.append((section, item))
    return found


def _show_section(section: Section) -> None:
    say(f"{section.title}: {section.prefix}KEY" if section.prefix else f"{section.title} of a config")
    table = columns(("key", "left"), ("default", "left"), ("type and meaning", "left"))
    for item in section.keys:
        table.add_row(item.name, item.default, yaml_words(f"{item.type}. {item.text}".strip()))
    out().print(table)
    say()


def _show_key(section: Section, item: FieldHelp) -> None:
    width = min(out().width, 100)
    say(_written(section, item))
    say(f"  type     {item.type}")
    say(f"  default  {item.default}")
    for line in textwrap.wrap(yaml_words(item.text), width - 2):
        say(f"  {line}")
    if item.example:
        say(f"  example  {item.name.rpartition('.')[2]}: {item.example}")
    say()
