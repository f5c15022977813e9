"""Changes, told to everybody who listens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

Change = dict[str, Any]
_BACKLOG = 100


class Feed:
    """Hands the changes of a house to its listeners; one that doesn't keep up is cut off rather than waited for."""

    def __init__(self) -> None:
        self._listeners: dict[MemoryObjectSendStream[Change], str] = {}

    def __len__(self) -> int:
        return len(self._listeners)

    def publish(self, house: str, change: Change) -> None:
        """Tell everybody who listens to this house."""
        for listener in [listener for listener, its in self._listeners.items() if its == house]:
            try:
                listener.send_nowait(change)
            except anyio.WouldBlock:
                listener.close()
                del self._listeners[listener]

    @contextmanager
    def listen(self, house: str) -> Iterator[MemoryObjectReceiveStream[Change]]:
        """The changes of a house from now on."""
        sending, receiving = anyio.create_memory_object_stream[Change](_BACKLOG)
        self._listeners[sending] = house
        try:
            with receiving:
                yield receiving
        finally:
            self._listeners.pop(sending, None)
            sending.close()

    async def close(self) -> None:
        """End every listener's stream, once it has read what it was told."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
