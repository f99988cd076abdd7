"""What stages need of machines: said by stages, changed in the config, and passes that end where it differs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gristmill.launch.commands.plan import plan_json, plan_lines
from gristmill.pipeline.errors import ConfigError, ContractError
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.planning.plan import Plan
from gristmill.pipeline.resources import Resources, largest
from gristmill.pipeline.running.capacity import check_capacity
from gristmill.pipeline.running.task_keys import TaskKeys
from tests.pipeline.toy_runs import GRAPH, plan_of, run, shards, write_corpus

CHAIN = """
name: scored
seed: 5
sources:
  s: {{format: parquet, paths: ["{root}/in/*.parquet"]}}
stages:
  length: {{least: 2}}
  neural: {{least: 0.03}}
  later: {{use: length, least: 3, unit: letters, from: neural}}
outputs:
  corpus: {{path: "{root}/out"}}
{more}
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    write_corpus(tmp_path / "in")
    return tmp_path


def work(plan: Plan) -> list[tuple[tuple[str, ...], tuple[str, ...], bool]]:
    return [(one.measures, one.decides, one.final) for one in plan.passes]


def chain(root: Path, more: str = "") -> str:
    # The toy `length` has one column, so the second one reads the text alone and is a node of the same stage.
    text = CHAIN.format(root=root, more=more)
    return text.replace("  later: {use: length, least: 3, unit: letters, from: neural}\n", "  same: {}\n")


def test_a_node_with_workers_of_its_own_has_a_pass_of_its_own_between_those_of_its_neighbours(corpus: Path) -> None:
    plan = plan_of(chain(corpus))
    assert work(plan) == [
        (("length",), ("length",), False),
        (("neural",), ("neural",), False),
        ((), (), False),
        ((), ("same",), True),
    ]
    assert [plan.resources(one).own_workers for one in plan.passes] == [False, True, False, False]
    shared = plan_of(chain(corpus, "resources: {neural: {shares_worker: true}}"))
    assert [one.measures for one in shared.passes] == [("length", "neural"), ()]


def test_signals_that_are_facts_are_measured_before_the_last_pass(corpus: Path) -> None:
    text = chain(corpus, "resources: {neural: {shares_worker: true}}").replace("  same: {}\n", "")
    plan = plan_of(text)
    assert work(plan) == [(("length", "neural"), ("length", "neural"), False), ((), (), True)]
    run(text)
    assert len(list((corpus / "out/data").iterdir())) == 3


def test_passes_of_graphs_that_ask_for_nothing_are_as_they_were(corpus: Path) -> None:
    plan = plan_of(GRAPH.format(root=corpus))
    assert [(one.measures, one.decides) for one in plan.passes] == [
        (("length",), ("length",)),
        ((), ("same", "split", "repeat")) if plan.passes[1].final else ((), ("same", "split")),
        *([] if plan.passes[1].final else [((), ("repeat",))]),
    ]
    assert all(plan.resources(one) == Resources() for one in plan.passes)
    assert not plan.splits_by_resources


def test_what_a_config_asks_for_changes_passes_and_no_byte_of_the_result(corpus: Path) -> None:
    def result(more: str, out: str) -> dict[str, str]:
        run(GRAPH.format(root=corpus) + more, output=str(corpus / out))
        return {f"{name}/{k}": v for name in ("corpus", "long") for k, v in shards(corpus / out / name).items()}

    plain = result("", "plain")
    split = "resources: {length: {cpus: 2, memory_bytes: 1000000}, split: {shares_worker: false}}\n"
    assert plan_of(GRAPH.format(root=corpus) + split).key == plan_of(GRAPH.format(root=corpus)).key
    assert len(plan_of(GRAPH.format(root=corpus) + split).passes) > len(plan_of(GRAPH.format(root=corpus)).passes)
    different = {name for name, value in result(split, "split").items() if plain[name] != value}
    assert different <= {f"{one}/{name}" for one in ("corpus", "long") for name in ("README.md", "croissant.json")}


