"""The quality stage: decisions against datatrove's filters, languages with and without a config, marks, bad configs."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from datatrove.data import Document
from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
from pydantic import ValidationError

from gristmill.launch.quickstart.small_web.pages import load_pages
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.stage import DROPPED, Decisions, StageContext
from gristmill.stages.labels.labels import canonical_labels
from gristmill.stages.quality.language_configs import RULE_OF_KEY, TABLE, read_config, read_table
from gristmill.stages.quality.rules import ENGLISH, RULE_NAMES, RULES, UNIVERSAL
from gristmill.stages.quality.stage import FAILED, Quality, QualityConfig

CONFIGS = Path(__file__).parents[2] / "invariance_cases" / "language_configs"

PROSE = (
    "The baker of the village was known to have risen before dawn for forty years, and nobody could remember a morning "
    "without the smell of bread. When the new road came, people said that the bakery would close. It did not. Travellers "
    "stopped, bought a loaf, and told others about it; by the end of the summer two apprentices had been hired, and the "
    "old oven, which had been built by the baker's grandfather, was lit twice a day instead of once."
)


def run(
    texts: Sequence[str], labels: Sequence[str | None] | None = None, **config: Any
) -> tuple[pa.Table, Decisions, Quality]:
    """The batch with its signals, and the decisions."""
    stage = Quality(QualityConfig(**config))
    columns: dict[str, pa.Array] = {"text": pa.array(texts, pa.large_string())}
    if labels is not None:
        columns["language"] = pa.array([label and label[:3] for label in labels], pa.string())
        columns["language_script"] = pa.array([label and label[4:] for label in labels], pa.string())
    batch = pa.table(columns)
    made = stage.measure(batch, StageContext())
    assert pa.schema([(name, made[name].type) for name in stage.spec.signals.names]) == stage.spec.signals
    full = pa.table(columns | dict(made))
    return full, stage.decide(full, None, StageContext()), stage


def failed(decisions: Decisions) -> list[list[str]]:
    return decisions.columns[FAILED].to_pylist()


def pages(seed: int, count: int) -> list[str]:
    """English pages, most of them with something that some rule may dislike, near thresholds and far from them."""
    draw = random.Random(seed)
    sentences = [sentence + "." for sentence in PROSE.split(". ")]
    nouns = "bread road oven village morning summer loaf dawn apprentice grandfather smell year end".split()
    found = []
    for _ in range(count):
        parts = []
        for _ in range(draw.randint(1, 25)):
            words = draw.choices(["the", "of", "and", "a", *nouns], k=draw.randint(3, 18))
            parts.append(
                " ".join(words).capitalize() + draw.choice([".", ".", "!", "...", "", " #tag", ",", " 12 - 4"])
            )
        parts += draw.choices(sentences, k=draw.randint(0, 8))
        parts += [draw.choice(["- item", "Read more...", "* * *", "Home | News", "“Well-known” can't"])] * draw.randint(
            0, 6
        )
        mess = [
            [],
            [],
            ["# # #"] * 9,
            ["12 34 56 7"] * 25,
            ["- x y"] * 60,
            ["Und so weiter und so fort"] * 9,
            ["so..."] * 20,
        ]
        parts = [*parts[: draw.choice([3, 99])], *draw.choice(mess)]
        draw.shuffle(parts)
        found.append("".join(part + draw.choice([" ", " ", "\n", "\n\n"]) for part in parts))
    return found


def theirs(text: str) -> list[str | None]:
    """What datatrove's three filters with FineWeb's settings say: a reason, or None."""
    document = Document(text=text, id="0")
    found = []
    for made in (GopherRepetitionFilter(), GopherQualityFilter(), FineWebQualityFilter()):
        result = made.filter(document)
        found.append(result[1] if isinstance(result, tuple) else None if result else "?")
    return found


REASONS = {
    "duplicated_5_n_grams": "dup_5_grams", "duplicated_6_n_grams": "dup_6_grams", "duplicated_7_n_grams": "dup_7_grams",
    "duplicated_8_n_grams": "dup_8_grams", "duplicated_9_n_grams": "dup_9_grams",
    "duplicated_10_n_grams": "dup_10_grams", "gopher_short_doc": "too_few_words", "gopher_long_doc": "too_many_words",
    "gopher_below_avg_threshold": "words_too_short", "gopher_above_avg_threshold": "words_too_long",
    "gopher_too_many_hashes": "too_many_hashes", "gopher_too_many_ellipsis": "too_many_ellipses",
    "gopher_too_many_bullets": "too_many_bullet_lines", "gopher_too_many_end_ellipsis": "too_many_ellipsis_lines",
    "gopher_below_alpha_threshold": "too_few_alpha_words", "gopher_enough_stop_words": "too_few_stop_words",
    "line_punct_ratio": "too_few_terminal_lines", "short_line_ratio": "too_many_short_lines",
    "char_dup_ratio": "dup_content_chars", "list_ratio": "too_many_newlines", "empty": "no_words",
}  # fmt: skip


@pytest.mark.parametrize("position", range(3))
def test_each_filter_decides_as_datatroves_and_its_first_rule_is_theirs(position: int) -> None:
    name = ("gopher_repetition", "gopher_quality", "fineweb")[position]
    texts = pages(7, 250)
    _, decisions, stage = run(texts, language="eng_Latn", filters=(name,))
    ours = [None if rule < 0 else stage.spec.rules[rule] for rule in decisions.rule.tolist()]
    reasons = [theirs(text)[position] for text in texts]
    assert ours == [None if reason is None else REASONS.get(reason, reason) for reason in reasons]
    # The pages are no test of a filter that keeps them all or drops them all.
    assert 20 < sum(rule is not None for rule in ours) < 240


def test_good_prose_is_kept_and_each_fault_is_named() -> None:
    spam = "buy cheap watches here " * 40
    cases = {
        PROSE: [],
        "": ["no_words"],
        " \n\u2028 ": ["no_words"],
        "Too short to judge.": ["too_few_words"],
        PROSE + "\n" + "# " * 30: ["too_many_hashes"],
        spam: ["top_4_gram", "dup_10_grams", "too_few_stop_words"],
        "\n".join(["Read more..."] * 40): ["dup_line_frac", "too_many_ellipsis_lines", "dup_content_chars"],
    }
    _, decisions, _ = run(list(cases), language="eng_Latn")
    for expected, found in zip(cases.values(), failed(decisions), strict=True):
        assert set(expected) <= set(found)
        assert bool(expected) == bool(found)
    assert decisions.port.tolist() == [0] + [DROPPED] * 6


def test_signals_of_one_page_are_pinned() -> None:
    batch, _, _ = run([PROSE + "\n- one...\n- one...\n\n# Two"], language="eng_Latn")
    row = {name.removeprefix("quality_"): batch[name][0].as_py() for name in batch.column_names[1:]}
    assert {name: round(value, 6) if isinstance(value, float) else value for name, value in row.items()} == PINNED


PINNED: dict[str, Any] = {
    "has_words": True, "words": 86, "stop_words": 6, "dup_para_frac": 0.0, "dup_para_char_frac": 0.0,
    "dup_line_frac": 0.25, "dup_line_char_frac": 0.017204, "top_2_gram": 0.032258, "top_3_gram": 0.03871,
    "top_4_gram": 0.034409, "dup_5_grams": 0.0, "dup_6_grams": 0.0, "dup_7_grams": 0.0, "dup_8_grams": 0.0,
    "dup_9_grams": 0.0, "dup_10_grams": 0.0, "mean_word_length": 4.139535, "hash_ratio": 0.009709,
    "ellipsis_ratio": 0.019417, "bullet_line_ratio": 0.4, "ellipsis_line_ratio": 0.4,
    "alpha_word_ratio": 0.834951, "terminal_line_ratio": 0.75, "short_line_ratio": 0.75,
    "dup_content_char_frac": 0.017354, "newline_ratio": 0.038835, "words_fallback": False,
}  # fmt: skip


def test_symbols_emoji_and_other_scripts_pass_through() -> None:
    texts = ["!!! ??? ***", "😀" * 50, "👩‍👩‍👧 " * 60, "\u200b\u200b", "漢字", "\x00", "12 34", "é" * 100]
    batch, decisions, _ = run(texts, ["und_Zyyy"] * len(texts))
    assert [rules == [] for rules in failed(decisions)] == [False, True, True, False, False, False, False, False]
    for name in batch.column_names[3:]:
        if pa.types.is_floating(batch[name].type):
            assert np.isfinite(batch[name].to_numpy()).all(), name


def test_lone_surrogates_and_other_bytes_that_are_no_utf8_are_judged_like_any_text() -> None:
    bodies = [b"\xed\xa0\x80 \xed\xb0\x80", b"half \xed\xa0\xbd a pair", b"\xff\xfe\x00 cut \xe2\x80", PROSE.encode()]
    column = pa.array(bodies, pa.large_binary()).view(pa.large_string())
    names = pa.array(["eng"] * len(bodies)), pa.array(["Latn"] * len(bodies))
    columns = {"text": column, "language": names[0], "language_script": names[1]}
    stage = Quality(QualityConfig(c4=True))
    made = stage.measure(pa.table(columns), StageContext())
    decisions = stage.decide(pa.table(columns | dict(made)), None, StageContext())
    assert [rules == [] for rules in failed(decisions)][:3] == [False] * 3
    alone, _, _ = run([PROSE], ["eng_Latn"], c4=True)
    for name in stage.spec.signals.names:
        assert made[name][3] == alone[name][0], name
        if pa.types.is_floating(made[name].type):
            assert np.isfinite(made[name].to_numpy()).all(), name


def test_a_language_without_a_config_is_judged_by_the_rules_that_need_none() -> None:
    finnish = "Kylän leipuri oli noussut ennen aamunkoittoa neljänkymmenen vuoden ajan ja kaikki muistivat sen hyvin. "
    varied = " ".join(finnish.replace("Kylän", f"Kylä {n}n").replace("hyvin", f"hyvin {n}") for n in range(8))
    texts = [varied, "Lyhyt teksti.", varied + "\n# # # #" * 40, "Rivi toistuu tässä.\n" * 100]
    _, decisions, stage = run(texts, ["fin_Latn"] * 4, language_configs=CONFIGS)
    assert failed(decisions)[0] == []
    assert failed(decisions)[1] == ["too_few_words"]
    assert "too_many_hashes" in failed(decisions)[2]
    assert failed(decisions)[3] == ["dup_content_chars"]
    assert set().union(*failed(decisions)) <= {*UNIVERSAL, "no_words"}
    assert decisions.tallies == {"no_config:fin_Latn": 4}


def test_thresholds_and_stop_words_are_those_of_the_documents_language() -> None:
    german = "Der alte Müller ging an jedem Morgen mit seinem Hund und einem Korb in die Stadt {}. " * 8
    texts = [german.format(*range(8)), PROSE, german.replace(" und ", " u. ").replace("die", "d.")]
    texts = [" ".join(part + str(n) for n, part in enumerate(text.split(". "))) for text in texts]
    batch, decisions, stage = run(texts, ["deu_Latn", "eng_Latn", "deu_Latn"], language_configs=CONFIGS)
    assert batch["quality_stop_words"].to_pylist() == [4, 6, 2]
    loose = stage._thresholds("deu_Latn")
    assert loose["too_few_alpha_words"] == 0.7 and loose["dup_content_chars"] == 0.1
    assert loose.get("too_many_short_lines") is None and loose.get("dup_para_frac") is None
    assert dict(stage._thresholds("eng_Latn")) == dict(ENGLISH)
    assert decisions.tallies == {}


def prose(label: str) -> list[str]:
    """Good pages of the small web in a language: those that test no rule's limits."""
    kinds = {"news", "encyclopedic", "blog", "review", "interview", "howto"}
    return [
        page.text
        for page in load_pages()
        if page.language == label and page.verdict == "keep" and page.trap is None and page.kind in kinds
    ]


