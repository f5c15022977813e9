"""The one frame that a run of neighbouring hook layers puts around the application.

What the hooks can rely on:

- A layer is entered when its ``on_request`` has returned; one without it, when all layers outside it are entered. Like
  a context manager's ``__enter__``, an ``on_request`` that raises doesn't enter its layer.
- Every entered layer sees the start of whatever response goes out, be it the application's or a hook's, and the end.
- ``on_error`` sees what the application raised, unless it says that the client has gone; the first hook that answers
  ends the search. Unanswered, the exception goes on unchanged. A cancellation goes by it.
- ``on_end`` runs when the application has returned or raised, and with it its background work. It runs for every
  entered layer, once, even if another one's raises. What such hooks raise becomes a note on the exception that is
  under way; if none is, it is raised: alone, or as a group.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextvars import Token
from functools import cache
from time import perf_counter
from traceback import format_exception
from types import CodeType
from typing import Any, Literal, NamedTuple, TypeAlias, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bandmaster.kernel.exchange import CURRENT, BodyTooLarge, Close, Exchange, Response

Hook: TypeAlias = Callable[[Exchange], None]
ErrorHook: TypeAlias = Callable[[Exchange, Exception], None]


class Frame:
    """Runs the hooks of its layers around an application, for one type of scope.

    ``inner`` says that the same chain has a frame further out, whose ``data`` is to be shared.
    """

    __slots__ = (
        "_answer",
        "_app",
        "_everyone",
        "_inner",
        "_observes",
        "_receiver",
        "_requests",
        "_sender",
        "layers",
    )

    def __init__(
        self, layers: Sequence[object], app: ASGIApp, kind: Literal["http", "websocket"], *, inner: bool = False
    ) -> None:
        self.layers = tuple(layers)
        """The layers' instances, outermost first."""
        self._app = app
        self._inner = inner
        self._everyone = _entered(self.layers)
        # With each on_request what is entered if it raises, and what if it answers: nothing is worked out per request.
        self._requests = tuple(
            (cast("Hook", on_request), _entered(self.layers[:place]), _entered(self.layers[: place + 1]))
            for place, layer in enumerate(self.layers)
            if (on_request := getattr(layer, "on_request", None)) is not None
        )
        self._observes = any(self._everyone)
        self._sender = _http_sender if kind == "http" else _websocket_sender
        self._receiver = _http_receiver if kind == "http" else _websocket_receiver
        self._answer = _answer_http if kind == "http" else _answer_websocket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one WebSocket."""
        exchange = Exchange(scope)
        if self._inner:
            _join(exchange)
        token = CURRENT.set(exchange)
        entered = self._everyone
        sending: Send | None = None
        try:
            for on_request, outside, through in self._requests:
                entered = outside
                on_request(exchange)
                if exchange.answer is not None:
                    entered = through
                    break
            else:
                entered = self._everyone
            exchange.answerable = False
            if self._observes or exchange.body_limit is not None or exchange.message_limit is not None:
                send = sending = self._sender(exchange, send, entered.starts)
                receive = self._receiver(exchange, receive, send)
            if exchange.answer is None:
                await self._app(scope, receive, send)
            else:
                await self._answer(exchange, send)
        except BaseException as error:
            failures: list[BaseException] = []
            answered = False
            exchange.answerable = False
            exchange.error = error
            if exchange.outer is not None:
                exchange.outer.error = error
            if isinstance(error, Exception):
                sending = sending or self._sender(exchange, send, entered.starts)
                answered = await self._handle(exchange, error, entered.errors, sending, failures)
            failures += _end(exchange, entered.ends)
            _leave(exchange, token)
            if not answered and not _outranked(error, failures):
                _note(error, failures)
                raise
            _raise(failures)
        else:
            failures = _end(exchange, entered.ends)
            _leave(exchange, token)
            if failures:
                _raise(failures)

    async def _handle(
        self,
        exchange: Exchange,
        error: Exception,
        hooks: Sequence[ErrorHook],
        send: Send,
        failures: list[BaseException],
    ) -> bool:
        if not exchange.started:
            exchange.status = None
        if _says_that_the_client_has_gone(error, exchange.last_send):
            exchange.disconnected = True
            return False
        exchange.answer = None
        exchange.answerable = True
        for on_error in hooks:
            try:
                on_error(exchange, error)
            except BaseException as failure:  # noqa: BLE001 — reported with the exception that it was called for
                failures.append(failure)
            if exchange.answer is not None:
                break
        exchange.answerable = False
        if exchange.answer is None and isinstance(error, BodyTooLarge) and not exchange.started:
            exchange.answer = _TOO_LARGE
        if exchange.answer is None:
            return False
        try:
            await self._answer(exchange, send)
        except BaseException as failure:  # noqa: BLE001 — likewise; a cancellation is raised when all ends have run
            failures.append(failure)
            return False
        return True


class _Entered(NamedTuple):
    """The hooks of those layers that a request has entered, each kind innermost first."""

    starts: tuple[Hook, ...]
    errors: tuple[ErrorHook, ...]
    ends: tuple[Hook, ...]


_TOO_LARGE = Response(413, [(b"content-type", b"text/plain"), (b"content-length", b"17")], b"Content Too Large")
_HTTP_DENIAL = "websocket.http.response"


def _entered(layers: Sequence[object]) -> _Entered:
    def hooks(kind: str) -> tuple[Any, ...]:
        return tuple(hook for layer in reversed(layers) if (hook := getattr(layer, kind, None)) is not None)

    return _Entered(hooks("on_response_start"), hooks("on_error"), hooks("on_end"))


def _join(exchange: Exchange) -> None:
    outer = CURRENT.get(None)
    if outer is None:
        return
    # A layer between the two frames may have copied the scope, or run this in a context of some other request. A copy
    # still holds the request's own header list, or the state that servers copy for each request.
    ours, theirs = exchange.scope, outer.scope
    if ours is theirs or any(
        ours.get(key) is not None and ours[key] is theirs.get(key) for key in ("headers", "state")
    ):
        exchange.outer = outer
        exchange.data = outer.data


def _http_sender(exchange: Exchange, send: Send, starts: tuple[Hook, ...]) -> Send:
    # Plain functions that return the server's awaitable: a coroutine of their own for each message is what makes most
    # of what a layer costs.
    def sending(message: Message) -> Awaitable[None]:
        kind = message["type"]
        if kind == "http.response.body":
            body = message.get("body")
            if body:
                exchange.bytes_sent += len(body)
            if not message.get("more_body"):
                exchange.finished = perf_counter()
        elif kind == "http.response.start":
            if not exchange.started:
                message = _start(exchange, message, starts)
        elif kind == "http.response.pathsend" or (
            kind == "http.response.zerocopysend" and not message.get("more_body")
        ):
            exchange.finished = perf_counter()
        awaitable = exchange.last_send = send(message)
        return awaitable

    return sending


def _websocket_sender(exchange: Exchange, send: Send, starts: tuple[Hook, ...]) -> Send:
    def sending(message: Message) -> Awaitable[None]:
        kind = message["type"]
        if kind == "websocket.send":
            exchange.messages_sent += 1
            exchange.bytes_sent += len(message.get("bytes") or message.get("text") or b"")
        elif kind == "websocket.accept":
            if not exchange.started:
                message = _accept(exchange, message, starts)
        elif kind == "websocket.close":
            if exchange.status is None:
                exchange.status = 403
            _closed(exchange, message, 1000)
        elif kind == "websocket.http.response.start":
            if not exchange.started:
                message = _start(exchange, message, starts)
                exchange.closed = True
        elif kind == "websocket.http.response.body":
            exchange.bytes_sent += len(message.get("body") or b"")
            if not message.get("more_body"):
                exchange.finished = perf_counter()
        awaitable = exchange.last_send = send(message)
        return awaitable

    return sending


def _start(exchange: Exchange, message: Message, starts: tuple[Hook, ...]) -> Message:
    exchange.status = message["status"]
    # The application's own message and headers stay as they are: it may use them again.
    exchange.response_headers = [(name.lower(), value) for name, value in message.get("headers") or ()]
    for on_response_start in starts:
        on_response_start(exchange)
    exchange.started = True
    return {**message, "status": exchange.status, "headers": exchange.response_headers}


def _accept(exchange: Exchange, message: Message, starts: tuple[Hook, ...]) -> Message:
    accepted = _start(exchange, {**message, "status": 101}, starts)
    exchange.status = 101
    del accepted["status"]
    # Servers from before ASGI 2.1 take no headers here, not even none.
    if not exchange.response_headers and "headers" not in message:
        del accepted["headers"]
    return accepted


def _closed(exchange: Exchange, message: Message, default: int) -> None:
    if not exchange.closed:
        exchange.closed = True
        exchange.close_code = message.get("code") or default
        exchange.close_reason = message.get("reason") or ""
        exchange.finished = perf_counter()


def _http_receiver(exchange: Exchange, receive: Receive, _: Send) -> Receive:
    limit = exchange.body_limit

    async def receiving() -> Message:
        message = await receive()
        kind = message["type"]
        if kind == "http.request":
            exchange.bytes_received += len(message.get("body") or b"")
            if limit is not None and exchange.bytes_received > limit:
                raise _body_too_large()(limit)
        elif kind == "http.disconnect" and exchange.finished is None:
            exchange.disconnected = True
        return message

    return receiving


def _websocket_receiver(exchange: Exchange, receive: Receive, send: Send) -> Receive:
    limit = exchange.message_limit

    async def receiving() -> Message:
        message = await receive()
        kind = message["type"]
        if kind == "websocket.receive":
            content = message.get("bytes") or message.get("text") or b""
            exchange.messages_received += 1
            exchange.bytes_received += len(content)
            if limit is not None and _exceeds(content, limit):
                await send({"type": "websocket.close", "code": 1009, "reason": ""})
                return {"type": "websocket.disconnect", "code": 1009, "reason": ""}
        elif kind == "websocket.disconnect":
            exchange.disconnected = exchange.disconnected or not exchange.closed
            _closed(exchange, message, 1005)
        return message

    return receiving


def _exceeds(content: bytes | str, limit: int) -> bool:
    # No character takes more than four bytes: most texts needn't be encoded to know.
    if isinstance(content, str) and len(content) <= limit < 4 * len(content):
        content = content.encode("utf-8", "surrogatepass")
    return len(content) > limit


@cache
def _body_too_large() -> type[BodyTooLarge]:
    # Imported when it is needed: it takes a third of what the rest of the kernel takes.
    from starlette.exceptions import HTTPException

    # Starlette and FastAPI answer what their own exception says, and make 500 and 400 of any other.
    class HTTPBodyTooLarge(BodyTooLarge, HTTPException):
        def __init__(self, limit: int) -> None:
            BodyTooLarge.__init__(self, limit)
            self.detail = "Content Too Large"
            self.headers = None

    return HTTPBodyTooLarge


async def _answer_http(exchange: Exchange, send: Send) -> None:
    await _respond(exchange, send, "http.response")


async def _answer_websocket(exchange: Exchange, send: Send) -> None:
    if isinstance(exchange.answer, Response):
        if _HTTP_DENIAL in (exchange.scope.get("extensions") or ()):
            await _respond(exchange, send, _HTTP_DENIAL)
            return
        exchange.answer = Close(_close_code(exchange.answer.status), "")
    if not exchange.closed:
        code, reason = cast("Close", exchange.answer)
        await send({"type": "websocket.close", "code": code, "reason": reason})


async def _respond(exchange: Exchange, send: Send, kind: str) -> None:
    status, headers, body = cast("Response", exchange.answer)
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})


def _close_code(status: int) -> int:
    if status == 503:
        return 1013
    return 1011 if status >= 500 else 1008


def _says_that_the_client_has_gone(error: Exception, last_send: object) -> bool:
    if any((base.__module__, base.__name__) in _DISCONNECTS for base in type(error).__mro__):
        return True
    # ASGI lets send raise any OSError for it. A database's looks the same, so it must have come through send.
    code: CodeType | None = getattr(last_send, "cr_code", None)
    if code is None or not isinstance(error, OSError):
        return False
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_code is not code:
        traceback = traceback.tb_next
    return traceback is not None


_DISCONNECTS = frozenset(
    (
        ("starlette.requests", "ClientDisconnect"),
        ("starlette.websockets", "WebSocketDisconnect"),
    )
)


def _end(exchange: Exchange, hooks: tuple[Hook, ...]) -> list[BaseException]:
    failures: list[BaseException] = []
    for on_end in hooks:
        try:
            on_end(exchange)
        except BaseException as failure:  # noqa: BLE001 — the others' ends come first, then it is raised
            failures.append(failure)
    return failures


def _leave(exchange: Exchange, token: Token[Exchange]) -> None:
    # An exception leads to this request's frames, and they to the exchange.
    exchange.error = None
    try:
        CURRENT.reset(token)
    except ValueError:
        # A coroutine that is thrown away is closed in somebody else's context, where nothing was set.
        pass


def _outranked(error: BaseException, failures: list[BaseException]) -> bool:
    return isinstance(error, Exception) and _first_fatal(failures) is not None


def _first_fatal(failures: list[BaseException]) -> BaseException | None:
    # A cancellation or an exit that arrives in a hook is meant for the task, and must come out as itself.
    return next((failure for failure in failures if not isinstance(failure, Exception)), None)


def _note(error: BaseException, failures: list[BaseException]) -> None:
    for failure in failures:
        if failure is not error:
            error.add_note("A hook failed while this was under way:\n" + "".join(format_exception(failure)))
    # Nobody's frame may hold what is raised through it.
    failures.clear()


def _raise(failures: list[BaseException]) -> None:
    if not failures:
        return
    error = _first_fatal(failures)
    if error is not None or len(failures) == 1:
        error = error or failures[0]
        _note(error, failures)
    else:
        error = BaseExceptionGroup("several hooks failed", failures)
        failures.clear()
    try:
        raise error
    finally:
        del error
