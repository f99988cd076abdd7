"""The stage `toxicity`: from sentences to documents, tiers, policies, witnesses, and bad input."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.hashing import file_digest
from gristmill.pipeline.planning.config import load
from gristmill.pipeline.planning.graph import build
from gristmill.pipeline.stage import DROPPED, Decisions, StageContext
from gristmill.stages.toxicity.judgement import (
    PASSAGES,
    TIERS,
    WINDOW_TYPE,
    WINDOWS,
    Judged,
    Scale,
    accepted,
    judge,
    tiers,
)
from gristmill.stages.toxicity.level_thresholds import UNREACHED
from gristmill.stages.toxicity.model import DIMENSIONS, EMBEDDED, HEAD_NAMES, load_model, model_at
from gristmill.stages.toxicity.stage import Toxicity, ToxicityConfig
from tests.pipeline.toy_runs import rows_of, run

SHIPPED_SHA256 = "d1495ae4b824c105d82196bdd8d793e06a7cb6e348f23d0c97a6c15dc6cc1e38"
PINNED = {
    "The library opens again on Monday morning.": (
        0.005103133153170347,
        0.008688208647072315,
        0.005116839427500963,
        0.0024990804959088564,
        0.001278735464438796,
    ),
    "All of those disgusting immigrants are subhuman vermin and should be killed.": (
        0.8684175610542297,
        0.0364353209733963,
        0.017775990068912506,
        0.010150138288736343,
        0.06798510253429413,
    ),
    "Women belong in the kitchen. The soup was good.": (
        0.04080139100551605,
        0.7091973423957825,
        0.00534862233325839,
        0.00427178293466568,
        0.0038313884288072586,
    ),
    "我们今天去公园散步。": (
        0.044336557388305664,
        0.00877861026674509,
        0.0022018435411155224,
        0.001298102899454534,
        0.0010930007556453347,
    ),
}
CLEAN = "The bakery on the corner opens at seven. We bought two loaves and walked home along the river. "
HATEFUL = "All women are worthless whores and deserve to be raped."


def stage(**config: Any) -> Toxicity:
    return Toxicity(ToxicityConfig(**config))


def measured(texts: list[str | None], one: Toxicity | None = None, **more: pa.Array) -> pa.Table:
    table = pa.table({"text": pa.array(texts, pa.large_string())})
    columns = (one or stage()).measure(table, StageContext())
    return pa.table({**columns, **more})


def decided(texts: list[str | None], **config: Any) -> Decisions:
    one = stage(**config)
    return one.decide(measured(texts, one), None, StageContext())


def listed(documents: list[tuple[int, list[dict[str, float]]]]) -> tuple[pa.Array, pa.Array]:
    """Counts and lists as signals have them, of (how many, those with scores by dimension, and a chance in place of the one
    over all)."""
    rows = [
        [
            {"offset": 10 * at, "length": 9, "digest": f"{at:016x}",
             "overall": window.get("chance", 0.0), **{name: window.get(name, 0.0) for name in DIMENSIONS}}
            for at, window in enumerate(windows)
        ]
        for _, windows in documents
    ]  # fmt: skip
    return pa.array([n for n, _ in documents], pa.int64()), pa.array(rows, pa.list_(WINDOW_TYPE))


def batch_of(
    documents: list[tuple[int, list[dict[str, float]]]],
    passages: list[tuple[int, list[dict[str, float]]]] | None = None,
) -> pa.Table:
    """Signals as if measured; without `passages`, each document has one, of which nothing is listed."""
    counts, windows = listed(documents)
    many, found = listed([(1, [])] * len(documents) if passages is None else passages)
    names = ("toxicity_sentences", WINDOWS, "toxicity_passages", PASSAGES)
    return pa.table(dict(zip(names, (counts, windows, many, found), strict=True)))


CUTS = {name: (0.5, 0.7, 0.9) for name in DIMENSIONS}
FIXED = Scale(
    np.array([[*CUTS.values(), (UNREACHED,) * 3], [(0.96, 0.97, 0.98)] * 5 + [(UNREACHED,) * 3]], np.float32),
    lambda row, scores: scores[:, 5].astype(np.float64),
    np.ones(2),
)
"""Cuts of two languages; the score over all stands for the chance."""


def judged_by(
    documents: list[tuple[int, list[dict[str, float]]]],
    row: int = 0,
    passages: list[tuple[int, list[dict[str, float]]]] | None = None,
    **config: Any,
) -> Judged:
    """By sentences alone, or by passages too."""
    batch, rows = batch_of(documents, passages), np.full(len(documents), row, np.int64)
    options = ToxicityConfig(**config)
    half = FIXED._replace(share=np.array([0.5, 0.0]))
    scales = (FIXED,) if passages is None else (half._replace(share=1.0 - half.share), half)
    return judge(
        batch, scales, rows, max_chance=options.max_chance, min_hit_share=options.min_hit_share, rule=options.tiers
    )


def test_the_shipped_model_is_the_one_that_the_card_describes() -> None:
    assert file_digest(EMBEDDED) == SHIPPED_SHA256
    assert EMBEDDED.stat().st_size <= 12_000_000
    assert SHIPPED_SHA256 in EMBEDDED.with_suffix(".md").read_text(encoding="utf-8")


def test_every_source_of_the_shipped_model_is_named_with_a_licence_that_asks_for_no_other() -> None:
    notice = EMBEDDED.parents[1].joinpath("NOTICE.md").read_text(encoding="utf-8")
    metadata = model_at(EMBEDDED).metadata
    assert len(metadata["sources"]) > 30 and not metadata["share_alike"]
    for one in metadata["sources"]:
        assert f"`{one['source']}`" in notice and f"| {one['source']} |" in EMBEDDED.with_suffix(".md").read_text()
        assert not any("SA" in licence.split("-") or "NC" in licence.split("-") for licence in one["license"]), one


def test_scores_of_the_shipped_model_are_equal_on_every_machine() -> None:
    table = measured(list(PINNED))
    found = list(zip(*(table[f"toxicity_{name}_score"].to_pylist() for name in DIMENSIONS), strict=True))
    assert found == list(PINNED.values())


def test_measured_columns_are_those_declared() -> None:
    one = stage()
    columns = one.measure(pa.table({"text": pa.array(["Some text.", None], pa.large_string())}), StageContext())
    assert pa.schema([(name, column.type) for name, column in columns.items()]) == one.spec.signals
    decisions = one.decide(pa.table(dict(columns)), None, StageContext())
    assert pa.schema([(name, column.type) for name, column in decisions.columns.items()]) == one.spec.findings


@pytest.mark.parametrize(
    ("levels", "tier"),
    [
        ((0, 0, 0, 0, 0), "none"),
        ((2, 1, 0, 0, 0), "none"),
        ((1, 1, 1, 0, 0), "none"),
        ((3, 0, 0, 0, 0), "mild"),
        ((0, 0, 0, 0, 3), "mild"),
        ((2, 2, 0, 0, 0), "mild"),
        ((1, 1, 1, 1, 0), "mild"),
        ((3, 3, 0, 0, 0), "mild"),
        ((2, 2, 2, 0, 0), "mild"),
        ((3, 3, 1, 0, 0), "toxic"),
        ((2, 2, 2, 1, 0), "toxic"),
        ((3, 3, 3, 3, 3), "toxic"),
    ],
)
def test_tiers_of_the_commons_are_those_of_the_paper(levels: tuple[int, ...], tier: str) -> None:
    assert TIERS[tiers(np.array([[*levels, 3]], np.int8), "commons")[0]] == tier


@pytest.mark.parametrize(("highest", "tier"), [(0, "none"), (1, "none"), (2, "mild"), (3, "toxic")])
def test_the_highest_level_alone_makes_the_tier_by_default(highest: int, tier: str) -> None:
    assert TIERS[tiers(np.array([[0, 1 if highest else 0, 0, 0, 0, highest]], np.int8), "max_level")[0]] == tier


def test_levels_are_those_of_the_worst_window_and_never_added_over_windows() -> None:
    windows = [{"religion": 0.95}, {"race_origin": 0.75, "violence": 0.75, "ability": 0.1}, {"gender_sex": 0.95}]
    judged = judged_by([(3, windows)], tiers="commons")
    # Sums of levels are 3, 4 and 3; summed over windows they would be 10, which is toxic.
    assert judged.levels.tolist() == [[2, 0, 0, 0, 2, 0]]
    assert judged.tier.tolist() == [1]
    assert judged.hits.tolist() == [3]


def test_the_highest_score_then_the_first_window_decides_between_equal_sums() -> None:
    windows = [{"religion": 0.91}, {"ability": 0.95}, {"violence": 0.95}]
    judged = judged_by([(3, windows)])
    assert judged.worst.tolist() == [1]
    assert judged.score.tolist() == pytest.approx([0.95])
    assert judged.cut.tolist() == pytest.approx([0.9])


def test_a_rare_enough_hit_counts_in_a_long_text_and_a_common_one_only_in_a_short_text() -> None:
    common, rare = {"religion": 0.8, "chance": 9.9e-4}, {"religion": 0.8, "chance": 9.9e-7}
    # n · (1 + 1/2 + … + 1/n) is 8.3 and 11.4 for the first two, 9,668 and 10,206 or so for the others.
    documents = [(4, [common]), (5, [common]), (1_260, [rare]), (1_330, [rare])]
    judged = judged_by(documents, max_chance=0.01)
    assert judged.hits.tolist() == [1, 0, 1, 0]


def test_one_sentence_alone_counts_up_to_the_very_chance_that_is_allowed() -> None:
    documents = [(1, [{"religion": 0.8, "chance": chance}]) for chance in (0.0099, 0.0101)]
    assert judged_by(documents).hits.tolist() == [1, 0]


def test_several_common_hits_count_together() -> None:
    common = {"religion": 0.8, "chance": 9.9e-4}
    judged = judged_by([(15, [common] * 4), (15, [common] * 5)], max_chance=0.01)
    assert judged.hits.tolist() == [0, 5]


def test_sentences_and_passages_have_half_of_the_chance_each() -> None:
    some, none = [(1, [{"religion": 0.8, "chance": 0.0049}]), (1, [{"religion": 0.8, "chance": 0.0051}])], [(1, [])] * 2
    assert judged_by(some, passages=none).hits.tolist() == [1, 0]
    assert judged_by(none, passages=some).hits.tolist() == [1, 0]
    assert judged_by(some, passages=some).hits.tolist() == [2, 0]
    assert judged_by(none, passages=some, max_chance=None).hits.tolist() == [1, 1]
    # Three passages: 3 · (1 + 1/2 + 1/3) · 0.0009 is at most 0.005, and of 0.001 no single one may be.
    several = [
        (3, [{"violence": 0.8, "chance": chance}] * many) for chance, many in ((0.0009, 1), (0.001, 1), (0.001, 2))
    ]
    assert judged_by([(30, [])] * 3, passages=several).hits.tolist() == [1, 0, 2]


def test_where_passages_are_not_judged_sentences_have_all_of_the_chance() -> None:
    some, none = [(1, [{"religion": 0.97, "chance": 0.0099}])], [(1, [])]
    assert judged_by(some, row=1, passages=none).hits.tolist() == [1]
    certain = [(1, [{"religion": 0.97, "chance": 1e-9}])]
    assert [judged_by(none, row=1, passages=certain, max_chance=most).hits.tolist() for most in (0.01, None)] == [
        [0],
        [0],
    ]
    model = model_at(EMBEDDED)
    judged = {name for name, has in zip(model.languages, model.has_passages(), strict=True) if has}
    assert judged & model.covered_languages() == {"eng_Latn", "deu_Latn"}
    assert all(model.metadata["clean_documents"][name] >= 100 for name in judged)


def test_the_worst_of_sentences_and_passages_makes_the_levels_and_is_the_witness() -> None:
    sentences = [(2, [{"religion": 0.75}]), (2, [{"religion": 0.75}]), (2, [{"religion": 0.75}])]
    passages = [(1, [{"religion": 0.95}]), (1, [{"violence": 0.75}]), (1, [{"ability": 0.6}])]
    judged = judged_by(sentences, passages=passages)
    assert judged.levels.argmax(axis=1).tolist() == [2, 2, 2]
    assert judged.levels.max(axis=1).tolist() == [3, 2, 2], "equal ones: the sentence"
    assert judged.worst.tolist() == [3, 1, 2]
    assert judged.listed[3].as_py()["religion"] == pytest.approx(0.95)
    assert judged.score.tolist() == pytest.approx([0.95, 0.75, 0.75])
    assert judged.cut.tolist() == pytest.approx([0.9, 0.7, 0.7])


def test_what_is_hostile_throughout_is_found_though_no_sentence_is_blatant() -> None:
    lines: list[str | None] = ["They take our jobs and our homes.", "These people never work.", "Send them all back.",
             "Immigrants bring nothing but trouble.", "They do not belong here."]  # fmt: skip
    alone = decided(lines).columns["toxicity_tier"].to_pylist()
    text = " ".join(str(line) for line in lines * 2)
    table = measured([text])
    assert alone == ["none"] * 5 and table["toxicity_passages"].to_pylist() == [1]
    decisions = stage().decide(table, None, StageContext())
    assert decisions.columns["toxicity_tier"].to_pylist() != ["none"]
    offset, length, _ = decisions.witness[0].as_py().split(":")
    assert text.encode()[int(offset) : int(offset) + int(length)].decode() == text


def test_acceptance_equals_the_rule_of_benjamini_and_yekutieli_written_out() -> None:
    draw = np.random.default_rng(3)
    sentences = draw.integers(1, 60, 30)
    owner = np.repeat(np.arange(30), np.minimum(sentences, draw.integers(0, 9, 30)))
    chance = draw.choice([1e-5, 1e-4, 5e-4, 2e-3, 0.02], len(owner))
    expected = np.zeros(len(owner), bool)
    for document in range(30):
        mine = np.flatnonzero(owner == document)
        ranked = sorted(chance[mine])
        tests = sentences[document] * sum(1 / i for i in range(1, sentences[document] + 1))
        ranks = [k for k in range(1, len(mine) + 1) if ranked[k - 1] * tests <= 0.01 * k]
        if ranks:
            expected[mine] = chance[mine] <= ranked[max(ranks) - 1]
    assert 0 < expected.sum() < len(expected)
    assert accepted(owner, chance, sentences, np.full(30, 0.01)).tolist() == expected.tolist()


def test_a_minimum_share_of_hits_spares_long_texts() -> None:
    hit = {"violence": 0.95}
    judged = judged_by([(10, [hit]), (11, [hit])], min_hit_share=0.1)
    assert judged.tier.tolist() == [2, 0]
    assert judged.levels.tolist() == [[0, 0, 0, 0, 3, 0], [0] * 6]


def test_a_hateful_sentence_is_found_in_a_long_clean_text() -> None:
    text = CLEAN * 15 + HATEFUL + " " + CLEAN * 15
    decisions = decided([HATEFUL, CLEAN * 30, text])
    assert decisions.port[0] == decisions.port[2] > 0
    assert decisions.port[1] == 0
    offset, length, digest = decisions.witness[2].as_py().split(":")
    part = text.encode()[int(offset) : int(offset) + int(length)]
    assert part.decode() == HATEFUL
    assert hashlib.sha256(part).hexdigest().startswith(digest)
    assert len(digest) == 16


def test_the_sentence_itself_is_a_witness_only_where_asked_for() -> None:
    text = "Grüße! " + CLEAN * 15 + HATEFUL + " " + CLEAN * 15
    place = decided([text]).witness[0].as_py()
    one = stage(witness_text=True)
    batch = measured([text, CLEAN], one).append_column("text", pa.array([text, CLEAN], pa.large_string()))
    shown = one.decide(batch, None, StageContext()).witness
    assert shown.to_pylist() == [f"{place}:{HATEFUL}", None]
    assert HATEFUL not in place


def test_a_flagged_document_carries_rule_value_threshold_and_witness() -> None:
    decisions = decided([HATEFUL, CLEAN])
    tier = decisions.columns["toxicity_tier"].to_pylist()
    assert decisions.rules[decisions.rule[0]] == f"toxicity_{tier[0]}"
    assert decisions.value[0] >= decisions.threshold[0] > 0
    assert decisions.rule[1] == -1
    assert np.isnan(decisions.value[1]) and np.isnan(decisions.threshold[1])
    assert decisions.witness[1].as_py() is None
    assert tier[0] != "none" and tier[1] == "none"


@pytest.mark.parametrize(
    ("policy", "ports"), [("route", [2, 1, 0]), ("drop", [DROPPED, DROPPED, 0]), ("keep", [0, 0, 0])]
)
def test_each_policy_sends_documents_where_it_says(policy: str, ports: list[int]) -> None:
    batch = batch_of([(1, [{"religion": 0.95}]), (1, [{"religion": 0.75}]), (1, [{"religion": 0.55}])])
    decisions = stage(policy=policy, cuts=CUTS, max_chance=None).decide(batch, None, StageContext())
    assert decisions.port.tolist() == ports
    assert [decisions.rules[rule] if rule >= 0 else None for rule in decisions.rule] == [
        "toxicity_toxic", "toxicity_mild", None,
    ]  # fmt: skip
    assert decisions.columns["toxicity_religion"].to_pylist() == [3, 2, 1]


def test_own_cuts_change_levels_without_measuring_again() -> None:
    table = measured([HATEFUL])
    assert len(table[PASSAGES][0]) == 1
    strict = stage(cuts={name: (0.9999999, 0.9999999, 0.9999999) for name in HEAD_NAMES})
    assert stage().decide(table, None, StageContext()).columns["toxicity_tier"].to_pylist() != ["none"]
    assert strict.decide(table, None, StageContext()).columns["toxicity_tier"].to_pylist() == ["none"]


@pytest.mark.parametrize("text", ["", " \n\t ", None, "\u200d\ufe0f"])
def test_text_without_words_scores_nothing(text: str | None) -> None:
    table = measured([text])
    assert [table[f"toxicity_{name}_score"][0].as_py() for name in DIMENSIONS] == [0.0] * 5
    assert table["toxicity_sentences"].to_pylist() == [0]
    assert stage().decide(table, None, StageContext()).port.tolist() == [0]


def test_one_sentence_of_ten_megabytes_is_scored_in_windows() -> None:
    filler = "and the river went on past the mill "
    text = filler * 150_000 + HATEFUL[:-1] + " " + filler * 150_000
    assert len(text) > 10_000_000
    table = measured([text])
    assert table["toxicity_sentences"][0].as_py() == -(-len(text.split()) // 64)
    windows = table[WINDOWS][0].as_py()
    assert any(HATEFUL[4:40] in text[w["offset"] : w["offset"] + w["length"]] for w in windows)


@pytest.mark.parametrize(
    "text",
    [
        "שלום לכולם, זה יום יפה מאוד.",
        "مرحبا بكم في مدينتنا الجميلة.",
        "👩🏿‍🦱👨‍👩‍👧🏳️‍🌈❤️ 🍆🔥",
        "Аll оf thеsе lеttеrs lооk lаtin.",
        "\u202egnirts desrever\u202c and \ud7ff \U0010ffff",
        "a" * 5000,
    ],
)
def test_any_script_direction_or_emoji_gets_finite_scores(text: str) -> None:
    table = measured([text])
    for name in DIMENSIONS:
        assert 0.0 < table[f"toxicity_{name}_score"][0].as_py() < 1.0


def test_a_slice_of_a_column_gives_the_scores_and_offsets_of_its_rows() -> None:
    texts = [CLEAN, HATEFUL, CLEAN + HATEFUL]
    whole = pa.table({"text": pa.array(["x", *texts, "y"], pa.large_string())})
    assert pa.table(dict(stage().measure(whole.slice(1, 3), StageContext()))) == measured(texts)


def test_documents_in_languages_that_the_model_does_not_cover_are_counted() -> None:
    batch = measured(
        ["a b", "c d", "e f", "g h", "i j"],
        language=pa.array(["eng", "ita", "ita", "und", None]),
        language_script=pa.array(["Latn", "Latn", "Latn", "Zyyy", None]),
    )
    assert stage().decide(batch, None, StageContext()).tallies == {"uncovered:ita_Latn": 2, "uncovered:und": 2}
    assert stage().decide(measured(["a b"]), None, StageContext()).tallies == {}


def test_each_language_has_cuts_of_its_own_and_one_that_is_not_covered_is_never_judged() -> None:
    documents = [(1, [{"religion": 0.95}])]
    assert [judged_by(documents, row=row).tier.tolist() for row in (0, 1, -1)] == [[2], [0], [0]]
    assert judged_by(documents, row=-1).levels.tolist() == [[0] * 6]
    model = model_at(EMBEDDED)
    texts = [HATEFUL] * 3
    batch = measured(texts, language=pa.array(["eng", "ita", None]), language_script=pa.array(["Latn", "Latn", None]))
    assert {"eng_Latn", "deu_Latn"} <= model.covered_languages() and "ita_Latn" not in model.covered_languages()
    assert stage().rows_of(batch).tolist() == [model.languages.index("eng_Latn"), -1, -1]
    decisions = stage().decide(batch, None, StageContext())
    assert [tier != "none" for tier in decisions.columns["toxicity_tier"].to_pylist()] == [True, False, False]
    assert stage().window_hits(batch).tolist() == [1, 0, 0]


def test_text_of_unknown_language_is_judged_by_the_language_that_the_config_names() -> None:
    batch = measured(["x"])
    languages = model_at(EMBEDDED).languages
    assert stage().rows_of(batch).tolist() == [languages.index("eng_Latn")]
    assert stage(language="deu_Latn").rows_of(batch).tolist() == [languages.index("deu_Latn")]


def test_a_missing_or_foreign_model_is_refused_before_any_work(tmp_path: Path) -> None:
    missing = tmp_path / "none.npz"
    with pytest.raises(ConfigError, match=r"none\.npz: no such toxicity model"):
        stage(model=missing).check_files()
    foreign = tmp_path / "foreign.npz"
    foreign.write_bytes(b"not a model")
    with pytest.raises(ConfigError, match="not a toxicity model"):
        stage(model=foreign).check_files()
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    with pytest.raises(ConfigError, match="bias, probability"):
        stage(model=tmp_path / "other.npz").check_files()
    cut = tmp_path / "cut.npz"
    cut.write_bytes(EMBEDDED.read_bytes()[:100_000])
    with pytest.raises(ConfigError, match="damaged"):
        stage(model=cut).check_files()


def test_a_model_of_another_format_or_shape_is_refused(tmp_path: Path) -> None:
    with np.load(EMBEDDED) as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(tmp_path / "format.npz", **{**arrays, "metadata": np.frombuffer(b'{"format": 99}', np.uint8)})
    with pytest.raises(ConfigError, match="of format 99"):
        load_model(tmp_path / "format.npz")
    np.savez(tmp_path / "shape.npz", **{**arrays, "cuts": arrays["cuts"][:, :, :2]})
    with pytest.raises(ConfigError, match=r"`cuts` must be float32 of shape \(\d+, 6, 3\)"):
        load_model(tmp_path / "shape.npz")


def test_cuts_below_the_listed_scores_are_refused_because_hits_would_be_missed() -> None:
    stage().check_files()
    with pytest.raises(ConfigError, match="level 1 of `violence` begins at score 0.1000"):
        stage(cuts={"violence": (0.1, 0.5, 0.9)}).check_files()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"cuts": {"violance": (0.1, 0.2, 0.3)}}, "did you mean `violence`"),
        ({"cuts": {"violence": (0.5, 0.2, 0.3)}}, "three ascending scores"),
        ({"policy": "delete"}, "policy"),
        ({"max_chance": 0}, "max_chance"),
        ({"threshold": 1}, "threshold"),
    ],
)
def test_a_wrong_config_is_refused_with_what_is_allowed(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ToxicityConfig(**config)


def test_the_tiers_of_the_commons_come_with_a_warning() -> None:
    assert "Celadon's scale" in next(iter(stage(tiers="commons").spec.notices))
    assert "Celadon's scale" in next(iter(stage(tiers_by_source={"books": "commons"}).spec.notices))
    assert not list(stage().spec.notices)


RUN = """
name: two
sources:
  crawl: {{format: parquet, paths: ["{root}/crawl.parquet"]}}
  books: {{format: parquet, paths: ["{root}/books.parquet"]}}
