"""The stage contract: measure, survey, settle, decide, and what a stage declares about itself.

    measure(batch)          -> columns     signals: row by row, free of thresholds, the costly part
    survey(batch)           -> notes       small rows about a batch that the whole corpus must know; kept
    settle(notes, exchange) -> settled     the corpus-wide answer, computed in parallel
    decide(batch, settled)  -> decisions   thresholds live here; exactly one decision per row

A stage implements those it needs. Every stage must be partition-invariant, which one shared test checks: any split into
batches and tasks, any order and any merge tree give equal results. Sums are integers or fixed-point for that reason.

A stage is a class; what it reads, adds and may do is one value (`declare`, see pipeline.stage_spec). The contract is checked
when the class is defined and when it declares, not at row one million.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from gristmill.pipeline.errors import GUIDE, ContractError
from gristmill.pipeline.resources import Cost, Resources
from gristmill.pipeline.stage_spec import MAX_RULES, StageContext, StageSpec

if TYPE_CHECKING:
    from gristmill.pipeline.exchange import Exchange, Rows

__all__ = [
    "DROPPED",
    "MAX_RULES",
    "QUARANTINED",
    "Cost",
    "Decisions",
    "Resources",
    "Settled",
    "SettledView",
    "Stage",
    "StageConfig",
    "StageContext",
    "StageSpec",
    "from_failures",
    "keep_all",
    "one_or_several",
    "resource",
    "runtime",
    "signal",
    "threshold",
]

FieldKind = Literal["signal", "threshold", "runtime"]

DROPPED = -1
"""`Decisions.port` of a row that is removed."""
QUARANTINED = -2
"""`Decisions.port` of a row that could not be judged and is set aside with its reason."""
OLD_HOOKS = frozenset(
    {
        "measure_reads",
        "survey_reads",
        "decide_reads",
        "optional_reads",
        "signals",
        "findings",
        "rules",
        "hidden",
        "shown",
    }
    | {"models", "libraries", "observes", "names_sources", "deciding_for", "keeps_notes", "against", "notice"}
    | {"changes_text", "emits_copies", "seeded", "reproducible"}
)
"""What a stage once declared in methods and class attributes of these names, and now in the fields of its StageSpec."""


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
    `models`, and its content's digest enters instead, among the fields of `kind`."""
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
        compared: by rule that compares numbers, (values, limits, whether it failed) of every row: for those who look for the
            rows closest to a limit. Not kept in a run.
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
    compared: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=dict)


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
    """Base of all stages. A subclass sets the class attributes, declares the rest, and implements what it needs of the
    four functions; `decide` it always needs.

    Class attributes:
        Config: the stage's config, a subclass of StageConfig.
        version: raised whenever the same config and input may give another result; enters every fingerprint.
        summary: one line for `gristmill stages`.
        ports: the outputs, the default port first; a config may leave some out (`StageSpec.ports`).
    """

    Config: ClassVar[type[StageConfig]]
    version: ClassVar[int]
    summary: ClassVar[str]
    ports: ClassVar[tuple[str, ...]] = ("kept",)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not inspect.isabstract(cls):
            check_contract(cls)

    def __init__(self, config: Any) -> None:
        """Cheap: reads no model and no data. The engine makes stages while planning."""
        self.config = config

    def declare(self) -> StageSpec:
        """What the stage reads, adds and may do, given its config. Cheap: opens no file; models are named, not read.

        Raises ConfigError for settings that it cannot use. The engine calls it once: `spec` is the checked result.
        """
        raise NotImplementedError

    @cached_property
    def spec(self) -> StageSpec:
        """What `declare` returned, checked and with its ports. Raises ContractError where it contradicts the class."""
        try:
            spec = self.declare()
            return check_spec(type(self), spec)
        except ContractError as error:
            raise ContractError(f"stage class {_name(type(self))}: `declare`: {error}. See {GUIDE}.") from error

    # What a stage may look at before any work.

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

    def recheck(self, told: pa.Table) -> Iterator[tuple[int, str]]:
        """For an audit of a stage that settles, whose decisions cannot be made again: rows of the ledger about this node whose
        own words contradict each other, each with what was expected and found. `told` has all of them of a task, as in the
        ledger."""
        yield from ()

    # What the stage does. `context` says what there is to know about the run, and is always the last argument.

    def measure(self, batch: pa.Table, context: StageContext) -> Mapping[str, pa.Array]:
        """Signals of each row: exactly the columns of `signals`, one entry per row."""
        raise NotImplementedError

    def survey(self, batch: pa.Table, context: StageContext) -> pa.Table:
        """Notes about a batch. Notes about documents carry `doc_key`; the engine adds `task` to all notes.

        A survey that observes another node gets a bool column `dropped`: what became of the row there.
        """
        raise NotImplementedError

    def settle(self, notes: Rows, exchange: Exchange, context: StageContext) -> Settled:
        """The corpus-wide answer, from all notes, with the exchange's operators and nothing else."""
        raise NotImplementedError

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        """One decision per row. `batch` has the upstream columns and the stage's own signals."""
        raise NotImplementedError

    @classmethod
    def implements(cls, function: str) -> bool:
        """Whether the class has its own version of `measure`, `survey`, `settle`, `decide` or `declare`."""
        return getattr(cls, function) is not getattr(Stage, function)


