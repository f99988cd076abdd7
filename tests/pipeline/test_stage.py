"""The stage contract: what a stage may declare, what the engine tells it, and what an author of an old one is told."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.errors import ConfigError, ContractError
from gristmill.pipeline.planning.config import RunConfig, load
from gristmill.pipeline.planning.graph import Node
from gristmill.pipeline.planning.plan import Plan, make_plan
from gristmill.pipeline.stage import (
    Resources,
    Stage,
    StageConfig,
    StageContext,
    StageSpec,
    keep_all,
)
from tests.pipeline.toy_runs import rows_of, run, write_corpus


class NoSettings(StageConfig):
    """No settings."""


def stage_of(spec: object = None, **body: Any) -> Stage:
    """A stage that declares `spec`, with functions and attributes of the caller's."""
    functions = {
        "Config": NoSettings,
        "version": 1,
        "summary": "x",
        "declare": lambda self: StageSpec() if spec is None else spec() if callable(spec) else spec,
        "decide": lambda self, batch, settled, context: keep_all(batch.num_rows),
    }
    cls: type[Stage] = type("Mine", (Stage,), {**functions, **body})
    return cls(NoSettings())


def measure(self: Stage, batch: pa.Table, context: StageContext) -> dict[str, pa.Array]:
    return {}


LENGTH = pa.schema([("length", pa.int64())])
TEXT = pa.schema([("text", pa.large_string())])


def test_what_is_left_out_of_a_declaration_is_empty() -> None:
    spec = stage_of().spec
    assert spec.ports == ("kept",)
    assert spec.measure_reads == spec.survey_reads == spec.decide_reads == spec.optional_reads == frozenset()
    assert spec.signals == spec.findings == pa.schema([])
    assert (spec.reproducible, spec.seeded, spec.changes_text, spec.makes_text) == (True, False, False, False)
    assert spec.resources == Resources(cpus=1.0, gpus=0.0, memory_bytes=0)


def test_a_stage_declares_once_and_travels_with_what_it_declared() -> None:
    calls = []

    def declare(self: Stage) -> StageSpec:
        calls.append(1)
        return StageSpec(rules=("a",))

    stage = stage_of(declare=declare)
    assert stage.spec is stage.spec and len(calls) == 1
    assert pickle.loads(pickle.dumps(stage.spec)) == stage.spec


def test_payload_is_read_by_measure_without_being_named_twice() -> None:
    assert StageSpec(payload={"html"}, measure_reads={"url"}).measure_reads == {"html", "url"}


