"""Runs as Ray Jobs: the package, plug-ins and files travel to the cluster, and the client may go."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import os
import shlex
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gristmill.launch.clusters.bundle import write_bundle, zip_bundle
from gristmill.launch.clusters.runs import RunRecord, now
from gristmill.launch.clusters.states import RUN_KEY, RunStatus, State, Write, ended, printable
from gristmill.launch.clusters.submission import Submission
from gristmill.pipeline.errors import ConfigError, GristmillError
from gristmill.pipeline.executor.ray_connection import TOKEN_ADVICE, find_token
from gristmill.pipeline.stopping import GRACE_SECONDS

DASHBOARD_PORT = 8265
AGENT_PORT = 52365
_GIVING_BACK_SECONDS = 100
"""Time that a cancelled run gets besides that of its tasks: to give back what it holds, and for Ray to end them."""

_SECONDS = 20.0
_TRIES = 5
_READY_SECONDS = 60.0


def dashboard(address: str | None) -> str:
    """The URL of a dashboard, from what a user gives as the address. Raises ConfigError."""
    given = address or os.environ.get("RAY_API_SERVER_ADDRESS")
    if not given:
        raise ConfigError(
            f"--on ray: expected --address, the address of the cluster's dashboard, such as http://HEAD:{DASHBOARD_PORT} "
            "(or the environment variable RAY_API_SERVER_ADDRESS)."
        )
    if "@" in given:
        raise ConfigError(
            f"--address: an address takes no user and no password. Ray knows a token instead. {TOKEN_ADVICE}"
        )
    if given == "auto":
        given = "127.0.0.1"
    if given.startswith("ray://"):
        raise ConfigError(
            f"--address {given}: this is Ray Client's address. Jobs are submitted to the dashboard, usually "
            f"http://{given.removeprefix('ray://').partition(':')[0]}:{DASHBOARD_PORT}."
        )
    try:
        parts = urlsplit(given if "://" in given else f"http://{given}")
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"--address {given:.100}: {error}. Expected http://HEAD:{DASHBOARD_PORT}.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise ConfigError(f"--address {given:.100}: expected the dashboard's address, http://HEAD:{DASHBOARD_PORT}.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    default = f":{DASHBOARD_PORT}" if parts.scheme == "http" else ""
    return f"{parts.scheme}://{host}{f':{port}' if port else default}"


class RayJobs:
    """The jobs of one cluster.

    Args:
        address: what a user gives: the dashboard's URL, or HOST, or HOST:PORT.

    Raises ConfigError for an address that cannot be, GristmillError where no dashboard of a Ray cluster answers, or where
    it asks for another token.
    """

    def __init__(self, address: str | None) -> None:
        self.address = dashboard(address)
        headers = _headers(self.address)
        try:
            from ray.job_submission import JobSubmissionClient
        except ImportError as error:
            raise ConfigError(
                f"--on ray: Ray's job client is not installed here ({error}). Install it: pip install 'gristmill[submit]'."
            ) from error
        for name in ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with _without_ray_addresses(), self._in_words():
            try:
                self._client = JobSubmissionClient(self.address, headers=headers)
            except RuntimeError as error:
                if "pip install" in str(error):
                    raise ConfigError(
                        "--on ray: Ray's job client is not installed here. Install it: pip install 'gristmill[submit]'."
                    ) from error
                raise

    def submit(self, submission: Submission) -> RunRecord:
        """Sends a run on its way."""
        with tempfile.TemporaryDirectory(prefix="gristmill-") as scratch:
            folder = Path(scratch) / "bundle"
            folder.mkdir()
            package, config = write_bundle(folder, submission.text, submission.config, submission.arguments.plugins)
            archive = Path(scratch) / "bundle.zip"
            zip_bundle(folder, archive)
            with self._in_words():
                job = self._when_ready(
                    entrypoint=entrypoint(submission.command(config, "auto"), package),
                    submission_id=submission.name,
                    runtime_env={
                        "working_dir": str(archive),
                        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(stop_seconds(submission.arguments.grace))},
                    },
                    metadata={
                        RUN_KEY: submission.name,
                        "gristmill_config": submission.text.name,
                        "gristmill_outputs": json.dumps(submission.outputs),
                        "gristmill_package": package,
                    },
                )
        return RunRecord(
            run=submission.name, on="ray", job=job, address=self.address, config=submission.text.name,
            outputs=submission.outputs, submitted=now(),
        )  # fmt: skip

    def _when_ready(self, **job: Any) -> str:
        """Submits a job. The dashboard of a cluster that has just been started answers before it can take one."""
        give_up = time.monotonic() + _READY_SECONDS
        while True:
            try:
                return str(self._client.submit_job(**job))
            except RuntimeError as error:
                if "No available agent" not in str(error):
                    raise
                if time.monotonic() > give_up:
                    raise GristmillError(no_agent(self.address)) from error
            time.sleep(1.0)

    def find(self, run: str) -> RunRecord:
        """A run by its name. Raises ConfigError where the cluster knows none."""
        for record in self.all():
            if record.run == run:
                return record
        raise ConfigError(
            f"{run:.80}: the cluster at {self.address} knows no run of that name. `gristmill status --on ray --address "
            f"{self.address}` lists those that it knows."
        )

    def all(self) -> list[RunRecord]:
        """The runs that the cluster knows, the latest first."""
        with self._in_words():
            jobs = [job for job in self._client.list_jobs() if job.submission_id and RUN_KEY in (job.metadata or {})]
        return [
            self._record(job)
            for job in sorted(jobs, key=lambda job: (job.start_time or 0, job.submission_id), reverse=True)
        ]

    def status(self, record: RunRecord) -> RunStatus:
        """What the cluster says about a run."""
        with self._in_words(record.run):
            info = self._client.get_job_info(record.job)
        code = info.driver_exit_code
        states = {"PENDING": State.waiting, "RUNNING": State.running, "SUCCEEDED": State.done, "STOPPED": State.stopped}
        state = states.get(str(info.status.value), State.failed)
        if state is State.failed and code is not None and code > 0:
            state = ended(code)
        says = (info.message or "").strip().splitlines()
        detail = "cancelled" if state is State.stopped and code is None else ""
        if state is State.waiting or (state is State.failed and code is None):
            detail = printable(says[0])[:300] if says else ""
        return RunStatus(record, state, detail, code)

    def logs(self, record: RunRecord) -> str:
        """The log so far."""
        with self._in_words(record.run):
            return printable(self._client.get_job_logs(record.job))

    def follow(self, record: RunRecord, write: Write) -> RunStatus:
        """Hands the log on as it comes, to the run's end. A connection that breaks is made again."""
        done, tries = 0, 0
        while True:
            before = done
            try:
                done = asyncio.run(self._tail(record.job, done, write))
            except (OSError, RuntimeError, _client_error()) as error:
                done = getattr(error, "gristmill_done", done)
                tries = 0 if done > before else tries + 1
                if tries >= _TRIES:
                    raise GristmillError(
                        f"{record.run}: the connection to {self.address} breaks again and again "
                        f"({_first_line(error)}). The run goes on: `gristmill logs {record.run} --follow` comes back to it."
                    ) from error
                time.sleep(2.0)
                continue
            status = self.status(record)
            if status.state.is_end:
                return status
            time.sleep(1.0)

    async def _tail(self, job: str, skip: int, write: Write) -> int:
        """Hands on the log after its first `skip` characters; returns how many it has by now."""
        seen = 0
        try:
            async for piece in self._client.tail_job_logs(job):
                if seen + len(piece) > skip:
                    write(printable(piece[max(0, skip - seen) :]))
                seen += len(piece)
        except Exception as error:
            error.gristmill_done = max(seen, skip)  # type: ignore[attr-defined]
            raise
        return max(seen, skip)

    def cancel(self, record: RunRecord) -> bool:
        """Asks a run to stop; False where it had ended."""
        with self._in_words(record.run):
            return bool(self._client.stop_job(record.job))

    def _record(self, job: Any) -> RunRecord:
        says = job.metadata or {}
        try:
            outputs = tuple(str(item) for item in json.loads(says.get("gristmill_outputs", "[]")))
        except (ValueError, TypeError):
            outputs = ()
        begin = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(job.start_time / 1000)) if job.start_time else ""
        return RunRecord(
            run=str(says[RUN_KEY]), on="ray", job=job.submission_id, address=self.address,
            config=str(says.get("gristmill_config", "")), outputs=outputs, submitted=begin,
        )  # fmt: skip

    @contextlib.contextmanager
    def _in_words(self, run: str | None = None) -> Iterator[None]:
        """What the client raises, as an error that a user can read."""
        import ray

        what = f"{run}: " if run else ""
        try:
            yield
        except GristmillError:
            raise
        except ray.exceptions.AuthenticationError as error:
            raise _refused(self.address) from error
        except (OSError, RuntimeError, ValueError, _client_error()) as error:
            if "does not exist" in str(error) and run:
                raise GristmillError(
                    f"{what}the cluster at {self.address} does not know it any more: Ray forgets jobs when it is started anew."
                ) from error
            raise GristmillError(
                f"{what}the cluster at {self.address} could not do it: {_first_line(error)}"
            ) from error


