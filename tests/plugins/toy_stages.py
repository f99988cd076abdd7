"""Small stages that tests run the engine with: honest ones, and one that lies."""

from __future__ import annotations

import contextlib
import os
import re
import signal as signals
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.errors import StorageError
from gristmill.pipeline.exchange import Exchange, Rows
from gristmill.pipeline.stage import (
    DROPPED,
    Decisions,
    Resources,
    Settled,
    SettledView,
    Stage,
    StageConfig,
    StageContext,
    StageSpec,
    from_failures,
    keep_all,
    signal,
    threshold,
)


class LengthConfig(StageConfig):
    least: int = threshold(3)
    unit: str = signal("characters")
    mark: bool = threshold(False)
    count_calls_in: str | None = threshold(None)


class Length(Stage):
    """Drops, or marks, texts that are too short."""

    Config = LengthConfig
    version = 1
    summary = "drops short texts"

    def declare(self) -> StageSpec:
        return StageSpec(
            measure_reads={"text"},
            signals=pa.schema([("length", pa.int64())]),
            findings=pa.schema([("length_failed", pa.list_(pa.string()))]) if self.config.mark else pa.schema([]),
            rules=("too_short",),
        )

    def measure(self, batch: pa.Table, context: StageContext) -> dict[str, pa.Array]:
        if self.config.count_calls_in is not None:
            with Path(self.config.count_calls_in).open("a") as stream:
                stream.write(f"{batch.num_rows}\n")
        text = batch["text"].combine_chunks()
        return {"length": pc.utf8_length(text).cast(pa.int64())}

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        length = np.asarray(batch["length"])
        short = length < self.config.least
        columns = {}
        if self.config.mark:
            columns["length_failed"] = pa.array([["too_short"] if s else [] for s in short], pa.list_(pa.string()))
        return from_failures(
            {"too_short": short},
            {"too_short": length},
            {"too_short": self.config.least},
            rows=len(length),
            mark=self.config.mark,
            columns=columns,
            tallies={"seen": len(length)},
        )