LANGUAGES = sorted({page.language for page in load_pages()} - {"und"})


@pytest.mark.parametrize("label", LANGUAGES)
def test_good_pages_of_a_language_pass_with_what_comes_with_gristmill(label: str) -> None:
    texts = prose(label)
    assert len(texts) >= 2
    _, decisions, _ = run(texts, [label] * len(texts))
    assert failed(decisions) == [[]] * len(texts)
    assert not any(name.startswith("no_config") for name in decisions.tallies)


def test_with_english_values_hardly_any_page_of_another_language_would_pass() -> None:
    # The trap that the table avoids; without it the test above would show nothing.
    texts = [text for label in LANGUAGES if label != "eng_Latn" for text in prose(label)]
    _, decisions, _ = run(texts, language="eng_Latn")
    assert sum(rules == [] for rules in failed(decisions)) <= 0.05 * len(texts)


def test_the_table_names_canonical_languages_and_states_only_keys_of_the_format() -> None:
    table = read_table()
    raw = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    assert set(table) == set(raw) <= canonical_labels()
    assert len(table) > 150 and "eng_Latn" not in table
    for label, own in raw.items():
        assert set(own) - {"stopwords"} <= set(RULE_OF_KEY), label
        words, thresholds = table[label].stop_words, table[label].thresholds
        assert len(set(words)) == len(words) and all(word == word.strip() for word in words), label
        assert words == tuple(own["stopwords"]), label
        assert all(thresholds[RULE_OF_KEY[key]] == own[key] for key in set(own) - {"stopwords"}), label
        assert thresholds["too_few_stop_words"] == (2 if words else None), label
        assert len(words) >= 8 or not words, label
        assert 1 <= (thresholds["words_too_short"] or 0) <= 3 < (thresholds["words_too_long"] or 0), label
        assert thresholds["dup_content_chars"] == UNIVERSAL["dup_content_chars"], label
    # Languages that have neither a list nor a script in which words can be told without one.
    assert {label for label in table if not table[label].stop_words} == {"khm_Khmr", "lao_Laoo", "mya_Mymr"}


