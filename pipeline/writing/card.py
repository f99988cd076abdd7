"""What an output says about itself to people and tools: a dataset card (README.md) and Croissant metadata."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from gristmill.pipeline.provenance.accounts import Accounts, NodeAccount
from gristmill.pipeline.provenance.content import logical_type
from gristmill.pipeline.provenance.removal import Removal
from gristmill.pipeline.provenance.shares import Shares
from gristmill.pipeline.provenance.statement import Predicate, Statement
from gristmill.pipeline.writing.share_tables import share_tables, unit_of
from gristmill.pipeline.writing.task_files import data_columns

if TYPE_CHECKING:
    from gristmill.pipeline.planning.graph import Output
    from gristmill.pipeline.planning.plan import Plan

_CROISSANT_TYPES = (
    (r"string|binary(\[\d+\])?", "sc:Text"),
    (r"bool", "sc:Boolean"),
    (r"u?int\d+", "sc:Integer"),
    (r"halffloat|float|double|decimal.*", "sc:Float"),
    (r"date.*", "sc:Date"),
    (r"timestamp.*", "sc:DateTime"),
    (r"time(32|64).*", "sc:Time"),
)
"""Croissant's types by what a logical type looks like. Maps, structs and lists of lists have none."""
_CROISSANT_CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{
        term: f"cr:{term}"
        for term in (
            "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject",
            "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5",
            "parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator",
            "source", "subField", "transform",
        )
    },
}  # fmt: skip
"""The context that `mlcroissant` takes for the standard one of Croissant 1.1."""

SHARDS: Mapping[str, Any] = {
    "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/**/*.parquet"}]}]
}
"""Where the hub finds the shards."""
_IDENTIFIER = re.compile(r"[a-z0-9.+-]+")
MAX_LABELS = 10
"""Languages that the card's tables list."""


def dataset_card(plan: Plan, output: Output, manifest: Statement, accounts: Accounts) -> str:
    """The dataset card: front matter that names the shards, what went in, and what happened at each node."""
    spdx = {spec.config.license.name for spec in plan.config.sources if spec.config.license is not None}
    columns = {name: logical_type(kind) for name, kind in data_columns(plan, output)}
    # In the graph's order: that of the accounts is lost when a run goes on from its records.
    nodes = [*plan.graph.sources, *(node.name for node in plan.graph.nodes)]
    sources = [spec.name for spec in plan.config.sources]
    return front_matter({"license": one_licence(spdx), **SHARDS}) + card_body(
        manifest.predicate, accounts, sources, nodes, columns
    )


def one_licence(stated: Collection[str]) -> str:
    """The licence of a whole output as its card has it: the sources' own where it is one identifier, else `other`."""
    only = next(iter(stated)).lower() if len(stated) == 1 else "other"
    return only if _IDENTIFIER.fullmatch(only) else "other"


def front_matter(values: Mapping[str, Any]) -> str:
    """A card's metadata, as YAML between its marks."""
    return f"---\n{yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)}---\n"


