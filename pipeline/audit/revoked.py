"""Whether an output holds documents that the run's revocation list names: the list is private, and asked for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from pydantic import ValidationError

from gristmill.pipeline.audit.key_order import name_of
from gristmill.pipeline.audit.messages import Answer, Entry
from gristmill.pipeline.audit.open_files import Damaged, Unreadable, opened
from gristmill.pipeline.audit.result import Report
from gristmill.pipeline.document import DOC_KEY, FROM_TASK, ID, TEXT, URL, key_words
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.planning.revoked import Revoked, RevokedConfig, read_revoked
from gristmill.pipeline.planning.yaml_reader import parse
from gristmill.pipeline.provenance.statement import Predicate
from gristmill.pipeline.stage_spec import REVOKED

CHECK = "revoked"
NAMING = ("data", "ledger", "dropped")
"""Files that name documents."""
NAMED = 5
_NOT_GIVEN = (
    "not compared: the run's revocation list is not known here. Name its files with --revoked, in the config's order"
)


def with_lists(config: str, given: Sequence[str]) -> str:
    """A manifest's config whose revocation lists lie where they are given.

    Raises ConfigError for another number of files than the config has.
    """
    value = parse(config, "manifest.json").value
    lists = _entries(value)
    if len(lists) != len(given):
        there = ", ".join(str(one.get("path")) for one in lists) or "none"
        raise ConfigError(
            f"--revoked: found {len(given)} files, but the run's config names {len(lists)}: {there:.300}."
        )
    value["revoked"] = [{**one, "path": str(Path(path).absolute())} for one, path in zip(lists, given, strict=True)]
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def known_list(predicate: Predicate, given: Sequence[str], report: Report) -> Revoked | None:
    """The run's revocation list from the files that are given, where the output is to be compared with it; says why it is
    not. Raises ConfigError for files that are no lists, and for another number of them than the config has."""
    stated = predicate.identity.revoked
    rules = [name for name, account in predicate.accounts.nodes.items() if REVOKED in account.rules]
    sources = [name for name in rules if name in predicate.identity.sources]
    if stated is None:
        if sources:
            report.fail(CHECK, "drops documents as revoked, but the run had no revocation list", node=sources[0])
        if given:
            raise ConfigError(f"--revoked {given[0]}: this run had no revocation list.")
        return None
    if not given:
        report.skip((CHECK,), _NOT_GIVEN)
        return None
    try:
        lists = [RevokedConfig(**one) for one in _entries(parse(with_lists(predicate.varies.config, given), "").value)]
    except ValidationError as error:
        raise ConfigError(f"manifest.json: its config's `revoked` is none ({error.errors()[0]['msg']}).") from error
    found = read_revoked(lists)
    if found is None or found.digest != stated.digest:
        digest = "nothing" if found is None else found.digest
        report.fail(CHECK, f"the files of --revoked are not the run's list: expected {stated.digest}, found {digest}")
        return None
    return found


def _entries(config: Any) -> list[dict[str, Any]]:
    value = config.get("revoked") if isinstance(config, dict) else None
    items = value if isinstance(value, list) else [] if value is None else [value]
    return [item if isinstance(item, dict) else {"path": str(item)} for item in items]


def job_of(
    revoked: Revoked, location: str, entry: Entry, sources: Sequence[tuple[int, str]], predicate: Predicate
) -> dict[str, Any]:
    """What the reading process needs to look the documents of one file up.

    Args:
        location: where `revoked.packed` lies.
        sources: (task, source) of each task whose source is another one than that of the task before it.
    """
    made = any(node.text is not None for node in predicate.nodes)
    entries = {kind: count for kind, count in revoked.entries.items() if not (made and kind == "sha256")}
    return {
        "list": {"digest": revoked.digest, "entries": entries, "location": location},
        "entry": asdict(entry),
        "sources": list(sources),
    }


def runs_of(sources: Mapping[int, str]) -> list[tuple[int, str]]:
    """(task, source) of each task whose source is another one than that of the task before it."""
    found: list[tuple[int, str]] = []
    for task, source in sorted(sources.items()):
        if not found or found[-1][1] != source:
            found.append((task, source))
    return found


def check_revoked(argument: Mapping[str, Any]) -> dict[str, Any]:
    """In the reading process: looks a file's documents up in the list. `argument` as `job_of` makes it; an Answer."""
    entry, answer = Entry(**argument["entry"]), Answer()
    revoked = _list(
        argument["list"]["location"], argument["list"]["digest"], tuple(argument["list"]["entries"].items())
    )
    firsts, names = zip(*argument["sources"], strict=True) if argument["sources"] else ((), ())
    try:
        with opened(entry.folder, entry.path) as file:
            there = file.schema_arrow.names
            wanted = [ID, URL, *([TEXT] if "sha256" in revoked.entries else []), "node", "rule", "bytes"]
            columns = [DOC_KEY, *(name for name in [*wanted, FROM_TASK] if name in there)]
            start = 0
            for group in range(file.metadata.num_row_groups):
                piece = file.read_row_group(group, columns=columns, use_threads=False)
                answer.saw(CHECK, piece.num_rows)
                tasks = np.full(piece.num_rows, entry.task)
                if FROM_TASK in columns:
                    tasks = pc.fill_null(piece[FROM_TASK], -1).to_numpy()
                place = np.array([bisect_right(firsts, task) - 1 for task in np.unique(tasks).tolist()])
                by_task = place[np.searchsorted(np.unique(tasks), tasks)] if len(tasks) else place
                hit = np.zeros(piece.num_rows, bool)
                for number in np.unique(by_task[by_task >= 0]).tolist():
                    rows = np.flatnonzero(by_task == number)
                    hit[rows] = revoked.documents(names[number], _documents(piece.take(pa.array(rows))), frozenset())
                _tell(piece, np.flatnonzero(hit), "is on the run's revocation list", start, entry, answer)
                if entry.role == "ledger":
                    told = _telling(piece, set(names))
                    _tell(piece, told, "was revoked, and its row says more than that", start, entry, answer)
                start += piece.num_rows
    except (Damaged, Unreadable, pa.ArrowException, TypeError, ValueError) as error:
        answer.unread(CHECK, f"not compared with the revocation list: {error}", entry.path)
    return answer.to_json()