def test_a_language_without_stop_words_is_not_dropped_for_having_none() -> None:
    text = "ພາສາລາວເປັນພາສາທີ່ໃຊ້ໃນປະເທດລາວແລະມີຄົນເວົ້າຫຼາຍລ້ານຄົນ " * 12
    batch, decisions, _ = run([text], ["lao_Laoo"])
    assert batch["quality_stop_words"].to_pylist() == [None]
    assert "too_few_stop_words" not in failed(decisions)[0]


def test_overrides_may_name_languages_of_the_table_and_no_others() -> None:
    Quality(QualityConfig(thresholds={"deu_Latn": {"too_few_words": 3}})).check_files()
    with pytest.raises(
        ConfigError, match=r"deu_Latm: the table that comes with Gristmill has no config.*deu_Latn \(German\)"
    ):
        Quality(QualityConfig(thresholds={"deu_Latm": {"too_few_words": 3}})).check_files()


def test_a_null_label_counts_as_undetermined() -> None:
    _, decisions, _ = run([PROSE, PROSE, PROSE], [None, "eng_Latn", None])
    assert decisions.tallies == {"no_config:und_Zyyy": 2}
    assert failed(decisions) == [[], [], []]


def test_the_fallback_for_scripts_without_spaces_is_counted() -> None:
    text = "磨坊主说他必须在中午以前和其他人一起到桥边去，然后他们一起吃午饭。" * 3
    settings = {"language_configs": CONFIGS, "segmenters": "none"}
    batch, decisions, _ = run([text, PROSE], ["cmn_Hani", "eng_Latn"], **settings)
    assert batch["quality_words_fallback"].to_pylist() == [True, False]
    assert decisions.tallies == {"words_fallback:cmn_Hani": 1}


