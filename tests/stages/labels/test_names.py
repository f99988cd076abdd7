"""Languages as people write them."""

from __future__ import annotations

import pytest

from gristmill.stages.labels.labels import MODEL_CODES, canonical_labels, codes
from gristmill.stages.labels.names import SUGGESTED, names, pairs_meant, suggestions


@pytest.mark.parametrize(
    ("written", "pairs"),
    [
        ("deu_Latn", ["deu_Latn"]),
        ("DEU_latn", ["deu_Latn"]),
        ("de", ["deu_Latn"]),
        ("deu", ["deu_Latn"]),
        ("german", ["deu_Latn"]),
        ("Deutsch", ["deu_Latn"]),
        ("中文", ["cmn_Hani"]),
        ("zh", ["cmn_Hani"]),
        ("zho", ["cmn_Hani"]),
        ("zh-Hans", ["cmn_Hani"]),
        ("Sr_Latn", ["srp_Latn"]),
        ("Serbian", ["srp_Cyrl", "srp_Latn"]),
        ("Haitian creole", ["hat_Latn"]),
        ("Serbo Croatian", ["srp_Latn"]),
        ("aai", ["aai_Latn"]),
        ("als", ["als_Latn"]),  # Tosk Albanian in ISO 639-3; Alemannic is Wikipedia's use of the code
        ("und", ["und"]),
        ("qqq", []),
        ("deu_Cyrl", []),
        ("", []),
    ],
)
def test_what_a_person_writes_stands_for_pairs(written: str, pairs: list[str]) -> None:
    assert list(pairs_meant(written)) == pairs


def test_every_language_that_a_default_model_answers_has_a_name_and_no_name_is_another_code() -> None:
    named = {pair for pairs in names().values() for pair in pairs}
    answered = {pair for model in MODEL_CODES.values() for code in model for pair in codes()[code]}
    assert answered <= named <= canonical_labels()
    assert [name for name in names() if len(name) <= 3 and name.isascii()] == ["ido", "lao", "wu"]
    # Names that are as short as codes are those languages' own codes, or nobody's.
    assert [pairs_meant(name) for name in ("ido", "lao", "wu")] == [("ido_Latn",), ("lao_Laoo",), ("wuu_Hani",)]


def test_what_means_nothing_has_three_suggestions_at_most() -> None:
    assert suggestions("Germn", canonical_labels()).startswith("did you mean deu_Latn (German) or ")
    many = suggestions("eng_Latm", canonical_labels())
    assert many.startswith("did you mean eng_Latn (English)") and many.count("_") == SUGGESTED
    nothing = suggestions("zzzzzzzzzz", canonical_labels())
    assert nothing == "write a language as eng_Latn, deu_Latn, cmn_Hani, or by its code (de, deu) or English name"
