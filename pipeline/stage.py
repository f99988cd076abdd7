"""The stage contract: measure, survey, settle, decide, and what a stage declares about itself.

    measure(batch)          -> columns     signals: row by row, free of thresholds, the costly part
    survey(batch)           -> notes       small rows about a batch that the whole corpus must know; kept
    settle(notes, exchange) -> settled     the corpus-wide answer, computed in parallel
    decide(batch, settled)  -> decisions   thresholds live here; exactly one decision per row

A stage implements those it needs. Every stage must be partition-invariant, which one shared test checks: any split into
batches and tasks, any order and any merge tree give equal results. Sums are integers or fixed-point for that reason.

A stage is a class. The contract is checked when the class is defined, not at row one million.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from gristmill.pipeline.errors import ContractError

if TYPE_CHECKING:
    from gristmill.pipeline.exchange import Exchange, Rows

FieldKind = Literal["signal", "threshold", "runtime"]

DROPPED = -1
"""`Decisions.port` of a row that is removed."""
QUARANTINED = -2
"""`Decisions.port` of a row that could not be judged and is set aside with its reason."""
MAX_RULES = 64
"""All failing rules of a row travel as one 64-bit mask."""


def signal(default: Any = ..., **options: Any) -> Any:
    """A config field that may change what `measure` or `survey` computes. Same options as pydantic's Field."""
    return Field(default, json_schema_extra={"kind": "signal"}, **options)


def threshold(default: Any = ..., **options: Any) -> Any:
    """A config field that only `decide` (or `settle`) reads: changing it never recomputes a signal."""
    return Field(default, json_schema_extra={"kind": "threshold"}, **options)


def runtime(default: Any = ..., **options: Any) -> Any:
    """A config field that says where and how fast, never what: an address, a time limit, a number of retries. It stays
    out of fingerprints, so that the same work done elsewhere is the same work. Same options as pydantic's Field."""
    return Field(default, json_schema_extra={"kind": "runtime"}, **options)


def resource(kind: FieldKind, default: Any = ..., **options: Any) -> Any:
    """A config field that holds a path. Paths never enter fingerprints: the stage names the file or folder in
    `models()`, and its content's digest enters instead, among the fields of `kind`."""
    return Field(default, json_schema_extra={"kind": kind, "resource": True}, **options)


class StageConfig(BaseModel):
    """Base of every stage's Config: frozen, keyword-only, unknown keys refused; each field a signal, a threshold, or
    runtime."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @classmethod
    def field_kind(cls, name: str) -> FieldKind:
        """Whether a field is a signal, a threshold or a runtime field."""
        extra = cls.model_fields[name].json_schema_extra
        kind = extra.get("kind") if isinstance(extra, dict) else None
        return "signal" if kind == "signal" else "runtime" if kind == "runtime" else "threshold"

    @classmethod
    def is_resource(cls, name: str) -> bool:
        """Whether a field holds a path, which stays out of fingerprints."""
        extra = cls.model_fields[name].json_schema_extra
        return bool(isinstance(extra, dict) and extra.get("resource"))


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """One decision per row of a batch, as columns. All arrays have one entry per row.

    Attributes:
        port: int16. Index into the stage's `ports` for an emitted row, else DROPPED or QUARANTINED.
        copies: int32, ≥ 1 for emitted rows; None means 1 each. Ignored for rows that are not emitted.
        rules: the names that `rule` and `failed` refer to, at most 64, the same for every batch of a stage.
        rule: int16 index into `rules` of the first rule that decided; −1 for none. Every dropped and quarantined row
            has one. An emitted row with a rule is a mark: it is kept and the finding is recorded.
        failed: uint64 bit mask over `rules` of all failing rules (bit i is rules[i]); None means just `rule`.
        value, threshold: float64, what the rule saw and what it was compared with; NaN where there is no number.
        witness: string column or None: what else decided it, as `doc_key` in hexadecimal for a duplicate, or an offset
            and a digest for a passage of text.
        columns: new columns that the decision adds (marks, cluster ids), aligned with the batch.
        tallies: named integer counts for the manifest, such as documents in a language without a config; added over
            batches.
    """

    port: np.ndarray
    copies: np.ndarray | None = None
    rules: tuple[str, ...] = ()
    rule: np.ndarray | None = None
    failed: np.ndarray | None = None
    value: np.ndarray | None = None
    threshold: np.ndarray | None = None
    witness: pa.Array | None = None
    columns: Mapping[str, pa.Array] = field(default_factory=dict)
    tallies: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What `settle` returns: the corpus-wide answer of a node.

    Attributes:
        keyed: rows with the columns `doc_key` and `task` plus the answer's columns; at most one row per document. Each
            is delivered to the task that owns the document.
        broadcast: a table without a doc_key that every task gets, at most 64 MiB.
        report: counts and findings for the manifest: canonical JSON values only.
    """

    keyed: Rows | None = None
    broadcast: pa.Table | None = None
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SettledView:
    """What `decide` gets of a settled answer.

    Attributes:
        columns: the keyed rows aligned with the batch: one row per batch row, all null where the answer has none; the
            columns `doc_key` and `task` are left out. None when the stage settled no keyed rows.
        table: the broadcast table, or None.
    """

    columns: pa.Table | None = None
    table: pa.Table | None = None


