"""Checks of what an output holds: files.parquet, missing and stray files, sizes, totals and Merkle roots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import fsspec
import pyarrow as pa

from gristmill.pipeline.audit.documents import DOCUMENTS, MANIFEST, subject_digest
from gristmill.pipeline.audit.messages import Entry
from gristmill.pipeline.audit.open_files import Damaged, Unreadable, opened
from gristmill.pipeline.audit.result import Report
from gristmill.pipeline.errors import GristmillError
from gristmill.pipeline.hashing import merkle_root
from gristmill.pipeline.provenance.content import logical_type
from gristmill.pipeline.provenance.files import FILES, FILES_TABLE
from gristmill.pipeline.provenance.signing import ENVELOPE
from gristmill.pipeline.provenance.statement import Statement
from gristmill.pipeline.reader_process import ReaderCrashed, ReaderProcess
from gristmill.pipeline.storage import is_remote, join, local, reason, sha256_of

IGNORED = (".gitattributes", ".git", ".cache")
"""What tools that carry data sets about (git, the Hugging Face hub) leave in a folder. No reader takes it for data."""


def read_entries(folder: str, statement: Statement, reader: ReaderProcess, report: Report) -> list[Entry] | None:
    """The entries of files.parquet, in order; None, with findings, when it cannot be read."""
    report.saw("files")
    expected = subject_digest(statement, FILES_TABLE)
    try:
        found = sha256_of(join(folder, FILES_TABLE))
    except FileNotFoundError:
        report.fail("files", "is not there", file=FILES_TABLE)
        return None
    except OSError as error:
        report.unread("files", reason(error), file=FILES_TABLE)
        return None
    except GristmillError as error:
        absent = not is_remote(folder) and not local(join(folder, FILES_TABLE)).exists()
        (report.fail if absent else report.unread)("files", "is not there" if absent else str(error), file=FILES_TABLE)
        return None
    if found != expected:
        report.fail("files", f"expected the SHA-256 {expected}, found {found}", file=FILES_TABLE)
    try:
        answer = reader.call("listing", [folder, FILES_TABLE])
    except ReaderCrashed as error:
        report.unread("files", str(error), file=FILES_TABLE)
        return None
    if "damaged" in answer:
        report.fail("files", answer["damaged"], file=FILES_TABLE)
        return None
    if "unreadable" in answer:
        report.unread("files", answer["unreadable"], file=FILES_TABLE)
        return None
    entries = [Entry(*row) for row in answer["rows"]]
    for path, count in Counter(entry.path for entry in entries).items():
        if count > 1:
            report.fail("files", f"is listed {count} times", file=path)
    return entries


def listing(argument: Sequence[str]) -> dict[str, Any]:
    """In the reading process: the columns of files.parquet that name what files must be. `argument` is [folder, path]."""
    folder, path = argument
    names = list(Entry.__dataclass_fields__)
    try:
        with opened(folder, path) as file:
            found = {item.name: item.type for item in file.schema_arrow}
            wanted = {item.name: item.type for item in FILES}
            if {n: logical_type(t) for n, t in found.items()} != {n: logical_type(t) for n, t in wanted.items()}:
                return {"damaged": f"expected the columns {FILES.names}, found {list(found)}"}
            table = file.read(columns=names, use_threads=False)
            nulls = [name for name in names if table[name].null_count]
            if nulls:
                return {"damaged": f"holds nulls in {', '.join(nulls)}"}
            columns = [table[name].to_pylist() for name in names]
    except Damaged as error:
        return {"damaged": str(error)}
    except Unreadable as error:
        return {"unreadable": str(error)}
    except (pa.ArrowException, TypeError) as error:
        return {"damaged": str(error)}
    return {"rows": [list(row) for row in zip(*columns, strict=True)]}


def sizes_below(folder: str) -> dict[str, int]:
    """Size in bytes of every file below a folder, by path relative to it."""
    if is_remote(folder):
        system, root = fsspec.core.url_to_fs(folder)
        found = system.find(root, detail=True)
        return {str(path).removeprefix(root).lstrip("/"): int(item["size"]) for path, item in found.items()}
    base = local(folder)
    sizes: dict[str, int] = {}
    for path in base.rglob("*"):
        if path.is_dir():
            continue
        try:
            sizes[path.relative_to(base).as_posix()] = path.stat().st_size
        except FileNotFoundError:
            continue  # a link to nowhere: its entry is missing
    return sizes


def check_presence(folder: str, entries: Sequence[Entry], report: Report) -> list[Entry]:
    """Missing and stray files, and sizes. Returns the entries whose files are there."""
    try:
        there = sizes_below(folder)
    except OSError as error:
        for check in ("missing", "stray", "size"):
            report.unread(check, f"the folder cannot be listed: {reason(error)}")
        return list(entries)
    listed = {entry.path for entry in entries}
    known = listed | {MANIFEST, ENVELOPE, FILES_TABLE, *DOCUMENTS}
    report.saw("stray", max(1, len(there)))
    for path in sorted(set(there) - known):
        if path.split("/")[0] not in IGNORED:
            report.fail("stray", "is not listed in files.parquet", file=path)
    present = []
    report.saw("missing", max(1, len(entries)))
    report.saw("size")
    for entry in entries:
        if entry.path not in there:
            report.fail("missing", "is listed in files.parquet and not there", file=entry.path)
            continue
        present.append(entry)
        report.saw("size")
        if there[entry.path] != entry.size:
            report.fail("size", f"expected {entry.size} bytes, found {there[entry.path]}", file=entry.path)
    return present


def check_roots(statement: Statement, entries: Sequence[Entry], report: Report) -> None:
    """Totals and Merkle roots of the manifest follow from files.parquet."""
    data = [entry for entry in entries if entry.role == "data"]
    try:
        content = merkle_root([entry.content_digest for entry in data])
        found = {
            "data.files": len(data),
            "data.rows": sum(entry.rows for entry in data),
            "data.bytes": sum(entry.size for entry in data),
            "data.root": content,
            "files.count": len(entries),
            "files.root": merkle_root([entry.sha256 for entry in entries]),
            "files.content_root": merkle_root([entry.content_digest for entry in entries]),
        }
    except ValueError as error:
        report.fail("roots", f"a value in files.parquet is not a digest ({error})", file=FILES_TABLE)
        return
    for name, value in found.items():
        report.saw("roots")
        group, _, item = name.partition(".")
        stated = getattr(getattr(statement.predicate, group), item)
        if stated != value:
            report.fail(
                "roots",
                f"{name} is stated as {stated}, but the computed value is {value}",
                file=MANIFEST,
            )
    named = next(item.digest for item in statement.subject if item.name == "data").get("gristmillContentRoot")
    if named != content:
        report.fail(
            "roots", f"the subject `data` has the root {named}, but the computed root is {content}", file=MANIFEST
        )
