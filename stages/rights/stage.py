"""Opt-outs: what sites have said about the use of their pages for training, and what a config makes of it.

    measure  signals of each document: robots directives, TDMRep, Content-Usage, Content-Signal, robots.txt and ai.txt by agent
    decide   the policy: what counts, of which capture, and what becomes of the reserved and the unknown

The parsers are modules of their own, each with the version of what it reads. Nothing is fetched: robots.txt, ai.txt and
tdmrep.json come as tables or WARC files of what was captured. See docs/rights.md.
"""

from __future__ import annotations

import glob
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import field_validator

from gristmill.pipeline.errors import ConfigError
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
from gristmill.stages.rights.captures import most_bytes, read_captures
from gristmill.stages.rights.columns import PAGES, page_columns, payload_of, texts_of
from gristmill.stages.rights.moments import moment_of
from gristmill.stages.rights.signals import HEADERS, PROTOCOLS, VERSIONS, Files, Wanted, found_signals

Protocol = Literal["robots_tag", "tdmrep", "content_usage", "content_signal", "robots_txt", "ai_txt"]
HEADER_COLUMNS = {f"http_{name.replace('-', '_')}": name for name in HEADERS}
TABLES = ("robots_txt", "ai_txt", "tdmrep")
SIGNALS = "rights_signals"
FINDINGS = ("state", "protocol", "version", "digest", "agent", "observed_at")
_PARSED_BYTES = 512 << 20
"""What the parsed files of the last hosts take at most."""


