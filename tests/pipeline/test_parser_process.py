"""Parsers in a process of their own: whatever a page does to it, the page alone pays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gristmill.pipeline.parser_process import Failed, Page, ParserProcess, ParserUnusable

ODD = str(Path(__file__).parents[1] / "plugins" / "odd_parsers.py")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def parser() -> Iterator[ParserProcess]:
    with ParserProcess(ODD, {}) as process:
        yield process


def pages(*bodies: bytes) -> list[Page]:
    return [(b"", body) for body in bodies]


def test_answers_come_in_the_order_of_the_pages(parser: ParserProcess) -> None:
    many: list[Page] = [(b"%d:" % n, b"x" * (n * 37 % 5000)) for n in range(3000)]
    assert parser.parse(many, 30) == [note + bytes(body) for note, body in many]
    assert parser.parse([], 30) == []
    large = os.urandom(50 << 20)
    assert parser.parse([(b"", large), (b"", b"small"), (b"", memoryview(large))], 60) == [large, b"small", large]


@pytest.mark.parametrize(
    ("body", "detail"),
    [(b"kill", "signal 9 (SIGKILL)"), (b"segfault", "signal 11 (SIGSEGV)"), (b"leave", "exit code 3")],
)
def test_a_page_that_ends_the_process_is_tried_once_more_and_hurts_only_itself(
    parser: ParserProcess, body: bytes, detail: str
) -> None:
    found = parser.parse(pages(b"a", body, b"b", body, b"c"), 30)
    assert found == [b"a", Failed("crash", detail), b"b", Failed("crash", detail), b"c"]


def test_a_page_that_would_have_been_parsed_alone_is(parser: ParserProcess, tmp_path: Path) -> None:
    assert parser.parse(pages(b"a", b"once " + bytes(tmp_path / "seen"), b"b"), 30) == [b"a", b"survived", b"b"]


def test_a_page_that_takes_too_long_gets_ten_times_the_time_and_is_then_given_up(parser: ParserProcess) -> None:
    parser.parse(pages(b"warm"), 30)
    begin = time.monotonic()
    found = parser.parse(pages(b"a", b"hang", b"b", b"sleep 0.6", b"c"), 0.2)
    assert found == [b"a", Failed("timeout", "2 s"), b"b", b"sleep 0.6", b"c"]
    assert 2.2 < time.monotonic() - begin < 60


def test_an_error_of_the_parser_is_the_page_s_and_the_process_stays(parser: ParserProcess) -> None:
    first, error, second = parser.parse(pages(b"pid", b"raise too odd", b"pid"), 30)
    assert first == second and error == Failed("error", "ValueError: too odd")


def test_a_page_that_wants_more_memory_than_there_is(parser: ParserProcess) -> None:
    with ParserProcess(ODD, {}, address_space=1 << 30) as small:
        found = small.parse(pages(b"a", b"eat %d" % (2 << 30), b"eat 1000", b"b"), 30)
    assert found == [b"a", Failed("crash", "it ran out of memory"), b"1000", b"b"]


def test_a_process_that_has_grown_is_replaced() -> None:
    with ParserProcess(ODD, {}, resident=80 << 20) as parser:
        found = parser.parse(pages(b"pid", b"pid", b"grow %d" % (90 << 20), b"pid", b"pid"), 30)
    assert found[0] == found[1] != found[3] == found[4]


def test_it_imports_the_parser_alone_and_its_prints_are_no_answers(parser: ParserProcess) -> None:
    (answer,) = parser.parse(pages(b"modules"), 30)
    assert isinstance(answer, bytes)
    modules = {name.split(".")[0] for name in answer.decode().split()}
    assert "parsers" not in modules and "json" in modules
    assert not modules & {"gristmill", "numpy", "pyarrow", "numba", "ray", "pydantic"}


def test_parsers_that_cannot_be_loaded_are_named() -> None:
    with ParserProcess(ODD, {"unusable": True}) as parser, pytest.raises(ParserUnusable, match="ImportError: no such"):
        parser.parse(pages(b"a"), 30)


def test_it_ends_with_its_parent_even_in_the_middle_of_a_page() -> None:
    program = (
        "import sys\nfrom gristmill.pipeline.parser_process import ParserProcess\n"
        f"parser = ParserProcess({ODD!r}, {{}})\nparser.parse([(b'', b'a')], 60)\nprint(parser.pid, flush=True)\n"
        "parser.parse([(b'', b'hang')], 3600)\n"
    )
    parent: Any
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT) as parent:
        child = int(parent.stdout.readline())
        time.sleep(0.2)
        assert Path(f"/proc/{child}").exists()
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    end = time.monotonic() + 20
    while _runs(child):
        assert time.monotonic() < end, "the parser process is still there"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False
