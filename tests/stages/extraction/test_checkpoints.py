"""A worker that is killed within a slice: what it extracted is not extracted again, and the result is the same."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.invariance_cases.extract import page
from tests.pipeline.toy_runs import rows_of, shards
from tests.stages.extraction.test_stage import crawl

ROOT = Path(__file__).parents[3]
PAGES = 24
CONFIG = """
name: pages
sources:
  crawl: {{format: parquet, paths: ["{root}/in/*.parquet"]}}
stages:
  extract: {{with: resiliparse}}
  exact: {{}}
outputs:
  corpus: {{path: "{root}/out", dropped: all}}
"""


def extract(folder: Path, die_at: int = 0) -> tuple[int, list[int]]:
    """The exit code of a run, and the pages that each of its batches parsed."""
    config, parsed = folder / "config.yaml", folder / "parsed"
    config.write_text(CONFIG.format(root=folder))
    parsed.write_text("")
    command = [sys.executable, "-m", "tests.stages.extraction.killed_extraction", str(config), str(parsed), str(die_at)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    return done.returncode, [int(line) for line in parsed.read_text().split()]


def pages() -> dict[str, bytes | None]:
    return {f"p{n}": page(f"Page {n}", 3).encode() for n in range(PAGES)}


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[int], dict[str, str]]:
    """Pages per batch, and files, of a run that is not killed."""
    folder = tmp_path_factory.mktemp("untouched")
    crawl(folder, pages())
    code, batches = extract(folder)
    assert code == 0 and sum(batches) == PAGES and len(batches) > 5
    return batches, shards(folder / "out")


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "out.work").rglob("checkpoints/task-00000/*"))


def test_what_a_killed_worker_extracted_is_not_extracted_again(
    tmp_path: Path, untouched: tuple[list[int], dict[str, str]]
) -> None:
    batches, files = untouched
    crawl(tmp_path, pages())
    first = extract(tmp_path, die_at=4)
    assert first == (-signal.SIGKILL, batches[:3]) and len(kept(tmp_path)) == 3
    second = extract(tmp_path, die_at=3)
    assert second == (-signal.SIGKILL, batches[3:5])
    assert extract(tmp_path) == (0, batches[5:])
    assert shards(tmp_path / "out") == files
    assert not (tmp_path / "out.work").exists()


def test_damaged_and_foreign_checkpoints_are_measured_again(
    tmp_path: Path, untouched: tuple[list[int], dict[str, str]]
) -> None:
    batches, files = untouched
    crawl(tmp_path, pages())
    assert extract(tmp_path, die_at=5) == (-signal.SIGKILL, batches[:4])
    damaged, exchanged, other, _ = kept(tmp_path)
    data = bytearray(damaged.read_bytes())
    data[-20] ^= 1
    damaged.write_bytes(data)
    exchanged.write_bytes(other.read_bytes())
    assert extract(tmp_path) == (0, [batches[0]] * 2 + batches[4:])
    assert shards(tmp_path / "out") == files


def test_checkpoints_are_removed_when_their_task_is_committed(tmp_path: Path) -> None:
    """The second of two slices is killed: what is kept of the first is gone by then."""
    crawl(tmp_path, pages())
    (tmp_path / "in/pages.parquet").rename(tmp_path / "in/a.parquet")
    crawl(tmp_path, {f"q{n}": page(f"Other {n}", 3).encode() for n in range(4)})
    batches = extract(tmp_path, die_at=10)[1]
    assert sum(batches) > PAGES and not kept(tmp_path)
    assert list((tmp_path / "out.work").rglob("checkpoints/task-00001/*"))


def test_pages_that_changed_are_not_found_in_checkpoints(tmp_path: Path) -> None:
    crawl(tmp_path, pages())
    assert extract(tmp_path, die_at=4)[0] == -signal.SIGKILL
    crawl(tmp_path, {name: body.replace(b"ferry", b"train") for name, body in pages().items() if body})
    code, batches = extract(tmp_path)
    assert code == 0 and sum(batches) == PAGES
    assert rows_of(tmp_path / "out") and all("train" in row["text"] for row in rows_of(tmp_path / "out"))


def test_equal_pages_of_a_slice_are_parsed_once(tmp_path: Path) -> None:
    crawl(tmp_path, {f"p{n}": page("Same", 3).encode() for n in range(PAGES)})
    assert extract(tmp_path) == (0, [1])
    assert len(rows_of(tmp_path / "out", "ledger")) == PAGES - 1  # `exact` sees them all
