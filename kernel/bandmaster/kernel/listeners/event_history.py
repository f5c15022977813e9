"""Keep the events of a run for listeners that come later."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from bandmaster.kernel import events
from bandmaster.kernel.events import Event

_MOST_LATER = 100
"""Events that are kept from after the start. A service that fails again and again makes events for as long as the
application runs, and each of them holds an exception."""


class EventHistory:
    """The events of one run in their order: all of the start, and the last ones of what follows."""

    def __init__(self) -> None:
        self._start: list[Event] = []
        self._later: deque[Event] = deque(maxlen=_MOST_LATER)
        self._is_ready = False

    def __call__(self, event: Event) -> None:
        """Keep an event."""
        (self._later if self._is_ready else self._start).append(event)
        self._is_ready = self._is_ready or isinstance(event, events.Ready)

    def __iter__(self) -> Iterator[Event]:
        return iter((*self._start, *self._later))
