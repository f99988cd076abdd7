"""Counts that a mix's report keeps: exact while there are few, sums kept where there are many, and nothing that is not one."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from gristmill.pipeline.errors import DataError
from gristmill.stages.rebalancing.budgets import SEPARATOR
from gristmill.stages.rebalancing.cell_records import (
    FEW_ROWS,
    MOST_GROUPS,
    MOST_ROWS,
    Regrouped,
    cell_record,
    coarseness,
    read_cells,
    regroup,
)
from gristmill.stages.rebalancing.cells import Cells


def cells(weight: list[float], seen: list[int], amount: list[int]) -> Cells:
    documents = np.arange(1, len(weight) + 1, dtype=np.int64)
    return Cells(np.array(weight, np.float64), np.array(seen, np.int64), documents, np.array(amount, np.int64), 9)


def again(groups: dict[str, Cells], by: list[str], to: list[str], separated: bool = False) -> Regrouped | str:
    return regroup(read_cells(cell_record(groups, by, "tokens"), "x"), to, separated, in_documents=False)


def test_few_cells_come_back_as_they_were() -> None:
    given = {"eng_Latn": cells([0.0, 0.1, 2.5], [1, 0, 3], [5, 7, 11]), "unknown": cells([1.0], [0], [3])}
    found = again(given, ["language", "language_script"], ["language", "language_script"])
    assert isinstance(found, Regrouped) and found.coarse == 0 and coarseness(found) is None
    assert list(found.groups) == ["eng_Latn", "unknown"]
    for name, group in given.items():
        assert found.groups[name].largest == group.largest
        for column in ("weight", "seen", "documents", "amount"):
            assert getattr(found.groups[name], column).tolist() == getattr(group, column).tolist()


def test_many_cells_become_few_rows_with_the_same_sums_and_what_earns_nothing_apart() -> None:
    draw = np.random.default_rng(1)
    weight = np.sort(draw.random(5000)) * 4
    weight[:10] = 0.0
    group = Cells(weight, np.zeros(5000, np.int64), np.ones(5000, np.int64), draw.integers(0, 1000, 5000), 999)
    groups = {f"g{n:03d}": group for n in range(MOST_GROUPS + 2)}
    record = read_cells(cell_record(groups, ["domain"], "tokens"), "x")
    lengths = [len(one.weight) for one in record.groups]
    assert max(lengths) <= MOST_ROWS and lengths[0] > MOST_ROWS / 2
    assert lengths[MOST_GROUPS:] == [FEW_ROWS] * 2
    found = regroup(record, ["domain"], False, in_documents=False)
    assert isinstance(found, Regrouped) and found.coarse == len(groups)
    for name in ("g000", f"g{MOST_GROUPS + 1:03d}"):
        few = found.groups[name]
        assert few.amount.sum() == group.amount.sum() and few.documents.sum() == 5000
        assert few.weight[0] == 0.0 and few.documents[0] == 10
        assert float((few.weight * few.amount).sum()) == pytest.approx(float((weight * group.amount).sum()), rel=1e-4)
    assert "102 of 102 groups" in str(coarseness(found))


def test_groups_of_fewer_columns_are_sums_and_values_are_parted_where_names_say_so() -> None:
    given = {"eng_news": cells([1.0, 2.0], [0, 0], [5, 7]), "eng_unknown": cells([1.0], [0], [3])}
    found = again(given, ["language", "domain"], ["language"])
    assert isinstance(found, Regrouped) and list(found.groups) == ["eng"]
    assert found.groups["eng"].weight.tolist() == [1.0, 2.0] and found.groups["eng"].amount.tolist() == [8, 7]
    parted = again(given, ["language", "domain"], ["language", "domain"], separated=True)
    assert isinstance(parted, Regrouped)
    assert sorted(parted.groups) == [f"eng{SEPARATOR}", f"eng{SEPARATOR}news"]
    joined = again({f"eng{SEPARATOR}": cells([1.0], [0], [2])}, ["language", "domain"], ["language", "domain"])
    assert isinstance(joined, Regrouped) and list(joined.groups) == ["eng_unknown"]


def test_what_names_do_not_tell_is_said() -> None:
    given = {"eng_fan_fiction": cells([1.0], [0], [2])}
    same = again(given, ["language", "domain"], ["language", "domain"])
    assert isinstance(same, Regrouped) and list(same.groups) == ["eng_fan_fiction"]
    assert "'eng_fan_fiction'" in str(again(given, ["language", "domain"], ["domain"]))
    assert "says nothing about `format`" in str(again(given, ["language", "domain"], ["format"]))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("groups", 0, "amount", 0), -1),
        (("groups", 0, "amount", 0), 1 << 62),
        (("groups", 0, "amount", 0), (1 << 62) - 1),
        (("groups", 0, "amount", 0), "5"),
        (("groups", 0, "amount"), [1]),
        (("groups", 0, "weight", 0), float("nan")),
        (("groups", 0, "weight", 0), 1e9),
        (("groups", 0, "weight"), []),
        (("groups", 0, "cells"), 1),
        (("groups", 0, "name"), []),
        (("groups", 0, "name"), ["a", "b", "c"]),
        (("groups", 1, "name"), ["eng"]),
        (("groups",), {"eng": 1}),
        (("by",), None),
    ],
)
def test_a_record_that_no_run_writes_is_refused(path: tuple[Any, ...], value: Any) -> None:
    given = {"eng": cells([1.0, 2.0], [0, 0], [5, 7]), "por": cells([1.0], [0], [3])}
    record = cell_record(given, ["language"], "tokens")
    read_cells(copy.deepcopy(record), "x")
    place: Any = record
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(DataError, match="out/old: .*repeat the run"):
        read_cells(record, "out/old")
