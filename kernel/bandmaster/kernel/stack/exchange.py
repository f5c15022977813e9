"""A request and the response, as a hook layer sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from typing import Any, Literal, TypeAlias, cast

from starlette.types import Scope

from bandmaster.kernel.stack.headers import ResponseHeaders

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

CURRENT: ContextVar[Exchange] = ContextVar("bandmaster.exchange")
"""The exchange of the request that is being served. Frames set it; others call `current_exchange`."""

_MOST_DIGITS = 18
"""Digits that a believable ``content-length`` may have: fewer than a 64-bit number."""


class WebSocketInfo:
    """How many messages a WebSocket has carried, and how the connection ended."""

    __slots__ = ("close_code", "close_reason", "closed", "messages_received", "messages_sent")

    def __init__(self) -> None:
        self.messages_received = 0
        """Messages that the application has read."""
        self.messages_sent = 0
        """Messages that the application has sent."""
        self.closed = False
        """Whether the connection has ended: either side closed it, or the handshake was refused."""
        self.close_code: int | None = None
        """The close code, from whichever side closed the connection first."""
        self.close_reason = ""
        """The close reason, from the same side."""


class Exchange(ResponseHeaders):
    """One request, or one WebSocket connection, as the hooks of one frame see it.

    A frame makes an exchange when a request comes in. Where a layer in ASGI form splits the hook layers into several
    frames, each frame has an exchange of its own and sees the response at that place; ``data`` is one dictionary for
    the whole request.

    Never put an exchange, or an object that leads back to it, into ``scope``: then only the garbage collector could
    free the request.
    """

    __slots__ = (
        "began",
        "bytes_received",
        "bytes_sent",
        "data",
        "disconnected",
        "error",
        "finished",
        "header",
        "repeats",
        "scope",
        "socket",
        "started",
        "status",
    )

    scope: Scope
    """The ASGI scope of the request."""
    # Not a method: nearly every layer reads some header, and a dictionary's own ``get`` is the cheapest call there is.
    header: Callable[[bytes], bytes | None]
    """The first value of the request header of that name, in lower case, or None."""
    repeats: bool
    """Whether some request header occurs more than once; see `header_values`."""
    data: dict[str, Any]
    """Values that layers keep for this request, under names of their own. Handlers may read them as well."""
    socket: WebSocketInfo | None
    """The messages and the end of a WebSocket; None for an HTTP request."""
    status: int | None
    """The response's status. ``on_response_start`` may change it. A WebSocket has status 101 once accepted, and 403
    when closed before that, since servers answer so."""
    started: bool
    """Whether the start of the response has been passed to the server."""
    began: float
    """The time at which the request came in, in seconds of ``time.perf_counter``."""
    finished: float | None
    """The time at which the end of the response was passed to the server, in seconds of ``time.perf_counter``."""
    bytes_sent: int
    """Bytes of response body passed to the server, without files sent by path. For a WebSocket: the lengths of the
    messages sent, in bytes or characters."""
    bytes_received: int
    """Bytes of request body that the application has read. For a WebSocket: the lengths of the messages read."""
    disconnected: bool
    """Whether the client left before the response was finished, as far as the application noticed."""
    error: BaseException | None
    """The exception that the application raised, also where a hook has answered it. None again after the request."""

    @property
    def type(self) -> Literal["http", "websocket"]:
        """The type of the ASGI scope."""
        return cast("Literal['http', 'websocket']", self.scope["type"])

    @property
    def method(self) -> str:
        """The request's method; ``GET`` for the handshake of a WebSocket."""
        return cast("str", self.scope.get("method", "GET"))

    @property
    def path(self) -> str:
        """The request's path, percent-decoded, with the ``root_path`` under which the application is mounted."""
        return cast("str", self.scope["path"])

    @property
    def client(self) -> tuple[str, int] | None:
        """Host and port of the client, where the server knows them."""
        return cast("tuple[str, int] | None", self.scope.get("client"))

    @property
    def headers(self) -> Headers:
        """The request's headers as the server gave them, names in lower case."""
        return cast("Headers", self.scope.get("headers") or ())

    def header_values(self, name: bytes) -> list[bytes]:
        """Every value of a request header, in order; ``name`` in lower case."""
        return [value for known, value in self.headers if known == name]

    @property
    def content_length(self) -> int | None:
        """The length of the request's body in bytes, as the client announced it; None without a believable number."""
        value = self.header(b"content-length")
        return None if value is None or not value.isdigit() or len(value) > _MOST_DIGITS else int(value)

    def respond(self, status: int, headers: Iterable[tuple[bytes, bytes]] = (), body: bytes = b"") -> None:
        """Answer the request here. Neither the application nor the layers further in are called.

        Works in ``on_request``, and in ``on_error`` while the response has not started. ``content-length`` is added
        where it is missing. A WebSocket is refused with this response if the server can send one, and otherwise
        closed, which the client sees as 403.

        Raises:
            ValueError: the status isn't one of a final response.
            RuntimeError: the response has started, or the hook can't answer.
        """
        raise NotImplementedError

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the WebSocket; before the application has accepted the handshake, refuse the WebSocket.

        Works in ``on_request`` and in ``on_error``. Closing a closed WebSocket has no effect.

        Raises:
            ValueError: the code isn't one that may be sent.
            RuntimeError: the request isn't a WebSocket, or the hook can't answer.
        """
        raise NotImplementedError

    def limit_body(self, max_bytes: int) -> None:
        """Let the application read at most so many bytes of body; reading more raises `BodyTooLarge`.

        For ``on_request``. Of several limits the lowest counts. `content_length` has the announced length.

        Raises:
            ValueError: the number is negative.
        """
        raise NotImplementedError

    def limit_message(self, max_bytes: int) -> None:
        """Let the client send WebSocket messages of at most so many bytes. No effect on an HTTP request.

        A larger message closes the WebSocket with 1009, and the application receives a disconnect. For
        ``on_request``. Of several limits the lowest counts.

        Raises:
            ValueError: the number is negative.
        """
        raise NotImplementedError

    def __repr__(self) -> str:
        # Headers and query may hold secrets.
        return f"<Exchange: {self.type} {self.method} {self.path}, status {self.status}>"


def current_exchange() -> Exchange | None:
    """The exchange of the request or WebSocket that this code serves, or None outside of one."""
    return CURRENT.get(None)
