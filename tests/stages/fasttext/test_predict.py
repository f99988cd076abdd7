"""fastText inference against the fastText library, on models that these tests write and on the embedded one."""

from __future__ import annotations

import itertools
from pathlib import Path

import fasttext
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.stages.fasttext import tables as fasttext_tables
from gristmill.stages.fasttext.features import BATCHED_ROWS, MAX_KNOWN_TOKEN
from gristmill.stages.fasttext.model_file import read_model
from gristmill.stages.fasttext.predict import FastTextClassifier
from gristmill.stages.language.identify import default_model
from tests.stages.fasttext.fasttext_files import TinyModel

SENTENCES = [
    "The miller grinds the corn before the river freezes.",
    "Der Müller mahlt das Korn, bevor der Fluss zufriert.",
    "Le meunier moud le grain avant que la rivière ne gèle.",
    "El molinero muele el grano antes de que se hiele el río.",
    "O moleiro mói o grão antes que o rio congele.",
    "Мельник мелет зерно, пока река не замёрзла.",
    "Мельник меле зерно, поки річка не замерзла.",
    "Młynarz miele ziarno, zanim rzeka zamarznie.",
    "Değirmenci, nehir donmadan önce tahılı öğütür.",
    "Ο μυλωνάς αλέθει το σιτάρι πριν παγώσει το ποτάμι.",
    "הטוחן טוחן את התבואה לפני שהנהר קופא.",
    "يطحن الطحان الحبوب قبل أن يتجمد النهر.",
    "चक्की वाला नदी जमने से पहले अनाज पीसता है।",
    "川が凍る前に、粉屋は穀物を挽きます。",
    "磨坊主在河水结冰之前磨完了谷物。",
    "강이 얼기 전에 방앗간 주인은 곡식을 빻는다.",
    "คนโม่แป้งโม่ข้าวก่อนที่แม่น้ำจะแข็งตัว",
    "Mlinar melje žito prije nego što se rijeka zaledi.",
    "",
    "   \t \n ",
    "3.14159 -- !!! %%% 2024",
    "a</s>b </s> after the end of the line",
    "before </s> nach dem Ende der Zeile",
    "__label__en is no word, nor is __label__unknown",
    "x" * 500,
    "穀" * 3000,
    "one\x00two\x0bthree\x0cfour\r\nfive",
]


def buffers(texts: list[str] | list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    encoded = [text.encode() if isinstance(text, str) else text for text in texts]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


def library(model: fasttext.FastText._FastText, text: str | bytes, top: int, floor: float) -> list[tuple[str, float]]:
    line = text.replace("\n", " ") + "\n" if isinstance(text, str) else text.replace(b"\n", b" ") + b"\n"
    return [(label.removeprefix("__label__"), score) for score, label in model.f.predict(line, top, floor, "strict")]


def check_against_library(path: Path, texts: list[str] | list[bytes], floor: float = 0.0) -> None:
    oracle = fasttext.load_model(str(path))
    ours = FastTextClassifier(read_model(path))
    for top in (1, 3):
        labels, scores = ours.predict(*buffers(texts), top=top, floor=floor)
        for text, found, values in zip(texts, labels, scores, strict=True):
            expected = library(oracle, text, top, floor)
            named = [
                (ours.labels[label], float(value)) for label, value in zip(found, values, strict=True) if label >= 0
            ]
            assert [score for _, score in named] == pytest.approx([score for _, score in expected], abs=1e-6), text
            if top == 1 or len({score for _, score in expected}) == len(expected):  # Order of ties is the heap's.
                assert [label for label, _ in named] == [label for label, _ in expected], text


@pytest.fixture(scope="module")
def lid() -> FastTextClassifier:
    return FastTextClassifier(read_model(default_model("fasttext")))


@pytest.fixture(scope="module")
def lid_oracle() -> fasttext.FastText._FastText:
    return fasttext.load_model(str(default_model("fasttext")))


def test_the_embedded_model_gives_the_labels_and_scores_of_the_library() -> None:
    check_against_library(default_model("fasttext"), SENTENCES)


def test_labels_below_the_floor_are_left_out_as_with_the_librarys_threshold() -> None:
    check_against_library(default_model("fasttext"), SENTENCES, floor=0.2)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_gets_the_librarys_label_and_score(
    lid: FastTextClassifier, lid_oracle: fasttext.FastText._FastText, text: str
) -> None:
    labels, scores = lid.predict(*buffers([text]))
    expected = library(lid_oracle, text, 1, 0.0)
    assert [lid.labels[labels[0, 0]]] == [label for label, _ in expected]
    assert scores[0, 0] == pytest.approx(expected[0][1], abs=1e-6)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100))
def test_bytes_that_are_no_utf_8_get_the_librarys_label_too(
    lid: FastTextClassifier, lid_oracle: fasttext.FastText._FastText, text: bytes
) -> None:
    labels, scores = lid.predict(*buffers([text]))
    expected = library(lid_oracle, text, 1, 0.0)
    assert [lid.labels[labels[0, 0]]] == [label for label, _ in expected]
    assert scores[0, 0] == pytest.approx(expected[0][1], abs=1e-6)