def first_of_text(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Keyed rows that name, for each document, the lowest doc_key with the same text."""
    last, leader = None, None
    for table in tables:
        leaders = []
        for text, key in zip(table["text"].to_pylist(), table["doc_key"].to_pylist(), strict=True):
            if text != last:
                last, leader = text, key
            leaders.append(leader)
        yield pa.table(
            {
                "doc_key": table["doc_key"],
                "task": table["task"],
                "leader": pa.array(leaders, pa.binary(16)),
            }
        )


def first_of_text_and_die(tables: Iterator[pa.Table], marker: str) -> Iterator[pa.Table]:
    """`first_of_text`, but the first process to come to the end of a partition dies: a marker file tells that it did."""
    found = list(first_of_text(tables))
    with contextlib.suppress(FileExistsError):
        Path(marker).touch(exist_ok=False)
        os.kill(os.getpid(), signals.SIGKILL)
    yield from found


class SameConfig(StageConfig):
    die_in_fold: str | None = threshold(None)


class Same(Stage):
    """Exact deduplication the slow way."""

    Config = SameConfig
    version = 1
    summary = "keeps the lowest doc_key of equal texts"

    def declare(self) -> StageSpec:
        return StageSpec(survey_reads={"text"}, findings=pa.schema([("leader", pa.binary(16))]), rules=("same_text",))

    def survey(self, batch: pa.Table, context: StageContext) -> pa.Table:
        return batch.select(["doc_key", "text"])

    def settle(self, notes: Rows, exchange: Exchange, context: StageContext) -> Settled:
        marker = self.config.die_in_fold
        if marker is None:
            keyed = exchange.group(notes, ["text"], first_of_text)
        else:
            keyed = exchange.group(notes, ["text"], first_of_text_and_die, {"marker": marker})
        return Settled(keyed=keyed, report={"documents": keyed.count})

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        assert settled is not None and settled.columns is not None
        leader = settled.columns["leader"].combine_chunks()
        same = np.asarray(pc.equal(leader, batch["doc_key"].combine_chunks()))
        witness = pa.array([None if s else k.hex() for s, k in zip(same, leader.to_pylist(), strict=True)], pa.string())
        return Decisions(
            port=np.where(same, 0, DROPPED).astype(np.int16),
            rules=("same_text",),
            rule=np.where(same, -1, 0).astype(np.int16),
            witness=witness,
            columns={"leader": leader},
        )


class SplitConfig(StageConfig):
    at: int = threshold(10)


class Split(Stage):
    """Sends long texts another way."""

    Config = SplitConfig
    version = 1
    summary = "two ports"
    ports = ("low", "high")

    def declare(self) -> StageSpec:
        return StageSpec(decide_reads={"text"})

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        length = np.asarray(pc.utf8_length(batch["text"].combine_chunks()))
        return Decisions(port=(length >= self.config.at).astype(np.int16))


def add_counts(tables: list[pa.Table]) -> pa.Table:
    joined = pa.concat_tables([table.select(["length", "count"]) for table in tables])
    grouped = joined.group_by("length").aggregate([("count", "sum")])
    return grouped.rename_columns(["length", "count"]).sort_by("length")


class RepeatConfig(StageConfig):
    times: int = threshold(3)
    observe: str | None = threshold(None)


class Repeat(Stage):
    """Repeats texts whose length is rare in the corpus."""

    Config = RepeatConfig
    version = 1
    summary = "emits copies"

    def declare(self) -> StageSpec:
        return StageSpec(
            emits_copies=True,
            observes=self.config.observe,
            survey_reads={"length"},
            decide_reads={"length"},
            rules=("repeated",),
        )

    def survey(self, batch: pa.Table, context: StageContext) -> pa.Table:
        values, counts = np.unique(np.asarray(batch["length"]), return_counts=True)
        return pa.table({"length": pa.array(values, pa.int64()), "count": pa.array(counts, pa.int64())})

    def settle(self, notes: Rows, exchange: Exchange, context: StageContext) -> Settled:
        return Settled(broadcast=exchange.reduce(notes, add_counts))

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        assert settled is not None and settled.table is not None
        known = dict(zip(settled.table["length"].to_pylist(), settled.table["count"].to_pylist(), strict=True))
        count = np.array([known[length] for length in batch["length"].to_pylist()], np.int64)
        copies = np.where(count % 2 == 1, self.config.times, 1).astype(np.int32)
        return Decisions(
            port=np.zeros(len(count), np.int16),
            copies=copies,
            rules=("repeated",),
            rule=np.where(copies > 1, 0, -1).astype(np.int16),
            value=count.astype(np.float64),
        )


class LiarConfig(StageConfig):
    lie: str = threshold("lose")


class Liar(Stage):
    """Breaks the contract in the way that its config names."""

    Config = LiarConfig
    version = 1
    summary = "lies"

    def declare(self) -> StageSpec:
        return StageSpec(signals=pa.schema([("lied", pa.int64())]))

    def measure(self, batch: pa.Table, context: StageContext) -> dict[str, pa.Array]:
        rows = batch.num_rows - (self.config.lie == "lose_signals")
        return {"lied": pa.array(np.zeros(rows), pa.int64())}

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        rows = batch.num_rows
        port = np.zeros(rows, np.int16)
        if self.config.lie == "lose":
            return Decisions(port=port[1:])
        if self.config.lie == "silent_drop":
            port[0] = DROPPED
            return Decisions(port=port)
        if self.config.lie == "no_copies":
            return Decisions(port=port, copies=np.zeros(rows, np.int32))
        if self.config.lie == "copies":
            return Decisions(port=port, copies=np.full(rows, 2, np.int32))
        if self.config.lie == "port":
            return Decisions(port=port + np.int16(3))
        return Decisions(port=port, columns={"undeclared": pa.array(port)})


class EraserConfig(StageConfig):
    leave: str = threshold("")
    rule: bool = threshold(True)


class Eraser(Stage):
    """Replaces every text, with or without a rule that says so."""

    Config = EraserConfig
    version = 1
    summary = "erases"

    def declare(self) -> StageSpec:
        return StageSpec(changes_text=True, findings=pa.schema([("text", pa.large_string())]), rules=("erased",))

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        text = pa.array([self.config.leave] * batch.num_rows, pa.large_string())
        erased = np.full(batch.num_rows, self.config.rule)
        return from_failures({"erased": erased}, rows=batch.num_rows, mark=True, columns={"text": text})


class CrashConfig(StageConfig):
    marker: str = threshold("")
    how: str = threshold("kill")
    after_rows: int = threshold(0)


class Crash(Stage):
    """Kills its own process once, or waits: a marker file tells that it happened."""

    Config = CrashConfig
    version = 1
    summary = "dies once"

    def declare(self) -> StageSpec:
        return StageSpec()

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        marker = Path(self.config.marker)
        if self.config.how == "kill":
            try:
                marker.touch(exist_ok=False)
            except FileExistsError:
                return Decisions(port=np.zeros(batch.num_rows, np.int16))
            os.kill(os.getpid(), signals.SIGKILL)
        if self.config.how == "wait":
            with marker.open("a") as stream:
                stream.write("x")
            while marker.stat().st_size > 3 and not marker.with_suffix(".go").exists():
                time.sleep(0.02)
        if self.config.how == "raise":
            raise RuntimeError("a defect in a stage")
        if self.config.how == "node" and os.environ.get("GRISTMILL_TEST_NODE") == "broken":
            marker.touch()
            raise StorageError(f"{marker}: no space left on device")
        return Decisions(port=np.zeros(batch.num_rows, np.int16))


def run_folder(context: StageContext) -> str:
    return "nothing" if context.work is None else "shared"


class Told(Stage):
    """Writes down what each of its functions is told about the run."""

    Config = LiarConfig
    version = 1
    summary = "writes down its context"

    def declare(self) -> StageSpec:
        return StageSpec(
            signals=pa.schema([("told_early", pa.string())]), findings=pa.schema([("told", pa.string())]), seeded=True
        )

    def measure(self, batch: pa.Table, context: StageContext) -> dict[str, pa.Array]:
        return {"told_early": pa.array([f"{context.source} {run_folder(context)}"] * batch.num_rows, pa.string())}

    def survey(self, batch: pa.Table, context: StageContext) -> pa.Table:
        return pa.table({"rows": [batch.num_rows]})

    def settle(self, notes: Rows, exchange: Exchange, context: StageContext) -> Settled:
        return Settled(broadcast=pa.table({"told": [f"{context.seed} {context.source} {run_folder(context)}"]}))

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        assert settled is not None and settled.table is not None
        told = f"{context.seed} {context.source} {run_folder(context)}, settled {settled.table['told'][0]}"
        return keep_all(batch.num_rows, told=pa.array([told] * batch.num_rows, pa.string()))


class ReaderConfig(StageConfig):
    column: str = signal("html")
    makes_text: bool = signal(False)


class Reader(Stage):
    """Reads a payload, and may say that it makes the text from it."""

    Config = ReaderConfig
    version = 1
    summary = "reads a payload"

    def declare(self) -> StageSpec:
        makes = self.config.makes_text
        made = [("text" if makes else "read", pa.large_string()), ("tags", pa.int64())]
        return StageSpec(payload={self.config.column}, signals=pa.schema(made), makes_text=makes, rules=("no_page",))

    def measure(self, batch: pa.Table, context: StageContext) -> dict[str, pa.Array]:
        pages = [(page if isinstance(page, str) else page.decode()) for page in batch[self.config.column].to_pylist()]
        text = [None if "%PDF" in page else re.sub("<[^>]*>", "", page) for page in pages]
        return {
            "text" if self.config.makes_text else "read": pa.array(text, pa.large_string()),
            "tags": pa.array([page.count("<") for page in pages], pa.int64()),
        }

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        return from_failures({"no_page": np.asarray(batch["tags"]) == 0}, rows=batch.num_rows)


class NeuralConfig(StageConfig):
    column: str = signal("neural")
    gpus: float = signal(0.0)
    wobble: str | None = threshold(None)
    least: float = threshold(0.0)


class Neural(Stage):
    """Scores as a neural network has them: nearly the same wherever they are measured. `wobble` names a file whose number is
    added to every score, as if this machine were another."""

    Config = NeuralConfig
    version = 1
    summary = "scores that another machine finds nearly the same"

    def declare(self) -> StageSpec:
        return StageSpec(
            measure_reads={"text"},
            signals=pa.schema([(self.config.column, pa.float32())]),
            rules=("low_score",),
            tolerances={self.config.column: 0.01},
            resources=Resources(cpus=1.0, gpus=self.config.gpus, memory_bytes=1 << 20, shares_worker=False),
        )

    def measure(self, batch: pa.Table, context: StageContext) -> dict[str, pa.Array]:
        size = np.asarray(pc.utf8_length(batch["text"].combine_chunks()), np.float64)
        added = 0.0 if self.config.wobble is None else float(Path(self.config.wobble).read_text())
        return {self.config.column: pa.array((1.0 / (1.0 + size) + added).astype(np.float32))}

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        score = np.asarray(batch[self.config.column], np.float64)
        low = score < self.config.least
        return from_failures(
            {"low_score": low}, {"low_score": score}, {"low_score": self.config.least}, rows=len(score)
        )
