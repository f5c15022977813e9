"""The one object through which hooks see a request and its response."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from operator import itemgetter
from time import perf_counter
from typing import Any, Literal, NamedTuple, TypeAlias, cast

from starlette.types import Scope

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

CURRENT: ContextVar[Exchange] = ContextVar("bandmaster.exchange")
"""Set by frames; read it with `current_exchange`."""

_DIGITS = 18
_NAME = itemgetter(0)
_NO_HEADERS = cast("list[tuple[bytes, bytes]]", ())


class Response(NamedTuple):
    """A whole response, as a hook answers with it."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Close(NamedTuple):
    """The end of a WebSocket, as a hook asks for it."""

    code: int
    reason: str


class HeaderBlock:
    """Response headers that are known in advance, made ready once for `set_headers` and `default_headers`."""

    __slots__ = ("names", "pairs")

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self.pairs = tuple((name.lower(), value) for name, value in pairs)
        self.names = frozenset(map(_NAME, self.pairs))


class Socket:
    """What has gone over a WebSocket, and how it ended."""

    __slots__ = ("close_code", "close_reason", "closed", "message_limit", "messages_received", "messages_sent")

    def __init__(self) -> None:
        self.messages_received = 0
        """Messages that the application has read."""
        self.messages_sent = 0
        """Messages handed to the server."""
        self.closed = False
        """Whether it is at its end, by whichever side, or was refused."""
        self.close_code: int | None = None
        """The code it was closed with, by whichever side."""
        self.close_reason = ""
        self.message_limit: int | None = None
        """Bytes that a message from the client may have; see `Exchange.limit_message`."""


