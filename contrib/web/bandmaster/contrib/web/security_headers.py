"""The layer that adds response headers for browsers' security features."""

from __future__ import annotations

from bandmaster.contrib.web.settings import WebSettings
from bandmaster.kernel import Exchange, HeaderBlock, KernelSettings, MiddlewareBand, middleware

_YEAR = 365 * 24 * 60 * 60
"""In seconds. The preload lists of browsers accept no shorter max-age."""


@middleware(
    band=MiddlewareBand.OUTERMOST,
    priority=MiddlewareBand.OUTERMOST.priorities[40],
    name="security_headers",
    scopes={"http"},
)
class SecurityHeadersLayer:
    """Adds security headers to every response that doesn't set them itself.

    ``X-XSS-Protection`` is not among them. Browsers have removed the filter that this header switched on, since pages
    of other sites could use it to disable scripts and to read content. Content-Security-Policy has replaced it.
    """

    def __init__(self, settings: WebSettings, kernel: KernelSettings) -> None:
        if not settings.security_headers:
            # The frame calls no hook that is None, so a layer that is switched off costs nothing.
            vars(self).update(on_response_start=None)
            return
        common = _list_headers(settings)
        self._http = HeaderBlock(common)
        # RFC 6797, 7.2: Strict-Transport-Security must not be sent over HTTP, where an attacker could insert it.
        self._https = HeaderBlock([*common, *_list_hsts(settings, kernel)])

    def on_response_start(self, exchange: Exchange) -> None:
        """Add the headers that the response doesn't have."""
        exchange.default_headers(self._https if exchange.scope.get("scheme") == "https" else self._http)


def _list_headers(settings: WebSettings) -> list[tuple[bytes, bytes]]:
    values = {
        b"x-content-type-options": "nosniff",
        b"x-frame-options": settings.frame_options,
        b"referrer-policy": settings.referrer_policy,
        b"cross-origin-opener-policy": settings.opener_policy,
        b"content-security-policy": settings.content_security_policy,
        b"permissions-policy": settings.permissions_policy,
    }
    return [(name, value.encode("ascii")) for name, value in values.items() if value]


def _list_hsts(settings: WebSettings, kernel: KernelSettings) -> list[tuple[bytes, bytes]]:
    seconds = settings.hsts_seconds
    if seconds is None:
        seconds = _YEAR if kernel.is_production else 0
    if not seconds:
        return []
    subdomains = b"; includeSubDomains" if settings.hsts_subdomains else b""
    return [(b"strict-transport-security", b"max-age=%d%s" % (seconds, subdomains))]