def test_marking_keeps_every_document_and_records_the_same_rules() -> None:
    texts = [PROSE, "Short.", "# " * 99]
    _, dropped, _ = run(texts, language="eng_Latn")
    _, marked, _ = run(texts, language="eng_Latn", on_fail="mark")
    assert marked.port.tolist() == [0, 0, 0]
    assert dropped.port.tolist() == [0, DROPPED, DROPPED]
    assert failed(marked) == failed(dropped)
    assert (marked.failed == dropped.failed).all() and (marked.rule == dropped.rule).all()


def test_the_first_failing_rule_states_value_and_threshold() -> None:
    _, decisions, stage = run(["Just five words stand here."], language="eng_Latn", filters=("gopher_quality",))
    assert stage.spec.rules[decisions.rule[0]] == "too_few_words"
    assert (decisions.value[0], decisions.threshold[0]) == (5, 50)


def test_filters_are_tried_in_the_order_in_which_they_are_named() -> None:
    text = ["Read more...\n" * 30]
    _, first, stage = run(text, language="eng_Latn", filters=("fineweb", "gopher_repetition"))
    assert stage.spec.rules[first.rule[0]] == "too_many_short_lines"
    _, second, stage = run(text, language="eng_Latn", filters=("gopher_repetition", "fineweb"))
    assert stage.spec.rules[second.rule[0]] == "dup_line_frac"
    assert set(failed(first)[0]) == set(failed(second)[0])