class Stage:
    """Base of all stages. Subclasses set the class attributes and implement the functions that they need.

    Class attributes:
        Config: the stage's config, a subclass of StageConfig.
        version: raised whenever the same config and input may give another result; enters every fingerprint.
        summary: one line for `gristmill stages`.
        ports: the outputs, the default port first.
        changes_text: whether `decide` may add the column `text` (large_string, declared in `findings()`): the new text of
            rows whose text it changes, null for the others. Nodes after it see the new text. A row that is emitted with
            a new text carries the rule that says why, so that the ledger records whose text differs from its source's;
            one that has nothing but white space left is dropped with a rule.
        emits_copies: whether `decide` may give a row more than one copy.
        seeded: whether `settle` or `decide` use `self.seed`, the run's seed (signals and notes never may).
        reproducible: whether `measure` finds the same again. One that asks a model elsewhere may not: its signals are
            then recorded facts. Audits replay decisions from the recorded signals, and samples do not ask.
        work: a folder that all tasks of the run share and that is there until the run is done, for what must not be
            got twice; the engine sets it. None outside a run.
    """

    Config: ClassVar[type[StageConfig]]
    version: ClassVar[int]
    summary: ClassVar[str]
    ports: ClassVar[tuple[str, ...]] = ("kept",)
    changes_text: ClassVar[bool] = False
    emits_copies: ClassVar[bool] = False
    seeded: ClassVar[bool] = False
    reproducible: ClassVar[bool] = True
    seed: int = 0
    work: Path | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not inspect.isabstract(cls):
            check_contract(cls)

    def __init__(self, config: Any) -> None:
        """Cheap: reads no model and no data. The engine makes stages while planning."""
        self.config = config

    # What the stage declares, given its config.

    def measure_reads(self) -> frozenset[str]:
        """Columns that `measure` reads (`doc_key` is always there)."""
        return frozenset()

    def survey_reads(self) -> frozenset[str]:
        """Columns that `survey` reads; its own signals are among the columns it gets."""
        return frozenset()

    def decide_reads(self) -> frozenset[str]:
        """Columns, other than its own signals, that `decide` reads."""
        return frozenset()

    def optional_reads(self) -> frozenset[str]:
        """Columns that `measure`, `survey` and `decide` get when the input happens to have them."""
        return frozenset()

    def signals(self) -> pa.Schema:
        """Columns that `measure` adds."""
        return pa.schema([])

    def findings(self) -> pa.Schema:
        """Columns that `decide` adds."""
        return pa.schema([])

    def rules(self) -> tuple[str, ...]:
        """Names of all rules that a decision may carry, in the order in which they are tried."""
        return ()

    def hidden(self) -> frozenset[str]:
        """Signals that serve only this stage: kept in annotations, left out of outputs and of other stages' view."""
        return frozenset()

    def shown(self) -> frozenset[str]:
        """Signals that shards hold by default; all signals are in the output's `signals/NODE/` in any case."""
        return frozenset(self.signals().names) - self.hidden()

    def models(self) -> Mapping[str, Path]:
        """Model files, word lists or folders that decide the result, by config field or a name of their own. Their
        SHA-256 enters the fingerprint (see `resource`) and the log."""
        return {}

    def libraries(self) -> Mapping[str, str]:
        """Versions, by name, of optional libraries that decide the signals where they are installed. They enter the
        fingerprints."""
        return {}

    def observes(self) -> str | None:
        """The upstream node that the survey attaches to, instead of this node's own entry."""
        return None

    def names_sources(self) -> Mapping[str, Iterable[str]]:
        """Config fields that name sources, with the names: the graph refuses those that do not lead to the node."""
        return {}

    def deciding_for(self, source: str) -> Stage:
        """The stage as it decides about rows of a source: itself, or one with the thresholds for that source."""
        return self

    def keeps_notes(self) -> bool:
        """Whether outputs keep this node's notes (one row per document, with `doc_key`), for runs after this one."""
        return False

    def against(self) -> tuple[str, ...]:
        """Outputs of finished runs whose kept notes of this stage join this run's when it settles.

        Their rows have a negative `task`: -1 - 2i for a document that the i-th of these runs emitted at that node, -2 - 2i
        for one that it did not (see `pipeline.planning.earlier_runs`). The stage leaves them out of
        what it settles for documents.
        """
        return ()

    def notice(self) -> Iterable[str]:
        """Warnings for the person who starts the run: what the config will not do as one might think."""
        return ()

    def check_files(self) -> None:
        """Look at models and tables before any work. Raises ConfigError with file, expected, found, what to do."""
        return None

    def check_survey_types(self, nothing: pa.Table) -> None:
        """Look at the types of the columns that `survey` reads, before any work.

        `nothing` has those columns and no rows. Raises ContractError for a type that the stage cannot use, with the column.
        """
        return None

    def check_ready(self) -> None:
        """Look at what a run needs and a plan or an audit does not: a key, a service that must answer. Called before the
        first task. Raises ConfigError with what is missing and what to do."""
        return None

    # What the stage does.

    def measure(self, batch: pa.Table) -> Mapping[str, pa.Array]:
        """Signals of each row: exactly the columns of `signals()`, one entry per row."""
        raise NotImplementedError

    def survey(self, batch: pa.Table) -> pa.Table:
        """Notes about a batch. Notes about documents carry `doc_key`; the engine adds `task` to all notes.

        A survey that observes another node gets a bool column `dropped`: what became of the row there.
        """
        raise NotImplementedError

    def settle(self, notes: Rows, exchange: Exchange) -> Settled:
        """The corpus-wide answer, from all notes, with the exchange's operators and nothing else."""
        raise NotImplementedError

    def decide(self, batch: pa.Table, settled: SettledView | None) -> Decisions:
        """One decision per row. `batch` has the upstream columns and the stage's own signals."""
        raise NotImplementedError

    @classmethod
    def implements(cls, function: str) -> bool:
        """Whether the class has its own version of `measure`, `survey`, `settle` or `decide`."""
        return getattr(cls, function) is not getattr(Stage, function)