PRUNED = [(2 * i, (5 * i) % 18) for i in range(18)]
KINDS = {
    "dense": {},
    "dense, dim a multiple of the lanes": {"dim": 16},
    "dense, no n-grams at all": {"minn": 0, "maxn": 0, "bucket": 0},
    "single characters count as n-grams": {"minn": 1, "maxn": 2},
    "one bucket": {"bucket": 1},
    "quantised": {"quantised": True},
    "quantised with norms, odd last part": {"quantised": True, "norms": True, "part": 3},
    "quantised output": {"quantised": True, "norms": True, "quantised_output": True},
    "pruned": {"quantised": True, "pruned": PRUNED},
    "pruned to nothing": {"quantised": True, "pruned": []},
}
WORDS = "the cat кот neko ネコ a ab catalogue кошка 猫 </s> __label__en __label__x é"


def tiny_texts() -> list[str]:
    rng = np.random.default_rng(1)
    words = WORDS.split()
    texts = [" ".join(rng.choice(words, rng.integers(0, 12))) for _ in range(40)]
    return [*texts, "neko" * 40, "кот" * 5000, ""]


@pytest.mark.parametrize("loss", ["softmax", "hs", "ova", "ns"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_gives_the_librarys_labels(tmp_path: Path, kind: str, loss: str) -> None:
    for seed, word_ngrams in enumerate((1, 3) if KINDS[kind].get("bucket") != 0 else (1,)):
        model = TinyModel(loss=loss, word_ngrams=word_ngrams, seed=seed, **KINDS[kind])  # type: ignore[arg-type]
        check_against_library(model.write(tmp_path / f"{seed}.bin"), tiny_texts())


def test_a_quantised_model_too_large_to_expand_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fasttext_tables, "MAX_DEQUANTISED_BYTES", 0)
    for part, norms in itertools.product((1, 2, 3), (False, True)):
        model = TinyModel(quantised=True, norms=norms, part=part, pruned=PRUNED)
        check_against_library(model.write(tmp_path / "model.ftz"), tiny_texts())


def test_a_model_of_version_11_has_no_character_ngrams(tmp_path: Path) -> None:
    check_against_library(TinyModel(version=11).write(tmp_path / "old.bin"), tiny_texts())


def test_a_tree_of_many_labels_of_equal_and_unequal_counts_is_the_librarys(tmp_path: Path) -> None:
    labels = [f"__label__{i}".encode() for i in range(40)]
    counts = sorted([1, 1, 1, 2, 2, 1000, 500, *range(3, 36)], reverse=True)
    model = TinyModel(labels=labels, label_counts=counts, loss="hs")
    check_against_library(model.write(tmp_path / "tree.bin"), tiny_texts())


def test_a_model_with_one_label_is_sure_of_it(tmp_path: Path) -> None:
    for loss in ("hs", "softmax"):
        model = TinyModel(labels=[b"__label__en"], label_counts=[3], loss=loss)
        check_against_library(model.write(tmp_path / "one.bin"), tiny_texts())


def test_of_equal_scores_the_label_that_the_library_gives_wins(tmp_path: Path) -> None:
    for loss in ("softmax", "ova", "hs"):
        model = TinyModel(output=np.zeros((3, 5)), loss=loss)
        check_against_library(model.write(tmp_path / "ties.bin"), ["the cat"])


def test_a_document_without_any_feature_has_no_label(tmp_path: Path) -> None:
    model = FastTextClassifier(read_model(TinyModel(words=[b"the"], maxn=0, minn=0, bucket=0).write(tmp_path / "m")))
    labels, scores = model.predict(*buffers(["nothing known", "the"]))
    assert labels.tolist()[0] == [-1] and scores.tolist()[0] == [0.0] and labels[1, 0] >= 0


def test_results_do_not_depend_on_what_else_is_in_the_batch(lid: FastTextClassifier) -> None:
    # Single characters between spaces are more tokens than the batch's memory of tokens holds, so it is emptied.
    crowd = " ".join(chr(0x4E00 + i) for i in range(9000))
    texts = [*SENTENCES, crowd, *SENTENCES, "z" * (MAX_KNOWN_TOKEN + 1), "ж" * (2 * BATCHED_ROWS)]
    labels, scores = lid.predict(*buffers(texts), top=5)
    for row, text in enumerate(texts):
        alone, alone_scores = lid.predict(*buffers([text]), top=5)
        assert alone[0].tolist() == labels[row].tolist()
        assert alone_scores[0].tobytes() == scores[row].tobytes()


@pytest.mark.parametrize(
    ("text", "label", "bits"),
    [
        (SENTENCES[0], "en", "0x1.66f6b20000000p-1"),
        (SENTENCES[5], "ru", "0x1.b406a40000000p-1"),
        (SENTENCES[13], "ja", "0x1.fdc2bc0000000p-1"),
    ],
)
def test_scores_have_pinned_bits(lid: FastTextClassifier, text: str, label: str, bits: str) -> None:
    labels, scores = lid.predict(*buffers([text]))
    assert (lid.labels[labels[0, 0]], float(scores[0, 0]).hex()) == (label, bits)


def test_no_documents_give_empty_arrays_and_top_must_be_positive(lid: FastTextClassifier) -> None:
    labels, scores = lid.predict(np.empty(0, np.uint8), np.zeros(1, np.int64), top=2)
    assert labels.shape == scores.shape == (0, 2)
    with pytest.raises(ValueError, match="top must be at least 1, found 0"):
        lid.predict(*buffers(["x"]), top=0)
