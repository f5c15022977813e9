"""The layer that keeps the principals of requests apart: nobody at first, and nobody again at the end."""

from __future__ import annotations

from contextvars import Token

from bandmaster.contrib.oidc.principal import CURRENT, Principal
from bandmaster.kernel import Exchange, MiddlewareBand, middleware

_RESET = "principal_reset"


@middleware(
    band=MiddlewareBand.OUTERMOST,
    priority=MiddlewareBand.OUTERMOST.priorities[5],
    name="principal_context",
)
class PrincipalContextLayer:
    """Ends what `set_principal` begins: `current_principal` is None before a credential is found and after the request.

    A request may be served in the task of other code, as tests do, and a server may start requests in the context of
    other code. Neither must leave a principal to the other.
    """

    def on_request(self, exchange: Exchange) -> None:
        """Begin with nobody."""
        exchange.data[_RESET] = CURRENT.set(None)

    def on_end(self, exchange: Exchange) -> None:
        """End with the principal from before the request."""
        # The token refers to the context of the request, so the exchange must not keep it.
        token: Token[Principal | None] = exchange.data.pop(_RESET)
        try:
            CURRENT.reset(token)
        except ValueError:
            # A coroutine that is garbage collected is closed in another context, where nothing was set.
            pass
