"""`gristmill plan`: the graph, the passes, and the bounds on memory and disk, before anything runs."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gristmill.launch.presets import read_config
from gristmill.launch.terminal.console import facts, out, say, say_json
from gristmill.launch.terminal.numbers import count, size
from gristmill.pipeline.errors import DataError

if TYPE_CHECKING:
    from gristmill.pipeline.planning.graph import Edge
    from gristmill.pipeline.planning.plan import Pass, Plan
    from gristmill.pipeline.running.exchange_forecast import Forecast


def plan_config(
    config: str,
    overrides: Sequence[str],
    output: str | None,
    plugins: Sequence[str],
    as_json: bool,
    earlier: str | None = None,
) -> int:
    """Plans a config and prints the plan, and what its budgets come to on the counts of the output `earlier`.

    Returns 3 where budgets cannot be met on these. Raises what `gristmill run` would raise before its first task, and what
    `launch.commands.plan_budgets.forecasts` raises.
    """
    from gristmill.launch.commands.plan_budgets import budget_section, budgets_json, forecasts
    from gristmill.pipeline.planning.config import load
    from gristmill.pipeline.planning.folder_checks import check_places
    from gristmill.pipeline.planning.plan import check_ready, make_plan
    from gristmill.pipeline.running.engine import work_folder
    from gristmill.pipeline.writing.kinds.publish import check_kinds

    text = read_config(config)
    plan = make_plan(load(text.text, text.name, overrides=overrides, output=output, plugins=plugins))
    check_places(plan, work_folder(plan.config))
    check_ready(plan)
    check_kinds(plan)
    found = None if earlier is None else forecasts(plan, earlier)
    if as_json:
        say_json(plan_json(plan) | ({} if found is None else {"budgets": budgets_json(found)}))
    else:
        for line in (*plan_lines(plan), *budget_section(plan, found, earlier)):
            say(line)
    unmet = found is not None and any(forecast.refusal is not None for forecast, _ in found.values())
    return DataError.exit_code if unmet else 0


def plan_lines(plan: Plan) -> list[str]:
    """The plan as text."""
    from gristmill.pipeline.running.engine import work_folder

    stored = sum(one.bytes for one in plan.slices)
    lines = [
        f"{plan.config.name}: {count(len(plan.slices))} slices of {size(stored)} in {len(plan.passes)} "
        f"pass{'es' if len(plan.passes) != 1 else ''}, seed {plan.config.seed}",
        "",
        "sources",
        *facts((spec.name, _source(plan, spec.name)) for spec in plan.config.sources),
        *facts(_revoked(plan)),
        "",
        "stages",
        *facts((node.name, _node(plan, node.name)) for node in plan.graph.nodes),
        "",
        "outputs",
        *facts((o.name, f"← {_edges(plan, o.inputs)}; {o.config.path}") for o in plan.graph.outputs),
    ]
    lines += [f"  discarded: {', '.join(map(str, plan.graph.discarded))}"] if plan.graph.discarded else []
    lines += ["", "passes"]
    for one in plan.passes:
        lines += _pass(plan, one)
    disk = plan.disk_bytes()
    lines += [
        "",
        "bounds",
        *facts(
            [
                ("memory", f"at most {size(plan.memory_bytes())} per worker, whatever the number of documents"),
                ("work folder", f"about {size(disk['work'])} in {work_folder(plan.config)}, removed at the end"),
                ("outputs", f"about {size(disk['outputs'])}"),
            ]
        ),
    ]
    if plan.graph.notices:
        lines += ["", "notes", *notices(plan)]
    return lines


def notices(plan: Plan) -> list[str]:
    """What the config will not do as one might think, wrapped."""
    lines: list[str] = []
    for notice in plan.graph.notices:
        lines += textwrap.wrap(notice, min(out().width, 100), initial_indent="  ", subsequent_indent="    ")
    return lines


def _source(plan: Plan, name: str) -> str:
    spec = next(spec for spec in plan.config.sources if spec.name == name)
    mine = [one for one in plan.slices if one.source == name]
    files = len({one.path for one in mine})
    parts = [
        spec.config.format,
        f"{count(files)} file{'s' if files != 1 else ''}",
        size(sum(one.bytes for one in mine)),
    ]
    parts += [f"snapshot {spec.config.snapshot}"] if spec.config.snapshot else []
    parts += [f"{count(value)} {key.replace('_', ' ')}" for key, value in _numbers(plan.facts.get(name, {}))]
    licence = spec.config.license
    parts.append(f"licence {licence.name} (stated by: {licence.stated_by})" if licence else "licence not stated")
    return ", ".join(parts)


def _revoked(plan: Plan) -> list[tuple[str, str]]:
    """How many entries the revocation list has, by what documents are found."""
    entries = {} if plan.revoked is None else plan.revoked.entries
    parts = ", ".join(f"{count(number)} by {kind.replace('_', ' and ')}" for kind, number in entries.items())
    return (
        [("revoked", f"documents on a list of {count(sum(entries.values()))} entries are left out ({parts})")]
        if parts
        else []
    )


def _numbers(values: Mapping[str, Any]) -> list[tuple[str, int]]:
    """What is a number of a source's facts."""
    return [(key, value) for key, value in values.items() if isinstance(value, int)]


