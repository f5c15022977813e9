"""A queue that can be closed, bounded by the size of the waiting items."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

import anyio

_T = TypeVar("_T")


class Closed(Exception):
    """The mailbox is closed and empty."""


class Mailbox(Generic[_T]):
    """A queue for any number of senders and receivers in one event loop.

    ``limit`` is the number of waiting bytes from which `wait_for_room` waits, like a server's write buffer.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._items: deque[tuple[_T, int]] = deque()
        self._limit = limit
        self._waiting = 0
        self._changed = anyio.Event()
        self.closed = False

    def put(self, item: _T, size: int = 0) -> None:
        """Add an item, unless the mailbox is closed."""
        if not self.closed:
            self._items.append((item, size))
            self._waiting += size
            self._notify()

    async def wait_for_room(self) -> None:
        """Wait until fewer bytes than the limit are waiting, or the mailbox is closed."""
        while self._limit is not None and self._waiting >= self._limit and not self.closed:
            await self._changed.wait()

    async def get(self) -> _T:
        """The next item.

        Raises:
            Closed: the mailbox is closed and empty.
        """
        while not self._items:
            if self.closed:
                raise Closed
            await self._changed.wait()
        item, size = self._items.popleft()
        self._waiting -= size
        self._notify()
        return item

    def close(self, *, discard: bool = False) -> None:
        """Accept no more items; with ``discard`` the waiting items are dropped, too."""
        self.closed = True
        if discard:
            self._items.clear()
            self._waiting = 0
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
