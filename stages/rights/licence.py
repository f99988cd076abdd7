"""Licences of documents: who states them, and which are allowed; and what else is known of the rights in them.

    measure  what the page, columns and a table say
    decide   the licence by the first of `order` that says something; pages whose statements differ are unknown

Unknown licences are not allowed unless the config says so. See docs/rights.md.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import field_validator

from gristmill.pipeline.document import one_chunk
from gristmill.pipeline.licence import FACTS
from gristmill.pipeline.spdx import expression, library_version, nearest_licences
from gristmill.pipeline.stage import (
    Cost,
    Decisions,
    Resources,
    SettledView,
    Stage,
    StageConfig,
    StageContext,
    StageSpec,
    from_failures,
    one_or_several,
    resource,
    signal,
    threshold,
)
from gristmill.stages.rights.captures import most_bytes
from gristmill.stages.rights.columns import PAGES, page_columns, payload_of, texts_of
from gristmill.stages.rights.facts import COLUMNS, facts_in, merged, shortened
from gristmill.stages.rights.licences import is_allowed
from gristmill.stages.rights.statements import Statement, of_url, page_statements, read_table

Level = Literal["column", "table", "page", "source"]
Fact = Literal["attribution", "conditions", "creators", "terms", "collector", "language", "model_generated"]
SIGNAL = "licence_statements"
STATED = ("licence", "licence_stated_by", "licence_evidence")
RULES = ("licence_not_allowed", "licence_unknown")


class LicenceConfig(StageConfig):
    """Config of `licence`.

    Attributes:
        allowed: SPDX names of licences that are allowed, also with `*`: `[CC0-1.0, "CC-BY-SA-*"]`. Of an expression with `OR`
            one side must be, with `AND` all.
        unknown: `not_allowed` or `allowed`: what a document counts as whose licence nobody states.
        others: what becomes of the rest: `drop`, or `route` to the port `others`.
        order: whose word counts: the first that says something. `source` is the `license` of the config's source.
        column: a column with an SPDX expression for each document. What is none there is an unknown licence.
        columns: columns with other facts about each document: `{creators: authors, terms: tos_url}`. Facts are `attribution`,
            `conditions`, `creators`, `terms`, `collector`, `language`, `model_generated`.
        table: tables by domain or beginning of a URL: Parquet or JSON Lines with `of`, `spdx`, `stated_by`, `evidence`, and any
            of `statement` (a licence in words) and the facts of `columns`.
    """

    allowed: tuple[str, ...] = threshold(min_length=1)
    unknown: Literal["not_allowed", "allowed"] = threshold("not_allowed")
    others: Literal["drop", "route"] = threshold("drop")
    order: tuple[Level, ...] = threshold(("column", "table", "page", "source"), min_length=1)
    column: str | None = signal(None, min_length=1)
    columns: dict[Fact, str] = signal({})
    table: tuple[Path, ...] = resource("signal", ())

    @field_validator("allowed", "order", "table", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return one_or_several(value)

    @field_validator("allowed")
    @classmethod
    def _licences(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        found = []
        for name in value:
            normal = name if "*" in name else expression(name)
            if normal is None or " " in normal.replace(" WITH ", ""):
                close = nearest_licences(name)
                raise ValueError(
                    f"`{name[:80]}` is no licence that SPDX names; expected one such as {', '.join(close) or 'CC-BY-4.0'}, or "
                    "LicenseRef-…"
                )
            found.append(normal)
        return tuple(found)


class Licence(Stage):
    """Keeps documents under allowed licences, or routes the others."""

    Config = LicenceConfig
    version: ClassVar[int] = 2
    summary: ClassVar[str] = "keeps or routes by licence: of the page, a column, a table, the source"
    ports: ClassVar[tuple[str, ...]] = ("kept", "others")

    config: LicenceConfig

    def declare(self) -> StageSpec:
        config = self.config
        return StageSpec(
            ports=("kept", "others") if config.others == "route" else ("kept",),
            cost=Cost(measure=10, survey=0, settle=0),
            measure_reads=frozenset({*config.columns.values(), *([config.column] if config.column else [])}),
            optional_reads={*PAGES, "url"},
            signals=pa.schema([(SIGNAL, pa.string())]),
            shown=set(),
            findings=pa.schema([*(pa.field(name, pa.string()) for name in STATED), *COLUMNS]),
            rules=RULES,
            settings={"licence_not_allowed": "allowed", "licence_unknown": "unknown"},
            models={f"table {number}": path for number, path in enumerate(config.table, 1)},
            libraries={"license-expression": library_version()},
            resources=Resources(memory_bytes=4 * most_bytes(config.table) + (64 << 20)),
        )

    def check_files(self) -> None:
        """Reads the tables. Raises ConfigError with file, row, expected, found."""
        read_table(self.config.table)

    def measure(self, batch: pa.Table, context: StageContext) -> Mapping[str, pa.Array]:
        """What column, table and page say of each document, as JSON by level."""
        config, table = self.config, read_table(self.config.table)
        pages = page_columns(batch)
        urls = texts_of(batch, "url") if "url" in batch.column_names and table else [None] * batch.num_rows
        own = texts_of(batch, config.column) if config.column else [None] * batch.num_rows
        named = {fact: one_chunk(batch[name]).to_pylist() for fact, name in config.columns.items()}
        found = []
        for row in range(batch.num_rows):
            said: dict[str, list[Statement]] = {}
            facts = {"column": facts_in({fact: values[row] for fact, values in named.items()})}
            if text := own[row]:
                said["column"] = [Statement(expression(text), f"column ({config.column})", shortened(text))]
            url = urls[row]
            stated = of_url(table, url) if url else None
            if stated is not None:
                said |= {} if stated.stated is None else {"table": [stated.stated]}
                facts["table"] = dict(stated.facts)
            page = payload_of(pages, row)
            if page and (statements := page_statements(page)):
                said["page"] = statements
            plain: dict[str, Any] = {level: [asdict(one) for one in statements] for level, statements in said.items()}
            if any(facts.values()):
                plain["facts"] = {level: known for level, known in facts.items() if known}
            found.append(json.dumps(plain, ensure_ascii=False))
        return {SIGNAL: pa.array(found, pa.string())}

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        """The licence, and whether it is allowed. Tallies count documents by licence."""
        config = self.config
        columns: dict[str, list[Any]] = {name: [] for name in (*STATED, *COLUMNS.names)}
        witnesses, tallies = [], Counter[str]()
        stated = context.license or {}
        of_source = facts_in(stated)
        for text in one_chunk(batch[SIGNAL]).to_pylist():
            said = json.loads(text or "{}")
            level, (spdx, stated_by, evidence) = self._licence(said, stated)
            for name, value in zip(STATED, (spdx, stated_by, evidence), strict=True):
                columns[name].append(value)
            known = {**said.get("facts", {}), "source": of_source}
            facts = merged([(one, known.get(one, {})) for one in config.order], level)
            for fact in FACTS:
                columns[f"licence_{fact}"].append(facts.get(fact))
            witnesses.append(f"{spdx or 'unknown'}, {stated_by}: {evidence}" if stated_by else None)
            # Expressions are of as many kinds as documents may have them; licences are of SPDX's list.
            single = spdx is None or (" " not in spdx and not spdx.startswith(("LicenseRef-", "DocumentRef-")))
            tallies[f"licence: {(spdx or 'unknown') if single else 'other expressions'}"] += 1
        licences = columns["licence"]
        unknown = np.array([spdx is None for spdx in licences], bool)
        refused = np.array([spdx is not None and not is_allowed(spdx, config.allowed) for spdx in licences], bool)
        kinds = dict(zip(COLUMNS.names, COLUMNS.types, strict=True))
        failures = {RULES[0]: refused, RULES[1]: unknown & (config.unknown == "not_allowed")}
        decisions = from_failures(
            failures,
            rows=batch.num_rows,
            columns={name: pa.array(values, kinds.get(name, pa.string())) for name, values in columns.items()},
            tallies=dict(tallies),
        )
        if config.others == "route":
            failed = failures[RULES[0]] | failures[RULES[1]]
            decisions = replace(decisions, port=np.where(failed, 1, 0).astype(np.int16))
        return replace(decisions, witness=pa.array(witnesses, pa.string()))

    def _licence(
        self, said: Mapping[str, list[dict[str, Any]]], stated: Mapping[str, Any]
    ) -> tuple[str | None, tuple[str | None, str | None, str | None]]:
        """The level that states the licence; the SPDX expression, who states it, and the evidence. None where nobody does."""
        for level in self.config.order:
            text = stated.get("spdx") or stated.get("statement")
            if level == "source" and text:
                stated_by = f"source ({stated.get('stated_by') or 'unknown'})"
                return level, (
                    expression(stated.get("spdx") or ""),
                    stated_by,
                    shortened(stated.get("evidence") or text),
                )
            statements = said.get(level)
            if statements:
                licences = {one["spdx"] for one in statements}
                evidence = "; ".join(dict.fromkeys(one["evidence"] for one in statements))
                agreed = next(iter(licences)) if len(licences) == 1 else None
                return level, (agreed, statements[0]["stated_by"], shortened(evidence))
        return None, (None, None, None)
