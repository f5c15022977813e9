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
    """Hands every change to every listener; one that doesn't keep up is cut off rather than waited for."""

    def __init__(self) -> None:
        self._listeners: set[MemoryObjectSendStream[Change]] = set()

    def __len__(self) -> int:
        return len(self._listeners)

    def publish(self, change: Change) -> None:
        """Tell everybody."""
        for listener in list(self._listeners):
            try:
                listener.send_nowait(change)
            except anyio.WouldBlock:
                listener.close()
                self._listeners.discard(listener)

    @contextmanager
    def listen(self) -> Iterator[MemoryObjectReceiveStream[Change]]:
        """The changes from now on."""
        sending, receiving = anyio.create_memory_object_stream[Change](_BACKLOG)
        self._listeners.add(sending)
        try:
            with receiving:
                yield receiving
        finally:
            self._listeners.discard(sending)
            sending.close()

    async def close(self) -> None:
        """End every listener's stream, once it has read what it was told."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
