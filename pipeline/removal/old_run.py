"""A finished run from which documents are to be taken: all of its outputs, their files, and what its ledgers' logs say."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.pipeline.audit.documents import sound_log
from gristmill.pipeline.audit.open_files import what_a_run_wrote
from gristmill.pipeline.audit.routes import AuditGraph
from gristmill.pipeline.document import FROM_TASK
from gristmill.pipeline.errors import ConfigError, DataError
from gristmill.pipeline.planning.prior_runs import finished_run
from gristmill.pipeline.provenance.files import FILES, FILES_TABLE, most_table_bytes
from gristmill.pipeline.provenance.logs import LedgerLog, TaskEntry
from gristmill.pipeline.provenance.statement import Predicate, read_statement_bytes
from gristmill.pipeline.storage import join, open_within, read_within, sha256_within
from gristmill.pipeline.writing.parquet import read_log
from gristmill.pipeline.writing.sidecars import LEDGER_ROLE

Row = Mapping[str, Any]
"""A row of files.parquet."""


@dataclass(frozen=True)
class OldOutput:
    """An output of the run.

    Attributes:
        listed: the rows of its files.parquet, in order; some of the files lie in the folders of other outputs.
    """

    folder: str
    manifest: Predicate
    listed: tuple[Row, ...]

    @property
    def name(self) -> str:
        return self.manifest.output

    @property
    def shuffled(self) -> bool:
        return self.manifest.identity.outputs[self.name].shuffle is not None

    @property
    def shards(self) -> list[Row]:
        return [row for row in self.listed if row["role"] == "data"]


class OldRun:
    """All outputs of a run: its ledger is one for all of them, so documents leave all of them or none.

    Raises ConfigError for folders that do not hold the outputs of one run, or not all of them.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        self.outputs: dict[str, OldOutput] = {}
        self._sound: set[tuple[str, str]] = set()
        for folder in folders:
            manifest, _ = finished_run(folder, folder)
            if manifest.output in self.outputs:
                raise ConfigError(
                    f"{folder} and {self.outputs[manifest.output].folder} are the same output. Name each once."
                )
            self.outputs[manifest.output] = OldOutput(folder, manifest, tuple(_listed(folder, manifest)))
        self.first = next(iter(self.outputs.values()))
        manifest = self.first.manifest
        for other in self.outputs.values():
            if (other.manifest.run, other.manifest.removals) != (manifest.run, manifest.removals):
                raise ConfigError(
                    f"{other.folder} and {self.first.folder} are not outputs of one run, or not of one version of it. Take "
                    "documents out of each run by itself."
                )
        missing = sorted(set(manifest.identity.outputs) - set(self.outputs))
        if missing:
            names = ", ".join(f"`{name}`" for name in missing)
            raise ConfigError(
                f"{self.first.folder}: its run also wrote the outputs {names}, which share its ledger and may hold the same "
                "documents. Name their folders too: documents leave all outputs of a run at once."
            )
        self.manifest, self.graph = manifest, AuditGraph.of(manifest)

    @property
    def folder(self) -> str:
        return self.first.folder

    @cached_property
    def sidecars(self) -> dict[tuple[str, str], Row]:
        """Files that outputs share or might, by (output that holds it, path), each once."""
        return {
            (row["output"], row["path"]): row
            for output in self.outputs.values()
            for row in output.listed
            if row["role"] != "data" and not row["role"].startswith(("kind:", "index:"))
        }

    def of_role(self, role: str) -> list[Row]:
        """Sidecars of a role, in the order of their tasks."""
        return sorted((row for row in self.sidecars.values() if row["role"] == role), key=lambda row: int(row["task"]))

    @cached_property
    def logs(self) -> dict[str, LedgerLog]:
        """The logs of ledgers, by path."""
        found = {}
        for row in self.of_role(LEDGER_ROLE):
            with self.opened(row) as file:
                log = sound_log(LedgerLog, read_log(file.metadata.metadata))
            if log is None:
                raise DataError(f"{self.place(row)}: this ledger has no log. {self._advice()}")
            found[row["path"]] = log
        return found

    @cached_property
    def tasks(self) -> dict[int, TaskEntry]:
        """What the ledgers say of each task."""
        return {one.task: one for log in self.logs.values() for one in log.tasks}

    def source_of(self, task: int) -> str:
        """The source that a task read."""
        return self.tasks[task].slices[0].source

    def place(self, row: Row) -> str:
        """Where a file lies."""
        return join(self.outputs[row["output"]].folder, row["path"])

    @contextmanager
    def opened(self, row: Row) -> Iterator[pq.ParquetFile]:
        """A Parquet file of an output. Raises DataError for one that is not what files.parquet lists."""
        folder = self.outputs[row["output"]].folder
        with what_a_run_wrote(folder):
            self.check(row)
            with open_within(folder, row["path"]) as stream:
                yield pq.ParquetFile(stream, page_checksum_verification=True)

    def check(self, row: Row) -> None:
        """Raises DataError for a file without its SHA-256; each is looked at once."""
        folder, path = self.outputs[row["output"]].folder, row["path"]
        if (folder, path) in self._sound:
            return
        found = sha256_within(folder, path, row["size"])
        if found != row["sha256"]:
            raise DataError(
                f"{self.place(row)}: expected the SHA-256 {row['sha256']}, found {found or 'that of a larger file'}. "
                f"{self._advice()}"
            )
        self._sound.add((folder, path))

    def pieces(self, row: Row, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The row groups of a file, some columns of them as far as they are there; a shard's with `from_task`."""
        with self.opened(row) as file:
            names = [name for name in file.schema_arrow.names if columns is None or name in columns]
            for group in range(file.metadata.num_row_groups):
                table = file.read_row_group(group, columns=names, use_threads=False).replace_schema_metadata(None)
                if columns is not None and FROM_TASK in columns and FROM_TASK not in names:
                    tasks = pa.array(np.full(table.num_rows, row["task"], np.int32))
                    table = table.append_column(FROM_TASK, tasks)
                yield table

    def schema(self, row: Row) -> pa.Schema:
        """A file's columns."""
        with self.opened(row) as file:
            return file.schema_arrow.remove_metadata()

    def _advice(self) -> str:
        return f"`gristmill audit {self.folder} --full` shows what else is wrong. Restore it first."


def _listed(folder: str, manifest: Predicate) -> list[Row]:
    """The rows of files.parquet, all columns, in order. Raises DataError where it is not what the manifest names."""
    body = read_within(folder, FILES_TABLE, most_table_bytes(manifest.files.count))
    found = read_statement_bytes(folder)
    expected = {item["name"]: item["digest"].get("sha256") for item in found[0]["subject"]} if found else {}
    if hashlib.sha256(body).hexdigest() != expected.get(FILES_TABLE):
        raise DataError(f"{folder}/{FILES_TABLE}: it changed while it was read. Try again.")
    with what_a_run_wrote(folder):
        rows: list[Row] = pq.ParquetFile(pa.BufferReader(body)).read(columns=FILES.names, use_threads=False).to_pylist()
    return rows