def describe(submission: Submission, address: str | None) -> str:
    """What `submit` would send, for a person: files, and the command of the job. Sends nothing."""
    where = dashboard(address)
    with tempfile.TemporaryDirectory(prefix="gristmill-") as scratch:
        package, config = write_bundle(Path(scratch), submission.text, submission.config, submission.arguments.plugins)
        files = [str(path.relative_to(scratch)) for path in sorted(Path(scratch).rglob("*")) if path.is_file()]
    ours = [name for name in files if name.startswith("gristmill")]
    lines = [f"# to {where}, as {submission.name}", f"# gristmill: {len(ours)} files, SHA-256 {package}"]
    lines += [f"# {name}" for name in files if name not in ours]
    return "\n".join([*lines, entrypoint(submission.command(config, "auto"), package), ""])


def stop_seconds(grace: int | None) -> int:
    """The time that Ray gives a job to stop before it kills it: what tasks get, and time to give back what the run holds.

    >>> stop_seconds(None), stop_seconds(600)
    (120, 700)
    """
    return (GRACE_SECONDS if grace is None else grace) + _GIVING_BACK_SECONDS


def no_agent(address: str) -> str:
    """What is said when a cluster's dashboard answers and nobody there can start a job."""
    return (
        f"the cluster at {address} answers, but for {_READY_SECONDS:.0f} s none of its nodes could take a job: the dashboard "
        "agent, which starts them, does not run. Often another program, or another Ray, has its port on the head "
        f"({AGENT_PORT}); dashboard_agent.log in /tmp/ray/session_latest/logs there says so. Start Ray with a free one: "
        "`ray start --head --dashboard-agent-listen-port=0`."
    )


