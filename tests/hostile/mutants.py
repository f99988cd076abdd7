"""Damaged Parquet and JSON lines files through `plan`, `sample` and `run`, and what may become of them.

`python -m tests.hostile.mutants --seed 12 --first 4000 --count 1000` tries a part of a series; every mutant follows from the
seed and its number alone, so a series that was stopped goes on from any number, and a failure is repeated by its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import pyarrow.parquet as pq
import zstandard

from tests.hostile.mutations import Mutant, mutant
from tests.hostile.sound_files import Row

SECONDS = 30.0
"""How long a command may take; the slowest takes a tenth of a second alone."""
_ROOT = Path(__file__).parents[2]
_LEAST = 2
_CONFIG = """
sources:
  s: {{format: {format}, paths: ["{root}/in"], slice_bytes: {slice_bytes}}}
stages:
  length: {{least: {least}}}
max_quarantined: 1.0
outputs:
  corpus: {{path: "{root}/out", dropped: all}}
"""


@dataclass(frozen=True)
class Ended:
    """A finished command. `code` is None when the driver died of it or was stopped, and `err` says so."""

    code: int | None
    out: str
    err: str


class Driver:
    """A process that runs command lines one after another, started again after it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Driver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def run(self, *arguments: str) -> Ended:
        """Runs one command line, for at most SECONDS once the process has started."""
        if self._process is None:
            path = os.pathsep.join([str(_ROOT / "src"), str(_ROOT), str(_ROOT / "tests/plugins")])
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.hostile.driver"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
            )
            self._asked("version", seconds=300)
        return self._asked(*arguments, seconds=SECONDS)

    def _asked(self, *arguments: str, seconds: float) -> Ended:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise RuntimeError("the driver is not running")
        with contextlib.suppress(BrokenPipeError):  # a process that died is noticed below
            process.stdin.write(json.dumps(arguments).encode() + b"\n")
            process.stdin.flush()
        answer, end = b"", time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not answer.endswith(b"\n"):
                if not selector.select(max(0.0, end - time.monotonic())):
                    self._stop()
                    return Ended(None, "", f"still busy after {seconds:.0f} s")
                chunk = os.read(process.stdout.fileno(), 1 << 20)
                if not chunk:
                    return Ended(None, "", f"the driver ended with exit code {self._stop()}")
                answer += chunk
        return Ended(*json.loads(answer))

    def _stop(self) -> int | None:
        process, self._process = self._process, None
        if process is None or process.stdin is None or process.stdout is None:
            return None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
        process.stdout.close()
        return process.wait()


@dataclass
class Series:
    """What became of mutants: how many, how their runs ended by exit code, and what was wrong."""

    tried: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0


def attack(driver: Driver, one: Mutant, folder: Path) -> tuple[int | None, list[str]]:
    """Sends a mutant through the three commands. Returns the exit code of `run` and what was wrong, in words."""
    name = f"mutant{one.sound.ending}"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / name).write_bytes(one.data)
    if not one.alone:
        (folder / "in" / f"sound{one.sound.ending}").write_bytes(one.sound.data)
    config = folder / "config.yaml"
    form = "parquet" if one.sound.parquet else "jsonl"
    config.write_text(_CONFIG.format(format=form, root=folder, slice_bytes=one.slice_bytes, least=_LEAST))
    rest = (str(config), "--plugin", "toy_stages", "--json")
    wrong: list[str] = []
    ended = {
        "plan": driver.run("plan", *rest),
        "sample": driver.run("sample", *rest, "--documents", "100000", "--show", "0"),
        "run": driver.run("run", *rest, "--executor", "inline"),
    }
    for command, end in ended.items():
        wrong += [f"{command}: {text}" for text in _manners(end, name)]
    wrong += _agreement(ended)
    if ended["run"].code == 0:
        wrong += _lost(one, json.loads(ended["run"].out), folder / "out")
        if ended["sample"].code == 0:
            wrong += _same_counts(json.loads(ended["sample"].out), json.loads(ended["run"].out))
    elif (folder / "out" / "manifest.json").exists():
        wrong.append("run: failed, but its output is there")
    return ended["run"].code, wrong


def _manners(end: Ended, name: str) -> Iterator[str]:
    """What no command may do, whatever it reads."""
    if end.code not in (0, 2, 3):
        yield f"exit code {end.code}: {end.err[:600]}"
    if "Traceback" in end.out + end.err or "defect" in end.err:
        yield f"a traceback or a defect: {end.err[:600]}"
    if end.code in (2, 3) and not (end.err.startswith("error: ") or "\nerror: " in end.err):
        yield f"exit code {end.code} without an error: {end.err[:600]}"
    if end.code == 3 and name not in end.err:
        yield f"the message does not name {name}: {end.err[:600]}"
    if len(end.err) > 8000:
        yield f"a message of {len(end.err)} characters: {end.err[:300]}"


def _agreement(ended: dict[str, Ended]) -> Iterator[str]:
    if ended["plan"].code not in (0, ended["run"].code):
        yield f"plan ended with {ended['plan'].code}, run with {ended['run'].code}"
    if ended["sample"].code not in (0, ended["run"].code):
        yield f"sample ended with {ended['sample'].code}, run with {ended['run'].code}"


