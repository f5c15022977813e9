"""Record the events of a kernel, for assertions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, overload

import anyio

from bandmaster.kernel import events
from bandmaster.kernel.events import Event
from bandmaster.kernel.testing.timeouts import fail_after

_E = TypeVar("_E", bound=Event)


class Recording(Sequence[Event]):
    """A listener that keeps the events of one or more runs, in order.

    ```python
    assert running.events.start_order == ["database", "cache"]
    running.events.first(events.ComponentStartFailed, component="cache").error
    ```
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._added: anyio.Event | None = None

    def __call__(self, event: Event) -> None:
        """Keep an event."""
        self._events.append(event)
        if self._added is not None:
            self._added.set()
            self._added = None

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | Sequence[Event]:
        return self._events[index]

    def __len__(self) -> int:
        return len(self._events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    def __repr__(self) -> str:
        return f"<Recording: {', '.join(self.kinds) or 'nothing happened'}>"

    def __str__(self) -> str:
        began = self._events[0].at if self._events else 0
        return "\n".join(f"{event.at - began:8.3f} s  {_render_event(event)}" for event in self._events)

    @property
    def kinds(self) -> list[str]:
        """The names of the events' types, in order."""
        return [type(event).__name__ for event in self._events]

    @property
    def start_order(self) -> list[str]:
        """The names of the started components, in the order in which their starts ended."""
        return self.names(events.ComponentStarted)

    @property
    def stop_order(self) -> list[str]:
        """The names of the stopped components, in the order in which their stops ended."""
        return self.names(events.ComponentStopped)

    @property
    def rolled_back(self) -> list[str]:
        """The names of the components that a failed start stopped again, in order."""
        place = next((index for index, event in enumerate(self) if isinstance(event, events.RollingBack)), len(self))
        return [event.component for event in self._events[place:] if isinstance(event, events.ComponentStopped)]

    @property
    def degraded(self) -> list[str]:
        """The names of the components that failed to start and that the application serves without, in order."""
        return self.names(events.ComponentDegraded)

    @property
    def warnings(self) -> list[str]:
        """The texts of the warnings of components and of the kernel."""
        return [event.message for event in self.of(events.Warned)]

    def of(self, kind: type[_E], **fields: Any) -> list[_E]:
        """The events of a type that have these values in their fields."""
        return [event for event in self._events if isinstance(event, kind) and _has_values(event, fields)]

    def names(self, kind: type[events.ComponentEvent]) -> list[str]:
        """The names of the components in the events of a type, in order."""
        return [event.component for event in self.of(kind)]

    def first(self, kind: type[_E], **fields: Any) -> _E:
        """The first event of a type with these values.

        Raises:
            AssertionError: there is none; the message lists the events.
        """
        for event in self.of(kind, **fields):
            return event
        raise AssertionError(f"there was no {_render_wanted(kind, fields)}. What happened:\n{self}")

    async def wait(self, kind: type[_E], *, timeout: float | None = 10.0, **fields: Any) -> _E:  # noqa: ASYNC109
        """Wait for the first event of a type with these values, unless it is recorded already.

        Raises:
            TimeoutError: there is none in time; the message lists the events.
        """
        with fail_after(timeout, lambda: f"What happened:\n{self}\nThere was no {_render_wanted(kind, fields)}"):
            while not self.of(kind, **fields):
                self._added = self._added or anyio.Event()
                await self._added.wait()
        return self.first(kind, **fields)

    def clear(self) -> None:
        """Forget all events."""
        self._events.clear()


def _has_values(event: Event, fields: dict[str, Any]) -> bool:
    return all(getattr(event, name, None) == value for name, value in fields.items())


def _render_wanted(kind: type[Event], fields: dict[str, Any]) -> str:
    return f"{kind.__name__}({', '.join(f'{name}={value!r}' for name, value in fields.items())})"


def _render_event(event: Event) -> str:
    about = [str(getattr(event, name)) for name in ("component", "service", "message") if hasattr(event, name)]
    error = getattr(event, "error", None)
    return " ".join([type(event).__name__, *about, *([f"{type(error).__name__}: {error}"] if error else [])])
