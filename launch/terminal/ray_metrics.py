"""A run as metrics of Ray, which every Ray cluster exports for Prometheus: gauges named `ray_gristmill_…`, by run and stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gristmill.launch.terminal.progress import LinesDisplay

if TYPE_CHECKING:
    from gristmill.pipeline.running.status import RunStatus

METRICS_SECONDS = 5.0
"""Seconds between two settings; Ray exports what was set last, every 10 s unless the cluster says otherwise."""

_OF_RUN = {
    "pass": "The pass at hand, from 1.",
    "passes": "Passes of the run.",
    "tasks": "Tasks of a pass.",
    "tasks_done": "Tasks of the pass at hand that have ended.",
    "tasks_under_way": "Tasks that the executor has.",
    "tasks_slow": "Tasks that are under way for long.",
    "tasks_failed": "Tasks that failed wherever they were tried.",
    "documents": "Documents read in the pass at hand.",
    "text_bytes": "Bytes of text read in the pass at hand.",
    "bytes_per_second": "Bytes of text a second in the pass at hand.",
    "elapsed_seconds": "Seconds since the start.",
    "left_seconds": "Seconds to the end, where known.",
}
_OF_NODE = ("entered", "emitted", "dropped", "quarantined")


class RayMetrics(LinesDisplay):
    """Sets the gauges every METRICS_SECONDS from a thread of its own. Ray must be initialised."""

    def __init__(self) -> None:
        from ray.util.metrics import Gauge

        super().__init__(METRICS_SECONDS)
        self._run: dict[str, Any] = {
            name: Gauge(f"gristmill_{name}", description=told, tag_keys=("run",)) for name, told in _OF_RUN.items()
        }
        self._node: dict[str, Any] = {
            name: Gauge(
                f"gristmill_documents_{name}",
                description=f"Documents {name} at a stage, in the pass at hand.",
                tag_keys=("run", "stage"),
            )
            for name in _OF_NODE
        }

    def write(self, status: RunStatus) -> None:
        tags = {"run": status.name}
        for name, value in values(status).items():
            self._run[name].set(value, tags=tags)
        for node in status.nodes:
            for name in _OF_NODE:
                self._node[name].set(float(getattr(node, name)), tags={**tags, "stage": node.name})


def values(status: RunStatus) -> dict[str, float]:
    """What the gauges of a run are set to; those of which nothing is known are left out."""
    found = {
        "pass": status.pass_, "passes": status.passes, "tasks": status.tasks, "tasks_done": status.done,
        "tasks_under_way": status.under_way, "tasks_slow": status.slow, "tasks_failed": status.failed,
        "documents": status.documents, "text_bytes": status.text_bytes, "bytes_per_second": status.bytes_per_second,
        "elapsed_seconds": status.elapsed, "left_seconds": status.left,
    }  # fmt: skip
    return {name: float(value) for name, value in found.items() if value is not None}
