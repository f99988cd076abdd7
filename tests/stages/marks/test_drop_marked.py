"""Dropping what earlier nodes marked."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pydantic import ValidationError

from gristmill.pipeline.errors import ContractError
from gristmill.pipeline.stage import DROPPED, Decisions, StageContext
from gristmill.pipeline.testing import doc_key_column
from gristmill.stages.marks.drop_marked import DropMarked, DropMarkedConfig


def decide(by: list[str], **columns: pa.Array) -> Decisions:
    rows = len(next(iter(columns.values())))
    batch = pa.table({"doc_key": doc_key_column(rows), **columns})
    return DropMarked(DropMarkedConfig(by=tuple(by))).decide(batch, None, StageContext())


def rules(decisions: Decisions) -> list[str | None]:
    assert decisions.rule is not None
    return [None if index < 0 else decisions.rules[index] for index in decisions.rule]


def witnesses(decisions: Decisions) -> list[str | None]:
    assert decisions.witness is not None
    return decisions.witness.to_pylist()


def test_rows_with_a_failing_rule_are_dropped_and_the_rules_named() -> None:
    marks = pa.array([["short", "no_stop_words"], [], None, ["short"]], pa.list_(pa.string()))
    found = decide(["quality"], quality_failed=marks)
    assert found.port.tolist() == [DROPPED, 0, 0, DROPPED]
    assert rules(found) == ["marked_by_quality", None, None, "marked_by_quality"]
    assert witnesses(found) == ["short,no_stop_words", None, None, "short"]


def test_the_first_node_decides_and_every_node_is_recorded() -> None:
    found = decide(
        ["quality", "spam"],
        quality_failed=pa.array([["a"], ["a"], [], []], pa.list_(pa.string())),
        spam_failed=pa.array([True, False, True, None], pa.bool_()),
    )
    assert rules(found) == ["marked_by_quality", "marked_by_quality", "marked_by_spam", None]
    assert found.failed is not None and found.failed.tolist() == [0b11, 0b01, 0b10, 0]
    assert witnesses(found) == ["a,spam_failed", "a", "spam_failed", None]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([["x"], [], None], pa.list_(pa.string())),
        pa.array([["x"], [], None], pa.large_list(pa.large_string())),
        pa.array([["x"], [], None], pa.list_(pa.dictionary(pa.int32(), pa.string()))),
        pa.array(["x", "", None], pa.string()),
        pa.array(["x", "", None], pa.large_string()),
    ],
    ids=lambda column: str(column.type),
)
def test_marks_of_every_arrow_type_are_understood(column: pa.Array) -> None:
    found = decide(["legal_failed"], legal_failed=column)
    assert found.port.tolist() == [DROPPED, 0, 0]
    assert witnesses(found) == ["x", None, None]
    assert rules(found)[0] == "marked_by_legal"


def test_a_null_rule_within_a_list_is_left_out_of_the_witness() -> None:
    found = decide(["q"], q_failed=pa.array([["a", None, "b"], [None]], pa.list_(pa.string())))
    assert found.port.tolist() == [DROPPED, DROPPED]
    assert witnesses(found) == ["a,b", ""]


def test_a_sliced_column_is_read_from_its_own_rows() -> None:
    whole = pa.array([["no"], ["a"], [], ["b", "c"]], pa.list_(pa.string()))
    found = decide(["q"], q_failed=whole.slice(1))
    assert witnesses(found) == ["a", None, "b,c"]


def test_a_column_of_only_nulls_marks_nothing() -> None:
    assert decide(["q"], q_failed=pa.nulls(3)).port.tolist() == [0, 0, 0]


def test_a_column_of_numbers_is_no_mark() -> None:
    with pytest.raises(ContractError, match="`q_failed` is int64"):
        decide(["q"], q_failed=pa.array([1, 0]))


def test_the_columns_read_are_those_of_the_nodes_named() -> None:
    stage = DropMarked(DropMarkedConfig(by=("quality", "spam_failed")))
    assert stage.spec.decide_reads == {"quality_failed", "spam_failed"}
    assert stage.spec.rules == ("marked_by_quality", "marked_by_spam")


@pytest.mark.parametrize("by", [(), ("",), ("quality", "quality"), ("quality", "quality_failed")])
def test_senseless_lists_of_nodes_are_refused(by: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError):
        DropMarkedConfig(by=by)
