"""Where the time of a start went: who waited, who worked, and the chain that everything had to wait for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

from bandmaster.kernel import events
from bandmaster.kernel.events import Event
from bandmaster.kernel.plan import Plan


@dataclass(frozen=True, slots=True)
class Span:
    """One component's start. A slow one may only have waited, so the two are kept apart. All times in seconds."""

    component: str
    waited: float
    """From the beginning of the start until all that it depends on had started."""
    own: float
    """How long its own start took."""
    outcome: str = "started"

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
        spans = {span.component: span for span in self.spans}
        before = {
            name: self.stages[index - 1] if index else () for index, stage in enumerate(self.stages) for name in stage
        }
        chain: list[Span] = []
        candidates: Iterable[str] = spans
        while True:
            known = [spans[name] for name in candidates if name in spans]
            if not known:
                return chain[::-1]
            last = max(known, key=lambda span: (span.end, span.component))
            chain.append(last)
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
        try:
            data = json.loads(text)
            return cls(
                took=data["took"],
                spans=tuple(Span(**span) for span in data["spans"]),
                stages=tuple(tuple(stage) for stage in data["stages"]),
                waits_for={name: tuple(others) for name, others in data["waits_for"].items()},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no timeline of a start: {error}") from error


class Timeline:
    """Listens to a kernel, and keeps the record of its last start."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._spans: dict[str, Span] = {}
        self._took: float | None = None

    def __call__(self, event: Event) -> None:
        """Take notice of one event."""
        match event:
            case events.KernelStarting():
                self._spans.clear()
                self._took = None
            case events.ComponentStarting(component=name, waited=waited):
                self._spans[name] = Span(name, waited, 0.0, "starting")
            case events.ComponentStarted(component=name, waited=waited, own=own):
                self._spans[name] = Span(name, waited, own)
            case events.ComponentStartFailed(component=name, own=own):
                self._end(name, own, "failed")
            case events.ComponentStartCancelled(component=name, own=own):
                self._end(name, own, "cancelled")
            case events.Ready(took=took):
                self._took = took
            case _:
                pass

    def _end(self, name: str, own: float, outcome: str) -> None:
        self._spans[name] = replace(self._spans[name], own=own, outcome=outcome)

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
