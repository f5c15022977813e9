"""Whether a task is done, retried or made a dead letter after a run. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from bandmaster.contrib.taskiq.dead_letters.dead_letter import Reason
from bandmaster.contrib.taskiq.errors import InvalidArgumentsError, UnknownTaskError, render_error
from bandmaster.contrib.taskiq.settings import TaskIQSettings
from bandmaster.contrib.taskiq.task_declarations.options import TaskOptions
from bandmaster.kernel import PermanentError, TransientError


@dataclass(frozen=True, slots=True)
class Policy:
    """How a task is retried. Durations are in seconds."""

    attempts: int
    backoff: float
    longest_backoff: float
    jitter: float
    retry_on: tuple[type[BaseException], ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """The message is acknowledged."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The task runs again after so many seconds."""

    delay: float
    detail: str
    """The error."""


@dataclass(frozen=True, slots=True)
class Dead:
    """The message becomes a dead letter."""

    reason: Reason
    detail: str
    """The error."""


Outcome = Done | Retry | Dead


def make_policy(options: TaskOptions, settings: TaskIQSettings) -> Policy:
    """A task's own options, and the settings for missing options."""

    def choose(name: str) -> float:
        own = getattr(options, name)
        return float(getattr(settings, name) if own is None else own)

    backoff = choose("backoff")
    return Policy(
        attempts=settings.attempts if options.attempts is None else options.attempts,
        backoff=backoff,
        # A task's own first pause may be longer than the longest pause of the settings.
        longest_backoff=max(backoff, choose("longest_backoff")),
        jitter=choose("jitter"),
        retry_on=options.retry_on,
    )


def decide(error: BaseException | None, attempt: int, policy: Policy, chance: float) -> Outcome:
    """The outcome of a task's ``attempt``-th run, the first being 1.

    Transient errors are retried: `TransientError`, a timeout, and the types of ``retry_on``. So are unknown tasks:
    while a release is rolled out, another worker may know the task. If an error's ``retry_after`` is longer than the
    pause, it is used. ``chance`` is a random number from 0 to 1.
    """
    if error is None:
        return Done()
    if is_transient(error, policy) and attempt < policy.attempts:
        return Retry(max(find_pause(attempt, policy, chance), _read_retry_after(error)), render_error(error))
    return Dead(_find_reason(error, policy), render_error(error))


def is_transient(error: BaseException, policy: Policy) -> bool:
    """Whether another attempt may succeed."""
    if isinstance(error, UnknownTaskError):
        return True
    if isinstance(error, PermanentError):
        return isinstance(error, policy.retry_on)
    return isinstance(error, (TransientError, *policy.retry_on))


def find_pause(attempt: int, policy: Policy, chance: float) -> float:
    """Seconds between the ``attempt``-th run and the next: doubled with each, and partly random.

    >>> [find_pause(attempt, Policy(9, 1, 5, 0.5), chance=0) for attempt in (1, 2, 3, 4)]
    [1.0, 2.0, 4.0, 5.0]
    >>> find_pause(2, Policy(9, 1, 5, 0.5), chance=1)
    1.0
    """
    whole = min(policy.longest_backoff, policy.backoff * 2.0 ** min(attempt - 1, 60))
    return float(whole * (1 - policy.jitter * chance))


def _read_retry_after(error: BaseException) -> float:
    return (error.retry_after or 0.0) if isinstance(error, TransientError) else 0.0


def _find_reason(error: BaseException, policy: Policy) -> Reason:
    if isinstance(error, UnknownTaskError):
        return Reason.UNKNOWN
    if isinstance(error, InvalidArgumentsError):
        return Reason.INVALID
    return Reason.EXHAUSTED if is_transient(error, policy) else Reason.PERMANENT
