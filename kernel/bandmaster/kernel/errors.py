"""Every exception of the kernel.

BandmasterError
├── TransientError               trying again later may help
│   └── DegradedError            a component that the application serves without would provide it (a KeyError, too)
├── PermanentError               trying again changes nothing
│   ├── BudgetExceededError      the plan may hold more than a server allows
│   └── YieldError               a component yields never, twice, or another type than it declares
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
└── GoneAwayError                a message was sent on a WebSocket that the server has closed (an OSError, too)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any


class BandmasterError(Exception):
    """The base of every exception that bandmaster raises. Each can be copied and pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        # By default, a copy is made by a call with `args`, which lack the keyword arguments of some classes.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[BandmasterError], args: tuple[Any, ...], fields: dict[str, Any]) -> BandmasterError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


class TransientError(BandmasterError):
    """A failure that may pass: a lost connection, a full queue. HTTP answers 503 with ``Retry-After``."""

    retry_after: float | None = None
    """Seconds after which to retry, if known."""


class DegradedError(TransientError, KeyError):
    """A value was asked for, and the component that would provide the value is degraded: its start has failed.

    The component isn't started again before the next start of the process.
    """

    def __init__(self, message: str, *, component: str) -> None:
        super().__init__(message)
        self.component = component

    def __str__(self) -> str:
        # A KeyError shows the repr of its key.
        return str(self.args[0])


class PermanentError(BandmasterError):
    """A failure that stays, however often the work is retried: bad data, a missing right. HTTP answers 500."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in a set of parts, and the remedy."""

    message: str
    hint: str = ""
    subject: str = ""
    """The name of the part at fault, if one part is."""
    role_unavailable: bool = False
    """Whether this environment has no use for the role of the process, which is no fault unless the role is asked for.

    A worker, for instance, has nothing to do while the queue is in the memory of another process.
    """

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class Problems:
    """Collects the problems, and the warnings, of checks that go on past the first one."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []
        self.warnings: list[str] = []
        """Sentences about parts that fit together, but perhaps not as their authors meant them to."""

    def add(self, message: str, hint: str = "", subject: str = "") -> None:
        """Add a problem."""
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
    """Parts that don't fit together, or settings that can't be read. Nothing was started."""

    where = "in the plan"


class StartError(BandmasterError):
    """A component failed to start; the components that had started have been stopped again.

    ``__cause__`` is the first failure.
    """

    def __init__(
        self, message: str, *, component: str, rollback_errors: Sequence[BaseException] = (), tries: int = 1
    ) -> None:
        super().__init__(message)
        self.component = component
        self.rollback_errors: tuple[BaseException, ...] = tuple(rollback_errors)
        """All further failures during the rollback, in order."""
        self.tries = tries
        """How often the component's start was tried: more than once only where its policy is to retry."""


class CrashError(BandmasterError):
    """A component, or one of its services, failed while the application was serving.

    ``__cause__`` is the exception, if there was one.
    """

    def __init__(self, message: str, *, component: str, stop_errors: Sequence[BaseException] = ()) -> None:
        super().__init__(message)
        self.component = component
        self.stop_errors: tuple[BaseException, ...] = tuple(stop_errors)
        """All further failures while the other components were stopped, in order."""


class StopError(BandmasterError, ExceptionGroup[Exception]):
    """Every failure during the stop, the cause first."""

    def derive(self, excs: Sequence[Exception]) -> StopError:  # type: ignore[override]
        """A `StopError` of some of the errors; ``split`` and ``subgroup`` call this."""
        return StopError(self.message, excs)


class StartCancelled(BandmasterError):
    """A stop was requested before every component had started; those that had started have been stopped again."""


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
    """A signature that can't be read as a declaration; the message names the parameter and the remedy."""


class BudgetExceededError(PermanentError):
    """The components of a plan may hold more of a shared resource than the server allows."""


class YieldError(PermanentError):
    """A component that yields never, or twice, or another type than it declares. The message has the file and line."""


class TargetError(BandmasterError):
    """A target that can't be resolved: misspelt, or failing when imported or called.

    ``trace`` holds the last steps of the traceback, each a place with a line of code, if other code failed.
    """

    def __init__(self, problem: Problem, *, trace: Iterable[str] = (), misspelt: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.trace = tuple(trace)
        self.misspelt = misspelt
        """Whether the target's spelling is at fault, rather than the code that it names."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The one problem, in the form of the other planning errors."""
        return (self.problem,)

    def __str__(self) -> str:
        return "\n  ".join([str(self.problem), *self.trace])


class BodyTooLarge(BandmasterError):
    """A request body grew beyond what a layer allows. HTTP answers 413.

    The application's ``receive`` raises this error. In Starlette and FastAPI the error is an ``HTTPException`` as well.
    """

    status_code = 413

    def __init__(self, limit: int) -> None:
        # Not super(): in subclasses that are Starlette's HTTPException as well, that is the HTTPException.
        BandmasterError.__init__(self, f"the request body is larger than {limit} bytes")
        self.limit = limit
        """The most bytes that the layer allows."""

    def __str__(self) -> str:
        return str(self.args[0])


class HostLifespanError(BandmasterError):
    """The hosted application reported that its lifespan failed.

    ``phase`` is ``startup``, ``shutdown``, or ``serving`` for a lifespan that ended in between.
    """

    def __init__(self, message: str, phase: str) -> None:
        super().__init__(message)
        self.phase = phase


class GoneAwayError(BandmasterError, OSError):
    """A message was sent on a WebSocket that the drain or another task has closed; ASGI asks for an OSError here."""


class NotReadyError(BandmasterError):
    """An application that is mounted in the host isn't ready."""


class BindError(BandmasterError):
    """The address can't be bound. Nothing was started."""


class ServerNotInstalledError(BandmasterError):
    """The settings name a server or an event loop that isn't installed."""


class ServerEndedError(BandmasterError):
    """The server ended without a request to stop; ``__cause__`` is the server's exception, if there was one."""
