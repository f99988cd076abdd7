"""Components of numbered documents are those of brute force and of label rounds, in as many slices as memory asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.pipeline.document import keys_from_words
from gristmill.pipeline.errors import ConservationError, ContractError
from gristmill.pipeline.exchange import Rows
from gristmill.pipeline.exchange.numbered_components import OTHER_NUMBER
from gristmill.pipeline.exchange.recurring import NUMBER, NUMBERS
from tests.pipeline.exchange.test_exchange import (
    brute_force_components,
    exchange_in,
    in_files,
    made_edges,
    random_words,
    read,
    tuples,
)

DOCUMENTS = 61


def numbered(edges: list[tuple[int, int]], numbers: np.ndarray, words: np.ndarray) -> pa.Table:
    """Edges between documents, with what they are numbered."""
    a, b = (np.array([edge[end] for edge in edges], np.int64) for end in (0, 1))
    table = made_edges(a, b, words)
    table = table.append_column(NUMBER, pa.array(numbers[a].astype(np.uint32)))
    return table.append_column(OTHER_NUMBER, pa.array(numbers[b].astype(np.uint32)))


def nodes_of(numbers: np.ndarray, words: np.ndarray, bound: int) -> pa.Table:
    number = pa.field(NUMBER, pa.uint32(), metadata={NUMBERS: str(bound)})
    schema = pa.schema([("doc_key", pa.binary(16)), ("task", pa.int32()), number])
    tasks = pa.array((np.arange(len(words)) % 5).astype(np.int32))
    return pa.table([keys_from_words(words), tasks, pa.array(numbers.astype(np.uint32))], schema=schema)


@settings(max_examples=30, deadline=None)
@given(
    edges=st.lists(st.tuples(st.integers(0, DOCUMENTS - 1), st.integers(0, DOCUMENTS - 1)), max_size=90),
    cuts=st.lists(st.integers(0, 90), max_size=3),
    budget=st.sampled_from([1 << 10, 1 << 12, 1 << 29]),
    seed=st.integers(0, 99),
)
def test_components_by_number_are_those_of_brute_force(
    tmp_path_factory: pytest.TempPathFactory, edges: list[tuple[int, int]], cuts: list[int], budget: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("graph")
    words = random_words(DOCUMENTS, seed)
    numbers = np.sort(np.random.default_rng(seed).choice(400, DOCUMENTS, replace=False))
    table = numbered(edges, numbers, words)
    exchange = exchange_in(folder / "work", budget)
    nodes = in_files(nodes_of(numbers, words, 400), folder / "nodes", cuts, batch=7)
    found = exchange.components(in_files(table, folder / "in", cuts, batch=11), nodes)
    assert sorted(tuples(read(found.files, found.schema))) == brute_force_components(tuples(table.select(range(4))))
    assert not exchange.costs, "nothing was shuffled"


def test_what_no_process_could_hold_goes_the_other_way(tmp_path: Path) -> None:
    words, numbers = random_words(DOCUMENTS), np.arange(DOCUMENTS)
    edges = [(one, (7 * one + 1) % DOCUMENTS) for one in range(DOCUMENTS)]
    rows = in_files(numbered(edges, numbers, words), tmp_path / "in")
    nodes = in_files(nodes_of(numbers, words, 10_000), tmp_path / "nodes")
    few = exchange_in(tmp_path / "few", 1 << 11, partition_bytes=4096)
    found = [few.components(rows, nodes), exchange_in(tmp_path / "many").components(rows, nodes)]
    assert few.costs, "label rounds"
    assert sorted(tuples(read(found[0].files, found[0].schema))) == sorted(
        tuples(read(found[1].files, found[1].schema))
    )


@pytest.mark.parametrize(
    ("numbers", "bound", "edge", "message"),
    [
        ([3, 5, 9], 10, (3, 4), "edge 0 names a document that is not among those with numbers"),
        ([3, 5, 9], 10, (3, 1 << 31), "edge 0 names a document that is not among those with numbers"),
        ([3, 9, 5], 10, (3, 5), "with ascending numbers below 10 were expected"),
        ([3, 5, 5], 10, (3, 5), "with ascending numbers below 10 were expected"),
        ([3, 5, 10], 10, (3, 5), "with ascending numbers below 10 were expected"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(
    tmp_path: Path, numbers: list[int], bound: int, edge: tuple[int, int], message: str
) -> None:
    words = random_words(3)
    rows = in_files(numbered([(0, 1)], np.array(edge), words), tmp_path / "in")
    nodes = in_files(nodes_of(np.array(numbers), words, bound), tmp_path / "nodes")
    with pytest.raises(ConservationError, match=message):
        exchange_in(tmp_path / "work").components(rows, nodes)


def test_columns_of_documents_are_carried_along(tmp_path: Path) -> None:
    words, numbers = random_words(DOCUMENTS), np.arange(DOCUMENTS)
    table = nodes_of(numbers, words, DOCUMENTS).append_column("name", pa.array([f"{n}" for n in range(DOCUMENTS)]))
    rows = in_files(numbered([(3, 9), (9, 40), (7, 7)], numbers, words), tmp_path / "in")
    nodes = in_files(table, tmp_path / "nodes", [20], batch=7)
    found = exchange_in(tmp_path / "work").components(rows, nodes, ["name"])
    assert read(found.files, found.schema)["name"].to_pylist() == ["3", "7", "9", "40"]


def test_a_lost_document_and_a_lost_edge_are_found(tmp_path: Path) -> None:
    words, numbers = random_words(3), np.array([3, 5, 9])
    rows = in_files(numbered([(0, 1), (1, 2)], numbers, words), tmp_path / "in")
    nodes = in_files(nodes_of(numbers, words, 10), tmp_path / "nodes")
    exchange = exchange_in(tmp_path / "work")
    with pytest.raises(ConservationError, match="4 documents with ascending numbers"):
        exchange.components(rows, Rows(nodes.files, nodes.schema, 4))
    with pytest.raises(ConservationError, match="3 rows were handed to the exchange"):
        exchange.components(Rows(rows.files, rows.schema, 3), nodes)
    with pytest.raises(ContractError, match="no such column"):
        exchange.components(Rows(rows.files, rows.schema.remove(3), 2), nodes)
