"""Accounts of what is known about one slice's rows: from the states of its source and nodes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import DOC_KEY, key_words, one_chunk
from gristmill.pipeline.provenance.accounts import Accounts, NodeAccount, Tally, count_rules
from gristmill.pipeline.slices.routing import SliceRows
from gristmill.pipeline.stage import DROPPED, QUARANTINED


def slice_accounts(slice_rows: SliceRows, rejects: pa.Table) -> Accounts:
    """The accounts of the source, with the records that it could not read, and of all nodes that have decided."""
    accounts = Accounts()
    accounts.nodes[slice_rows.source] = node_account(slice_rows, slice_rows.source)
    if rejects.num_rows:
        _add_rejects(accounts.nodes[slice_rows.source], rejects)
    for node in slice_rows.graph.nodes:
        state = slice_rows.states.get(node.name)
        if state is not None and state.outcome is not None:
            accounts.nodes[node.name] = node_account(slice_rows, node.name)
    return accounts


def node_account(slice_rows: SliceRows, name: str) -> NodeAccount:
    """The account of a node, or of the source; an empty one when it has not decided."""
    account, state = NodeAccount(), slice_rows.states[name]
    outcome = state.outcome
    if outcome is None:
        return account
    sizes = slice_rows.sizes_at(name, leaving=False)
    keys, lengths = slice_rows.keys[state.rows], sizes[state.rows]
    left = slice_rows.sizes_at(name, leaving=True)[state.rows]

    def tally(chosen: np.ndarray, copies: np.ndarray, lengths: np.ndarray = lengths) -> Tally:
        return Tally.of(keys[chosen], lengths[chosen], copies[chosen])

    for edge, rows in state.arrivals.items():
        copies = state.weight[np.searchsorted(state.rows, rows)]
        account.edges[f"{edge.node}.{edge.port}"] = Tally.of(slice_rows.keys[rows], sizes[rows], copies)
    account.entered = tally(np.ones(len(keys), bool), state.weight)
    account.dropped = tally(outcome.port == DROPPED, state.weight)
    account.quarantined = tally(outcome.port == QUARANTINED, state.weight)
    account.kept = tally(outcome.port >= 0, state.weight)
    for index, port in enumerate(slice_rows.graph.ports_of(name)):
        account.ports[port] = tally(outcome.port == index, state.weight * outcome.copies, left)
    account.rules = count_rules(outcome.rules, outcome.rule, outcome.failed, lengths)
    account.tallies = dict(outcome.tallies)
    return account


def _add_rejects(account: NodeAccount, rejects: pa.Table) -> None:
    """Records that could not be read entered the source and were quarantined there."""
    lengths = np.asarray(one_chunk(rejects["bytes"]), np.int64)
    lost = Tally.of(key_words(rejects[DOC_KEY]), lengths)
    account.entered.add(lost)
    account.quarantined.add(lost)
    reasons = np.asarray(rejects["reason"].to_pylist(), object)
    names = tuple(sorted(set(reasons.tolist())))
    rule = np.array([names.index(reason) for reason in reasons], np.int16)
    for name, hits in count_rules(names, rule, np.uint64(1) << rule.astype(np.uint64), lengths).items():
        account.rules[name] = hits
