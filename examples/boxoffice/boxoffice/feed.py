"""Publish the changes of a house to its listeners."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

Change = dict[str, Any]
_BACKLOG = 100
"""Changes that a listener may fall behind."""


class Feed:
    """Publishes the changes of a house. A listener that falls too far behind is disconnected; no one waits for it."""

    def __init__(self) -> None:
        self._listeners: dict[MemoryObjectSendStream[Change], str] = {}

    def __len__(self) -> int:
        return len(self._listeners)

    def publish(self, house: str, change: Change) -> None:
        """Send a change to every listener of the house."""
        for listener in [listener for listener, watched in self._listeners.items() if watched == house]:
            try:
                listener.send_nowait(change)
            except anyio.WouldBlock:
                listener.close()
                del self._listeners[listener]

    @contextmanager
    def listen(self, house: str) -> Iterator[MemoryObjectReceiveStream[Change]]:
        """Receive the changes of a house from now on."""
        sending, receiving = anyio.create_memory_object_stream[Change](_BACKLOG)
        self._listeners[sending] = house
        try:
            with receiving:
                yield receiving
        finally:
            self._listeners.pop(sending, None)
            sending.close()

    async def close(self) -> None:
        """End the stream of every listener after the changes that were already sent."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