def entrypoint(command: list[str], package: str) -> str:
    """The shell command of a job, on the head of its cluster."""
    start = ["python", "-m", "gristmill.launch.clusters.job_start", f"--package={package}"]
    return shlex.join([*start, "--", *command])


def _headers(address: str) -> dict[str, str]:
    """The headers that the dashboard wants: none, or the token where it asks for one. Raises GristmillError."""
    code, body = _version(address, {})
    headers: dict[str, str] = {}
    if code == 401:
        token = find_token()
        if token is None:
            raise GristmillError(
                f"--address {address}: a Ray cluster answers there, but it asks for a token, and there is none here. "
                + TOKEN_ADVICE
            )
        headers = {"Authorization": f"Bearer {token}"}
        code, body = _version(address, headers)
        if code in (401, 403):
            raise _refused(address)
    try:
        version = str(json.loads(body)["ray_version"]) if code == 200 else ""
    except (ValueError, KeyError, TypeError):
        version = ""
    if not version:
        raise GristmillError(
            f"--address {address}: something answers there (HTTP {code}), but it is not the dashboard of a Ray cluster. "
            f"Its port is {DASHBOARD_PORT} unless the cluster was started with another."
        )
    return headers


def _refused(address: str) -> GristmillError:
    return GristmillError(
        f"--address {address}: a Ray cluster answers there, but it refuses the token that was found here. {TOKEN_ADVICE}"
    )


def _version(address: str, headers: dict[str, str]) -> tuple[int, bytes]:
    request = urllib.request.Request(f"{address}/api/version", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as reply:
            return reply.status, reply.read(1 << 16)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "reason", error)
        if isinstance(error, http.client.HTTPException):
            return 0, b""
        raise GristmillError(
            f"--address {address}: no Ray cluster answers there ({why}). Give the address of its dashboard, as `ray start "
            "--head --dashboard-host=0.0.0.0` prints it; a cluster elsewhere may need a tunnel: ssh -L 8265:localhost:8265 HEAD"
        ) from error


def _client_error() -> type[Exception]:
    import aiohttp

    error: type[Exception] = aiohttp.ClientError
    return error


def _first_line(error: BaseException) -> str:
    """What an error says in a line; of a server's traceback the last one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" .")]
    if not lines:
        return type(error).__name__
    return lines[-1 if "Traceback" in lines[0] else 0].rstrip(".")[:300]


@contextlib.contextmanager
def _without_ray_addresses() -> Iterator[None]:
    """Ray's client takes the address from its environment variables rather than from its argument."""
    names = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)
