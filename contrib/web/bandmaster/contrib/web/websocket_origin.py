"""Which pages may open a WebSocket."""

from __future__ import annotations

import re

from bandmaster.contrib.web.problems.responses import refuse
from bandmaster.contrib.web.settings import WebSettings
from bandmaster.contrib.web.trusted_host import read_authority
from bandmaster.kernel import Exchange, MiddlewareBand, middleware

_ORIGIN = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#@]+)")
_DEFAULT_PORTS = {b"http": 80, b"https": 443}


@middleware(
    band=MiddlewareBand.SECURITY,
    priority=MiddlewareBand.SECURITY.priorities[10],
    name="websocket_origin",
    scopes={"websocket"},
)
class WebSocketOriginLayer:
    """Refuses WebSockets that pages of other origins open.

    No browser asks before it opens one, and it sends the user's cookies along (cross-site WebSocket hijacking): CORS
    protects HTTP alone. Let in are programs, which send no Origin; pages of the host that is asked itself; and the
    origins of ``websocket_origins``, ``cors_origins`` and ``cors_origin_regex``. The ``*`` of ``cors_origins`` opens
    no WebSockets, since it is meant for answers without cookies.

    Of the host itself means the same name and port as in the Host header, whichever the scheme: where TLS ends at a
    proxy, a page at https arrives at http. A proxy must pass the Host header on, or the origin must be named.
    """

    def __init__(self, settings: WebSettings) -> None:
        if "*" in settings.websocket_origins:
            # A layer without hooks costs nothing.
            vars(self).update(on_request=None)
            return
        named = {*settings.websocket_origins, *settings.cors_origins} - {"*"}
        self._named = frozenset(origin.encode("latin-1") for origin in named)
        expression = settings.cors_origin_regex
        self._fits = None if expression is None else re.compile(expression).fullmatch

    def on_request(self, exchange: Exchange) -> None:
        """Refuse, or let in."""
        origin = exchange.header(b"origin")
        if origin is None:
            return
        if exchange.repeats and len(exchange.header_values(b"origin")) > 1:
            refuse(exchange, 403, "There is more than one Origin header.")
        elif not self._may(origin, exchange.header(b"host")):
            refuse(exchange, 403, "Pages of this origin may not open WebSockets here.")

    def _may(self, origin: bytes, host: bytes | None) -> bool:
        if origin in self._named:
            return True
        found = _ORIGIN.fullmatch(origin)
        if found is None:  # such as null, which sandboxed pages of anybody send
            return False
        if self._fits is not None and self._fits(origin.decode("latin-1")) is not None:
            return True
        return host is not None and _is_same(found[1].lower(), found[2], host)


def _is_same(scheme: bytes, authority: bytes, host: bytes) -> bool:
    page, asked = read_authority(authority), read_authority(host)
    default = _DEFAULT_PORTS.get(scheme)
    if page is None or asked is None or default is None or page[0] != asked[0]:
        return False
    return (page[1] or default) == (asked[1] or default)
