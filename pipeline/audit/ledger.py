"""Checks of a task's ledger: its words are the run's, and its totals are those of the accounts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.audit.key_order import key_order, starts_of
from gristmill.pipeline.audit.messages import Answer
from gristmill.pipeline.audit.routes import DROPPED, QUARANTINED, AuditGraph, Decided, Routes
from gristmill.pipeline.document import DOC_KEY, key_words, one_chunk
from gristmill.pipeline.provenance.accounts import MODULUS, Accounts, Hits, NodeAccount, Tally
from gristmill.pipeline.provenance.content import logical_type
from gristmill.pipeline.provenance.sidecar_tables import LEDGER

MOST_COPIES = 1 << 20
"""Copies of one document that a sum of keys can hold (see pipeline.document.key_sum)."""


def vocabulary(
    graph: AuditGraph,
    source: str,
    source_rules: Any,
    ledger: pa.Table,
    path: str,
    answer: Answer,
) -> bool:
    """Whether every row of a ledger says something that the run could have said. Findings name the first such row."""
    answer.saw("vocabulary", max(1, ledger.num_rows))
    before = len(answer.findings)
    wanted = {item.name: logical_type(item.type) for item in LEDGER}
    found = {item.name: logical_type(item.type) for item in ledger.schema}
    if wanted != found:
        answer.fail("vocabulary", f"expected the columns {wanted}, found {found}", path)
        return False
    rules = {source: set(source_rules.get(source, ())), **{node.name: set(node.rules) for node in graph.nodes}}
    numbered = ledger.append_column("row", pa.array(np.arange(ledger.num_rows)))
    kinds = numbered.group_by(["node", "decision", "port", "rule"], use_threads=False).aggregate(
        [("row", "min"), ("copies", "min"), ("copies", "max")]
    )
    for kind in kinds.to_pylist():
        problem = _problem(graph, rules, kind)
        if problem is not None:
            answer.fail("vocabulary", problem, path, row=kind["row_min"], node=kind["node"])
    failed = one_chunk(numbered["failed"])
    parents = pc.list_parent_indices(failed)
    if len(parents):
        named = pa.table({"node": one_chunk(numbered["node"]).take(parents), "rule": failed.flatten(), "row": parents})
        for item in named.group_by(["node", "rule"], use_threads=False).aggregate([("row", "min")]).to_pylist():
            if item["node"] in rules and item["rule"] not in rules[item["node"]]:
                place = {"row": item["row_min"], "node": item["node"]}
                answer.fail(
                    "vocabulary",
                    f"`failed` names the rule {item['rule']!r}, which is not a rule of this node",
                    path,
                    **place,
                )
    _deciding_rule_failed(numbered, failed, parents, path, answer)
    return len(answer.findings) == before


def _problem(graph: AuditGraph, rules: dict[str, set[str]], kind: dict[str, Any]) -> str | None:
    node, decision, port, rule = kind["node"], kind["decision"], kind["port"], kind["rule"]
    least, most = kind["copies_min"], kind["copies_max"]
    if node not in rules:
        return f"names the node {node!r}, which this task's documents cannot reach"
    ports = graph.ports_of(node)
    if rule is not None and rule not in rules[node]:
        return (
            f"gives the reason {rule!r}, which is not a rule of this node ({', '.join(sorted(rules[node])) or 'none'})"
        )
    if decision in ("dropped", "quarantined"):
        if rule is None:
            return f"a row is {decision} without a reason"
        if port is not None or (least, most) != (0, 0):
            return f"a row is {decision} and yet emitted (port {port!r}, {most} copies)"
        return None
    if decision not in ("marked", "emitted"):
        return f"{decision!r} is not a decision"
    if port not in ports:
        return f"a row is {decision} on the port {port!r}, which is not a port of this node ({', '.join(ports)})"
    if least is None or least < 1 or most >= MOST_COPIES:
        return f"a row is {decision} in {least if least is None or least < 1 else most} copies"
    if decision == "marked" and (port != ports[0] or most != 1):
        return f"a row is marked, yet on the port {port!r} in up to {most} copies"
    if decision == "emitted" and port == ports[0] and least == 1:
        return "a row is listed as emitted though it is one plain emission"
    return None


def _deciding_rule_failed(table: pa.Table, failed: pa.Array, parents: pa.Array, path: str, answer: Answer) -> None:
    """The deciding rule is one of the failing ones."""
    rule = one_chunk(table["rule"])
    hit = np.zeros(table.num_rows, bool)
    if len(parents):
        same = np.asarray(pc.fill_null(pc.equal(failed.flatten(), rule.take(parents)), False))
        hit[np.asarray(parents)[same]] = True
    wrong = np.flatnonzero(~hit & np.asarray(rule.is_valid()))
    if len(wrong):
        row = int(wrong[0])
        place = {"row": row, "node": table["node"][row].as_py()}
        answer.fail(
            "vocabulary", f"{len(wrong)} rows are decided by a rule that is not among those that failed", path, **place
        )


def read_decisions(
    graph: AuditGraph, source: str, ledger: pa.Table, path: str, answer: Answer
) -> tuple[np.ndarray, Decided | None]:
    """The distinct documents of a ledger (uint64, documents × 2, ascending) and its rows as numbers.

    None, with a finding, when a document is listed twice at one node, or a name is not the run's.
    """
    words = key_words(ledger[DOC_KEY])
    order = key_order(words)
    starts = starts_of(words[order])
    keys = words[order[starts]]
    document = np.empty(len(words), np.int64)
    document[order] = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(words))))
    names = (source, *(node.name for node in graph.nodes))
    places: dict[tuple[Any, Any], tuple[str, int]] = {
        (name, port): (name, index) for name in names for index, port in enumerate(graph.ports_of(name))
    }
    kinds = pa.table({"node": ledger["node"], "port": ledger["port"], "decision": ledger["decision"]}).combine_chunks()
    codes = {"dropped": DROPPED, "quarantined": QUARANTINED}
    node, port = np.zeros(ledger.num_rows, np.int64), np.zeros(ledger.num_rows, np.int64)
    texts = [one_chunk(kinds[name]).dictionary_encode() for name in ("node", "port", "decision")]
    raw = [np.asarray(pc.fill_null(text.indices, -1)).astype(np.int64) for text in texts]
    # One number for the three, of which there are few: a row's, and 0 for null.
    ports, decisions = (len(text.dictionary) + 1 for text in texts[1:])
    combined = ((raw[0] + 1) * ports + raw[1] + 1) * decisions + raw[2] + 1
    distinct, which = np.unique(combined, return_inverse=True)
    for index, number in enumerate(distinct.tolist()):
        triple = number // decisions // ports, number // decisions % ports, number % decisions
        name, label, decision = (
            text.dictionary[i - 1].as_py() if i else None for text, i in zip(texts, triple, strict=True)
        )
        place = (name, codes[decision]) if decision in codes else places.get((name, label))
        if name not in names or place is None:
            return keys, None
        rows = which == index
        node[rows], port[rows] = names.index(name), place[1]
    copies = np.asarray(pc.fill_null(one_chunk(ledger["copies"]), 0)).astype(np.int64)
    pairs = node * max(1, len(keys)) + document
    ascending = np.sort(pairs)
    twice = ascending[1:][ascending[1:] == ascending[:-1]]
    if len(twice):
        row = int(np.flatnonzero(pairs == twice[0])[1])
        answer.fail(
            "ledger",
            "lists the document a second time",
            path,
            row=row,
            node=names[int(node[row])],
            document=ledger[DOC_KEY][row].as_py().hex(),
        )
        return keys, None
    return keys, Decided(names, node, document, port, np.where(port < 0, 0, copies))


def totals(
    graph: AuditGraph,
    source: str,
    ledger: pa.Table,
    decided: Decided,
    keys: np.ndarray,
    routes: Routes,
    accounts: Accounts,
    path: str,
    answer: Answer,
) -> None:
    """A ledger's totals by node, decision, port and rule against the task's accounts."""
    sizes = np.asarray(pc.fill_null(one_chunk(ledger["bytes"]), 0)).astype(np.int64)
    # What a document measures once a node has made its text, the ledger does not say.
    makers = {node.name for node in graph.nodes if node.makes_text}
    for name in decided.names:
        answer.saw("ledger")
        rows = decided.at(name)
        account = accounts.nodes.get(name, NodeAccount())
        weight = routes.entered[name][decided.document[rows]]
        if (weight == 0).any():
            row = int(rows[int(np.flatnonzero(weight == 0)[0])])
            document = ledger[DOC_KEY][row].as_py().hex()
            answer.fail(
                "ledger",
                "lists a document that did not reach the node",
                path,
                row=row,
                node=name,
                document=document,
            )
            continue

        def tally(chosen: np.ndarray, copies: np.ndarray, rows: np.ndarray = rows) -> Tally:
            some = rows[chosen]
            return Tally.of(keys[decided.document[some]], sizes[some], copies[chosen])

        port = decided.port[rows]
        found = {
            "dropped": (tally(port == DROPPED, weight), account.dropped),
            "quarantined": (tally(port == QUARANTINED, weight), account.quarantined),
        }
        ports = graph.ports_of(name)
        out = weight * decided.copies[rows]
        for index, label in enumerate(ports[1:], 1):
            found[f"emitted on `{label}`"] = tally(port == index, out), account.ports.get(label, Tally())
        # The default port also carries the rows that no ledger lists, each as often as it came in.
        plain = _minus(account.kept, tally(port >= 0, weight))
        plain.add(tally(port == 0, out))
        found[f"emitted on `{ports[0]}`"] = plain, account.ports.get(ports[0], Tally())
        for what, (told, booked) in found.items():
            if name in makers and what.startswith("emitted"):
                told = replace(told, bytes=booked.bytes)
            if told != booked:
                answer.fail(
                    "ledger", f"{what}: the ledger has {_words(told)}, the accounts {_words(booked)}", path, node=name
                )
        _rules(ledger.take(pa.array(rows)), sizes[rows], account, name, path, answer)


def _rules(rows: pa.Table, sizes: np.ndarray, account: NodeAccount, name: str, path: str, answer: Answer) -> None:
    hits: dict[str, Hits] = {}

    def add(rules: pa.Array, lengths: np.ndarray, kind: str) -> None:
        table = pa.table({"rule": rules, "bytes": pa.array(lengths, pa.int64())})
        for item in (
            table.group_by("rule", use_threads=False).aggregate([("bytes", "count"), ("bytes", "sum")]).to_pylist()
        ):
            if item["rule"] is not None:
                setattr(hits.setdefault(item["rule"], Hits()), kind, [item["bytes_count"], item["bytes_sum"]])

    failed = one_chunk(rows["failed"])
    parents = np.asarray(pc.list_parent_indices(failed), np.int64)
    single = np.asarray(pc.fill_null(pc.list_value_length(failed), 0)) == 1
    flat = failed.flatten()
    add(one_chunk(rows["rule"]), sizes, "first")
    add(flat, sizes[parents], "any")
    alone = np.flatnonzero(single[parents])
    add(flat.take(pa.array(alone)), sizes[parents[alone]], "sole")
    for rule in sorted(set(hits) | set(account.rules)):
        told, booked = hits.get(rule, Hits()), account.rules.get(rule, Hits())
        if told != booked:
            answer.fail(
                "ledger",
                f"rule `{rule}`: the ledger has {_hits(told)}, the accounts {_hits(booked)}",
                path,
                node=name,
            )


def _minus(a: Tally, b: Tally) -> Tally:
    return Tally(a.rows - b.rows, a.bytes - b.bytes, (a.keys - b.keys) % MODULUS)


def _words(tally: Tally) -> str:
    return f"{tally.rows} rows, {tally.bytes} bytes, key sum {tally.keys:032x}"


def _hits(hits: Hits) -> str:
    return f"first {hits.first[0]}, any {hits.any[0]}, sole {hits.sole[0]} rows ({hits.any[1]} bytes)"
