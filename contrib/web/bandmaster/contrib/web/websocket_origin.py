"""The layer that refuses WebSockets which pages of foreign origins open."""

from __future__ import annotations

import re

from bandmaster.contrib.web.addresses import DEFAULT_PORTS, read_authority
from bandmaster.contrib.web.problems.responses import refuse
from bandmaster.contrib.web.settings import WebSettings
from bandmaster.kernel import Exchange, MiddlewareBand, middleware

_ORIGIN = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#@]+)")


@middleware(
    band=MiddlewareBand.SECURITY,
    priority=MiddlewareBand.SECURITY.priorities[10],
    name="websocket_origin",
    scopes={"websocket"},
)
class WebSocketOriginLayer:
    """Refuses WebSockets that pages of foreign origins open.

    CORS protects HTTP only. A browser opens a WebSocket for any page, and sends the user's cookies with the handshake
    (cross-site WebSocket hijacking). This layer lets in:

    - programs, which send no Origin
    - pages of the same host
    - the origins of ``websocket_origins``, ``cors_origins`` and ``cors_origin_regex``, except that ``*`` in
      ``cors_origins`` doesn't count, since it is meant for responses without cookies

    The same host means the same name and port as in the Host header. The scheme may differ, since a page at https
    arrives at http where a proxy terminates TLS. A proxy must pass the Host header on, or the origin must be named.
    """

    def __init__(self, settings: WebSettings) -> None:
        if "*" in settings.websocket_origins:
            # The frame calls no hook that is None, so a layer that is switched off costs nothing.
            vars(self).update(on_request=None)
            return
        named = {*settings.websocket_origins, *settings.cors_origins} - {"*"}
        self._named = frozenset(origin.encode("latin-1") for origin in named)
        expression = settings.cors_origin_regex
        self._matches = None if expression is None else re.compile(expression).fullmatch

    def on_request(self, exchange: Exchange) -> None:
        """Refuse the WebSocket, or let it pass."""
        origin = exchange.header(b"origin")
        if origin is None:
            return
        if exchange.repeats and len(exchange.header_values(b"origin")) > 1:
            refuse(exchange, 403, "There is more than one Origin header.")
        elif not self._is_allowed(origin, exchange.header(b"host")):
            refuse(exchange, 403, "Pages of this origin may not open WebSockets here.")

    def _is_allowed(self, origin: bytes, host: bytes | None) -> bool:
        if origin in self._named:
            return True
        found = _ORIGIN.fullmatch(origin)
        if found is None:  # such as null, which every sandboxed page sends
            return False
        if self._matches is not None and self._matches(origin.decode("latin-1")) is not None:
            return True
        return host is not None and _is_same_host(found[1].decode("ascii").lower(), found[2], host)


def _is_same_host(scheme: str, authority: bytes, host: bytes) -> bool:
    page, own = read_authority(authority), read_authority(host)
    default = DEFAULT_PORTS.get(scheme)
    if page is None or own is None or default is None or page[0] != own[0]:
        return False
    return (page[1] or default) == (own[1] or default)
