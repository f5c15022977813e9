"""Requests that leave no doubt for whom they are, nor where they end; no others are let in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from operator import itemgetter

from bandmaster.contrib.web.problems.responses import CLOSE, refuse
from bandmaster.contrib.web.settings import WebSettings
from bandmaster.kernel import Exchange, MiddlewareBand, middleware

_HOSTS_REMEMBERED = 128
_LONGEST_NAME = 255
_LONGEST_LENGTH = 18
_VALUE = itemgetter(1)
# RFC 9110, 5.5: of the control characters a value may have none but the tab.
_CONTROLS = bytes([*range(9), *range(10, 32), 127])
# Narrower than RFC 3986, whose names may hold %41 and '()*+,;=: no host is called so, but links and pages that are made
# of the header could be broken out of.
_AUTHORITY = re.compile(rb"(?:(\[[0-9A-Fa-f:.]+\])|([\w~-]+(?:\.[\w~-]+)*)\.?)(?::(\d{0,5}))?")


def read_authority(value: bytes) -> tuple[str, int | None] | None:
    """The host's name, in lower case and without a dot at its end, and the port; none if it is malformed.

    An IPv6 address comes in brackets and in its shortest form. It takes no user name.

    >>> read_authority(b"Shop.Example.:8443")
    ('shop.example', 8443)
    >>> read_authority(b"user@shop.example")
    """
    found = _AUTHORITY.fullmatch(value)
    if found is None or len(value) > _LONGEST_NAME:
        return None
    address, name, port = found[1], found[2], int(found[3]) if found[3] else None
    if port is not None and port > 0xFFFF:
        return None
    if not address:
        return name.decode("ascii").lower(), port
    try:
        return f"[{IPv6Address(address[1:-1].decode('ascii')).compressed}]", port
    except AddressValueError:
        return None


@middleware(
    band=MiddlewareBand.SECURITY,
    priority=MiddlewareBand.SECURITY.priorities[0],
    name="trusted_host",
)
class TrustedHostLayer:
    """Refuses requests for hosts that aren't served here, and those that two programs could read in two ways.

    With 400: a Host header that is missing (HTTP/1.1), there twice, malformed or of no allowed host (RFC 9112, 3.2); a
    body whose end is in doubt (RFC 9112, 6.3), which is how requests are smuggled past a proxy; control characters in
    a header, which forge lines in logs. With 431: headers that are too large. What can't be trusted about the connection is closed with it.
    """

    def __init__(self, settings: WebSettings) -> None:
        self._most_bytes = settings.max_header_bytes
        hosts = settings.allowed_hosts
        self._any = "*" in hosts
        self._names = frozenset(host for host in hosts if not host.startswith("*"))
        self._below = tuple(host[1:] for host in hosts if host.startswith("*."))
        # Bounded, since anybody can make hosts up.
        self._fault = lru_cache(_HOSTS_REMEMBERED)(self._find_fault)

    def on_request(self, exchange: Exchange) -> None:
        """Refuse, or let in."""
        # One look at all values at once, whatever their number.
        values = b"".join(map(_VALUE, exchange.headers))
        if len(values.translate(None, _CONTROLS)) != len(values):
            refuse(exchange, 400, "A header has a control character.", [CLOSE])
            return
        if len(values) > self._most_bytes:
            refuse(exchange, 431, f"The headers are too large: at most {self._most_bytes} bytes are accepted here.")
            return
        host = exchange.header(b"host")
        fault = _no_host(exchange, self._any) if host is None else self._fault(host)
        if fault is None and exchange.repeats and len(exchange.header_values(b"host")) > 1:
            fault = "There is more than one Host header."
        if fault is not None:
            refuse(exchange, 400, fault)
            return
        length = exchange.header(b"content-length")
        coding = exchange.header(b"transfer-encoding")
        if length is not None or coding is not None:
            fault = _framing_fault(exchange, length, coding)
            if fault is not None:
                # Whatever follows on the connection may be meant as a body, or as a request.
                refuse(exchange, 400, fault, [CLOSE])

    def _find_fault(self, host: bytes) -> str | None:
        authority = read_authority(host)
        if authority is None:
            return "The Host header is malformed."
        name, _ = authority
        if self._any or name in self._names or name.endswith(self._below):
            return None
        return "The Host header names no host that is served here."


def _no_host(exchange: Exchange, any_will_do: bool) -> str | None:
    # HTTP/1.0 knew none. HTTP/2 has it as :authority, which servers hand over as Host.
    if any_will_do and exchange.scope.get("http_version", "1.1") != "1.1":
        return None
    return "There is no Host header."


def _framing_fault(exchange: Exchange, length: bytes | None, coding: bytes | None) -> str | None:
    if coding is not None and length is not None:
        return "There is a Content-Length as well as a Transfer-Encoding."
    if coding is not None:
        if exchange.scope.get("http_version", "1.1") != "1.1":
            return "A Transfer-Encoding is for HTTP/1.1 alone."
        codings = b",".join(exchange.header_values(b"transfer-encoding")).split(b",")
        if not _is_chunked(codings):
            return "The Transfer-Encoding doesn't end with one chunked."
        return None
    lengths = exchange.header_values(b"content-length") if exchange.repeats else [length]
    if len(set(lengths)) > 1:
        return "There are several values of Content-Length."
    if length is None or not length.isdigit() or len(length) > _LONGEST_LENGTH:
        return "The Content-Length is no number of bytes."
    return None


def _is_chunked(codings: Iterable[bytes]) -> bool:
    # RFC 9112, 6.1 and 7.1: once, and as the last; more could be undone more often here than elsewhere.
    *others, last = (coding.strip().lower() for coding in codings)
    return last == b"chunked" and b"chunked" not in others
