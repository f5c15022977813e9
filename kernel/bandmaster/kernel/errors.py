"""Every exception of the kernel.

BandmasterError
├── TransientError               trying again later may help
├── PermanentError               trying again changes nothing
│   └── BudgetExceededError      the plan may hold more than a server allows
├── DiscoveryError               installed parts can't be found, trusted or loaded
├── PlanError                    parts don't fit together
├── TargetError                  ``module:attribute`` can't be resolved to an application
├── BindError                    the address can't be listened on
├── ServerNotInstalledError      the chosen server or event loop is missing
├── StartError                   a component failed to start
├── StartCancelled               a stop was requested before everything had started
├── DeadlineExceeded             a start or a stop took too long (a TimeoutError, too)
├── CrashError                   a component died while serving
├── ServerEndedError             the server ended without a request to stop
├── StopError                    components failed to stop (an ExceptionGroup, too)
├── BodyTooLarge                 a request body is larger than a layer allows
├── SignatureError               a signature can't be read as a declaration (a ValueError, too)
├── HostLifespanError            the hosted application reported a failed lifespan
├── NotReadyError                an application mounted in the host isn't ready
└── GoneAwayError                a message was sent on a WebSocket that the drain has closed (an OSError, too)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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


class Problems:
    """Collects the problems, and the warnings, of checks that go on past the first one."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []
        self.warnings: list[str] = []
        """Sentences about parts that fit together, but perhaps not as their authors meant them to."""

    def add(self, message: str, hint: str = "", subject: str = "") -> None:
        """Add a problem from its fields."""
        self._problems.append(Problem(message, hint, subject))

    def extend(self, problems: Iterable[Problem]) -> None:
        """Add problems that another check has found."""
        self._problems += problems

    def warn(self, message: str) -> None:
        """Add a warning."""
        self.warnings.append(message)

    def raise_if_any(self, kind: type[_ProblemsError]) -> None:
        """Raise an error with all problems, unless there are none. Warnings don't count.

        Raises:
            PlanError, DiscoveryError: the one that ``kind`` names.
        """
        if self._problems:
            raise kind(self._problems)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._problems)

    def __len__(self) -> int:
        return len(self._problems)


class _ProblemsError(BandmasterError):
    """An error that reports every problem of a check in one go."""

    where = ""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        count = len(self.problems)
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        return f"{count} problem{'' if count == 1 else 's'} {self.where}:{lines}"


class DiscoveryError(_ProblemsError):
    """Installed parts that can't be found, trusted or loaded. Nothing was started."""

    where = "with the installed parts"


class PlanError(_ProblemsError):
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


class SignatureError(BandmasterError, ValueError):
    """A signature that can't be read as a declaration; the message says which parameter, and what to write."""


class BudgetExceededError(PermanentError):
    """The plan may hold more of a shared resource than the server allows."""


class TargetError(BandmasterError):
    """A target that can't be had: misspelt, or failing while it is imported or made.

    ``trace`` holds the last steps of the traceback, each a place with its line of code, if other code failed.
    """

    def __init__(self, problem: Problem, *, trace: Iterable[str] = (), misspelt: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.trace = tuple(trace)
        self.misspelt = misspelt
        """Whether what was written is at fault, rather than the code that it names."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The one problem, in the form that all planning errors have."""
        return (self.problem,)

    def __str__(self) -> str:
        return "\n  ".join([str(self.problem), *self.trace])


class BodyTooLarge(BandmasterError):
    """A request body grew beyond what a layer allows. HTTP answers 413.

    It is raised by the application's ``receive``. Starlette and FastAPI take it for the ``HTTPException`` that it is.
    """

    status_code = 413

    def __init__(self, limit: int) -> None:
        # Not super(): that is Starlette's exception where it is one of those, too.
        BandmasterError.__init__(self, f"the request body is larger than {limit} bytes")
        self.limit = limit
        """Bytes that were allowed."""

    def __str__(self) -> str:
        return str(self.args[0])


class HostLifespanError(BandmasterError):
    """The hosted application reported that its lifespan failed."""


class GoneAwayError(BandmasterError, OSError):
    """Sent on a WebSocket that the drain has closed, as the ASGI specification has it for closed connections."""


class NotReadyError(BandmasterError):
    """A mounted application isn't ready."""


class BindError(BandmasterError):
    """The address can't be listened on. Nothing was started."""


class ServerNotInstalledError(BandmasterError):
    """The settings name a server, or an event loop, that isn't installed."""


class ServerEndedError(BandmasterError):
    """The server ended without having been asked to; ``__cause__`` is what it said, if anything."""
