"""Find the code that blocks the event loop past the deadline of a start or a stop."""

from __future__ import annotations

import math
import queue
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from bandmaster.kernel import events
from bandmaster.kernel.events import Event, Listener
from bandmaster.kernel.lifecycle.outcome import describe_component
from bandmaster.kernel.planning.plan import Plan
from bandmaster.kernel.text import render_duration
from bandmaster.kernel.tracebacks import find_blocking_line

_TOLERANCE = 0.1
"""Seconds past a deadline within which an event loop on a busy machine calls the timer."""
_LONGEST_PAUSE = 3600.0

ReportBlocked = Callable[[str], object]
"""Is called with the name of a component, in a thread of its own, when the event loop is blocked past a deadline."""

_ENDS = (
    events.ComponentStarted,
    events.ComponentStartFailed,
    events.ComponentStartCancelled,
    events.ComponentStopped,
    events.ComponentStopFailed,
    events.ComponentOverdue,
)


class _Phase(NamedTuple):
    """A start or a stop that is under way. Times are of the event loop's clock, in seconds."""

    name: str
    began: float
    deadline: float


class BlockedPhases:
    """Listens to one run, and warns of each start or stop during which the event loop was blocked past the deadline.

    The timer of the deadlines runs in the event loop, so that code which blocks the loop can't be cancelled and would
    pass unnoticed. A thread looks where the event loop stands when a deadline has passed and the timer hasn't rung. The
    warning comes when the event loop is free again.
    """

    def __init__(self, plan: Plan, emit: Listener, report_blocked: ReportBlocked | None = None) -> None:
        self._plan = plan
        self._emit = emit
        self._report_blocked = report_blocked
        self._phases: dict[str, _Phase] = {}
        self._places: dict[str, str] = {}
        """Where the event loop stood at the deadline of a component's phase."""
        self._times: dict[str, float] = {}
        """When to look, by component, in seconds of the system's clock."""
        self._looks_at = math.inf
        """When the thread looks next."""
        self._changed: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._event_loop_thread = 0
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._event_loop_thread = threading.get_ident()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._changed.put(False)
            self._thread.join()

    def handle_event(self, event: Event) -> None:
        """Take note of a phase that begins or ends."""
        match event:
            case events.ComponentStarting(component=name, at=at):
                self._set_deadline(name, _Phase("start", at, at + self._plan.by_name[name].start_timeout), at)
            case events.ComponentStopping(component=name, at=at):
                self._set_deadline(name, _Phase("stop", at, at + self._plan.by_name[name].stop_timeout), at)
            case events.KernelStopping(at=at):
                # A start under way is rolled back, which is a stop.
                for name, phase in self._phases.items():
                    self._set_deadline(name, phase._replace(deadline=at + self._plan.by_name[name].stop_timeout), at)
            case _ if isinstance(event, _ENDS):
                self._end_phase(event.component, event.at)

    def extend(self, component: str, seconds: float, now: float) -> None:
        """Move the deadline of the phase that a component is in."""
        phase = self._phases.get(component)
        if phase is not None:
            self._set_deadline(component, phase._replace(deadline=now + seconds), now)

    def _set_deadline(self, component: str, phase: _Phase, now: float) -> None:
        self._phases[component] = phase
        look_at = time.monotonic() + (phase.deadline - now) + _TOLERANCE
        self._times[component] = look_at
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="bandmaster: blocked phases", daemon=True)
            self._thread.start()
        elif look_at < self._looks_at:
            self._changed.put(True)

    def _end_phase(self, component: str, now: float) -> None:
        phase = self._phases.pop(component, None)
        self._times.pop(component, None)
        place = self._places.pop(component, None)
        if phase is None or not place or now < phase.deadline + _TOLERANCE:
            return
        planned = render_duration(phase.deadline - phase.began)
        message = (
            f"the {phase.name} of {describe_component(self._plan.by_name[component])} took "
            f"{render_duration(now - phase.began)} in place of {planned} at most, since the event loop was blocked at\n"
            f"{place}\nAwait something there, or call it in a thread: await anyio.to_thread.run_sync(function)"
        )
        self._emit(events.Warned(at=now, component=component, message=message))

    def _look(self) -> None:
        while True:
            # Infinite until the minimum is known, so that a time which is added meanwhile wakes this thread again.
            self._looks_at = math.inf
            self._looks_at = min(self._times.copy().values(), default=math.inf)
            try:
                if not self._changed.get(timeout=min(max(0.0, self._looks_at - time.monotonic()), _LONGEST_PAUSE)):
                    return
            except queue.Empty:
                self._look_at_due(time.monotonic())

    def _look_at_due(self, now: float) -> None:
        for component, look_at in self._times.copy().items():
            if look_at > now:
                continue
            self._times.pop(component, None)
            # sys._current_frames is the only way to see the frames of another thread.
            frame = sys._current_frames().get(self._event_loop_thread)  # noqa: SLF001
            place = find_blocking_line(frame) if frame is not None else ""
            if place and component in self._phases:
                self._places[component] = place
                if self._report_blocked is not None:
                    self._report_blocked(component)