def _same_counts(sample: dict[str, object], run: dict[str, object]) -> Iterator[str]:
    source = _nodes(run)["s"]
    unreadable = sample["unreadable"]
    refused = sum(unreadable.values()) if isinstance(unreadable, dict) else 0
    if source["entered"][0] != sample["documents"] + refused:  # type: ignore[operator]
        yield f"sample saw {sample['documents']} documents and refused {refused}, run saw {source['entered'][0]}"


def _nodes(run: dict[str, object]) -> dict[str, dict[str, list[int]]]:
    funnel = run["funnel"]
    return {node["node"]: node for node in funnel["nodes"]}  # type: ignore[index]


def _lost(one: Mutant, run: dict[str, object], out: Path) -> Iterator[str]:
    """What is missing from a finished run: records, or sound documents."""
    nodes = _nodes(run)
    for name, node in nodes.items():
        if node["entered"][0] != node["dropped"][0] + node["quarantined"][0] + node["kept"][0]:
            yield f"run: rows are lost at {name}: {node}"
    emitted, dropped = _written(out / "data"), _written(out / "dropped")
    if emitted.total() != nodes["length"]["kept"][0]:
        yield f"run: {emitted.total()} rows were written, {nodes['length']['kept'][0]} were emitted"
    if dropped.total() != nodes["length"]["dropped"][0] + nodes["s"]["dropped"][0]:
        yield f"run: {dropped.total()} dropped texts were kept of {nodes['length']['dropped'][0] + nodes['s']['dropped'][0]}"
    rows = [] if one.alone else list(one.sound.rows)
    if one.sound.parquet:
        expected = len(one.sound.rows)
        certain = _sound_rows(one)
    else:
        text = uncompressed(one)
        if text is None:
            yield "run: succeeded, though the file cannot be decompressed to its end"
            return
        lines = text.split(b"\n")
        expected = sum(bool(line.strip()) for line in lines)
        certain = [one.sound.lines[line] for line in lines if line in one.sound.lines]
    if nodes["s"]["entered"][0] != len(rows) + expected:
        yield f"run: {len(rows)} + {expected} records are there, {nodes['s']['entered'][0]} entered"
    rows += certain
    kept = Counter(row for row in rows if len(row[1]) >= _LEAST and row[1].strip())
    gone = Counter(rows) - kept
    for what, wanted, found in (("emitted", kept, emitted), ("dropped", gone, dropped)):
        missing = wanted - found
        if missing:
            yield f"run: {missing.total()} sound documents are not among the {what}, such as {next(iter(missing))!r:.200}"


def _written(folder: Path) -> Counter[Row]:
    found: Counter[Row] = Counter()
    for path in sorted(folder.rglob("*.parquet")):
        columns = pq.read_table(path, columns=["id", "text"]).to_pydict()
        found.update(zip(columns["id"], (text or "" for text in columns["text"]), strict=True))
    return found


def _sound_rows(one: Mutant) -> list[Row]:
    """Documents of a Parquet file that must be as they were: all, where pages have checksums and no page was moved; else
    those of the row groups whose pages were not changed."""
    rows = list(one.sound.rows)
    if one.changed is None:
        return []
    certain: list[Row] = []
    first = 0
    for start, stop, count in one.sound.groups:
        if one.sound.checked or not any(start <= place < stop for place in one.changed):
            certain += rows[first : first + count]
        first += count
    return certain


def uncompressed(one: Mutant) -> bytes | None:
    """The text of JSON lines, decompressed otherwise than Gristmill does it; None where that cannot be done to the end."""
    data, found = one.data, b""
    if not one.sound.ending.endswith((".gz", ".zst")):
        return data
    try:
        while data:
            part = (
                zlib.decompressobj(31)
                if one.sound.ending.endswith(".gz")
                else zstandard.ZstdDecompressor().decompressobj()
            )
            found += part.decompress(data)
            if not part.eof:
                return None
            data = part.unused_data
            if one.sound.ending.endswith(".gz"):
                data = data.lstrip(b"\0")  # padding, as tar and tapes leave it
    except (zlib.error, zstandard.ZstdError):
        return None
    return found


def attack_series(seed: int, numbers: Sequence[int], tell: bool = False) -> Series:
    """Tries these mutants of a series, and keeps the files of none."""
    series = Series()
    place = Path(tempfile.mkdtemp(prefix="mutants-"))
    try:
        with Driver() as driver:
            for number in numbers:
                begin = time.monotonic()
                one = mutant(seed, number)
                code, wrong = attack(driver, one, place / str(number))
                shutil.rmtree(place / str(number))
                series.tried += 1
                series.codes[str(code)] += 1
                series.slowest = max(series.slowest, time.monotonic() - begin)
                series.failures += [f"seed {seed}, mutant {number} ({one.what}): {text}" for text in wrong]
                if tell:
                    for text in wrong:
                        print(f"{number} ({one.what}): {text}", flush=True)
                    if series.tried % 500 == 0:
                        print(f"# {series.tried} tried, up to {number}; {dict(series.codes)}", flush=True)
    finally:
        shutil.rmtree(place)
    return series


def main() -> int:
    """Tries a part of a series. Exits with 1 when something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=12)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    given = parser.parse_args()
    series = attack_series(given.seed, range(given.first, given.first + given.count), tell=True)
    failed = len({text.split(" (")[0] for text in series.failures})
    print(
        f"{series.tried} mutants, {failed} failed; runs ended with {dict(series.codes)}; slowest {series.slowest:.1f} s"
    )
    return 1 if series.failures else 0


if __name__ == "__main__":
    sys.exit(main())
