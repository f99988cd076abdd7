"""The lists of `gristmill remove`: what an entry of them is."""

from __future__ import annotations

from pathlib import Path

import pytest

from gristmill.launch.commands import remove as command
from gristmill.launch.commands.remove import RemoveOptions, _request
from gristmill.pipeline.errors import ConfigError


def test_an_entry_ends_at_a_line_feed_and_nowhere_else(tmp_path: Path) -> None:
    # An id may hold other characters that end lines in Unicode: its halves would be the ids of others.
    odd = "n1\u2028n2\x85n3\x0cn4\u00a0"
    listed = tmp_path / "ids.txt"
    listed.write_bytes(f"\ufeff{odd}\r\n\r\n \tn5 \n".encode())
    request = _request(RemoveOptions(("out",), "new", "asked for", ids=str(listed)))
    assert request.wanted == (odd, "n5")


def test_a_list_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "MOST_LIST", 1000)
    with pytest.raises(ConfigError, match="has more than 1,000 bytes"):
        _request(RemoveOptions(("out",), "new", "asked for", ids="/dev/zero"))
