"""A request to stop: tasks under way end and count, none begins any more, and the time that they get has an end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from gristmill.launch.signals import stopping_at_signals
from gristmill.pipeline import stopping
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.stopping import Stopped, set_grace, tasks_under_way


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    with stopping_at_signals():
        yield


def signal_in_the_middle(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    return number


def test_the_task_under_way_ends_and_no_other_begins() -> None:
    ended = []
    with pytest.raises(Stopped, match="SIGTERM"):
        for _, found in InlineExecutor().run(signal_in_the_middle, range(5)):
            ended.append(found)
    assert ended == [0, 1]


def test_between_tasks_a_signal_is_obeyed_at_once() -> None:
    with pytest.raises(Stopped, match="SIGHUP"):
        os.kill(os.getpid(), signal.SIGHUP)


def test_a_second_signal_ends_the_time_of_grace() -> None:
    with pytest.raises(Stopped, match="SIGTERM"), tasks_under_way():
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopping.stop_requested()
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("not reached")


def test_the_time_of_grace_is_over_when_it_is_over() -> None:
    set_grace(0.2)
    begin = time.monotonic()
    with pytest.raises(Stopped, match="SIGTERM"), tasks_under_way():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(20)
    assert 0.1 < time.monotonic() - begin < 10


def test_a_command_knows_nothing_of_the_requests_of_another() -> None:
    with pytest.raises(Stopped), tasks_under_way():
        os.kill(os.getpid(), signal.SIGTERM)
    with stopping_at_signals():
        assert list(InlineExecutor().run(abs, [-1])) == [(0, 1)]
