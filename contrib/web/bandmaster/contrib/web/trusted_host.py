"""The layer that refuses requests for foreign hosts, and requests that are ambiguous."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from operator import itemgetter

from bandmaster.contrib.web.addresses import read_authority
from bandmaster.contrib.web.problems.responses import CONNECTION_CLOSE, refuse
from bandmaster.contrib.web.settings import WebSettings
from bandmaster.kernel import Exchange, MiddlewareBand, middleware

_CACHED_HOSTS = 128
_MAX_LENGTH_DIGITS = 18
_get_value = itemgetter(1)
# RFC 9110, 5.5: a header's value may have no control character but the tab.
_CONTROL_CHARACTERS = bytes([*range(9), *range(10, 32), 127])


@middleware(
    band=MiddlewareBand.SECURITY,
    priority=MiddlewareBand.SECURITY.priorities[0],
    name="trusted_host",
)
class TrustedHostLayer:
    """Refuses requests for hosts that aren't served here, and requests that a proxy could read differently.

    These are refused with 400:

    - a Host header that is missing (HTTP/1.1), repeated, malformed or not allowed (RFC 9112, 3.2)
    - a body without a clear end (RFC 9112, 6.3), with which requests are smuggled past a proxy
    - control characters in a header, with which lines in logs are forged

    Headers that are too large are refused with 431. The connection is closed where its further bytes can't be trusted.
    """

    def __init__(self, settings: WebSettings) -> None:
        self._max_bytes = settings.max_header_bytes
        hosts = settings.allowed_hosts
        self._allows_any = "*" in hosts
        self._names = frozenset(host for host in hosts if not host.startswith("*"))
        self._suffixes = tuple(host[1:] for host in hosts if host.startswith("*."))
        # Bounded, since a client can send any number of hosts.
        self._check_host = lru_cache(_CACHED_HOSTS)(self._check_host_uncached)

    def on_request(self, exchange: Exchange) -> None:
        """Refuse the request, or let it pass."""
        # All values are checked in one call, which takes less time than a loop over the headers.
        values = b"".join(map(_get_value, exchange.headers))
        if len(values.translate(None, _CONTROL_CHARACTERS)) != len(values):
            refuse(exchange, 400, "A header has a control character.", [CONNECTION_CLOSE])
            return
        if len(values) > self._max_bytes:
            refuse(exchange, 431, f"The headers are too large: at most {self._max_bytes} bytes are accepted here.")
            return
        host = exchange.header(b"host")
        problem = self._check_host(host) if host else _check_missing_host(exchange, host, self._allows_any)
        if problem is None and exchange.repeats and len(exchange.header_values(b"host")) > 1:
            problem = "There is more than one Host header."
        if problem is not None:
            refuse(exchange, 400, problem)
            return
        length = exchange.header(b"content-length")
        coding = exchange.header(b"transfer-encoding")
        if length is not None or coding is not None:
            problem = _check_framing(exchange, length, coding)
            if problem is not None:
                # The bytes that follow on the connection may be the body or another request.
                refuse(exchange, 400, problem, [CONNECTION_CLOSE])

    def _check_host_uncached(self, host: bytes) -> str | None:
        authority = read_authority(host)
        if authority is None:
            return "The Host header is malformed."
        name, _ = authority
        if self._allows_any or name in self._names or name.endswith(self._suffixes):
            return None
        return "The Host header names no host that is served here."


def _check_missing_host(exchange: Exchange, host: bytes | None, allows_any: bool) -> str | None:
    # HTTP/1.0 has no Host header, for which granian passes an empty one on. HTTP/2 has :authority instead, which
    # servers pass on as Host.
    version = _read_version(exchange)
    if host is not None and version != "1.0":
        return "The Host header is malformed."
    return None if allows_any and version != "1.1" else "There is no Host header."


def _check_framing(exchange: Exchange, length: bytes | None, coding: bytes | None) -> str | None:
    if coding is not None and length is not None:
        return "There is a Content-Length as well as a Transfer-Encoding."
    if coding is not None:
        if _read_version(exchange) != "1.1":
            return "A Transfer-Encoding is for HTTP/1.1 alone."
        codings = b",".join(exchange.header_values(b"transfer-encoding")).split(b",")
        if not _is_chunked(codings):
            return "The Transfer-Encoding doesn't end with one chunked."
        return None
    lengths = exchange.header_values(b"content-length") if exchange.repeats else [length]
    if len(set(lengths)) > 1:
        return "There are several values of Content-Length."
    if length is None or not length.isdigit() or len(length) > _MAX_LENGTH_DIGITS:
        return "The Content-Length is no number of bytes."
    return None


def _read_version(exchange: Exchange) -> str:
    # ASGI writes HTTP/1.0 as "1.0", and granian as "1". Servers that name no version speak HTTP/1.1.
    version: str = exchange.scope.get("http_version", "1.1")
    return "1.0" if version == "1" else version


def _is_chunked(codings: Iterable[bytes]) -> bool:
    # RFC 9112, 6.1 and 7.1: chunked is the last coding and stands there once. A body that is chunked twice would be
    # decoded once by one program and twice by another.
    *others, last = (coding.strip().lower() for coding in codings)
    return last == b"chunked" and b"chunked" not in others
