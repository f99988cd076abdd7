"""What a job runs first on its cluster: finds that every node can run our tasks, then becomes `gristmill run`.

    python -m gristmill.launch.clusters.job_start [--address auto] [--package SHA256] [--nodes N] [--wait SECONDS] -- run …

The arguments of `gristmill` may also stand in a file, as a JSON list (`--arguments FILE`), where what starts the job does not
keep quotes as they are.

Exit code 2 with a line per node and reason where a node cannot: another Python, a package that is missing or has another
version, another Gristmill. Results are equal byte for byte only where versions are.
"""

# Read by the oldest Python that a cluster may have, to say that it is too old: nothing newer before `_check_python`.

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
import typing

from gristmill.launch.clusters import node_facts

OLDEST = (3, 11)
NODE_SECONDS = 120.0
"""How long one node may take to answer; the first answer of a node includes unpacking what travelled with the job."""


class NotFitError(Exception):
    """The cluster cannot run the job, with one reason per line."""


def main(arguments: list[str]) -> int:
    """Checks the cluster and replaces this process by `gristmill`; returns 2 where the cluster is not fit."""
    parser = argparse.ArgumentParser(prog="gristmill.launch.clusters.job_start")
    parser.add_argument("--address", default="auto")
    parser.add_argument("--package", default=None)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--wait", type=float, default=60.0)
    parser.add_argument("--arguments", default=None)
    parser.add_argument("command", nargs="*")
    options = parser.parse_args(arguments)
    if options.arguments is not None:
        with open(options.arguments, encoding="utf-8") as stream:
            options.command = json.load(stream)
    try:
        _check_python()
        _check_nodes(options.address, options.package, options.nodes, options.wait)
    except NotFitError as error:
        sys.stderr.write("error: this cluster cannot run the job.\n" + str(error) + "\n")
        return 2
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "gristmill.launch", *options.command])


def _check_python() -> None:
    if sys.version_info < OLDEST:
        raise NotFitError(
            f"  {sys.executable} is Python {sys.version.split()[0]}; Gristmill needs {OLDEST[0]}.{OLDEST[1]} or newer. Put "
            "the environment that Ray runs in first on PATH where the cluster is started."
        )
    try:
        import ray  # noqa: F401
    except ImportError as error:
        raise NotFitError(
            f"  {sys.executable} has no Ray ({error}). Put the environment that Ray runs in first on PATH where the cluster "
            "is started."
        ) from None


def _check_nodes(address: str, package: str | None, nodes: int, wait: float) -> None:
    needed = requirements()
    here = node_facts.node_facts(sorted(needed))
    problems = unfit("this job's driver", here, needed, package, None)
    if problems:
        raise NotFitError("\n".join(problems))
    import logging

    ray: typing.Any = __import__("ray")
    from gristmill.pipeline.errors import GristmillError
    from gristmill.pipeline.executor import ray_connection

    give_up = time.monotonic() + wait
    while True:
        try:
            ray_connection.check_address(address)
            with ray_connection.quiet_stderr():
                ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
            break
        except (OSError, RuntimeError, ValueError, GristmillError, ray.exceptions.RayError) as error:
            if time.monotonic() > give_up:
                raise NotFitError("  " + str(error)) from None
            time.sleep(1.0)
    try:
        alive = [node for node in ray.nodes() if node["Alive"]]
        while len(alive) < nodes:
            if time.monotonic() > give_up:
                raise NotFitError(
                    f"  {len(alive)} of {nodes} nodes have come within {wait:.0f} s. Their logs are above and in Ray's folder."
                )
            time.sleep(1.0)
            alive = [node for node in ray.nodes() if node["Alive"]]
        for name, found in _ask(ray, alive, sorted(needed)):
            problems += [f"  {name}: {found}"] if isinstance(found, str) else unfit(name, found, needed, package, here)
    finally:
        ray.shutdown()
    if problems:
        raise NotFitError("\n".join(problems))


def _ask(
    ray: typing.Any, nodes: list[dict[str, typing.Any]], packages: list[str]
) -> list[tuple[str, dict[str, typing.Any] | str]]:
    """(name, facts) of each node, or (name, why there are none)."""
    ray.cloudpickle.register_pickle_by_value(node_facts)
    try:
        remote = ray.remote(num_cpus=0, max_retries=0)(node_facts.node_facts)
        asked = []
        for node in nodes:
            where = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            name = f"node {node['NodeManagerAddress']} ({node['NodeManagerHostname']})"
            asked.append((name, remote.options(scheduling_strategy=where).remote(packages)))
    finally:
        ray.cloudpickle.unregister_pickle_by_value(node_facts)
    give_up = time.monotonic() + NODE_SECONDS
    answers: list[tuple[str, dict[str, typing.Any] | str]] = []
    for name, reference in asked:
        try:
            answers.append((name, ray.get(reference, timeout=max(1.0, give_up - time.monotonic()))))
        except ray.exceptions.GetTimeoutError:
            answers.append((name, f"it did not answer within {NODE_SECONDS:.0f} s"))
        except ray.exceptions.RayError as error:
            answers.append((name, " ".join(str(error).split())[:500]))
    return answers


def requirements() -> dict[str, str]:
    """Name → version specifier of what every node must have: the distribution's requirements without its extras."""
    from importlib import metadata

    needed = {}
    for line in metadata.requires("gristmill") or []:
        matched = re.match(r"([A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*\(?([^;)]*)\)?\s*(;.*)?$", line)
        if matched and "extra" not in (matched.group(3) or ""):
            needed[matched.group(1)] = matched.group(2).strip()
    return needed


def unfit(
    name: str,
    found: dict[str, typing.Any],
    needed: dict[str, str],
    package: str | None,
    driver: dict[str, typing.Any] | None,
) -> list[str]:
    """Why a node cannot run our tasks, a line each.

    Args:
        name: what messages call the node.
        found: its facts.
        needed: name → version specifier.
        package: digest that its Gristmill must have, or None.
        driver: facts of the driver, whose versions it must have; None for the driver itself.
    """
    from packaging.specifiers import SpecifierSet

    lines = []
    if driver is not None:
        for what in ("python", "ray"):
            if found[what] != driver[what]:
                lines.append(f"it has {what.capitalize()} {found[what]}, the driver {driver[what]}")
    for item, specifier in sorted(needed.items()):
        version = found["packages"][item]
        if version is None:
            lines.append(f"the package {item} is missing (needed: {item}{specifier})")
        elif not SpecifierSet(specifier).contains(version, prereleases=True):
            lines.append(f"the package {item} is {version} (needed: {item}{specifier})")
        elif driver is not None and driver["packages"][item] not in (None, version):
            lines.append(f"the package {item} is {version}, at the driver {driver['packages'][item]}")
    if found["gristmill"] is None:
        lines.append("Gristmill is missing")
    elif package is not None and found["gristmill"] != package:
        lines.append(f"its Gristmill is another one ({found['gristmill'][:12]}…) than was submitted ({package[:12]}…)")
    return [f"  {name} ({found['executable']}): {line}" for line in lines]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
