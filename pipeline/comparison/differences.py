"""What differs in what made two outputs: settings, stages, models, software and machines, sources, from their manifests."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from gristmill.pipeline.provenance.statement import ManifestNode, Predicate
from gristmill.pipeline.provenance.values import to_json

_ENVIRONMENT = ("python", "platform", "machine", "executable")


def differences(a: Predicate, b: Predicate) -> dict[str, list[dict[str, Any]]]:
    """By kind, what differs: each with `key`, the value in `a` and that in `b` (None where there is none), and `node` where it
    is a node's.

    `removals` are those that only one of the two has. `settings` may change results, as may `stages` (a version of a stage, or
    software that it fingerprints), `models`, `inputs` and `answers` (corpus-wide ones). `environment` may not, by what
    Gristmill promises.
    """
    found: dict[str, list[dict[str, Any]]] = {
        "removals": _removals(a, b),
        "settings": _flat_differences(_run_settings(a), _run_settings(b)),
        "stages": [],
        "models": [],
        "inputs": _inputs(a, b),
        "answers": _mapped("settled", a.settled, b.settled),
        "environment": _mapped("packages", a.varies.packages, b.varies.packages),
    }
    there = [{node.name: node for node in one.nodes} for one in (a, b)]
    for name in dict.fromkeys([*there[0], *there[1]]):
        _node(name, there[0].get(name), there[1].get(name), found)
    for name in _ENVIRONMENT:
        values = getattr(a.varies, name), getattr(b.varies, name)
        if values[0] != values[1]:
            found["environment"].append({"key": name, "a": values[0], "b": values[1]})
    return found


def causes(a: Predicate, b: Predicate, found: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[str]]:
    """By node, the keys that differ at it or, where none do, at the nodes and sources that it reads from, nearest first."""
    own: dict[str, list[str]] = {}
    for kind in ("settings", "stages", "models", "inputs"):
        for one in found[kind]:
            own.setdefault(one.get("node") or one.get("source") or "", []).append(one["key"])
    above: dict[str, set[str]] = {}
    for manifest in (a, b):
        for node in manifest.nodes:
            above.setdefault(node.name, set()).update(edge.partition(".")[0] for edge in node.from_)
    made = {}
    for name in [*above, *a.sources, *b.sources]:
        seen, level = {name}, {name}
        while level and not any(own.get(one) for one in level):
            level = {up for one in level for up in above.get(one, ())} - seen
            seen |= level
        made[name] = [key for one in sorted(level) for key in own.get(one, ())] or own.get("", [])
    return made


def _removals(a: Predicate, b: Predicate) -> list[dict[str, Any]]:
    """Removals that only one of the two has."""
    found = []
    for number, sides in enumerate(zip_longest(a.removals, b.removals)):
        if sides[0] != sides[1]:
            told = [None if one is None else f"{one.documents:,} documents: {one.reason}" for one in sides]
            found.append({"key": f"removals.{number}", "a": told[0], "b": told[1]})
    return found


def _node(name: str, a: ManifestNode | None, b: ManifestNode | None, found: dict[str, list[dict[str, Any]]]) -> None:
    if a is None or b is None:
        there = [None if one is None else one.use for one in (a, b)]
        found["settings"].append({"key": f"stages.{name}", "node": name, "a": there[0], "b": there[1]})
        return
    settings = [{"use": one.use, "from": one.from_, **one.fields.signal, **one.fields.threshold} for one in (a, b)]
    prefix = f"stages.{name}"
    found["settings"] += [
        {**one, "key": f"{prefix}.{one['key']}", "node": name} for one in _flat_differences(*settings)
    ]
    if a.version != b.version:
        found["stages"].append({"key": f"{prefix}: version", "node": name, "a": a.version, "b": b.version})
    models = _mapped(f"{prefix}: model", a.models, b.models)
    found["models"] += [{**one, "node": name} for one in models]
    same = settings[0] == settings[1] and a.version == b.version and not models
    if same and a.signal_fingerprint != b.signal_fingerprint:
        # A library that the stage names in its fingerprint, the seed, or what an earlier run gave it.
        values = {"a": a.signal_fingerprint[:16], "b": b.signal_fingerprint[:16]}
        found["stages"].append({"key": f"{prefix}: fingerprint of what it measures", "node": name, **values})
    elif same and a.fingerprint != b.fingerprint:
        values = {"a": a.fingerprint[:16], "b": b.fingerprint[:16]}
        found["stages"].append({"key": f"{prefix}: fingerprint", "node": name, **values})


def _run_settings(one: Predicate) -> dict[str, Any]:
    outputs = {name: to_json(output) for name, output in one.identity.outputs.items()}
    revoked = None if one.identity.revoked is None else to_json(one.identity.revoked)
    listed = {} if revoked is None else {"revoked": {**revoked, "digest": revoked["digest"][:16]}}
    return {"seed": one.identity.seed, "discard": sorted(one.identity.discard), "outputs": outputs, **listed}


def _inputs(a: Predicate, b: Predicate) -> list[dict[str, Any]]:
    found = []
    # Of versions of one run the numbers differ by what was removed, which is told as that.
    counted_once = {"rows": None, "text_bytes": None} if a.run == b.run and a.removals != b.removals else {}
    for name in dict.fromkeys([*a.sources, *b.sources]):
        sides: list[dict[str, Any]] = []
        for one in (a, b):
            totals, stated = one.sources.get(name), one.identity.sources.get(name, {})
            counted = {} if totals is None else {**to_json(totals), "license": None, **counted_once}
            sides.append({**counted, **stated.get("config", {}), **{k: v for k, v in stated.items() if k != "config"}})
        found += [{**one, "key": f"sources.{name}.{one['key']}", "source": name} for one in _flat_differences(*sides)]
    if not found and a.slices_root != b.slices_root:
        found.append({"key": "content of the input files", "a": a.slices_root[:16], "b": b.slices_root[:16]})
    return found


def _mapped(prefix: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"key": f"{prefix}.{name}", "a": a.get(name), "b": b.get(name)}
        for name in sorted({*a, *b})
        if a.get(name) != b.get(name)
    ]


def _flat_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Differing leaves of nested mappings, by dotted key."""
    found: list[dict[str, Any]] = []
    for name in dict.fromkeys([*a, *b]):
        mine, theirs = a.get(name), b.get(name)
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            found += [{**one, "key": f"{name}.{one['key']}"} for one in _flat_differences(mine, theirs)]
        elif mine != theirs:
            found.append({"key": str(name), "a": mine, "b": theirs})
    return found
