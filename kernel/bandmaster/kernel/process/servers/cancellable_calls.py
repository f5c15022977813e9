"""Cancel every call of an application, for servers that can't drop the requests that they have begun."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class CancellableCalls:
    """What an application is answering, so that all of it can be cut short."""

    def __init__(self) -> None:
        self._scopes: set[anyio.CancelScope] = set()

    def of(self, app: ASGIApp) -> ASGIApp:
        """The application, watched."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            with anyio.CancelScope() as answering:
                self._scopes.add(answering)
                try:
                    await app(scope, receive, send)
                finally:
                    self._scopes.discard(answering)

        return watched

    def cut(self) -> None:
        """Cancel all of it."""
        for answering in list(self._scopes):
            answering.cancel()
