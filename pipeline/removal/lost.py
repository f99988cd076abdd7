"""What a task's accounts lose with some of its documents: the same sums over these documents alone, from ledger and shards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.audit.key_order import places_in
from gristmill.pipeline.audit.ledger import read_decisions
from gristmill.pipeline.audit.messages import Answer
from gristmill.pipeline.audit.routes import DROPPED, QUARANTINED, AuditGraph, Decided, Routes, follow
from gristmill.pipeline.document import DOC_KEY, TEXT, key_words, keys_from_words, one_chunk, text_bytes
from gristmill.pipeline.errors import DataError
from gristmill.pipeline.provenance.accounts import MODULUS, SOURCE_PORT, Accounts, Hits, NodeAccount, Tally
from gristmill.pipeline.provenance.shares import Shares
from gristmill.pipeline.removal.lost_shares import minus_shares


@dataclass(frozen=True)
class Lost:
    """What goes with some documents of a task.

    Attributes:
        accounts: theirs, to be taken from the task's.
        read_bytes: of their texts or payloads as they were read.
        rows: by output, rows of shards (copies counted).
        entered: by source and node, how many of the documents got there.
        payloads: documents whose size before a node made their text is not known, and counted as 0.
    """

    accounts: Accounts
    read_bytes: int
    rows: Mapping[str, int]
    entered: Mapping[str, int]
    payloads: int


def lost_with(
    graph: AuditGraph,
    discarded: Sequence[str],
    source: str,
    ledger: pa.Table,
    shards: pa.Table,
    keys: np.ndarray,
    shares: Mapping[str, Shares],
    where: str,
) -> Lost:
    """What a task loses.

    Args:
        discarded: edges whose rows go nowhere.
        ledger: the task's rows of it about these documents.
        shards: doc_key and `bytes` (int64, of the text) of theirs in any output.
        keys: the documents (uint64, documents × 2), ascending.
        shares: what outputs lose with them by licence (see `lost_shares`).

    Raises DataError for a ledger that no run wrote, and for a document of which nothing is known.
    """
    answer = Answer()
    listed, decided = read_decisions(graph, source, ledger, where, answer)
    if decided is None:
        raise DataError(f"{where}: names nodes or documents in a way that no run does. Audit the output first.")
    routes = follow(graph, source, decided, len(listed))
    place = places_in(listed, keys)
    sizes = _Sizes(graph, routes, place, ledger, decided, shards, keys, where)
    every = np.arange(len(keys))
    accounts = Accounts()
    for name, inputs, ports in _steps(graph, source):
        account = accounts.node(name)
        weight = routes.entered[name][place]
        coming, leaving = sizes.at(name, leaving=False), sizes.at(name, leaving=True)
        for edge in inputs:
            account.edges[edge] = _tally(keys, coming, routes.left.get(edge), place)
        rows = decided.at(name)
        port = np.zeros(len(listed) + 1, np.int64)
        port[decided.document[rows]] = decided.port[rows]
        port = port[place]
        account.entered = Tally.of(keys, coming, weight)
        account.dropped = Tally.of(keys, coming, np.where(port == DROPPED, weight, 0))
        account.quarantined = Tally.of(keys, coming, np.where(port == QUARANTINED, weight, 0))
        account.kept = Tally.of(keys, coming, np.where(port >= 0, weight, 0))
        for label in ports:
            account.ports[label] = _tally(keys, leaving, routes.left[f"{name}.{label}"], place)
        account.rules = _rules(ledger.take(pa.array(rows)))
    accounts.shares = dict(shares)
    rows_lost: dict[str, int] = {}
    for output, edges in graph.outputs.items():
        into = {
            edge: _tally(keys, sizes.at(edge.partition(".")[0], leaving=True), routes.left.get(edge), place)
            for edge in edges
        }
        accounts.outputs[output] = into
        rows_lost[output] = sum(tally.rows for tally in into.values())
    for edge in discarded:
        accounts.discarded[edge] = _tally(
            keys, sizes.at(edge.rpartition(".")[0], leaving=True), routes.left.get(edge), place
        )
    entered = {name: int(np.count_nonzero(routes.entered[name][place])) for name in routes.entered}
    return Lost(accounts, int(sizes.read[every].sum()), rows_lost, entered, int(np.count_nonzero(sizes.unknown)))


def _steps(graph: AuditGraph, source: str) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    yield source, (), (SOURCE_PORT,)
    for node in graph.nodes:
        yield node.name, node.inputs, node.ports


def _tally(keys: np.ndarray, sizes: np.ndarray, copies: np.ndarray | None, place: np.ndarray) -> Tally:
    return Tally() if copies is None else Tally.of(keys, sizes, copies[place])


class _Sizes:
    """UTF-8 bytes of documents where they are read, and once a node has made their text. A text that is changed keeps the size
    that it was read or made with."""

    def __init__(
        self, graph: AuditGraph, routes: Routes, place: np.ndarray, ledger: pa.Table, decided: Decided, shards: pa.Table,
        keys: np.ndarray, where: str,
    ) -> None:  # fmt: skip
        self.above = _ancestors(graph)
        makers = [node.name for node in graph.nodes if node.makes_text]
        self.made_by = {name: routes.entered[name][place] > 0 for name in makers}
        read, made = (np.full(len(keys), -1, np.int64) for _ in range(2))
        document = places_in(keys, key_words(ledger[DOC_KEY])[_order(ledger)])
        told = np.asarray(pc.fill_null(one_chunk(ledger["bytes"]), -1)).astype(np.int64)[_order(ledger)]
        nodes = np.array(ledger["node"].to_pylist(), object)[_order(ledger)]
        for name in dict.fromkeys(nodes.tolist()):
            rows = np.flatnonzero((nodes == name) & (document < len(keys)))
            after = np.zeros(len(keys), bool)
            for maker, came in self.made_by.items():
                after |= came & (maker in self.above.get(name, ()))
            here = document[rows]
            read[here[~after[here]]] = told[rows[~after[here]]]
            made[here[after[here]]] = told[rows[after[here]]]
        words = key_words(shards[DOC_KEY])
        order = np.lexsort((words[:, 1], words[:, 0]))
        at = places_in(keys, words[order])
        inside = at < len(keys)
        shown = np.full(len(keys), -1, np.int64)
        shown[at[inside]] = one_chunk(shards["bytes"]).to_numpy()[order[inside]]
        anywhere = np.logical_or.reduce([np.zeros(len(keys), bool), *self.made_by.values()])
        # A text that no ledger row is about is the one that was read or made: changes are in the ledger.
        made = np.where(anywhere & (made < 0), shown, made)
        read = np.where(~anywhere & (read < 0), shown, read)
        unheard = np.where(anywhere, made, read) < 0
        alive = np.zeros(len(keys), bool)
        for output in graph.outputs.values():
            alive |= routes.into(output)[place] > 0
        if (unheard & alive).any():
            key = keys_from_words(keys[np.flatnonzero(unheard & alive)[:1]])[0].as_py().hex()
            raise DataError(
                f"{where}: the document {key} is in no shard that the ledger sends it to. Audit the output first."
            )
        self.unknown = anywhere & (read < 0) | ~anywhere & (read < 0)
        self.read, self.made = np.maximum(read, 0), np.maximum(made, 0)

    def at(self, name: str, *, leaving: bool) -> np.ndarray:
        """The sizes where documents enter a source or node, or leave it."""
        found = self.read
        for maker, came in self.made_by.items():
            if maker in self.above.get(name, ()) or (leaving and maker == name):
                found = np.where(came, self.made, found)
        return found


def _order(ledger: pa.Table) -> np.ndarray:
    words = key_words(ledger[DOC_KEY])
    return np.lexsort((words[:, 1], words[:, 0]))


def _ancestors(graph: AuditGraph) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for node in graph.nodes:
        upstream = {edge.rpartition(".")[0] for edge in node.inputs}
        found[node.name] = upstream.union(*(found.get(name, set()) for name in upstream))
    return found


def _rules(ledger: pa.Table) -> dict[str, Hits]:
    """Hits of each rule, of a node's rows."""
    hits: dict[str, Hits] = {}
    for first, failed, size in zip(*(ledger[name].to_pylist() for name in ("rule", "failed", "bytes")), strict=True):
        for rule in {*failed, *([first] if first is not None else [])}:
            one = int(rule == first), int(rule in failed), int(failed == [rule])
            hits.setdefault(rule, Hits()).add(Hits(*([n, n * size] for n in one)))
    return hits


