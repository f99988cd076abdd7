"""Documents as often as a column says."""

from __future__ import annotations

import pyarrow as pa
import pytest

from gristmill.pipeline.errors import ContractError
from gristmill.pipeline.stage import DROPPED, QUARANTINED, StageContext
from gristmill.pipeline.testing import doc_key_column
from gristmill.stages.rebalancing.replicate import Replicate, ReplicateConfig


def test_copies_are_those_of_the_column_and_senseless_ones_are_set_aside() -> None:
    copies = pa.array([0, 1, 3, None, -1, (1 << 20) + 1])
    batch = pa.table({"doc_key": doc_key_column(6), "n": copies})
    found = Replicate(ReplicateConfig(by="n")).decide(batch, None, StageContext())
    assert found.copies is not None and found.rule is not None and found.value is not None
    assert found.port.tolist() == [DROPPED, 0, 0, QUARANTINED, QUARANTINED, QUARANTINED]
    assert found.copies.tolist()[1:3] == [1, 3]
    rules = [None if index < 0 else found.rules[index] for index in found.rule.tolist()]
    assert rules == ["no_copies", None, "repeated", "invalid_copies", "invalid_copies", "invalid_copies"]
    assert found.value.tolist()[2:] == [3.0, -1.0, -1.0, (1 << 20) + 1]


def test_a_column_of_another_type_is_refused() -> None:
    batch = pa.table({"doc_key": doc_key_column(1), "n": ["two"]})
    with pytest.raises(ContractError, match="the column `n` is string; expected whole numbers"):
        Replicate(ReplicateConfig(by="n")).decide(batch, None, StageContext())
