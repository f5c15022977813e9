"""The record of one component's task: its scopes, its state and its deadline."""

from __future__ import annotations

import math
from contextlib import AbstractAsyncContextManager
from enum import Enum
from typing import Any

import anyio

from bandmaster.kernel.lifecycle.services import Services
from bandmaster.kernel.planning.plan import Component


class TaskState(Enum):
    """The state of a component's task; the value names its phase in events and errors."""

    STARTING = "start"
    STARTED = "serving"
    STOPPING = "stop"
    OVER = "over"


class ComponentTask:
    """One component's task, from the call of its factory to the end of its exit. Only the engine changes it."""

    __slots__ = (
        "abort",
        "component",
        "crash_place",
        "deadline",
        "guard",
        "index",
        "manager",
        "may_stop",
        "name",
        "overdue",
        "pending",
        "phase_began",
        "services",
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
