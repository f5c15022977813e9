"""ASGI cases that every layer, and every stack of layers, must pass.

A case is an async function of a `Rig`, which wraps the application of the case. The rig plays the server, and a strict
one: a violation of the specification fails. Cases run on asyncio and trio. ``CASES`` has all of them by name.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass

import anyio
import anyio.lowlevel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bandmaster.kernel.stack.exchange import Exchange, current_exchange

PATIENCE = 60
"""Seconds until a case that hangs fails, on a machine that is busy."""


@dataclass(frozen=True)
class Rig:
    """The wrapping of a case's application, and the headers that requests need to pass the layers."""

    wrap: Callable[[ASGIApp], ASGIApp]
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Request headers without which a layer would refuse the request, such as credentials."""
    hooks: bool = True
    """Whether a hook layer is among the layers, so that requests have an exchange."""

    def http(self, app: ASGIApp, *body: bytes, **scope: object) -> Server:
        """A request to the wrapped application, with its body in these pieces."""
        pieces = [{"type": "http.request", "body": piece, "more_body": True} for piece in body or (b"",)]
        pieces[-1]["more_body"] = False
        return Server(self.wrap(app), {**http_scope(self.headers), **scope}, pieces)

    def websocket(self, app: ASGIApp, *messages: Message, denial: bool = False) -> Server:
        """A WebSocket to the wrapped application, with the messages of its client."""
        extensions = {"websocket.http.response": {}} if denial else {}
        scope = {**websocket_scope(self.headers), "extensions": extensions}
        return Server(self.wrap(app), scope, [{"type": "websocket.connect"}, *messages])


class Server:
    """A strict server with one client on one connection."""

    def __init__(self, app: ASGIApp, scope: Scope, incoming: Iterable[Message] = ()) -> None:
        self.app = app
        self.scope = scope
        self.sent: list[Message] = []
        self.gone = anyio.Event()
        """Set when the response is complete or the client has left."""
        self.lost = False
        """Whether send raises, as servers may do after the client has left."""
        self.on_sent: Callable[[Message], None] = lambda message: None
        self._incoming = deque(incoming)

    async def run(self) -> None:
        with anyio.fail_after(PATIENCE):
            await self.app(self.scope, self.receive, self.send)

    async def receive(self) -> Message:
        await anyio.lowlevel.checkpoint()
        if self._incoming:
            return self._incoming.popleft()
        await self.gone.wait()
        if self.scope["type"] == "websocket":
            return {"type": "websocket.disconnect", "code": 1005, "reason": ""}
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await anyio.lowlevel.checkpoint()
        if self.lost:
            raise ClientLostError
        self._check(message["type"])
        if message["type"].endswith(".start") or (message["type"] == "websocket.accept" and "headers" in message):
            # Like a server, this reads a generator once.
            headers = [(name, value) for name, value in message.get("headers", ())]
            assert all(isinstance(part, bytes) for pair in headers for part in pair)
            message = {**message, "headers": headers}
        self.sent.append(message)
        if message["type"] in ENDS and not message.get("more_body") and not message.get("more_trailers"):
            if not self.first("http.response.start").get("trailers") or message["type"] == "http.response.trailers":
                self.gone.set()
        self.on_sent(message)

    def _check(self, kind: str) -> None:
        kinds = [message["type"] for message in self.sent]
        assert not (kind in STARTS and set(kinds) & STARTS), f"{kind} after {kinds}"
        assert not (self.gone.is_set() and kind.startswith("http.response.")), f"{kind} after the end"
        if kind in ("http.response.body", "http.response.trailers", "http.response.pathsend"):
            assert "http.response.start" in kinds, f"{kind} before the start"
        if kind == "websocket.send":
            assert "websocket.accept" in kinds, f"{kind} before accept"
        assert not (kind.startswith("websocket.") and "websocket.close" in kinds), f"{kind} after close"

    def of(self, kind: str) -> list[Message]:
        """The messages of one type that were sent."""
        return [message for message in self.sent if message["type"] == kind]

    def first(self, kind: str) -> Message:
        return next(iter(self.of(kind)), {})

    @property
    def status(self) -> int | None:
        return self.first("http.response.start").get("status")

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return list(self.first("http.response.start").get("headers", ()))

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.of("http.response.body"))


class EmptyHooks:
    """A hook layer that does nothing but give both protocols an exchange, beside a layer for one protocol."""

    def on_end(self, exchange: Exchange) -> None:
        """Do nothing."""


class ClientLostError(OSError):
    """The exception that the specification lets a server raise from send after the client has left."""


STARTS = {"http.response.start", "websocket.accept", "websocket.http.response.start"}
ENDS = {
    "http.response.body",
    "http.response.trailers",
    "http.response.pathsend",
    "http.response.zerocopysend",
    "websocket.close",
    "websocket.http.response.body",
}


def http_scope(headers: Iterable[tuple[bytes, bytes]] = ()) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"testserver"), *headers],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
        "extensions": {},
        "state": {},
    }


def websocket_scope(headers: Iterable[tuple[bytes, bytes]] = ()) -> Scope:
    scope = http_scope(headers) | {"type": "websocket", "scheme": "ws", "subprotocols": ["chat"]}
    del scope["method"]
    return scope


async def start_without_headers(rig: Rig) -> None:
    """A response start may leave out its headers."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    server = rig.http(app)
    await server.run()
    assert (server.status, server.body) == (204, b"")