@lru_cache(maxsize=2)
def _list(location: str, digest: str, entries: tuple[tuple[str, int], ...]) -> Revoked:
    return Revoked(digest, dict(entries), location)


def _documents(piece: pa.Table) -> pa.Table:
    """The columns by which documents are looked up; ids are null where there are none."""
    columns = {name: piece[name] for name in (ID, URL, TEXT) if name in piece.column_names}
    return pa.table({ID: pa.nulls(piece.num_rows, pa.string()), **columns})


def _telling(piece: pa.Table, sources: set[str]) -> np.ndarray:
    """Rows about revoked documents that have an id, a URL or a size."""
    mine = pc.and_(pc.equal(piece["rule"], REVOKED), pc.is_in(piece["node"], pa.array(sorted(sources), pa.string())))
    named = pc.or_(pc.or_(pc.is_valid(piece[ID]), pc.is_valid(piece[URL])), pc.not_equal(piece["bytes"], 0))
    return np.flatnonzero(pc.fill_null(pc.and_(mine, named), False).to_numpy())


def _tell(piece: pa.Table, rows: np.ndarray, message: str, start: int, entry: Entry, answer: Answer) -> None:
    keys = key_words(piece[DOC_KEY].take(pa.array(rows[:NAMED])))
    for row, key in zip(rows[:NAMED].tolist(), keys, strict=True):
        answer.fail(CHECK, message, entry.path, row=start + row, document=name_of(key))
    if len(rows) > NAMED:
        answer.fail(CHECK, f"{len(rows) - NAMED} more rows of these: {message}", entry.path)
