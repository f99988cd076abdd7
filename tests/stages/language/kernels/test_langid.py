"""py3langid's models against the py3langid library, on its own model and on ones that these tests write."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py3langid.langid import LanguageIdentifier

from gristmill.stages.language.identify import default_model
from gristmill.stages.language.kernels.langid import LangidClassifier
from gristmill.stages.language.langid_format import LangidModel, read_model
from tests.stages.fasttext.test_predict import SENTENCES, buffers
from tests.stages.language.langid_files import arrays, write

TEXTS = [
    *SENTENCES,
    "THE MILLER GRINDS THE CORN BEFORE THE RIVER FREEZES.",
    "МЕЛЬНИК МЕЛЕТ ЗЕРНО, ПОКА РЕКА НЕ ЗАМЁРЗЛА.",
    "ǅ TITLE CASE IS NOT UPPER CASE",
    unicodedata.normalize("NFD", "Le meunier moud le grain avant que la rivière ne gèle, à côté."),
    unicodedata.normalize("NFD", "강이 얼기 전에 방앗간 주인은 곡식을 빻는다."),
    "e\u0323\u0301 e\u0301\u0323 marks in either order",
    "\u212b \u2126 singletons that decompose",
    "if (x < 0) { return -1; } // " * 40,
    " ".join(["the"] * 200 + ["corn"] * 70 + ["and"] * 3),
]


@pytest.fixture(scope="module")
def ours() -> LangidClassifier:
    return LangidClassifier(read_model(default_model("langid")))


@pytest.fixture(scope="module")
def library() -> LanguageIdentifier:
    return LanguageIdentifier.from_modelpath(default_model("langid"), norm_probs=True)


def check_against_library(ours: LangidClassifier, library: LanguageIdentifier, texts: list[str]) -> None:
    labels, scores = ours.predict(*buffers(texts), top=4)
    for text, found, values in zip(texts, labels, scores, strict=True):
        expected = library.rank(text)[:4]
        if found[0] < 0:  # The library gives a text without features equal shares of all classes.
            share = 1 / len(library.nb_classes)
            assert {round(score / share, 3) for _, score in expected} <= {1.0, 2.0}
            continue
        assert [float(value) for value in values] == pytest.approx([score for _, score in expected], abs=1e-4), text
        if expected[0][1] - expected[1][1] > 1e-4:
            assert ours.labels[found[0]] == expected[0][0], text


def test_labels_and_probabilities_are_the_librarys(ours: LangidClassifier, library: LanguageIdentifier) -> None:
    check_against_library(ours, library, TEXTS)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=120))
def test_any_text_gets_the_librarys_answer(ours: LangidClassifier, library: LanguageIdentifier, text: str) -> None:
    check_against_library(ours, library, [text])


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(min_codepoint=0x2B0, max_codepoint=0x20FF), max_size=30))
def test_text_of_marks_and_composed_letters_gets_the_librarys_answer(
    ours: LangidClassifier, library: LanguageIdentifier, text: str
) -> None:
    check_against_library(ours, library, [text, text.upper(), unicodedata.normalize("NFD", text)])


def plainly(model: LangidModel, text: str) -> tuple[list[tuple[str, float]], float]:
    """Labels with scores, best first, and Σ log(1 + count), by the definition, in Python: what the kernel has always
    answered, to the last bit."""
    body = unicodedata.normalize("NFC", text.lower() if text.isupper() else text).encode()
    unit = 2.0 ** (np.ceil(np.log2(float(np.abs(model.likelihoods).max()))) - 15)
    state, counts = 0, Counter[int]()
    for byte in body:
        state = int(model.transitions[model.state_rows[state], byte])
        counts[int(model.state_features[state])] += 1
    del counts[-1]
    weights = {feature: float(np.float32(np.log1p(count))) for feature, count in counts.items()}
    totals = np.zeros(len(model.classes))
    for feature, weight in weights.items():
        totals += weight * np.rint(model.likelihoods[feature] / unit)
    scores = totals * unit + model.priors
    shares = np.exp((scores - scores.max()) / np.sqrt(len(body)))
    by_label: Counter[str] = Counter()
    for name, share in zip(model.classes, shares.tolist(), strict=True):
        by_label[name] += share
    ranked = [(name, float(np.float32(share / shares.sum()))) for name, share in by_label.items()]
    return sorted(ranked, key=lambda pair: -pair[1]), sum(weights.values())


def test_scores_are_those_of_the_definition_written_out(ours: LangidClassifier) -> None:
    model = read_model(default_model("langid"))
    texts = [text for text in TEXTS if text] + [" ".join(SENTENCES) * 30, " ".join(SENTENCES[::-1])]
    labels, scores, evidence = ours.examine(*buffers(texts), top=5)
    for row, text in enumerate(texts):
        expected, mass = plainly(model, text)
        if labels[row, 0] < 0:
            assert mass == 0.0
            continue
        assert [ours.labels[label] for label in labels[row]] == [label for label, _ in expected[:5]], text
        assert scores[row].tolist() == pytest.approx([score for _, score in expected[:5]], rel=2e-7, abs=1e-30), text
        size = len(unicodedata.normalize("NFC", text.lower() if text.isupper() else text).encode())
        assert evidence[row, 0, 5] == pytest.approx(mass / size, rel=1e-12)


def test_models_of_other_sizes_and_magnitudes_give_the_librarys_answers(tmp_path: Path) -> None:
    texts = ["the ab", "a b ab the кот ж", "жжжж", "the the the the a a a", "кот кот", "ab" * 5000, "zzz"]
    many = tuple(f"c{i}" for i in range(70))
    for seed, (classes, scale) in enumerate([(("en", "ru", "sr", "sr"), 3.0), (("x",), 0.01), (many, 200.0)]):
        path = write(tmp_path / f"{seed}.npz.xz", **arrays(classes=classes, seed=seed, scale=scale))
        oracle = LanguageIdentifier.from_modelpath(path, norm_probs=True)
        labels, scores = LangidClassifier(read_model(path)).predict(*buffers(texts), top=1)
        for text, label, score in zip(texts, labels[:, 0], scores[:, 0], strict=True):
            if label >= 0:
                name, expected = oracle.classify(text)
                assert score == pytest.approx(expected, abs=2e-2)
                ranked = oracle.rank(text)
                if len(ranked) == 1 or ranked[0][1] - ranked[1][1] > 2e-2:
                    assert tuple(dict.fromkeys(classes))[label] == name, text


def test_an_automaton_that_never_forgets_where_it_started_is_still_run_exactly(tmp_path: Path) -> None:
    """Long texts are walked through in four places at once, which only forgetful automata allow."""
    moves = np.tile(np.array([[0], [1]], np.uint16), (1, 256))
    moves[:, ord("a")] = [1, 0]  # Two states: the parity of the letters a.
    parity = {"nextmove": moves.ravel(), "nextmove_row": np.arange(2, dtype=np.uint16), "out_feat": np.array([0, 1])}
    likelihoods = np.array([[-1.0, -5.0], [-4.0, -1.5]], np.float16)
    model = {"classes": np.array(["even", "odd"]), "pc": np.zeros(2, np.float32), "ptc": likelihoods}
    path = write(tmp_path / "parity.npz.xz", **model, **parity)
    ours, library = LangidClassifier(read_model(path)), LanguageIdentifier.from_modelpath(path, norm_probs=True)
    texts = ["a" + "b" * n + "a" * (n % 3) + "b" * (3 * n) for n in (10, 100, 501, 1000)]
    labels, scores = ours.predict(*buffers(texts))
    expected = [library.classify(text) for text in texts]
    assert [ours.labels[label] for label in labels[:, 0]] == [label for label, _ in expected]
    assert scores[:, 0].tolist() == pytest.approx([score for _, score in expected], abs=1e-4)
    assert len({label for label, _ in expected}) == 2


def test_results_do_not_depend_on_what_else_is_in_the_batch(ours: LangidClassifier) -> None:
    labels, scores = ours.predict(*buffers(TEXTS), top=3)
    for row, text in enumerate(TEXTS):
        alone, alone_scores = ours.predict(*buffers([text]), top=3)
        assert alone[0].tolist() == labels[row].tolist()
        assert alone_scores[0].tobytes() == scores[row].tobytes()


def test_labels_below_the_floor_are_left_out(ours: LangidClassifier) -> None:
    labels, scores = ours.predict(*buffers([SENTENCES[4]]), top=140, floor=0.001)
    kept = labels[0] >= 0
    assert 0 < kept.sum() < 20 and (scores[0][kept] >= 0.001).all() and (scores[0][~kept] == 0.0).all()


def test_bytes_that_are_no_utf_8_and_text_without_features_have_an_answer_or_none(ours: LangidClassifier) -> None:
    labels, scores = ours.predict(*buffers([b"\xff\xc3 the miller and the corn \xed\xa0\x80", b"", b"MILLER\xff"]))
    assert ours.labels[labels[0, 0]] == "en" and labels[1, 0] == -1 and scores[1, 0] == 0.0
    assert ours.predict(np.empty(0, np.uint8), np.zeros(1, np.int64))[0].shape == (0, 1)
    with pytest.raises(ValueError, match="top must be at least 1, found 0"):
        ours.predict(*buffers(["x"]), top=0)


@pytest.mark.parametrize(
    ("text", "label", "bits"),
    [
        (SENTENCES[0], "en", "0x1.f3fda80000000p-1"),
        (SENTENCES[5], "ru", "0x1.930a240000000p-1"),
        (SENTENCES[13], "ja", "0x1.fffffe0000000p-1"),
    ],
)
def test_scores_have_pinned_bits(ours: LangidClassifier, text: str, label: str, bits: str) -> None:
    labels, scores = ours.predict(*buffers([text]))
    assert (ours.labels[labels[0, 0]], float(scores[0, 0]).hex()) == (label, bits)


def test_tables_from_the_cache_are_those_of_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = default_model("langid")
    made = LangidClassifier(read_model(path))
    for classifier in (LangidClassifier.of(path), LangidClassifier.of(path)):
        assert classifier.labels == made.labels
        for name, value in made._tables._asdict().items():
            found = getattr(classifier._tables, name)
            assert type(found) is type(value)
            np.testing.assert_array_equal(found, value)
    assert [file.name.partition("-")[0] for file in (tmp_path / "gristmill" / "tables").iterdir()] == ["langid"]
