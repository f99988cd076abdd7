"""`gristmill export`: a finished run in the form of another tool or of the law, to a file or to stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gristmill.launch.exports.answers import MAX_AGE_DAYS, Answers, read_answers
from gristmill.launch.exports.blank import blank as blank_answers
from gristmill.launch.terminal.console import say, write_file
from gristmill.pipeline.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from gristmill.launch.exports.finished import Finished
    from gristmill.launch.exports.forms import Form
    from gristmill.launch.exports.rubric import Rubric


FORMS = ("eu-summary", "data-card", "rubric")
"""Formats that are filled in from runs and from people's answers."""
ANSWERED = (*FORMS, "croissant")
"""Formats that people's answers are part of."""
OF_ONE = ("dataset-card", "croissant", "data-card", "rubric")
"""Formats that describe one output."""


def export(
    format_: str,
    folders: Sequence[str],
    file: str | None = None,
    answers: str | None = None,
    domains: str | None = None,
    as_json: bool = False,
    max_age_days: int | None = None,
    blank: str | None = None,
) -> int:
    """Writes outputs in a format.

    Args:
        format_: prov, openlineage, dataset-card, croissant, eu-summary, data-card or rubric.
        folders: of finished outputs.
        file: where to; without one, stdout.
        answers, max_age_days: for forms and croissant: what people know (YAML), and how old an answer may be.
        as_json: for forms: JSON instead of Markdown.
        blank: for forms: where a file of answers to fill in goes, with those that there are.
        domains: for eu-summary: where all domains go (TSV).

    Raises ConfigError for a folder without a finished run of this version's format, StorageError where the file cannot be
    written.
    """
    from gristmill.launch.exports.finished import finished

    for option, given, formats in (
        ("--answers", answers, ANSWERED),
        ("--max-age-days", max_age_days is not None, ANSWERED),
        ("--json", as_json, FORMS),
        ("--blank", blank, FORMS),
        ("--domains", domains, ("eu-summary",)),
    ):
        if given and format_ not in formats:
            raise ConfigError(f"gristmill export {format_}: {option} belongs to {', '.join(formats)}.")
    if len(set(folders)) < len(folders):
        raise ConfigError("gristmill export: an output is a duplicate entry. Name each folder once.")
    if format_ in OF_ONE and len(folders) > 1:
        raise ConfigError(f"gristmill export {format_}: describes one output, found {len(folders)}. Name one folder.")
    outputs = [finished(folder) for folder in folders]
    today = datetime.now(UTC).date()
    most = MAX_AGE_DAYS if max_age_days is None else max_age_days
    note, stale = "", 0
    if format_ == "prov":
        from gristmill.launch.exports.prov import prov_json

        text = _json(prov_json(outputs))
    elif format_ == "openlineage":
        from gristmill.launch.exports.openlineage import run_events

        text = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in run_events(outputs))
    elif format_ == "dataset-card":
        from gristmill.launch.exports.cards import dataset_card

        text = dataset_card(outputs[0])
    elif format_ == "croissant":
        from gristmill.launch.exports.croissant import ANSWERS, croissant_rai

        known = _answers(answers, today)
        text = _json(croissant_rai(outputs[0], known))
        stale = sum(known.stale(key, today, most) is not None for key in ANSWERS)
    else:
        known = _answers(answers, today)
        form = _form(format_, outputs, known, domains, today, most)
        if blank is not None:
            names = [name for output in outputs for name in output.manifest.sources]
            write_file("--blank", blank, blank_answers(form.questions, names, known))
        stale = len(form.stale)
        text = _json(form.as_json()) if as_json else form.as_markdown()
        note += f"; {len(form.owed)} {'answers' if format_ == 'rubric' else 'fields'} are owed" if form.owed else ""
    note += f"; {stale} answers are stale" if stale else ""
    if file is None:
        sys.stdout.write(text)
        return 0
    write_file("--output", file, text)
    say(f"export: {file} ({format_}){note}")
    return 0


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _answers(file: str | None, today: date) -> Answers:
    from gristmill.launch.exports import data_card_template, eu_template, rubric_elements

    return read_answers(file, today, eu_template.KEYS | data_card_template.KEYS | rubric_elements.KEYS)


def _form(
    format_: str, outputs: Sequence[Finished], known: Answers, domains: str | None, today: date, most: int
) -> Form | Rubric:
    from gristmill.launch.exports import rubric
    from gristmill.launch.exports.data_card import data_card
    from gristmill.launch.exports.eu_summary import eu_summary

    def write(rows: Iterator[tuple[str, int, int]]) -> None:
        try:
            with Path(str(domains)).open("w", encoding="utf-8") as stream:
                stream.write("domain\tdocuments\tbytes\n")
                stream.writelines(f"{name}\t{documents}\t{size}\n" for name, documents, size in rows)
        except OSError as error:
            raise StorageError(
                f"--domains {domains}: cannot be written: {error.strerror}. Name a file in a folder that is there."
            ) from error

    if format_ == "rubric":
        return rubric.score(outputs[0], known, today, most)
    if format_ == "data-card":
        return data_card(outputs[0], known, today, most)
    return eu_summary(outputs, known, today, write if domains else None, most)
