"""Where the time of a start went: who waited, who worked, and the chain that everything had to wait for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

from bandmaster.kernel import events
from bandmaster.kernel.events import Event
from bandmaster.kernel.planning.plan import Plan


@dataclass(frozen=True, slots=True)
class Span:
    """One component's start. A slow one may only have waited, so the two are kept apart. All times in seconds."""

    component: str
    waited: float
    """From the beginning of the start until all that it depends on had started."""
    own: float
    """How long its own start took."""
    outcome: str = "started"
    """``started``; ``starting`` while it does; ``failed``, ``overdue``, ``abandoned``, or ``cancelled`` by the rollback."""

    @property
    def end(self) -> float:
        """From the beginning of the start until it had started."""
        return self.waited + self.own


@dataclass(frozen=True, slots=True)
class Record:
    """One start, with what is needed to tell its critical chain."""

    took: float | None
    """Seconds until everything had started; none if that never came."""
    spans: tuple[Span, ...]
    stages: tuple[tuple[str, ...], ...]
    waits_for: Mapping[str, tuple[str, ...]]
    """For each component, what it declares to wait for."""

    def blame(self) -> list[Span]:
        """The spans, the longest own time first."""
        return sorted(self.spans, key=lambda span: (-span.own, span.component))

    def critical_chain(self) -> list[Span]:
        """The components that the whole start had to wait for, one after the other, the first one first."""
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
        """The record as a JSON document."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Record:
        """The record that `to_json` wrote.

        Raises:
            ValueError: the text is something else.
        """
        from pydantic import TypeAdapter  # only who reads a record back needs it

        try:
            return TypeAdapter(cls).validate_json(text, strict=True)
        except ValueError as error:
            raise ValueError(f"no timeline of a start: {error}") from error


class Timeline:
    """Listens to a kernel, and keeps the record of its last start."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._spans: dict[str, Span] = {}
        self._took: float | None = None
        self._began = 0.0

    def __call__(self, event: Event) -> None:
        """Take notice of one event."""
        match event:
            case events.KernelStarting(at=now):
                self._spans.clear()
                self._took, self._began = None, now
            case events.ComponentStarting(component=name, waited=waited):
                self._spans[name] = Span(name, waited, 0.0, "starting")
            case events.ComponentStarted(component=name, own=own):
                self._end(name, own, "started")
            case events.ComponentStartFailed(component=name, own=own):
                self._end(name, own, "failed")
            case events.ComponentStartCancelled(component=name, own=own):
                self._end(name, own, "cancelled")
            case events.ComponentOverdue(component=name, phase="start", seconds=own):
                self._end(name, own, "overdue")
            case events.ComponentAbandoned(at=now, component=name, phase="start"):
                self._end(name, now - self._began - self._spans[name].waited, "abandoned")
            case events.Ready(took=took):
                self._took = took
            case _:
                pass

    def _end(self, name: str, own: float, outcome: str) -> None:
        span = self._spans[name]
        # One that was late may still come to an end, of this kind or that; that it was late is what counts.
        late = span.outcome in ("overdue", "abandoned") and outcome != "abandoned"
        self._spans[name] = replace(span, own=own, outcome=span.outcome if late else outcome)

    @property
    def record(self) -> Record:
        """The last start, as far as it has come."""
        return Record(
            took=self._took,
            spans=tuple(self._spans[name] for name in sorted(self._spans)),
            stages=tuple(stage.components for stage in self._plan.stages),
            waits_for={
                component.name: tuple(edge.to for edge in component.waits_for) for component in self._plan.components
            },
        )
