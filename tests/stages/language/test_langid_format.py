"""The reader of py3langid's model format refuses what is damaged or of another kind."""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
import pytest

from gristmill.pipeline.errors import ConfigError
from gristmill.stages.language.langid_format import read_model
from tests.stages.language.langid_files import write


def test_a_model_is_read_as_it_was_written(tmp_path: Path) -> None:
    model = read_model(write(tmp_path / "model.npz.xz"))
    assert model.classes == ("en", "ru", "sr", "sr")
    assert model.likelihoods.shape == (5, 4) and model.transitions.shape[1] == 256
    assert len(model.state_rows) == len(model.state_features)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"out_feat": None}, "expected the arrays classes, pc, ptc, nextmove, nextmove_row, out_feat, found"),
        ({"classes": np.array(["en"])}, "expected 1 priors"),
        ({"classes": np.array([1, 2, 3, 4])}, "expected names of classes"),
        ({"pc": np.zeros(3, np.float32)}, "expected 4 priors"),
        ({"ptc": np.zeros((5, 3), np.float16)}, "expected likelihoods of 4 classes"),
        ({"ptc": np.full((5, 4), np.nan, np.float16)}, "expected finite numbers in `ptc`"),
        ({"nextmove": np.zeros(255, np.uint16)}, "expected rows of 256 next states"),
        ({"nextmove": np.full(256, 60000, np.uint16)}, "expected states below"),
        ({"nextmove_row": np.zeros(2, np.uint16)}, "expected one feature and one row per state"),
        ({"classes": np.array([{"a": 1}], object)}, "not a usable py3langid model"),
    ],
)
def test_a_model_that_contradicts_itself_is_refused(tmp_path: Path, change: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ConfigError, match=f"model.npz.xz: not a usable py3langid model: .*{message}|{message}"):
        read_model(write(tmp_path / "model.npz.xz", **change))


def test_rows_and_features_beyond_the_tables_are_refused(tmp_path: Path) -> None:
    model = read_model(write(tmp_path / "model.npz.xz"))
    rows = model.state_rows.astype(np.uint16)
    rows[0] = 999
    with pytest.raises(ConfigError, match="expected rows below"):
        read_model(write(tmp_path / "rows.npz.xz", nextmove_row=rows))
    features = model.state_features.copy()
    features[0] = 5
    with pytest.raises(ConfigError, match="expected features from -1 to 4"):
        read_model(write(tmp_path / "features.npz.xz", out_feat=features))


def test_a_missing_a_truncated_and_a_foreign_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the py3langid model: No such file"):
        read_model(tmp_path / "none.npz.xz")
    with pytest.raises(ConfigError, match="not a usable py3langid model"):
        read_model(tmp_path)
    whole = write(tmp_path / "model.npz.xz").read_bytes()
    for size in range(0, len(whole), 53):
        (tmp_path / "cut.npz.xz").write_bytes(whole[:size])
        with pytest.raises(ConfigError, match="cut.npz.xz: not a usable py3langid model"):
            read_model(tmp_path / "cut.npz.xz")
    for name, data in (("text", b"no model at all"), ("inner", lzma.compress(b"no archive inside"))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ConfigError, match=f"{name}: not a usable py3langid model"):
            read_model(tmp_path / name)
