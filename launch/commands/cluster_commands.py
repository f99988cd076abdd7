"""How the commands for clusters stand on the command line: arguments, help, examples. Imports nothing heavy."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from gristmill.launch.commands.options import ConfigArgument, JsonOption, OutputOption, PluginOption, SetOption
from gristmill.pipeline.stopping import MOST_GRACE_SECONDS


class ClusterKind(StrEnum):
    """Values of `--on`."""

    ray = "ray"
    slurm = "slurm"
    kubernetes = "kubernetes"


RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The name of a run, as `submit` printed it.")]
OnOption = Annotated[
    ClusterKind | None, typer.Option("--on", help="The kind of cluster, for a run that was not submitted from here.")
]
AddressOption = Annotated[
    str | None, typer.Option(metavar="URL", help="Ray: the dashboard's address, such as http://head:8265.")
]
NamespaceOption = Annotated[str | None, typer.Option(metavar="NAME", help="Kubernetes: the namespace.")]


def submit(
    config: ConfigArgument,
    on: Annotated[ClusterKind, typer.Option("--on", help="The kind of cluster.")],
    address: AddressOption = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Number of parallel tasks; default: one per core of the cluster."),
    ] = None,
    overrides: SetOption = None,
    output: OutputOption = None,
    plugin: PluginOption = None,
    rehash: Annotated[
        bool, typer.Option("--rehash", help="On resume, read every input again instead of trusting size and time.")
    ] = False,
    keep_work: Annotated[bool, typer.Option("--keep-work", help="Keep the work folder at the end.")] = False,
    reuse: Annotated[
        str | None,
        typer.Option(metavar="OUTPUT", help="Take signals from this finished output, as the cluster names it."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Sign the manifests with this private key, a file on the cluster."),
    ] = None,
    previous: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="The output of the dataset's previous run, as the cluster sees it."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="RUN", help="A name for the run; default: made of the config's.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print the run's log to its end, and exit with its code.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the script, manifest or command; submit nothing.")
    ] = False,
    env: Annotated[
        list[str] | None,
        typer.Option(
            "--env", metavar="NAME", help="Slurm: pass this environment variable on, by its name; repeatable."
        ),
    ] = None,
    nodes: Annotated[
        int, typer.Option(min=1, metavar="N", help="Slurm, Kubernetes: number of nodes or worker pods.")
    ] = 1,
    time: Annotated[
        str | None, typer.Option(metavar="LIMIT", help="Slurm, Kubernetes: time limit, such as 2-00:00:00 or 1:30:00.")
    ] = None,
    grace: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_GRACE_SECONDS,
            metavar="SECONDS",
            help="Time in which a run that is told to stop may still commit the tasks under way; default: 20. Slurm: how long "
            "before the limit it is told, 300.",
        ),
    ] = None,
    restarts: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="How often a stopped run starts again; default: Slurm 100, Kubernetes 3."
        ),
    ] = None,
    sbatch: Annotated[
        list[str] | None,
        typer.Option("--sbatch", metavar="NAME=VALUE", help="Slurm: another option of sbatch, such as partition=cpu."),
    ] = None,
    image: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="Kubernetes: a container image with Ray and this Gristmill.")
    ] = None,
    namespace: NamespaceOption = None,
    cpus: Annotated[str | None, typer.Option(metavar="N", help="Kubernetes: CPUs of a pod; default: 4.")] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Kubernetes: memory of a pod; default: 16Gi.")
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=1, metavar="N", help="Kubernetes: GPUs of a worker pod.")] = None,
    service_account: Annotated[
        str | None, typer.Option(metavar="NAME", help="Kubernetes: the pods' service account.")
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            "--secret", metavar="NAME", help="Kubernetes: a secret whose keys become environment variables; repeatable."
        ),
    ] = None,
    volume: Annotated[
        list[str] | None,
        typer.Option(
            "--volume", metavar="CLAIM:/PATH", help="Kubernetes: mount a claim on shared storage; repeatable."
        ),
    ] = None,
) -> int:
    """Run a config on a cluster: Ray, Slurm or Kubernetes. The run goes on when this command ends."""
    from gristmill.launch.clusters.submission import RunArguments
    from gristmill.launch.commands.submit import Place, SubmitOptions
    from gristmill.launch.commands.submit import submit as submit_run

    arguments = RunArguments(
        config,
        workers,
        tuple(overrides or ()),
        output,
        tuple(plugin or ()),
        rehash,
        keep_work,
        key,
        previous,
        reuse,
        grace,
    )
    options = SubmitOptions(
        Place(on.value, address, namespace), name, follow, dry_run, tuple(env or ()), nodes, time, grace, restarts,
        tuple(sbatch or ()), image, cpus, memory, gpus, service_account, tuple(secret or ()), tuple(volume or ()),
    )  # fmt: skip
    return submit_run(arguments, options)


def status(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN|DIR]",
            help="A submitted run, or the work folder or first output of any; without: all submitted runs.",
        ),
    ] = None,
    on: OnOption = None,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show how far a run is: counts by stage, time left, slow and failed tasks, and whether its driver is alive."""
    from gristmill.launch.commands.submit import Place
    from gristmill.launch.commands.submit import status as show_status

    return show_status(run, Place(on.value if on else None, address, namespace), as_json)


def logs(
    run: RunArgument,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Print the log as it comes, to the run's end, and exit with its code."),
    ] = False,
    tail: Annotated[int | None, typer.Option(min=0, metavar="N", help="Only the last N lines.")] = None,
    on: OnOption = None,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> int:
    """Print the log of a submitted run."""
    from gristmill.launch.commands.submit import Place
    from gristmill.launch.commands.submit import logs as show_logs

    return show_logs(run, Place(on.value if on else None, address, namespace), follow, tail)


def cancel(
    run: RunArgument,
    on: OnOption = None,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> int:
    """Stop a submitted run. It commits what is done; submitting it again goes on from there."""
    from gristmill.launch.commands.submit import Place
    from gristmill.launch.commands.submit import cancel as cancel_run

    return cancel_run(run, Place(on.value if on else None, address, namespace))


def add_cluster_commands(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command(
        short_help="Run a config on a cluster: Ray, Slurm or Kubernetes.",
        epilog="""\b
Examples:
  gristmill submit web.yaml --on ray --address http://head:8265 --follow
  gristmill submit web.yaml --on slurm --nodes 8 --time 12:00:00 --sbatch cpus-per-task=64
  gristmill submit web.yaml --on kubernetes --image registry/gristmill:1 --nodes 8 --dry-run

The config is checked here first. The same command again goes on where a stopped run left off.""",
    )(submit)
    app.command(
        short_help="Show how far a run is.",
        epilog="""\b
Examples:
  gristmill status out/web.work
  gristmill status out/web --json
  gristmill status
  gristmill status web-20261121-204631-1c2c
  gristmill status web-20261121-204631-1c2c --on ray --address http://head:8265

Exit codes: 0 the run is on, or done; 75 it stopped, or its driver gives no sign: the same command goes on from there;
1 it failed, or is not there.""",
    )(status)
    app.command(
        short_help="Print the log of a submitted run.",
        epilog="""\b
Examples:
  gristmill logs web-20261121-204631-1c2c --follow
  gristmill logs web-20261121-204631-1c2c --tail 20""",
    )(logs)
    app.command(
        short_help="Stop a submitted run.",
        epilog="""\b
Example:
  gristmill cancel web-20261121-204631-1c2c""",
    )(cancel)