def card_body(
    predicate: Predicate,
    accounts: Accounts,
    sources: Sequence[str],
    nodes: Sequence[str],
    columns: Mapping[str, str],
    shares: tuple[Shares, str] | None = None,
) -> str:
    """The card's text.

    Args:
        sources, nodes: names, in the order to show them.
        columns: of the shards, name → logical type.
        shares: of the output, and in what they are measured; default: those of the accounts.
    """
    lines = [
        "",
        f"# {cell(predicate.name)}: {cell(predicate.output)}",
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
    for name in sources:
        totals = predicate.sources[name]
        known = totals.license
        lines.append(
            f"| {cell(name)} | {cell(totals.snapshot or '–')} | {cell(known.name) if known else 'unknown'} | "
            f"{known.stated_by if known else '–'} | {totals.rows:,} | {totals.text_bytes / 1e6:,.1f} MB |"
        )
    counted = accounts.shares.get(predicate.output)
    if shares is None and counted is not None:
        shares = counted, unit_of(counted)
    lines += [] if shares is None else _shares(*shares)
    lines += ["", "## What happened", "", "| node | in | dropped | quarantined | kept |", "|---|---:|---:|---:|---:|"]
    for name in nodes:
        account = accounts.nodes.get(name, NodeAccount())
        lines.append(
            f"| {cell(name)} | {account.entered.rows:,} | {account.dropped.rows:,} | {account.quarantined.rows:,} | "
            f"{account.kept.rows:,} |"
        )
    lines += _random_baselines(predicate.reports)
    lines += _removals(predicate.removals)
    lines += ["", "## Columns", "", "| column | type |", "|---|---|"]
    lines += [f"| `{cell(name)}` | {kind} |" for name, kind in columns.items()]
    return "\n".join(lines) + "\n"


def _shares(shares: Shares, unit: str) -> list[str]:
    lines = ["", "## Shares", "", f"Shares are {cell(unit)}. Copies count as often as they are written."]
    for table in share_tables(shares):
        lines += ["", *([table.note, ""] if table.note else [])]
        if not table.rows:
            continue
        lines += [f"| {table.by} | documents | text | tokens | share |", "|---|---:|---:|---:|---:|"]
        for row in table.rows:
            tokens = "–" if row.tokens is None else f"{row.tokens:,}"
            lines.append(
                f"| {cell(row.name)} | {row.documents:,} | {row.bytes / 1e6:,.1f} MB | {tokens} | {row.share:.2%} |"
            )
        lines += ["", f"… and {table.more:,} more."] if table.more else []
    return lines


def cell(text: str) -> str:
    """A text of a config as a cell of a table: one line, without what Markdown or HTML would read as more."""
    return " ".join(text.split()).replace("|", "\\|").replace("[", "\\[").replace("&", "&amp;").replace("<", "&lt;")


def _removals(removals: Sequence[Removal]) -> list[str]:
    if not removals:
        return []
    table = [f"| {one.removed_at} | {cell(one.reason)} | {one.documents:,} |" for one in removals]
    return ["", "## Taken out", "", "| when | why | documents |", "|---|---|---:|", *table]


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
    """Croissant 1.1 metadata, as it is stored beside the shards: the same on every run, hence without a date."""
    columns = {name: logical_type(kind) for name, kind in data_columns(plan, output)}
    return json.dumps(croissant_metadata(manifest.predicate, columns), indent=1, ensure_ascii=False) + "\n"


def croissant_metadata(predicate: Predicate, columns: Mapping[str, str]) -> dict[str, Any]:
    """Croissant 1.1 metadata: the shards as one file set, the columns (name → logical type) as one record set,
    but for those of types that Croissant has none for."""
    title = f"Output `{predicate.output}` of the Gristmill run `{predicate.name}`"
    return {
        "@context": dict(_CROISSANT_CONTEXT),
        "@type": "sc:Dataset",
        "name": f"{predicate.name}-{predicate.output}",
        "description": f"{title}: {predicate.data.rows} rows.",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        # A run's data never change: what tells two runs of one dataset apart is build metadata of Semantic Versioning.
        "version": f"1.0.0+{predicate.run[:16]}",
        "citeAs": f"{title}, run key {predicate.run}",
        "license": sorted({s.license.name for s in predicate.sources.values() if s.license}) or ["unknown"],
        "distribution": [
            {
                "@type": "cr:FileSet",
                "@id": "shards",
                "name": "shards",
                "encodingFormat": "application/x-parquet",
                "includes": "data/*.parquet",
            }
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "default",
                "name": "default",
                "field": list(_croissant_fields(columns)),
            }
        ],
    }


def _croissant_fields(columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for name, plain in columns.items():
        inner, shape = plain, ""
        if plain.startswith("list<"):
            inner, _, shape = plain.removeprefix("list<").rpartition(">")
        kind = next((kind for form, kind in _CROISSANT_TYPES if re.fullmatch(form, inner)), None)
        if kind is not None:
            yield {
                "@type": "cr:Field",
                "@id": f"default/{name}",
                "name": name,
                "dataType": kind,
                **({} if inner == plain else {"isArray": True, "arrayShape": shape.strip("[]") or "-1"}),
                "source": {"fileSet": {"@id": "shards"}, "extract": {"column": name}},
            }