def test_overrides_go_before_configs_and_those_of_a_language_before_all() -> None:
    overrides: Mapping[str, Any] = {"too_few_words": 3, "deu_Latn": {"too_few_words": None, "top_2_gram": 0.9}}
    stage = Quality(QualityConfig(language_configs=CONFIGS, thresholds=overrides))
    stage.check_files()
    assert stage._thresholds("eng_Latn")["too_few_words"] == 3
    assert stage._thresholds("fin_Latn")["too_few_words"] == 3
    assert stage._thresholds("deu_Latn")["too_few_words"] is None
    assert stage._thresholds("deu_Latn")["top_2_gram"] == 0.9
    _, decisions, _ = run(["Nur drei Wörter."], ["deu_Latn"], language_configs=CONFIGS, thresholds=overrides)
    assert "too_few_words" not in failed(decisions)[0]


def test_a_value_on_the_threshold_passes() -> None:
    text = " ".join(f"word{n}" for n in range(50))
    for limit, expected in ((50, False), (51, True)):
        _, decisions, _ = run([text], language="eng_Latn", thresholds={"too_few_words": limit})
        assert ("too_few_words" in failed(decisions)[0]) is expected


def test_an_empty_batch_is_measured_and_decided() -> None:
    batch, decisions, _ = run([], [])
    assert batch.num_rows == 0 and len(decisions.port) == 0 and failed(decisions) == []


def test_c4_judges_what_its_line_rules_would_leave_and_changes_no_text() -> None:
    line = "The baker rose at {} and lit the oven for the village."
    page = "\n".join(line.format(n) for n in range(6))
    cases = {
        page: [],
        page + "\nWe use cookies, as you know.\nHome | News": [],
        page[: page.index("4")]: ["too_few_sentences"],
        page + "\nLorem Ipsum is put here for now.": ["lorem_ipsum"],
        page + "\nfor (i of list) { bake(i)!": ["curly_bracket"],
        page + "\n{ no sentence }": [],
        page + "\nPlease enable Javascript, or else { nothing } works.": [],
        "": ["no_words", "too_few_sentences"],
    }
    batch, decisions, stage = run(list(cases), language="eng_Latn", filters=(), c4=True)
    assert failed(decisions) == list(cases.values())
    assert stage.spec.rules == ("no_words", "too_few_sentences", "lorem_ipsum", "curly_bracket", "too_few_chars_left")
    assert batch["text"].to_pylist() == list(cases)
    left = len(page) - 5
    assert batch["quality_c4_left_char_ratio"].to_pylist()[1] == left / len(list(cases)[1])
    assert batch["quality_c4_policy_lines"].to_pylist()[1] == batch["quality_c4_no_terminal_lines"].to_pylist()[1] == 1
    kept, _, _ = run([list(cases)[1]], language="eng_Latn", c4=True, c4_line_ends=False)
    assert kept["quality_c4_no_terminal_lines"].to_pylist() == [0]
    assert kept["quality_c4_left_char_ratio"][0].as_py() > left / len(list(cases)[1])
    _, strict, _ = run([list(cases)[1]], language="eng_Latn", c4=True, thresholds={"too_few_chars_left": 0.95})
    assert "too_few_chars_left" in failed(strict)[0]


