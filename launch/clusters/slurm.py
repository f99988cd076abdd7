"""Runs as Slurm jobs: a script is written where the user stands, and submitted by sbatch."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import gristmill
from gristmill.launch.clusters.node_facts import package_digest
from gristmill.launch.clusters.programs import output_of
from gristmill.launch.clusters.runs import RunRecord, now
from gristmill.launch.clusters.slurm_script import ENDED, JOB_PREFIX, SlurmOptions, script
from gristmill.launch.clusters.states import RunStatus, State, Write, ended, printable
from gristmill.launch.clusters.submission import Submission
from gristmill.launch.plugins import plugin_folders
from gristmill.pipeline.errors import ConfigError, GristmillError

_ON = "--on slurm"
_END_BYTES = 1 << 16
_PIECE = 1 << 20
_POLL_SECONDS = 1.0
_LAST_WORDS_SECONDS = 10.0
"""How long a log may be behind the cluster's word that a job has ended, on a shared file system."""

_STATES = {
    "PENDING": State.waiting, "CONFIGURING": State.waiting, "REQUEUED": State.waiting, "REQUEUE_HOLD": State.waiting,
    "SPECIAL_EXIT": State.waiting, "RESIZING": State.running, "RUNNING": State.running, "COMPLETING": State.running,
    "SUSPENDED": State.waiting, "COMPLETED": State.done, "CANCELLED": State.stopped, "PREEMPTED": State.stopped,
    "TIMEOUT": State.stopped, "NODE_FAIL": State.stopped, "BOOT_FAIL": State.failed, "DEADLINE": State.stopped,
    "FAILED": State.failed, "OUT_OF_MEMORY": State.failed,
}  # fmt: skip


def script_of(submission: Submission, options: SlurmOptions) -> tuple[str, RunRecord]:
    """The text of a submission's script, and its record, in which the job's number is still empty."""
    here = Path.cwd()
    log = str(here / f"gristmill-{submission.name}.log")
    text = script(
        submission.name,
        submission.command(submission.arguments.config, "auto", options.run_grace),
        folder=str(here),
        log=log,
        python=sys.executable,
        package=package_digest(str(Path(gristmill.__file__).parent)),
        environment=submission.environment,
        options=options,
        modules=plugin_folders(submission.arguments.plugins),
    )
    record = RunRecord(
        run=submission.name, on="slurm", job="", log=log, config=submission.text.name, outputs=submission.outputs,
        submitted=now(),
    )  # fmt: skip
    return text, record


