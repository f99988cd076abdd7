"""Checks of shares by source, licence and creator: counted again from the rows of shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.audit.messages import Answer, TaskJob
from gristmill.pipeline.audit.result import Report
from gristmill.pipeline.document import FROM_TASK, TEXT, one_chunk
from gristmill.pipeline.licence import License
from gristmill.pipeline.provenance.logs import TaskLog
from gristmill.pipeline.provenance.shares import COLUMNS, CREATORS, LICENCE, STATED_BY, TOKENS, Shares, shares_of
from gristmill.pipeline.provenance.statement import MANIFEST, Predicate
from gristmill.pipeline.provenance.values import parse, to_json

CHECK = "shares"


class SeenRows:
    """What shares are counted by, of the rows of some shards; a reader hands it all of them in pieces.

    Attributes:
        texts: whether all had texts; without them nothing can be counted, and other checks say so.
    """

    def __init__(self) -> None:
        self._sizes, self._columns = [np.zeros(0, np.int64)], dict[str, list[pa.Array]]()
        self.texts = True

    def add(self, group: int, piece: pa.Table) -> None:
        """Keeps the columns, and the bytes of texts."""
        text = one_chunk(piece[TEXT]) if TEXT in piece.column_names else pa.nulls(0)
        if not (pa.types.is_string(text.type) or pa.types.is_large_string(text.type)):
            self.texts = False
            return
        self._sizes.append(np.asarray(pc.fill_null(pc.binary_length(text), 0)).astype(np.int64))
        for name in (*COLUMNS, FROM_TASK):
            if name in piece.column_names:
                self._columns.setdefault(name, []).append(one_chunk(piece[name]))

    def rows(self) -> tuple[np.ndarray, dict[str, pa.Array]]:
        """Bytes of each row's text, and the columns that all row groups have in one type."""
        kept = {
            name: pa.concat_arrays(parts)
            for name, parts in self._columns.items()
            if len(parts) == len(self._sizes) - 1 and len({part.type for part in parts}) == 1
        }
        return np.concatenate(self._sizes), kept


def unseen(predicate: Predicate) -> tuple[str, ...]:
    """Columns that shares were counted by, as far as is known, and that the shards do not have."""
    there = predicate.data.columns
    extra = predicate.identity.outputs[predicate.output].model_extra or {}
    made = {name for node in predicate.nodes for name in node.columns}
    listed = isinstance(extra.get("columns"), list)
    return tuple(name for name in COLUMNS if name not in there and (listed or name in made))


def check_task_shares(
    job: TaskJob, log: TaskLog, seen: SeenRows, answer: Answer, path: str, lost: Sequence[str]
) -> None:
    """Compares the shares that a task's log states with those of its shards; `lost` are those that cannot be read. Of rows that
    are not the ledger's, which the join says, nothing is said."""
    stated = log.accounts.shares.get(job.output)
    if stated is None:
        return
    answer.saw(CHECK)
    if lost:
        answer.unread(CHECK, "not counted again, since it could not be read or is not what was listed", lost[0])
        return
    if not seen.texts or any(finding["check"] == "join" for finding in answer.findings):
        return
    source, (sizes, columns) = log.slices[0].source, seen.rows()
    found = shares_of(source, log.licenses.get(source), sizes, np.ones(len(sizes), np.int64), columns)
    for problem in differences(found, stated, job.unseen):
        answer.fail(CHECK, problem, path)


def shares_of_shard(seen: SeenRows, sources: Sequence[Sequence[Any]], licenses: Mapping[str, Any]) -> Shares | None:
    """The shares of a shuffled shard; None where its rows do not say which task each comes from.

    Args:
        sources: [first task, source] of each run of tasks with one source.
        licenses: by source, as the manifest has them.
    """
    sizes, columns = seen.rows()
    tasks = columns.pop(FROM_TASK, None)
    if not seen.texts or tasks is None or not pa.types.is_integer(tasks.type) or tasks.null_count:
        return None
    run = np.searchsorted([first for first, _ in sources], np.asarray(tasks), side="right") - 1
    found = Shares()
    for number in np.unique(run).tolist():
        rows = np.flatnonzero(run == number)
        name = sources[max(number, 0)][1]
        own = None if licenses.get(name) is None else parse(License, licenses[name])
        part = {column: values.take(pa.array(rows)) for column, values in columns.items()}
        found.add(shares_of(name, own, sizes[rows], np.ones(len(rows), np.int64), part))
    return found


def check_shuffled_shares(predicate: Predicate, answers: Sequence[Mapping[str, Any] | None], report: Report) -> None:
    """Compares the shares that the manifest states with those of all shards together. Of rows that are not those of the
    accounts, which the sum of keys says, nothing is said."""
    stated = predicate.accounts.shares.get(predicate.output)
    if stated is None or report.results["keys"].failed:
        return
    report.saw(CHECK)
    found = Shares()
    for answer in answers:
        if answer is None:
            report.unread(CHECK, "not counted again, since not every shard could be read", file=MANIFEST)
            return
        found.add(parse(Shares, answer))
    for problem in differences(found, stated, unseen(predicate)):
        report.fail(CHECK, problem, file=MANIFEST)


def differences(found: Shares, stated: Shares, without: Sequence[str]) -> list[str]:
    """Where shares that were counted again are not what is stated. What columns that are not there decide is not compared."""
    told: list[str] = []
    parts = 2 if TOKENS in without else 3
    if parts == 3 and found.uncounted != stated.uncounted:
        told.append(f"documents without a number of tokens: {stated.uncounted} stated, {found.uncounted} in the shards")
    compared = ["sources"]
    compared += ["licences"] if not {LICENCE, STATED_BY} & set(without) else []
    compared += ["creators"] if CREATORS not in without else []
    for kind in compared:
        here, there = to_json(found)[kind], to_json(stated)[kind]
        if here is None or there is None:
            if here is not there:
                told.append(f"{kind}: {_counted(there)} stated, {_counted(here)} in the shards")
            continue
        for name in sorted({*here, *there}):
            a, b = (side.get(name, [0, 0, 0])[:parts] for side in (there, here))
            if a != b:
                told.append(f"{kind}, {name!r:.80}: [documents, bytes, tokens] {a} stated, {b} in the shards")
    return told


def _counted(amounts: Mapping[str, Any] | None) -> str:
    return "too many to tell apart" if amounts is None else f"{len(amounts)}"
