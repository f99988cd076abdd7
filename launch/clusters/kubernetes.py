"""Runs as KubeRay's RayJobs, through kubectl and what it is set up for."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from gristmill.launch.clusters.bundle import write_bundle
from gristmill.launch.clusters.manifest import RUN_LABEL, KubernetesOptions, as_yaml, bundle_files, manifest
from gristmill.launch.clusters.programs import output_of
from gristmill.launch.clusters.runs import RunRecord, now
from gristmill.launch.clusters.states import RunStatus, State, Write, printable
from gristmill.launch.clusters.submission import Submission
from gristmill.pipeline.errors import ConfigError, GristmillError

_ON = "--on kubernetes"
_POLL_SECONDS = 3.0

_JOB_STATES = {
    "PENDING": State.waiting, "RUNNING": State.running, "STOPPED": State.stopped, "SUCCEEDED": State.done,
    "FAILED": State.failed,
}  # fmt: skip
_DEPLOYMENT_STATES = {
    "Initializing": State.waiting, "Waiting": State.waiting, "Scheduling": State.waiting, "Scheduled": State.waiting,
    "Retrying": State.waiting, "Running": State.running, "Complete": State.done, "Failed": State.failed,
    "Suspending": State.stopped, "Suspended": State.stopped,
}  # fmt: skip


def manifest_of(submission: Submission, options: KubernetesOptions) -> tuple[str, RunRecord]:
    """The manifest of a submission as YAML, and its record. Raises ConfigError for what cannot run away from here."""
    with tempfile.TemporaryDirectory(prefix="gristmill-") as scratch:
        package, config = write_bundle(Path(scratch), submission.text, submission.config, submission.arguments.plugins)
        files = bundle_files(Path(scratch))
    text = as_yaml(manifest(submission, files, config, package, metadata.version("ray"), options))
    record = RunRecord(
        run=submission.name, on="kubernetes", job=submission.name, namespace=options.namespace,
        config=submission.text.name, outputs=submission.outputs, submitted=now(),
    )  # fmt: skip
    return text, record


class Kubernetes:
    """The cluster that kubectl speaks to here.

    Args:
        namespace: of the jobs; None: kubectl's own.
    """

    def __init__(self, namespace: str | None = None) -> None:
        self.namespace = namespace

    def submit(self, submission: Submission, options: KubernetesOptions) -> RunRecord:
        """Applies the manifest."""
        text, record = manifest_of(submission, options)
        output_of(self._kubectl("apply", "-f", "-"), _ON, given=text)
        return record

    def find(self, run: str) -> RunRecord:
        """A run by its name. Raises ConfigError where the namespace has none."""
        for record in self.all():
            if record.run == run:
                return record
        raise ConfigError(f"{run:.80}: the namespace has no RayJob of that run. --namespace names another one.")

    def all(self) -> list[RunRecord]:
        """The runs of the namespace, the latest first."""
        items = self._json("get", "rayjobs", f"--selector={RUN_LABEL}", "-o", "json").get("items") or []
        records = [
            RunRecord(
                run=str(item["metadata"]["labels"][RUN_LABEL]), on="kubernetes", job=str(item["metadata"]["name"]),
                namespace=self.namespace, submitted=str(item["metadata"].get("creationTimestamp", "")),
            )
            for item in items
        ]  # fmt: skip
        return sorted(records, key=lambda one: one.submitted, reverse=True)

    def status(self, record: RunRecord) -> RunStatus:
        """What KubeRay says about a run."""
        status = self._json("get", "rayjob", record.job, "-o", "json").get("status") or {}
        deployment, job = str(status.get("jobDeploymentStatus") or ""), str(status.get("jobStatus") or "")
        state = _DEPLOYMENT_STATES.get(deployment, State.waiting)
        if deployment in ("Running", "Complete", "Failed") and job in _JOB_STATES:
            state = _JOB_STATES[job]
        words = [deployment if state is State.waiting else "", str(status.get("reason") or "")]
        words += [str(status.get("message") or "") if state in (State.waiting, State.failed) else ""]
        return RunStatus(record, state, printable("; ".join(" ".join(word.split()) for word in words if word))[:300])

    def logs(self, record: RunRecord) -> str:
        """The log so far: that of the pod that submitted the job within the cluster."""
        return printable(output_of(self._kubectl("logs", f"--selector=job-name={record.job}", "--tail=-1"), _ON))

    def follow(self, record: RunRecord, write: Write) -> RunStatus:
        """Hands the log on as it comes, to the run's end."""
        while (status := self.status(record)).state is State.waiting:
            time.sleep(_POLL_SECONDS)
        if not status.state.is_end:
            command = self._kubectl("logs", f"--selector=job-name={record.job}", "--tail=-1", "--follow")
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as process:
                for line in process.stdout or ():
                    write(printable(line))
            while not (status := self.status(record)).state.is_end:
                time.sleep(_POLL_SECONDS)
        else:
            write(self.logs(record))
        return status

    def cancel(self, record: RunRecord) -> bool:
        """Suspends the RayJob, which ends its cluster; False where the run had ended."""
        if self.status(record).state.is_end:
            return False
        output_of(
            self._kubectl("patch", "rayjob", record.job, "--type=merge", '--patch={"spec":{"suspend":true}}'), _ON
        )
        return True

    def _kubectl(self, *arguments: str) -> list[str]:
        return ["kubectl", *([f"--namespace={self.namespace}"] if self.namespace else []), *arguments]

    def _json(self, *arguments: str) -> dict[str, Any]:
        try:
            value = json.loads(output_of(self._kubectl(*arguments), _ON))
        except (ValueError, RecursionError) as error:
            raise GristmillError(f"{_ON}: kubectl printed no JSON ({error}).") from error
        if not isinstance(value, dict):
            raise GristmillError(f"{_ON}: kubectl printed no JSON map.")
        return value