def _name(cls: type[Stage]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def check_contract(cls: type[Stage]) -> None:
    """Raises ContractError when a stage class leaves out or contradicts what the engine relies on."""

    def refuse(problem: str, remedy: str) -> None:
        raise ContractError(f"stage class {_name(cls)}: {problem}. {remedy}")

    for name, kind in (("Config", type), ("version", int), ("summary", str)):
        if not isinstance(getattr(cls, name, None), kind):
            refuse(f"the class attribute `{name}` is missing or no {kind.__name__}", f"Set `{name}`.")
    config: type[Any] = cls.Config
    if not issubclass(config, StageConfig):
        refuse("`Config` does not derive from gristmill.pipeline.stage.StageConfig", "Derive it.")
    for name, info in cls.Config.model_fields.items():
        extra = info.json_schema_extra
        if not isinstance(extra, dict) or extra.get("kind") not in ("signal", "threshold", "runtime"):
            refuse(
                f"config field `{name}` does not say whether it is a signal or a threshold field",
                "Declare it with signal(), threshold(), resource() or runtime().",
            )
    # Where a class names them, the old hooks must not go unheard: they would declare nothing.
    old = [name for name in dir(cls) if name in OLD_HOOKS]
    if old:
        refuse(
            f"`{'`, `'.join(old)}` {'is' if len(old) == 1 else 'are'} of the old base class, and nobody reads "
            f"{'it' if len(old) == 1 else 'them'} any more",
            "Return what they said as one value, `def declare(self) -> StageSpec`, and give measure, survey, settle and "
            f"decide a last parameter `context`, which has the run's seed, work folder and source. See {GUIDE}.",
        )
    ports: Any = cls.ports
    if not ports or not isinstance(ports, tuple) or len(set(ports)) != len(ports):
        refuse(f"`ports` must be a tuple of distinct names, found {ports!r}", "Name each output once.")
    reserved = {"dropped", "quarantined"} & set(ports)
    if reserved:
        refuse(f"`ports` uses the reserved name {sorted(reserved)[0]!r}", "Rename the port.")
    if not cls.implements("decide"):
        refuse("`decide` is not implemented", "Every stage decides; one that keeps all rows emits them on its port.")
    if not cls.implements("declare"):
        refuse(
            "`declare` is not implemented",
            f"Return what the stage reads and adds: `def declare(self) -> StageSpec: …`. See {GUIDE}.",
        )
    if cls.implements("survey") != cls.implements("settle"):
        refuse("`survey` and `settle` go together", "Implement both or neither.")
    for name in ("declare", "measure", "survey", "settle", "decide"):
        # A class that somebody wraps may take anything (*args), which is as good.
        expected = list(inspect.signature(getattr(Stage, name)).parameters)
        try:
            inspect.signature(getattr(cls, name)).bind(*expected)
        except TypeError:
            found = ", ".join(inspect.signature(getattr(cls, name)).parameters)
            refuse(
                f"`{name}` takes ({found}), but is called with ({', '.join(expected)})",
                f"Give it these parameters. See {GUIDE}.",
            )


def check_spec(cls: type[Stage], spec: object) -> StageSpec:
    """What `declare` returned, with the class's ports where it names none.

    Raises ContractError where it is no StageSpec, or declares something about a function that the class does not have.
    """
    if not isinstance(spec, StageSpec):
        raise ContractError(f"it returned {spec!r}; expected a StageSpec")
    unknown = [port for port in spec.ports if port not in cls.ports]
    if unknown:
        raise ContractError(f"`ports` names `{unknown[0]}`, which is not among the class's {', '.join(cls.ports)}")
    needs = {
        "measure": {"signals": spec.signals.names, "measure_reads": spec.measure_reads},
        "survey": {
            "survey_reads": spec.survey_reads,
            "observes": spec.observes,
            "keeps_notes": spec.keeps_notes,
            "against": spec.against,
        },
    }
    for function, declared in needs.items():
        for name, value in declared.items():
            if value and not cls.implements(function):
                raise ContractError(f"it sets `{name}`, but the class has no `{function}`")
            if value and function == "survey" and not spec.surveys:
                raise ContractError(f"it sets `{name}`, but says that there is no survey (`surveys=False`)")
    return spec if spec.ports else replace(spec, ports=cls.ports)


def keep_all(rows: int, **columns: pa.Array) -> Decisions:
    """Decisions that emit every row on the default port, with new columns."""
    return Decisions(port=np.zeros(rows, np.int16), columns=columns)


def one_or_several(value: Any) -> Any:
    """For config fields that take one name or path or a list of them, before pydantic looks at them: always a tuple, since a
    validator's list is refused for one; empty for null and the empty text."""
    if isinstance(value, (str, Path)) or value is None:
        return (value,) if value else ()
    return tuple(value) if isinstance(value, list) else value


def from_failures(
    failures: Mapping[str, np.ndarray],
    values: Mapping[str, np.ndarray] | None = None,
    thresholds: Mapping[str, np.ndarray | float] | None = None,
    *,
    rows: int | None = None,
    mark: bool = False,
    columns: Mapping[str, pa.Array] | None = None,
    tallies: Mapping[str, int] | None = None,
) -> Decisions:
    """Decisions of a filter from one bool array per rule, in the order in which the rules are tried.

    The first failing rule decides and gives value and threshold; all failing rules are recorded. With `mark` the row
    is emitted all the same. `rows` is only needed where there may be no rule at all.
    """
    names = tuple(failures)
    if rows is None:
        rows = len(next(iter(failures.values()), ()))
    if len(names) > MAX_RULES:
        raise ContractError(f"a stage may have at most {MAX_RULES} rules, found {len(names)}")
    rule = np.full(rows, -1, np.int16)
    failed = np.zeros(rows, np.uint64)
    value = np.full(rows, np.nan)
    limit = np.full(rows, np.nan)
    compared = {}
    for index, name in enumerate(names):
        hit = np.asarray(failures[name], bool)
        if values is not None and name in values and thresholds is not None and name in thresholds:
            compared[name] = np.asarray(values[name]), np.broadcast_to(np.asarray(thresholds[name]), (rows,)), hit
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
        compared=compared,
    )
