"""The canonical labels, and the table that maps models' labels to them."""

from __future__ import annotations

import re

import pytest

from gristmill.pipeline.errors import ConfigError
from gristmill.stages.fasttext import model_file as fasttext_format
from gristmill.stages.kernels.unicode import SCRIPT_NAMES
from gristmill.stages.labels.labels import MODEL_CODES, canonical_label, canonical_labels, codes, map_labels, pairs_of
from gristmill.stages.language import langid_format
from gristmill.stages.language.identify import default_model


def test_canonical_labels_are_fineweb2s_1929_pairs_and_english() -> None:
    labels = canonical_labels()
    assert len(labels) == 1930 and "eng_Latn" in labels
    assert all(re.fullmatch(r"[a-z]{3}_[A-Z][a-z]{3}", label) for label in labels)


def test_every_pair_in_the_table_is_canonical_and_its_script_is_one_that_texts_can_have() -> None:
    assert [pair for pairs in codes().values() for pair in pairs if pair not in canonical_labels()] == []
    assert [pair for pairs in codes().values() for pair in pairs if pair[4:] not in SCRIPT_NAMES] == []
    assert all(len({pair[4:] for pair in pairs}) == len(pairs) for pairs in codes().values())


@pytest.mark.parametrize(("backend", "size"), [("langid", 140), ("fasttext", 176)])
def test_every_label_of_a_default_model_is_mapped_and_only_no_language_is_undetermined(backend: str, size: int) -> None:
    path = default_model(backend)
    model = langid_format.read_model(path).classes if backend == "langid" else fasttext_format.read_model(path).labels
    assert sorted(set(model)) == sorted(MODEL_CODES[backend]) and len(set(model)) == size
    assert [label for label in model if not codes().get(label) and label != "zxx"] == []
    assert [code for code, pairs in codes().items() if not pairs] == ["zxx"]


def test_the_table_has_no_code_that_no_model_gives() -> None:
    assert set(codes()) == set(MODEL_CODES["langid"]) | set(MODEL_CODES["fasttext"])


@pytest.mark.parametrize(
    ("language", "script", "expected"),
    [
        ("pes", "Arab", "fas_Arab"),
        ("zho", "Hans", "cmn_Hani"),
        ("jpn", "Hrkt", "jpn_Jpan"),
        ("kor", "Kore", "kor_Hang"),
        ("est", "Latn", "ekk_Latn"),
        ("por", "Latn", "por_Latn"),
        ("bos", "Cyrl", "bos_Cyrl"),
    ],
)
def test_labels_of_labelled_data_are_folded_as_fineweb2_folds_them(language: str, script: str, expected: str) -> None:
    assert canonical_label(language, script) == expected


@pytest.mark.parametrize(
    ("label", "pairs"),
    [
        ("pt", ("por_Latn",)),
        ("als", ("gsw_Latn",)),  # lid.176 has the Wikipedia's name of Alemannic; Albanian is sq.
        ("sq", ("als_Latn",)),
        ("zh", ("cmn_Hani",)),
        ("fa", ("fas_Arab",)),
        ("et", ("ekk_Latn",)),
        ("ar", ("arb_Arab",)),
        ("no", ("nob_Latn",)),
        ("sr", ("srp_Cyrl", "srp_Latn")),
        ("uz", ("uzn_Latn", "uzn_Cyrl")),
        ("por_Latn", ("por_Latn",)),
        ("xyz_Latn", ("xyz_Latn",)),
        ("zxx_Zzzz", ()),
        ("und_Latn", ()),
        ("english", None),
        ("por_latn", None),
    ],
)
def test_macro_languages_and_odd_codes_map_as_fineweb2_names_them(label: str, pairs: tuple[str, ...] | None) -> None:
    assert pairs_of(label) == pairs


def test_a_model_whose_labels_name_no_language_is_refused_with_an_example() -> None:
    with pytest.raises(ConfigError, match=r"toxic.bin: 2 of 3 labels name no language, such as 'toxic', 'clean'"):
        map_labels(["en", "toxic", "clean"], "toxic.bin")
