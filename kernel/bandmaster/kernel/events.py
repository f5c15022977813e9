"""What happens in a kernel, as typed values; logging, timeline and tracing are consumers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

__all__ = [
    "ComponentAbandoned",
    "ComponentCrashed",
    "ComponentEvent",
    "ComponentOverdue",
    "ComponentStartCancelled",
    "ComponentStartFailed",
    "ComponentStarted",
    "ComponentStarting",
    "ComponentStopFailed",
    "ComponentStopped",
    "ComponentStopping",
    "Drained",
    "Draining",
    "Event",
    "KernelStarting",
    "KernelStopped",
    "KernelStopping",
    "Listener",
    "OnlyAbandonedLeft",
    "ReadinessLost",
    "ReadinessRegained",
    "Ready",
    "RollingBack",
    "ServiceEnded",
    "ServiceEvent",
    "ServiceGaveUp",
    "ServiceRestarting",
    "ServiceStarted",
    "StopRequested",
    "Warned",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, at a time of the event loop's clock, in seconds."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentEvent(Event):
    """Something that happened to one component."""

    component: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelStarting(Event):
    """The start of the plan has begun."""

    components: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentStarting(ComponentEvent):
    """All that it depends on has started, and its context manager is being entered."""

    waited: float
    """Seconds that it waited for what it depends on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentStarted(ComponentEvent):
    """Its context manager has been entered."""

    waited: float
    own: float
    """Seconds that the start itself took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentStartFailed(ComponentEvent):
    """Its context manager raised while it was entered."""

    error: BaseException
    own: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentStartCancelled(ComponentEvent):
    """Its start was cut short by the rollback."""

    own: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready(Event):
    """Everything has started."""

    took: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingBack(Event):
    """The start has failed or was cancelled: what had started is stopped again."""

    cause: BaseException | None
    """The first failure; none where the start was cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRequested(Event):
    """Somebody asked the kernel to stop."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Draining(Event):
    """Readiness fails from now on, and what is in flight is waited for."""

    delay: float
    timeout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained(Event):
    """Nothing is in flight any more, or the time for it is over."""

    took: float
    left: int
    """What was still in flight when the time was over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelStopping(Event):
    """The stop of the plan has begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentStopping(ComponentEvent):
    """All that depends on it has stopped, and its context manager is being exited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentStopped(ComponentEvent):
    """Its context manager has been exited."""

    own: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentStopFailed(ComponentEvent):
    """Its context manager raised while it was exited."""

    error: BaseException
    own: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentOverdue(ComponentEvent):
    """A start or a stop has reached its deadline and is cancelled."""

    phase: str
    seconds: float
    where: str
    """The stack of the coroutine at that moment, innermost last."""
    waiting: tuple[str, ...] = ()
    """Every other component that hasn't started yet, with what it waits for or where it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentAbandoned(ComponentEvent):
    """It ignored its cancellation and is given up; what it depends on no longer waits for it."""

    phase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentCrashed(ComponentEvent):
    """It died while the application was serving."""

    policy: str
    """``stop`` or ``degrade``. What it died of is told once it has been exited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlyAbandonedLeft(Event):
    """Nothing is left to wait for but components that ignore their cancellation: only ending the process ends them."""

    components: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelStopped(Event):
    """Everything that had started has been stopped."""

    took: float
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEvent(ComponentEvent):
    """Something that happened to a background service of a component."""

    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStarted(ServiceEvent):
    """The service runs."""

    attempt: int
    """1 for the first run, one more with each restart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEnded(ServiceEvent):
    """The service returned, or failed, and its policy doesn't restart it."""

    error: BaseException | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRestarting(ServiceEvent):
    """The service failed, or returned where it should run on, and is started again after a pause."""

    error: BaseException | None
    delay: float
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceGaveUp(ServiceEvent):
    """The service failed more often than its restart policy allows."""

    error: BaseException | None
    policy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned(ComponentEvent):
    """A component has something to tell the people who run this."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadinessLost(Event):
    """A probe that had passed no longer does."""

    probe: str
    status: str
    """``fail``, or ``warn`` for one that isn't critical."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadinessRegained(Event):
    """A probe that had failed passes again."""

    probe: str


Listener: TypeAlias = Callable[[Event], None]
