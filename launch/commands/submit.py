"""`gristmill submit`, `status`, `logs` and `cancel`: runs on clusters, by one name each."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gristmill.launch.clusters.runs import RunFolder, RunRecord
from gristmill.launch.clusters.states import RunStatus, State
from gristmill.launch.commands.status import print_status, show_status
from gristmill.launch.terminal.console import columns, facts, out, say, say_json
from gristmill.pipeline.errors import ConfigError, GristmillError
from gristmill.pipeline.provenance.values import to_json
from gristmill.pipeline.running.status import RunStatus as Progress
from gristmill.pipeline.running.status import read_status
from gristmill.pipeline.storage import is_remote

if TYPE_CHECKING:
    from gristmill.launch.clusters.kubernetes import Kubernetes
    from gristmill.launch.clusters.manifest import KubernetesOptions
    from gristmill.launch.clusters.ray_jobs import RayJobs
    from gristmill.launch.clusters.slurm import Slurm
    from gristmill.launch.clusters.slurm_script import SlurmOptions
    from gristmill.launch.clusters.submission import RunArguments, Submission

    Cluster = RayJobs | Slurm | Kubernetes


@dataclass(frozen=True)
class Place:
    """Where a run is: `--on`, `--address`, `--namespace`."""

    on: str | None = None
    address: str | None = None
    namespace: str | None = None


@dataclass(frozen=True)
class SubmitOptions:
    """The arguments of `gristmill submit` besides those of `run`."""

    place: Place
    name: str | None = None
    follow: bool = False
    dry_run: bool = False
    environment: tuple[str, ...] = ()
    nodes: int = 1
    time: str | None = None
    grace: int | None = None
    restarts: int | None = None
    sbatch: tuple[str, ...] = ()
    image: str | None = None
    cpus: str | None = None
    memory: str | None = None
    gpus: int | None = None
    service_account: str | None = None
    secrets: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()


_OPTIONS_OF = {
    "ray": ("address",),
    "slurm": ("nodes", "time", "restarts", "sbatch", "environment"),
    "kubernetes": (
        "nodes", "time", "restarts", "image", "namespace", "cpus", "memory", "gpus", "service_account", "secrets", "volumes",
    ),
}  # fmt: skip
_WRITTEN = {"secrets": "secret", "volumes": "volume", "environment": "env"}
_INSTEAD = {
    (
        "environment",
        "ray",
    ): " What travels with a Ray job can be read by all who see the dashboard: set variables where the "
    "cluster is started.",
    (
        "environment",
        "kubernetes",
    ): " The value would stand in the manifest: put it into a secret, and give --secret NAME.",
}
_RECORD_NOTE = "note: this run is not remembered here"


def submit(arguments: RunArguments, options: SubmitOptions) -> int:
    """Submits a run. Returns 0, or with `--follow` the run's own exit code.

    Raises ConfigError for what `run` would refuse and for what cannot run there, GristmillError where the cluster does not
    take it.
    """
    from gristmill.launch.clusters.submission import prepare, refuse_places_here

    _refuse_foreign_options(options)
    submission = prepare(arguments, options.name, options.environment)
    if options.place.on != "slurm":
        refuse_places_here(submission)
    if options.dry_run:
        sys.stdout.write(_dry_run(submission, options))
        return 0
    cluster = _cluster(options.place)
    record, script = _submit(cluster, submission, options)
    problem = RunFolder.of_user().save(record)
    if problem is not None:
        sys.stderr.write(f"{_RECORD_NOTE} ({problem}); to see it again, say where it is, as when it was submitted\n")
    say(f"submitted {record.run} ({record.config or 'a config'} on {record.on}, job {record.job})")
    for line in facts([(what, path) for what, path in (("script", script), ("log", record.log)) if path is not None]):
        say(line)
    if options.follow:
        return follow_run(cluster, record)
    for line in facts(
        [
            ("see how it is", f"gristmill status {record.run}"),
            ("see its log", f"gristmill logs {record.run} --follow"),
            ("stop it", f"gristmill cancel {record.run}"),
        ]
    ):
        say(line)
    return 0


def status(run: str | None, place: Place, as_json: bool) -> int:
    """Prints what is known of a run, or lists runs: all that were submitted from here, or all that a cluster knows.

    Args:
        run: a submitted run's name, or a work folder or an output; None lists.

    Returns 0 for a run that is on or done, 75 for one that stopped, 1 for one that failed.
    """
    if run is not None and place.on is None and _is_folder(run):
        return show_status(run, as_json)
    if run is None:
        records = RunFolder.of_user().all() if place.on is None else _cluster(place).all()
        return _list(records, place, as_json)
    record, cluster = _find(run, place)
    found = cluster.status(record)
    code = {State.failed: 1, State.stopped: 75}.get(found.state, 0)
    progress = _progress(record)
    if as_json:
        say_json({**_json(found), "progress": None if progress is None else to_json(progress)})
        return code
    say(f"{record.run}: {found.meaning}")
    where = {"ray": record.address, "kubernetes": record.namespace}.get(record.on)
    pairs = [("on", f"{record.on}{f', {where}' if where else ''}, job {record.job}")]
    pairs += [("config", record.config)] if record.config else []
    pairs += [("submitted", record.submitted)] if record.submitted else []
    pairs += [("log", record.log)] if record.log else []
    pairs += [("output", output) for output in record.outputs]
    for line in facts(pairs):
        say(line)
    if progress is not None:
        say()
        print_status(progress)
    return code


def logs(run: str, place: Place, follow: bool, tail: int | None) -> int:
    """Prints a run's log; with `follow` to its end, and returns its exit code then."""
    record, cluster = _find(run, place)
    if follow:
        return follow_run(cluster, record)
    lines = cluster.logs(record).splitlines(keepends=True)
    sys.stdout.write("".join(lines if tail is None else lines[-tail:] if tail else []))
    return 0


