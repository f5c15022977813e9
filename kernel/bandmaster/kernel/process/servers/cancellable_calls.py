"""Cancel every call of an application, for servers that can't drop the requests in flight themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class CancellableCalls:
    """The calls of an application that haven't returned."""

    def __init__(self) -> None:
        self._scopes: set[anyio.CancelScope] = set()

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """The application, with each call in a scope that can be cancelled."""

        async def call(scope: Scope, receive: Receive, send: Send) -> None:
            with anyio.CancelScope() as cancel_scope:
                self._scopes.add(cancel_scope)
                try:
                    await app(scope, receive, send)
                finally:
                    self._scopes.discard(cancel_scope)

        return call

    def cancel_all(self) -> None:
        """Cancel all of them."""
        for cancel_scope in list(self._scopes):
            cancel_scope.cancel()
