"""The sbatch script of a run: Ray over the allocation, `gristmill run` on it, and the same again after a requeue."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from gristmill.pipeline.errors import ConfigError

JOB_PREFIX = "gristmill-"
"""A job's name is this and the run's name, by which `squeue` finds it from any machine."""

ENDED = "ended with exit code"
"""What the log's last line says, for a cluster that keeps no accounts of jobs that are gone."""

_ENDING_SECONDS = 30
KILL_SECONDS = 30
"""Time from SIGTERM to SIGKILL for a job that Slurm ends now: its default of `KillWait`."""

ALWAYS = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TZ", "USER")
"""Variables that the job gets, where they are set, besides those that are named; Slurm alone would copy every one."""


@dataclass(frozen=True)
class SlurmOptions:
    """What the job asks of Slurm.

    Attributes:
        nodes: nodes of the allocation.
        time: its time limit, in Slurm's forms (`2-00:00:00`); None: the partition's.
        grace: seconds before the limit at which the run is told to stop.
        restarts: times that a run that was stopped in time is queued again.
        more: further options of sbatch, `NAME=VALUE` or `NAME`.
    """

    nodes: int = 1
    time: str | None = None
    grace: int = 300
    restarts: int = 100
    more: tuple[str, ...] = ()

    @property
    def run_grace(self) -> int:
        """Of these seconds, those that the run's tasks get; the rest is for Ray's end and the new place in the queue.

        >>> SlurmOptions().run_grace, SlurmOptions(grace=40).run_grace
        (270, 20)
        """
        return max(self.grace - _ENDING_SECONDS, self.grace // 2)


def script(
    run: str,
    command: list[str],
    *,
    folder: str,
    log: str,
    python: str,
    package: str,
    environment: tuple[str, ...],
    options: SlurmOptions,
    modules: Sequence[str] = (),
) -> str:
    """The text of the script.

    Args:
        run: the run's name.
        command: the arguments of `gristmill`; the Ray cluster's address in them is `auto`.
        folder: the current folder of the run, which all nodes mount.
        log: the file of the log.
        python: the interpreter, which all nodes have at that path.
        package: the digest of the package that it must have.
        environment: names of variables that the job gets besides ALWAYS.
        options: what the job asks of Slurm.
        modules: folders with plug-ins, which all nodes mount.

    Raises ConfigError for an option that has no place in a script.
    """
    directives = [
        f"--job-name={JOB_PREFIX}{run}",
        f"--nodes={options.nodes}",
        "--ntasks-per-node=1",
        f"--chdir={_quoted(folder)}",
        f"--output={_quoted(_no_pattern(log))}",
        "--open-mode=append",
        "--requeue",
        f"--signal=B:USR1@{options.grace}",
        f"--export={','.join(sorted({*ALWAYS, *environment}))}",
    ]
    directives += [f"--time={_checked(options.time, '--time')}"] if options.time is not None else []
    directives += [_more(item) for item in options.more]
    return _TEXT.format(
        run=run,
        directives="\n".join(f"#SBATCH {line}" for line in directives),
        python=shlex.quote(python),
        package=package,
        command=" ".join(shlex.quote(item) for item in command),
        restarts=options.restarts,
        term=min(options.run_grace, KILL_SECONDS - 10),
        ended=ENDED,
        modules=_module_path(modules),
        ray_log=shlex.quote(f"{log}.ray"),
    )


def _module_path(folders: Sequence[str]) -> str:
    """The lines that put folders of plug-ins on Python's path. Raises ConfigError for one that has no place there."""
    for folder in folders:
        if ":" in folder:
            raise ConfigError(
                f"--plugin: the folder {folder!r:.80} has a colon in its name, and Python's path takes none."
            )
    if not folders:
        return ""
    return f"export PYTHONPATH={shlex.quote(':'.join(folders))}${{PYTHONPATH:+:$PYTHONPATH}}\n"


def _quoted(value: str) -> str:
    """A value of a directive. sbatch knows quotes and backslashes there."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _no_pattern(path: str) -> str:
    """A path in which `%` stands for itself."""
    return path.replace("%", "%%")


def _checked(value: str, option: str) -> str:
    if not value or any(not (character.isalnum() or character in "-:._,=/@+[]*()&|%") for character in value):
        raise ConfigError(f"{option} {value!r:.80}: expected letters, digits and -:._,=/@+[]*()&| without spaces.")
    return value


def _more(item: str) -> str:
    name, equals, value = item.partition("=")
    plain = name.removeprefix("--")
    if not plain.replace("-", "").isalnum() or not plain.isascii():
        raise ConfigError(f"--sbatch {item!r:.80}: expected the name of an option of sbatch, such as partition=cpu.")
    if plain in ("export", "wrap", "export-file"):
        raise ConfigError(
            f"--sbatch {plain}: variables are named with --env NAME, so that no value stands in the script."
        )
    return f"--{plain}={_checked(value, f'--sbatch {plain}')}" if equals else f"--{plain}"


_TEXT = """#!/bin/bash
# Written by `gristmill submit --on slurm`: the run {run}. `sbatch` with this file submits it again.
{directives}

set -u
# `gristmill cancel` asks by USR2, at any time from here on.
stopped=
cancelled=
trap 'stopped=yes; cancelled=yes' USR2
python={python}
id=$SLURM_JOB_ID
restart=${{SLURM_RESTART_COUNT:-0}}
echo "gristmill: {run} begins as job $id on $SLURM_JOB_NODELIST, restart $restart"

# What this script has in its environment, Ray gets too. A token of this job's own keeps others on these nodes away from
# its Ray; it is in the environment alone.
export SLURM_EXPORT_ENV=ALL RAY_AUTH_MODE=token PYTHONUNBUFFERED=1 RAY_USAGE_STATS_ENABLED=0
{modules}RAY_AUTH_TOKEN=$("$python" -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN

# Ray's own files: on the disk of each node, under a short path (it has sockets there), removed at the end.
scratch=/tmp/gristmill-$id-$restart
export RAY_TMPDIR=$scratch

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
ray_log={ray_log}
cpus=${{SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE}}
on_node=(srun --quiet --overlap --nodes=1 --ntasks=1 "--cpus-per-task=$cpus")
head=()
workers=()
timer=()

# What this start and earlier ones of the job left on these nodes: a start that was killed could not remove its own.
remove_scratch() {{
    srun --quiet --overlap "--nodes=${{#nodes[@]}}" "--ntasks=${{#nodes[@]}}" --ntasks-per-node=1 \\
        bash -c 'rm -rf -- "/tmp/gristmill-$0-"*' "$id"
}}

clean_up() {{
    trap '' TERM USR1 USR2
    [ "${{#timer[@]}}" -eq 0 ] || kill "${{timer[@]}}" 2>/dev/null
    [ "${{#workers[@]}}" -eq 0 ] || kill "${{workers[@]}}" 2>/dev/null
    [ "${{#head[@]}}" -eq 0 ] || kill "${{head[@]}}" 2>/dev/null
    wait
    # Slurm starts nothing more in a job that it ends: then each node's step removes its folder, and this script the first's.
    remove_scratch 2>/dev/null
    for i in {{1..4}}; do rm -rf -- "$scratch"; sleep 1; [ -e "$scratch" ] || break; done
}}
trap clean_up EXIT
[ "$restart" -eq 0 ] || remove_scratch

# Ray over the allocation: the head on the first node, on ports that are free there, and a worker on each other one.
read -r ip port client < <("${{on_node[@]}}" --nodelist="${{nodes[0]}}" "$python" -m gristmill.launch.clusters.free_ports 2)
# `ray start` may end before what it started, which makes its folders again when they are gone: so they are removed until they
# stay away.
ray=(bash -c 'trap : TERM; "$@"
        for i in {{1..20}}; do pgrep -f -- "$RAY_TMPDIR/" > /dev/null || break; sleep 0.5; done
        for i in {{1..10}}; do rm -rf -- "$RAY_TMPDIR"; sleep 1; [ -e "$RAY_TMPDIR" ] || break; done' ray
    "$python" -m ray.scripts.scripts start --block --disable-usage-stats "--num-cpus=$cpus" --min-worker-port=0
    --max-worker-port=0 --dashboard-agent-listen-port=0)
"${{on_node[@]}}" --nodelist="${{nodes[0]}}" "${{ray[@]}}" --head "--node-ip-address=$ip" "--port=$port" \\
    "--ray-client-server-port=$client" "--temp-dir=$scratch" --include-dashboard=false >> "$ray_log" 2>&1 &
head=($!)
for node in "${{nodes[@]:1}}"; do
    "${{on_node[@]}}" --nodelist="$node" "${{ray[@]}}" "--address=$ip:$port" >> "$ray_log" 2>&1 &
    workers+=($!)
done

# The run. Slurm says by USR1 that the time limit is near: the run has its own time of grace to commit what is under way. By
# TERM it ends the job now (scancel, preemption), Ray with it, and kills it soon: then the run has {term} seconds, as when it is
# cancelled.
RAY_ADDRESS=$ip:$port "$python" -m gristmill.launch.clusters.job_start "--address=$ip:$port" \\
    "--nodes=${{#nodes[@]}}" --wait=300 --package={package} -- \\
    {command} &
driver=$!
stop_soon() {{
    stopped=yes
    kill -TERM "$driver" 2>/dev/null
    (sleep {term}; kill -TERM "$driver" 2>/dev/null; sleep 4; kill -KILL "$driver" 2>/dev/null) &> /dev/null & timer+=($!)
}}
trap 'stopped=yes; kill -TERM "$driver" 2>/dev/null' USR1
trap stop_soon TERM
trap 'cancelled=yes; stop_soon' USR2
[ -z "$cancelled" ] || stop_soon
while kill -0 "$driver" 2>/dev/null; do
    wait "$driver"
done
wait "$driver"
code=$?
# Told to stop while it was still starting, before it listened, or killed for not stopping: nothing is lost, as with 75.
[ -z "$stopped" ] || case $code in 15 | 137 | 143) code=75 ;; esac
echo "gristmill: {run} {ended} $code"

# Cancelled: Slurm, too, says so of the job, once all of it is cleaned up.
if [ "$code" -eq 75 ] && [ -n "$cancelled" ]; then
    clean_up
    trap - EXIT
    scancel "$id"
    exit "$code"
fi

# Stopped in time (75), while the job itself goes on: the same script comes again, and the run goes on where it stood.
if [ "$code" -eq 75 ] && [ "$restart" -lt {restarts} ] && [ "$(squeue --noheader --jobs="$id" --format=%T)" = RUNNING ]; then
    clean_up
    trap - EXIT
    scontrol requeue "$id"
fi
exit "$code"
"""
