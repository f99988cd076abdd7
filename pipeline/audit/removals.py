"""Checks of removals: documents that were taken out since the run are as many as manifest, logs and keyed digests say, and
going back to the input they are those that the digests name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.audit.messages import Answer, Entry
from gristmill.pipeline.audit.open_files import Damaged, Unreadable, opened
from gristmill.pipeline.audit.result import Report
from gristmill.pipeline.audit.sidecar_rows import task_rows
from gristmill.pipeline.document import DOC_KEY, FROM_TASK
from gristmill.pipeline.provenance.content import logical_type
from gristmill.pipeline.provenance.logs import SliceRead
from gristmill.pipeline.provenance.removal import (
    KEYED,
    REMOVAL,
    REMOVED,
    REMOVED_ROLE,
    RemovalKey,
    removed_rows,
    summed,
)
from gristmill.pipeline.provenance.statement import MANIFEST, Predicate

if TYPE_CHECKING:
    from gristmill.pipeline.source import SliceData

_COLUMNS = {item.name: logical_type(item.type) for item in REMOVED}


def check_removals(
    predicate: Predicate, entries: Sequence[Entry], slices: Sequence[SliceRead | None], report: Report
) -> None:
    """Manifest, logs and lists of keyed digests agree on how many documents were taken out; the last removal took them from
    the version that this one follows.

    Args:
        slices: of all tasks, None where a log could not be read.
    """
    stated = sum(one.documents for one in predicate.removals)
    logged = sum(one.removed for one in slices if one is not None)
    listed = sum(entry.rows for entry in entries if entry.role == REMOVED_ROLE)
    if None not in slices and stated != logged:
        message = f"its removals state {stated} documents, but the logs of the tasks that had them {logged}"
        report.fail("accounts", message, file=MANIFEST)
    if stated != listed:
        message = f"its removals state {stated} documents, but {listed} keyed digests are listed in files.parquet"
        report.fail("accounts", message, file=MANIFEST)
    if predicate.removals:
        taken, chain = predicate.removals[-1].taken_from.get(predicate.output), predicate.varies.chain
        if taken not in (chain.previous, *(one.taken_from.get(predicate.output) for one in predicate.removals[:-1])):
            message = (
                f"its last removal took documents from {taken}, but it follows {chain.previous}: a link is missing"
            )
            report.fail("sequence", message, file=MANIFEST)


def check_keyed_digests(predicate: Predicate, found: Mapping[int, Sequence[str]], report: Report) -> None:
    """The keyed digests in the files are those that each removal sums up. `found`: by number of the removal."""
    for number, removal in enumerate(predicate.removals):
        digests = [bytes.fromhex(text) for text in found.get(number, ())]
        if len(digests) != removal.documents or summed(digests) != removal.digests:
            message = f"the keyed digests of removal {number} are not those that it states ({len(digests)} are there)"
            report.fail("ledger", message, file=MANIFEST)
    for number in sorted(set(found) - set(range(len(predicate.removals)))):
        report.fail(
            "ledger", f"keyed digests of a removal {number} are there, which the manifest does not have", file=MANIFEST
        )


def keyed_digests(argument: Sequence[str]) -> dict[str, Any]:
    """In the reading process: the keyed digests of a file by removal, in hexadecimal. `argument` is [folder, path]."""
    found: dict[str, list[str]] = {}
    try:
        with opened(argument[0], argument[1]) as file:
            if {item.name: logical_type(item.type) for item in file.schema_arrow} != _COLUMNS:
                return {"damaged": f"expected the columns {_COLUMNS}"}
            table = file.read(columns=[REMOVAL, KEYED], use_threads=False)
    except (Damaged, Unreadable) as error:
        return {"damaged": str(error)}
    for number, digest in zip(table[REMOVAL].to_pylist(), table[KEYED].to_pylist(), strict=True):
        found.setdefault(str(number), []).append((digest or b"").hex())
    return {"found": found}


def check_removed(entries: Sequence[Entry], task: int, one: SliceRead, answer: Answer) -> None:
    """A task has as many keyed digests as its log says that documents were removed."""
    try:
        count = sum(len(_of_task(entry, task)) for entry in entries if entry.role == REMOVED_ROLE)
    except (Damaged, Unreadable) as error:
        answer.unread("ledger", f"task {task}: its keyed digests cannot be read: {error}", None)
        return
    if count != one.removed:
        message = f"{one.removed} documents of task {task} were removed by its log, but it has {count} keyed digests"
        answer.fail("ledger", message, entries[0].path if entries else None)


def _of_task(entry: Entry, task: int) -> pa.Table:
    table, _ = task_rows(entry, task)
    if not {REMOVAL, KEYED} <= set(table.column_names):
        raise Damaged(f"expected the columns {_COLUMNS}")
    return table


def keys_that_tell(predicate: Predicate, secrets: Sequence[str]) -> Sequence[str]:
    """Keys of removals with which it can be told what was removed: none while some that the manifest names are missing.
    With a key that it does not name its digests are another one's, which is to be found out."""
    given = {RemovalKey.from_text(text, "--removal-key").key_id for text in secrets}
    return () if given < {one.key for one in predicate.removals} else secrets


def without_removed(
    data: SliceData,
    entries: Sequence[Entry],
    task: int,
    one: SliceRead,
    secrets: Sequence[str],
    path: str,
    answer: Answer,
) -> SliceData | None:
    """A slice without the documents that were removed; None where it is not known which they are, or others are said to be.

    Args:
        secrets: keys of removals, as their files hold them.
    """
    if not one.removed:
        return data
    tables = [_of_task(entry, task) for entry in entries if entry.role == REMOVED_ROLE]
    keys = [RemovalKey.from_text(text, "--removal-key") for text in secrets]
    gone = removed_rows(
        pa.concat_tables([REMOVED.empty_table().drop_columns([FROM_TASK]), *tables]), data.table[DOC_KEY], keys
    )
    count = int(gone.sum())
    if count == one.removed:
        return replace(data, table=data.table.filter(pc.invert(pa.array(gone))))
    if not keys:
        message = (
            f"{one.removed} of its documents were removed: --removal-key tells which, with the keys of all removals"
        )
        answer.unread("source", message, path)
    else:
        message = (
            f"{one.removed} of its documents are said to be removed; the keys given make {count} of the digests of them"
        )
        answer.fail("ledger", message, path)
    for check in ("text", "replay", "columns"):
        answer.unread(check, "not compared, since it is not known which documents were removed", path)
    return None
