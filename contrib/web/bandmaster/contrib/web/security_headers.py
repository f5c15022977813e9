"""Response headers that switch on what protection browsers have."""

from __future__ import annotations

from bandmaster.contrib.web.settings import WebSettings
from bandmaster.kernel import Exchange, HeaderBlock, KernelSettings, MiddlewareBand, middleware

_YEAR = 365 * 24 * 60 * 60
"""Seconds; the least that browsers' preload lists take."""


@middleware(
    band=MiddlewareBand.OUTERMOST,
    priority=MiddlewareBand.OUTERMOST.priorities[40],
    name="security_headers",
    scopes={"http"},
)
class SecurityHeadersLayer:
    """Adds protecting headers to every response. What the application sets itself wins, and is never repeated.

    ``X-XSS-Protection`` isn't among them: browsers have removed what it switched on, since its filter could be used to
    disable a page's own scripts and to find out what a page holds. Content-Security-Policy took its place.
    """

    def __init__(self, settings: WebSettings, kernel: KernelSettings) -> None:
        if not settings.security_headers:
            # A layer without hooks costs nothing.
            vars(self).update(on_response_start=None)
            return
        everywhere = _headers(settings)
        self._plain = HeaderBlock(everywhere)
        # RFC 6797, 7.2: over plain HTTP, where anybody could have put it in, it must not be sent.
        self._secure = HeaderBlock([*everywhere, *_transport_security(settings, kernel)])

    def on_response_start(self, exchange: Exchange) -> None:
        """Add what is missing."""
        exchange.default_headers(self._secure if exchange.scope.get("scheme") == "https" else self._plain)


def _headers(settings: WebSettings) -> list[tuple[bytes, bytes]]:
    values = {
        b"x-content-type-options": "nosniff",
        b"x-frame-options": settings.frame_options,
        b"referrer-policy": settings.referrer_policy,
        b"cross-origin-opener-policy": settings.opener_policy,
        b"content-security-policy": settings.content_security_policy,
        b"permissions-policy": settings.permissions_policy,
    }
    return [(name, value.encode("ascii")) for name, value in values.items() if value]


def _transport_security(settings: WebSettings, kernel: KernelSettings) -> list[tuple[bytes, bytes]]:
    seconds = settings.hsts_seconds
    if seconds is None:
        seconds = _YEAR if kernel.is_production else 0
    if not seconds:
        return []
    subdomains = b"; includeSubDomains" if settings.hsts_subdomains else b""
    return [(b"strict-transport-security", b"max-age=%d%s" % (seconds, subdomains))]
