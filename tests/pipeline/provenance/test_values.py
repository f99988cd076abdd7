"""Stored values: written as they always were, and refused in any other form."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pydantic import ValidationError

from gristmill.pipeline.licence import License
from gristmill.pipeline.provenance.accounts import Accounts, Hits, NodeAccount, Tally
from gristmill.pipeline.provenance.logs import ShardLog, SliceRead
from gristmill.pipeline.provenance.values import parse, problems, to_json

STORED: dict[str, Any] = {
    "nodes": {
        "crawl": {
            "entered": {"rows": 3, "bytes": 30, "keys": "0" * 30 + "ff"},
            "edges": {},
            "dropped": {"rows": 1, "bytes": 10, "keys": "0" * 31 + "f"},
            "quarantined": {"rows": 0, "bytes": 0, "keys": "0" * 32},
            "kept": {"rows": 2, "bytes": 20, "keys": "0" * 30 + "f0"},
            "ports": {"read": {"rows": 2, "bytes": 20, "keys": "0" * 30 + "f0"}},
            "rules": {"empty_text": {"first": [1, 10], "any": [1, 10], "sole": [1, 10]}},
            "tallies": {"seen": -1},
        }
    },
    "outputs": {"corpus": {"crawl.read": {"rows": 2, "bytes": 20, "keys": "0" * 30 + "f0"}}},
    "discarded": {},
}


def test_accounts_are_what_was_stored_and_are_stored_as_they_were() -> None:
    kept = Tally(2, 20, 0xF0)
    node = NodeAccount(
        Tally(3, 30, 0xFF), {}, Tally(1, 10, 0xF), Tally(), kept, {"read": kept},
        {"empty_text": Hits([1, 10], [1, 10], [1, 10])}, {"seen": -1},
    )  # fmt: skip
    accounts = Accounts({"crawl": node}, {"corpus": {"crawl.read": kept}}, {})
    assert parse(Accounts, STORED) == accounts
    assert to_json(accounts) == STORED


@pytest.mark.parametrize(
    ("where", "value", "expected"),
    [
        (("nodes", "crawl", "entered", "rows"), 3.0, "nodes.crawl.entered.rows: Input should be a valid integer"),
        (("nodes", "crawl", "entered", "rows"), True, "nodes.crawl.entered.rows: Input should be a valid integer"),
        (("nodes", "crawl", "entered", "rows"), "3", "nodes.crawl.entered.rows: Input should be a valid integer"),
        (("nodes", "crawl", "entered", "rows"), -1, "nodes.crawl.entered.rows: Input should be greater than or equal"),
        (("nodes", "crawl", "entered", "keys"), "F" * 32, "nodes.crawl.entered.keys: Value error, String should match"),
        (("nodes", "crawl", "entered", "keys"), "f" * 31, "nodes.crawl.entered.keys: Value error, String should match"),
        (("nodes", "crawl", "entered", "keys"), 255, "nodes.crawl.entered.keys: Value error, String should match"),
        (("nodes", "crawl", "rules", "empty_text", "any"), [1], "nodes.crawl.rules.empty_text.any: List should have"),
        (("nodes", "crawl", "more"), {}, "nodes.crawl.more: Unexpected keyword argument"),
    ],
)
def test_another_form_is_refused_with_its_place(where: tuple[str, ...], value: object, expected: str) -> None:
    changed = copy.deepcopy(STORED)
    place = changed
    for name in where[:-1]:
        place = place[name]
    place[where[-1]] = value
    found = problems(Accounts, changed)
    assert len(found) == 1 and found[0].startswith(expected)


@pytest.mark.parametrize("name", ["entered", "edges", "rules", "tallies"])
def test_what_is_empty_in_memory_by_default_must_be_stored(name: str) -> None:
    changed = copy.deepcopy(STORED)
    del changed["nodes"]["crawl"][name]
    assert problems(Accounts, changed) == [f"nodes.crawl.{name}: Field required"]


def test_a_log_states_the_whole_licence_of_which_a_config_may_leave_parts_out() -> None:
    log = {
        "format": 2, "run": "0" * 64, "seed": 1, "task": 0, "slices_root": "0" * 64, "nodes": [], "settled": {},
        "slices": [{"source": "crawl", "path": "a", "part": {}, "file_bytes": 1, "digest": "0" * 64, "rows": 3, "rejects": 0}],
        "accounts": STORED, "licenses": {"crawl": {"spdx": "MIT"}}, "snapshot": None, "output": "corpus", "rows": 2,
        "content_digest": "0" * 64, "shard": 0, "keys": "0" * 32,
    }  # fmt: skip
    assert License.model_validate({"spdx": "MIT"}) == License(spdx="MIT")
    assert problems(ShardLog, log) == ["licenses.crawl: Value error, Field required: stated_by, evidence"]
    whole = {**log, "licenses": {"crawl": {"spdx": "MIT", "stated_by": "author", "evidence": None}}}
    assert to_json(parse(ShardLog, whole)) == whole
    with pytest.raises(ValidationError, match="from_"):
        parse(ShardLog, {**whole, "nodes": [{"from_": []}]})
    assert isinstance(parse(ShardLog, whole).slices[0], SliceRead)
