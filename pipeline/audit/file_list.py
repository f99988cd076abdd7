"""Checks of what an output holds: files.parquet, missing and stray files, sizes, totals and Merkle roots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from gristmill.pipeline.audit.documents import DOCUMENTS, subject_digest
from gristmill.pipeline.audit.messages import Entry, ask
from gristmill.pipeline.audit.open_files import Damaged, Unreadable, opened
from gristmill.pipeline.audit.result import Report
from gristmill.pipeline.errors import GristmillError
from gristmill.pipeline.hashing import merkle_root
from gristmill.pipeline.lease import MOST_BYTES, is_claim
from gristmill.pipeline.provenance.content import logical_type
from gristmill.pipeline.provenance.files import FILES, FILES_TABLE, most_table_bytes
from gristmill.pipeline.provenance.holding_folders import holding_folders
from gristmill.pipeline.provenance.signing import ENVELOPE
from gristmill.pipeline.provenance.statement import MANIFEST, Predicate, Statement
from gristmill.pipeline.reader_process import ReaderCrashed, ReaderProcess
from gristmill.pipeline.storage import Item, items_within, open_within, reason, sha256_within, size_within
from gristmill.pipeline.writing.attempt import PUBLISHED, is_attempt

TOOLS = (".git", ".cache")
"""Folders that tools which carry data sets about (git, the Hugging Face hub) leave in a folder."""
_DATA = (
    ".parquet", ".parq", ".pq", ".arrow", ".feather", ".ipc", ".orc", ".avro", ".json", ".jsonl", ".ndjson", ".csv", ".tsv",
    ".txt", ".gz", ".bz2", ".xz", ".zst", ".zip", ".tar",
)  # fmt: skip
"""Endings by which readers of data sets know their files, wherever they lie."""


def read_entries(folder: str, statement: Statement, reader: ReaderProcess, report: Report) -> list[Entry] | None:
    """The entries of files.parquet, in order; None, with findings, when it cannot be read."""
    report.saw("files")
    expected, most = subject_digest(statement, FILES_TABLE), most_table_bytes(statement.predicate.files.count)
    try:
        found = sha256_within(folder, FILES_TABLE, most)
    except FileNotFoundError:
        report.fail("files", "is not there", file=FILES_TABLE)
        return None
    except GristmillError as error:
        report.unread("files", str(error), file=FILES_TABLE)
        return None
    if found is None:
        report.fail("files", f"has more than {most:,} bytes, too many for the files of this run", file=FILES_TABLE)
        return None
    if found != expected:
        report.fail("files", f"expected the SHA-256 {expected}, found {found}", file=FILES_TABLE)
    try:
        answer = ask(reader, "listing", [folder, FILES_TABLE])
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
    names = [name for name in Entry.__dataclass_fields__ if name != "folder"]
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


def check_presence(folder: str, entries: Sequence[Entry], report: Report) -> list[Entry]:
    """Missing and stray files, what is no regular file, and sizes. Returns the entries whose files are there."""
    try:
        items = list(items_within(folder))
    except (OSError, GristmillError) as error:
        told = reason(error) if isinstance(error, OSError) and not isinstance(error, GristmillError) else str(error)
        for check in ("missing", "stray", "size", "regular"):
            report.unread(check, f"the folder cannot be listed: {told}")
        return list(entries)
    there = {item.path: item.size for item in items if item.kind is None}
    strange = {item.path for item in items if item.kind not in (None, "a folder")}
    own = [entry for entry in entries if entry.folder == folder]
    listed = {entry.path for entry in own}
    known = listed | {MANIFEST, ENVELOPE, FILES_TABLE, *DOCUMENTS}
    folders = {parent for path in listed for parent in _parents(path)}
    report.saw("stray", max(1, len(there)))
    report.saw("regular", max(1, len(items)))
    for item in items:
        top = item.path.split("/")[0]
        if item.kind == "a folder":
            if item.path not in folders and top not in TOOLS and not is_attempt(top):
                report.fail("regular", "is a folder in which no listed file lies", file=item.path)
        elif item.kind is not None:
            message = f"is {item.kind}; an output holds regular files and the folders that they lie in, nothing else"
            report.fail("regular", message, file=item.path)
        elif item.path not in known and not _left_by_run(item) and not _left_by_tool(folder, item):
            report.fail("stray", "is not listed in files.parquet", file=item.path)
    present = []
    report.saw("missing", max(1, len(entries)))
    report.saw("size")
    for entry in own:
        if entry.path not in there:
            if entry.path not in strange:
                report.fail("missing", "is listed in files.parquet and not there", file=entry.path)
            continue
        present.append(entry)
        report.saw("size")
        if there[entry.path] != entry.size:
            report.fail("size", f"expected {entry.size} bytes, found {there[entry.path]}", file=entry.path)
    return present + _elsewhere([entry for entry in entries if entry.folder != folder], report)


def _elsewhere(entries: Sequence[Entry], report: Report) -> list[Entry]:
    """Presence and sizes of files that lie in the folders of other outputs; those whose folder is not known are not read."""
    unknown = Counter(entry.output for entry in entries if not entry.folder)
    for output, count in sorted(unknown.items()):
        report.unread(
            "missing",
            f"{count} files of this output (ledger, signals) lie in the folder of the run's output {output!r:.100}, which is "
            "not beside this one. Name it with --beside",
        )
    present = []
    for entry in entries:
        if not entry.folder:
            continue
        try:
            size = size_within(entry.folder, entry.path)
        except FileNotFoundError:
            report.fail("missing", f"is listed in files.parquet and not in {entry.folder}", file=entry.path)
            continue
        except GristmillError as error:
            report.fail("regular", str(error), file=entry.path)
            continue
        present.append(entry)
        report.saw("size")
        if size != entry.size:
            report.fail("size", f"expected {entry.size} bytes, found {size} in {entry.folder}", file=entry.path)
    return present


def with_folders(folder: str, predicate: Predicate, entries: Sequence[Entry], beside: Sequence[str]) -> list[Entry]:
    """The entries with the folders that they lie in (see `holding_folders`)."""
    folders = holding_folders(folder, predicate, {entry.output for entry in entries}, beside)
    return [replace(entry, folder=folders.get(entry.output, "")) for entry in entries]


def _parents(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[:end]) for end in range(1, len(parts)))


def _left_by_run(item: Item) -> bool:
    """Whether an unlisted file is a run's claim on the output, or the list of what it moved there: they stay when a run is
    killed after its manifest stands, and the same command removes them."""
    top, _, below = item.path.partition("/")
    return (is_claim(item.path) and item.size <= MOST_BYTES) or (is_attempt(top) and below == PUBLISHED)


def _left_by_tool(folder: str, item: Item) -> bool:
    """Whether an unlisted file is what git or the Hugging Face hub leave behind, and nothing that is read as data."""
    top, _, below = item.path.partition("/")
    if not below:
        return top == ".gitattributes"
    if top not in TOOLS or item.path.lower().endswith(_DATA):
        return False
    if item.path.startswith(".git/lfs/objects/"):
        return True  # what git stores for the files of the output, under their digests
    with open_within(folder, item.path) as stream:
        return not stream.read(6).startswith((b"PAR1", b"ARROW1"))


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