def minus(accounts: Accounts, lost: Accounts) -> Accounts:
    """Accounts without those of lost documents; rules that hit none of the others are left out, as runs do."""
    nodes = {
        name: _minus_node(account, lost.nodes[name]) if name in lost.nodes else account
        for name, account in accounts.nodes.items()
    }
    outputs = {name: _minus_edges(edges, lost.outputs.get(name, {})) for name, edges in accounts.outputs.items()}
    rows = {name: lost.rows_into(name) for name in lost.outputs}
    shares = minus_shares(accounts.shares, lost.shares, rows)
    return Accounts(nodes, outputs, _minus_edges(accounts.discarded, lost.discarded), shares)


def _minus_node(account: NodeAccount, lost: NodeAccount) -> NodeAccount:
    rules = {name: _minus_hits(hits, lost.rules.get(name, Hits())) for name, hits in account.rules.items()}
    return replace(
        account,
        entered=_minus(account.entered, lost.entered),
        dropped=_minus(account.dropped, lost.dropped),
        quarantined=_minus(account.quarantined, lost.quarantined),
        kept=_minus(account.kept, lost.kept),
        edges=_minus_edges(account.edges, lost.edges),
        ports=_minus_edges(account.ports, lost.ports),
        rules={name: hits for name, hits in rules.items() if hits.any[0]},
        tallies=_minus_tallies(account.tallies, lost.tallies),
    )


def _minus_tallies(tallies: Mapping[str, int], lost: Mapping[str, int]) -> dict[str, int]:
    left = {name: count - lost.get(name, 0) for name, count in tallies.items()}
    return {name: count for name, count in left.items() if count or not lost.get(name)}


def _minus_edges(tallies: Mapping[str, Tally], lost: Mapping[str, Tally]) -> dict[str, Tally]:
    return {name: _minus(tally, lost.get(name, Tally())) for name, tally in tallies.items()}


def _minus(tally: Tally, lost: Tally) -> Tally:
    return Tally(tally.rows - lost.rows, tally.bytes - lost.bytes, (tally.keys - lost.keys) % MODULUS)


def _minus_hits(hits: Hits, lost: Hits) -> Hits:
    pairs = ([a - b for a, b in zip(getattr(hits, n), getattr(lost, n), strict=True)] for n in ("first", "any", "sole"))
    return Hits(*pairs)


def text_sizes(table: pa.Table) -> pa.Table:
    """doc_key and `bytes` of a shard's rows: UTF-8 bytes of the text, −1 without one."""
    sizes = text_bytes(table[TEXT]) if TEXT in table.column_names else np.full(table.num_rows, -1)
    return pa.table({DOC_KEY: one_chunk(table[DOC_KEY]), "bytes": pa.array(sizes, pa.int64())})
