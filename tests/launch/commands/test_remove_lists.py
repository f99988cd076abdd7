"""The lists of `gristmill remove`: what an entry of them is."""

from __future__ import annotations

from pathlib import Path

from gristmill.launch.commands.remove import RemoveOptions, _request


def test_an_entry_ends_at_a_line_feed_and_nowhere_else(tmp_path: Path) -> None:
    # An id may hold other characters that end lines in Unicode: its halves would be the ids of others.
    odd = "n1\u2028n2\x85n3\x0cn4\u00a0"
    listed = tmp_path / "ids.txt"
    listed.write_bytes(f"\ufeff{odd}\r\n\r\n \tn5 \n".encode())
    request = _request(RemoveOptions(("out",), "new", "asked for", ids=str(listed)))
    assert request.wanted == (odd, "n5")
