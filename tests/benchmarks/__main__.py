"""Runs the benchmarks one after the other, each in a process of its own, and prints one table of their figures.

    GRISTMILL_DATA=FOLDER python -m tests.benchmarks [NAME …] [--peers PYTHON] [--save RUN.json]

NAME is a module of this folder (language, quality, minhash, toxicity, exchange, settling, explain, whole_run, …); default:
all that need no further arguments.
PYTHON is the interpreter of an environment with the peers; without it only Gristmill's own side is measured. A benchmark that
fails is a row of the table. `python -m tests.benchmarks.figures RUN.json --into docs/benchmarks.md` writes it into the docs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import PLACE, seconds_in_use, sha256_speed, table

HERE = Path(__file__).parent
TAKES_PEERS = ("minhash", "quality", "whole_run")
"""Benchmarks that run something in the peers' environment."""
ARGUMENTS = {"toxicity": ["--speed"]}
"""What a benchmark is given to measure all that belongs into the table."""
NAMES = (
    "language", "quality", "minhash", "toxicity", "rehydration", "exchange", "settling", "explain", "extraction",
    "datatrove_extraction", "web_speed", "whole_run", "provenance", "audit", "tokens",
)  # fmt: skip


def measured(name: str, command: list[str], folder: Path) -> dict[str, Any]:
    """A benchmark's figures, its exit code, and what the machine did meanwhile."""
    place = folder / f"{name}.jsonl"
    place.touch()
    yardstick, used, began = sha256_speed(), seconds_in_use(), time.monotonic()
    own = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=HERE.parents[1], env={**os.environ, PLACE: str(place)}, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - own.ru_utime - own.ru_stime
    others = max(0.0, seconds_in_use() - used - spent) / (time.monotonic() - began)
    return {
        "name": name,
        "command": shlex.join(["python", *command[1:]]),
        "code": done.returncode,
        "others": others,
        "sha256": yardstick,
        "figures": [json.loads(line) for line in place.read_text(encoding="utf-8").splitlines()],
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}")
    arguments.add_argument("--peers", type=Path, help="Python of an environment with the peers")
    arguments.add_argument("--save", type=Path, help="a file for the figures and their conditions, as JSON")
    chosen = arguments.parse_args()
    for name in chosen.names:
        if name not in NAMES:
            arguments.error(f"there is no benchmark `{name}`; choose from {', '.join(NAMES)}")
    if "GRISTMILL_DATA" not in os.environ:
        arguments.error("GRISTMILL_DATA must name the folder with documents.parquet and the other data sets")
    runs = []
    with tempfile.TemporaryDirectory(prefix="gristmill-bench-") as folder:
        for name in chosen.names or NAMES:
            print(f"== {name}", flush=True)
            command = [sys.executable, "-m", f"tests.benchmarks.{name}", *ARGUMENTS.get(name, [])]
            if chosen.peers is not None and name in TAKES_PEERS:
                # Not resolved: an environment's interpreter is a link, and knows its packages by where the link lies.
                command += ["--peers", os.path.relpath(chosen.peers.absolute(), HERE.parents[1])]
            runs.append(measured(name, command, Path(folder)))
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    if chosen.save is not None:
        chosen.save.write_text(json.dumps({"when": when, "machine": machine, "runs": runs}, indent=1), encoding="utf-8")
    print("\n".join([f"== all, {machine}, {when}", *table(runs)]))


if __name__ == "__main__":
    main()
