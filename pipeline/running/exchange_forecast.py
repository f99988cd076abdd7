"""What the exchange will do between passes, as far as a plan tells: rounds, tasks, requests and bytes, by its own planner."""

from __future__ import annotations

from dataclasses import dataclass

from gristmill.pipeline.exchange.shuffle_plan import SORT_BYTES, Cost, foreseen, partitions_for
from gristmill.pipeline.planning.plan import Pass, Plan
from gristmill.pipeline.running.costs import text_bytes
from gristmill.pipeline.source import Slice

DOCUMENT_BYTES = 4000
"""UTF-8 bytes of a document's text, about, where a file does not say how many documents it has."""


@dataclass(frozen=True)
class Forecast:
    """The largest shuffle of a node that settles.

    Attributes:
        documents: that reach the node at most, with those of prior runs.
        rows, row_bytes: rows that it shuffles, and bytes of each, about. In waves, all of them together.
        partitions, rounds: see `exchange.shuffle_plan`; one round or two.
    """

    node: str
    documents: int
    rows: int
    row_bytes: float
    partitions: int
    rounds: int
    cost: Cost


def forecasts(plan: Plan, one: Pass) -> list[Forecast]:
    """Of nodes that settle after a pass and say what they shuffle (`StageSpec.cost`), if every document reaches them."""
    found = []
    budget, here = plan.config.exchange_bytes, sum(map(_documents, plan.slices))
    for name in one.settles_after:
        cost = plan.graph.by_name[name].spec.cost
        documents = here + sum(notes.rows for notes in plan.prior.get(name, ()))
        rows = int(documents * cost.shuffled_rows)
        if not rows or not cost.shuffled_bytes:
            continue
        partitions = partitions_for(rows, int(cost.shuffled_bytes) + SORT_BYTES, max(1, budget // 2))
        notes_bytes = max(1, int(documents * cost.note_bytes))
        file_bytes = max(1, notes_bytes // max(1, len(plan.slices)))
        _, chosen, price = foreseen(notes_bytes, file_bytes, int(rows * cost.shuffled_bytes), partitions, budget)
        rounds = 2 if chosen.groups else 1
        found.append(Forecast(name, documents, rows, cost.shuffled_bytes, partitions, rounds, price))
    return found


def _documents(one: Slice) -> int:
    """Documents of a slice: their number where the format counts them, else about."""
    return sum(each.part.get("rows") or -(-text_bytes(each) // DOCUMENT_BYTES) for each in one.each)
