"""What a stage declares about itself, in one value, and what the engine tells it in another.

A stage's `declare()` returns a StageSpec; each of its functions gets a StageContext. Both are frozen: nobody changes a
stage from outside, so that one object serves every task of a process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from gristmill.pipeline.document import RESERVED, TEXT, TEXT_TYPE
from gristmill.pipeline.errors import ContractError
from gristmill.pipeline.resources import Cost, Resources

TEXT_RULES = ("empty_text", "too_large")
"""Rules by which the engine judges a text where it comes into being, read by a source or made by a stage: `empty_text` (null,
no bytes or only white space) drops, `too_large` (above `max_document_bytes`) quarantines."""
EMPTY_PAYLOAD = "empty_payload"
"""Rule of a source that brings payloads: null or no bytes (dropped). The text is judged where it is made."""
REVOKED = "revoked"
"""Rule by which a source drops what the run's revocation list names."""
MAX_RULES = 64
"""All failing rules of a row travel as one 64-bit mask."""
NO_COLUMNS: pa.Schema = pa.schema([])


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """All that a stage declares, given its config. What is left out is empty or off.

    Attributes:
        ports: the outputs that this config has, the default one first; left out: all of the class's `ports`.
        measure_reads: columns that `measure` reads (`doc_key` is always there).
        payload: columns from which `measure` reads a document as it was found, such as `html` or `bytes`: text or binary
            columns of a source. They are among `measure_reads` without being named there.
        survey_reads: columns that `survey` reads; its own signals are among the columns it gets.
        decide_reads: columns, other than its own signals, that `decide` reads.
        optional_reads: columns that `measure`, `survey` and `decide` get when the input happens to have them.
        signals: columns that `measure` adds.
        findings: columns that `decide` adds.
        rules: names of all rules that a decision may carry, in the order in which they are tried; at most 64.
        settings: the config field, or the path of one, that a rule's limit comes from, by rule: what a person changes whom
            the rule costs too much.
        hidden: signals that serve only this stage: kept in annotations, left out of outputs and of other stages' view.
        shown: signals that shards hold where a config does not say `columns: all`; left out: all that are not hidden. Name
            what a reader of the texts needs. All signals that are not hidden are in the output's `signals/NODE/` in any case.
        models: model files, word lists or folders that decide the result, by config field or a name of their own. Their
            SHA-256 enters the fingerprint (see `pipeline.stage.resource`) and the log.
        libraries: versions, by name, of optional libraries that decide the signals where they are installed. They enter
            the fingerprints.
        observes: the upstream node that the survey attaches to, instead of this node's own entry.
        names_sources: config fields that name sources, with the names: the graph refuses those that do not lead to the
            node.
        changes_text: whether `decide` may add the column `text` (large_string, declared in `findings`): the new text of
            rows whose text it changes, null for the others. Nodes after it see the new text. A row that is emitted with
            a new text carries the rule that says why, so that the ledger records whose text differs from its source's; one
            that has nothing but white space left is dropped with a rule.
        makes_text: whether `measure` makes the column `text` (large_string, declared in `signals`) for documents that
            came without one, from `payload`. What `decide` emits is then judged by the rules `empty_text` and `too_large`,
            which the spec gets by itself, so a null says that there is none.
        emits_copies: whether `decide` may give a row more than one copy.
        seeded: whether `settle` or `decide` use the run's seed (`measure` and `survey` never may); it then enters the
            fingerprint of what they decide.
        reproducible: whether `measure` finds the same again. One that asks a model elsewhere may not: its signals are
            then recorded facts. Audits replay decisions from the recorded signals, and samples do not ask.
        irreproducible: rules that depend on the machine and its load, such as a time limit, with the largest share of the
            rows that enter the node which may carry each (a few always may): more end the run. What they decide is a recorded
            fact, the manifest names them, and audits do not measure those documents again.
        tolerances: largest differences, by signal, between what `measure` finds and what it finds elsewhere, with another
            processor or in other batches, as scores of neural networks have them: |a - b| ≤ tolerance · max(1, |a|, |b|).
            Signals of such a stage are recorded facts: they are measured before the last pass, audits replay decisions
            exactly from what is on record, and what they measure again is compared within these bounds. `math.inf`: not at
            all. Signals that are not named are the same again.
        surveys: whether the config needs the class's `survey` and `settle`. If false, neither is called, and no pass waits.
        keeps_notes: whether outputs keep this node's notes (one row per document, with `doc_key`), for runs after this.
        against: outputs of finished runs whose kept notes of this stage join this run's when it settles. Their rows have
            a negative `task`: -1 - 2i for a document that the i-th of these runs emitted at that node, -2 - 2i for one
            that it did not (see `pipeline.planning.prior_runs`). The stage leaves them out of what it settles for
            documents.
        notices: warnings for the person who starts the run: what the config will not do as one might think.
        resources: what a process needs that runs this stage.
        slow: whether `measure` takes seconds for a batch (at most 16 MiB of text or payload), as parsers of pages and large
            models do: what it finds is then kept batch by batch while a task is under way, so that an attempt after one
            that was killed goes on where that was.
        cost: how long it takes, about. It decides nothing about a result.
    """

    ports: tuple[str, ...] = ()
    measure_reads: AbstractSet[str] = frozenset()
    payload: AbstractSet[str] = frozenset()
    survey_reads: AbstractSet[str] = frozenset()
    decide_reads: AbstractSet[str] = frozenset()
    optional_reads: AbstractSet[str] = frozenset()
    signals: pa.Schema = NO_COLUMNS
    findings: pa.Schema = NO_COLUMNS
    rules: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    hidden: AbstractSet[str] = frozenset()
    shown: AbstractSet[str] | None = None
    models: Mapping[str, Path] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    observes: str | None = None
    names_sources: Mapping[str, Iterable[str]] = field(default_factory=dict)
    changes_text: bool = False
    makes_text: bool = False
    emits_copies: bool = False
    seeded: bool = False
    reproducible: bool = True
    irreproducible: Mapping[str, float] = field(default_factory=dict)
    tolerances: Mapping[str, float] = field(default_factory=dict)
    surveys: bool = True
    keeps_notes: bool = False
    against: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    resources: Resources = Resources()
    slow: bool = False
    cost: Cost = Cost()

    def __post_init__(self) -> None:
        for name in ("ports", "rules", "against", "notices"):
            self._set(name, tuple(_names(name, getattr(self, name))))
        for name in ("measure_reads", "payload", "survey_reads", "decide_reads", "optional_reads", "hidden"):
            self._set(name, frozenset(_names(name, getattr(self, name))))
        if self.shown is not None:
            self._set("shown", frozenset(_names("shown", self.shown)))
        self._set("measure_reads", self.measure_reads | self.payload)
        if self.makes_text is True:
            self._set("rules", (*self.rules, *(rule for rule in TEXT_RULES if rule not in self.rules)))
        self._set("names_sources", {k: tuple(_names("names_sources", v)) for k, v in self._map("names_sources")})
        self._set("irreproducible", dict(self._map("irreproducible")))
        self._set("tolerances", dict(self._map("tolerances")))
        self._set("models", {k: Path(_text("models", v)) for k, v in self._map("models")})
        self._set("settings", {k: _text("settings", v) for k, v in self._map("settings")})
        self._set("libraries", {k: _text("libraries", v) for k, v in self._map("libraries")})
        self._check_types()
        self._check_names()
        self._check_text()

    @property
    def in_shards(self) -> AbstractSet[str]:
        """Signals that shards hold; all signals are in the output's `signals/NODE/` in any case."""
        return frozenset(self.signals.names) - self.hidden if self.shown is None else self.shown

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _map(self, name: str) -> Iterable[tuple[str, Any]]:
        value = getattr(self, name)
        if not isinstance(value, Mapping):
            raise ContractError(f"`{name}` is {value!r}; expected a map by name")
        return value.items()

    def _check_types(self) -> None:
        for name in ("signals", "findings"):
            if not isinstance(getattr(self, name), pa.Schema):
                raise ContractError(
                    f"`{name}` is {getattr(self, name)!r}; expected a pyarrow schema, such as "
                    'pa.schema([("length", pa.int64())])'
                )
        for item in fields(self):
            if item.type == "bool" and not isinstance(getattr(self, item.name), bool):
                raise ContractError(f"`{item.name}` is {getattr(self, item.name)!r}; expected True or False")
        if self.observes is not None:
            _text("observes", self.observes)
        if not isinstance(self.resources, Resources):
            raise ContractError(
                f"`resources` is {self.resources!r}; expected Resources(cpus=…, gpus=…, memory_bytes=…)"
            )
        if not isinstance(self.cost, Cost):
            raise ContractError(f"`cost` is {self.cost!r}; expected Cost(measure=…, survey=…, settle=…)")

    def _check_names(self) -> None:
        for name in ("ports", "rules"):
            doubled = _doubled(getattr(self, name))
            if doubled:
                raise ContractError(f"`{name}` names `{doubled}` twice")
        reserved = {"dropped", "quarantined"} & set(self.ports)
        if reserved:
            raise ContractError(f"`ports` uses the reserved name {min(reserved)!r}")
        if len(self.rules) > MAX_RULES:
            raise ContractError(f"`rules` has {len(self.rules)} names; at most {MAX_RULES} are possible")
        columns = [*self.signals.names, *self.findings.names]
        doubled = _doubled(columns)
        if doubled:
            raise ContractError(f"the column `{doubled}` is declared twice, among `signals` and `findings`")
        for name in sorted(RESERVED & set(columns)):
            raise ContractError(f"`{name}` is a column that the engine makes; give the stage's another name")
        for name in ("irreproducible", "settings"):
            foreign = sorted(set(getattr(self, name)) - set(self.rules))
            if foreign:
                raise ContractError(f"`{name}` names `{foreign[0]}`, which is not among `rules`")
        for name, bound in self.tolerances.items():
            if isinstance(bound, bool) or not isinstance(bound, (int, float)) or not bound >= 0:
                raise ContractError(f"`tolerances`: `{name}` is {bound!r}; expected a number of at least 0")
        for name, names in (("tolerances", self.tolerances), ("hidden", self.hidden), ("shown", self.shown or ())):
            unknown = sorted(set(names) - set(self.signals.names))
            if unknown:
                raise ContractError(f"`{name}` names `{unknown[0]}`, which is not among `signals`")

    def _check_text(self) -> None:
        for flag, function, name in (("changes_text", "decide", "findings"), ("makes_text", "measure", "signals")):
            schema: pa.Schema = getattr(self, name)
            adds = TEXT in schema.names
            if adds and not getattr(self, flag):
                raise ContractError(
                    f"`{name}` has the column `{TEXT}`; a stage whose `{function}` adds it sets `{flag}`"
                )
            if getattr(self, flag) and not (adds and schema.field(TEXT).type == TEXT_TYPE):
                raise ContractError(f"it sets `{flag}`, so `{name}` must have the column `{TEXT}` of type {TEXT_TYPE}")


