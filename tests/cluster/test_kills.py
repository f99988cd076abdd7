"""Drivers, workers and raylets of a cluster are killed; the outputs are those of a run that nobody disturbed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.cluster_kills import campaign

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("s3", [False, True], ids=["file system", "s3"])
def test_kills_lose_and_double_nothing(tmp_path: Path, s3: bool) -> None:
    found = campaign(tmp_path, kills=3, seed=5, s3=s3)
    assert found["wrong"] == [] and sum(found["kills"].values()) >= 3
