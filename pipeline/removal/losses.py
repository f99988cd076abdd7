"""What a run loses with the selected documents: by task the ledger's entry without them, and sums over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import DOC_KEY, FROM_TASK, TEXT
from gristmill.pipeline.errors import DataError
from gristmill.pipeline.provenance.accounts import Accounts
from gristmill.pipeline.provenance.logs import TaskEntry
from gristmill.pipeline.provenance.removal import kept_rows
from gristmill.pipeline.provenance.sidecar_tables import LEDGER
from gristmill.pipeline.removal.lost import Lost, lost_with, minus, text_sizes
from gristmill.pipeline.removal.lost_shares import LostRows
from gristmill.pipeline.removal.lost_tallies import lost_tallies
from gristmill.pipeline.removal.old_run import OldRun
from gristmill.pipeline.removal.selection import Selection
from gristmill.pipeline.writing.sidecars import LEDGER_ROLE


@dataclass(frozen=True)
class Losses:
    """What goes.

    Attributes:
        entries: of tasks that lose documents, what the ledger's log says of them from now on.
        accounts: the run's, from now on.
        removed: by source, its documents that go.
        read_bytes: by source, bytes of these as they were read.
        rows: by output, rows that its shards lose.
        entered: by source and node, how many of the documents got there.
        tallies: nodes whose tallies still count them.
        payloads: see `Lost`.
    """

    entries: Mapping[int, TaskEntry]
    accounts: Accounts
    removed: Mapping[str, int]
    read_bytes: Mapping[str, int]
    rows: Mapping[str, int]
    entered: Mapping[str, int]
    tallies: Sequence[str]
    payloads: int


def losses(run: OldRun, selection: Selection) -> Losses:
    """Adds up what goes with the documents. Raises DataError for an output that contradicts itself about them."""
    shares = LostRows(run)
    ledger, shown = _about(run, selection, shares)
    discarded = list(run.manifest.accounts.discarded)
    entries: dict[int, TaskEntry] = {}
    accounts = run.manifest.accounts
    removed: dict[str, int] = {}
    read_bytes: dict[str, int] = {}
    rows = dict.fromkeys(run.manifest.identity.outputs, 0)
    entered: dict[str, int] = {}
    payloads = 0
    counted, known = lost_tallies(run, selection, ledger)
    for task, keys in selection.tasks.items():
        entry = run.tasks[task]
        source = entry.slices[0].source
        mine = ledger.filter(pc.equal(ledger[FROM_TASK], task)).drop_columns([FROM_TASK]).combine_chunks()
        sizes = shown.filter(pa.array(~kept_rows(shown[DOC_KEY], keys)))
        where = f"{run.folder}, task {task}"
        lost: Lost = lost_with(run.graph, discarded, source, mine, sizes, keys, shares.shares(source, keys), where)
        for name in known:
            lost.accounts.node(name).tallies = dict(counted[task].get(name, {}))
        entries[task] = _without(entry, len(keys), lost, where)
        accounts = minus(accounts, lost.accounts)
        removed[source] = removed.get(source, 0) + len(keys)
        read_bytes[source] = read_bytes.get(source, 0) + lost.read_bytes
        payloads += lost.payloads
        for sums, more in ((rows, lost.rows), (entered, lost.entered)):
            for name, count in more.items():
                sums[name] = sums.get(name, 0) + count
    accounts.check(f"{run.folder} without the documents")
    tallies = [node for node, count in entered.items() if count and node not in known and accounts.nodes[node].tallies]
    return Losses(entries, accounts, removed, read_bytes, rows, entered, tallies, payloads)


def _without(entry: TaskEntry, count: int, lost: Lost, where: str) -> TaskEntry:
    one = entry.slices[0]
    accounts = minus(entry.accounts, lost.accounts)
    for problem in accounts.problems():
        raise DataError(
            f"{where}: its accounts do not balance without the documents: {problem} Audit the output first."
        )
    return replace(entry, slices=[replace(one, removed=one.removed + count)], accounts=accounts)


def _about(run: OldRun, selection: Selection, shares: LostRows) -> tuple[pa.Table, pa.Table]:
    """The ledger's rows about the documents, with `from_task`; and doc_key and bytes of their texts in any shards, of which
    `shares` keeps the rows."""
    every = selection.every()
    schema = LEDGER.append(pa.field(FROM_TASK, pa.int32()))
    parts = [schema.empty_table()]
    for row in run.of_role(LEDGER_ROLE):
        if any(task in selection.tasks for task in range(row["task"], row["task"] + row["tasks"])):
            for piece in run.pieces(row):
                gone = ~kept_rows(piece[DOC_KEY], every)
                parts += [piece.filter(pa.array(gone)).cast(schema)] if gone.any() else []
    shown = [pa.table({DOC_KEY: pa.array([], pa.binary(16)), "bytes": pa.array([], pa.int64())})]
    for output in run.outputs.values():
        for row in output.shards:
            if row["task"] >= 0 and row["task"] not in selection.tasks:
                continue
            for piece in run.pieces(row, (DOC_KEY, TEXT, *shares.columns(output.name))):
                gone = np.flatnonzero(~kept_rows(piece[DOC_KEY], every))
                if len(gone):
                    rows = piece.take(pa.array(gone))
                    shares.add(output.name, rows)
                    shown.append(text_sizes(rows))
    return pa.concat_tables(parts).combine_chunks(), pa.concat_tables(shown).combine_chunks()
