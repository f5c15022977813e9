"""The metrics of the kernel: states and starts of components, restarts of services, probes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from opentelemetry.metrics import Meter, Observation

from bandmaster.contrib.tracing.metrics import catalogue
from bandmaster.kernel import events

__all__ = ["STATES", "ComponentMetrics"]

_STATE_AFTER: Final[dict[type[events.Event], str]] = {
    events.ComponentStarting: "starting",
    events.ComponentStarted: "running",
    events.ComponentDegraded: "degraded",
    events.ComponentStartFailed: "failed",
    events.ComponentStartCancelled: "stopped",
    events.ComponentStopping: "stopping",
    events.ComponentStopped: "stopped",
    events.ComponentStopFailed: "failed",
    events.ComponentCrashed: "crashed",
    events.ComponentAbandoned: "abandoned",
}
"""The state of a component after each of the kernel's events."""
STATES: Final = ("waiting", *sorted(set(_STATE_AFTER.values())))


class ComponentMetrics:
    """Listens to the kernel's events, and gives the metrics at each collection.

    Events come in the thread of the event loop, and collections in others.
    """

    def __init__(self, components: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._states = {name: ["waiting"] for name in components}
        """The states that each component has been in, the current one last."""
        self._durations: dict[str, float] = {}
        self._waits: dict[str, float] = {}
        self._restarts: Counter[tuple[str, str]] = Counter()
        self._failing: dict[str, int] = {}
        self._took: float | None = None

    def register(self, meter: Meter) -> None:
        """Create the instruments."""
        catalogue.COMPONENT_STATE.observe(meter, self._observe_states)
        catalogue.COMPONENT_START.observe(meter, lambda: self._observe_each(self._durations, "component"))
        catalogue.COMPONENT_WAIT.observe(meter, lambda: self._observe_each(self._waits, "component"))
        catalogue.START_DURATION.observe(meter, self._observe_start)
        catalogue.SERVICE_RESTARTS.observe(meter, self._observe_restarts)
        catalogue.PROBE_FAILING.observe(meter, lambda: self._observe_each(self._failing, "probe"))

    def note_event(self, event: events.Event) -> None:
        """Note an event of the kernel."""
        with self._lock:
            if isinstance(event, events.ComponentEvent):
                state = _STATE_AFTER.get(type(event))
                if state is not None:
                    seen = self._states.setdefault(event.component, [])
                    self._states[event.component] = [*(other for other in seen if other != state), state]
            match event:
                case events.ComponentStarted() | events.ComponentDegraded():
                    self._durations[event.component] = event.own
                    self._waits[event.component] = event.waited
                case events.ServiceRestarting():
                    self._restarts[event.component, event.service] += 1
                case events.ReadinessLost():
                    self._failing[event.probe] = 1
                case events.ReadinessRegained():
                    self._failing[event.probe] = 0
                case events.Ready():
                    self._took = event.took

    def _observe_states(self) -> Iterator[Observation]:
        with self._lock:
            found = dict(self._states)
        for component, states in found.items():
            for state in states:
                # States that a component was never in have no series: most of them happen in no deployment.
                yield Observation(int(state == states[-1]), {"component": component, "state": state})

    def _observe_start(self) -> Iterator[Observation]:
        if self._took is not None:
            yield Observation(self._took)

    def _observe_restarts(self) -> Iterator[Observation]:
        with self._lock:
            found = dict(self._restarts)
        for (component, service), count in found.items():
            yield Observation(count, {"component": component, "service": service})

    def _observe_each(self, values: dict[str, float] | dict[str, int], label: str) -> Iterator[Observation]:
        with self._lock:
            found = dict(values)
        for name, value in found.items():
            yield Observation(value, {label: name})
