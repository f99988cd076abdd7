"""The path of documents through a run's graph, as a ledger records it: who got where, with how many copies.

A ledger lists every decision other than one plain emission. So a document that it does not list at a node was emitted
there once, on the node's default port, and the ledger together with the graph gives the whole way of every document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gristmill.pipeline.provenance.accounts import SOURCE_PORT
from gristmill.pipeline.provenance.statement import Predicate

DROPPED = -1
QUARANTINED = -2


@dataclass(frozen=True)
class AuditNode:
    """A node as the manifest describes it; `inputs` are edges `node.port`, the default port is the first. `makes_text`:
    whether documents come to it without text; `columns`: what it adds."""

    name: str
    inputs: tuple[str, ...]
    ports: tuple[str, ...]
    rules: tuple[str, ...]
    makes_text: bool = False
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class AuditGraph:
    """Sources, nodes in order and, for each output, the edges that enter it."""

    sources: tuple[str, ...]
    nodes: tuple[AuditNode, ...]
    outputs: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, manifest: Predicate) -> AuditGraph:
        """From a manifest's predicate."""
        nodes = tuple(
            AuditNode(
                item.name,
                tuple(item.from_),
                tuple(item.ports),
                tuple(item.rules),
                item.text == "made",
                tuple(item.columns),
            )
            for item in manifest.nodes
        )
        outputs = {
            name: tuple(edge if "." in edge else f"{edge}.{SOURCE_PORT}" for edge in output.from_)
            for name, output in manifest.identity.outputs.items()
        }
        return cls(tuple(manifest.sources), nodes, outputs)

    def ports_of(self, name: str) -> tuple[str, ...]:
        """Ports of a node or source, the default one first; none for a name that is not part of the run."""
        if name in self.sources:
            return (SOURCE_PORT,)
        return next((node.ports for node in self.nodes if node.name == name), ())


@dataclass(frozen=True)
class Decided:
    """A ledger's rows as numbers; all arrays have one entry per row.

    Attributes:
        node: int64 index into `names`.
        names: the source, then the nodes.
        document: int64 index of the row's document.
        port: int64 index into the node's ports, DROPPED or QUARANTINED.
        copies: int64, copies of an emitted row.
    """

    names: tuple[str, ...]
    node: np.ndarray
    document: np.ndarray
    port: np.ndarray
    copies: np.ndarray

    def at(self, name: str) -> np.ndarray:
        """Positions of the rows about a node."""
        return np.flatnonzero(self.node == self.names.index(name)) if name in self.names else np.empty(0, np.int64)


@dataclass(frozen=True)
class Routes:
    """Copies of each document at each place: int64 arrays with one entry per listed document and, last, one for any
    document that the ledger does not list.

    Attributes:
        entered: node or source → copies with which it got there (0: it did not).
        left: edge `node.port` → copies that left on it.
    """

    entered: Mapping[str, np.ndarray]
    left: Mapping[str, np.ndarray]

    def into(self, edges: Sequence[str]) -> np.ndarray:
        """Copies that come over any of some edges."""
        shape = next(iter(self.entered.values())).shape
        total = np.zeros(shape, np.int64)
        for edge in edges:
            total += self.left.get(edge, 0)
        return total


def follow(graph: AuditGraph, source: str, decided: Decided, documents: int) -> Routes:
    """The ways of the `documents` that a task's ledger lists, and of one that it does not list."""
    entered: dict[str, np.ndarray] = {source: np.ones(documents + 1, np.int64)}
    left: dict[str, np.ndarray] = {}
    for name, inputs, ports in [
        (source, (), (SOURCE_PORT,)),
        *((node.name, node.inputs, node.ports) for node in graph.nodes),
    ]:
        if inputs:
            entered[name] = np.zeros(documents + 1, np.int64)
            for edge in inputs:
                entered[name] += left.get(edge, 0)
        port, copies = np.zeros(documents + 1, np.int64), np.ones(documents + 1, np.int64)
        rows = decided.at(name)
        port[decided.document[rows]] = decided.port[rows]
        copies[decided.document[rows]] = decided.copies[rows]
        for index, label in enumerate(ports):
            left[f"{name}.{label}"] = np.where(port == index, entered[name] * copies, 0)
    return Routes(entered, left)
