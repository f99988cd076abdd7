"""Checks that read rows, one task at a time: pages, content, ledger, signals, and the join of ledger and shards.

Runs in the reading process (pipeline.audit.child). Memory: one row group, plus the task's keys and its ledger.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipeline.audit.joining import join_outputs, join_signals, listed_drops
from pipeline.audit.ledger import read_decisions, totals, vocabulary
from pipeline.audit.reading import Damaged, Unreadable, opened
from pipeline.audit.tasks import Answer, Entry, TaskJob
from pipeline.audit.ways import AuditGraph, follow
from pipeline.document import COPY, DOC_KEY, KEY_TYPE, key_sum, key_words
from pipeline.provenance.accounts import Accounts
from pipeline.provenance.content import ContentDigest
from pipeline.provenance.ledger import LEDGER
from pipeline.shard import read_log


def check_task(argument: Mapping[str, Any]) -> dict[str, Any]:
    """All checks of one task's files that read rows. `argument` is a TaskJob, the answer an Answer, as JSON."""
    job = TaskJob.from_json(argument)
    answer = Answer()
    tables: dict[str, pa.Table | None] = {}
    log: dict[str, Any] | None = None
    for entry in job.files:
        keep = {"data": [DOC_KEY, COPY], "ledger": LEDGER.names, "dropped": ["node", "rule", DOC_KEY]}
        table, found = _scanned(job.folder, entry, keep.get(entry.role, [DOC_KEY]), answer)
        tables[entry.path] = table
        if entry.role == "ledger":
            log = found
    ledger_entry = next((entry for entry in job.files if entry.role == "ledger"), None)
    ledger = None if ledger_entry is None else tables[ledger_entry.path]
    broken = [entry.path for entry in job.files if tables[entry.path] is None] + list(job.broken)
    if ledger is None or ledger_entry is None or log is None:
        for check in ("vocabulary", "ledger", "join", "signals", "dropped"):
            if check not in ("signals", "dropped") or any(entry.role.startswith(check) for entry in job.files):
                answer.unread(check, f"task {job.task}: its ledger could not be read", None)
        return answer.to_json()
    graph = AuditGraph(job.sources, job.nodes, job.outputs)
    source = log["slices"][0]["source"]
    accounts = Accounts.from_json(log["accounts"])
    sound = vocabulary(graph, source, job.source_rules, ledger, ledger_entry.path, answer)
    keys, decided = read_decisions(graph, source, ledger, ledger_entry.path, answer)
    if decided is None or not sound:
        for check in ("ledger", "join"):
            answer.unread(check, "not compared, since the ledger's words are not the run's", ledger_entry.path)
        return answer.to_json()
    ways = follow(graph, source, decided, len(keys))
    totals(graph, source, ledger, decided, keys, ways, accounts, ledger_entry.path, answer)
    data = [(entry.path, tables[entry.path]) for entry in job.files if entry.role == "data"]
    lost = [path for path in broken if path.startswith("data/")]
    if lost:
        answer.unread(
            "join", "not joined with the ledger, since it could not be read or is not what was listed", lost[0]
        )
    else:
        join_outputs(graph, job.output, data, keys, ways, accounts, ledger_entry.path, answer)
    for entry in job.files:
        table = tables[entry.path]
        if table is None:
            continue
        if entry.role.startswith("signals:"):
            node = entry.role.removeprefix("signals:")
            join_signals(node, table, keys, ways, accounts, entry.path, answer)
        elif entry.role == "dropped":
            listed_drops(table, ledger, entry.path, answer)
    return answer.to_json()


def _scanned(
    folder: str, entry: Entry, keep: list[str], answer: Answer
) -> tuple[pa.Table | None, dict[str, Any] | None]:
    """Reads a file once: pages, rows, content digest and key sum against its entry.

    Returns the columns to keep, or None when it cannot be used, and the log in its footer.
    """
    try:
        with opened(folder, entry.path) as file:
            schema = file.schema_arrow
            if len(set(schema.names)) != len(schema.names) or DOC_KEY not in schema.names:
                answer.fail("content", f"has the columns {schema.names}: doubled ones, or no doc_key", entry.path)
                return None, None
            if schema.field(DOC_KEY).type != KEY_TYPE:
                answer.fail("content", f"doc_key is {schema.field(DOC_KEY).type}, not {KEY_TYPE}", entry.path)
                return None, None
            keep = [name for name in keep if name in schema.names]
            digest = ContentDigest(schema)
            kept, keys = [], 0
            for group in range(file.metadata.num_row_groups):
                piece = file.read_row_group(group, use_threads=False)
                digest.update(piece)
                keys += key_sum(key_words(piece[DOC_KEY]))
                kept.append(piece.select(keep))
                answer.bytes += piece.nbytes
            empty = pa.schema([schema.field(name) for name in keep]).empty_table()
            table = pa.concat_tables(
                [empty.replace_schema_metadata(None), *(t.replace_schema_metadata(None) for t in kept)]
            )
            log = read_log(file.metadata.metadata)
    except Unreadable as error:
        for check in ("pages", "content"):
            answer.unread(check, str(error), entry.path)
        return None, None
    except Damaged as error:
        answer.fail("pages" if error.pages else "content", str(error), entry.path)
        return None, None
    except (TypeError, json.JSONDecodeError) as error:
        answer.fail("content", f"holds what no run writes ({error})", entry.path)
        return None, None
    answer.saw("pages")
    answer.saw("content")
    found = digest.hexdigest()
    if digest.rows != entry.rows:
        answer.fail("content", f"expected {entry.rows} rows, found {digest.rows}", entry.path)
    if found != entry.content_digest:
        answer.fail("content", f"expected the content digest {entry.content_digest}, found {found}", entry.path)
    total = f"{keys % (1 << 128):032x}"
    if entry.role == "data" and total != entry.keys:
        answer.fail("content", f"expected the doc_key sum {entry.keys}, found {total}", entry.path)
    return table.combine_chunks(), log
