"""The record that the access log has of a request or a WebSocket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

PATH_LIMIT: Final = 1024
"""Characters of a path that are logged. A longer path is cut and ends in ``...``."""


class AccessRecord(NamedTuple):
    """One request, or one WebSocket connection, after the end."""

    event: Literal["request", "websocket"]
    level: Literal["info", "warning"]
    """``warning`` for a status from 500 up, an exception, a cancellation, an incomplete response, and a slow request.
    Warnings are never sampled away. ``info`` for all others, also if the client disconnected."""
    time: float
    """The end in seconds of Unix time: when the last byte was passed to the server, or when the request failed."""
    method: str
    path: str
    """As the client sent it, percent-encoded and without the query string, which may contain secrets; see
    `PATH_LIMIT`."""
    route: str | None = None
    """The template of the route that served the request, such as ``/items/{id}``, prefixes included."""
    status: int | None = None
    """The status of the response. 500 if the application failed or ended without a response, since servers answer with
    500 then; 101 for a WebSocket that was accepted. None if the client left, or the request was cancelled, before there
    was one."""
    duration: float = 0.0
    """Seconds until the last byte was passed to the server, background tasks not included."""
    bytes_sent: int = 0
    """Bytes of the response body, or the lengths of a WebSocket's messages. Files that the server sends by path don't
    count."""
    bytes_received: int = 0
    """Bytes of the request body, or the lengths of a WebSocket's messages, as far as the application has read them."""
    client: str | None = None
    """The client's address as the server reports it."""
    http_version: str | None = None
    request_id: str | None = None
    correlation_id: str | None = None
    """Present if it differs from the request id."""
    tenant: str | None = None
    user: str | None = None
    error: str | None = None
    """The name of the type of the exception that the application raised, also if a layer answered it."""
    slow: bool = False
    """Whether the request reached ``WEB_ACCESS_LOG_SLOW``. Never for WebSockets and for bodies of unknown length."""
    disconnected: bool = False
    """Whether the client left before the response was complete, or closed the WebSocket first."""
    incomplete: bool = False
    """Whether the response ended early although the client was still connected."""
    close_code: int | None = None
    """The code that either side closed the WebSocket with."""
    messages_sent: int | None = None
    """Messages sent over a WebSocket."""
    messages_received: int | None = None
    """Messages received over a WebSocket."""
    sample_rate: float | None = None
    """The share of such requests that is logged, if not all are: each record stands for ``1 / sample_rate``."""
    bound: Mapping[str, Any] | None = None
    """The fields that dependencies and handlers have added with `bind`: plain values, with secrets redacted."""

    def fields(self) -> dict[str, Any]:
        """All fields by name, except the event, the level and the time, and except None and False.

        The bound fields come after the others. A bound field with the name of another one gets a ``_`` at the end.
        """
        fields = {
            name: value
            for name, value in zip(_FIELDS, self[_FIELDS_START:_FIELDS_END], strict=True)
            if value is not None and value is not False
        }
        return {**fields, **self.renamed_bound()} if self.bound else fields

    def renamed_bound(self) -> dict[str, Any]:
        """The bound fields; those with the name of a field of every record have a ``_`` at the end."""
        return {f"{name}_" if name in _TAKEN else name: value for name, value in (self.bound or {}).items()}


_FIELDS_START = AccessRecord._fields.index("method")
_FIELDS_END = AccessRecord._fields.index("bound")
_FIELDS = AccessRecord._fields[_FIELDS_START:_FIELDS_END]
_TAKEN = frozenset(AccessRecord._fields[:_FIELDS_END])
