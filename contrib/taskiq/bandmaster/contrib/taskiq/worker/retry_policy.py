"""What becomes of a task after a run: done, again later, or dead. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from bandmaster.contrib.taskiq.brokers.message_handle import Reason
from bandmaster.contrib.taskiq.settings import TaskIQSettings
from bandmaster.contrib.taskiq.task_declarations.arguments import InvalidArgumentsError
from bandmaster.contrib.taskiq.task_declarations.declarations import TaskOptions
from bandmaster.kernel import PermanentError, TransientError

_SHOWN = 500


class UnknownTaskError(PermanentError):
    """A message names a task that nothing here brings."""


class TaskTimeoutError(TransientError):
    """A task took longer than it may."""


class TaskCancelledError(TransientError):
    """A task was cancelled by something in it, not by its worker."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How often a task is tried. Durations are in seconds."""

    attempts: int
    backoff: float
    longest_backoff: float
    jitter: float
    retry_on: tuple[type[BaseException], ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """It needn't be run again."""


@dataclass(frozen=True, slots=True)
class Again:
    """It is to be run again, after so many seconds."""

    delay: float
    detail: str
    """What was wrong."""


@dataclass(frozen=True, slots=True)
class Dead:
    """Nobody is to run it again before a person has looked at it."""

    reason: Reason
    detail: str
    """What was wrong."""


Outcome = Done | Again | Dead


def policy_of(options: TaskOptions, settings: TaskIQSettings) -> Policy:
    """What holds for a task: its own options, and the settings where it says nothing."""

    def chosen(name: str) -> float:
        own = getattr(options, name)
        return float(getattr(settings, name) if own is None else own)

    backoff = chosen("backoff")
    return Policy(
        attempts=settings.attempts if options.attempts is None else options.attempts,
        backoff=backoff,
        # A task that says its first pause alone means it.
        longest_backoff=max(backoff, chosen("longest_backoff")),
        jitter=chosen("jitter"),
        retry_on=options.retry_on,
    )


def decide(error: BaseException | None, attempt: int, policy: Policy, chance: float) -> Outcome:
    """What becomes of a task that has ended so in its ``attempt``-th run, the first being 1.

    Errors that may pass are tried again: `TransientError`, its own timeout, and what ``retry_on`` names. A task that
    isn't known here is, too: while a release is rolled out, another worker may know it. An error's ``retry_after`` is
    heeded where it is longer than the pause. ``chance`` is from 0 to 1.
    """
    if error is None:
        return Done()
    if may_pass(error, policy) and attempt < policy.attempts:
        return Again(max(pause(attempt, policy, chance), _asked(error)), described(error))
    return Dead(_reason(error, policy), described(error))


def may_pass(error: BaseException, policy: Policy) -> bool:
    """Whether another attempt may help."""
    if isinstance(error, UnknownTaskError):
        return True
    if isinstance(error, PermanentError):
        return isinstance(error, policy.retry_on)
    return isinstance(error, (TransientError, *policy.retry_on))


def pause(attempt: int, policy: Policy, chance: float) -> float:
    """Seconds between the ``attempt``-th run and the next: doubled with each, a part of them left to chance.

    >>> [pause(attempt, Policy(9, 1, 5, 0.5), chance=0) for attempt in (1, 2, 3, 4)]
    [1.0, 2.0, 4.0, 5.0]
    >>> pause(2, Policy(9, 1, 5, 0.5), chance=1)
    1.0
    """
    whole = min(policy.longest_backoff, policy.backoff * 2.0 ** min(attempt - 1, 60))
    return float(whole * (1 - policy.jitter * chance))


def described(error: BaseException) -> str:
    """An error in a line or a few, at most 500 characters."""
    return f"{type(error).__name__}: {error}".rstrip(": ")[:_SHOWN]


def _asked(error: BaseException) -> float:
    """The seconds that an error itself asks to be waited."""
    return (error.retry_after or 0.0) if isinstance(error, TransientError) else 0.0


def _reason(error: BaseException, policy: Policy) -> Reason:
    if isinstance(error, UnknownTaskError):
        return Reason.UNKNOWN
    if isinstance(error, InvalidArgumentsError):
        return Reason.INVALID
    return Reason.EXHAUSTED if may_pass(error, policy) else Reason.PERMANENT