def test_c4_is_off_unless_asked_for_and_counts_sentences_in_english_alone() -> None:
    batch, _, stage = run([PROSE], language="eng_Latn")
    assert not [name for name in [*batch.column_names, *stage.spec.rules] if "c4" in name or "lorem" in name]
    texts = ["Lyhyt teksti.", "Lyhyt teksti on tässä {näin}.", "Lorem ipsum on lyhyt teksti."]
    _, decisions, _ = run(texts, ["fin_Latn"] * 3, filters=(), c4=True, language_configs=CONFIGS)
    assert failed(decisions) == [[], ["curly_bracket"], ["lorem_ipsum"]]


def test_signals_do_not_depend_on_thresholds_or_marking() -> None:
    for field in ("filters", "on_fail", "thresholds"):
        assert QualityConfig.field_kind(field) == "threshold"
    for field in ("language", "language_configs", "short_line_length", "c4", "c4_line_ends"):
        assert QualityConfig.field_kind(field) == "signal"


def test_what_the_config_will_not_do_is_said_beforehand() -> None:
    (notice,) = Quality(QualityConfig(language="tlh_Latn")).spec.notices
    assert notice.startswith("tlh_Latn is not among the") and "gristmill adapt tlh_Latn" in notice
    for label in (None, "eng_Latn", "deu_Latn"):
        assert list(Quality(QualityConfig(language=label)).spec.notices) == []
    missing = Quality(QualityConfig(language="fin_Latn", language_configs=CONFIGS))
    assert "no config for fin_Latn" in list(missing.spec.notices)[-1]


