"""The runs that this user has submitted, one small file each: what `status`, `logs` and `cancel` find a name by.

They lie in `$XDG_STATE_HOME/gristmill/runs` (`~/.local/state` where it is not set). They hold names and addresses, never
a credential. The job itself carries the name too, so that another machine finds it by the address alone.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from gristmill.pipeline.errors import ConfigError, nearest

NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,45}[a-z0-9])?")
"""A run's name: also that of a RayJob, which KubeRay holds to 47 characters and to a letter at the beginning."""

_MOST_BYTES = 1 << 16
_MOST_RUNS = 10_000


class RunRecord(BaseModel):
    """One submitted run."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    run: str
    on: str
    """`ray`, `slurm` or `kubernetes`."""
    job: str
    """What the cluster calls it: submission id, job number, name of the RayJob."""
    address: str | None = None
    """Ray: the dashboard's address."""
    namespace: str | None = None
    log: str | None = None
    """Slurm: the file of the log."""
    config: str = ""
    outputs: tuple[str, ...] = ()
    submitted: str = ""
    """UTC."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of the records."""

    path: Path

    @classmethod
    def of_user(cls) -> RunFolder:
        """The folder of the user who runs this."""
        state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        return cls(Path(state) / "gristmill" / "runs")

    def save(self, record: RunRecord) -> str | None:
        """Keeps a record; returns why it could not be kept, or None."""
        file = self.path / f"{record.run}.json"
        beside = self.path / f".{record.run}.{secrets.token_hex(4)}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            beside.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
            beside.replace(file)
        except OSError as error:
            return f"{self.path}: {error.strerror}"
        return None

    def find(self, run: str) -> RunRecord:
        """The record of a run. Raises ConfigError where there is none."""
        record = self._read(run) if NAME.fullmatch(run) else None
        if record is None:
            names = [one.run for one in self.all()]
            raise ConfigError(
                f"{run:.80}: no run of that name was submitted from here; {nearest(run, names)} For one that was submitted "
                "elsewhere, say where it is: --on ray --address …, --on slurm, or --on kubernetes."
            )
        return record

    def knows(self, run: str) -> bool:
        """Whether there is a record of that name."""
        return bool(NAME.fullmatch(run)) and self._read(run) is not None

    def all(self) -> list[RunRecord]:
        """All records, the latest first. Files that are none are left out."""
        try:
            names = sorted(item.name for item in os.scandir(self.path) if item.name.endswith(".json"))
        except OSError:
            return []
        records = [self._read(name.removesuffix(".json")) for name in names[:_MOST_RUNS]]
        return sorted((one for one in records if one is not None), key=lambda one: one.submitted, reverse=True)

    def _read(self, run: str) -> RunRecord | None:
        file = self.path / f"{run}.json"
        try:
            if not file.is_file():
                return None
            with file.open("rb") as stream:
                record = RunRecord.model_validate_json(stream.read(_MOST_BYTES))
        except (OSError, ValidationError):
            return None
        return record if record.run == run else None


def new_name(config: str) -> str:
    """A name for a run: of the config's name, the moment in UTC, and four random digits.

    >>> new_name("Web & more").rpartition("-20")[0]
    'web-more'
    """
    plain = re.sub(r"[^a-z0-9]+", "-", config.lower()).lstrip("-0123456789")[:20].strip("-") or "run"
    return f"{plain}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def checked_name(name: str) -> str:
    """A name that a user gave. Raises ConfigError."""
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"--name {json.dumps(name[:80])}: a run's name is at most 47 lower-case letters, digits and hyphens; it begins "
            "with a letter and does not end with a hyphen."
        )
    return name


def now() -> str:
    """The time in UTC, to the second."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
