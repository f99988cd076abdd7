"""Forms that are filled in from runs and from answers: fields, what is owed, what is stale, as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import date
from typing import Any, NamedTuple

_UNSEEN = {*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
ESCAPED = str.maketrans(
    {c: "\\" + c for c in "\\`*_[]#|!~$"}
    | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
    | {chr(code): "\ufffd" for code in _UNSEEN}
)
"""What stands for characters that Markdown or HTML would read, that steer a terminal, or that turn the order of a line: texts
come from configs and from the web."""


@dataclass(frozen=True)
class Field:
    """A field of a form.

    Attributes:
        section: its key among the form's headings.
        key: its path in a file of answers.
        label: what is asked.
        optional: whether the form leaves it to whoever fills it in.
        when: what must be the case for it to be asked, as the form has it.
    """

    section: str
    key: str
    label: str
    optional: bool = False
    when: str | None = None


class Fact(NamedTuple):
    """What a run tells, and where it says so: a file of the output, with a JSON pointer into it where it is JSON."""

    text: str
    evidence: str = ""


@dataclass(frozen=True)
class Filled:
    """A field with what is known: facts from the runs, the answer of people and its day, why it is owed, why it is stale."""

    field: Field
    facts: tuple[Fact, ...]
    answer: str | None = None
    as_of: date | None = None
    owed: str | None = None
    stale: str | None = None
    asked: bool = True


@dataclass(frozen=True)
class Form:
    """A form that was filled in.

    Attributes:
        title: the page's first heading, in words.
        template: what its fields are of, with version.
        headings: by section, its headings in Markdown.
        note: what a reader must know of it, after the title; Markdown.
        fields: in the form's order.
        stale_sources: answers beside those of fields (about sources) that are stale, by key.
        annex: what is known and the template does not ask for, by heading.
    """

    title: str
    template: str
    headings: Mapping[str, str]
    note: str
    fields: list[Filled]
    stale_sources: Mapping[str, str]
    annex: Mapping[str, Sequence[str]] = dataclass_field(default_factory=dict)

    @property
    def owed(self) -> list[Filled]:
        """Fields that only people can fill in and that nobody did."""
        return [item for item in self.fields if item.owed]

    @property
    def stale(self) -> dict[str, str]:
        """Answers that are too old, or of no date, by key, with why."""
        return {item.field.key: item.stale for item in self.fields if item.stale} | dict(self.stale_sources)

    @property
    def questions(self) -> list[tuple[str, str]]:
        """Keys of what people owe or have answered, with what is asked."""
        return [
            (i.field.key, f"{i.field.section}: {i.field.label}") for i in self.fields if i.owed or i.answer is not None
        ]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        fields = [
            {
                "section": item.field.section,
                "key": item.field.key,
                "label": item.field.label,
                "asked": item.asked,
                "from_run": [fact.text for fact in item.facts],
                **({"evidence": [fact.evidence for fact in item.facts]} if any(f.evidence for f in item.facts) else {}),
                "answer": item.answer,
                "as_of": item.as_of and item.as_of.isoformat(),
                "owed": item.owed,
                "stale": item.stale,
            }
            for item in self.fields
        ]
        return {
            "template": self.template,
            "fields": fields,
            "owed": [item.field.key for item in self.owed],
            "stale": self.stale,
            **({"annex": {title: list(texts) for title, texts in self.annex.items()}} if self.annex else {}),
        }

    def as_markdown(self) -> str:
        """A page in Markdown, with what is owed and what is stale at its end."""
        lines = [f"# {escaped(self.title)}", "", self.note, ""]
        section = None
        for item in self.fields:
            if not item.asked or not (item.facts or item.answer is not None or item.owed):
                continue
            if item.field.section != section:
                section = item.field.section
                lines += [self.headings[section], ""]
            told = [escaped(fact.text) + (f" ({code(fact.evidence)})" if fact.evidence else "") for fact in item.facts]
            if item.answer is not None:
                day = "" if item.as_of is None else f" (as of {item.as_of})"
                told.append(escaped(item.answer) + day + (" **stale**" if item.stale else ""))
            lines.append(f"**{item.field.label}:**" + (" **owed**" if item.owed else ""))
            lines += ["", *(f"- {text}" for text in told), *([""] if told else [])]
        for title, texts in self.annex.items():
            lines += [f"## {escaped(title)}", "", *(f"- {escaped(text)}" for text in texts), ""]
        lines += ["## Owed", ""]
        for item in self.owed:
            lines.append(f"- {item.field.section}: {item.field.label}: {escaped(item.owed or '')}")
        lines += [] if self.owed else ["Nothing."]
        if self.stale:
            lines += ["", "## Stale", "", *(f"- {escaped(key)} {escaped(why)}" for key, why in self.stale.items())]
        return "\n".join(lines).strip() + "\n"


def code(text: str) -> str:
    """A place as code, where Markdown can show it so."""
    return escaped(text) if "`" in text or not text.isprintable() else f"`{text}`"


def escaped(text: str) -> str:
    """A text as one line, of which Markdown and HTML read nothing."""
    return " ".join(text.split()).translate(ESCAPED)


def evidence(*path: str) -> str:
    """A place in an output's manifest, as a JSON pointer.

    >>> evidence("sources", "a/b", "rows")
    'manifest.json#/predicate/sources/a~1b/rows'
    """
    return "manifest.json#/predicate/" + "/".join(part.replace("~", "~0").replace("/", "~1") for part in path)
