"""The data-curation rubric scored for an output: of what its run recorded and what people answered, and of nothing else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

from gristmill.launch.exports.answers import MAX_AGE_DAYS, NONE, SOURCES, Answers
from gristmill.launch.exports.data_card import data_card
from gristmill.launch.exports.finished import Finished, licence_facts
from gristmill.launch.exports.forms import Fact, Form, code, escaped, evidence
from gristmill.launch.exports.rubric_elements import ELEMENTS, SOURCE, Criterion, Element

WHAT = (
    "It measures what is documented, not the quality of the data nor whether an answer is true: a pass means that everything "
    "that the minimum standard asks for is on record, and the standard of excellence is looked at only then."
)
SAID = "--answers: "
"""What evidence begins with where it is an answer; its key follows."""
WORKFORCE = "annotations.workforce"
IDENTIFIER = "curation.identifier"
_PERSISTENT = re.compile(
    r"(doi:|ark:|hdl:|urn:|swh:1:|10\.\d{4,}/|https?://((dx\.)?doi\.org|hdl\.handle\.net|n2t\.net|w3id\.org|purl\.org)/)",
    re.I,
)


@dataclass(frozen=True)
class Met:
    """A criterion: what documents it, or what is missing.

    Attributes:
        facts: of the run, and answers with their keys as evidence.
        ages: of the answers, days by key; None for one without a date.
        missing: what to answer, where it is not met.
    """

    criterion: Criterion
    facts: tuple[Fact, ...]
    ages: dict[str, int | None]
    missing: str | None


@dataclass(frozen=True)
class Scored:
    """An element: `minimum` is pass or fail, `excellence` full, partial or none, and None where the minimum fails."""

    number: int
    element: Element
    minimum: str
    excellence: str | None
    met_minimum: list[Met]
    met_excellence: list[Met]


@dataclass(frozen=True)
class Rubric:
    """All elements, and the answers among those that count which are stale, by key."""

    title: str
    digest: str
    elements: list[Scored]
    stale: dict[str, str]

    @property
    def passed(self) -> int:
        return sum(one.minimum == "pass" for one in self.elements)

    @property
    def owed(self) -> list[str]:
        """What is missing, in the order of elements."""
        found = [m.missing for one in self.elements for m in (*one.met_minimum, *one.met_excellence) if m.missing]
        return list(dict.fromkeys(found))

    @property
    def questions(self) -> list[tuple[str, str]]:
        """Keys of answers that criteria take, with what is asked."""
        asked = [
            (met.criterion.key, f"{one.element.name}: {met.criterion.asks}")
            for one in self.elements
            for met in (*one.met_minimum, *one.met_excellence)
        ]
        return [(key, what) for key, what in asked if key is not None]

    def excellence(self) -> dict[str, int]:
        """How many elements have which grade of excellence; `not assessed` where the minimum fails."""
        counts = Counter(one.excellence or "not assessed" for one in self.elements)
        return {grade: counts[grade] for grade in ("full", "partial", "none", "not assessed")}

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "rubric": SOURCE,
            "measures": WHAT,
            "manifest_digest": self.digest,
            "elements": [
                {
                    "number": one.number,
                    "category": one.element.category,
                    "element": one.element.name,
                    "minimum": one.minimum,
                    "excellence": one.excellence,
                    "criteria": [
                        {
                            "standard": standard,
                            "asks": met.criterion.asks,
                            "met": met.missing is None,
                            "documented_by": [fact._asdict() for fact in met.facts],
                            "answer_ages_days": met.ages,
                            "missing": met.missing,
                        }
                        for standard, mine in (("minimum", one.met_minimum), ("excellence", one.met_excellence))
                        for met in mine
                    ],
                }
                for one in self.elements
            ],
            "minimum_passed": self.passed,
            "excellence": self.excellence(),
            "owed": self.owed,
            "stale": self.stale,
        }

    def as_markdown(self) -> str:
        """A page in Markdown: grades, then what each rests on or lacks, then what is stale."""
        grades = ", ".join(f"{count} {grade}" for grade, count in self.excellence().items())
        lines = [f"# {escaped(self.title)}", "", f"{SOURCE}. {WHAT}", ""]
        lines += [f"Minimum standard: {self.passed} of {len(self.elements)} elements pass. Excellence: {grades}.", ""]
        lines += ["| | element | category | minimum | excellence |", "|---:|---|---|---|---|"]
        lines += [
            f"| {one.number} | {one.element.name} | {one.element.category} | {one.minimum} | {one.excellence or '–'} |"
            for one in self.elements
        ]
        for one in self.elements:
            lines += ["", f"## {one.number} {one.element.name}", ""]
            for standard, mine in (("Minimum", one.met_minimum), ("Excellence", one.met_excellence)):
                lines += [f"- {standard}: {met.criterion.asks}: {_told(met, self.stale)}" for met in mine]
        if self.stale:
            lines += ["", "## Stale", "", *(f"- {escaped(key)} {escaped(why)}" for key, why in self.stale.items())]
        return "\n".join(lines) + "\n"


def _told(met: Met, stale: dict[str, str]) -> str:
    if met.missing:
        return f"**missing**: {escaped(met.missing)}"
    parts = []
    for fact in met.facts:
        key = fact.evidence.removeprefix(SAID)
        age = "" if key not in met.ages else ", no date" if met.ages[key] is None else f", {met.ages[key]:,} days old"
        parts.append(f"{escaped(fact.text)} ({code(fact.evidence)}{age}{', **stale**' if key in stale else ''})")
    return "; ".join(parts)


def score(output: Finished, answers: Answers, today: date, max_age_days: int = MAX_AGE_DAYS) -> Rubric:
    """Scores an output by the rubric. An answer of any age counts, and its age is told; `none` and `no` document nothing.

    Raises what `data_card` raises, which is made of the same answers.
    """
    checks = _Checks(output, answers, data_card(output, answers, today, max_age_days))
    made = []
    for number, element in enumerate(ELEMENTS, 1):
        minimum, excellence = (
            [_met(one, checks, answers, today) for one in asked if one.when is None or checks.of(one.when)]
            for asked in (element.minimum, element.excellence)
        )
        passes = all(one.missing is None for one in minimum)
        grade = None
        if passes:
            count = sum(one.missing is None for one in excellence)
            grade = "full" if count == len(excellence) else "partial" if count else "none"
        made.append(Scored(number, element, "pass" if passes else "fail", grade, minimum, excellence))
    used = {key for one in made for met in (*one.met_minimum, *one.met_excellence) for key in met.ages}
    stale = {key: why for key in sorted(used) if (why := answers.stale(key, today, max_age_days))}
    title = f"Documentation rubric: {output.manifest.name}: {output.manifest.output}"
    return Rubric(title, output.manifest.digest, made, stale)


def _met(criterion: Criterion, checks: _Checks, answers: Answers, today: date) -> Met:
    fact, key = checks.of(criterion.run), criterion.key
    found = [] if fact is None else [fact]
    if key is not None and _documents(key, answers):
        found.append(Fact(answers.values[key], SAID + key))
    if not found:
        if key == IDENTIFIER and key in answers.values:
            why = f"`{key}` is no persistent identifier (a DOI, Handle, ARK, URN, SWHID or PURL)"
        else:
            why = f"answer `{key}`" if key else checks.missing(str(criterion.run))
        return Met(criterion, (), {}, why)
    said = [one.evidence.removeprefix(SAID) for one in found if one.evidence.startswith(SAID)]
    used = [one for one in said if one != SOURCES]
    used += [f"{SOURCES}.{name}" for name in answers.sources if SOURCES in said]
    return Met(criterion, tuple(found), {one: _age(answers.dates.get(one), today) for one in used}, None)


def _age(given: date | None, today: date) -> int | None:
    return None if given is None else (today - given).days


def _documents(key: str, answers: Answers) -> bool:
    text = answers.values.get(key, "").strip()
    return text.lower() not in (*NONE, "") and (key != IDENTIFIER or _PERSISTENT.match(text) is not None)


class _Checks:
    """What an output, or what was said of its sources, documents: by name, a fact or None."""

    def __init__(self, output: Finished, answers: Answers, card: Form) -> None:
        self.manifest = output.manifest
        self.licences = {name: licence_facts(one.license) for name, one in output.manifest.sources.items()}
        self.answers = answers
        self.card = card

    def of(self, name: str | None) -> Fact | None:
        if name is None:
            return None
        check: Callable[[], Fact | None] = getattr(self, f"_{name}")
        return check()

    def missing(self, name: str) -> str:
        """What to do where a check that nobody can answer instead of the run finds nothing."""
        return {
            "complete_card": f"{len(self.card.owed):,} fields of the Data Card are owed (`gristmill export data-card`)",
            "licences": "state every source's licence as an SPDX expression in the config",
            "vocabularies": "label languages (columns `language`, `language_script`) and state licences as SPDX expressions",
        }.get(name, "the output does not record it")

    def _synthesized(self) -> Fact | None:
        made = [node.name for node in self.manifest.nodes if node.use == "rewrite"]
        made += [name for name, said in self.licences.items() if said.get("model_generated", "none") != "none"]
        return Fact(f"texts of {', '.join(made)}", evidence("nodes")) if made else None

    def _processing(self) -> Fact:
        nodes = len(self.manifest.nodes)
        return Fact(f"{nodes:,} nodes with settings, and what each dropped by rule", evidence("accounts", "nodes"))

    def _annotation(self) -> Fact | None:
        made = [node.name for node in self.manifest.nodes if node.models]
        return Fact(f"labels by the models of {', '.join(made)}", evidence("nodes")) if made else self._unlabelled()

    def _unlabelled(self) -> Fact | None:
        said = self.answers.values.get(WORKFORCE, "").strip().lower() in NONE
        return Fact("there are no annotations", SAID + WORKFORCE) if said else None

    def _integrity(self) -> Fact:
        return Fact(
            f"what was read has the Merkle root {self.manifest.slices_root}; keys balance at every node",
            evidence("slices_root"),
        )

    def _provenance(self) -> Fact:
        return Fact("an in-toto statement of the run, and a log in every shard", "manifest.json#/predicateType")

    def _verification(self) -> Fact:
        return Fact(
            f"`gristmill audit`, against SHA-256 of {self.manifest.files.count:,} files", evidence("files", "root")
        )

    def _structured(self) -> Fact:
        return Fact("Croissant metadata (croissant.json) beside a dataset card (README.md)", "manifest.json#/subject")

    def _complete_card(self) -> Fact | None:
        return None if self.card.owed else Fact("a Data Card without owed fields", "--answers")

    def _readable(self) -> Fact:
        return Fact(
            "Parquet with named, typed columns; croissant.json for machines, README.md for people", "croissant.json"
        )

    def _licences(self) -> Fact | None:
        stated = [said.get("spdx") for said in self.licences.values()]
        if None in stated or not stated:
            return None
        return Fact(f"SPDX: {', '.join(sorted({str(one) for one in stated}))}", evidence("sources"))

    def _vocabularies(self) -> Fact | None:
        labelled = {"language", "language_script"} <= self.manifest.data.columns.keys()
        if not labelled or self._licences() is None:
            return None
        return Fact(
            "ISO 639-3 and ISO 15924 for languages, SPDX for licences, schema.org in croissant.json", "croissant.json"
        )

    def _origin(self) -> Fact | None:
        names = self.manifest.sources
        if all({"description", "link", "name"} & self.answers.sources.get(name, {}).keys() for name in names):
            return Fact("each source is described", SAID + SOURCES)
        if all(one.snapshot for one in names.values()):
            return Fact(", ".join(f"{name}: {one.snapshot}" for name, one in names.items()), evidence("sources"))
        return None

    def _collector(self) -> Fact | None:
        found = [said.get("collector") for said in self.licences.values()]
        return None if None in found else Fact("; ".join(map(str, found)), evidence("sources"))

    def _collected(self) -> Fact | None:
        said = [self.answers.sources.get(name, {}) for name in self.manifest.sources]
        if not all({"from", "until"} <= one.keys() for one in said):
            return None
        return Fact("; ".join(f"{one['from']} to {one['until']}" for one in said), SAID + SOURCES)
