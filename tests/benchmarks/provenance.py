"""What provenance costs a run.

    GRISTMILL_DATA=… python -m tests.benchmarks.provenance [--corpus FOLDER] [--rounds N]

The graph of preset `web` runs in one process with provenance and, in turn, without it: a product has no such switch, so
the benchmark takes the parts out by hand. Without means no digest of contents, files or slices, no reading back of what
was written, no key sums, no ledger, no signals, no sample of dropped texts, and no log in the footers; shards are written
all the same. Signals and dropped texts can be left out by the config, so a third run has the rest alone. Each round gives
ratios of CPU times; their medians are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gristmill.pipeline import storage, work_files
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.planning.config import load
from gristmill.pipeline.planning.plan import Plan, make_plan
from gristmill.pipeline.provenance import accounts, content
from gristmill.pipeline.provenance.task_record import SidecarParts
from gristmill.pipeline.running.engine import Engine
from gristmill.pipeline.storage import streams
from gristmill.pipeline.writing import parquet, sample_limits, sidecars, task_parts
from gristmill.pipeline.writing import task_files as publish
from tests.benchmarks.figures import figure
from tests.benchmarks.whole_run import CONFIG

NO_DIGEST = "0" * 64


@contextlib.contextmanager
def without_provenance() -> Iterator[None]:
    """Takes the parts of provenance out of the engine, everywhere they are bound, and puts them back."""
    undo: list[Callable[[], None]] = []

    def put(holder: Any, name: str, value: Any) -> None:
        before = getattr(holder, name)
        setattr(holder, name, value)
        undo.append(lambda: setattr(holder, name, before))

    def put_everywhere(original: Any, value: Any) -> None:
        for module in [module for name, module in sys.modules.items() if name.startswith("gristmill.pipeline.")]:
            for name in [name for name, bound in vars(module).items() if bound is original]:
                put(module, name, value)

    class NoHash:
        def __init__(self, *data: object) -> None: ...

        def update(self, data: object) -> None: ...

        def hexdigest(self) -> str:
            return NO_DIGEST

    class Hashlib:
        sha256 = xxh3_128 = file_digest = NoHash

    def count_rows(self: content.ContentDigest, piece: Any) -> content.ContentDigest:
        self.rows += piece.num_rows
        return self

    def no_columns(self: content.ContentDigest) -> dict[str, str]:
        return dict.fromkeys(self._streams, NO_DIGEST)

    def nothing(*arguments: object, **named: object) -> None: ...

    def no_files(*arguments: object) -> tuple[dict[str, Any], ...]:
        return ()

    def no_parts(*arguments: object) -> SidecarParts:
        return SidecarParts(candidate="", size=0, sha256=NO_DIGEST, parts=[])

    def no_checks(table: Any) -> dict[str, str]:
        return {}

    def empty_log(*arguments: object, **named: object) -> Mapping[str, Any]:
        return {}

    try:
        put_everywhere(storage.sha256_of, lambda location: NO_DIGEST)
        put_everywhere(accounts.key_sum, lambda words, counts=None: 0)
        put_everywhere(sidecars.write_sidecars, no_files)
        put_everywhere(task_parts.write_parts, no_parts)
        put_everywhere(sample_limits.known_limits, no_files)
        put_everywhere(sample_limits.with_labels, lambda plan, slice_rows, one, annotations: annotations)
        put_everywhere(publish.task_log, empty_log)
        put(parquet, "to_json", empty_log)
        put(publish, "extend", empty_log)
        for module in (storage, streams, work_files):
            put(module, "hashlib", Hashlib)
        put(streams, "xxhash", Hashlib)
        put_everywhere(streams.same_bytes, nothing)
        put_everywhere(work_files.open_checked, lambda location, *expected: storage.open_read(location))
        put(content.ContentDigest, "update", count_rows)
        put(content.ContentDigest, "columns", no_columns)
        put(accounts.Accounts, "check", nothing)
        put_everywhere(content.quick_checks, no_checks)
        yield
    finally:
        for step in reversed(undo):
            step()


def timed_run(plan: Plan) -> float:
    """CPU seconds of a run."""
    begin = time.process_time()
    Engine(plan, InlineExecutor()).run()
    return time.process_time() - begin


def overhead(source: str, configs: Path | None, rounds: int, folder: Path) -> None:
    """Prints what provenance adds to a run."""
    given = f', language_configs: "{configs}"' if configs is not None else ""

    def plan(name: str, overrides: Sequence[str] = ()) -> Plan:
        text = CONFIG.format(source=source, out=folder / name, configs=given)
        return make_plan(load(text, "benchmark", overrides=overrides))

    needful = [f"outputs.{name}.{key}=none" for name in ("corpus", "annealing") for key in ("signals", "dropped")]

    kinds = ("whole", "needful", "none")
    timed_run(plan("warm-up"))
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(rounds):
        for kind in kinds if number % 2 else reversed(kinds):
            made = plan(f"{kind}-{number}", needful if kind == "needful" else ())
            with without_provenance() if kind == "none" else contextlib.nullcontext():
                seconds[kind].append(timed_run(made))
            shutil.rmtree(folder / f"{kind}-{number}", ignore_errors=True)
        print(f"    round {number + 1}: " + ", ".join(f"{kind} {times[-1]:.2f} s" for kind, times in seconds.items()))
    for kind, what in (("needful", "what cannot be switched off"), ("whole", "with signals and dropped texts")):
        ratio = statistics.median(a / b for a, b in zip(seconds[kind], seconds["none"], strict=True))
        print(f"provenance, {what}: {ratio - 1:+.1%} CPU time (median of {rounds})")
        figure(f"provenance, {what}", 100 * (ratio - 1), "% CPU time", data=Path(source).name)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument(
        "--corpus", type=Path, help="folder of Parquet shards (id, text) instead of documents.parquet"
    )
    arguments.add_argument("--rounds", type=int, default=5, help="runs with and without provenance")
    chosen = arguments.parse_args()
    data = os.environ.get("GRISTMILL_DATA")
    if data is None:
        sys.exit("GRISTMILL_DATA must name the folder with documents.parquet")
    configs = Path(data) / "fineweb2-configs"
    folder = Path(tempfile.mkdtemp(prefix="gristmill-bench-"))
    try:
        source = str(chosen.corpus or Path(data) / "documents.parquet")
        overhead(source, configs if configs.is_dir() else None, chosen.rounds, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