def check_contract(cls: type[Stage]) -> None:
    """Raises ContractError when a stage class leaves out or contradicts what the engine relies on."""

    def refuse(problem: str, remedy: str) -> None:
        raise ContractError(f"stage class {cls.__module__}.{cls.__qualname__}: {problem}. {remedy}")

    for name, kind in (("Config", type), ("version", int), ("summary", str)):
        if not isinstance(getattr(cls, name, None), kind):
            refuse(f"the class attribute `{name}` is missing or no {kind.__name__}", f"Set `{name}`.")
    config: type[Any] = cls.Config
    if not issubclass(config, StageConfig):
        refuse("`Config` does not derive from pipeline.stage.StageConfig", "Derive it.")
    for name, info in cls.Config.model_fields.items():
        extra = info.json_schema_extra
        if not isinstance(extra, dict) or extra.get("kind") not in ("signal", "threshold", "runtime"):
            refuse(
                f"config field `{name}` does not say whether it is a signal or a threshold field",
                "Declare it with signal(), threshold(), resource() or runtime().",
            )
    if not cls.ports or len(set(cls.ports)) != len(cls.ports):
        refuse(f"`ports` must be distinct names, found {cls.ports!r}", "Name each output once.")
    reserved = {"dropped", "quarantined"} & set(cls.ports)
    if reserved:
        refuse(f"`ports` uses the reserved name {sorted(reserved)[0]!r}", "Rename the port.")
    if not cls.implements("decide"):
        refuse("`decide` is not implemented", "Every stage decides; one that keeps all rows emits them on its port.")
    if cls.implements("survey") != cls.implements("settle"):
        refuse("`survey` and `settle` go together", "Implement both or neither.")


def keep_all(rows: int, **columns: pa.Array) -> Decisions:
    """Decisions that emit every row on the default port, with new columns."""
    return Decisions(port=np.zeros(rows, np.int16), columns=columns)


def from_failures(
    failures: Mapping[str, np.ndarray],
    values: Mapping[str, np.ndarray] | None = None,
    thresholds: Mapping[str, np.ndarray | float] | None = None,
    *,
    rows: int,
    mark: bool = False,
    columns: Mapping[str, pa.Array] | None = None,
    tallies: Mapping[str, int] | None = None,
) -> Decisions:
    """Decisions of a filter from one bool array per rule, in the order in which the rules are tried.

    The first failing rule decides and gives value and threshold; all failing rules are recorded. With `mark` the row
    is emitted all the same.
    """
    names = tuple(failures)
    if len(names) > MAX_RULES:
        raise ContractError(f"a stage may have at most {MAX_RULES} rules, found {len(names)}")
    rule = np.full(rows, -1, np.int16)
    failed = np.zeros(rows, np.uint64)
    value = np.full(rows, np.nan)
    limit = np.full(rows, np.nan)
    for index, name in enumerate(names):
        hit = np.asarray(failures[name], bool)
        failed[hit] |= np.uint64(1) << np.uint64(index)
        first = hit & (rule < 0)
        rule[first] = index
        if values is not None and name in values:
            value[first] = np.asarray(values[name], np.float64)[first]
        if thresholds is not None and name in thresholds:
            limit[first] = np.broadcast_to(np.asarray(thresholds[name], np.float64), (rows,))[first]
    port = np.zeros(rows, np.int16) if mark else np.where(rule >= 0, DROPPED, 0).astype(np.int16)
    return Decisions(
        port=port,
        rules=names,
        rule=rule,
        failed=failed,
        value=value,
        threshold=limit,
        columns=columns or {},
        tallies=tallies or {},
    )
