"""Telling close languages apart by their words."""

from __future__ import annotations

import json
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.pipeline.document import text_buffers
from gristmill.pipeline.stage import StageContext
from gristmill.stages.language import close_languages
from gristmill.stages.language.close_languages import groups, letter_table
from gristmill.stages.language.kernels.close_languages import count_votes
from gristmill.stages.language.stage import Language, LanguageConfig

SERBIAN = "Deo vremena proveli su u gradu, gde je uvek bilo lepo, a posle su tražili mesto za odmor pored reke."
CROATIAN = "Tko želi sudjelovati, neka tijekom tjedna pošalje izvješće; uvjeti su objavljeni u siječnju i veljači."
BOSNIAN = "Prije sedmicu dana niko nije znao tačno vrijeme, a historija grada poznata je i u Evropi već hiljadu godina."
INDONESIAN = "Dia bilang bahwa kota itu berbeda karena kualitas udara di sana lebih baik dari kantor kami saja."
MALAY = "Dia berkata bahawa bandar itu berbeza kerana kualiti udara di sana lebih baik daripada pejabat kami sahaja."


def label(text: str, **config: object) -> str:
    stage = Language(LanguageConfig.model_validate(config))
    row = pa.table(
        dict(stage.measure(pa.table({"text": pa.array([text], pa.large_string())}), StageContext()))
    ).to_pylist()[0]
    return f"{row['language']}_{row['language_script']}"


@pytest.mark.parametrize("backend", ["langid", "fasttext"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SERBIAN, "srp_Latn"),
        (CROATIAN, "hrv_Latn"),
        (BOSNIAN, "bos_Latn"),
        (INDONESIAN, "ind_Latn"),
        (MALAY, "zsm_Latn"),
    ],
)
def test_a_text_with_the_words_of_one_language_gets_its_label(backend: str, text: str, expected: str) -> None:
    assert label(text, backend=backend) == expected


def test_without_separation_the_models_answer_stands() -> None:
    assert label(BOSNIAN, backend="fasttext", separate=False) == "srp_Latn"


def test_the_winner_takes_the_score_and_the_place_of_the_first_answer() -> None:
    batch = pa.table({"text": pa.array([BOSNIAN], pa.large_string())})
    own, separated = (
        pa.table(
            dict(Language(LanguageConfig(backend="fasttext", separate=separate)).measure(batch, StageContext()))
        ).to_pylist()[0]
        for separate in (False, True)
    )
    assert separated["language_score"] == own["language_score"] > 0.4
    before, after = json.loads(own["top_langs"]), json.loads(separated["top_langs"])
    assert after["bos_Latn_score"] == before["srp_Latn_score"]
    assert after["srp_Latn_score"] == before["bos_Latn_score"]
    assert list(before.values()) == list(after.values())


@pytest.mark.parametrize("text", ["Вријеме је лијепо.", "Guten Tag, the weather is fine, gde vreme mesto.", "", "..."])
def test_texts_of_other_languages_and_scripts_are_left_alone(text: str) -> None:
    assert label(text) == label(text, separate=False)


def votes_by_regular_expressions(text: str, group: int) -> list[int]:
    words = (close_languages._SOUTH_SLAVIC, close_languages._MALAY)[group]
    labels = groups()[group].labels
    votes = [0] * len(labels)
    lowered = "".join(char.lower() if ord(char) < 0x180 and len(char.lower()) == 1 else char for char in text)
    for word in re.findall(r"[^\W\d_]+", lowered):
        voted = set()
        for named, listed in words.items():
            for entry in listed.split():
                if word == entry or (entry.endswith("*") and word.startswith(entry[:-1])):
                    voted |= set(named.split())
        for name in voted:
            votes[labels.index(name)] += 1
    return votes


LISTED = [
    entry.rstrip("*")
    for words in (close_languages._SOUTH_SLAVIC, close_languages._MALAY)
    for listed in words.values()
    for entry in listed.split()
]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(LISTED),
            st.sampled_from(LISTED).map(str.upper),
            st.sampled_from(LISTED).map(lambda word: word + "a"),
            st.sampled_from(LISTED).map(lambda word: "x" + word),
            st.text("abčŽž é1_'日", max_size=4),
        ),
        max_size=12,
    ),
    st.sampled_from([0, 1]),
)
def test_votes_are_those_that_regular_expressions_count(words: list[str], group: int) -> None:
    text = " ".join(words)
    data, offsets = text_buffers(pa.array(["vreme karena", text], pa.large_string()))
    automaton = groups()[group]
    out = np.full((1, len(automaton.labels)), 9, np.int64)
    count_votes(
        data,
        offsets,
        np.array([1]),
        letter_table(),
        automaton.moves,
        automaton.word_votes,
        automaton.prefix_votes,
        out,
    )
    assert out[0].tolist() == votes_by_regular_expressions(text, group)


def test_no_word_is_listed_for_all_languages_of_a_group_or_twice() -> None:
    for words, group in zip((close_languages._SOUTH_SLAVIC, close_languages._MALAY), groups(), strict=True):
        entries = [entry for listed in words.values() for entry in listed.split()]
        assert len(entries) == len(set(entries))
        assert all(set(named.split()) < set(group.labels) for named in words)
