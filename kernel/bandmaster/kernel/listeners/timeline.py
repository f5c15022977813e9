"""Measure a start: how long each component waited and worked, and which chain of components was critical."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

from bandmaster.kernel import events
from bandmaster.kernel.events import Event
from bandmaster.kernel.planning.plan import Plan


@dataclass(frozen=True, slots=True)
class Span:
    """One component's start, with waiting and working apart: a component that is late may only have waited."""

    component: str
    waited: float
    """Seconds from the beginning of the run's start until everything that the component depends on had started."""
    own: float
    """Seconds that the component's own start took, with all tries and the pauses between them."""
    outcome: str = "started"
    """``starting``, ``started``, ``failed``, ``degraded``, ``overdue``, ``abandoned``, or ``cancelled`` by the
    rollback."""
    tries: int = 1
    """How often the start was tried."""

    @property
    def end(self) -> float:
        """Seconds from the beginning of the run's start until the component had started."""
        return self.waited + self.own


@dataclass(frozen=True, slots=True)
class Record:
    """The measurements of one start, with the order that decides the critical chain."""

    took: float | None
    """Seconds until everything had started; None for a start that failed or isn't over."""
    spans: tuple[Span, ...]
    stages: tuple[tuple[str, ...], ...]
    waits_for: Mapping[str, tuple[str, ...]]
    """For each component, the names of the components to wait for."""

    def blame(self) -> list[Span]:
        """List the spans, the longest own time first."""
        return sorted(self.spans, key=lambda span: (-span.own, span.component))

    def critical_chain(self) -> list[Span]:
        """List the components that decided how long the start took, each of which waited for the one before."""
        # Each component is taken once, so that a damaged file with a cycle in it ends, too.
        left = {span.component: span for span in self.spans}
        before = {
            name: self.stages[index - 1] if index else () for index, stage in enumerate(self.stages) for name in stage
        }
        chain: list[Span] = []
        candidates: Iterable[str] = left
        while True:
            known = [left[name] for name in candidates if name in left]
            if not known:
                return chain[::-1]
            last = max(known, key=lambda span: (span.end, span.component))
            chain.append(left.pop(last.component))
            candidates = {*self.waits_for.get(last.component, ()), *before.get(last.component, ())}

    def to_json(self) -> str:
        """Render the record as a JSON document."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Parse a record that `to_json` rendered.

        Raises:
            ValueError: the text is no such record.
        """
        from pydantic import TypeAdapter  # pydantic is slow to import, and only commands parse a record

        try:
            return TypeAdapter(cls).validate_json(text, strict=True)
        except ValueError as error:
            raise ValueError(f"no timeline of a start: {error}") from error


class Timeline:
    """Listens to a kernel, and measures the last start."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._spans: dict[str, Span] = {}
        self._took: float | None = None
        self._began = 0.0

    def __call__(self, event: Event) -> None:
        """Record one event."""
        match event:
            case events.KernelStarting(at=now):
                self._spans.clear()
                self._took, self._began = None, now
            case events.ComponentStarting(component=name, waited=waited, attempt=attempt):
                self._spans[name] = Span(name, waited, 0.0, "starting", attempt)
            case events.ComponentStartRetrying(component=name, own=own):
                self._spans[name] = replace(self._spans[name], own=own)
            case events.ComponentDegraded(component=name, waited=waited, own=own):
                tries = self._spans[name].tries if name in self._spans else 0
                self._spans[name] = Span(name, waited, own, "degraded", tries)
            case events.ComponentStarted(component=name, own=own):
                self._end_span(name, own, "started")
            case events.ComponentStartFailed(component=name, own=own):
                self._end_span(name, own, "failed")
            case events.ComponentStartCancelled(component=name, own=own):
                self._end_span(name, own, "cancelled")
            case events.ComponentOverdue(component=name, phase="start", seconds=own):
                self._end_span(name, own, "overdue")
            case events.ComponentAbandoned(at=now, component=name, phase="start"):
                self._end_span(name, now - self._began - self._spans[name].waited, "abandoned")
            case events.Ready(took=took):
                self._took = took
            case _:
                pass

    def _end_span(self, name: str, own: float, outcome: str) -> None:
        span = self._spans[name]
        # An overdue start may still fail or complete. The deadline was the cause of the failed run, so that stays.
        is_late = span.outcome in ("overdue", "abandoned") and outcome != "abandoned"
        self._spans[name] = replace(span, own=own, outcome=span.outcome if is_late else outcome)

    @property
    def record(self) -> Record:
        """The measurements of the last start, so far."""
        return Record(
            took=self._took,
            spans=tuple(self._spans[name] for name in sorted(self._spans)),
            stages=tuple(stage.components for stage in self._plan.stages),
            waits_for={
                component.name: tuple(edge.to for edge in component.waits_for) for component in self._plan.components
            },
        )
