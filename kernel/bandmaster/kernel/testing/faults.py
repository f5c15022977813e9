"""The faults that a test can inject into a component."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Where: TypeAlias = Literal["start", "serving", "stop"]
_ALLOWED = {
    "fail": ("start", "stop"),
    "hang": ("start", "stop"),
    "slow": ("start", "stop"),
    "cancel": ("start", "serving", "stop"),
    "crash": ("serving",),
}


class InjectedError(Exception):
    """The exception of an injected failure or crash, unless the fault has one of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault of one component. `fail`, `hang`, `slow`, `cancel` and `crash` make faults.

    A fault at the start comes before the component's own start, which begins only after a `slow`. A fault at the stop
    comes after the component's own stop, so that nothing stays open.
    """

    component: str
    kind: Literal["fail", "hang", "slow", "cancel", "crash"]
    at: Where = "start"
    error: BaseException | type[BaseException] | None = None
    seconds: float | None = 0.0
    """The duration of a `slow`, or the time from the start to a crash; none where the test triggers the crash."""
    deadline: float | None = None
    """The component's deadline in this run, in seconds; none keeps the planned one."""
    shielded: bool = False
    """Whether the fault ignores cancellation."""
    times: int | None = None
    """The number of starts that fail, before the component starts well; none for every start."""

    def __post_init__(self) -> None:
        if self.at not in _ALLOWED[self.kind]:
            hint = "; use crash()" if self.kind == "fail" and self.at == "serving" else ""
            raise ValueError(f"at: a {self.kind} comes at {' or '.join(_ALLOWED[self.kind])}, got {self.at!r}{hint}")
        if self.seconds is not None and not self.seconds >= 0:
            raise ValueError(f"seconds: expected a number from 0 up, got {self.seconds!r}")
        if self.deadline is not None and not self.deadline > 0:
            raise ValueError(f"deadline: expected seconds above 0, got {self.deadline!r}")
        if self.times is not None and (self.kind != "fail" or self.at != "start" or self.times < 1):
            raise ValueError(
                f"times: expected a number from 1 up, for a fail at start; got {self.times!r} for a {self}"
            )

    def __str__(self) -> str:
        return f"{self.kind} of {self.component!r} at {self.at}"

    def make_error(self) -> BaseException:
        """The exception that the fault raises."""
        if isinstance(self.error, BaseException):
            return self.error
        return (self.error or InjectedError)(f"injected: {self}")


def fail(
    component: str,
    *,
    at: Where = "start",
    error: BaseException | type[BaseException] | None = None,
    times: int | None = None,
) -> Fault:
    """Let a start or a stop fail: ``run(faults=[fail("database", error=ConnectionError)])``.

    With ``times=2`` only the first two tries to start fail, as if a server came up late. A component whose policy is
    ``on_start_failure="retry"`` then starts with the third.
    """
    return Fault(component=component, kind="fail", at=at, error=error, times=times)


def hang(component: str, *, at: Where = "start", deadline: float | None = 0.1) -> Fault:
    """Let a start or a stop hang until its deadline, which is ``deadline`` seconds; none keeps the planned one."""
    return Fault(component=component, kind="hang", at=at, deadline=deadline)


def slow(
    component: str, seconds: float, *, at: Where = "start", deadline: float | None = None, shielded: bool = False
) -> Fault:
    """Let a start or a stop take this many seconds more. With ``shielded`` it ignores cancellation meanwhile."""
    return Fault(component=component, kind="slow", at=at, seconds=seconds, deadline=deadline, shielded=shielded)


def cancel(component: str, *, at: Where = "start") -> Fault:
    """Cancel the whole run while the component starts, serves or stops."""
    return Fault(component=component, kind="cancel", at=at)


def crash(
    component: str, *, error: BaseException | type[BaseException] | None = None, after: float | None = 0.0
) -> Fault:
    """Let a component crash while the application serves, as if a task of the component's own task group had failed.

    The crash comes ``after`` seconds from the start of the application; with none, when the test calls `Running.crash`.
    """
    return Fault(component=component, kind="crash", at="serving", error=error, seconds=after)