class RightsConfig(StageConfig):
    """Config of `rights`.

    Attributes:
        robots_txt: captured robots.txt files: tables (Parquet or JSON Lines with `host`, `body`, `observed_at` and, optional,
            `status`), or WARC files, which bring captured ai.txt and tdmrep.json files as well. Patterns may be given.
        ai_txt: captured ai.txt files, likewise.
        tdmrep: captured /.well-known/tdmrep.json files, likewise.
        agents: product tokens whose rules in robots.txt, ai.txt and headers concern you. A page that is closed to one of
            them is reserved. Those that have no group of their own obey that of `*`.
        until: captures that were observed after this date or time are left out.
        directives: directives of X-Robots-Tag and meta robots that reserve a page.
        category: the category of Content-Usage in question.
        use: the use of Content-Signal in question.
        captures: which captured files count: the one of the time of the `crawl`, the `latest`, or `any` of the two.
        counts: protocols whose reservations count.
        permits: protocols whose permissions make a page `allowed`. That a crawler may fetch a page permits no use of it.
        reserved: what becomes of reserved pages: `drop` or `mark` (kept, with the rule in the ledger).
        unknown: what becomes of pages that nobody has said anything about.
    """

    robots_txt: tuple[Path, ...] = resource("signal", ())
    ai_txt: tuple[Path, ...] = resource("signal", ())
    tdmrep: tuple[Path, ...] = resource("signal", ())
    agents: tuple[str, ...] = signal(
        ("CCBot", "GPTBot", "Google-Extended", "ClaudeBot", "Applebot-Extended", "meta-externalagent"), min_length=1
    )
    until: str | None = signal(None)
    directives: tuple[str, ...] = signal(("noai",))
    category: str = signal("train-ai", min_length=1)
    use: str = signal("ai-train", min_length=1)
    captures: Literal["any", "crawl", "latest"] = threshold("any")
    counts: tuple[Protocol, ...] = threshold(PROTOCOLS)
    permits: tuple[Protocol, ...] = threshold(("tdmrep", "content_usage", "content_signal"))
    reserved: Literal["drop", "mark"] = threshold("drop")
    unknown: Literal["keep", "drop"] = threshold("keep")

    @field_validator("robots_txt", "ai_txt", "tdmrep", "agents", "directives", "counts", "permits", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return one_or_several(value)

    @field_validator("robots_txt", "ai_txt", "tdmrep")
    @classmethod
    def _matched(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        """The files that patterns match now; a pattern that matches none stays, and is then the name of no file."""
        return tuple(
            Path(match) for path in value for match in (sorted(glob.glob(str(path), recursive=True)) or [str(path)])
        )

    @field_validator("until", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        """YAML reads dates itself."""
        return value.isoformat() if isinstance(value, date) else value

    @field_validator("until")
    @classmethod
    def _time(cls, value: str | None) -> str | None:
        """A date means all of its day."""
        moment = moment_of(f"{value}T23:59:59" if len(value or "") == 10 else value)
        if value is not None and moment is None:
            raise ValueError("expected a date or a time, such as 2024-05-01 or 2024-05-01T12:00:00Z")
        return moment

    @field_validator("agents")
    @classmethod
    def _tokens(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for agent in value:
            if agent != "*" and not (agent and all(c.isascii() and (c.isalpha() or c in "_-") for c in agent)):
                raise ValueError(
                    f"`{agent}` is no product token; expected letters, `-` and `_`, such as GPTBot (no version), or `*`"
                )
        return value


class Rights(Stage):
    """Drops pages whose rights are reserved, with the evidence."""

    Config = RightsConfig
    version: ClassVar[int] = 2
    summary: ClassVar[str] = "opt-outs: robots.txt, TDMRep, Content-Usage, Content-Signal, ai.txt, X-Robots-Tag"

    config: RightsConfig

    def declare(self) -> StageSpec:
        tables = {f"{kind} {number}": path for kind in TABLES for number, path in enumerate(self._tables(kind), 1)}
        return StageSpec(
            cost=Cost(measure=20, survey=0, settle=0),
            optional_reads={*PAGES, *HEADER_COLUMNS, "url", "date"},
            signals=pa.schema([(SIGNALS, pa.string()), ("rights_c2pa", pa.bool_())]),
            shown=set(),
            findings=pa.schema([(f"rights_{name}", pa.string()) for name in FINDINGS]),
            rules=("rights_reserved", "rights_unknown"),
            settings={"rights_reserved": "counts", "rights_unknown": "unknown"},
            models=tables,
            resources=Resources(memory_bytes=most_bytes(tuple(tables.values())) + (_PARSED_BYTES if tables else 0)),
        )

    def check_files(self) -> None:
        """Reads all tables. Raises ConfigError with file, row, expected, found."""
        try:
            self._files()
        except ConfigError as error:
            raise ConfigError(f"stage rights: {error}") from error

    def measure(self, batch: pa.Table, context: StageContext) -> Mapping[str, pa.Array]:
        """All signals of each document as a JSON list, and whether its page names a C2PA manifest."""
        config, files = self.config, self._files()
        wanted = Wanted(
            config.agents, frozenset(d.strip().lower() for d in config.directives), config.category, config.use
        )
        texts = {
            name: texts_of(batch, name, times=name == "date")
            for name in ("url", "date", *HEADER_COLUMNS)
            if name in batch.column_names
        }
        pages = page_columns(batch)
        found, claims = [], []
        for row in range(batch.num_rows):
            page = payload_of(pages, row)
            said = {
                header: value
                for name, header in HEADER_COLUMNS.items()
                if name in texts and (value := texts[name][row])
            }
            moment = moment_of(texts["date"][row]) if "date" in texts else None
            url = texts["url"][row] if "url" in texts else None
            signals, claimed = found_signals(page, said, url, moment, files, wanted)
            found.append(json.dumps([one.plain() for one in signals], ensure_ascii=False) if signals else "[]")
            claims.append(claimed)
        return {SIGNALS: pa.array(found, pa.string()), "rights_c2pa": pa.array(claims, pa.bool_())}

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        """Reserved where any signal that counts says so, allowed where one that permits does, else unknown."""
        config = self.config
        states, witnesses, tallies = [], [], Counter[str]()
        columns: dict[str, list[str | None]] = {name: [] for name in FINDINGS}
        for text in batch[SIGNALS].to_pylist():
            decisive = self._decisive(json.loads(text or "[]"))
            state = decisive["state"] if decisive else "unknown"
            states.append(state)
            tallies[f"rights_{state}"] += 1
            if decisive:
                tallies[f"rights_{state}_by_{decisive['protocol']}"] += 1
                decisive["version"] = VERSIONS[decisive["protocol"]]
            for name in FINDINGS:
                columns[name].append(state if name == "state" else decisive.get(name) if decisive else None)
            witnesses.append(_witness(decisive) if state == "reserved" and decisive else None)
        tallies["rights_c2pa"] = int(np.count_nonzero(batch["rights_c2pa"].to_numpy()))
        reserved = np.array([state == "reserved" for state in states], bool)
        unknown = np.array([state == "unknown" for state in states], bool) & (config.unknown == "drop")
        decisions = from_failures(
            {"rights_reserved": reserved, "rights_unknown": unknown},
            rows=batch.num_rows,
            columns={f"rights_{name}": pa.array(values, pa.string()) for name, values in columns.items()},
            tallies=dict(tallies),
        )
        if config.reserved == "mark":
            decisions = replace(decisions, port=np.where(reserved, 0, decisions.port).astype(np.int16))
        return replace(decisions, witness=pa.array(witnesses, pa.string()))

    def _decisive(self, signals: list[dict[str, Any]]) -> dict[str, Any] | None:
        config = self.config
        heard = [
            one
            for one in signals
            if one.get("capture", "both") in ("both", config.captures) or config.captures == "any"
        ]
        for state, protocols in (("reserved", config.counts), ("allowed", config.permits)):
            for one in heard:
                if one.get("state") == state and one["protocol"] in protocols:
                    return one
        return None

    def _tables(self, kind: str) -> tuple[Path, ...]:
        named: tuple[Path, ...] = getattr(self.config, kind)
        return named

    def _files(self) -> Files:
        kinds = tuple((kind, self._tables(kind)) for kind in TABLES)
        return Files(**read_captures(kinds, self.config.until)) if any(files for _, files in kinds) else Files()


def _witness(one: Mapping[str, Any]) -> str:
    when = f", {one['observed_at']}" if one.get("observed_at") else ""
    return f"{one['protocol']} for {one['agent']}{when}: {one['evidence']}"
