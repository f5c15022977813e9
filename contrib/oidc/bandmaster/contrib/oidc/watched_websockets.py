"""The open WebSockets of this process, each with the credential that has opened it, so that they can be closed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any, Generic, TypeVar

import anyio

from bandmaster.contrib.oidc.refusals import UNAUTHORIZED
from bandmaster.kernel import WebSocketConnection, get_logger

T = TypeVar("T")
_PATIENCE = 5
"""Seconds that one close may take."""


class WatchedWebSockets(Generic[T]):
    """Open WebSockets by number, each with a credential. They cost nothing for a message.

    ``describe`` gives the fields of a credential for the log.
    """

    def __init__(self, describe: Callable[[T], Mapping[str, Any]]) -> None:
        self._describe = describe
        self._open: dict[int, tuple[T, WebSocketConnection]] = {}
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, number: int) -> bool:
        return number in self._open

    @property
    def credentials(self) -> list[tuple[int, T]]:
        """The credentials of the WebSockets that are open now, with their numbers."""
        return [(number, credential) for number, (credential, _) in self._open.items()]

    @contextmanager
    def watching(self, credential: T, websocket: WebSocketConnection) -> Generator[int, None, None]:
        """Watch a WebSocket until the block ends, under the number that the block gets."""
        number = next(self._numbers)
        self._open[number] = credential, websocket
        try:
            yield number
        finally:
            del self._open[number]

    async def close_where(self, is_chosen: Callable[[T], bool], reason: str) -> int:
        """Close the WebSockets of some credentials, as `close` does."""
        return await self.close([number for number, one in self.credentials if is_chosen(one)], reason)

    async def close(self, numbers: Iterable[int], reason: str) -> int:
        """Close WebSockets with code 3000. Returns how many of the numbers were open.

        A client that takes no close delays neither the others nor the caller for long.
        """
        found = [self._open[number] for number in numbers if number in self._open]
        if found:
            async with anyio.create_task_group() as tasks:
                for credential, websocket in found:
                    tasks.start_soon(self._close_one, credential, websocket, reason)
        return len(found)

    async def _close_one(self, credential: T, websocket: WebSocketConnection, reason: str) -> None:
        get_logger("bandmaster.oidc").info(
            "WebSocket closed", reason=reason, **self._describe(credential), code=UNAUTHORIZED
        )
        with anyio.move_on_after(_PATIENCE):
            await websocket.close(UNAUTHORIZED, reason)
