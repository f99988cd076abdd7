"""What benchmarks measured, as lines of JSON, as one table, and as the part of docs/benchmarks.md that is made from them.

    python -m tests.benchmarks.figures RUN.json --into docs/benchmarks.md

RUN.json is what `python -m tests.benchmarks --save RUN.json` (`make bench`) wrote. A benchmark states each figure by `figure`,
with its data and how much of the text reached what was measured; the runner adds the conditions.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PLACE = "GRISTMILL_FIGURES"
"""Environment variable: the file to which figures are appended; without it they are only printed by the benchmark."""
BUSY = 0.1
"""Cores that other processes used on average from which on a machine was busy."""
BEGIN, END = "<!-- figures of the last run: begin -->", "<!-- figures of the last run: end -->"
_HEAD = "| benchmark | what | figure | against, in the same session | ratio | data; what of it got there | machine |"


def figure(
    what: str, value: float, unit: str, *, data: str, reach: str = "all", against: str = "", other: float | None = None
) -> None:
    """States a figure.

    Args:
        what: what was measured; value, unit: how much.
        data: on what.
        reach: how much of the text got to what was measured.
        against, other: what it is compared with, measured in the same session and in the same unit.
    """
    place = os.environ.get(PLACE)
    if place is None:
        return
    made = {
        "what": what,
        "value": value,
        "unit": unit,
        "data": data,
        "reach": reach,
        "against": against,
        "other": other,
    }
    with open(place, "a", encoding="utf-8") as file:
        file.write(json.dumps(made) + "\n")


def sha256_speed() -> float:
    """MB/s of SHA-256 on this core now, by CPU time: the yardstick beside which runs of different hours compare."""
    data = bytes(1 << 24)
    seconds = []
    for _ in range(5):
        begin = time.process_time()
        hashlib.sha256(data).digest()
        seconds.append(time.process_time() - begin)
    return len(data) / 1e6 / min(seconds)


def seconds_in_use() -> float:
    """CPU seconds that all processes of this machine have used since it started."""
    fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:]
    user, nice, system, _, _, interrupts, soft = map(int, fields[:7])
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


def table(runs: Sequence[dict[str, Any]]) -> list[str]:
    """The figures of a run as the lines of a Markdown table; ratios to peers only where the machine was idle."""
    lines = [_HEAD, "|---|---|---:|---|---:|---|---|"]
    for run in runs:
        idle = run["others"] < BUSY
        machine = "idle" if idle else f"busy: others used {run['others']:.1f} cores"
        machine += f"; SHA-256 {run['sha256']:,.0f} MB/s"
        if run["code"]:
            lines.append(f"| {run['name']} | failed with exit code {run['code']} | | | | | {machine} |")
        for one in run["figures"]:
            against, ratio = "", ""
            if one["other"] is not None:
                against = f"{one['against']} {one['other']:,.3g}"
                ratio = f"{one['value'] / one['other']:,.3g} ×" if idle else "(busy)"
            elif one["unit"] == "MB/s":
                against, ratio = "SHA-256", f"{one['value'] / run['sha256']:.4f} ×"
            value = f"{one['value']:,.3g} {one['unit']}"
            cells = (run["name"], one["what"], value, against, ratio, f"{one['data']}; {one['reach']}", machine)
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def page(text: str, found: dict[str, Any]) -> str:
    """The page with its figures replaced by a run's. Raises ValueError for a page without the marks."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"expected one `{BEGIN}` and one `{END}`")
    before, rest = text.split(BEGIN)
    commands = [f"`{run['command']}`" for run in found["runs"]]
    told = f"{found['machine']}, {found['when']}. Commands: {', '.join(commands)}."
    return "\n".join([f"{before}{BEGIN}", "", told, "", *table(found["runs"]), "", f"{END}{rest.split(END)[1]}"])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("run", type=Path, help="what a run of the benchmarks saved")
    arguments.add_argument("--into", type=Path, help="the page whose table is replaced")
    chosen = arguments.parse_args()
    found = json.loads(chosen.run.read_text(encoding="utf-8"))
    print("\n".join(table(found["runs"])))
    if chosen.into is not None:
        chosen.into.write_text(page(chosen.into.read_text(encoding="utf-8"), found), encoding="utf-8")


if __name__ == "__main__":
    main()