def test_signals_are_in_shards_unless_they_are_hidden_or_others_are_shown() -> None:
    two = pa.schema([("a", pa.int64()), ("b", pa.int64())])
    assert StageSpec(signals=two).in_shards == {"a", "b"}
    assert StageSpec(signals=two, hidden={"b"}).in_shards == {"a"}
    assert StageSpec(signals=two, shown=set()).in_shards == frozenset()


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        (lambda: StageSpec(rules="short"), "`rules` is 'short'; expected several names, such as (\"too_short\",)"),  # type: ignore[arg-type]
        (
            lambda: StageSpec(decide_reads="text"),
            "`decide_reads` is 'text'; expected several names, such as {\"text\"}",
        ),  # type: ignore[arg-type]
        (lambda: StageSpec(decide_reads={1}), "`decide_reads` holds 1; expected text"),  # type: ignore[arg-type]
        (lambda: StageSpec(findings=["a"]), "`findings` is ['a']; expected a pyarrow schema"),
        (lambda: StageSpec(rules=("a", "b", "a")), "`rules` names `a` twice"),
        (lambda: StageSpec(rules=tuple(map(str, range(65)))), "`rules` has 65 names; at most 64 are possible"),
        (
            lambda: StageSpec(findings=pa.schema([("doc_key", pa.int64())])),
            "`doc_key` is a column that the engine makes",
        ),
        (lambda: StageSpec(hidden={"length"}), "`hidden` names `length`, which is not among `signals`"),
        (lambda: StageSpec(shown={"length"}), "`shown` names `length`, which is not among `signals`"),
        (lambda: StageSpec(findings=TEXT), "a stage whose `decide` adds it sets `changes_text`"),
        (lambda: StageSpec(changes_text=True), "so `findings` must have the column `text` of type large_string"),
        (lambda: StageSpec(makes_text=True), "so `signals` must have the column `text` of type large_string"),
        (lambda: StageSpec(seeded=1), "`seeded` is 1; expected True or False"),  # type: ignore[arg-type]
        (lambda: StageSpec(models=["a"]), "`models` is ['a']; expected a map by name"),  # type: ignore[arg-type]
        (lambda: StageSpec(resources=2), "`resources` is 2; expected Resources("),  # type: ignore[arg-type]
        (lambda: StageSpec(resources=Resources(gpus=-1)), "`gpus` is -1; expected a number of at least 0"),
        (lambda: StageSpec(resources=Resources(memory_bytes=0.5)), "`memory_bytes` is 0.5"),  # type: ignore[arg-type]
        (lambda: StageSpec(ports=("kept", "dropped")), "`ports` uses the reserved name 'dropped'"),
        ({"rules": ("a",)}, "it returned {'rules': ('a',)}; expected a StageSpec"),
        (StageSpec(ports=("best",)), "`ports` names `best`, which is not among the class's kept"),
        (StageSpec(signals=LENGTH), "it sets `signals`, but the class has no `measure`"),
        (StageSpec(payload={"html"}), "it sets `measure_reads`, but the class has no `measure`"),
        (StageSpec(survey_reads={"text"}), "it sets `survey_reads`, but the class has no `survey`"),
        (StageSpec(observes="minhash"), "it sets `observes`, but the class has no `survey`"),
    ],
)
def test_a_declaration_that_cannot_be_meant_is_refused_with_the_stage_and_the_field(spec: Any, complaint: str) -> None:
    with pytest.raises(ContractError) as error:
        _ = stage_of(spec).spec
    assert str(error.value).startswith("stage class tests.pipeline.test_stage.Mine: `declare`: ")
    assert complaint in str(error.value)
    assert str(error.value).endswith("See docs/writing-a-stage.md.")


def test_a_column_is_either_a_signal_or_a_finding() -> None:
    with pytest.raises(ContractError, match="the column `length` is declared twice, among `signals` and `findings`"):
        StageSpec(signals=LENGTH, findings=LENGTH)


@pytest.mark.parametrize(
    ("old", "named"),
    [
        ({"measure_reads": lambda self: frozenset({"text"})}, "`measure_reads` is of the old base class"),
        (
            {"rules": lambda self: ("a",), "signals": lambda self: LENGTH},
            "`rules`, `signals` are of the old base class",
        ),
        ({"deciding_for": lambda self, source: self}, "`deciding_for` is of the old base class"),
        ({"changes_text": True}, "`changes_text` is of the old base class"),
    ],
)
def test_a_stage_of_the_old_base_class_is_told_what_changed(old: dict[str, object], named: str) -> None:
    with pytest.raises(ContractError) as error:
        stage_of(**old)
    assert named in str(error.value)
    assert "`def declare(self) -> StageSpec`" in str(error.value) and "docs/writing-a-stage.md" in str(error.value)


def test_a_stage_that_declares_nothing_or_takes_no_context_is_refused() -> None:
    with pytest.raises(ContractError, match=r"`declare` is not implemented.*docs/writing-a-stage.md"):
        stage_of(declare=Stage.declare)
    found = r"`decide` takes \(self, batch, settled\), but is called with \(self, batch, settled, context\)"
    with pytest.raises(ContractError, match=found):
        stage_of(decide=lambda self, batch, settled: keep_all(batch.num_rows))