def _node(plan: Plan, name: str) -> str:
    node = plan.graph.by_name[name]
    parts = [f"← {_edges(plan, node.inputs)}"]
    if node.use != node.name:
        parts.append(f"use {node.use}")
    if node.spec.observes is not None:
        parts.append(f"observes {node.spec.observes}")
    if len(node.spec.ports) > 1:
        parts.append("ports " + ", ".join(f"{port} → {_goal(plan, name, port)}" for port in node.spec.ports))
    if node.settles:
        parts.append("sees the whole corpus")
    if name in plan.prior:
        runs = plan.prior[name]
        documents = count(sum(one.rows for one in runs))
        parts.append(f"and {documents} documents of {len(runs)} prior run{'s' if len(runs) != 1 else ''}")
    if node.spec.emits_copies:
        parts.append("emits copies")
    return "; ".join(parts)


def _edges(plan: Plan, edges: Sequence[Edge]) -> str:
    """Where rows come from; a node's only port needs no name."""
    return ", ".join(edge.node if len(plan.graph.ports_of(edge.node)) == 1 else str(edge) for edge in edges)


def _goal(plan: Plan, name: str, port: str) -> str:
    def reads(edges: Sequence[Edge]) -> bool:
        return any(edge.node == name and edge.port == port for edge in edges)

    goals = [node.name for node in plan.graph.nodes if reads(node.inputs)]
    goals += [output.name for output in plan.graph.outputs if reads(output.inputs)]
    return ", ".join(goals) or "discarded"


def _pass(plan: Plan, one: Pass) -> list[str]:
    from gristmill.pipeline.running.exchange_forecast import forecasts

    needs = plan.resources(one)
    amounts = [f"{needs.cpus:g} core{'' if needs.cpus == 1 else 's'}"]
    amounts += [f"{needs.gpus:g} GPU{'' if needs.gpus <= 1 else 's'}"] if needs.gpus else []
    amounts.append(f"at most {size(plan.pass_memory_bytes(one))}")
    amounts += ["in workers of its own"] if needs.own_workers else []
    steps = [("each task", ", ".join(amounts))]
    if one.measures:
        steps.append(("measure", ", ".join(one.measures)))
    if one.surveys:
        steps.append(("survey", ", ".join(n if n == seen else f"{n} (at {seen})" for n, seen in one.surveys)))
    if one.decides:
        steps.append(("decide", ", ".join(one.decides)))
    if one.final:
        steps.append(("write", "shards, ledger, signals, dropped texts"))
    if one.settles_after:
        steps.append(("then settle", ", ".join(one.settles_after)))
    steps += [("exchange", _exchange(found)) for found in forecasts(plan, one)]
    return [f"  {one.index + 1}", *facts(steps, indent=4)]


def _exchange(found: Forecast) -> str:
    """What the exchange of a node will do, at most."""
    cost = found.cost
    return (
        f"{found.node}: {count(found.rows)} rows at most, in {'two rounds' if found.rounds == 2 else 'one round'}, "
        f"{count(cost.tasks)} tasks, {count(cost.gets)} reads (GET), {count(cost.puts)} writes (PUT), "
        f"{size(cost.read_bytes + cost.written_bytes)} moved, {size(cost.disk_bytes)} kept"
    )


def plan_json(plan: Plan) -> dict[str, Any]:
    """The plan for programs."""
    from gristmill.pipeline.running.engine import work_folder
    from gristmill.pipeline.running.exchange_forecast import forecasts

    return {
        "name": plan.config.name,
        "run": plan.key,
        "seed": plan.config.seed,
        "slices": len(plan.slices),
        "bytes": sum(one.bytes for one in plan.slices),
        "sources": {
            spec.name: {
                "format": spec.config.format,
                "files": len({one.path for one in plan.slices if one.source == spec.name}),
                "bytes": sum(one.bytes for one in plan.slices if one.source == spec.name),
                **({"facts": dict(plan.facts[spec.name])} if plan.facts.get(spec.name) else {}),
            }
            for spec in plan.config.sources
        },
        "nodes": [
            {
                "name": node.name,
                "use": node.use,
                "from": [str(edge) for edge in node.inputs],
                "ports": list(node.spec.ports),
                "settles": node.settles,
                "earlier": [
                    {"folder": n.folder, "run": n.run, "documents": n.rows} for n in plan.prior.get(node.name, ())
                ],
                "signal_fingerprint": plan.fingerprints[node.name].signal,
                "fingerprint": plan.fingerprints[node.name].full,
            }
            for node in plan.graph.nodes
        ],
        "outputs": {
            output.name: {"from": [str(edge) for edge in output.inputs], "path": output.config.path}
            for output in plan.graph.outputs
        },
        "discarded": [str(edge) for edge in plan.graph.discarded],
        "passes": [
            {
                "measure": list(one.measures),
                "survey": [list(pair) for pair in one.surveys],
                "decide": list(one.decides),
                "settle": list(one.settles_after),
                "final": one.final,
                "resources": {**asdict(plan.resources(one)), "bound": plan.pass_memory_bytes(one)},
                "exchange": [asdict(found) for found in forecasts(plan, one)],
            }
            for one in plan.passes
        ],
        "bounds": {"memory": plan.memory_bytes(), "work_folder": str(work_folder(plan.config)), **plan.disk_bytes()},
        "notices": list(plan.graph.notices),
    }
