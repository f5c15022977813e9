"""What can be made to go wrong with a component."""

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
    """What fails by a fault, unless the fault says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that is to go wrong with one component. `fail`, `hang`, `slow`, `cancel` and `crash` make them.

    At a start it comes before the component's own start, which then never begins unless the fault lets it pass; at a
    stop it comes after the component's own stop, so that nothing stays open.
    """

    component: str
    kind: Literal["fail", "hang", "slow", "cancel", "crash"]
    at: Where = "start"
    error: BaseException | type[BaseException] | None = None
    seconds: float | None = 0.0
    """How long a slow one takes, or how long after the start a crash comes; none where the test triggers the crash."""
    deadline: float | None = None
    """What the component's deadline is set to, in seconds; none leaves it as it is."""
    shielded: bool = False
    """Whether it ignores cancellation."""

    def __post_init__(self) -> None:
        if self.at not in _ALLOWED[self.kind]:
            hint = "; use crash()" if self.kind == "fail" and self.at == "serving" else ""
            raise ValueError(f"at: a {self.kind} comes at {' or '.join(_ALLOWED[self.kind])}, got {self.at!r}{hint}")
        if self.seconds is not None and not self.seconds >= 0:
            raise ValueError(f"seconds: expected a number from 0 up, got {self.seconds!r}")
        if self.deadline is not None and not self.deadline > 0:
            raise ValueError(f"deadline: expected seconds above 0, got {self.deadline!r}")

    def __str__(self) -> str:
        return f"{self.kind} of {self.component!r} at {self.at}"

    def make_error(self) -> BaseException:
        """What it raises."""
        if isinstance(self.error, BaseException):
            return self.error
        return (self.error or InjectedError)(f"injected: {self}")


def fail(component: str, *, at: Where = "start", error: BaseException | type[BaseException] | None = None) -> Fault:
    """Let a start or a stop fail: ``run(faults=[fail("database", error=ConnectionError)])``."""
    return Fault(component=component, kind="fail", at=at, error=error)


def hang(component: str, *, at: Where = "start", deadline: float | None = 0.1) -> Fault:
    """Let a start or a stop never end, until its deadline, which is set to ``deadline`` seconds; none leaves it alone."""
    return Fault(component=component, kind="hang", at=at, deadline=deadline)


def slow(
    component: str, seconds: float, *, at: Where = "start", deadline: float | None = None, shielded: bool = False
) -> Fault:
    """Let a start or a stop take so many seconds more; ``shielded`` ones can't be cancelled meanwhile."""
    return Fault(component=component, kind="slow", at=at, seconds=seconds, deadline=deadline, shielded=shielded)


def cancel(component: str, *, at: Where = "start") -> Fault:
    """Cancel the whole run, as from outside, while that component is at that point."""
    return Fault(component=component, kind="cancel", at=at)


def crash(
    component: str, *, error: BaseException | type[BaseException] | None = None, after: float | None = 0.0
) -> Fault:
    """Let a component die while the application serves, as one does whose own task group fails.

    It happens ``after`` seconds from when everything has started; with none, when the test calls `Running.crash`.
    """
    return Fault(component=component, kind="crash", at="serving", error=error, seconds=after)