def config_of(tmp_path: Path, stages: str, seed: int = 0) -> RunConfig:
    write_corpus(tmp_path / "in", files=1)
    path = tmp_path / "in/part-000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column("number", pa.array(range(len(table)))), path)
    source = f'{{format: parquet, paths: ["{tmp_path}/in/*.parquet"]}}'
    text = f'seed: {seed}\nsources: {{s: {source}}}\n{stages}\noutputs: {{o: {{path: "{tmp_path}/out"}}}}\n'
    return load(text, "test.yaml", plugins=("toy_stages",))


def plan(tmp_path: Path, seed: int) -> Plan:
    return make_plan(config_of(tmp_path, "stages: {told: {}, length: {}}", seed))


def test_only_a_stage_that_declares_it_gets_the_seed_and_only_where_it_decides(tmp_path: Path) -> None:
    graph = plan(tmp_path, 7).graph
    told, length = graph.by_name["told"], graph.by_name["length"]
    assert graph.context(told, decides=True).seed == 7
    for node, decides in ((told, False), (length, True), (length, False)):
        with pytest.raises(ContractError, match="uses the run's seed where it may not"):
            _ = graph.context(node, decides=decides).seed


def test_every_function_is_told_about_the_run_by_its_argument(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_corpus(tmp_path / name, files=1)
    text = f"""
seed: 7
sources:
  a: {{format: parquet, paths: ["{tmp_path}/a/*.parquet"]}}
  b: {{format: parquet, paths: ["{tmp_path}/b/*.parquet"]}}
stages: {{told: {{}}}}
outputs: {{o: {{path: "{tmp_path}/out"}}}}
"""
    run(text)
    found = {(row["told_early"], row["told"]) for row in rows_of(tmp_path / "out")}
    assert found == {(f"{name} shared", f"7 {name} shared, settled 7 None shared") for name in ("a", "b")}


def test_the_seed_is_in_the_fingerprint_of_a_stage_that_uses_it_and_of_no_other(tmp_path: Path) -> None:
    one, other = (plan(tmp_path, seed).fingerprints for seed in (1, 2))
    assert one["told"].signal == other["told"].signal and one["told"].full != other["told"].full
    assert one["length"] == other["length"]


def test_the_memory_that_a_stage_states_is_in_the_bound(tmp_path: Path) -> None:
    made = plan(tmp_path, 1)
    before = made.memory_bytes()
    vars(made.graph.by_name["told"].stage)["spec"] = StageSpec(
        ports=("kept",), resources=Resources(memory_bytes=3 << 30)
    )
    assert made.memory_bytes() == before + (3 << 30)


def test_a_payload_is_text_or_bytes_and_text_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    graph = "stages: {{reader: {{column: {column}, makes_text: {makes}}}}}"
    with pytest.raises(
        ConfigError, match=r"reads documents from the column `number`, which is int64; expected text or bytes"
    ):
        make_plan(config_of(tmp_path, graph.format(column="number", makes="false")))
    with pytest.raises(
        ConfigError, match=r"stages.reader: the stage `reader` makes the text, but documents from .* have one already"
    ):
        make_plan(config_of(tmp_path, graph.format(column="url", makes="true")))
    with pytest.raises(ConfigError, match="its measure reads the column `html`, which"):
        make_plan(config_of(tmp_path, graph.format(column="html", makes="false")))
    make_plan(config_of(tmp_path, graph.format(column="url", makes="false")))


def test_a_config_may_do_without_the_survey_of_its_class_and_then_nothing_waits_for_it() -> None:
    def survey(self: Stage, batch: pa.Table, context: StageContext) -> pa.Table:
        raise AssertionError("nobody asks")

    def settle(self: Stage, notes: Any, exchange: Any, context: StageContext) -> Any:
        raise AssertionError("nobody asks")

    functions = {"survey": survey, "settle": settle}
    assert Node("mine", "mine", stage_of(StageSpec(), **functions), ()).settles
    assert not Node("mine", "mine", stage_of(StageSpec(surveys=False), **functions), ()).settles
    with pytest.raises(ContractError, match=r"it sets `survey_reads`, but says that there is no survey"):
        _ = stage_of(StageSpec(surveys=False, survey_reads={"text"}), **functions).spec
