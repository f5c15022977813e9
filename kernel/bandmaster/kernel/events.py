"""Events: everything that happens in a kernel, as typed values. Logging, timeline and tracing listen to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

__all__ = [
    "ComponentAbandoned",
    "ComponentCrashed",
    "ComponentDegraded",
    "ComponentEvent",
    "ComponentOverdue",
    "ComponentStartCancelled",
    "ComponentStartFailed",
    "ComponentStartRetrying",
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
    "MountedAppLeftToHost",
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
    """The base of all events; ``at`` is a time of the event loop's clock, in seconds."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentEvent(Event):
    """The base of the events of one component, which ``component`` names."""

    component: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelStarting(Event):
    """The kernel begins to start the components of the plan."""

    components: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentStarting(ComponentEvent):
    """Everything that the component depends on has started; the context manager of the component is being entered.

    A component whose policy is to retry may begin several times: each try enters a new context manager.
    """

    waited: float
    """Seconds that the component waited for others, before the first try."""
    attempt: int = 1
    """1 for the first try, one more for each further try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentStarted(ComponentEvent):
    """The component's context manager has been entered."""

    waited: float
    own: float
    """Seconds that the start itself took, with all tries and the pauses between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentStartRetrying(ComponentEvent):
    """A try to start the component has failed, and the next one begins after ``delay`` seconds."""

    error: BaseException
    own: float
    """Seconds since the first try began."""
    delay: float
    attempt: int
    """The number of the next try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentDegraded(ComponentEvent):
    """The component's start has failed or was too late, and the application serves without the component."""

    error: BaseException
    waited: float
    own: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentStartFailed(ComponentEvent):
    """The component's context manager raised an exception on entering."""

    error: BaseException
    own: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentStartCancelled(ComponentEvent):
    """The rollback has cancelled the component's start."""

    own: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready(Event):
    """Every component has started, or is degraded."""

    took: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingBack(Event):
    """The start has failed or was cancelled; the components that had started are stopped again."""

    cause: BaseException | None
    """The first failure; None if the start was cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRequested(Event):
    """A signal, a component or the caller has asked the kernel to stop."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Draining(Event):
    """Readiness fails from now on, and the kernel waits for requests in flight."""

    delay: float
    timeout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained(Event):
    """No request is in flight any more, or the time for draining is over."""

    took: float
    left: int
    """Requests that were still in flight when the time was over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelStopping(Event):
    """The kernel begins to stop the components of the plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentStopping(ComponentEvent):
    """Everything that depends on the component has stopped; the context manager of the component is being exited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentStopped(ComponentEvent):
    """The component's context manager has been exited."""

    own: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentStopFailed(ComponentEvent):
    """The component's context manager raised an exception on exiting."""

    error: BaseException
    own: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentOverdue(ComponentEvent):
    """A start or a stop has reached the deadline and is cancelled."""

    phase: str
    seconds: float
    where: str
    """The stack of the coroutine at that moment, innermost last."""
    waiting: tuple[str, ...] = ()
    """The other components that haven't started yet, each with the components that it waits for, or with its stack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentAbandoned(ComponentEvent):
    """The component ignores its cancellation. The kernel stops others without waiting any longer."""

    phase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentCrashed(ComponentEvent):
    """The component failed while the application was serving."""

    policy: str
    """``stop`` or ``degrade``. The failure itself is reported once the component has been exited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlyAbandonedLeft(Event):
    """The kernel waits only for components that ignore their cancellation; only the end of the process ends them."""

    components: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelStopped(Event):
    """Every component that had started has been stopped."""

    took: float
    """The seconds of the stop, without those of the start and of the serving."""
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEvent(ComponentEvent):
    """The base of the events of a component's background service, which ``service`` names."""

    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStarted(ServiceEvent):
    """The service has been started."""

    attempt: int
    """1 for the first run, one more for each restart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEnded(ServiceEvent):
    """The service has returned or failed, and the policy demands no restart."""

    error: BaseException | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRestarting(ServiceEvent):
    """The service has failed, or returned too early, and is restarted after ``delay`` seconds."""

    error: BaseException | None
    delay: float
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceGaveUp(ServiceEvent):
    """The service has failed more often than the restart policy allows."""

    error: BaseException | None
    policy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MountedAppLeftToHost(ComponentEvent):
    """The component of a mounted app starts nothing, because the host's own lifespan starts the app."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned(ComponentEvent):
    """A component warns the people who run the application."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadinessLost(Event):
    """A probe that had passed fails."""

    probe: str
    status: str
    """``fail``, or ``warn`` for a probe that isn't critical."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadinessRegained(Event):
    """A probe that had failed passes again."""

    probe: str


Listener: TypeAlias = Callable[[Event], None]
"""A function that is called with every event, in the order in which they happen."""
