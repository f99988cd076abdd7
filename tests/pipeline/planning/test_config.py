"""What a config can get wrong, and what it is told: file, line, key path, what was found, what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from gristmill.pipeline.errors import ConfigError, ContractError, nearest
from gristmill.pipeline.planning.config import load
from gristmill.pipeline.planning.graph import build
from gristmill.pipeline.planning.plan import make_plan
from gristmill.pipeline.stage import Decisions, Stage, StageConfig, StageSpec, signal, threshold
from tests.pipeline.toy_runs import plan_of, write_corpus

GOOD = """
name: good
sources:
  s: {format: parquet, paths: [in/*.parquet]}
stages:
  length: {least: 3}
  split: {at: 5}
outputs:
  low: {path: out/low, from: split.low}
  high: {path: out/high, from: split.high}
"""


def refused(text: str, *, wiring: bool = True) -> str:
    with pytest.raises(ConfigError) as error:
        config = load(text, "test.yaml", plugins=("toy_stages",))
        if wiring:
            build(config)
    assert error.value.exit_code == 2
    return str(error.value)


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def test_the_good_config_is_good() -> None:
    graph = build(load(GOOD, "test.yaml", plugins=("toy_stages",)))
    assert [node.name for node in graph.nodes] == ["length", "split"]
    assert [str(edge) for edge in graph.by_name["length"].inputs] == ["s"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("name: good", "name: good\nsourcs: {}", ["test.yaml:3: sourcs: unknown key", "did you mean `sources`?"]),
        ("{least: 3}", "{leest: 3}", ["test.yaml:6: stages.length.leest: unknown key", "did you mean `least`?"]),
        ("{least: 3}", "{least: 3, least: 4}", ["test.yaml:6: stages.length.least: duplicate key, first on", "line 6"]),
        ("  split: {at: 5}", "  lenght: {}\n  split: {at: 5}", ["no stage named `lenght`", "did you mean `length`?"]),
        ("{least: 3}", "{least: many}", ["stages.length.least", "valid integer", "found text ('many')"]),
        ("{least: 3}", '{least: "3"}', ["stages.length.least", "valid integer"]),
        ("{least: 3}", "[3]", ["stages.length: expected a map"]),
        ("from: split.high", "from: split.hi", ["no port `hi`", "did you mean `high`?"]),
        ("from: split.high", "from: splitt", ["no node `splitt`", "did you mean `split`?"]),
        ("from: split.high", "from: split.dropped", ["ledger and `dropped/`"]),
        (", from: split.high", ", from: length", ["the port `split.high` is not connected", "discard"]),
        ("out/high", "out/low/high", ["lies inside the output `low`"]),
        ("out/high", "./out/low", ["outputs.low.path: `out/low` lies inside the output `high`"]),
        ("{at: 5}", "{at: 5, from: [length, length]}", ["duplicate input: the same port is listed twice"]),
        ("{least: 3}", "{least: 3, from: split.high}", ["a cycle: ", "Remove one of these connections"]),
        ("format: parquet", "format: parket", ["no source format named `parket`", "did you mean `parquet`?"]),
        ("paths: [in/*.parquet]", "path: in", ["sources.s.path: unknown key", "did you mean `paths`?"]),
        ("name: good", "name: good\nseed: -1", ["seed: expected an integer from 0"]),
        ("name: good", "name: good\nseed: true", ["seed: expected an integer"]),
        ("name: good", "name: good\nmax_quarantined: 2", ["max_quarantined: expected a share"]),
        ("name: good", "name: good\nexpect: {lenth: {dropped: [0, 1]}}", ["no node `lenth`", "did you mean `length`?"]),
        ("name: good", "name: good\nexpect: {length: {droped: [0, 1]}}", ["did you mean `dropped`?"]),
        ("name: good", "name: good\nexpect: {length: {dropped: 1}}", ["expected [least, most] shares"]),
        ("name: good", "name: good\ndiscard: [split.low]", ["is read elsewhere, so it is not discarded"]),
        ("name: good", "name: [good", ["this is not YAML"]),
        ("name: good", "name: &a good\n<<: {seed: 1}", ["YAML merge keys (`<<`) are not supported"]),
        ("name: good", "name: !!python/object:os.system good", ["the tag", "not allowed"]),
        ("  length: {least: 3}", "  Length: {use: length}", ["a name is lower-case letters"]),
        ("  length: {least: 3}", "  s: {use: length}", ["a source has the same name"]),
        ("  s: {format: parquet, paths: [in/*.parquet]}", "  s: 3", ["sources.s: expected a map"]),
    ],
)
def test_a_wrong_config_is_refused_in_words(old: str, new: str, told: list[str]) -> None:
    message = refused(changed(old, new))
    for part in told:
        assert part in message
    assert message.startswith("test.yaml")


def test_an_empty_config_is_refused() -> None:
    assert "a config is a map with sources, stages and outputs; found nothing" in refused("")
    assert "sources: expected a map with at least one entry" in refused("name: x")


def test_a_survey_after_copies_is_refused() -> None:
    text = changed("  split: {at: 5}", "  repeat: {}\n  same: {}\n  split: {at: 5}")
    assert "stands after a node that emits copies" in refused(text)


def test_observing_a_node_that_is_not_upstream_is_refused() -> None:
    message = refused(changed("  split: {at: 5}", "  repeat: {observe: split}\n  split: {at: 5}"))
    assert "observes `split`, which is not a node upstream of it; Allowed: length." in message


def test_labels_that_yaml_would_turn_into_something_else_stay_text() -> None:
    text = changed("format: parquet,", "format: parquet, snapshot: 2024-10-01,")
    assert load(text, "t", plugins=("toy_stages",)).sources[0].config.snapshot == "2024-10-01"
    text = changed("format: parquet,", "format: parquet, snapshot: no,")
    assert load(text, "t", plugins=("toy_stages",)).sources[0].config.snapshot == "no"


def test_set_changes_one_value_and_checks_it() -> None:
    config = load(GOOD, "t", overrides=["stages.length.least=7", "seed=3"], plugins=("toy_stages",))
    assert config.nodes[0].config.least == 7 and config.seed == 3
    with pytest.raises(ConfigError, match=r"stages.length.lest: unknown key; did you mean `least`\?"):
        load(GOOD, "t", overrides=["stages.length.lest=7"], plugins=("toy_stages",))
    with pytest.raises(ConfigError, match=r"--set seed: expected KEY.PATH=VALUE"):
        load(GOOD, "t", overrides=["seed"], plugins=("toy_stages",))
    with pytest.raises(ConfigError, match=r"holds an integer \(3\), not a map"):
        load(GOOD, "t", overrides=["stages.length.least.x=7"], plugins=("toy_stages",))


def test_output_moves_all_outputs() -> None:
    config = load(GOOD, "t", output="elsewhere", plugins=("toy_stages",))
    assert {name: out.path for name, out in config.outputs.items()} == {
        "low": "elsewhere/low",
        "high": "elsewhere/high",
    }


def test_an_unknown_plugin_is_refused() -> None:
    with pytest.raises(ConfigError, match="--plugin nosuch: the module cannot be imported"):
        load(GOOD, "t", plugins=("nosuch",))


def test_a_config_alone_cannot_name_a_module() -> None:
    with pytest.raises(ConfigError, match="no stage named `toy_stages:Length`"):
        load(changed("{least: 3}", '{use: "toy_stages:Length"}'), "t")


def test_a_column_that_no_upstream_node_produces_is_refused_with_a_hint(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=1)
    text = f"""
sources: {{s: {{format: parquet, paths: ["{tmp_path}/in/*.parquet"]}}}}
stages: {{repeat: {{}}, length: {{}}}}
outputs: {{o: {{path: "{tmp_path}/out"}}}}
"""
    with pytest.raises(
        ConfigError, match=r"decide reads the column `length`, which no upstream node produces"
    ) as error:
        plan_of(text)
    assert "The node `length` produces it: put it before this one." in str(error.value)
    with pytest.raises(
        ConfigError, match=r"outputs.o.columns: no source or stage produces a column `urll`; did you mean `url`\?"
    ):
        plan_of(text.replace("{repeat: {}, length: {}}", "{}").replace('out"', 'out", columns: [urll]'))


class _Config(StageConfig):
    size: int = signal(1)
    cut: int = threshold(2)


def test_fingerprints_tell_signals_from_thresholds(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=1)
    base = GOOD.replace("in/*.parquet", f"{tmp_path}/in/*.parquet")

    def prints(*overrides: str) -> tuple[str, str]:
        config = load(base, "t", overrides=overrides, plugins=("toy_stages",))
        found = make_plan(config).fingerprints["length"]
        return found.signal, found.full

    plain, cut, unit = prints(), prints("stages.length.least=9"), prints("stages.length.unit=words")
    assert plain[0] == cut[0] and plain[1] != cut[1]
    assert plain[0] != unit[0] and plain[1] != unit[1]


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"version": None}, "`version` is missing"),
        ({"summary": None}, "`summary` is missing"),
        ({"Config": dict}, "`Config` does not derive"),
        ({"ports": ()}, "`ports` must be a tuple of distinct names"),
        ({"ports": ("a", "a")}, "`ports` must be a tuple of distinct names"),
        ({"ports": ("kept", "dropped")}, "reserved name 'dropped'"),
        ({"decide": Stage.decide}, "`decide` is not implemented"),
        ({"survey": lambda self, batch, context: batch}, "`survey` and `settle` go together"),
    ],
)
def test_a_stage_class_that_breaks_the_contract_is_refused_when_it_is_defined(
    body: dict[str, object], complaint: str
) -> None:
    good: dict[str, object] = {
        "Config": _Config,
        "version": 1,
        "summary": "x",
        "declare": lambda self: StageSpec(),
        "decide": lambda self, batch, settled, context: Decisions(port=batch),
    }
    type("Good", (Stage,), dict(good))
    with pytest.raises(ContractError, match=complaint):
        type("Bad", (Stage,), {**good, **body})


def test_a_config_field_must_say_what_it_changes() -> None:
    class Unclear(StageConfig):
        size: int = 3

    with pytest.raises(ContractError, match="config field `size` does not say whether"):
        type("Bad", (Stage,), {"Config": Unclear, "version": 1, "summary": "x", "decide": lambda s, b, t, c: None})


@pytest.mark.parametrize("paths", ["s3://bucket/a/*.parquet", "[in/a.parquet, in/B.PARQUET]"])
def test_a_source_without_a_format_has_that_of_its_paths_endings(paths: str) -> None:
    config = load(
        changed("{format: parquet, paths: [in/*.parquet]}", f"{{paths: {paths}}}"), "t", plugins=("toy_stages",)
    )
    assert config.sources[0].config.format == "parquet"


@pytest.mark.parametrize("paths", ["in/*", "[a.parquet, b.csv]", "7", "[]", "[7]"])
def test_a_source_whose_format_nothing_names_is_told_to_write_it(paths: str) -> None:
    told = refused(changed("{format: parquet, paths: [in/*.parquet]}", f"{{paths: {paths}}}"))
    assert "sources.s.format" in told and "`format: parquet`" in told


def test_a_long_list_of_names_is_cut() -> None:
    told = nearest("name", [f"name_{number}" for number in range(500)])
    assert len(told) < 1500 and told.endswith("and 440 more.")
