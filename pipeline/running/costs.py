"""What the steps of a run take, in seconds of one core, as far as bytes and stages' costs tell before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from gristmill.pipeline.planning.graph import Node
from gristmill.pipeline.planning.plan import Plan
from gristmill.pipeline.provenance.accounts import Accounts
from gristmill.pipeline.source import Slice

READ = 1.2
"""Seconds per GB for what every pass does besides its stages: reading, digests, annotations."""

SIGNALS = 1.0
"""Seconds per GB of text for the signals of a node that are read from a finished output in place of measuring."""

WRITE = 8.0
"""Seconds per GB that the last pass takes for the shards and the ledger."""

TASK = 0.015
"""Seconds that each task of a pass takes however small its slice: opening, committing."""

LAST_TASK = 0.035
"""Seconds more in the last pass, for the files that it writes."""

STEP = 0.1
"""Seconds of settling, and of publishing, however little there is; STEP_TASK for each task that it follows."""

STEP_TASK = 0.005

SHUFFLE = 10.0
"""Seconds per GB that publishing takes for each shuffled output."""

RAY_SECONDS = 5.0
"""Seconds until a local Ray cluster runs its first task, and to end it: work that takes one process no longer is done there."""

EXPANSION = 4
"""Bytes of text per stored byte where a format compresses; what a slice states may be no more than a bound."""


@dataclass(frozen=True)
class Step:
    """A step of a run.

    Attributes:
        name: as the engine names it: `pass 1 of 3`, `settling minhash`, `publishing`.
        pass_index: the pass; of what follows a pass, that pass.
        seconds_per_gb: of text that the sources hold, on one core.
        seconds_per_task: on one core, whatever its size; of settling and publishing, for each task of the pass before.
        seconds: once.
    """

    name: str
    pass_index: int
    seconds_per_gb: float
    seconds_per_task: float
    seconds: float = 0.0

    def core_seconds(self, gigabytes: float, tasks: int) -> float:
        """Seconds of one core for so much text in so many tasks."""
        return self.seconds + self.seconds_per_gb * gigabytes + self.seconds_per_task * tasks

    @property
    def is_pass(self) -> bool:
        """Whether slices are read."""
        return self.name.startswith("pass")


def pass_name(index: int, passes: int) -> str:
    """What the engine calls a pass."""
    return f"pass {index + 1} of {passes}"


def steps_of(plan: Plan, accounts: Accounts | None = None, reused: AbstractSet[str] = frozenset()) -> tuple[Step, ...]:
    """The steps of a plan in order. With accounts, a node counts with the share of the text that has reached it; signals of
    nodes in `reused` are read."""
    shares = _shares(plan, accounts)
    measure = {n.name: SIGNALS if n.name in reused else n.spec.cost.measure for n in plan.graph.nodes}
    steps: list[Step] = []
    for one in plan.passes:
        seconds = READ + (WRITE if one.final else 0.0)
        seconds += sum(measure[name] * shares[name] for name in one.measures)
        seconds += sum(plan.graph.by_name[name].spec.cost.survey * shares[at] for name, at in one.surveys)
        each = TASK + (LAST_TASK if one.final else 0.0)
        steps.append(Step(pass_name(one.index, len(plan.passes)), one.index, seconds, each))
        for name in one.settles_after:
            cost = plan.graph.by_name[name].spec.cost.settle * shares[name]
            steps.append(Step(f"settling {name}", one.index, cost, STEP_TASK, STEP))
    shuffled = sum(output.config.shuffle is not None for output in plan.graph.outputs)
    steps.append(Step("publishing", len(plan.passes) - 1, 0.1 + SHUFFLE * shuffled, STEP_TASK, STEP))
    return tuple(steps)


def text_bytes(one: Slice) -> int:
    """Bytes of text that a slice holds, about."""
    return max(1, min(one.expanded or one.bytes, EXPANSION * one.bytes))


def core_seconds(plan: Plan, reused: AbstractSet[str] = frozenset()) -> float:
    """Seconds that one core takes for a run, about."""
    gigabytes = sum(map(text_bytes, plan.slices)) / 1e9
    return sum(step.core_seconds(gigabytes, len(plan.slices)) for step in steps_of(plan, None, reused))


def _shares(plan: Plan, accounts: Accounts | None) -> Mapping[str, float]:
    """Of the text that the sources hold, the share that reaches each node: counted where documents have been there, else
    what the nodes before it let through."""
    found = accounts.nodes if accounts is not None else {}
    whole = sum(found[name].entered.bytes for name in plan.graph.sources if name in found)
    shares = {name: 1.0 for name in plan.graph.sources}

    def passed(node: Node) -> float:
        total = 0.0
        for edge in node.inputs:
            account = found.get(edge.node)
            kept = account.kept.bytes / account.entered.bytes if account is not None and account.entered.bytes else 1.0
            total += shares[edge.node] * kept
        return min(1.0, total)

    for node in plan.graph.nodes:
        account = found.get(node.name)
        counted = account is not None and account.entered.bytes > 0 and whole > 0
        shares[node.name] = account.entered.bytes / whole if counted and account is not None else passed(node)
    return shares