def test_work_of_a_plan_with_other_passes_is_not_taken_for_ones_own(corpus: Path) -> None:
    """After their second pass both plans have done the same nodes, but not the same ones in it."""
    second = "  second: {use: neural, column: second}\n"
    text = chain(corpus).replace("  same: {}\n", second) + f"work: {corpus}/work\n"
    shared = "neural: {shares_worker: true, cpus: %d}, second: {shares_worker: true}"
    one, other = (f"{text}resources: {{length: {{cpus: 2}}, {shared % cpus}}}\n" for cpus in (1, 2))
    plans = [plan_of(one), plan_of(other)]
    assert [[p.measures for p in plan.passes] for plan in plans] == [
        [("length",), ("neural", "second"), ()],
        [("length", "neural"), ("second",), ()],
    ]
    assert plans[0].key == plans[1].key
    assert len({TaskKeys(plan, 1, {}).key(plan.slices[0], "0" * 64) for plan in plans}) == 2
    run(one, keep_work=True, output=str(corpus / "first"))
    run(other, output=str(corpus / "second"))
    first, second_run = shards(corpus / "first"), shards(corpus / "second")
    assert all(second_run[name] == digest for name, digest in first.items() if name.endswith(".parquet"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("resources: [1]", r"test.yaml:\d+: `?resources`?: expected a map of nodes, found a list"),
        ("resources: {neurall: {gpus: 1}}", r"resources.neurall.*no node named `neurall`; did you mean `neural`"),
        ("resources: {neural: 2}", r"resources.neural.*expected a map such as \{gpus: 1\}, found an integer \(2\)"),
        ("resources: {neural: {gpu: 1}}", r"resources.neural.gpu.*unknown key; did you mean `gpus`"),
        ("resources: {neural: {gpus: many}}", r"resources.neural.gpus.*valid number; found text \('many'\)"),
        ("resources: {neural: {gpus: -1}}", r"resources.neural.gpus.*number of at least 0, found -1"),
        ("resources: {neural: {gpus: 1.5}}", r"resources.neural.gpus.*whole number, since it is above 1, found 1.5"),
        ("resources: {neural: {cpus: 2.5}}", r"resources.neural.cpus.*whole number, since it is above 1, found 2.5"),
        ("resources: {neural: {memory_bytes: 0.5}}", r"resources.neural.memory_bytes.*valid integer"),
        ("resources: {neural: {shares_worker: 1}}", r"resources.neural.shares_worker.*valid boolean"),
    ],
)
def test_resources_that_cannot_be_meant_are_refused_with_their_place(corpus: Path, more: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_of(chain(corpus, more))


def test_a_stage_that_states_half_an_accelerator_too_many_is_refused() -> None:
    with pytest.raises(ContractError, match=r"`gpus` is 1.5; expected a whole number, since it is above 1"):
        Resources(gpus=1.5)
    with pytest.raises(ContractError, match=r"`shares_worker` is 1; expected True or False"):
        Resources(shares_worker=1)  # type: ignore[arg-type]


def test_a_process_that_does_several_things_needs_the_most_cores_and_all_of_the_memory() -> None:
    together = largest([Resources(cpus=2.0, memory_bytes=5), Resources(gpus=0.5, memory_bytes=7, shares_worker=False)])
    assert together == Resources(cpus=2.0, gpus=0.5, memory_bytes=12, shares_worker=False)


class Cluster(InlineExecutor):
    def __init__(self, *machines: Resources) -> None:
        super().__init__()
        self._machines = list(machines)

    def machines(self) -> list[Resources]:
        return self._machines


BIG, SMALL = 64 << 30, 1 << 28


@pytest.mark.parametrize(
    ("needs", "machines", "message"),
    [
        ({"gpus": 1}, [Resources(cpus=8, memory_bytes=BIG)], r"pass 2 of 4 \(`neural`\) needs 1 GPU per task.*has 0\."),
        ({"gpus": 4}, [Resources(cpus=8, gpus=2, memory_bytes=BIG)], r"needs 4 GPUs per task.*has 2\."),
        ({"cpus": 16}, [Resources(cpus=8, memory_bytes=BIG)], r"needs 16 cores per task.*largest machine here has 8\."),
        (
            {},
            [Resources(cpus=8, memory_bytes=SMALL)],
            r"pass 1 of 4 \(.*may need 0\.9 GB of memory per task.*has 0\.3 GB",
        ),
        (
            {"memory_bytes": 99 << 30},
            [Resources(cpus=8, memory_bytes=BIG)],
            r"pass 2 .*may need 107\.2 GB.*has 68\.7 GB",
        ),
        (
            {"gpus": 1, "cpus": 4},
            [Resources(cpus=2, gpus=1, memory_bytes=BIG), Resources(cpus=8, memory_bytes=BIG)],
            r"needs 4 cores, 1 GPUs and .*no single machine here has all of it",
        ),
        ({}, [], "pass 1 of 4"),
    ],
)
def test_a_plan_that_no_machine_can_run_is_refused_before_work_with_the_numbers(
    corpus: Path, needs: dict[str, Any], machines: list[Resources], message: str
) -> None:
    asked = ", ".join(f"{name}: {value}" for name, value in needs.items())
    text = chain(corpus, f"resources: {{neural: {{{asked}}}}}")
    with pytest.raises(ConfigError, match=message):
        run(text, Cluster(*machines))
    assert not (corpus / "out").exists() and not list(corpus.glob("*.work"))


def test_a_plan_that_fits_one_of_several_machines_is_taken(corpus: Path) -> None:
    plan = plan_of(chain(corpus, "resources: {neural: {gpus: 1}}"))
    few = Resources(cpus=1, memory_bytes=1 << 20)
    check_capacity(plan, Cluster(few, Resources(cpus=1, gpus=1, memory_bytes=BIG)))


def test_a_plan_shows_what_each_task_of_each_pass_needs(corpus: Path) -> None:
    plan = plan_of(chain(corpus, "resources: {neural: {gpus: 1, cpus: 2}, length: {cpus: 0.5}}"))
    needs = [line.split("each task")[1].strip() for line in plan_lines(plan) if "each task" in line]
    assert [re.sub(r"at most [\d.]+ .B", "at most …", line) for line in needs] == [
        "0.5 cores, at most …",
        "2 cores, 1 GPU, at most …, in workers of its own",
        "1 core, at most …",
        "1 core, at most …",
    ]
    found = plan_json(plan)["passes"][1]["resources"]
    bound = plan.pass_memory_bytes(plan.passes[1])
    assert found == {"cpus": 2.0, "gpus": 1.0, "memory_bytes": 1 << 20, "shares_worker": False, "bound": bound}
