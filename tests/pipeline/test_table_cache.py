"""Tables kept in the user's cache: made once, checked when they are read, made again when anything is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gristmill.pipeline import table_cache
from gristmill.pipeline.table_cache import kept_tables

ARRAYS = {
    "bytes": np.frombuffer(b"abc", np.uint8),
    "numbers": np.arange(12, dtype=np.int64).reshape(3, 4).T,
    "unit": np.array(0.25),
    "names": np.array(["de", "fry"]),
    "none": np.zeros((0, 4), np.float32),
}


class Maker:
    """Counts how often the tables are made."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.times += 1
        return dict(ARRAYS)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, of each test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gristmill" / "tables"


def kept_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def test_tables_are_made_once_and_read_as_they_were_made() -> None:
    make = Maker()
    made, read = kept_tables("some", __file__, make), kept_tables("some", __file__, make)
    assert make.times == 1
    for tables in (made, read):
        assert list(tables) == list(ARRAYS)
        for name, value in ARRAYS.items():
            np.testing.assert_array_equal(tables[name], value)
            assert tables[name].dtype == value.dtype and tables[name].shape == value.shape
            # Kernels are compiled for arrays that can be written to, in C's order and at places that suit their type.
            flags = tables[name].flags
            assert flags.writeable and flags.c_contiguous and flags.aligned


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(file.read_bytes() + b"\0"),
        lambda file: file.write_bytes(file.read_bytes()[:-400] + b"\1" + file.read_bytes()[-399:]),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(b"[]\n"),
        lambda file: file.write_bytes(b'{"size": 0, "arrays": []}\n'),
        lambda file: file.chmod(0o666),
        lambda file: (file.rename(file.parent.parent / "moved"), file.symlink_to(file.parent.parent / "moved")),
        lambda file: (file.unlink(), os.mkfifo(file)),
    ],
    ids=["cut", "longer", "changed", "empty", "no header", "half a header", "writable by others", "link", "pipe"],
)
def test_a_file_that_is_damaged_or_may_be_somebody_elses_is_made_again(
    damage: Callable[[Path], object], folder: Path
) -> None:
    make = Maker()
    kept_tables("some", __file__, make)
    damage(kept_file(folder))
    for times in (2, 2):
        np.testing.assert_array_equal(kept_tables("some", __file__, make)["numbers"], ARRAYS["numbers"])
        assert make.times == times


def test_tables_of_another_source_or_of_changed_code_are_others(tmp_path: Path, folder: Path) -> None:
    make, source, code = Maker(), tmp_path / "model", tmp_path / "code.py"
    source.write_bytes(b"1")
    code.write_text("A = 1\n")
    for change in (lambda: None, lambda: source.write_bytes(b"2"), lambda: code.write_text("A = 2\n")):
        change()
        kept_tables("some", str(code), make, [source])
        kept_tables("some", str(code), make, [source])
    assert make.times == 3


def test_a_source_that_changes_while_it_is_read_leaves_nothing(tmp_path: Path, folder: Path) -> None:
    source = tmp_path / "model"
    source.write_bytes(b"1")

    def make() -> dict[str, np.ndarray]:
        source.write_bytes(b"2")
        return dict(ARRAYS)

    kept_tables("some", __file__, make, [source])
    assert not list(folder.iterdir())


def test_only_files_used_last_are_kept(tmp_path: Path, folder: Path) -> None:
    make, source = Maker(), tmp_path / "model"
    for number in range(table_cache.MOST_FILES + 2):
        source.write_text(str(number))
        kept_tables("some", __file__, make, [source])
        source.write_text("0")
        kept_tables("some", __file__, make, [source])
    assert make.times == table_cache.MOST_FILES + 2  # the first was used all along
    assert len(list(folder.iterdir())) == table_cache.MOST_FILES


def test_what_is_too_large_or_cannot_be_written_is_made_each_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Maker()
    monkeypatch.setattr(table_cache, "MOST_BYTES", 64)
    kept_tables("some", __file__, make)
    assert not list(folder.iterdir())
    monkeypatch.setattr(table_cache, "MOST_BYTES", 1 << 20)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(table_cache, "_write", full)
    kept_tables("some", __file__, make)
    assert make.times == 2