@dataclass(frozen=True, kw_only=True)
class StageContext:
    """What the engine tells each function of a stage about the run.

    Attributes:
        given_seed: the run's seed, where the function may use it; see `seed`.
        work: a folder that all tasks of the run share and that is there until the run is done, for what must not be got
            twice: a path or a bucket's URL, to be used through `pipeline.storage`. None in a sample and in an audit.
        source: the source whose documents are at hand; None in `settle`, which sees those of all.
        license: what the config says of that source's licence: `spdx`, `stated_by`, `evidence`; None where it says nothing.
        kept: what a function keeps from one batch of a slice for the next, within a bound that its stage counts among its
            `resources`. It may save work and must decide nothing.
    """

    given_seed: int | None = None
    work: str | None = None
    source: str | None = None
    license: Mapping[str, str | None] | None = None
    kept: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def seed(self) -> int:
        """The run's seed, for `settle` and `decide` of a stage that declares `seeded`.

        Raises ContractError elsewhere: a seed that is in no fingerprint would change results unnoticed.
        """
        if self.given_seed is None:
            raise ContractError(
                "a stage uses the run's seed where it may not. `settle` and `decide` may, when `declare` returns "
                "StageSpec(seeded=True, …); `measure` and `survey` never, since what they find is kept for other seeds."
            )
        return self.given_seed


def _names(field_name: str, value: object) -> list[str]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise ContractError(f"`{field_name}` is {value!r}; expected several names, such as {_example(field_name)}")
    return [_text(field_name, item) for item in value]


def _example(field_name: str) -> str:
    return '("too_short",)' if field_name == "rules" else '{"text"}' if "reads" in field_name else '("name",)'


def _text(field_name: str, value: object) -> str:
    if not isinstance(value, (str, Path)) or not str(value):
        raise ContractError(f"`{field_name}` holds {value!r}; expected text")
    return str(value)


def _doubled(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
