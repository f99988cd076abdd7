"""A version that documents were taken out of, beside the version that had them: these and nothing else are gone.

The keys of both versions are compared first, file by file; then their rows, without the documents that are gone anywhere. With
the removal's key the documents that are gone are those whose keyed digests are listed. Of a shuffled output a reading process
holds 32 bytes for each row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.audit.documents import read_statement
from gristmill.pipeline.audit.file_list import read_entries, with_folders
from gristmill.pipeline.audit.in_order import in_order
from gristmill.pipeline.audit.key_order import name_of
from gristmill.pipeline.audit.messages import Entry, ask
from gristmill.pipeline.audit.open_files import Damaged, Unreadable, opened
from gristmill.pipeline.audit.result import Report
from gristmill.pipeline.document import DOC_KEY, key_words, keys_from_bytes
from gristmill.pipeline.errors import GristmillError
from gristmill.pipeline.hashing import canonical
from gristmill.pipeline.provenance.content import ContentDigest
from gristmill.pipeline.provenance.kinds import is_of_kind
from gristmill.pipeline.provenance.removal import (
    REMOVED_ROLE,
    Removal,
    RemovalKey,
    kept_rows,
    without_named,
    without_witnesses,
)
from gristmill.pipeline.provenance.statement import MANIFEST, Predicate, Statement
from gristmill.pipeline.provenance.values import to_json
from gristmill.pipeline.reader_process import ReaderCrashed, ReaderProcess
from gristmill.pipeline.storage import sha256_within

CHECK = "removal"
NAMED = 5
_SAME = ("format", "name", "output", "run", "identity", "nodes", "settled", "notices", "slices_root", "tasks")
"""Parts of a manifest that no removal changes."""
Group = tuple[tuple[Entry, ...], tuple[Entry, ...]]
"""Files of the old and of the new version that hold rows of the same documents."""


def check_pair(
    predicate: Predicate,
    entries: Sequence[Entry],
    previous: Sequence[str],
    secrets: Sequence[str],
    folder: str,
    pool: Callable[[Sequence[Entry]], Sequence[ReaderProcess]],
    report: Report,
) -> None:
    """Compares a new version with that of `previous` which its last removal took documents from.

    Args:
        entries: the new version's files that are there.
        secrets: keys of removals, as their files hold them.
        folder: where the documents that are gone are kept for the reading processes.
    """
    last = predicate.removals[-1]
    found = next((pair for place in previous if (pair := _version(place, last, predicate.output)) is not None), None)
    if found is None:
        if previous:
            wanted = last.taken_from.get(predicate.output)
            report.unread(CHECK, f"its last removal took documents from {wanted}, which none of the outputs given is")
        else:
            report.skip((CHECK,), "not compared: --previous names the version that had the documents")
        return
    place, statement = found
    old, quiet = statement.predicate, Report()
    listed = read_entries(place, statement, pool(entries)[0], quiet)
    for name, result in quiet.results.items():
        for finding in result.findings:
            (report.unread if finding.unread else report.fail)(CHECK, f"in {place}: {name}: {finding.line()}")
    if listed is None:
        return
    report.saw(CHECK)
    groups = _groups(with_folders(place, old, listed, ()), entries)
    readers = pool([entry for group in groups for side in group for entry in side])

    def keys_of(reader: ReaderProcess, group: Group) -> dict[str, Any]:
        return _asked(reader, "pair_keys", group, {})

    gone: set[str] = set()
    for group, answer in zip(groups, in_order(readers, groups, keys_of), strict=True):
        _tell(answer, group, report)
        gone |= set(answer.get("gone", ()))
    names = Path(folder) / "removed-keys"
    names.write_bytes(b"".join(bytes.fromhex(key) for key in sorted(gone)))

    def rows_of(reader: ReaderProcess, group: Group) -> dict[str, Any]:
        return _asked(reader, "pair_rows", group, {"gone": str(names)})

    for group, answer in zip(groups, in_order(readers, groups, rows_of), strict=True):
        _tell(answer, group, report)
    _manifests(old, predicate, gone, report)
    _documents(old, predicate, gone, report)
    keyed = [entry for entry in entries if entry.role == REMOVED_ROLE]
    _digests(
        predicate, gone, keyed, [RemovalKey.from_text(text, "--removal-key") for text in secrets], readers[0], report
    )


def _version(place: str, last: Removal, output: str) -> tuple[str, Statement] | None:
    try:
        statement, _ = read_statement(place, Report())
    except GristmillError:
        return None  # the check of the chain has said so
    wanted = last.taken_from.get(output)
    return (place, statement) if statement is not None and statement.predicate.varies.statement == wanted else None


def _groups(old: Sequence[Entry], new: Sequence[Entry]) -> list[Group]:
    """Shards by task, or all of a shuffled output, whose buckets may be fewer now; sidecars by path."""
    sides: dict[tuple[str, str], tuple[list[Entry], list[Entry]]] = {}
    for side, entries in enumerate((old, new)):
        for entry in entries:
            if entry.role == REMOVED_ROLE or is_of_kind(entry.role):
                continue  # digests are compared by themselves; kinds are made again from shards
            name = str(entry.task) if entry.role == "data" else entry.path
            sides.setdefault((entry.role, name), ([], []))[side].append(entry)
    return [(tuple(a), tuple(b)) for a, b in sides.values()]


def _asked(reader: ReaderProcess, function: str, group: Group, more: Mapping[str, Any]) -> dict[str, Any]:
    job = {"old": [asdict(entry) for entry in group[0]], "new": [asdict(entry) for entry in group[1]], **more}
    try:
        answer: dict[str, Any] = ask(reader, function, job, 4 * sum(entry.size for side in group for entry in side))
    except ReaderCrashed as error:
        return {"unread": [str(error)]}
    return answer


def _tell(answer: Mapping[str, Any], group: Group, report: Report) -> None:
    file = next(entry.path for side in group for entry in side)
    report.saw(CHECK, answer.get("rows", 0))
    for message in answer.get("unread", ()):
        report.unread(CHECK, message, file=file)
    for message, document in answer.get("failed", ()):
        report.fail(CHECK, message, file=file, document=document)


def _manifests(old: Predicate, new: Predicate, gone: set[str], report: Report) -> None:
    before, now = to_json(old), to_json(new)
    parts = {name: (before[name], now[name]) for name in _SAME}
    parts["reports"] = (without_named(before["reports"], gone), now["reports"])
    parts["removals"] = (before.get("removals", []), now["removals"][:-1])
    for name, (expected, found) in parts.items():
        if canonical(expected) != canonical(found):
            report.fail(CHECK, f"`{name}` is not that of the previous version, which no removal changes", file=MANIFEST)


def _documents(old: Predicate, new: Predicate, gone: set[str], report: Report) -> None:
    """As many documents and rows are gone as the removal states."""
    last, count = new.removals[-1], len(gone)
    alone = len(new.identity.outputs) == 1  # else some may have been in other outputs alone
    if count > last.documents or (alone and count != last.documents):
        message = f"its last removal states {last.documents} documents, but {count} of the previous version are gone"
        report.fail(CHECK, message, file=MANIFEST)
    rows, stated = old.data.rows - new.data.rows, last.rows.get(new.output)
    if rows != stated:
        report.fail(CHECK, f"its last removal states {stated} rows of shards, but {rows} are gone", file=MANIFEST)


def _digests(
    predicate: Predicate,
    gone: set[str],
    entries: Sequence[Entry],
    keys: Sequence[RemovalKey],
    reader: ReaderProcess,
    report: Report,
) -> None:
    """With the last removal's key: the documents that are gone are those whose digests are listed."""
    key = next((one for one in keys if one.key_id == predicate.removals[-1].key), None)
    if key is None:
        if keys:
            report.unread(CHECK, "--removal-key: none of the keys given is that of the last removal", file=MANIFEST)
        return
    listed: set[str] = set()
    for entry in entries:
        try:
            answer = ask(reader, "keyed_digests", [entry.folder, entry.path], entry.size)
        except ReaderCrashed as error:
            answer = {"damaged": str(error)}
        if "damaged" in answer:
            report.unread(CHECK, f"keyed digests were not compared: {answer['damaged']}", file=entry.path)
            return
        listed |= set(dict(answer["found"]).get(str(len(predicate.removals) - 1), ()))
    names = sorted(gone)
    digests = key.digests(keys_from_bytes(b"".join(map(bytes.fromhex, names))))
    made = {digest.hex(): name for digest, name in zip(digests, names, strict=True)}
    for digest in sorted(set(made) - listed)[:NAMED]:
        report.fail(CHECK, "is gone, and no keyed digest of the last removal is its own", document=made[digest])
    nobody = listed - set(made)
    if nobody and len(predicate.identity.outputs) == 1:
        message = (
            f"{len(nobody)} keyed digests of the last removal are of no document that is gone, such as {min(nobody)}"
        )
        report.fail(CHECK, message, file=MANIFEST)


