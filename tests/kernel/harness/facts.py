"""The record of a run: facts in the order in which they happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from tests.kernel.harness.cases import Case

from bandmaster.kernel.events import Event


class Fact(NamedTuple):
    """One step of a component, the body or the engine."""

    kind: str
    name: str
    at: float
    task: int
    error: BaseException | None = None
    value: Any = None


class Injected(NamedTuple):
    """An exception that the harness has raised."""

    name: str
    phase: str
    error: BaseException
    place: int
    """The number of facts before the exception."""
    at: float


@dataclass
class Run:
    """One run of a case, as recorded."""

    case: Case
    order: tuple[str, ...] = ()
    """The names of the components in plan order."""
    now: Callable[[], float] = lambda: 0.0
    me: Callable[[], object] = object
    """Returns the current task."""
    facts: list[Fact] = field(default_factory=list)
    phases: list[tuple[int, str]] = field(default_factory=list)
    injected: list[Injected] = field(default_factory=list)
    tries: Counter[str] = field(default_factory=Counter)
    """How often each component's context manager was made."""
    opened: Counter[str] = field(default_factory=Counter)
    closed: Counter[str] = field(default_factory=Counter)
    masked: set[str] = field(default_factory=set)
    """Components that raise in the clean-up while their own crash is being raised: Python then loses the crash."""
    disturbed_at: int | None = None
    """The number of facts before the disturbance."""
    degraded: list[str] = field(default_factory=list)
    """The components that the engine says it has served without."""
    raised: BaseException | None = None
    interrupted_late: bool = False
    """Whether a native cancel was raised only after the end of the run."""
    over: bool = False
    steps: int = 0
    left: list[Any] = field(default_factory=list)
    broken: BaseException | None = None
    """The exception that ended the event loop itself."""

    def note(self, kind: str, name: str = "", *, error: BaseException | None = None, value: Any = None) -> None:
        self.facts.append(Fact(kind, name, self.now(), id(self.me()), error, value))

    def emit(self, event: Event) -> None:
        self.facts.append(
            Fact(
                type(event).__name__, getattr(event, "component", ""), event.at, 0, getattr(event, "error", None), event
            )
        )

    def record_phase(self, phase: Any) -> None:
        if phase.value != "new":
            self.phases.append((len(self.facts), phase.value))

    def inject(self, name: str, phase: str, error: BaseException) -> BaseException:
        self.injected.append(Injected(name, phase, error, len(self.facts), self.now()))
        return error

    def places(self, kind: str, name: str = "") -> list[int]:
        """List the places of all facts of that kind."""
        return self._index.get((kind, name), [])

    def place(self, kind: str, name: str = "") -> int | None:
        """Return the place of the first fact of that kind."""
        found = self._index.get((kind, name))
        return found[0] if found else None

    def last(self, kind: str, name: str = "") -> int | None:
        """Return the place of the last fact of that kind."""
        found = self._index.get((kind, name))
        return found[-1] if found else None

    @cached_property
    def _index(self) -> dict[tuple[str, str], list[int]]:
        """The places of facts by kind and name. First used after the run, so that the record is complete."""
        found: dict[tuple[str, str], list[int]] = {}
        for place, fact in enumerate(self.facts):
            found.setdefault((fact.kind, fact.name), []).append(place)
        return found
