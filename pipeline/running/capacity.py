"""Whether the machines of an executor can run a plan at all: each pass needs one that has room for one of its tasks."""

from __future__ import annotations

from collections.abc import Sequence

from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.executor import Executor
from gristmill.pipeline.planning.plan import Pass, Plan
from gristmill.pipeline.resources import Resources

GB = 10**9


def check_capacity(plan: Plan, executor: Executor) -> None:
    """Raises ConfigError for a pass that no machine can run, with what it needs and what the largest machine has."""
    machines = executor.machines()
    for one in plan.passes:
        needs, memory = plan.resources(one), plan.pass_memory_bytes(one)
        if not any(_fits(needs, memory, machine) for machine in machines):
            raise ConfigError(_message(plan, one, needs, memory, machines))


def _fits(needs: Resources, memory: int, machine: Resources) -> bool:
    known = machine.memory_bytes > 0
    return needs.cpus <= machine.cpus and needs.gpus <= machine.gpus and (memory <= machine.memory_bytes or not known)


def _message(plan: Plan, one: Pass, needs: Resources, memory: int, machines: Sequence[Resources]) -> str:
    which = f"{plan.config.where('')}: pass {one.index + 1} of {len(plan.passes)}"
    names = [node.name for node in plan.graph.nodes if plan.entered_in[node.name] == one.index]
    at = f" ({', '.join(f'`{name}`' for name in names)})" if names else ""
    cpus, gpus = max((m.cpus for m in machines), default=0), max((m.gpus for m in machines), default=0)
    room = max((m.memory_bytes for m in machines), default=0)
    if needs.gpus > gpus:
        return (
            f"{which}{at} needs {needs.gpus:g} GPU{'s' * (needs.gpus > 1)} per task, and the largest machine here has "
            f"{gpus:g}. Run it where there are GPUs (`--address`), set `device: cpu` where the stage has it, or lower "
            "`resources: {NODE: {gpus: …}}`."
        )
    if needs.cpus > cpus:
        return (
            f"{which}{at} needs {needs.cpus:g} cores per task, and the largest machine here has {cpus:g}. Start Ray with more "
            "(`--workers` for a local one), or lower `resources: {NODE: {cpus: …}}`."
        )
    if memory > room:
        return (
            f"{which}{at} may need {memory / GB:.1f} GB of memory per task, and the largest machine here has {room / GB:.1f} "
            "GB for tasks. Run it on larger machines, or make the input's largest files smaller; `gristmill plan` states the "
            "bound of each pass."
        )
    return (
        f"{which}{at} needs {needs.cpus:g} cores, {needs.gpus:g} GPUs and {memory / GB:.1f} GB of memory per task; no single "
        f"machine here has all of it (the most of each: {cpus:g}, {gpus:g}, {room / GB:.1f} GB)."
    )
