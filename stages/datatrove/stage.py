"""Blocks of datatrove as nodes: a filter keeps or drops with its own reason, a formatter changes the text.

    measure  documents go, one by one, to a process that holds the block, made once; its answers are signals
    decide   dropped with the block's reason, kept, or kept with a new text

A block cannot reach into a run: it sees one document at a time, in a process with limits of time and memory, and what it does
to a document is an answer like another's, in the ledger. See docs/datatrove.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import field_validator, model_validator

from gristmill.pipeline.document import DOC_KEY, ID, TEXT, TEXT_TYPE, blank_rows, one_chunk, text_buffers
from gristmill.pipeline.errors import ConfigError, ContractError, DocumentError
from gristmill.pipeline.parser_process import Failed, Page, ParserProcess, ParserUnusable, shared_parser
from gristmill.pipeline.resources import Resources
from gristmill.pipeline.stage import (
    DROPPED,
    QUARANTINED,
    Cost,
    Decisions,
    SettledView,
    Stage,
    StageConfig,
    StageContext,
    StageSpec,
    runtime,
    signal,
    threshold,
)
from gristmill.stages.datatrove.blocks import (
    EXAMINED,
    LEAST_VERSION,
    REMOVED,
    Block,
    Refused,
    block_named,
    installed_version,
    versions,
    words_problem,
)

PROCESS = str(Path(__file__).with_name("block_process.py"))
"""The module that block processes load, by its path."""
DESCRIBE = b"describe"
"""As in that module, which nothing here can import."""
EMPTIED, CHANGED = "emptied", "changed_text"
ERROR, TIMEOUT, CRASH = "block_error", "block_timeout", "block_crash"
OWN_RULES = (REMOVED, EMPTIED, CHANGED, ERROR, TIMEOUT, CRASH)
REASON, NEW_TEXT, CHARACTERS, FAILED = "block_reason", "block_text", "block_characters", "block_failed"
SIGNALS = pa.schema([(REASON, pa.string()), (NEW_TEXT, TEXT_TYPE), (CHARACTERS, pa.int64()), (FAILED, pa.string())])
"""Why the block drops a document (null: it does not), the new text of one that it keeps (null: as it was), by how many
characters that is longer, and what kept the block from answering: `error: …`, `timeout` or `crash`."""
ADDRESS_SPACE = 3 << 30
"""Bytes that a process may map beside what it may hold."""


class DatatroveConfig(StageConfig):
    """Config of `datatrove`.

    Attributes:
        block: the class: a filter or formatter of datatrove, such as `datatrove.pipeline.filters.C4QualityFilter`, or one of a
            module that --plugin names.
        args: its arguments, by name. Lists stand for tuples too.
        metadata: columns that the block finds in a document's metadata under their own names, or a map: its name to the
            column. What an examined block needs (URLFilter: `url`) is there anyway.
        reasons: of a block outside datatrove: the reasons with which it drops, which become rules. Others are the rule
            `removed`, with the reason as witness.
        on_error: what becomes of a document at which the block raises, returns nothing or changes metadata: `stop` the run and
            name it, or `quarantine` it with what was raised.
        seconds: time for a document. One that takes longer is tried once more, alone, with ten times the time.
        max_lost: largest share of documents that may be lost to time or to a crash of the block.
        memory_bytes: resident memory above which the block's process is replaced by a new one.
    """

    block: str = signal(min_length=1)
    args: Mapping[str, Any] = signal({})
    metadata: Mapping[str, str] = signal({})
    reasons: tuple[str, ...] = threshold(())
    on_error: Literal["stop", "quarantine"] = threshold("stop")
    seconds: float = runtime(20.0, gt=0)
    max_lost: float = runtime(0.001, ge=0, le=1)
    memory_bytes: int = runtime(2 << 30, ge=256 << 20)

    @field_validator("block")
    @classmethod
    def _may_be_a_block(cls, value: str) -> str:
        try:
            return block_named(value).path
        except Refused as error:
            raise ValueError(f"{error}.") from error

    @field_validator("metadata", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        names = [value] if isinstance(value, str) else value
        return {name: name for name in names} if isinstance(names, (list, tuple)) else names

    @model_validator(mode="after")
    def _args_fit(self) -> DatatroveConfig:
        known = block_named(self.block)
        problem = known.problem(self.args)
        if problem:
            raise ValueError(f"block {self.block}: {problem}.")
        if known.examined and self.reasons:
            raise ValueError(f"reasons: those of {self.block} are known; leave them out.")
        taken = sorted(set(self.reasons) & set(OWN_RULES))
        if taken:
            raise ValueError(f"reasons: `{taken[0]}` is a rule of the stage; leave it out.")
        return self


class Datatrove(Stage):
    """Runs a filter or formatter of datatrove as a node."""

    Config = DatatroveConfig
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "runs a filter or formatter of the library datatrove, or one written for it"

    config: DatatroveConfig

    @cached_property
    def block(self) -> Block:
        """What is known of the block."""
        return block_named(self.config.block)

    @property
    def _metadata(self) -> dict[str, str]:
        return {**{name: name for name in self.block.needs}, **self.config.metadata}

    @property
    def _rules(self) -> tuple[str, ...]:
        reasons = self.block.reasons(self.config.args) if self.block.examined else self.config.reasons
        return tuple(dict.fromkeys((*reasons, *OWN_RULES)))

    def declare(self) -> StageSpec:
        config, block = self.config, self.block
        text = {TEXT} if block.reads_text else set()
        return StageSpec(
            cost=Cost(measure=2000, survey=0, settle=0),
            measure_reads={*text, *self._metadata.values()},
            optional_reads={ID},
            signals=SIGNALS,
            shown=set(),
            hidden={NEW_TEXT},
            findings=pa.schema([(TEXT, TEXT_TYPE)]) if block.changes_text else pa.schema([]),
            changes_text=block.changes_text,
            rules=self._rules,
            irreproducible={TIMEOUT: config.max_lost, CRASH: config.max_lost},
            libraries=versions(block, config.args),
            models=self._source(),
            notices=tuple(self._notices()),
            resources=Resources(memory_bytes=config.memory_bytes),
            slow=True,
        )

    def _source(self) -> dict[str, Path]:
        """The file of a block outside datatrove: its digest stands for a version."""
        module = sys.modules.get(self.config.block.rpartition(".")[0])
        file = None if self.config.block.startswith("datatrove.") else getattr(module, "__file__", None)
        return {} if file is None else {"module": Path(file)}

    def _notices(self) -> Sequence[str]:
        found = installed_version()
        if found is None or found in EXAMINED:
            return ()
        return (
            f"the blocks of datatrove {found} were not examined, those of {', '.join(EXAMINED)} were: of others the structure "
            "is checked, not what they do.",
        )

    def check_files(self) -> None:
        """Makes the block in its process. Raises ConfigError with what is wrong with it."""
        where = f"stage datatrove: block {self.config.block}"
        found = installed_version()
        if found is None:
            raise ConfigError(
                f"{where}: datatrove is not installed. Install the extra: pip install 'gristmill[datatrove]'"
            )
        if tuple(int(part) for part in found.split(".")[:2]) < LEAST_VERSION:
            raise ConfigError(f"{where}: expected datatrove 0.10 or later, found {found}. Install a newer one.")
        module = self.config.block.rpartition(".")[0]
        if not self.config.block.startswith("datatrove.") and module not in sys.modules:
            raise ConfigError(
                f"{where}: the module `{module}` is not datatrove's, and a config alone imports no code. Name it on the "
                f"command line: --plugin {module}"
            )
        problem = words_problem(self.block, self.config.args)
        if problem is None:
            try:
                (answer,) = self._process().parse([(DESCRIBE, b"")], self.config.seconds)
            except ParserUnusable as error:
                raise ConfigError(f"{where}: {error}") from error
            problem = answer.detail if isinstance(answer, Failed) else json.loads(answer)["problem"]
        if problem:
            raise ConfigError(f"{where}: {problem}.")

    def _process(self) -> ParserProcess:
        module, _, name = self.config.block.rpartition(".")
        settings = {
            "module": module,
            "name": name,
            "args": dict(self.config.args),
            "examined": self.block.examined and installed_version() in EXAMINED,
        }
        memory = self.config.memory_bytes
        return shared_parser(PROCESS, settings, resident=memory, address_space=memory + ADDRESS_SPACE)

    def measure(self, batch: pa.Table, context: StageContext) -> dict[str, pa.Array]:
        """Asks the block about each document."""
        answers = self._process().parse(self._pages(batch), self.config.seconds) if batch.num_rows else []
        read = [_read(answer) for answer in answers]
        reasons, texts, failures = zip(*read, strict=True) if read else ((), (), ())
        new = pa.array(texts, TEXT_TYPE)
        grown = pa.nulls(len(new), pa.int64())
        if self.block.changes_text:
            before = pc.utf8_length(one_chunk(batch[TEXT])).cast(pa.int64())
            grown = pc.subtract(pc.utf8_length(new).cast(pa.int64()), before)
        return {
            REASON: pa.array(reasons, pa.string()),
            NEW_TEXT: new,
            CHARACTERS: grown,
            FAILED: pa.array(failures, pa.string()),
        }

    def _pages(self, batch: pa.Table) -> list[Page]:
        """Documents as their process reads them."""
        columns = {name: batch[column].to_pylist() for name, column in self._metadata.items()}
        names = _names(batch)
        texts: Sequence[bytes | memoryview] = [b""] * batch.num_rows
        if self.block.reads_text:
            data, offsets = text_buffers(batch[TEXT])
            view, bounds = memoryview(data.data), offsets.tolist()
            texts = [view[begin:end] for begin, end in zip(bounds, bounds[1:], strict=False)]
        pages = []
        for row, (name, text) in enumerate(zip(names, texts, strict=True)):
            metadata = {key: values[row] for key, values in columns.items()}
            try:
                pages.append((json.dumps({"id": name, "metadata": metadata}).encode(), text))
            except TypeError as error:
                raise ContractError(
                    f"stage datatrove: metadata: a block gets text, numbers and lists of these, and `{name}` has another value "
                    f"({error}). Leave that column out, or make it text."
                ) from error
        return pages

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        """As the block says; documents about which it could not be asked are dropped, or set aside, by name."""
        rules, rows = self._rules, batch.num_rows
        number = {name: at for at, name in enumerate(rules)}
        port, rule = np.zeros(rows, np.int16), np.full(rows, -1, np.int16)
        witness: list[str | None] = [None] * rows
        reasons, failures = (batch[name].to_pylist() for name in (REASON, FAILED))
        new = one_chunk(batch[NEW_TEXT])
        changed = np.asarray(new.is_valid())
        emptied = changed & blank_rows(new)
        rule[changed] = number[CHANGED]
        rule[emptied], port[emptied] = number[EMPTIED], DROPPED
        for row, reason in enumerate(reasons):
            if reason is not None:
                named = reason in number and reason not in OWN_RULES
                rule[row], port[row] = number[reason if named else REMOVED], DROPPED
                witness[row] = None if named else reason or None
        for row, failure in enumerate(failures):
            if failure is not None:
                rule[row], port[row], witness[row] = self._failed(batch, row, failure, number)
        kept_text = pa.array(changed & (port == 0))
        characters = np.asarray(pc.fill_null(one_chunk(batch[CHARACTERS]), 0), np.float64)
        return Decisions(
            port=port,
            rules=rules,
            rule=rule,
            value=np.where(rule == number[CHANGED], characters, np.nan),
            witness=pa.array(witness, pa.string()),
            columns={TEXT: pc.if_else(kept_text, new, pa.scalar(None, TEXT_TYPE))} if self.block.changes_text else {},
        )

    def _failed(
        self, batch: pa.Table, row: int, failure: str, number: Mapping[str, int]
    ) -> tuple[int, int, str | None]:
        """Rule, port and witness of a document about which the block did not answer."""
        if failure in ("timeout", "crash"):
            return number[TIMEOUT if failure == "timeout" else CRASH], DROPPED, None
        said = failure.removeprefix("error: ")
        if self.config.on_error == "stop":
            raise DocumentError(
                f"the block {self.config.block} fails at the document {_names(batch)[row]}: {said}. It is the block that does "
                "so, not Gristmill: mend it or its `args`, or set such documents aside with `on_error: quarantine`."
            )
        return number[ERROR], QUARANTINED, said


def _names(batch: pa.Table) -> list[str]:
    """The id of each document, or its doc_key where it has none."""
    keys = [key.hex() for key in batch[DOC_KEY].to_pylist()]
    given = batch[ID].to_pylist() if ID in batch.column_names else keys
    return [key if name is None else str(name) for name, key in zip(given, keys, strict=True)]


def _read(answer: bytes | Failed) -> tuple[str | None, str | None, str | None]:
    """Reason (empty for a drop without one), new text and failure of a document."""
    if isinstance(answer, Failed):
        # The machine's share of the answer (a signal, a time) stays out of what is kept, a block's own words go in.
        return None, None, f"error: {answer.detail}" if answer.kind == "error" else answer.kind
    head, _, text = answer.partition(b"\n")
    said = json.loads(head)
    if not said["kept"]:
        return said["reason"] or "", None, None
    return None, text.decode("utf-8") if said["changed"] else None, None
