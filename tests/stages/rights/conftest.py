"""What the tests of rights share: captured files are kept for one test, and not for the user."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def kept_captures(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where captured files are kept."""
    folder = tmp_path_factory.mktemp("captures")
    monkeypatch.setattr("gristmill.stages.rights.captures.user_cache", lambda name: folder)
    return folder
