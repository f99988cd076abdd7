"""Calls travel as JSON: every task of ours comes back as it went, and what is no call is refused in words."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest

from gristmill.pipeline.errors import ContractError
from gristmill.pipeline.exchange.components import run_contract
from gristmill.pipeline.exchange.shuffle import run_fold, run_index, run_map, run_merge
from gristmill.pipeline.exchange.tree_reduce import run_combine
from gristmill.pipeline.executor import payloads
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.executor.payloads import ArrowSchema, Bytes, Params, decoded, encoded
from gristmill.pipeline.running.task import run_task
from gristmill.pipeline.source import Slice
from tests.pipeline.toy_runs import GRAPH, run, shards, write_corpus


@dataclass(frozen=True)
class Inner:
    name: str
    numbers: tuple[tuple[str, int | None], ...] = ()


@dataclass(frozen=True)
class Job:
    subject: str
    inner: Inner
    schema: ArrowSchema
    raw: Bytes | None
    params: Params
    more: Mapping[str, Inner] = field(default_factory=dict)


def work(job: Job) -> str:
    return job.subject


def anything(value: Any) -> Any:
    return value


SCHEMA = pa.schema([("a", pa.large_string()), pa.field("b", pa.list_(pa.int8()), nullable=False)], {"x": "y"})
PARAMS = {
    "numbers": [1, -(2**127), 0.1, math.inf, True, None], "places": (1, ("two", b"\xff\x00")),
    "by_number": {1: "one", (2, 3): []}, "tagged": {"$tuple": 1}, "named": {"text": "ü\u2028"}, "none": {},
}  # fmt: skip


def test_a_payload_comes_back_as_it_went() -> None:
    job = Job("in/a.parquet", Inner("x", (("p", 3), ("q", None))), SCHEMA, b"\x00\xff", PARAMS, {"m": Inner("y")})
    body = encoded(work, job, independent=True)
    assert json.loads(body)[:2] == [f"{__name__}:work", True]
    function, independent, found = decoded(body)
    assert function is work and independent and found == job
    assert type(found.params["places"]) is tuple and found.schema.equals(SCHEMA, check_metadata=True)
    assert decoded(encoded(anything, (1, None)))[2] == (1, None) and decoded(encoded(abs, -3))[2] == -3


def about(one: Slice) -> str:
    return one.path


def test_a_slice_of_several_files_comes_back_as_it_went() -> None:
    members = tuple(Slice("s", f"{n}.jsonl", f"/in/{n}.jsonl", {"start": 0}, n, n, "x") for n in range(3))
    one = Slice("s", "0.jsonl", "/in/0.jsonl", {"files": 3}, 3, 3, files=(("a", "/in/a", 1),), members=members)
    assert decoded(encoded(about, one))[2] == one


class Travelling(InlineExecutor):
    """Each task's payload goes through JSON, as it does on its way to a worker."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[Callable[..., Any]] = set()

    def _through(self, function: Any, items: Any) -> Any:
        self.seen.add(function)
        for item in items:
            there, _, payload = decoded(encoded(function, item))
            assert there is function and payload == item
            yield payload

    def run(self, function: Any, items: Any, resources: Any = None) -> Any:
        return super().run(function, self._through(function, items))

    def run_independent(self, function: Any, items: Any, resources: Any = None) -> Any:
        return super().run_independent(function, self._through(function, items))


def test_all_tasks_of_a_run_travel(tmp_path: Any) -> None:
    write_corpus(tmp_path / "in")
    text = GRAPH.format(root=tmp_path).replace("from: split.high}", "from: split.high, shuffle: {seed: 1}}")
    executor = Travelling()
    run(text, executor, output=str(tmp_path / "there"))
    run(text, output=str(tmp_path / "here"))
    for name in ("corpus", "long"):
        assert shards(tmp_path / "there" / name) == shards(tmp_path / "here" / name)
    assert {run_task, run_map, run_index, run_fold, run_combine} <= executor.seen


def test_types_of_the_tasks_that_a_small_run_has_none_of_can_travel() -> None:
    for function in (run_merge, run_contract):
        payloads._adapter(payloads.reference(function))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (object(), "a object cannot travel"),
        ({1, 2}, "a set cannot travel"),
        (pa.array([1]), "Int64Array cannot travel"),
    ],
)
def test_what_has_no_form_is_refused_where_it_is_sent(value: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        encoded(anything, value)


def test_a_function_that_workers_cannot_find_is_refused() -> None:
    with pytest.raises(ContractError, match="defined at the top level"):
        encoded(lambda value: value, 1)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b"nothing", b'["x"]', b'["os:nothing", false, 1]', b'["tests.nowhere:f", false, 1]', b"[" * 9999,
        b'[7, false, 1]', b'["tests.pipeline.executor.test_payloads:work", false, {"subject": 1}]',
        b'["tests.pipeline.executor.test_payloads:anything", false, {"$new": 1}]',
        b'["tests.pipeline.executor.test_payloads:work", false, {"subject": "a", "inner": {"name": "b", "more": 1}}]',
    ],
)  # fmt: skip
def test_what_is_no_call_is_refused_in_words(body: bytes) -> None:
    with pytest.raises(ContractError):
        decoded(body)


def test_a_call_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads, "MOST_BYTES", 100)
    with pytest.raises(ContractError, match=r"its payload has 1,\d\d\d bytes; at most 100 travel"):
        encoded(anything, "x" * 1000)
    with pytest.raises(ContractError, match="at most 100 are read"):
        decoded(b"x" * 101)