stages:
  toxicity: {{policy: keep, tiers_by_source: {{books: commons}}}}
outputs:
  corpus: {{path: "{root}/out"}}
"""


def test_tiers_are_those_of_the_documents_source(tmp_path: Path) -> None:
    for name in ("crawl", "books"):
        pq.write_table(pa.table({"id": [name], "text": ["Women belong in the kitchen."]}), tmp_path / f"{name}.parquet")
    run(RUN.format(root=tmp_path))
    tier = {row["id"]: row["toxicity_tier"] for row in rows_of(tmp_path / "out")}
    assert tier == {"crawl": "mild", "books": "none"}
    assert {row["id"] for row in rows_of(tmp_path / "out", "ledger")} == {"crawl"}
    assert audit_output(str(tmp_path / "out"), full=True, sources=()).exit_code == 0


def test_tiers_for_a_source_that_does_not_lead_to_the_node_are_refused(tmp_path: Path) -> None:
    text = RUN.format(root=tmp_path)
    with pytest.raises(
        ConfigError, match="tiers_by_source.*no source `bookz` leads to this node; did you mean `books`"
    ):
        build(load(text.replace("books: commons", "bookz: commons"), "two.yaml"))
    apart = text.replace("policy", "from: crawl, policy") + f'  raw: {{from: books, path: "{tmp_path}/raw"}}'
    with pytest.raises(ConfigError, match="no source `books` leads to this node"):
        build(load(apart, "two.yaml"))


def test_calibrated_probabilities_ascend_and_clean_shares_never_rise() -> None:
    model = model_at(EMBEDDED)
    assert (np.diff(model.probability, axis=1) > 0).all()
    assert model.probability.min() > 0 and model.probability.max() <= 1
    for tail, cuts in ((model.clean_tail, model.cuts), (model.passage_tail, model.passage_cuts)):
        assert (np.diff(tail, axis=2) <= 0).all()
        assert (np.diff(cuts, axis=2) >= 0).all()
    steps = np.repeat(np.arange(0, 4096, 16, dtype=np.int16)[:, None], 6, axis=1)
    assert (model.steps_of(model.scores(steps)) == steps).all()


def test_batches_read_at_once_and_one_after_the_other_have_equal_scores() -> None:
    """A model remembers words from batch to batch; two threads must not write to one memory."""
    texts = [f"{CLEAN}word{i} met other{i % 7} people. {HATEFUL if i % 5 == 0 else ''}" for i in range(2000)]
    batches = [pa.table({"text": pa.array(texts[i::8], pa.large_string())}) for i in range(8)]
    one_by_one = [stage().measure(batch, StageContext()) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        at_once = list(pool.map(lambda batch: stage().measure(batch, StageContext()), batches * 2))
    for found, expected in zip(at_once, one_by_one * 2, strict=True):
        assert {name: column.to_pylist() for name, column in found.items()} == {
            name: column.to_pylist() for name, column in expected.items()
        }
