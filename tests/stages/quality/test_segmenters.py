"""Segmenters: the words are the libraries', they stand where they are said to, and what they decide is part of identity."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from datatrove.utils.word_tokenizers import LaoTokenizer, ThaiTokenizer, load_word_tokenizer

from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.planning.graph import Node
from gristmill.pipeline.planning.plan import fingerprint
from gristmill.pipeline.stage import StageContext
from gristmill.pipeline.testing import doc_key_column
from gristmill.stages.quality import segmenters
from gristmill.stages.quality.adaptation import KEYS
from gristmill.stages.quality.adaptation import measure as measure_reference
from gristmill.stages.quality.kernels.document_counts import count, stop_word_tables
from gristmill.stages.quality.segmenters import (
    SEGMENTERS,
    Segmenter,
    given_words,
    installed_versions,
    segmenter_of,
    words_in,
)
from gristmill.stages.quality.stage import Quality, QualityConfig

CHINESE = "磨坊主说他必须在中午以前和其他人一起到桥边去，\n然后他们一起吃午饭。 好 的。"
THAI = "คนโม่แป้งโม่ข้าวก่อนที่แม่น้ำจะแข็งตัว\nเขาไปตลาด 12 ครั้ง และ café"
LAO = "ພາສາລາວເປັນພາສາທາງການຂອງປະເທດລາວ\nລາວໄປຕະຫຼາດ 12 ເທື່ອ"


def cut(label: str, text: str) -> list[str]:
    segmenter = segmenter_of(label)
    assert segmenter is not None
    found = words_in(text, segmenter)
    assert found is not None
    return [text.encode()[begin:end].decode() for begin, end in found]


def of(*texts: str | bytes) -> tuple[np.ndarray, np.ndarray]:
    encoded = [text.encode() if isinstance(text, str) else text for text in texts]
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in encoded])]).astype(np.int64)
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


def fake(words: Mapping[str, list[str]] | None = None, spans: list[tuple[int, int]] | None = None) -> Segmenter:
    """A segmenter that is always there, and answers what it is told to."""

    def load() -> segmenters.Cutter:
        def cutter(text: str) -> Iterator[tuple[int, int]]:
            return iter(spans) if spans is not None else segmenters.spans_of(text, (words or {})[text])

        return cutter

    return Segmenter("fake", (), (), ("tha_Thai",), load)


@pytest.mark.parametrize(
    ("label", "text", "oracle"),
    [("tha_Thai", THAI, ThaiTokenizer), ("lao_Laoo", LAO, LaoTokenizer)],
    ids=["Thai", "Lao"],
)
def test_words_are_those_of_datatroves_tokenizer(label: str, text: str, oracle: Any) -> None:
    assert cut(label, text) == oracle().word_tokenize(text)
    assert len(cut(label, text)) > 10


def test_chinese_words_are_jiebas() -> None:
    expected = "磨坊主 说 他 必须 在 中午 以前 和 其他人 一起 到 桥边 去 ， 然后 他们 一起 吃 午饭 。 好 的 。"
    assert cut("cmn_Hani", CHINESE) == expected.split()


def test_the_languages_are_those_that_datatrove_assigns_to_these_segmenters() -> None:
    kinds = {"pythainlp": "ThaiTokenizer", "laonlp": "LaoTokenizer"}
    for segmenter in SEGMENTERS:
        for label in segmenter.labels:
            if segmenter.name in kinds:
                assert type(load_word_tokenizer(label)).__name__ == kinds[segmenter.name], label
    listed = [label for segmenter in SEGMENTERS for label in segmenter.labels]
    assert len(listed) == len(set(listed)) and segmenter_of("eng_Latn") is None


def test_long_texts_are_cut_in_parts_at_line_ends_with_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cut("tha_Thai", THAI * 30)
    monkeypatch.setattr(segmenters, "PART", 100)
    assert cut("tha_Thai", THAI * 30) == whole
    assert "".join(part for _, part in segmenters._parts("x" * 250 + "\n" + THAI)) == "x" * 250 + "\n" + THAI


def test_rows_with_and_without_own_words_are_counted_as_if_alone() -> None:
    thai = segmenter_of("tha_Thai")
    texts = ["One plain line, twice. One plain line, twice.", THAI, "", THAI + THAI, "The end."]
    index = np.array([0, 1, 1, 1, 0])
    data, offsets = of(*texts)
    rows = len(texts)
    made = given_words(data, offsets, [None, thai], index)
    tables = stop_word_tables([("the",)])
    columns = (np.zeros(rows, np.int64), np.zeros(rows), np.zeros(rows, np.int64), tables)
    together = count(data, offsets, *columns, given=made)
    for row, text in enumerate(texts):
        alone_data, alone_offsets = of(text)
        own = given_words(alone_data, alone_offsets, [None, thai], index[row : row + 1])
        one = (np.zeros(1, np.int64), np.zeros(1), np.zeros(1, np.int64), tables)
        assert count(alone_data, alone_offsets, *one, given=own)[0].tolist() == together[row].tolist()
    assert given_words(data, offsets, [None, None], index) is None


def test_overlapping_words_longer_than_the_text_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    data, offsets = of("했다" * 50)
    made = given_words(data, offsets, [fake(spans=[(0, 100)] * 400)], np.array([0]))
    counts = count(data, offsets, np.zeros(1, np.int64), np.zeros(1), np.array([-1]), stop_word_tables([]), given=made)
    assert counts[0].max() >= 400 * 100


def test_words_that_are_not_in_the_text_and_broken_unicode_leave_the_row_to_the_fallback() -> None:
    found = fake({"ab": ["a", "b"], "xy": ["x", "z"]})
    data, offsets = of("ab", "xy", b"\xff\xfe", "ab")
    made = given_words(data, offsets, [found], np.zeros(4, np.int64))
    assert made is not None
    assert [rows.tolist() for rows in made] == [[0, -3, -3, 2, -5], [0, 1, 0, 1], [1, 2, 1, 2]]


def quality(**config: Any) -> Quality:
    return Quality(QualityConfig(**config))


def table(*rows: tuple[str, str]) -> pa.Table:
    return pa.table(
        {
            "doc_key": doc_key_column(len(rows)),
            "text": pa.array([text for text, _ in rows], pa.large_string()),
            "language": [label[:3] for _, label in rows],
            "language_script": [label[4:] for _, label in rows],
        }
    )


def test_the_stage_counts_the_segmenters_words_and_says_where_it_had_none(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = table((THAI, "tha_Thai"), (THAI, "mya_Mymr"), ("Some words.", "eng_Latn"))
    stage = quality()
    monkeypatch.setitem(segmenters._OF_LABEL, "mya_Mymr", replace(fake(), modules=("no_such_module",)))
    made = stage.measure(batch, StageContext())
    words = [word for word in cut("tha_Thai", THAI) if any(letter.isalnum() for letter in word)]
    assert made["quality_words"][0].as_py() == len(words)
    assert made["quality_words_fallback"].to_pylist() == [False, True, False]
    for name, column in made.items():
        batch = batch.append_column(name, column)
    assert stage.decide(batch, None, StageContext()).tallies["words_fallback:mya_Mymr"] == 1
    assert quality(segmenters="none").measure(batch, StageContext())["quality_words_fallback"].to_pylist() == [
        True,
        True,
        False,
    ]


def test_installed_segmenters_are_part_of_the_nodes_identity() -> None:
    assert {"rjieba", "pythainlp", "laonlp"} <= set(installed_versions(None))
    fields = {
        name: fingerprint(Node("q", "quality", quality(**config), ()), 0).fields["signal"]
        for name, config in {
            "all": {},
            "none": {"segmenters": "none"},
            "lao": {"language": "lao_Laoo"},
            "english": {"language": "eng_Latn"},
        }.items()
    }
    libraries = {name: sorted(key for key in found if key.startswith("library:")) for name, found in fields.items()}
    assert libraries["lao"] == ["library:laonlp", "library:pythainlp"]
    assert libraries["none"] == libraries["english"] == []
    assert fields["all"]["library:rjieba"] == installed_versions("cmn_Hani")["rjieba"]


def test_a_worker_with_other_packages_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = pickle.dumps(quality())
    arrived = pickle.loads(sent)
    assert arrived.measure(table((THAI, "tha_Thai")), StageContext())["quality_words_fallback"].to_pylist() == [False]
    arrived = pickle.loads(sent)
    monkeypatch.setattr("gristmill.stages.quality.stage.installed_versions", lambda label: {"pythainlp": "0"})
    with pytest.raises(ConfigError, match=r"this process has the segmenters pythainlp 0, .* Install the same packages"):
        arrived.measure(table((THAI, "tha_Thai")), StageContext())


def test_a_missing_segmenter_is_named_in_a_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = replace(fake(), name="pythainlp", modules=("no_such_module",))
    monkeypatch.setitem(segmenters._OF_LABEL, "tha_Thai", missing)
    said = [line for line in quality(language="tha_Thai").spec.notices if "segmenter" in line]
    assert len(said) == 1 and "tha_Thai (pythainlp)" in said[0] and "words_fallback" in said[0]
    assert not [line for line in quality(language="lao_Laoo").spec.notices if "no segmenter" in line]


def test_data_that_a_segmenter_would_fetch_must_be_there_and_counts_as_a_version(tmp_path: Path) -> None:
    one = replace(fake(), data=lambda: tmp_path / "pack")
    assert one.versions() == {}
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "words.txt").write_text("one")
    first = one.versions()["fake:data"]
    (tmp_path / "pack" / "words.txt").write_text("two")
    assert first != one.versions()["fake:data"]


def test_thresholds_are_adapted_with_the_same_words() -> None:
    reference = measure_reference(pa.array([THAI, THAI * 3], pa.large_string()), "tha_Thai")
    batch = table((THAI, "tha_Thai"), (THAI * 3, "tha_Thai"))
    expected = quality().measure(batch, StageContext())["quality_mean_word_length"].to_pylist()
    (key,) = [key for key in KEYS if key.signal == "quality_mean_word_length" and key.at_least]
    assert reference.values[key.name].tolist() == expected
    assert reference.words["แม่น้ำ"] == 4 and "12" not in reference.words