def cancel(run: str, place: Place) -> int:
    """Asks a run to stop: it commits what is done, and submitting it again goes on from there."""
    record, cluster = _find(run, place)
    if cluster.cancel(record):
        say(f"{record.run}: asked to stop. What is committed is kept: submit it again, and it goes on from there.")
    else:
        say(f"{record.run}: it had ended already ({cluster.status(record).meaning}).")
    return 0


def follow_run(cluster: Cluster, record: RunRecord) -> int:
    """Prints a run's log as it comes, and returns its exit code."""

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    try:
        found = cluster.follow(record, write)
    except KeyboardInterrupt:
        sys.stdout.flush()
        sys.stderr.write(
            f"\nno longer following; the run goes on. `gristmill logs {record.run} --follow` comes back to it, `gristmill "
            f"cancel {record.run}` stops it.\n"
        )
        return 0
    say(f"{record.run}: {found.meaning}")
    if found.exit_code is not None:
        return found.exit_code
    return {State.done: 0, State.stopped: 75}.get(found.state, 1)


def _is_folder(what: str) -> bool:
    """Whether `status` was given a place and not a run's name."""
    if RunFolder.of_user().knows(what):
        return False
    return is_remote(what) or "/" in what or any(Path(f"{what}{ending}").is_dir() for ending in ("", ".work"))


def _progress(record: RunRecord) -> Progress | None:
    """What the run's driver last said, where its first output lies on a file system that is mounted here."""
    output = next(iter(record.outputs), None)
    if output is None or is_remote(output):
        return None
    if not os.path.isabs(output):
        output = os.path.join(os.path.dirname(record.log or ""), output)
    try:
        return read_status(output)
    except GristmillError:
        return None  # it is an addition to what the cluster says


def _submit(cluster: Cluster, submission: Submission, options: SubmitOptions) -> tuple[RunRecord, str | None]:
    from gristmill.launch.clusters.kubernetes import Kubernetes
    from gristmill.launch.clusters.slurm import Slurm

    if isinstance(cluster, Slurm):
        return cluster.submit(submission, _slurm_options(options))
    if isinstance(cluster, Kubernetes):
        return cluster.submit(submission, _kubernetes_options(options)), None
    return cluster.submit(submission), None


