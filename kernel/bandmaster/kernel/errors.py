"""Every exception that bandmaster raises of its own accord."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class BandmasterError(Exception):
    """The base of all of them."""


class TransientError(BandmasterError):
    """Trying again later may help: a lost connection, a full queue. HTTP answers 503 with ``Retry-After``."""

    retry_after: float | None = None
    """Seconds after which another try is sensible, where known."""


class PermanentError(BandmasterError):
    """Trying again changes nothing: bad data, a missing right. HTTP answers 500."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a set of parts, and what to try."""

    message: str
    hint: str = ""
    subject: str = ""
    """The name of the part that it is about, if it is about one."""

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class _Problems(BandmasterError):
    """An error that reports all it found in one go."""

    where = ""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        count = len(self.problems)
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        return f"{count} problem{'' if count == 1 else 's'} {self.where}:{lines}"


class DiscoveryError(_Problems):
    """Installed parts that can't be found, trusted or loaded. Nothing was started."""

    where = "with the installed parts"


class PlanError(_Problems):
    """Parts that don't fit together. Nothing was started."""

    where = "in the plan"


class StartError(BandmasterError):
    """A component failed to start; what had started has been stopped again.

    ``__cause__`` is the first failure.
    """

    def __init__(self, message: str, *, component: str, rollback_errors: Sequence[BaseException] = ()) -> None:
        super().__init__(message)
        self.component = component
        self.rollback_errors: tuple[BaseException, ...] = tuple(rollback_errors)
        """Everything else that went wrong on the way down, in the order in which it happened."""


class CrashError(BandmasterError):
    """A component, or a service that it supervises, died while the application was serving.

    ``__cause__`` is what it died of, where it said so.
    """

    def __init__(self, message: str, *, component: str, stop_errors: Sequence[BaseException] = ()) -> None:
        super().__init__(message)
        self.component = component
        self.stop_errors: tuple[BaseException, ...] = tuple(stop_errors)
        """Everything that went wrong while the rest was stopped, in the order in which it happened."""


class StopError(BandmasterError, ExceptionGroup[Exception]):
    """All that went wrong while stopping, the cause first."""

    def derive(self, excs: Sequence[Exception]) -> StopError:  # type: ignore[override]
        """The same kind of group over some of the errors."""
        return StopError(self.message, excs)


class StartCancelled(BandmasterError):
    """The start was asked to stop before it had completed; what had started has been stopped again."""


class DeadlineExceeded(BandmasterError, TimeoutError):
    """A start or a stop took longer than its deadline.

    ``phase`` is ``"start"`` or ``"stop"``, ``seconds`` the deadline, ``where`` the stack of the coroutine as text.
    """

    def __init__(self, message: str, *, component: str, phase: str, seconds: float, where: str = "") -> None:
        super().__init__(message)
        self.component = component
        self.phase = phase
        self.seconds = seconds
        self.where = where
