"""Failures of independent tasks: which of them another node or another day may mend, and whose fault they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gristmill.pipeline.errors import ConservationError, DataError, StorageError
from gristmill.pipeline.executor import SetAside
from gristmill.pipeline.storage.retries import causes, is_transient

_OF_INPUT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


@dataclass(frozen=True)
class TaskFailed:
    """An attempt at a task that failed, as it travels to the driver: an error without what it was raised from."""

    reason: str
    input_is_cause: bool
    node: str = ""


def may_be_set_aside(error: BaseException) -> bool:
    """Whether the other tasks of a pass may go on: input or storage failed, and no promise of a stage or of ours."""
    if isinstance(error, ConservationError):
        return False
    return isinstance(error, (DataError, StorageError)) or is_transient(error)


def attempted(function: Callable[[Any], Any], payload: Any, node: Callable[[], str] = str) -> Any:
    """The result of a task, or TaskFailed. Raises what stops a run."""
    try:
        return function(payload)
    except Exception as error:
        if not may_be_set_aside(error):
            raise
        reason = str(error) or type(error).__name__
        return TaskFailed(reason, _input_is_cause(error, subject_of(payload)), node())


def _input_is_cause(error: BaseException, subject: str) -> bool:
    """The input cannot be parsed, or is not there for us to read; a store that is down is not the input's fault."""
    if isinstance(error, DataError):
        return True
    return subject in str(error) and any(isinstance(one, _OF_INPUT) for one in causes(error))


def subject_of(payload: Any) -> str:
    """What a payload says that its task is about."""
    return str(getattr(payload, "subject", ""))


def set_aside(failed: TaskFailed, payload: Any) -> SetAside:
    return SetAside(subject_of(payload), failed.reason, failed.input_is_cause)