def _dry_run(submission: Submission, options: SubmitOptions) -> str:
    if options.place.on == "slurm":
        from gristmill.launch.clusters.slurm import script_of

        return script_of(submission, _slurm_options(options))[0]
    if options.place.on == "kubernetes":
        from gristmill.launch.clusters.kubernetes import manifest_of

        return manifest_of(submission, _kubernetes_options(options))[0]
    from gristmill.launch.clusters.ray_jobs import describe

    return describe(submission, options.place.address)


def _slurm_options(options: SubmitOptions) -> SlurmOptions:
    from gristmill.launch.clusters.slurm_script import SlurmOptions

    made = SlurmOptions(nodes=options.nodes, time=options.time, more=options.sbatch)
    grace = made.grace if options.grace is None else options.grace
    restarts = made.restarts if options.restarts is None else options.restarts
    return SlurmOptions(made.nodes, made.time, grace, restarts, made.more)


def _kubernetes_options(options: SubmitOptions) -> KubernetesOptions:
    from gristmill.launch.clusters.manifest import KubernetesOptions, seconds_of

    given: dict[str, Any] = {
        "cpus": options.cpus, "memory": options.memory, "gpus": options.gpus, "restarts": options.restarts,
        "seconds": None if options.time is None else seconds_of(options.time),
    }  # fmt: skip
    return KubernetesOptions(
        image=options.image, nodes=options.nodes, namespace=options.place.namespace,
        service_account=options.service_account, secrets=options.secrets, volumes=options.volumes,
        **{name: value for name, value in given.items() if value is not None},
    )  # fmt: skip


def _refuse_foreign_options(options: SubmitOptions) -> None:
    """An option of another kind of cluster would be without effect, and is refused."""
    on = options.place.on
    if on is None:
        raise ConfigError(
            "submit: expected --on ray, --on slurm or --on kubernetes. `gristmill run` runs on this machine."
        )
    given = {"address": options.place.address, "namespace": options.place.namespace}
    defaults = SubmitOptions(Place())
    for kind in _OPTIONS_OF.values():
        for name in kind:
            value = given[name] if name in given else getattr(options, name)
            if name not in _OPTIONS_OF[on] and value != getattr(defaults, name, None):
                takers = " and ".join(f"--on {other}" for other, names in _OPTIONS_OF.items() if name in names)
                raise ConfigError(
                    f"--{_WRITTEN.get(name, name).replace('_', '-')}: this belongs to {takers}, and does nothing on {on}."
                    + _INSTEAD.get((name, on), "")
                )


def _cluster(place: Place) -> Cluster:
    if place.on == "ray":
        from gristmill.launch.clusters.ray_jobs import RayJobs

        return RayJobs(place.address)
    if place.on == "slurm":
        from gristmill.launch.clusters.slurm import Slurm

        return Slurm()
    if place.on == "kubernetes":
        from gristmill.launch.clusters.kubernetes import Kubernetes

        return Kubernetes(place.namespace)
    raise ConfigError("expected --on ray, --on slurm or --on kubernetes.")


def _find(run: str, place: Place) -> tuple[RunRecord, Cluster]:
    """A run's record, from here or from the cluster that is named, and its cluster."""
    if place.on is None:
        if place.address is not None or place.namespace is not None:
            raise ConfigError("--address and --namespace go with --on, which says what kind of cluster it is.")
        record = RunFolder.of_user().find(run)
        return record, _cluster(Place(record.on, record.address, record.namespace))
    cluster = _cluster(place)
    return cluster.find(run), cluster


def _list(records: list[RunRecord], place: Place, as_json: bool) -> int:
    if as_json:
        say_json([record.model_dump(exclude_none=True) for record in records])
        return 0
    if not records:
        say(f"no run is known {'here' if place.on is None else f'on {place.on}'}")
        return 0
    table = columns(("run", "left"), ("on", "left"), ("where", "left"), ("submitted", "left"), ("config", "left"))
    for record in records:
        where = record.address or record.namespace or f"job {record.job}"
        table.add_row(record.run, record.on, where, record.submitted, record.config)
    out().print(table)
    return 0


def _json(found: RunStatus) -> dict[str, Any]:
    return {
        **found.record.model_dump(exclude_none=True),
        "state": str(found.state),
        "detail": found.detail,
        "exit_code": found.exit_code,
    }
