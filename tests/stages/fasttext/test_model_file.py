"""The reader of fastText's model format refuses what is damaged or of another kind, and says where."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from gristmill.pipeline.errors import ConfigError
from gristmill.stages.fasttext.model_file import read_model
from tests.stages.fasttext.fasttext_files import TinyModel


def test_a_model_is_read_as_it_was_written(tmp_path: Path) -> None:
    model = read_model(TinyModel(word_ngrams=2, loss="hs").write(tmp_path / "model.bin"))
    assert (model.dim, model.word_ngrams, model.bucket, model.minn, model.maxn, model.loss) == (5, 2, 37, 2, 4, 1)
    assert model.words == (b"</s>", b"the", b"cat", "кот".encode(), b"neko")
    assert model.labels == ("en", "ru", "ja")
    assert model.label_counts.tolist() == [50, 20, 3]
    assert model.input.rows_scaled().shape == (42, 5) and model.output.rows_scaled().shape == (3, 5)


@pytest.mark.parametrize("kind", [{}, {"quantised": True, "norms": True, "pruned": [(3, 0), (1, 1)]}])
def test_a_model_cut_short_anywhere_is_refused_with_its_path(tmp_path: Path, kind: dict) -> None:  # type: ignore[type-arg]
    whole = TinyModel(**kind).to_bytes()
    path = tmp_path / "cut.bin"
    for size in [*range(0, 260), *range(260, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(ConfigError, match="cut.bin"):
            read_model(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"magic": 1}, "expected fastText's magic number 793712314, found 1"),
        ({"version": 13}, "expected format version 11 or 12, found 13"),
        ({"kind": 2}, r"expected a supervised model \(kind 3\), found skipgram \(2\)"),
        ({"bucket": 0}, "expected buckets for the n-grams that the model uses, found 0"),
        ({"maxn": 10**9}, "expected character n-grams of at most 128, found 1000000000"),
        ({"dim": 0}, "expected a positive dimension, found 0"),
        ({"pruned": [(3, 0)]}, "expected a quantised input matrix, as the dictionary is pruned, found a dense one"),
        ({"quantised": True, "pruned": [(3, 0), (4, 0)]}, "expected each pruned row once"),
        ({"quantised": True, "pruned": [(3, 0), (3, 1)]}, "expected each kept bucket once"),
        ({"quantised": True, "pruned": [(99, 0)]}, "expected kept buckets below 37"),
        ({"labels": [b"__label__\xff"], "label_counts": [1]}, "expected labels in UTF-8"),
        ({"output": np.zeros((4, 5))}, "expected 3 output rows, found 4"),
        ({"output": np.zeros((3, 6))}, "expected matrices of 5 columns, found 6"),
        ({"output": np.full((3, 5), np.nan)}, "expected finite numbers in the output matrix"),
    ],
)
def test_a_model_that_contradicts_itself_or_is_of_another_kind_is_refused(
    tmp_path: Path,
    change: dict,
    message: str,  # type: ignore[type-arg]
) -> None:
    path = TinyModel(**change).write(tmp_path / "model.bin")
    with pytest.raises(ConfigError, match=f"model.bin: not a usable fastText model: at byte .*{message}"):
        read_model(path)


def test_bytes_after_the_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.bin"
    path.write_bytes(TinyModel().to_bytes() + b"\0\0")
    with pytest.raises(ConfigError, match="expected the end of the file, found 2 more bytes"):
        read_model(path)


def test_a_label_among_the_words_is_refused(tmp_path: Path) -> None:
    data = bytearray(TinyModel().to_bytes())
    entry = data.index(b"cat\0") + 4
    assert struct.unpack_from("<qb", data, entry) == (98, 0)
    data[entry + 8] = 1
    (tmp_path / "mixed.bin").write_bytes(data)
    with pytest.raises(ConfigError, match="expected all words before all labels"):
        read_model(tmp_path / "mixed.bin")


def test_a_missing_file_a_folder_and_a_foreign_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the fastText model: No such file"):
        read_model(tmp_path / "none.bin")
    with pytest.raises(ConfigError, match="cannot read the fastText model"):
        read_model(tmp_path)
    (tmp_path / "page.html").write_text("<!doctype html><title>404</title>" * 30)
    with pytest.raises(ConfigError, match="expected fastText's magic number"):
        read_model(tmp_path / "page.html")