class Exchange:
    """One request, or one WebSocket connection, as the hooks of one frame see it.

    A frame makes it when the request comes in. Where a layer in ASGI form splits the hooks into several frames, each
    frame has an exchange of its own with its own view of the response, while ``data`` is one for the whole request.

    Never put it into ``scope``, nor anything that leads back to it: that makes garbage of every request.
    """

    __slots__ = (
        "_counted",
        "_names",
        "_response_headers",
        "answer",
        "answerable",
        "began",
        "body_limit",
        "bytes_received",
        "bytes_sent",
        "data",
        "disconnected",
        "error",
        "finished",
        "header",
        "outer",
        "repeats",
        "scope",
        "socket",
        "started",
        "status",
    )

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        headers: Headers = scope.get("headers") or ()
        index = dict(headers)
        self.repeats = len(index) != len(headers)
        """Whether some request header is there more than once; see `header_values`."""
        if self.repeats:
            # The first of several values is to win.
            index = dict(reversed(headers))
        # Not a method: every layer looks some up, and few have none.
        self.header: Callable[[bytes], bytes | None] = index.get
        """The first value of the request header of that name, in lower case; none if there is no such header."""
        self.data: dict[str, Any] = {}
        """What layers keep for the request, under their own names; handlers find it here, too."""
        self.socket: Socket | None = None
        """A WebSocket's messages and its end; none for HTTP."""
        self.status: int | None = None
        """The response's status, from ``on_response_start`` on, where it can be changed. An accepted WebSocket has 101,
        one that is closed before has 403, which is what servers make of it."""
        self.started = False
        """Whether the start of the response has been handed to the server."""
        self.began = perf_counter()
        """When the request came in, in seconds of ``time.perf_counter``."""
        self.finished: float | None = None
        """When the last of the response was handed to the server, in seconds of ``time.perf_counter``."""
        self.bytes_sent = 0
        """Bytes of response body handed to the server, files sent by path not counted; of a WebSocket's messages, their
        lengths, in bytes or characters."""
        self.bytes_received = 0
        """The same of what the application has read."""
        self.disconnected = False
        """Whether the client went away before the response was finished, as far as the application got to know."""
        self.error: BaseException | None = None
        """What the application raised, also if a hook has answered for it. Cleared when the request is over."""
        self.answer: Response | Close | None = None
        """What a hook has answered with."""
        self.answerable = True
        """Whether a hook can answer now. Kept by the frame."""
        self.body_limit: int | None = None
        """Bytes of body that the application may read; see `limit_body`."""
        self.outer: Exchange | None = None
        """The same request's exchange in the next frame further out, if there is one."""
        # A tuple, so that a header which is set before there is a response fails instead of getting lost.
        self._response_headers: list[tuple[bytes, bytes]] = _NO_HEADERS
        self._names: set[bytes]
        self._counted = -1

    @property
    def type(self) -> Literal["http", "websocket"]:
        """What kind of exchange it is."""
        return cast("Literal['http', 'websocket']", self.scope["type"])

    @property
    def method(self) -> str:
        """The request's method; a WebSocket's handshake counts as ``GET``."""
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
        """The length of the request's body that the client announced, in bytes; none if it announced no sane number."""
        value = self.header(b"content-length")
        return None if value is None or not value.isdigit() or len(value) > _DIGITS else int(value)

    def respond(self, status: int, headers: Iterable[tuple[bytes, bytes]] = (), body: bytes = b"") -> None:
        """Answer at once, in place of the application and of the hooks that would have come next.

        Possible in ``on_request``, and in ``on_error`` while the response has not started. ``content-length`` is added
        where it is missing. A WebSocket is refused with it: with this very response where the server can, else by
        closing it, which the client sees as 403.

        Raises:
            ValueError: the status isn't one of a final response.
            RuntimeError: it is too late, or too early.
        """
        if not 200 <= status <= 599:
            raise ValueError(f"status: expected a final HTTP status, 200 to 599, got {status!r}")
        if not self.answerable or self.started:
            raise RuntimeError(
                f"respond({status}): only on_request can answer, and on_error while the response has not started"
            )
        answer = Response(status, [(name.lower(), value) for name, value in headers], body)
        # RFC 9110, 8.6: a 204 must not carry it, and in a 304 it would speak of the body that isn't sent.
        if status not in (204, 304) and not any(name == b"content-length" for name, _ in answer.headers):
            answer.headers.append((b"content-length", b"%d" % len(body)))
        self.answer = answer

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the WebSocket, in place of the application; before it is accepted, refuse it.

        Possible in ``on_request`` and in ``on_error``; of a WebSocket that is already closed nothing more is sent.

        Raises:
            ValueError: the code isn't one that may be sent.
            RuntimeError: it is no WebSocket, or too late, or too early.
        """
        if not (code in _CLOSE_CODES or 3000 <= code <= 4999):
            raise ValueError(f"code: expected a close code that may be sent (RFC 6455, 7.4), got {code!r}")
        if self.socket is None:
            raise RuntimeError(f"close({code}): only a WebSocket can be closed; use respond()")
        if not self.answerable:
            raise RuntimeError(f"close({code}): only on_request and on_error can close")
        self.answer = Close(code, reason)

    def limit_body(self, max_bytes: int) -> None:
        """Let the application read at most so many bytes of body; `BodyTooLarge` is raised where it would read more.

        Called in ``on_request``; the lowest limit counts. What the client announces is in `content_length`.

        Raises:
            ValueError: the number is negative.
        """
        if max_bytes < 0:
            raise ValueError(f"max_bytes: expected 0 or more, got {max_bytes!r}")
        if self.body_limit is None or max_bytes < self.body_limit:
            self.body_limit = max_bytes

    def limit_message(self, max_bytes: int) -> None:
        """Let the client send WebSocket messages of at most so many bytes.

        A larger one closes the WebSocket with 1009, and the application hears of a disconnect. Called in
        ``on_request``; the lowest limit counts. For HTTP it means nothing.

        Raises:
            ValueError: the number is negative.
        """
        if max_bytes < 0:
            raise ValueError(f"max_bytes: expected 0 or more, got {max_bytes!r}")
        socket = self.socket
        if socket is not None and (socket.message_limit is None or max_bytes < socket.message_limit):
            socket.message_limit = max_bytes

    @property
    def response_headers(self) -> list[tuple[bytes, bytes]]:
        """The response's headers, names in lower case, from ``on_response_start`` on, where the list can be changed."""
        self._counted = -1
        return self._response_headers

    @response_headers.setter
    def response_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        self._counted = -1
        self._response_headers = headers

    def response_header(self, name: bytes) -> bytes | None:
        """The first value of a response header; ``name`` in lower case."""
        for known, value in self._response_headers:
            if known == name:
                return value
        return None

    def set_header(self, name: bytes, value: bytes) -> None:
        """Give a response header this one value, whatever it had; ``name`` in lower case."""
        headers = self._response_headers
        names = self._names if self._counted == len(headers) else self._listed()
        if name in names:
            place = [known for known, _ in headers].index(name)
            headers[place:] = [(name, value), *(pair for pair in headers[place:] if pair[0] != name)]
        else:
            names.add(name)
            headers.append((name, value))
        self._counted = len(headers)

    def add_header(self, name: bytes, value: bytes) -> None:
        """Add a response header beside those of the same name; ``name`` in lower case."""
        self.response_headers.append((name, value))

    def remove_header(self, name: bytes) -> None:
        """Remove every response header of that name; ``name`` in lower case."""
        self.response_headers[:] = [pair for pair in self._response_headers if pair[0] != name]

    def set_headers(self, block: HeaderBlock) -> None:
        """Give all these response headers these values, whatever they had."""
        headers = self._response_headers
        names = self._names if self._counted == len(headers) else self._listed()
        if not names.isdisjoint(block.names):
            headers[:] = [pair for pair in headers if pair[0] not in block.names]
        names |= block.names
        headers.extend(block.pairs)
        self._counted = len(headers)

    def default_headers(self, block: HeaderBlock) -> None:
        """Add those of these response headers whose names aren't there yet."""
        headers = self._response_headers
        names = self._names if self._counted == len(headers) else self._listed()
        headers.extend(
            block.pairs if names.isdisjoint(block.names) else [pair for pair in block.pairs if pair[0] not in names]
        )
        names |= block.names
        self._counted = len(headers)

    def vary(self, name: bytes) -> None:
        """Say that the response depends on that request header, if ``Vary`` doesn't say so already."""
        headers = self._response_headers
        names = self._names if self._counted == len(headers) else self._listed()
        if b"vary" not in names:
            names.add(b"vary")
            headers.append((b"vary", name))
            self._counted = len(headers)
            return
        values = [value for known, value in headers if known == b"vary"]
        listed = {part.strip().lower() for part in b",".join(values).split(b",")}
        if b"*" not in listed and name.lower() not in listed:
            self.set_header(b"vary", b", ".join([*filter(None, values), name]))

    def _listed(self) -> set[bytes]:
        # The names that are there, so that one layer's headers needn't be compared with all the others'. Who takes the
        # list itself may change it without a word; that it has another length by now gives away one that was kept.
        headers = self._response_headers
        names = self._names = set(map(_NAME, headers))
        self._counted = len(headers)
        return names

    def __repr__(self) -> str:
        # Headers and query may hold secrets.
        return f"<Exchange: {self.type} {self.method} {self.path}, status {self.status}>"


def current_exchange() -> Exchange | None:
    """The exchange of the request or WebSocket in which this runs; none outside of one."""
    return CURRENT.get(None)


# RFC 6455, 7.4.1, and the later ones of the IANA registry; 1004 to 1006 and 1015 never go over the wire.
_CLOSE_CODES = frozenset((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014))
