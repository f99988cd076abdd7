"""Reading until the language is certain: the draw of windows, the bound, and answers beside those of whole texts."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gristmill.pipeline.document import TEXT_TYPE
from gristmill.pipeline.stage import StageContext
from gristmill.stages.language.calibration import coefficients_for
from gristmill.stages.language.identify import default_model
from gristmill.stages.language.kernels.langid import CERTAIN, LangidClassifier
from gristmill.stages.language.kernels.windows import (
    MIN_SIZE,
    RISK,
    SAMPLE,
    WINDOW,
    WINDOWS,
    count_visits,
    draw,
    fresh_visits,
    is_majority,
)
from gristmill.stages.language.stage import Language, LanguageConfig
from tests.stages.fasttext.test_predict import SENTENCES, buffers

ENGLISH = (
    "The miller opened the gate at dawn, and the water of the river turned the old wooden wheel. ",
    "Farmers came down from the hills with their carts, and each of them waited for his turn to speak. ",
    "When the evening came, nobody could remember why the argument about the price of flour had begun. ",
    "Some said that the weather would change; others had heard that the king himself was on the road. ",
    "A letter had arrived from the city, but the schoolmaster who could have read it was still away. ",
)
GERMAN = (
    "Der Müller öffnete am frühen Morgen das Tor, und das Wasser des Flusses drehte das alte Rad. ",
    "Die Bauern kamen mit ihren Wagen von den Hügeln herab, und jeder wartete, bis er an der Reihe war. ",
    "Als der Abend kam, wusste niemand mehr, weshalb der Streit über den Preis des Mehls begonnen hatte. ",
    "Einige sagten, das Wetter werde sich ändern; andere hatten gehört, der König selbst sei unterwegs. ",
)


def prose(sentences: tuple[str, ...], size: int, seed: int = 0) -> str:
    order = np.random.default_rng(seed).integers(len(sentences), size=size // 60 + 1)
    return "".join(sentences[i] for i in order)[:size]


def drawn(text: bytes) -> tuple[list[int], int]:
    starts = np.empty(WINDOWS, np.int64)
    data, offsets = buffers([b"before", text])
    windows = draw(data, offsets[1], offsets[2], starts)
    return [int(start) - 6 for start in starts], windows


def measured(texts: list[str], **config: object) -> pa.Table:
    stage = Language(LanguageConfig.model_validate(config))
    return pa.table(dict(stage.measure(pa.table({"text": pa.array(texts, TEXT_TYPE)}), StageContext())))


def test_windows_are_distinct_whole_and_follow_from_the_text_alone() -> None:
    for size in (MIN_SIZE, MIN_SIZE + 63, 100_000):
        text = prose(ENGLISH, size).encode()
        starts, windows = drawn(text)
        assert windows == size // WINDOW - 1 and len(set(starts)) == WINDOWS
        assert all(start % WINDOW == 0 and WINDOW <= start <= size - WINDOW for start in starts)
        assert drawn(text)[0] == starts != drawn(text[1:] + b".")[0]


def test_every_window_is_drawn_as_often_as_the_others() -> None:
    counts = Counter[int]()
    draws = 3000
    for seed in range(draws):
        counts.update(drawn(np.random.default_rng(seed).bytes(MIN_SIZE))[0])
    windows = MIN_SIZE // WINDOW - 1
    expected = draws * WINDOWS / windows
    spread = math.sqrt(draws * (WINDOWS / windows) * (1 - WINDOWS / windows))
    assert len(counts) == windows
    assert all(abs(count - expected) < 5 * spread for count in counts.values())


def test_the_bound_is_hoeffdings_for_draws_without_replacement() -> None:
    for windows in (2 * WINDOWS, 100, 5000):
        unseen = 1 - (WINDOWS - 1) / windows
        margin = math.sqrt(unseen * math.log(1 / RISK) / (2 * WINDOWS))
        for votes in range(WINDOWS + 1):
            assert is_majority(votes, windows) == (votes / WINDOWS - margin > 0.5)
    # It holds: of windows that half name a label, a sample is a majority at most as often as it may be.
    rng = np.random.default_rng(1)
    votes = rng.hypergeometric(500, 500, WINDOWS, 200_000)
    assert np.mean([is_majority(int(count), 1000) for count in votes]) <= RISK


def test_a_long_text_in_one_language_is_sampled_and_one_in_two_is_read() -> None:
    pure = [prose(ENGLISH, 8000), prose(GERMAN, 50_000), prose(ENGLISH, MIN_SIZE - 1)]
    mixed = [prose(ENGLISH, 4000) + prose(GERMAN, 4400), prose((ENGLISH[0], GERMAN[0]), 9000)]
    found = measured(pure + mixed, read="enough")
    whole = measured(pure + mixed)
    sizes = [len(text.encode()) for text in pure + mixed]
    assert found["language_bytes_read"].to_pylist() == [SAMPLE, SAMPLE, *sizes[2:]]
    assert "language_bytes_read" not in whole.column_names
    assert found["language"].to_pylist() == whole["language"].to_pylist()
    # What is read whole has the same answer to the last bit, and what is not is certain.
    assert found.slice(2).drop_columns("language_bytes_read").equals(whole.slice(2))
    assert min(found["language_score"].to_pylist()[:2]) >= np.float32(CERTAIN)


def test_samples_do_not_depend_on_the_batch() -> None:
    texts = [prose(ENGLISH, 5000 + 100 * seed, seed) for seed in range(6)] + [prose(GERMAN, 9000), "short"]
    together = measured(texts, read="enough")
    for row, text in enumerate(texts):
        assert measured([text], read="enough").equals(together.slice(row, 1).combine_chunks())
    backwards = measured(texts[::-1], read="enough")
    assert backwards.take(list(range(len(texts)))[::-1]).equals(together.take(list(range(len(texts)))))


def test_composed_texts_are_sampled_in_their_normal_form() -> None:
    plain = prose(GERMAN, 9000)
    decomposed = plain.replace("ü", "u\u0308").replace("ö", "o\u0308").replace("ä", "a\u0308")
    found = measured([plain, decomposed], read="enough").drop_columns("language_bytes_read")
    assert found.slice(0, 1).combine_chunks().equals(found.slice(1, 1).combine_chunks())


@pytest.mark.parametrize("config", [{"calibrated": False}, {"backend": "fasttext"}])
def test_models_without_a_calibration_read_everything(config: dict[str, object]) -> None:
    text = prose(ENGLISH, 20_000)
    found = measured([text], read="enough", **config)
    assert found["language_bytes_read"].to_pylist() == [len(text)]
    assert found.drop_columns("language_bytes_read").equals(measured([text], **config))


def test_sampling_marks_what_it_sampled(tmp_path: Path) -> None:
    classifier = LangidClassifier.of(default_model("langid"))
    coefficients = coefficients_for(default_model("langid"))
    sampled = np.ones(2, bool)
    data, offsets = buffers([prose(ENGLISH, 8000), SENTENCES[0]])
    classifier.predict(data, offsets, coefficients=coefficients, sampled=sampled)
    assert sampled.tolist() == [True, False]


def test_visits_are_counted_in_parts_and_states_without_a_feature_are_never_noted() -> None:
    features = np.array([7, -1, -2, 0, -1, 3], np.int32)
    steps = np.random.default_rng(4).integers(0, len(features), 500).astype(np.int32)
    visits, visited, noted = fresh_visits(features), np.empty(len(features) + 1, np.int32), 0
    for part in np.split(steps, [1, 77, 400]):
        noted = count_visits(part, len(part), visits, visited, noted)
    first_seen = list(dict.fromkeys(state for state in steps.tolist() if features[state] != -1))
    assert visited[:noted].tolist() == first_seen
    counts = Counter(steps.tolist())
    for state in first_seen:
        assert (visits[state] >> 32, visits[state] & 0xFFFFFFFF) == (features[state], counts[state])
    # However often they are visited, their record names no feature.
    assert (visits[features == -1] >> 32 < -(1 << 29)).all()