async def headers_of_any_kind(rig: Rig) -> None:
    """Headers may be any iterable of any pairs, and may be read once."""

    def generator() -> Iterator[tuple[bytes, bytes]]:
        yield from pairs

    pairs = [(b"x-one", b"1"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    for make in (lambda: tuple(pairs), generator, lambda: [list(pair) for pair in pairs], lambda: dict(pairs).items()):

        async def app(scope: Scope, receive: Receive, send: Send, make=make) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": make()})
            await send({"type": "http.response.body", "body": b"ok"})

        server = rig.http(app)
        await server.run()
        expected = [tuple(pair) for pair in make()]
        assert [pair for pair in server.headers if pair in expected] == expected
        assert server.body == b"ok"


async def own_objects_untouched(rig: Rig) -> None:
    """An application may send the same messages and the same list of headers again."""
    headers = [(b"content-type", b"text/plain"), (b"vary", b"accept")]
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    body = {"type": "http.response.body", "body": b"ok", "more_body": False}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start)
        await send(body)

    counts = []
    for _ in range(3):
        server = rig.http(app)
        await server.run()
        counts.append(len(server.headers))
    assert headers == [(b"content-type", b"text/plain"), (b"vary", b"accept")]
    assert start == {"type": "http.response.start", "status": 200, "headers": headers}
    assert start["headers"] is headers
    assert body == {"type": "http.response.body", "body": b"ok", "more_body": False}
    assert len(set(counts)) == 1


async def trailers(rig: Rig) -> None:
    """Trailers pass, and so does the field in the start that announces them."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b"ok"})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": False})

    server = rig.http(app, extensions={"http.response.trailers": {}})
    await server.run()
    assert server.first("http.response.start")["trailers"] is True
    assert server.of("http.response.trailers")[0]["headers"] == [(b"x-sum", b"1")]


async def first_chunk_at_once(rig: Rig) -> None:
    """The first piece of a stream reaches the client before the second is made."""
    arrived = anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await arrived.wait()
        await send({"type": "http.response.body", "body": b"two", "more_body": False})

    server = rig.http(app)
    server.on_sent = lambda message: arrived.set() if message.get("body") == b"one" else None
    await server.run()
    assert [message["body"] for message in server.of("http.response.body")] == [b"one", b"two"]


async def files_by_path(rig: Rig) -> None:
    """Files that the server sends by itself pass unchanged."""
    for message in (
        {"type": "http.response.pathsend", "path": "/etc/hostname"},
        {"type": "http.response.zerocopysend", "file": 7, "count": 3, "more_body": False},
    ):

        async def app(scope: Scope, receive: Receive, send: Send, message=message) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send(message)

        server = rig.http(app, extensions={message["type"]: {}})
        await server.run()
        assert server.sent[-1] is message


async def hints_before_the_start(rig: Rig) -> None:
    """Early hints, pushes and debug messages pass, and don't count as the start of a response."""
    hints = [
        {"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]},
        {"type": "http.response.push", "path": "/style.css", "headers": []},
        {"type": "http.response.debug", "info": {"template": "x"}},
    ]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for hint in hints:
            await send(hint)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    server = rig.http(app, extensions={hint["type"]: {} for hint in hints})
    await server.run()
    assert all(sent is hint for sent, hint in zip(server.sent, hints, strict=False))
    assert (server.status, server.body) == (200, b"ok")


async def unknown_messages(rig: Rig) -> None:
    """Messages of unknown types pass as the same object, in both directions and both protocols."""
    received: list[Message] = []
    from_app = [{"type": "http.response.unheard_of", "x": object()}, {"type": "websocket.unheard_of", "x": object()}]
    from_server = [{"type": "http.unheard_of", "x": object()}, {"type": "websocket.novelty", "x": object()}]

    async def http(scope: Scope, receive: Receive, send: Send) -> None:
        """A request to the wrapped application, with its body in these pieces."""
        received.append(await receive())
        await send(from_app[0])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    async def websocket(scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket to the wrapped application, with the messages of its client."""
        await receive()
        received.append(await receive())
        await send(from_app[1])
        await send({"type": "websocket.close"})

    server = Server(rig.wrap(http), http_scope(rig.headers), [from_server[0]])
    await server.run()
    assert (server.sent[0] is from_app[0], received[0] is from_server[0]) == (True, True)
    server = rig.websocket(websocket, from_server[1])
    await server.run()
    assert (server.sent[0] is from_app[1], received[1] is from_server[1]) == (True, True)


async def request_body_in_pieces(rig: Rig) -> None:
    """A body arrives in the pieces in which it was sent, and then comes nothing until the disconnect."""
    received: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while not received or received[-1]["more_body"]:
            received.append(await receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
        received.append(await receive())

    await rig.http(app, b"one", b"", b"two", method="POST").run()
    assert [message.get("body") for message in received] == [b"one", b"", b"two", None]
    assert [message.get("more_body") for message in received] == [True, True, False, None]
    assert received[-1] == {"type": "http.disconnect"}


async def websocket_conversation(rig: Rig) -> None:
    """A WebSocket is accepted with its headers and subprotocol, carries text and bytes, and closes with its reason."""
    received: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert await receive() == {"type": "websocket.connect"}
        await send({"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"x-room", b"1")]})
        for _ in range(2):
            received.append(await receive())
            await send({**received[-1], "type": "websocket.send"})
        await send({"type": "websocket.close", "code": 3001, "reason": "enough"})
        received.append(await receive())

    text, data = {"type": "websocket.receive", "text": "hé"}, {"type": "websocket.receive", "bytes": b"\x00\x01"}
    server = rig.websocket(app, text, data)
    await server.run()
    accepted, *echoes, closed = server.sent
    assert (accepted["type"], accepted["subprotocol"]) == ("websocket.accept", "chat")
    assert (b"x-room", b"1") in accepted["headers"]
    assert echoes == [{**text, "type": "websocket.send"}, {**data, "type": "websocket.send"}]
    assert closed == {"type": "websocket.close", "code": 3001, "reason": "enough"}
    assert received == [text, data, {"type": "websocket.disconnect", "code": 1005, "reason": ""}]


async def websocket_bare_accept(rig: Rig) -> None:
    """An accept may leave out the headers and the subprotocol, and the client may close."""
    received: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        received.append(await receive())

    goodbye = {"type": "websocket.disconnect", "code": 4000, "reason": "bye"}
    server = rig.websocket(app, goodbye)
    await server.run()
    assert [message["type"] for message in server.sent] == ["websocket.accept"]
    assert received == [goodbye]


async def websocket_refused(rig: Rig) -> None:
    """An application refuses a WebSocket by a close before the accept, or by a response if the server supports one."""

    async def closing(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 3000, "reason": "no"})

    async def denying(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-why", b"no")]})
        await send({"type": "websocket.http.response.body", "body": b"who", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"?"})

    server = rig.websocket(closing)
    await server.run()
    assert server.sent == [{"type": "websocket.close", "code": 3000, "reason": "no"}]
    server = rig.websocket(denying, denial=True)
    await server.run()
    start, *pieces = server.sent
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
    assert (b"x-why", b"no") in start["headers"]
    assert [piece["body"] for piece in pieces] == [b"who", b"?"]


async def exception_before_start(rig: Rig) -> None:
    """An exception either goes on, or becomes one complete 500."""
    error = RuntimeError("boom")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    server = rig.http(app)
    raised = await _run_and_catch(server)
    if raised is None:
        assert server.status == 500
        assert server.gone.is_set()
    else:
        assert (raised is error, server.sent) == (True, [])


async def exception_after_start(rig: Rig) -> None:
    """An exception after the start goes on unchanged, and nothing more is sent."""
    error = RuntimeError("boom")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise error

    server = rig.http(app)
    assert await _run_and_catch(server) is error
    assert (error.__cause__, error.__context__) == (None, None)
    assert [message["type"] for message in server.sent] == ["http.response.start", "http.response.body"]


async def websocket_exception(rig: Rig) -> None:
    """An exception of a WebSocket goes on, or is answered by a close."""
    for accepting in (False, True):
        error = RuntimeError("boom")

        async def app(scope: Scope, receive: Receive, send: Send, accepting=accepting, error=error) -> None:
            await receive()
            if accepting:
                await send({"type": "websocket.accept"})
            raise error

        server = rig.websocket(app)
        raised = await _run_and_catch(server)
        answers = server.sent[1:] if accepting else server.sent
        if raised is None:
            assert [message["type"] for message in answers] == ["websocket.close"]
        else:
            assert (raised is error, answers) == (True, [])


async def client_disconnect(rig: Rig) -> None:
    """The application is notified when a client disconnects during a stream, and there is no 500."""
    received: list[Message] = []

    async def listening(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        received.append(await receive())

    server = rig.http(listening)
    server.on_sent = lambda message: server.gone.set() if message.get("body") == b"one" else None
    await server.run()
    assert received == [{"type": "http.disconnect"}]
    assert server.status == 200

    async def sending(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        server.lost = True
        await send({"type": "http.response.body", "body": b"one", "more_body": True})

    server = rig.http(sending)
    assert isinstance(await _run_and_catch(server), ClientLostError)
    assert [message["type"] for message in server.sent] == ["http.response.start"]


async def background_work(rig: Rig) -> None:
    """Background work is done after the response, in the context of the request."""
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        _marked.set("mine")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
        await anyio.sleep(0.01)
        seen.extend((_marked.get(None), _path_of_current()))

    server = rig.http(app, path="/work")
    await server.run()
    assert server.body == b"ok"
    assert seen == ["mine", "/work" if rig.hooks else None]


async def contexts_apart(rig: Rig) -> None:
    """Concurrent requests and WebSockets never see each other's exchange, and leave none behind."""
    paths = [f"/{number}" for number in range(5)]
    seen: list[tuple[str, object]] = []
    waiting = 0
    all_met = anyio.Event()

    async def meet() -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 2 * len(paths):
            all_met.set()
        await all_met.wait()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
        await meet()
        seen.append((scope["path"], _path_of_current()))
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body"})

    wrapped = rig.wrap(app)

    async def visit(scope: Scope, incoming: list[Message]) -> None:
        await Server(wrapped, scope, incoming).run()
        assert current_exchange() is None

    async with anyio.create_task_group() as tasks:
        for path in paths:
            tasks.start_soon(visit, http_scope(rig.headers) | {"path": path}, [{"type": "http.request"}])
            tasks.start_soon(visit, websocket_scope(rig.headers) | {"path": path}, [{"type": "websocket.connect"}])
    assert sorted(seen) == sorted(2 * [(path, path if rig.hooks else None) for path in paths])
    assert current_exchange() is None


async def cancellation(rig: Rig) -> None:
    """A cancelled request ends as cancelled, in the application and outside, without a response."""
    started = anyio.Event()
    ends: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            ends.append("cancelled")
            raise

    server = rig.http(app)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.run)
        await started.wait()
        tasks.cancel_scope.cancel()
    assert tasks.cancel_scope.cancelled_caught
    assert (ends, server.sent) == (["cancelled"], [])
    assert current_exchange() is None


async def scope_kept(rig: Rig) -> None:
    """The server's scope is unchanged, and the application's scope has the same state."""
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    server = rig.http(app)
    before = dict(server.scope)
    await server.run()
    assert server.scope == before
    assert seen[0]["state"] is before["state"]
    assert {key: seen[0][key] for key in before} == before


async def lifespan_past_the_layers(rig: Rig) -> None:
    """Lifespan reaches the application with the server's own scope, receive and send."""
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend((scope, receive, send, current_exchange()))

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        pass

    scope = {"type": "lifespan", "state": {}}
    await rig.wrap(app)(scope, receive, send)
    assert seen == [scope, receive, send, None]
    assert seen[0] is scope
    assert scope == {"type": "lifespan", "state": {}}


Case = Callable[[Rig], Awaitable[None]]

CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        start_without_headers,
        headers_of_any_kind,
        own_objects_untouched,
        trailers,
        first_chunk_at_once,
        files_by_path,
        hints_before_the_start,
        unknown_messages,
        request_body_in_pieces,
        websocket_conversation,
        websocket_bare_accept,
        websocket_refused,
        exception_before_start,
        exception_after_start,
        websocket_exception,
        client_disconnect,
        background_work,
        contexts_apart,
        cancellation,
        scope_kept,
        lifespan_past_the_layers,
    )
}

_marked: ContextVar[str] = ContextVar("marked")


def _path_of_current() -> str | None:
    exchange = current_exchange()
    return None if exchange is None else exchange.path


async def _run_and_catch(server: Server) -> BaseException | None:
    try:
        await server.run()
    except Exception as error:
        return error
    return None
