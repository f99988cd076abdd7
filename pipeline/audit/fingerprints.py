"""Checks how fields and models lead to fingerprints and to the run's key, and the edges that accounts name."""

from __future__ import annotations

from gristmill.pipeline.audit.result import Report
from gristmill.pipeline.audit.routes import AuditGraph
from gristmill.pipeline.hashing import canonical, digest
from gristmill.pipeline.provenance.accounts import Accounts, NodeAccount
from gristmill.pipeline.provenance.statement import MANIFEST, Predicate


def wiring_problems(graph: AuditGraph, accounts: Accounts) -> list[str]:
    """Where accounts name edges that the graph does not have, or a port whose rows nothing read."""
    found = []
    consumed = {edge for edges in graph.outputs.values() for edge in edges} | set(accounts.discarded)
    for node in graph.nodes:
        consumed |= set(node.inputs)
        account = accounts.nodes.get(node.name)
        if account is None:
            found.append(f"node `{node.name}` has no account.")
        elif set(account.edges) != set(node.inputs):
            found.append(
                f"node `{node.name}`: its account has the edges {sorted(account.edges)}, not {sorted(node.inputs)}."
            )
    names = {*graph.sources, *(node.name for node in graph.nodes)}
    for name, account in accounts.nodes.items():
        if name not in names:
            found.append(f"there is an account of `{name}`, which is not part of the run.")
            continue
        for port, tally in account.ports.items():
            if tally.rows and f"{name}.{port}" not in consumed:
                found.append(f"{tally.rows} rows left on {name}.{port}, where nothing reads them.")
    for output, edges in accounts.outputs.items():
        if set(edges) != set(graph.outputs.get(output, ())):
            found.append(f"output `{output}`: its account has the edges {sorted(edges)}.")
    return found


def promise_problems(predicate: Predicate) -> list[str]:
    """Where the tallies of a node are not within what its settled answer promised: `promised` in its report, by tally the least
    and the most."""
    found = []
    for name, report in predicate.reports.items():
        promised = report.get("promised", {})
        tallies = predicate.accounts.nodes.get(name, NodeAccount()).tallies
        for tally, bounds in promised.items() if isinstance(promised, dict) else ():
            sound = isinstance(bounds, list) and len(bounds) == 2 and all(type(bound) is int for bound in bounds)
            held = tallies.get(tally, 0)
            if not sound:
                found.append(
                    f"node `{name}`: its report promises {str(bounds)[:80]} of `{tally[:80]}`; expected two numbers."
                )
            elif not bounds[0] <= held <= bounds[1]:
                found.append(
                    f"node `{name}`: it emitted {held} of `{tally}`; its report promises {bounds[0]} to {bounds[1]}."
                )
    return found


def check_models(predicate: Predicate, report: Report) -> None:
    """Every fingerprint follows from stage, version, fields and models, and the identity names those fingerprints."""
    identity = []
    for node in predicate.nodes:
        report.saw("models")
        signals, thresholds, name = node.fields.signal, node.fields.threshold, node.name
        signal = digest("gristmill.signal", [node.use, node.version, signals])
        full = digest("gristmill.node", [signal, thresholds])
        for what, stated, found in (
            ("signal fingerprint", node.signal_fingerprint, signal),
            ("fingerprint", node.fingerprint, full),
        ):
            if stated != found:
                report.fail("models", f"the {what} is stated as {stated}, but its fields give {found}", node=name)
        for model, sha256 in node.models.items():
            places = (
                signals.get(model),
                thresholds.get(model),
                signals.get(f"model:{model}"),
            )
            if sha256 not in places:
                report.fail(
                    "models", f"the model `{model}` has the digest {sha256}, which entered no fingerprint", node=name
                )
        inputs = [edge.removesuffix(".read") for edge in node.from_]
        identity.append([name, node.use, inputs, node.fingerprint])
    report.saw("models")
    if canonical(identity) != canonical(predicate.identity.nodes):
        report.fail("models", "the nodes of the run's identity are not those of the manifest", file=MANIFEST)