# In the reading process


def pair_keys(argument: Mapping[str, Any]) -> dict[str, Any]:
    """Documents of the old files that the new ones do not have (`gone`), and those that only the new ones have."""
    old, new = _entries(argument)
    try:
        for entry in old:
            if sha256_within(entry.folder, entry.path, entry.size) != entry.sha256:
                return {"failed": [["the previous version's file is not what its manifest lists", None]]}
        before, now = (_keys(entries) for entries in (old, new))
    except (Damaged, Unreadable, OSError, GristmillError) as error:
        return {"unread": [f"not compared with the previous version: {error}"]}
    gone, added = before[not_among(before, now)], now[not_among(now, before)]
    failed = [["is not in the previous version", name_of(key)] for key in added[:NAMED]]
    return {"gone": [name_of(key) for key in gone], "failed": failed}


def not_among(keys: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which keys (uint64, keys × 2) are not among some others, bool."""
    mine, theirs = (np.ascontiguousarray(one).view("u8,u8").ravel() for one in (keys, others))
    missing: np.ndarray = ~np.isin(mine, theirs)
    return missing


def pair_rows(argument: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the new files hold the rows of the old ones without documents that are gone anywhere (`gone`: a file)."""
    old, new = _entries(argument)
    gone = _gone(argument["gone"])
    names = {name_of(key) for key in gone}
    is_ledger = any(entry.role == "ledger" for entry in (*old, *new))
    sides: list[ContentDigest | None] = [None, None]
    failed: list[list[str | None]] = []
    try:
        for side, entries in enumerate((old, new)):
            for piece in _pieces(entries):
                stay = kept_rows(piece[DOC_KEY], gone)
                if side and not stay.all():
                    words = key_words(piece[DOC_KEY])[~stay]
                    failed += [["was removed, and is here", name_of(key)] for key in words[: NAMED - len(failed)]]
                kept = piece if side else piece.filter(pa.array(stay))
                if is_ledger and not side:
                    kept = without_witnesses(kept, names)
                digest = sides[side] = sides[side] or ContentDigest(kept.schema)
                digest.update(kept)
    except (Damaged, Unreadable, ValueError, KeyError, pa.ArrowException) as error:
        return {"unread": [f"not compared with the previous version: {error}"]}
    rows = [0 if one is None else one.rows for one in sides]
    columns = [{} if one is None or not one.rows else one.columns() for one in sides]
    if not failed and rows[0] != rows[1]:
        failed.append([f"has {rows[1]} rows; the previous version has {rows[0]} of documents that stayed", None])
    elif not failed and columns[0] != columns[1]:
        unlike = sorted(name for name in {*columns[0], *columns[1]} if columns[0].get(name) != columns[1].get(name))
        told = ", ".join(f"`{name}`" for name in unlike[:NAMED])
        failed.append([f"documents that stayed have other rows than in the previous version: {told} differ", None])
    return {"failed": failed, "rows": rows[1]}


def _entries(argument: Mapping[str, Any]) -> tuple[list[Entry], list[Entry]]:
    return [Entry(**one) for one in argument["old"]], [Entry(**one) for one in argument["new"]]


@lru_cache(maxsize=1)
def _gone(path: str) -> np.ndarray:
    return key_words(keys_from_bytes(Path(path).read_bytes()))


def _keys(entries: Sequence[Entry]) -> np.ndarray:
    parts = [key_words(piece[DOC_KEY]) for piece in _pieces(entries, [DOC_KEY])]
    return np.unique(np.concatenate([np.empty((0, 2), np.uint64), *parts]), axis=0)


def _pieces(entries: Sequence[Entry], columns: list[str] | None = None) -> Iterator[pa.Table]:
    for entry in sorted(entries, key=lambda one: one.path):
        with opened(entry.folder, entry.path) as file:
            for group in range(file.metadata.num_row_groups):
                piece = file.read_row_group(group, columns=columns, use_threads=False)
                yield piece.replace_schema_metadata(None)
