"""What a task needs of the machine that runs it, and what machines have: cores, accelerators, resident memory."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from gristmill.pipeline.errors import ContractError


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a process needs that runs a stage's functions, above what reading and writing need.

    Attributes:
        cpus: cores that one call keeps busy.
        gpus: accelerators that one call uses; a fraction where several calls share one.
        memory_bytes: resident bytes, such as those of a model; the plan's bound on memory counts them.
        shares_worker: whether the process may also run other nodes' functions, in this pass and in others. False gives the
            node processes of its own, which end with its pass.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory_bytes: int = 0
    shares_worker: bool = True

    def __post_init__(self) -> None:
        for name, value in (("cpus", self.cpus), ("gpus", self.gpus)):
            problem = wrong_amount(value)
            if problem:
                raise ContractError(f"`resources`: `{name}` is {value!r}; expected {problem}")
        if isinstance(self.memory_bytes, bool) or not isinstance(self.memory_bytes, int) or self.memory_bytes < 0:
            raise ContractError(f"`resources`: `memory_bytes` is {self.memory_bytes!r}; expected a whole number ≥ 0")
        if not isinstance(self.shares_worker, bool):
            raise ContractError(f"`resources`: `shares_worker` is {self.shares_worker!r}; expected True or False")

    @property
    def own_workers(self) -> bool:
        """Whether tasks need processes that run nothing else: a process keeps the accelerator that it was given first."""
        return self.gpus > 0 or not self.shares_worker


def wrong_amount(value: object) -> str | None:
    """What was expected of a number of cores or accelerators; None for a good one. Schedulers hand out fractions of one
    core or accelerator, and whole ones above that."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        return "a number of at least 0"
    if value > 1 and value != int(value):
        return "a whole number, since it is above 1"
    return None


def largest(needs: Iterable[Resources]) -> Resources:
    """The resources of a process that does all of this: the most cores and accelerators, and the sum of resident memory,
    since models stay where they were loaded."""
    found = list(needs)
    return Resources(
        cpus=max((one.cpus for one in found), default=1.0),
        gpus=max((one.gpus for one in found), default=0.0),
        memory_bytes=sum(one.memory_bytes for one in found),
        shares_worker=all(one.shares_worker for one in found),
    )


def this_machine() -> Resources:
    """What this machine has: its cores, its visible accelerators, and the memory that this process may use."""
    return Resources(cpus=float(os.cpu_count() or 1), gpus=float(len(visible_gpus())), memory_bytes=_memory())


def visible_gpus() -> list[str]:
    """Accelerators that a process started here may use: those of CUDA_VISIBLE_DEVICES, else all that the driver lists."""
    listed = Path("/proc/driver/nvidia/gpus")
    there = sorted(item.name for item in listed.iterdir()) if listed.is_dir() else []
    # Other drivers list no devices in /proc: those of WSL, of AMD, of Nvidia's boards.
    there = there or [name for name in ("/dev/dxg", "/dev/kfd", "/dev/nvhost-gpu") if Path(name).exists()]
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None or not there:
        return there
    return [name for name in (part.strip() for part in chosen.split(",")) if name not in ("", "-1")]


def _memory() -> int:
    """Bytes of memory of this machine, or of the control group that it is in; 0 where neither is known."""
    found = []
    if {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= os.sysconf_names.keys():
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue  # no control groups of this version
        if text.isdigit():
            found.append(int(text))
    return min(found, default=0)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a stage takes, in seconds of one core per GB (10^9 bytes) of text that enters its node. For predictions alone
    (time left, `--executor auto`): a run measures its own pace and needs these to be right among each other only.

    Attributes:
        measure: of `measure`; survey: of `survey`; settle: of `settle`, all tasks of its exchange together.
        note_bytes: bytes of a document's notes, as they are written.
        shuffled_rows: rows that `settle` gives to `Exchange.group` for each document, in the largest of its groups; 0 for one
            that gives it next to none. shuffled_bytes: of each of them. `gristmill plan` tells requests by these.
    """

    measure: float = 10.0
    survey: float = 2.0
    settle: float = 1.0
    note_bytes: float = 0.0
    shuffled_rows: float = 0.0
    shuffled_bytes: float = 0.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ContractError(f"`cost`: `{item.name}` is {value!r}; expected a number, at least 0")
