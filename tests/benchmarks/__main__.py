"""Runs the benchmarks one after the other, each in a process of its own.

    GRISTMILL_DATA=FOLDER python -m tests.benchmarks [NAME …] [--peers PYTHON]

NAME is a module of this folder (language, quality, minhash, toxicity, exchange, settling, rehydration, whole_run, …); default:
all that need no further arguments.
PYTHON is the interpreter of an environment with the peers; without it only Gristmill's own side is measured.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TAKES_PEERS = ("minhash", "quality", "whole_run", "provenance")
"""Benchmarks that run something in the peers' environment."""
NAMES = (
    "language", "quality", "minhash", "toxicity", "rehydration", "exchange", "settling", "extraction",
    "datatrove_extraction", "web_speed", "whole_run", "provenance",
)  # fmt: skip


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}")
    arguments.add_argument("--peers", type=Path, help="Python of an environment with the peers")
    chosen = arguments.parse_args()
    for name in chosen.names:
        if name not in NAMES:
            arguments.error(f"there is no benchmark `{name}`; choose from {', '.join(NAMES)}")
    if "GRISTMILL_DATA" not in os.environ:
        arguments.error("GRISTMILL_DATA must name the folder with documents.parquet and the other data sets")
    failed = []
    for name in chosen.names or NAMES:
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", f"tests.benchmarks.{name}"]
        if chosen.peers is not None and name in TAKES_PEERS:
            command += ["--peers", str(chosen.peers.absolute())]
        if subprocess.run(command, cwd=HERE.parents[1], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
