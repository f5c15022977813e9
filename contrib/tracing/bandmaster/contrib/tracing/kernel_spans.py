"""Spans of the application's own start and stop, of its background services and of probes that fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, Status, StatusCode, Tracer

from bandmaster.contrib.tracing.error_names import describe_error, name_error
from bandmaster.kernel import Event, Plan, events

_START = "bandmaster start"
_STOP = "bandmaster stop"


class KernelSpans:
    """Listens to a kernel, and makes spans of its events.

    A start is one trace: a span for the whole, and below it one for each component, or for each try where a start is
    tried again. So is a stop. A run of a background service is a trace of its own, and so is the time in which a probe
    fails; both link to the start.

    ``to_unix`` converts the times of events to nanoseconds of Unix time. ``context`` is the one in which spans without
    a parent begin.
    """

    def __init__(self, tracer: Tracer, plan: Plan, to_unix: Callable[[float], int], context: Context) -> None:
        self._tracer = tracer
        self._plan = plan
        self._to_unix = to_unix
        self._context = context
        self._start: Span | None = None
        self._stop: Span | None = None
        self._drain: Span | None = None
        self._components: dict[str, Span] = {}
        self._services: dict[tuple[str, str], Span] = {}
        self._probes: dict[str, Span] = {}
        self._links: list[Link] = []
        self._last = 0.0

    def __call__(self, event: Event) -> None:
        """Begin or end the spans of one event."""
        self._last = event.at
        match event:
            case events.KernelStarting():
                self._begin_start(event)
            case events.ComponentEvent():
                self._follow_component(event)
            case events.ReadinessLost() | events.ReadinessRegained():
                self._follow_probe(event)
            case _:
                self._follow_run(event)

    def finish(self) -> None:
        """End all spans that are open, since the export is about to end.

        The components that stop after this one, and the rest of this one's own stop, aren't in the trace.
        """
        for key in list(self._services):
            self._end(self._services.pop(key), self._last, {"bandmaster.outcome": "stopped"})
        for name in list(self._components):
            self._end(self._components.pop(name), self._last)
        for probe in list(self._probes):
            self._end(self._probes.pop(probe), self._last)
        for span in (self._drain, self._stop, self._start):
            self._end(span, self._last)
        self._drain = self._stop = self._start = None

    def _begin_start(self, event: events.KernelStarting) -> None:
        attributes: dict[str, Any] = {"bandmaster.components": event.components}
        if self._plan.role is not None:
            attributes["bandmaster.role"] = self._plan.role
        self._start = self._begin(_START, event.at, attributes)
        self._links = [Link(self._start.get_span_context())]

    def _follow_run(self, event: Event) -> None:
        attributes: dict[str, Any]
        match event:
            case events.Ready():
                self._end(self._start, event.at)
                self._start = None
            case events.RollingBack(cause=cause):
                if self._start is not None:
                    self._start.add_event("rolling back", timestamp=self._to_unix(event.at))
                    _mark_error(self._start, cause, self._to_unix(event.at))
            case events.StopRequested(reason=reason):
                self._begin_stop(event.at, {"bandmaster.reason": reason})
            case events.Draining(delay=delay, timeout=timeout):
                stop = self._begin_stop(event.at, {})
                attributes = {"bandmaster.drain_delay": delay, "bandmaster.drain_timeout": timeout}
                self._drain = self._begin("drain", event.at, attributes, parent=stop)
            case events.Drained(left=left):
                self._end(self._drain, event.at, {"bandmaster.left": left}, failed=left > 0)
                self._drain = None
            case events.KernelStopping():
                self._begin_stop(event.at, {})
            case events.KernelStopped(errors=errors):
                for span in (self._stop, self._start):
                    self._end(span, event.at, {"bandmaster.errors": errors}, failed=errors > 0)
                self._stop = self._start = None
            case events.OnlyAbandonedLeft(components=components) if self._stop is not None:
                attributes = {"bandmaster.components": list(components)}
                self._stop.add_event("only abandoned components are left", attributes, self._to_unix(event.at))

    def _begin_stop(self, at: float, attributes: Mapping[str, Any]) -> Span:
        # The stops of a rollback belong to the start that has failed.
        if self._start is not None:
            return self._start
        if self._stop is None:
            self._stop = self._begin(_STOP, at, attributes, links=self._links)
        return self._stop

    def _follow_component(self, event: events.ComponentEvent) -> None:
        name = event.component
        attributes: dict[str, Any]
        match event:
            case events.ServiceEvent():
                self._follow_service(event)
            case events.ComponentStarting(waited=waited, attempt=attempt):
                attributes = {"bandmaster.waited": waited, "bandmaster.attempt": attempt}
                self._components[name] = self._begin_component(f"start {name}", event, self._start, attributes)
            case events.ComponentStopping():
                self._end_services(name, event.at)
                parent = self._begin_stop(event.at, {})
                self._components[name] = self._begin_component(f"stop {name}", event, parent, {})
            case events.ComponentStarted() | events.ComponentStopped():
                self._end(self._components.pop(name, None), event.at)
            case events.ComponentStartCancelled():
                self._end(self._components.pop(name, None), event.at, {"bandmaster.outcome": "cancelled"})
            case _:
                self._follow_trouble(event)

    def _follow_trouble(self, event: events.ComponentEvent) -> None:
        name = event.component
        attributes: dict[str, Any]
        match event:
            case (
                events.ComponentStartFailed(error=error)
                | events.ComponentStartRetrying(error=error)
                | events.ComponentDegraded(error=error)
                | events.ComponentStopFailed(error=error)
            ):
                outcome = _OUTCOMES[type(event)]
                span = self._components.pop(name, None)
                if span is not None:
                    _mark_error(span, error, self._to_unix(event.at))
                self._end(span, event.at, {"bandmaster.outcome": outcome})
            case events.ComponentOverdue(phase=phase, seconds=seconds, where=where):
                attributes = {"bandmaster.phase": phase, "bandmaster.seconds": seconds, "code.stacktrace": where}
                self._note(name, "overdue", event.at, attributes)
            case events.ComponentAbandoned(phase=phase):
                self._note(name, "abandoned", event.at, {"bandmaster.phase": phase})
            case events.ComponentCrashed(policy=policy):
                attributes = {"bandmaster.component": name, "bandmaster.policy": policy}
                span = self._begin(f"crash {name}", event.at, attributes, links=self._links)
                self._end(span, event.at, failed=True)
            case events.Warned(message=message):
                root = self._start or self._stop
                if root is not None:
                    attributes = {"bandmaster.component": name, "bandmaster.message": message}
                    root.add_event("warning", attributes, self._to_unix(event.at))

    def _begin_component(
        self, title: str, event: events.ComponentEvent, parent: Span | None, attributes: Mapping[str, Any]
    ) -> Span:
        known = self._plan.by_name.get(event.component)
        more: dict[str, Any] = {"bandmaster.component": event.component, **attributes}
        if known is not None:
            more["bandmaster.band"] = str(known.contribution.band)
            more["bandmaster.brought_by"] = str(known.contribution.provenance)
        return self._begin(title, event.at, more, parent=parent)

    def _follow_service(self, event: events.ServiceEvent) -> None:
        key = (event.component, event.service)
        match event:
            case events.ServiceStarted(attempt=attempt):
                attributes = {
                    "bandmaster.component": event.component,
                    "bandmaster.service": event.service,
                    "bandmaster.attempt": attempt,
                }
                title = f"service {event.component}.{event.service}"
                self._services[key] = self._begin(title, event.at, attributes, links=self._links)
            case (
                events.ServiceEnded(error=error)
                | events.ServiceRestarting(error=error)
                | events.ServiceGaveUp(error=error)
            ):
                span = self._services.pop(key, None)
                if span is not None and error is not None:
                    _mark_error(span, error, self._to_unix(event.at))
                self._end(span, event.at, {"bandmaster.outcome": _OUTCOMES[type(event)]})

    def _end_services(self, component: str, at: float) -> None:
        for key in [key for key in self._services if key[0] == component]:
            self._end(self._services.pop(key), at, {"bandmaster.outcome": "stopped"})

    def _follow_probe(self, event: events.ReadinessLost | events.ReadinessRegained) -> None:
        if isinstance(event, events.ReadinessRegained):
            self._end(self._probes.pop(event.probe, None), event.at)
        elif event.probe not in self._probes:
            attributes = {"bandmaster.probe": event.probe, "bandmaster.status": event.status}
            span = self._begin(f"probe {event.probe} fails", event.at, attributes, links=self._links)
            span.set_status(Status(StatusCode.ERROR, event.reason))
            self._probes[event.probe] = span

    def _note(self, component: str, text: str, at: float, attributes: Mapping[str, Any]) -> None:
        span = self._components.get(component)
        if span is not None:
            span.add_event(text, attributes, self._to_unix(at))
            span.set_status(Status(StatusCode.ERROR, text))

    def _begin(
        self,
        name: str,
        at: float,
        attributes: Mapping[str, Any],
        *,
        parent: Span | None = None,
        links: list[Link] | None = None,
    ) -> Span:
        context = self._context if parent is None else trace.set_span_in_context(parent, self._context)
        return self._tracer.start_span(
            name, context, attributes=dict(attributes), links=links, start_time=self._to_unix(at)
        )

    def _end(
        self, span: Span | None, at: float, attributes: Mapping[str, Any] | None = None, *, failed: bool = False
    ) -> None:
        if span is None:
            return
        if attributes:
            span.set_attributes(dict(attributes))
        if failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end(self._to_unix(at))


_OUTCOMES: Mapping[type[Event], str] = {
    events.ComponentStartFailed: "failed",
    events.ComponentStartRetrying: "retried",
    events.ComponentDegraded: "degraded",
    events.ComponentStopFailed: "failed",
    events.ServiceEnded: "ended",
    events.ServiceRestarting: "restarted",
    events.ServiceGaveUp: "given up",
}


def _mark_error(span: Span, error: BaseException | None, at: int) -> None:
    if error is None:
        return
    span.set_attribute("error.type", name_error(error))
    span.record_exception(error, timestamp=at)
    span.set_status(Status(StatusCode.ERROR, describe_error(error)))
