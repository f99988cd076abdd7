"""Reading processes forked from one that has read nothing: they die alone, and end with who started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gristmill.pipeline import reader_process, reader_template
from gristmill.pipeline.key_variable import KEY_VARIABLE
from gristmill.pipeline.reader_process import ReaderCrashed, ReaderProcess
from gristmill.pipeline.reader_template import ReaderTemplate, fork_template, template_for

FUNCTIONS = "tests.pipeline.template_functions"
ROOT = str(Path(__file__).parents[2])
HEAD = f"import sys\nsys.path.insert(0, {ROOT!r})\n"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")


@pytest.fixture
def template() -> Iterator[ReaderTemplate]:
    with ReaderTemplate(FUNCTIONS) as made:
        yield made


def reader_of(template: ReaderTemplate) -> ReaderProcess:
    made = ReaderProcess(FUNCTIONS)
    made.template = template
    return made


def gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_readers_are_forked_from_one_process_and_die_alone(template: ReaderTemplate) -> None:
    with reader_of(template) as first, reader_of(template) as second:
        before = [reader.call("who", None) for reader in (first, second)]
        assert len({one["pid"] for one in before}) == 2
        (parent,) = {one["parent"] for one in before} | {one["loaded by"] for one in before}
        with pytest.raises(ReaderCrashed, match="signal 9 .SIGKILL."):
            first.call("die", signal.SIGKILL)
        assert second.call("who", None) == before[1], "nobody else ends with it"
        after = first.call("who", None)
        assert after["parent"] == parent and after["pid"] not in {one["pid"] for one in before}, (
            "and there is another at once"
        )
    assert gone(after["pid"]) and gone(before[1]["pid"]) and not gone(parent)
    template.close()
    assert gone(parent)


def test_a_forked_reader_that_hangs_is_stopped(template: ReaderTemplate, monkeypatch: pytest.MonkeyPatch) -> None:
    with reader_of(template) as reader:
        pid = reader.call("who", None)["pid"]
        monkeypatch.setattr(reader_process, "SECONDS", 0.1)
        with pytest.raises(ReaderCrashed, match="stopped after"):
            reader.call("hang", None)
        assert gone(pid)
        monkeypatch.undo()
        assert reader.call("who", None)["pid"] != pid


def test_a_template_that_was_killed_is_started_again(template: ReaderTemplate) -> None:
    with reader_of(template) as reader:
        parent = reader.call("who", None)["parent"]
        os.kill(parent, signal.SIGKILL)
        while not gone(parent):
            time.sleep(0.01)
        reader.end()
        assert reader.call("who", None)["parent"] != parent


def test_a_reader_has_the_environment_of_its_owner_without_the_key(
    template: ReaderTemplate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reader_of(template) as early, reader_of(template) as late:
        assert early.call("environment", "GRISTMILL_TEST") is None
        monkeypatch.setenv("GRISTMILL_TEST", "since then")
        monkeypatch.setenv(KEY_VARIABLE, "a key")
        assert late.call("environment", "GRISTMILL_TEST") == "since then"
        assert late.call("environment", KEY_VARIABLE) is None


def test_readers_and_template_end_with_their_owner() -> None:
    code = (
        f"{HEAD}from tests.pipeline.test_reader_template import *\n"
        "reader = reader_of(ReaderTemplate(FUNCTIONS)); found = reader.call('who', None)\n"
        "print(found['pid'], found['parent'], flush=True); reader.call('hang', None)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pids = [int(word) for word in owner.stdout.readline().split()]
        owner.kill()
    assert len(pids) == 2
    while not all(gone(pid) for pid in pids):
        time.sleep(0.01)


def test_a_command_forks_its_template_before_it_has_a_secret_or_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "a key")
    fork_template(FUNCTIONS)
    monkeypatch.delenv(KEY_VARIABLE)
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    fork_template(FUNCTIONS)
    done.set()
    thread.join()
    assert template_for(FUNCTIONS, several=False) is None
    code = (
        f"{HEAD}import os\nfrom gristmill.pipeline.reader_template import *\nfrom gristmill.pipeline.reader_process import *\n"
        f"fork_template({FUNCTIONS!r})\nwith template_for({FUNCTIONS!r}, several=False) as made:\n"
        f"    with ReaderProcess({FUNCTIONS!r}) as reader:\n"
        "        reader.template = made\n        print(reader.call('who', None)['loaded by'] == os.getpid())\n"
        f"print(template_for({FUNCTIONS!r}, several=False))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "True\nNone\n"


def test_what_an_audit_forks_from_has_no_threads_that_a_fork_would_lose() -> None:
    code = (
        "import os\nfrom gristmill.pipeline import reader_template as t\nfrom gristmill.pipeline.reader_process import *\n"
        "os.environ.update(ENVIRONMENT)\n"
        "for name in ('row_requests', 'reader_requests'):\n    loaded('gristmill.pipeline.audit.' + name)\n"
        "    print(t._no_other_threads())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "True\nTrue\n"


def test_where_forking_is_not_sound_readers_start_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_template, "_MAY_FORK", False)
    fork_template(FUNCTIONS)
    assert template_for(FUNCTIONS, several=True) is None
