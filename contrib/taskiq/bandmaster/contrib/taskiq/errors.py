"""Every exception of the task queue, and how an error is rendered in a line.

::

    BandmasterError
    ├── TransientError            another attempt may succeed
    │   ├── BusyError             another process holds the idempotency key
    │   ├── TaskCancelledError    a task was cancelled from inside
    │   ├── TaskNotSentError      the broker didn't accept a message
    │   └── TaskTimeoutError      a task exceeded its timeout
    ├── PermanentError            another attempt changes nothing
    │   ├── InvalidArgumentsError a message doesn't fit its task's parameters
    │   ├── PoisonError           a message was delivered too often
    │   ├── ResultMissingError    no result is stored
    │   ├── TaskQueueError        the settings can't be met
    │   └── UnknownTaskError      no task has the name
    └── TaskFailed                an error whose class can't be made here
"""

from __future__ import annotations

from collections.abc import Iterable

from bandmaster.kernel import BandmasterError, PermanentError, TransientError

_LONGEST_TEXT = 500


class BusyError(TransientError):
    """Another process runs the action of this key right now; ``retry_after`` is when its lease ends unless renewed."""


class TaskCancelledError(TransientError):
    """A task was cancelled by its own code, not by its worker."""


class TaskNotSentError(TransientError):
    """The broker didn't accept a message; ``__cause__`` is the broker's error."""


class TaskTimeoutError(TransientError):
    """A task ran for longer than its timeout."""


class InvalidArgumentsError(PermanentError):
    """The arguments of a message don't fit its task's parameters. The text shows no argument."""


class PoisonError(PermanentError):
    """A message was delivered as often as allowed and no worker finished its task. The message is a dead letter now."""


class ResultMissingError(PermanentError):
    """No result of a task is stored: the task isn't done yet, or the result has expired."""


class TaskQueueError(PermanentError):
    """The task queue can't be opened as the settings ask."""


class UnknownTaskError(PermanentError):
    """No installed part contributes a task of this name."""


class TaskFailed(BandmasterError):
    """A task's error whose class can't be made here: the class isn't imported, or the constructor refuses."""

    def __init__(self, type_name: str, text: str) -> None:
        super().__init__(type_name, text)
        self.type_name = type_name
        """The error's class, with its module."""
        self.text = text

    def __str__(self) -> str:
        return f"{self.type_name}: {self.text}".rstrip(": ")


def make_unknown_task_error(name: str, known: Iterable[str]) -> UnknownTaskError:
    """An error that names the most similar of the known tasks."""
    import difflib

    near = difflib.get_close_matches(name, list(known), 1)
    hint = f"Did you mean {near[0]!r}?" if near else "Is the part installed that contributes it, by tasks(...)?"
    return UnknownTaskError(f"there is no task {name!r} here. {hint}")


def render_error(error: BaseException) -> str:
    """The error's class and text, 500 characters at most."""
    return f"{type(error).__name__}: {error}".rstrip(": ")[:_LONGEST_TEXT]
