"""How the auditor's tests change an output: edit a file, then recompute as many outer digests as a row of the matrix says."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.pipeline.audit import replay, sidecar_rows
from gristmill.pipeline.audit.reader_requests import FUNCTIONS
from gristmill.pipeline.audit.result import AuditResult
from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.document import DOC_KEY, FROM_TASK, key_sum, key_words
from gristmill.pipeline.hashing import canonical, merkle_root
from gristmill.pipeline.provenance.content import content_digest
from gristmill.pipeline.provenance.logs import LOG_KEY
from gristmill.pipeline.provenance.statement import manifest_bytes, manifest_digest, statement_digest
from gristmill.pipeline.reader_process import ReaderProcess
from gristmill.pipeline.writing.parquet import read_log

Change = Callable[[pa.Table], pa.Table]
LogChange = Callable[[dict[str, Any]], Any]


_one_at_a_time = threading.RLock()


class SameProcess(ReaderProcess):
    """The reading process without a process: a second per test is saved where no file can kill the reader."""

    def __init__(self, functions: str = "") -> None:
        super().__init__(functions)
        for cached in (replay._plan, sidecar_rows._group, sidecar_rows.ledger_log):
            cached.cache_clear()  # which a new process would not have either

    def start(self) -> None:
        """There is nothing to start."""

    def call(self, function: str, argument: Any, size: int = 0) -> Any:
        with (
            _one_at_a_time
        ):  # what several readers share here, such as this process's own reader, they do not elsewhere
            answer = FUNCTIONS[function](json.loads(json.dumps(argument)))
        return json.loads(json.dumps(answer))


class Output:
    """A copy of a clean output, to be changed and audited."""

    def __init__(self, folder: Path, back: bool = False) -> None:
        self.folder = folder
        self.back = back  # whether audits go back to the input unless they are told
        self.before = self.fingerprint()

    def fingerprint(self) -> dict[str, str]:
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return {p.relative_to(self.folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    def audit(self, *, full: bool = True, **options: Any) -> AuditResult:
        # Whoever names the plugins of a run wants its stages to judge the input again.
        back = () if options.pop("sources", self.back or "plugins" in options) else None
        return audit_output(str(self.folder), full=full, sources=back, **options)

    def expect(self, *checks: str, full: bool = True, **options: Any) -> AuditResult:
        """Audits, and asserts that bytes changed and that exactly these checks fire."""
        assert self.fingerprint() != self.before, "the test changed nothing"
        result = self.audit(full=full, **options)
        assert result.failed == set(checks), "\n".join(result.problems)
        several = self.audit(full=full, jobs=3, **options)
        assert several.checks == result.checks, "several readers report something else than one"
        if checks:
            codes = [item.check.code for item in result.checks if item.name in checks and not item.check.warns]
            assert result.exit_code == (min(codes) if codes else 4)
        return result

    # Looking

    def path(self, name: str) -> Path:
        return self.folder / name

    def named(self, role: str) -> list[str]:
        return [entry["path"] for entry in self.entries() if entry["role"] == role]

    def entries(self) -> list[dict[str, Any]]:
        return pq.read_table(self.path("files.parquet")).to_pylist()

    def manifest(self) -> dict[str, Any]:
        return json.loads(self.path("manifest.json").read_bytes())

    def log(self, name: str) -> dict[str, Any]:
        log = read_log(pq.read_metadata(self.path(name)).metadata)
        assert log is not None
        return log

    def rows(self, name: str) -> pa.Table:
        return pq.ParquetFile(self.path(name)).read()

    # Changing

    def flip(self, name: str, offset: int) -> None:
        data = bytearray(self.path(name).read_bytes())
        data[offset] ^= 0x01
        self.path(name).write_bytes(data)

    def replace_bytes(self, name: str, old: bytes, new: bytes) -> None:
        data = self.path(name).read_bytes()
        assert old in data
        self.path(name).write_bytes(data.replace(old, new, 1))

    def rewrite(
        self,
        name: str,
        change: Change = lambda table: table,
        *,
        log: LogChange | None = lambda log: log,
        consistent: bool = False,
        codec: str = "zstd",
    ) -> None:
        """Writes a Parquet file anew.

        Args:
            change: what happens to its rows.
            log: what happens to its log, if it has one; None loses it.
            consistent: rows, content digest and key sum in the log follow the rows.
        """
        file = pq.ParquetFile(self.path(name))
        table, old = change(file.read().replace_schema_metadata(None)), read_log(file.metadata.metadata)
        groups = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
        with pq.ParquetWriter(
            self.path(name), table.schema, compression=codec, write_page_checksum=True, version="2.6"
        ) as writer:
            writer.write_table(table, row_group_size=max(groups, default=1))
            if old is not None and log is not None:
                new = log(old)
                if consistent:
                    new = {**new, "rows": table.num_rows, "content_digest": content_digest(table)}
                    if "keys" in new:
                        new["keys"] = f"{key_sum(key_words(table[DOC_KEY])):032x}"
                    if isinstance(new.get("tasks"), list):
                        tasks = table[FROM_TASK].to_pylist()
                        new["tasks"] = [{**one, "rows": tasks.count(one["task"])} for one in new["tasks"]]
                writer.add_key_value_metadata({LOG_KEY: new if isinstance(new, str) else canonical(new).decode()})

    def set_entries(self, entries: list[dict[str, Any]]) -> None:
        schema = pq.read_schema(self.path("files.parquet")).remove_metadata()
        pq.write_table(pa.Table.from_pylist(entries, schema=schema), self.path("files.parquet"))

    def set_manifest(
        self, change: Callable[[dict[str, Any]], None] = lambda statement: None, *, digests: bool = True
    ) -> None:
        """Changes the manifest; with `digests` its own two digests follow."""
        statement = self.manifest()
        change(statement)
        predicate = statement["predicate"]
        if digests:
            predicate["digest"] = manifest_digest(predicate)
            predicate["varies"]["statement"] = statement_digest(statement)
        self.path("manifest.json").write_bytes(manifest_bytes(statement))

    def seal(self, *, content: Iterable[str] = (), entries: list[dict[str, Any]] | None = None) -> None:
        """Recomputes what lies outside the files: their sizes and SHA-256 in files.parquet; for those in `content` rows,
        content digest and key sum too; then totals, roots and digests in the manifest."""
        made = []
        mended = set(content)
        for entry in self.entries() if entries is None else entries:
            path = self.path(entry["path"])
            if path.is_file():
                data = path.read_bytes()
                entry = {**entry, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                if entry["path"] in mended:
                    table = self.rows(entry["path"])
                    entry |= {"rows": table.num_rows, "content_digest": content_digest(table)}
                    if entry["role"] == "data":
                        entry["keys"] = f"{key_sum(key_words(table[DOC_KEY])):032x}"
            made.append(entry)
        self.set_entries(made)
        self.seal_manifest()

    def seal_manifest(self) -> None:
        """Totals, roots, subjects and digests of the manifest follow from files.parquet."""
        entries = self.entries()
        data = [entry for entry in entries if entry["role"] == "data"]

        def change(statement: dict[str, Any]) -> None:
            predicate = statement["predicate"]
            predicate["data"] |= {
                "files": len(data),
                "rows": sum(entry["rows"] for entry in data),
                "bytes": sum(entry["size"] for entry in data),
                "root": merkle_root([entry["content_digest"] for entry in data]),
            }
            predicate["files"] = {
                "count": len(entries),
                "root": merkle_root([entry["sha256"] for entry in entries]),
                "content_root": merkle_root([entry["content_digest"] for entry in entries]),
            }
            for item in statement["subject"]:
                if item["name"] == "data":
                    item["digest"] = {"gristmillContentRoot": predicate["data"]["root"]}
                else:
                    item["digest"] = {"sha256": hashlib.sha256(self.path(item["name"]).read_bytes()).hexdigest()}

        self.set_manifest(change)


def restore_times(path: Path, stat: os.stat_result) -> None:
    """Sets a file's times back to what they were."""
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