class Slurm:
    """The cluster that this machine's Slurm commands speak to."""

    def submit(self, submission: Submission, options: SlurmOptions) -> tuple[RunRecord, str]:
        """Writes the script beside the user and submits it; returns the record and the script's path."""
        for variable in submission.environment:
            if variable not in os.environ:
                raise ConfigError(
                    f"--env {variable}: there is no such environment variable here. Set it, or leave it out."
                )
        text, record = script_of(submission, options)
        file = Path(f"gristmill-{submission.name}.sbatch").absolute()
        try:
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise GristmillError(f"{file}: the script cannot be written: {error.strerror}.") from error
        said = output_of(["sbatch", "--parsable", str(file)], _ON)
        job = said.strip().partition(";")[0]
        if not job.isdigit():
            raise GristmillError(f"{_ON}: sbatch said {printable(said)[:200]!r}, and no number of a job.")
        return record.model_copy(update={"job": job}), str(file)

    def find(self, run: str) -> RunRecord:
        """A run by its name. Raises ConfigError where Slurm knows none."""
        for record in self.all():
            if record.run == run:
                return record
        raise ConfigError(
            f"{run:.80}: Slurm knows no job of that run. It forgets jobs some minutes after their end, unless it keeps "
            "accounts; the log lies where it was submitted."
        )

    def all(self) -> list[RunRecord]:
        """The runs of this user that Slurm knows, the latest first."""
        said = output_of(["squeue", "--me", "--noheader", "--states=all", "--format=%i|%V|%j"], _ON)
        found = []
        for line in said.splitlines():
            job, _, rest = line.strip().partition("|")
            submitted, _, name = rest.partition("|")
            if name.startswith(JOB_PREFIX) and job.isdigit():
                facts = self._facts(job)
                found.append(
                    RunRecord(
                        run=name.removeprefix(JOB_PREFIX),
                        on="slurm",
                        job=job,
                        log=facts.get("StdOut"),
                        submitted=submitted,
                    )
                )
        return sorted(found, key=lambda one: int(one.job), reverse=True)

    def status(self, record: RunRecord) -> RunStatus:
        """What Slurm says about a run; what its log says, where Slurm has forgotten it."""
        facts = self._facts(record.job) or self._accounts(record.job)
        code = _exit_code(record.log)
        if facts.get("JobName") not in (None, f"{JOB_PREFIX}{record.run}"):
            facts = {}  # numbers begin anew when a cluster is set up anew
        if not facts:
            return RunStatus(
                record, State.unknown if code is None else ended(code), "" if code is not None else "gone", code
            )
        says = facts["JobState"].split()[0].rstrip("+")
        state = _STATES.get(says, State.unknown)
        if not state.is_end:
            code = None
        elif state is State.failed and code is not None:
            state = ended(code)
        reason = facts.get("Reason", "None")
        parts = ["" if says in ("RUNNING", "PENDING", "COMPLETED", "FAILED") else says.lower()]
        parts += ["" if reason in ("None", "") or state.is_end else reason]
        parts += [f"on {facts['NodeList']}" if state is State.running and facts.get("NodeList") else ""]
        restarts = facts.get("Restarts", "0")
        parts += [f"restart {restarts}" if restarts not in ("0", "") and not state.is_end else ""]
        return RunStatus(record, state, printable(", ".join(part for part in parts if part))[:300], code)

    def logs(self, record: RunRecord) -> str:
        """The log so far."""
        pieces: list[str] = []
        _copy(_log(record), 0, pieces.append)
        return "".join(pieces)

    def follow(self, record: RunRecord, write: Write) -> RunStatus:
        """Hands the log on as it comes, to the run's end, over requeues."""
        position, last = 0, 0.0
        while True:
            status = self.status(record)
            if record.log is not None and os.path.exists(record.log):
                position = _copy(record.log, position, write)
            if status.state.is_end or status.state is State.unknown:
                last = last or time.monotonic()
                late = status.exit_code is None and status.state in (State.done, State.failed)
                if not late or time.monotonic() - last > _LAST_WORDS_SECONDS:
                    return status
            time.sleep(_POLL_SECONDS)

    def cancel(self, record: RunRecord) -> bool:
        """Asks a run to stop, and Slurm not to queue it again; False where it had ended.

        The script of a job that runs is asked (USR2): it stops the run, then Ray, then cleans up. Slurm itself would end
        all of it at once, and kill what is not gone in time. A job that does not run is taken out of the queue.
        """
        state = self.status(record).state
        if state.is_end:
            return False
        output_of(["scontrol", "update", f"JobId={record.job}", "Requeue=0"], _ON)
        how = ["--batch", "--signal=USR2"] if state is State.running else []
        output_of(["scancel", *how, record.job], _ON)
        return True

    def _facts(self, job: str) -> dict[str, str]:
        """What the controller remembers of a job; nothing for one that it has forgotten."""
        try:
            said = output_of(["scontrol", "show", "job", job], _ON)
        except ConfigError:
            raise
        except GristmillError as error:
            if "Invalid job id" in str(error):
                return {}
            raise
        facts = dict(re.findall(r"(?:^|\s)(JobName|JobState|Reason|NodeList|Restarts)=(\S*)", said))
        stdout = re.search(r"^\s*StdOut=(.*)$", said, re.MULTILINE)
        return facts | ({"StdOut": stdout[1].replace("%%", "%")} if stdout else {})

    def _accounts(self, job: str) -> dict[str, str]:
        """What Slurm's accounts say of a job, where they are kept."""
        try:
            said = output_of(["sacct", "-n", "-P", "-X", "-j", job, "-o", "State,JobName"], _ON)
        except GristmillError:
            return {}  # a cluster without accounts
        lines = [line for line in said.splitlines() if line.strip()]
        if not lines:
            return {}
        state, _, name = lines[-1].partition("|")
        return {"JobState": state, "JobName": name} if state else {}


def _log(record: RunRecord) -> str:
    if record.log is None or not os.path.exists(record.log):
        raise GristmillError(
            f"{record.run}: there is no log at {record.log or 'a known place'} yet. The job has not begun, or its folder is "
            "not mounted here; `gristmill status` says which."
        )
    return record.log


def _copy(path: str, position: int, write: Write) -> int:
    """Hands on what a file holds from a byte on; returns where it ends by now. Stops at the last whole line."""
    with open(path, "rb") as stream:
        stream.seek(position)
        while piece := stream.read(_PIECE):
            whole = piece.rfind(b"\n") + 1 or (len(piece) if len(piece) == _PIECE else 0)
            if not whole:
                break
            write(printable(piece[:whole].decode("utf-8", errors="replace")))
            position += whole
            stream.seek(position)
    return position


def _exit_code(log: str | None) -> int | None:
    """The exit code in the last line of a log; None where it does not end with one."""
    if log is None:
        return None
    try:
        with open(log, "rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - _END_BYTES))
            tail = stream.read(_END_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return None
    codes = re.findall(rf"^gristmill: \S+ {ENDED} (\d{{1,3}})$", tail, re.MULTILINE)
    return int(codes[-1]) if codes else None
