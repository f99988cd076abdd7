"""What only people know, for all forms that are filled in: answers of one YAML file by key, each with the day it was given."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from gristmill.pipeline.errors import ConfigError, StorageError, looked_for, nearest
from gristmill.pipeline.planning.yaml_reader import MAX_BYTES, Document, parse
from gristmill.pipeline.storage import read_small

AS_OF = "as_of"
ANSWER = "answer"
SOURCES = "sources"
MAX_AGE_DAYS = 365
"""Days after which an answer counts as stale, unless told otherwise."""
SOURCE_KEYS = ("category", "name", "link", "description", "from", "until")
CATEGORIES = ("public", "licensed", "private", "crawled", "user", "synthetic", "other")
"""What a source can be for the EU's template, in the order of its sections 2.1 to 2.6. They exclude each other."""
PROVIDER_SIZES = ("sme", "other")
NONE = ("none", "no")
"""Answers that there is nothing of what is asked."""
YES_OR_NO = frozenset({*(f"{category}.used" for category in CATEGORIES), "user.services_used"})
"""Answers that open or close a section of the EU's template."""
_MONTH = re.compile(r"(?P<month>\d{1,2})/(?P<year>\d{4})|(?P<y>\d{4})-(?P<m>\d{2})(?:-\d{2})?", re.ASCII)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class Answers:
    """What people know.

    Attributes:
        values: texts by key of a field.
        size: the provider's size (`sme`, `other`).
        sources: what sources are, by name.
        dates: the day on which an answer was given, by its key; of a source, by `sources.NAME`.
    """

    values: Mapping[str, str]
    size: str | None
    sources: Mapping[str, Mapping[str, str]]
    dates: Mapping[str, date] = field(default_factory=dict)

    def category(self, source: str) -> str | None:
        """What a source is, where somebody said so."""
        return self.sources.get(source, {}).get("category")

    def check_sources(self, names: Collection[str]) -> None:
        """Raises ConfigError for an answer about a source that no run has."""
        for name in self.sources:
            if name not in names:
                raise ConfigError(
                    f"--answers: {SOURCES}.{name}: no run has a source of this name; {nearest(name, names)}"
                )

    def stale_sources(self, today: date, max_age_days: int) -> dict[str, str]:
        """What was said about sources and is too old, by key, with why."""
        found = {key: self.stale(key, today, max_age_days) for key in map(f"{SOURCES}.{{}}".format, self.sources)}
        return {key: why for key, why in found.items() if why}

    def stale(self, key: str, today: date, max_age_days: int) -> str | None:
        """Why an answer that was given is too old to be trusted unseen, or None."""
        if key not in self.values and key.removeprefix(f"{SOURCES}.") not in self.sources:
            return None
        given = self.dates.get(key)
        if given is None:
            return f"has no date: confirm it and add `{AS_OF}`"
        age = (today - given).days
        return f"is of {given}, {age:,} days ago: confirm or replace it" if age > max_age_days else None


def read_answers(file: str | None, today: date, keys: Collection[str]) -> Answers:
    """The answers of a YAML file: groups (`provider`, `motivations`, …) of keys, and `sources` by name.

    A value is a text, a number, yes or no, a list of these, or `{answer: …, as_of: 2026-11-01}`; `as_of` in a group, a source
    or at the top is the day of every answer below it without one of its own.

    Args:
        file: its path; None for no answers.
        today: an answer cannot be of a later day.
        keys: those that the forms have.

    Raises ConfigError, with the file's line, for a file that is not there, keys that no form has (and the nearest that one
    has), days that are none or to come, and values of another kind.
    """
    if file is None:
        return Answers({}, None, {})
    try:
        data = read_small(file, MAX_BYTES)
    except StorageError as error:
        raise ConfigError(f"--answers: {error}") from error
    if data is None:
        raise ConfigError(f"--answers {file}: there is no such file{looked_for(file)}.")
    try:
        document = parse(data.decode("utf-8"), file)
    except UnicodeDecodeError as error:
        raise ConfigError(f"--answers {file}: this is no text in UTF-8 ({error}).") from error
    return _Reader(document, today, keys).read()


