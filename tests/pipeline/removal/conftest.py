"""A run that removals are tried on, written once per module, and removals that read in this process."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gristmill.pipeline.reader_process import ReaderProcess
from gristmill.pipeline.removal import requests
from tests.pipeline.removal.runs import Web, web


class Here(ReaderProcess):
    """The reading process without a process: a second per removal is saved where no file can kill the reader."""

    def call(self, function: str, argument: Any, size: int = 0) -> Any:
        return json.loads(json.dumps(requests.FUNCTIONS[function](json.loads(json.dumps(argument)))))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, in_process: None) -> None:
    """Audits and removals read in this process."""
    requests._prepared.cache_clear()
    monkeypatch.setattr("gristmill.pipeline.removal.remove.ReaderProcess", Here)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Web:
    return web(tmp_path_factory.mktemp("web"))
