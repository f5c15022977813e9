"""The record of one component's task: scopes, state and deadline."""

from __future__ import annotations

import math
from contextlib import AbstractAsyncContextManager
from enum import Enum
from typing import Any

import anyio

from bandmaster.kernel.lifecycle.services import Services
from bandmaster.kernel.planning.plan import Component


class TaskState(Enum):
    """The state of a component's task; the value names the phase in events and errors."""

    STARTING = "start"
    STARTED = "serving"
    DEGRADED = "degraded"
    STOPPING = "stop"
    OVER = "over"


class ComponentTask:
    """One component's task, from the call of the factory to the end of the exit. Only the engine changes the record.

    A start that is tried again has a new task for each try. So no scope and no context variable of a failed try is left
    for the next one.
    """

    __slots__ = (
        "abort",
        "attempt",
        "component",
        "crash_place",
        "deadline",
        "delay",
        "earlier_error",
        "failed_start",
        "guard",
        "index",
        "manager",
        "may_stop",
        "name",
        "next_try",
        "overdue",
        "pending",
        "phase_began",
        "services",
        "start_by",
        "state",
        "waited",
    )

    def __init__(self, index: int, component: Component) -> None:
        self.index = index
        self.name = component.name
        self.component = component
        self.state = TaskState.STARTING
        # Cancel scopes close in the reverse order of their opening, and a component may keep scopes and task groups
        # open from its start to its stop. So both scopes are opened before the component is entered, and closed after
        # it has been exited; a scope around the start alone would have to close inside those that the start opened.
        #
        # The outer scope, `abort`, ends a start. It is shielded: a cancellation of the caller reaches no component,
        # since only the engine knows the order in which components stop.
        self.abort = anyio.CancelScope(shield=True)
        # The inner scope, `guard`, ends a stop. It is shielded once the component has started: from then on `abort`
        # can't reach the component, so that a rollback that comes a moment too late doesn't cancel the exit.
        self.guard = anyio.CancelScope()
        self.may_stop = anyio.Event()
        """Set once every component that depends on this one is over."""
        self.manager: AbstractAsyncContextManager[Any] | None = None
        self.pending: Any = None
        """The coroutine of the start or stop under way, whose stack shows where the component stands."""
        self.services: Services | None = None
        """The component's background services, if it has any."""
        self.crash_place: int | None = None
        """The place of the component's crash in the list of failures: the error is known only after the exit."""
        self.deadline = math.inf
        self.overdue = False
        """Whether the deadline of the present phase has passed, so that the phase was cancelled."""
        self.phase_began = 0.0
        self.waited = 0.0
        """Seconds from the beginning of the run to the beginning of this start."""
        self.attempt = 1
        """1 for the first try of the start, one more for each further try."""
        self.delay = 0.0
        """Seconds to wait before this try."""
        self.start_by = math.inf
        """The deadline of the start, for all tries together; set by the first."""
        self.earlier_error: BaseException | None = None
        """The failure of the try before."""
        self.next_try: ComponentTask | None = None
        """The task that tries again, once this one has failed and is to be followed by another."""
        self.failed_start: Exception | None = None
        """The failure for which the application is to serve without this component, once the start is undone."""

    def prepare_next_try(self, error: BaseException, delay: float) -> None:
        """Make the task of the next try, which begins after ``delay`` seconds and has the same deadline."""
        following = ComponentTask(self.index, self.component)
        following.phase_began, following.waited = self.phase_began, self.waited
        following.attempt, following.delay = self.attempt + 1, delay
        following.start_by, following.earlier_error = self.deadline, error
        self.next_try = following