class _Reader:
    """Reads one document, whose places it names in errors."""

    def __init__(self, document: Document, today: date, keys: Collection[str]) -> None:
        self.document = document
        self.today = today
        self.keys = {*keys, "provider.size"}
        self.dates: dict[str, date] = {}

    def read(self) -> Answers:
        groups = _map(self.document.value, self.document.where(""), "groups of answers")
        known = sorted({key.partition(".")[0] for key in self.keys} | {SOURCES, AS_OF})
        top = self.day(groups, "", None)
        values: dict[str, str] = {}
        sources: dict[str, dict[str, str]] = {}
        for group, body in groups.items():
            if group == AS_OF:
                continue
            _known(group, known, self.document.where(group))
            inner = _map(body, self.document.where(group), "sources by name" if group == SOURCES else "keys")
            given = self.day(inner, group, top) if group != SOURCES else top
            for name, value in inner.items():
                if group == SOURCES:
                    sources[name] = self.source(name, value, given)
                elif name != AS_OF:
                    self.answer(f"{group}.{name}", value, given, values)
        size = values.pop("provider.size", None)
        if size is not None:
            _known(size, PROVIDER_SIZES, self.document.where("provider.size"))
        return Answers(values, size, sources, self.dates)

    def answer(self, key: str, value: Any, given: date | None, values: dict[str, str]) -> None:
        """Keeps one answer; null and blank texts are none, so that a form can be kept with its blanks."""
        where = self.document.where(key)
        _known(key, self.keys, where)
        if isinstance(value, dict):
            for part in value:
                _known(part, (ANSWER, AS_OF), self.document.where(f"{key}.{part}"))
            given, value = self.day(value, key, given), value.get(ANSWER)
        if value is None or not (text := _text(value, where)).strip():
            return
        if key in YES_OR_NO and text.strip().lower() not in ("yes", "no"):
            raise ConfigError(
                f"{where}: expected yes or no, found {text!r:.60}. What there is to say of it goes into the fields below it."
            )
        values[key] = text
        if given is not None:
            self.dates[key] = given

    def source(self, name: str, body: Any, given: date | None) -> dict[str, str]:
        path = f"{SOURCES}.{name}"
        facts = _map(body, self.document.where(path), "keys")
        given = self.day(facts, path, given)
        found = {}
        for key, value in facts.items():
            where = self.document.where(f"{path}.{key}")
            _known(key, (*SOURCE_KEYS, AS_OF), where)
            if key != AS_OF and value is not None and (text := _text(value, where)).strip():
                found[key] = text
        self.period(path, found)
        if "category" in found:
            _known(found["category"], CATEGORIES, self.document.where(f"{path}.category"))
        if given is not None:
            self.dates[path] = given
        return found

    def period(self, path: str, found: Mapping[str, str]) -> None:
        """Refuses a time of collection that is none, is still to come, or ends before it begins."""
        months: list[tuple[int, int]] = []
        for end in ("from", "until"):
            if end not in found:
                continue
            where = self.document.where(f"{path}.{end}")
            month = _month(found[end])
            if month is None:
                raise ConfigError(f"{where}: expected a month such as 01/2024, found {found[end]!r:.60}.")
            if month > (self.today.year, self.today.month):
                raise ConfigError(f"{where}: {found[end]} is still to come; today is {self.today}.")
            months.append(month)
        if months != sorted(months):
            where = self.document.where(f"{path}.until")
            raise ConfigError(f"{where}: {found['until']} is before `from`, {found['from']}.")

    def day(self, body: Mapping[str, Any], path: str, otherwise: date | None) -> date | None:
        """The `as_of` of a map."""
        value = body.get(AS_OF)
        if value is None:
            return otherwise
        where = self.document.where(f"{path}.{AS_OF}" if path else AS_OF)
        try:
            found = date.fromisoformat(value) if _DAY.fullmatch(str(value)) else None
        except ValueError:
            found = None
        if found is None:
            raise ConfigError(f"{where}: expected a day such as 2026-11-01, found {value!r:.60}.")
        if found > self.today:
            raise ConfigError(
                f"{where}: {found} is still to come; today is {self.today}. Write the day it was answered."
            )
        return found


def _known(name: str, allowed: Collection[str], where: str) -> None:
    if name not in allowed:
        group = name.partition(".")[0] + "."
        near = [one for one in allowed if one.startswith(group)] if "." in name else allowed
        raise ConfigError(f"{where}: {name!r:.80} is not one of the forms'; {nearest(name, near or allowed)}")


def _map(value: Any, where: str, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: expected {what}, found {type(value).__name__}. docs/exports.md has an example.")
    return value


def _month(text: str) -> tuple[int, int] | None:
    """Year and month of `01/2024`, `2024-01` or `2024-01-31`; None for anything else."""
    found = _MONTH.fullmatch(text.strip())
    if found is None:
        return None
    year, month = int(found["year"] or found["y"]), int(found["month"] or found["m"])
    return (year, month) if 1 <= month <= 12 and 1900 <= year else None


def _text(value: Any, where: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    if isinstance(value, list) and value and not any(isinstance(item, dict | list) or item is None for item in value):
        return "; ".join(text for item in value if (text := _text(item, where)).strip())
    raise ConfigError(f"{where}: expected a text, a number, yes or no, or a list of them, found {value!r:.60}.")
