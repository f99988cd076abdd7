"""The command `export`, as typer has it. Imports nothing heavy."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class ExportFormat(StrEnum):
    """Values of FORMAT."""

    prov = "prov"
    openlineage = "openlineage"
    dataset_card = "dataset-card"
    croissant = "croissant"
    eu_summary = "eu-summary"
    data_card = "data-card"
    rubric = "rubric"


def add_export_commands(app: typer.Typer) -> None:
    """Adds the command to the command line."""

    @app.command(
        short_help="Write a finished run in the form of another tool, or of the law.",
        epilog="""\b
Examples:
  gristmill export prov out/corpus --output corpus.prov.json
  gristmill export openlineage out/corpus out/rest > events.jsonl
  gristmill export dataset-card out/corpus --output README.md
  gristmill export eu-summary out/corpus --answers answers.yaml --domains domains.tsv --output summary.md
  gristmill export data-card out/corpus --answers answers.yaml --output card.md

prov: W3C PROV-JSON. openlineage: run events, one JSON object per line. dataset-card: README.md with the
Hugging Face hub's metadata. croissant: JSON-LD with the RAI vocabulary. eu-summary: the European Commission's
template for the public summary of training content, C(2025) 8311, filled in as far as runs and answers tell, and
what is owed. data-card: the sections of a Data Card (FAccT 2022), with where the output says so. rubric: how
much of what the data-curation rubric (FAccT 2024) asks for is documented.""",
    )
    def export(
        format_: Annotated[
            ExportFormat,
            typer.Argument(
                metavar="FORMAT", help="prov, openlineage, dataset-card, croissant, eu-summary, data-card or rubric."
            ),
        ],
        folders: Annotated[list[str], typer.Argument(metavar="OUTPUT…", help="Folders of finished outputs.")],
        output: Annotated[
            str | None, typer.Option("--output", metavar="FILE", help="Write to this file; default: stdout.")
        ] = None,
        answers: Annotated[
            str | None,
            typer.Option(
                "--answers", metavar="FILE", help="For forms and croissant: a YAML file with what only people know."
            ),
        ] = None,
        domains: Annotated[
            str | None,
            typer.Option(
                "--domains", metavar="FILE", help="For eu-summary: write all domains that it asks for, as TSV."
            ),
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="For forms: one JSON value instead of Markdown.")] = False,
        max_age_days: Annotated[
            int | None,
            typer.Option(
                "--max-age-days",
                metavar="N",
                min=0,
                help="For forms: list answers that are older than this as stale; default: 365.",
            ),
        ] = None,
        blank: Annotated[
            str | None,
            typer.Option(
                "--blank",
                metavar="FILE",
                help="For forms: also write a file of answers to fill in, with those that there are.",
            ),
        ] = None,
    ) -> int:
        """Write what made some outputs in the form of another tool, or of the law."""
        from gristmill.launch.commands.export import export as write_export

        return write_export(format_.value, folders, output, answers, domains, as_json, max_age_days, blank)
