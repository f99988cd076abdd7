"""Checks of the documents of an output: the manifest, its digests, its form, and the card beside it."""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

from gristmill.pipeline.audit.result import Report
from gristmill.pipeline.errors import GristmillError
from gristmill.pipeline.provenance.files import FILES_TABLE
from gristmill.pipeline.provenance.statement import (
    MANIFEST,
    MOST_BYTES,
    Statement,
    manifest_bytes,
    manifest_digest,
    parse_strictly,
    statement_digest,
)
from gristmill.pipeline.provenance.values import parse, problems
from gristmill.pipeline.storage import exists, is_remote, join, local, read_within

DOCUMENTS = ("README.md", "croissant.json")
_MOST_NAMED = 5
T = TypeVar("T")


def read_bytes(folder: str, path: str, check: str, report: Report, most: int = MOST_BYTES) -> bytes | None:
    """A small file's bytes; None, with a finding, when it is not there, cannot be read, or has more than `most` bytes."""
    try:
        return read_within(folder, path, most)
    except FileNotFoundError:
        report.fail(check, "is not there", file=path)
    except GristmillError as error:
        report.unread(check, str(error), file=path)
    return None


def no_output(folder: str) -> str | None:
    """What to give instead of a folder without a manifest, for the person who gave it; None where there is one."""
    try:
        if exists(join(folder, MANIFEST)):
            return None
        if any(exists(join(folder, name)) for name in (FILES_TABLE, "ledger")):
            return (
                "The run that writes this output has not finished, or the manifest was removed. Run the same command "
                "again, or restore it."
            )
        if is_remote(folder):
            return "Give the folder of an output: the one that the config names as `path` of an output."
        here = local(folder).resolve()
        if (here.parent / MANIFEST).is_file():
            return f"This is a part of an output: give {here.parent}."
        below = sorted(path.parent.as_posix() for path in here.glob(f"*/{MANIFEST}"))
    except OSError:
        return None  # reading the manifest then reports it
    if below:
        return f"Outputs lie below this folder: give {' or '.join(below[:_MOST_NAMED])}."
    return (
        "This folder holds no output of a run, and input is not audited. Give the folder that the config names as `path` of an "
        "output, the one with manifest.json."
    )


def sound_log(kind: type[T], log: dict[str, Any] | None) -> T | None:
    """A log that has its form, else None: the check of footers reports what is wrong with it."""
    return None if log is None or problems(kind, log) else parse(kind, log)


def read_statement(folder: str, report: Report) -> tuple[Statement | None, bytes]:
    """The manifest as a statement, with its bytes; None, with findings, when nothing can be checked against it."""
    report.saw("manifest")
    advice = no_output(folder)
    if advice is not None:
        report.fail("manifest", f"is not there. {advice}", file=MANIFEST)
        return None, b""
    data = read_bytes(folder, MANIFEST, "manifest", report)
    if data is None:
        return None, b""
    try:
        statement = parse_strictly(data)
    except ValueError as error:
        report.fail("manifest", f"cannot be parsed: {error}", file=MANIFEST)
        return None, data
    report.saw("schema")
    wrong = problems(Statement, statement)
    for problem in wrong:
        report.fail("schema", problem, file=MANIFEST)
    if wrong:
        return None, data
    if manifest_bytes(statement) != data:
        report.fail(
            "manifest",
            "is not stored in the canonical form (indented by 1, sorted keys, UTF-8, one line feed)",
            file=MANIFEST,
        )
    predicate = statement["predicate"]
    for what, expected, found in (
        ("the predicate's digest", predicate["digest"], manifest_digest(predicate)),
        ("the statement's digest", predicate["varies"]["statement"], statement_digest(statement)),
    ):
        if expected != found:
            report.fail("manifest", f"{what} is stated as {expected}, but the computed value is {found}", file=MANIFEST)
    named = [item["name"] for item in statement["subject"]]
    wanted = ["data", FILES_TABLE, *sorted(DOCUMENTS)]
    if named != wanted:
        report.fail("manifest", f"expected the subjects {wanted}, found {named}", file=MANIFEST)
        return None, data
    return parse(Statement, statement), data


def subject_digest(statement: Statement, name: str) -> str | None:
    """SHA-256 of a file that the statement is about."""
    return next(item.digest for item in statement.subject if item.name == name).get("sha256")


def check_documents(folder: str, statement: Statement, report: Report) -> None:
    """The card and the metadata are as the run wrote them."""
    for name in DOCUMENTS:
        report.saw("documents")
        data = read_bytes(folder, name, "documents", report)
        if data is None:
            continue
        expected, found = subject_digest(statement, name), hashlib.sha256(data).hexdigest()
        if found != expected:
            report.fail("documents", f"expected the SHA-256 {expected}, found {found}", file=name)