def test_language_scores_of_fineweb2_are_not_applied_and_a_notice_says_so() -> None:
    (notice,) = Quality(QualityConfig(language_configs=CONFIGS)).spec.notices
    assert "`language_score` thresholds in" in notice and "not applied" in notice and "GlotLID" in notice


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"thresholds": {"too_few_word": 3}}, "did you mean `too_few_words`"),
        ({"thresholds": {"deu_Latn": {"top_5_gram": 3}}}, "thresholds.deu_Latn.*did you mean `top_4_gram`"),
        ({"filters": ["gopher_quality", "gopher_quality"]}, "names a filter twice"),
        ({"filters": []}, "Name at least 1"),
        ({"filters": ["c4"]}, "set `c4: true`"),
        ({"thresholds": {"lorem_ipsum": 2}}, "`lorem_ipsum` is a rule of C4's.*Set `c4: true`"),
        ({"language": "germanic"}, "pattern"),
        ({"language": "Serbian"}, "name one of srp_Cyrl, srp_Latn"),
        ({"on_fail": "delete"}, "drop"),
        ({"filter": ["fineweb"]}, "Extra inputs"),
    ],
)
def test_wrong_settings_are_refused(config: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        QualityConfig(**config)


def test_an_override_for_a_language_without_a_config_is_refused() -> None:
    stage = Quality(QualityConfig(language_configs=CONFIGS, thresholds={"deu_Latm": {"too_few_words": 3}}))
    with pytest.raises(ConfigError, match=r"thresholds.deu_Latm.*did you mean deu_Latn \(German\)"):
        stage.check_files()


def written(folder: Path, change: str = "", name: str = "deu_Latn.yml", drop: str | None = None) -> Path:
    lines = (CONFIGS / "deu_Latn.yml").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if drop is None or not line.startswith(drop)) + "\n" + change
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "drop", "message"),
    [
        ("", "language_score", "deu_Latn.yml: the key `language_score` is missing"),
        ("line_punct_th: 0.1\n", "line_punct_thr", "unknown key `line_punct_th`; did you mean `line_punct_thr`"),
        ("new_line_ratio: 0.3\n", None, "the key `new_line_ratio` is listed 2 times"),
        ("new_line_ratio: many\n", "new_line_ratio", "`new_line_ratio` must be a number, found str 'many'"),
        ("new_line_ratio: true\n", "new_line_ratio", "`new_line_ratio` must be a number, found bool True"),
        ("new_line_ratio: .nan\n", "new_line_ratio", "`new_line_ratio` must be a number"),
        ("new_line_ratio:\n", "new_line_ratio", "`new_line_ratio` must be a number, found nothing"),
        ("  - indented: [\n", None, "cannot be read as YAML"),
        ("extra: 1\n", None, "unknown key `extra`"),
    ],
)
def test_a_broken_config_file_is_refused_by_name_and_key(
    tmp_path: Path, change: str, drop: str | None, message: str
) -> None:
    written(tmp_path, change, drop=drop)
    with pytest.raises(ConfigError, match=message):
        Quality(QualityConfig(language_configs=tmp_path)).check_files()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("top_n_grams", "0.2", "`top_n_grams` must be a list of .n, threshold. with n from 2 to 4"),
        ("top_n_grams", "[[5, 0.2]]", "found list .5, 0.2. in it"),
        ("top_n_grams", "[[2, 0.2], [2, 0.3]]", "gives n = 2 twice"),
        ("dup_n_grams", "[[5, x]]", "`dup_n_grams` must be a number"),
        ("stopwords", "[ja, no]", "found bool False in it. Put words that YAML reads as something else"),
        ("stopwords", "der", "`stopwords` must be a list of words"),
    ],
)
def test_lists_of_a_config_file_are_checked(tmp_path: Path, key: str, value: str, message: str) -> None:
    config = yaml.safe_load((CONFIGS / "deu_Latn.yml").read_text(encoding="utf-8"))
    del config[key]
    path = tmp_path / "deu_Latn.yml"
    path.write_text(yaml.safe_dump(config) + f"{key}: {value}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_config(path)


def test_a_folder_without_configs_or_with_strange_names_is_refused(tmp_path: Path) -> None:
    def check(folder: Path) -> None:
        Quality(QualityConfig(language_configs=folder)).check_files()

    with pytest.raises(ConfigError, match="found nothing at"):
        check(tmp_path / "missing")
    with pytest.raises(ConfigError, match="holds no .yml file"):
        check(tmp_path)
    with pytest.raises(ConfigError, match="found a file at"):
        check(written(tmp_path))
    (tmp_path / "README.md").write_text("not a config")
    check(tmp_path)
    written(tmp_path, name="german.yml")
    with pytest.raises(ConfigError, match="german.yml: the name is not a language label"):
        check(tmp_path)


def test_zero_switches_off_what_datatrove_switches_off_at_zero(tmp_path: Path) -> None:
    path = written(tmp_path, "dup_line_frac: 0\nmin_avg_word_length: 0\n", drop="dup_line_frac")
    text = path.read_text(encoding="utf-8").replace("min_avg_word_length: 3\n", "")
    path.write_text(text, encoding="utf-8")
    thresholds = read_config(path).thresholds
    assert thresholds["dup_line_frac"] is None and thresholds["words_too_short"] is None
    assert thresholds["top_2_gram"] == 0.2


def test_rules_have_short_clear_names_of_their_own() -> None:
    assert len(set(RULE_NAMES)) == len(RULES) <= 63
    for rule in RULES:
        # A rule that asks for more says "few" or "short", never "enough" or "min".
        assert rule.at_least == (rule.name.startswith("too_few") or rule.name == "words_too_short")
    assert set(ENGLISH) == set(RULE_NAMES)


def test_a_star_stands_for_every_language() -> None:
    config = QualityConfig(
        thresholds={"*": {"too_few_words": 20, "top_2_gram": None}, "deu_Latn": {"too_few_words": 3}}
    )
    assert (
        config.thresholds
        == QualityConfig(
            thresholds={"too_few_words": 20, "top_2_gram": None, "deu_Latn": {"too_few_words": 3}}
        ).thresholds
    )
    stage = Quality(config)
    stage.check_files()
    assert [stage._thresholds(label)["too_few_words"] for label in ("eng_Latn", "deu_Latn")] == [20, 3]
    for wrong, said in (({"*": 3}, "expected a map"), ({"*": {"top_2_gram": 1}, "top_2_gram": 2}, "mean the same")):
        with pytest.raises(ValidationError, match=said):
            QualityConfig(thresholds=wrong)


def test_filters_are_those_that_a_config_lists() -> None:
    assert QualityConfig.model_validate_json('{"filters": ["fineweb"]}', strict=True).filters == ("fineweb",)
