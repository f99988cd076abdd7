"""What an output says about itself to people and tools: a dataset card (README.md) and Croissant metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gristmill.pipeline.provenance.accounts import Accounts, NodeAccount
from gristmill.pipeline.provenance.content import logical_type
from gristmill.pipeline.provenance.statement import Statement
from gristmill.pipeline.writing.task_files import data_columns

if TYPE_CHECKING:
    from gristmill.pipeline.planning.graph import Output
    from gristmill.pipeline.planning.plan import Plan

_CROISSANT_TYPES = {
    "string": "sc:Text",
    "bool": "sc:Boolean",
    "float": "sc:Float",
    "double": "sc:Float",
}

MAX_LABELS = 10
"""Languages that the card's tables list."""


def dataset_card(plan: Plan, output: Output, manifest: Statement, accounts: Accounts) -> str:
    """The dataset card: front matter that names the shards, what went in, and what happened at each node."""
    predicate = manifest.predicate
    spdx = {spec.config.license.spdx for spec in plan.config.sources if spec.config.license is not None}
    licence = next(iter(spdx)).lower() if len(spdx) == 1 else "other"
    lines = [
        "---",
        f"license: {licence}",
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        "    path: data/**/*.parquet",
        "---",
        "",
        f"# {plan.config.name}: {output.name}",
        "",
        f"{predicate.data.rows:,} rows in {predicate.data.files} shards, made by Gristmill from "
        f"{sum(s.rows for s in predicate.sources.values()):,} documents. Every shard carries its provenance log in "
        "the Parquet footer (key `gristmill.log`); `gristmill audit` verifies the folder, `gristmill explain` shows what "
        "happened to a document.",
        "",
        "## Sources",
        "",
        "| source | snapshot | licence | stated by | documents | text |",
        "|---|---|---|---|---:|---:|",
    ]
    for spec in plan.config.sources:
        totals = predicate.sources[spec.name]
        known = spec.config.license
        lines.append(
            f"| {spec.name} | {spec.config.snapshot or '–'} | {known.spdx if known else 'unknown'} | "
            f"{known.stated_by if known else '–'} | {totals.rows:,} | {totals.text_bytes / 1e6:,.1f} MB |"
        )
    lines += ["", "## What happened", "", "| node | in | dropped | quarantined | kept |", "|---|---:|---:|---:|---:|"]
    # In the graph's order: that of the accounts is lost when a run goes on from its records.
    for name in [*plan.graph.sources, *(node.name for node in plan.graph.nodes)]:
        account = accounts.nodes.get(name, NodeAccount())
        lines.append(
            f"| {name} | {account.entered.rows:,} | {account.dropped.rows:,} | {account.quarantined.rows:,} | "
            f"{account.kept.rows:,} |"
        )
    lines += _random_baselines(predicate.reports)
    lines += ["", "## Columns", "", "| column | type |", "|---|---|"]
    lines += [f"| `{name}` | {logical_type(kind)} |" for name, kind in data_columns(plan, output)]
    return "\n".join(lines) + "\n"


def _random_baselines(reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines: list[str] = []
    for node, found in random_baselines(reports).items():
        if not lines:
            lines = ["", "## Filters against a random baseline", ""]
            lines += ["What a filter kept, and a random selection of as many of the documents that it saw."]
        lines += ["", f"| {node} | all | kept | random |", "|---|---:|---:|---:|"]
        lines += ["| " + " | ".join(row) + " |" for row in baseline_rows(found)]
    return lines


def random_baselines(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """By node, in the order of their names, what filters kept beside a random selection of as many documents."""
    return {node: report["beside_chance"] for node, report in sorted(reports.items()) if "beside_chance" in report}


def baseline_rows(found: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Rows of a table of one filter: what is compared, for all documents, those kept, and the random selection.

    Args:
        found: `score`, the name of the filter's score, and figures of `all`, `kept` and `random`: documents, mean_score,
            mean_bytes, and labels (documents by language).
    """
    parts = [found[name] for name in ("all", "kept", "random")]

    def row(name: str, cells: list[str]) -> tuple[str, str, str, str]:
        return name, cells[0], cells[1], cells[2]

    labels = [name for name in found["all"]["labels"] if name][:MAX_LABELS]
    return [
        row("documents", [f"{part['documents']:,}" for part in parts]),
        row(f"mean `{found['score']}`", [_number(part["mean_score"], 4) for part in parts]),
        row("mean bytes of text", [_number(part["mean_bytes"], 0) for part in parts]),
        *(row(name, [_share(part["labels"].get(name, 0), part["documents"]) for part in parts]) for name in labels),
    ]


def _number(value: float | None, places: int) -> str:
    return "–" if value is None else f"{value:,.{places}f}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def croissant(plan: Plan, output: Output, manifest: Statement) -> str:
    """Croissant 1.0 metadata: the shards as one file set, the columns as one record set."""
    predicate = manifest.predicate
    fields = []
    for name, kind in data_columns(plan, output):
        plain = logical_type(kind)
        data_type = _CROISSANT_TYPES.get(plain, "sc:Integer" if plain.startswith(("int", "uint")) else "sc:Text")
        fields.append(
            {
                "@type": "cr:Field",
                "@id": f"default/{name}",
                "name": name,
                "dataType": data_type,
                "repeated": plain.startswith("list<"),
                "source": {"fileSet": {"@id": "shards"}, "extract": {"column": name}},
            }
        )
    body = {
        "@context": {
            "@language": "en",
            "@vocab": "https://schema.org/",
            "cr": "http://mlcommons.org/croissant/",
            "dct": "http://purl.org/dc/terms/",
            "sc": "https://schema.org/",
            "conformsTo": "dct:conformsTo",
            "recordSet": "cr:recordSet",
            "field": "cr:field",
            "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
            "source": "cr:source",
            "extract": "cr:extract",
            "column": "cr:column",
            "fileSet": "cr:fileSet",
            "includes": "cr:includes",
            "repeated": "cr:repeated",
        },
        "@type": "sc:Dataset",
        "name": f"{plan.config.name}-{output.name}",
        "description": f"Output `{output.name}` of the Gristmill run `{plan.config.name}`: {predicate.data.rows} rows.",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "version": predicate.run[:16],
        "license": sorted({s.license.spdx for s in predicate.sources.values() if s.license}) or ["unknown"],
        "distribution": [
            {
                "@type": "cr:FileSet",
                "@id": "shards",
                "name": "shards",
                "encodingFormat": "application/x-parquet",
                "includes": "data/**/*.parquet",
            }
        ],
        "recordSet": [{"@type": "cr:RecordSet", "@id": "default", "name": "default", "field": fields}],
    }
    return json.dumps(body, indent=1, ensure_ascii=False) + "\n"
