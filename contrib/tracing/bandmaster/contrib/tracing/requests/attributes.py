"""The attributes of a request's span, by the stable semantic conventions for HTTP. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from bandmaster.contrib.tracing.metrics.requests import KNOWN_METHODS

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
Attributes: TypeAlias = dict[str, Any]

OTHER_METHOD = "_OTHER"
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def describe_request(scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> Attributes:
    """The attributes that are known when a request or a WebSocket begins; ``headers`` has one value of each name.

    The query string is among them: secrets in it are redacted before the export.
    """
    method = scope.get("method", "GET")
    scheme = scope.get("scheme", "http")
    attributes: Attributes = {"url.path": scope["path"], "url.scheme": scheme}
    if method in KNOWN_METHODS:
        attributes["http.request.method"] = method
    else:
        attributes["http.request.method"] = OTHER_METHOD
        attributes["http.request.method_original"] = method
    query = scope.get("query_string")
    if query:
        attributes["url.query"] = query.decode("latin-1")
    host = headers.get(b"host")
    if host:
        address, port = split_host(host.decode("latin-1"))
        attributes["server.address"] = address
        attributes["server.port"] = _DEFAULT_PORTS.get(scheme, 80) if port is None else port
    client = scope.get("client")
    if client:
        attributes["client.address"] = client[0]
    version = scope.get("http_version")
    if version:
        attributes["network.protocol.version"] = version
    agent = headers.get(b"user-agent")
    if agent:
        attributes["user_agent.original"] = agent.decode("latin-1")
    return attributes


def split_host(host: str) -> tuple[str, int | None]:
    """The name and the port of a Host header.

    >>> split_host("shop.example:8443"), split_host("[::1]")
    (('shop.example', 8443), ('[::1]', None))
    """
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]") or not (port.isascii() and port.isdigit() and len(port) <= 5):
        return host, None
    return name, int(port)


class HeaderCapture:
    """Reads the headers that a setting names, each as an attribute with all values."""

    def __init__(self, kind: str, names: Iterable[str]) -> None:
        self._keys = {name.encode("ascii"): f"http.{kind}.header.{name}" for name in names}

    def __bool__(self) -> bool:
        return bool(self._keys)

    def read(self, headers: Headers) -> Attributes:
        """The attributes for those headers that are there."""
        found: Attributes = {}
        for name, value in headers:
            key = self._keys.get(name.lower())
            if key is not None:
                found.setdefault(key, []).append(value.decode("latin-1"))
        return found
