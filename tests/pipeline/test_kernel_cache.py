"""The cache of compiled kernels belongs to one state of their sources."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from gristmill.pipeline.kernel_cache import sources_digest

ROOT = Path(__file__).parents[2]


def test_a_changed_kernel_means_another_cache(tmp_path: Path) -> None:
    (tmp_path / "stages/kernels").mkdir(parents=True)
    (tmp_path / "pipeline/exchange").mkdir(parents=True)
    (tmp_path / "stages/kernels/a.py").write_text("import numba\nx = 1\n")
    before = sources_digest(tmp_path)
    (tmp_path / "stages/kernels/b.py").write_text("")
    added = sources_digest(tmp_path)
    (tmp_path / "stages/kernels/a.py").write_text("import numba\nx = 2\n")
    assert len({before, added, sources_digest(tmp_path)}) == 3


def cache_seen(**environment: str) -> str:
    env = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"} | environment
    code = "import gristmill.stages.kernels, numba; print(numba.config.CACHE_DIR)"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_kernels_are_cached_below_the_users_cache_folder(tmp_path: Path) -> None:
    assert cache_seen(XDG_CACHE_HOME=str(tmp_path)) == str(tmp_path / "gristmill/kernels" / sources_digest())


def test_a_cache_folder_that_a_person_chose_is_kept(tmp_path: Path) -> None:
    assert cache_seen(NUMBA_CACHE_DIR=str(tmp_path)) == str(tmp_path)


def test_a_home_that_cannot_be_written_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    seen = cache_seen(XDG_CACHE_HOME=str(tmp_path / "file"), TMPDIR=str(tmp_path))
    assert seen == str(tmp_path / f"gristmill-{os.getuid()}/kernels" / sources_digest())
