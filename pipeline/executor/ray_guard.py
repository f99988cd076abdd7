"""A process of its own that ends what Ray started for a driver, as soon as that driver is gone, however that came about.

Ray's own processes notice a killed driver within seconds, but the agents of a killed raylet (DashboardAgent, RuntimeEnvAgent)
only within a minute. This runs as a script, without our packages: its input ends when the driver does.

    python ray_guard.py PID:START …

PID:START: a process and its start in the kernel's ticks (field 22 of /proc/PID/stat), so that no other process that was
given the same number is ever meant.
"""

import contextlib
import os
import select
import signal
import sys

SECONDS = 1.0
"""Time between two looks at what the processes have started."""


def main(roots: list[str]) -> None:
    """Follows the descendants of processes until the input ends, then kills them all."""
    known = {(int(pid), start) for pid, _, start in (root.partition(":") for root in roots)}
    while True:
        known = descendants(known)
        if select.select([0], [], [], SECONDS)[0] and not os.read(0, 4096):
            break
    for pid, start in descendants(known):
        if started(pid)[1] == start:
            with contextlib.suppress(ProcessLookupError):  # it may have ended by itself meanwhile
                os.kill(pid, signal.SIGKILL)


def descendants(known: set[tuple[int, str]]) -> set[tuple[int, str]]:
    """Those of the processes that are still there, with all that they have started since, and those have."""
    there = {int(name): started(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    found = {(pid, start) for pid, start in known if pid in there and there[pid][1] == start}
    while True:
        pids = {pid for pid, _ in found}
        more = {(pid, start) for pid, (parent, start) in there.items() if parent in pids and start} - found
        if not more:
            return found
        found |= more


def started(pid: int) -> tuple[int, str]:
    """A process's parent and start; (0, "") when there is none."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
    except OSError:
        return 0, ""
    return int(fields[1]), fields[19]


if __name__ == "__main__":
    main(sys.argv[1:])
