"""Shares by source, licence and creator: exact for any split, bounded, and nothing where a part was not counted."""

from __future__ import annotations

import random
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gristmill.pipeline.licence import License
from gristmill.pipeline.provenance.accounts import Accounts, Tally
from gristmill.pipeline.provenance.shares import MOST_NAMES, Shares, shares_of
from gristmill.pipeline.provenance.values import parse, problems, to_json

MIT = License(spdx="MIT", creators=("Mill",))


def of(columns: dict[str, Any], rows: int, copies: list[int] | None = None, stated: License | None = MIT) -> Shares:
    arrays = {name: value if isinstance(value, pa.Array) else pa.array(value) for name, value in columns.items()}
    counts = np.array(copies or [1] * rows, np.int64)
    return shares_of("s", stated, np.arange(10, 10 + rows), counts, arrays)


def test_copies_count_as_often_as_they_are_written_and_silence_is_the_sources() -> None:
    found = of(
        {
            "licence": ["CC0-1.0", None, None, "CC0-1.0"],
            "licence_stated_by": ["page", "page", None, "page"],
            "licence_creators": [["A", "B", "A"], [], None, None],
            "token_count": [3, None, 5, -1],
        },
        4,
        [2, 1, 1, 3],
    )
    assert found.sources == {"s": [7, 2 * 10 + 11 + 12 + 3 * 13, 11]} and found.uncounted == 4
    assert found.licences == {"CC0-1.0": [5, 59, 6], "unknown": [1, 11, 0], "MIT": [1, 12, 5]}
    assert found.creators == {"A": [2, 20, 6], "B": [2, 20, 6], "unknown": [1, 11, 0], "Mill": [4, 51, 5]}


def test_without_columns_everything_is_under_what_the_config_states() -> None:
    assert of({}, 2).licences == {"MIT": [2, 21, 0]} and of({}, 2).creators == {"Mill": [2, 21, 0]}
    words = of({}, 2, stated=License(statement="ask\n|first " + "x" * 1000))
    assert words.licences is not None and [len(name) for name in words.licences] == [200]
    assert of({}, 2, stated=None).licences == {"unknown": [2, 21, 0]}


@pytest.mark.parametrize(
    "column",
    [pa.array([1, 2]), pa.array([[1], [2]]), pa.array([{"a": 1}, None]), pa.nulls(2), pa.array([b"a", b"b"])],
)
def test_columns_of_other_types_are_none(column: pa.Array) -> None:
    hostile = {name: column for name in ("licence", "licence_stated_by", "licence_creators")}
    assert of(hostile, 2) == of({}, 2)
    assert of({"token_count": pa.array([2**63, 1], pa.uint64())}, 2).whole == [2, 21, 1]


def test_any_split_and_any_order_give_the_same_sums() -> None:
    draw = random.Random(3)
    rows = 300
    columns: dict[str, list[Any]] = {
        "licence": [draw.choice(["MIT", "CC0-1.0", None]) for _ in range(rows)],
        "licence_stated_by": [draw.choice(["page", None]) for _ in range(rows)],
        "licence_creators": [draw.choice([None, [], ["A"], ["A", "B"]]) for _ in range(rows)],
        "token_count": [draw.choice([None, 7, 9]) for _ in range(rows)],
    }
    types = {"licence_creators": pa.list_(pa.string())}
    whole = {name: pa.array(values, types.get(name)) for name, values in columns.items()}
    copies = np.array([draw.randint(1, 4) for _ in range(rows)], np.int64)
    sizes = np.array([draw.randint(0, 90) for _ in range(rows)], np.int64)
    parts = []
    for some in np.array_split(draw.sample(range(rows), rows), 17):
        taken = {name: values.take(pa.array(some)) for name, values in whole.items()}
        parts.append(shares_of("s", MIT, sizes[some], copies[some], taken))

    def added(mine: Shares, other: Shares) -> Shares:
        mine.add(other)
        return mine

    assert reduce(added, parts, Shares()) == shares_of("s", MIT, sizes, copies, whole)


def test_more_names_than_are_told_apart_are_none_in_any_order() -> None:
    def named(numbers: range) -> Shares:
        return of({"licence_creators": [[f"c{n}"] for n in numbers]}, len(numbers))

    few, many = named(range(10)), named(range(MOST_NAMES + 1))
    assert named(range(MOST_NAMES)).creators is not None and many.creators is None
    for parts in ([few, many], [many, few], [named(range(300)), named(range(300, 600)), few]):
        total = Shares()
        for part in parts:
            total.add(part)
        assert total.creators is None and total.whole[0] == sum(part.whole[0] for part in parts)
        assert parse(Shares, to_json(total)) == total


def accounts(rows: int, counted: bool) -> Accounts:
    made = Accounts(outputs={"o": {"n.p": Tally(rows, 0, 0)}} if rows else {})
    if counted and rows:
        made.shares["o"] = of({}, rows)
    return made


def test_an_output_that_was_counted_in_part_has_no_shares() -> None:
    for parts in ([(2, True), (3, False)], [(3, False), (2, True)], [(2, True), (3, False), (2, True)]):
        total = Accounts()
        for rows, counted in parts:
            total.add(accounts(rows, counted))
        assert total.shares == {} and "shares" not in to_json(total)
    total = Accounts()
    for rows in (2, 0, 3):
        total.add(accounts(rows, True))
    assert total.shares["o"].whole[0] == 5


def test_shares_that_contradict_each_other_or_the_rows_are_told() -> None:
    def told(change: Any) -> list[str]:
        made = accounts(3, True)
        change(made.shares["o"])
        return [problem for problem in made.problems() if "what arrived" not in problem]

    assert told(lambda one: None) == []
    assert "3 rows arrived, and its sources' shares have 4" in told(lambda one: one.sources["s"].__setitem__(0, 4))[0]
    assert "shares of its licences" in told(lambda one: one.licences.update(MIT=[3, 1, 0]))[0]
    assert "the creator 'Mill' has" in told(lambda one: one.creators.update(Mill=[9, 1, 0]))[0]
    assert "9 of 3 documents" in told(lambda one: setattr(one, "uncounted", 9))[0]
    stored = to_json(of({}, 1))
    for name, value in (("sources", {"s": [1, 2]}), ("licences", {"MIT": [1, 2, -3]}), ("uncounted", 1.0)):
        assert len(problems(Shares, {**stored, name: value})) == 1
