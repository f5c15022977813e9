"""A client for ASGI applications in the same event loop, without a network."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import Context, copy_context
from functools import partial
from typing import Any, TypeAlias, TypedDict, Unpack
from urllib.parse import quote, unquote, urlencode, urlsplit

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup
from starlette.types import ASGIApp, Message, Scope

from bandmaster.kernel.testing.calls import Call, HTTPCall, SocketCall, within
from bandmaster.kernel.testing.mailbox import Closed
from bandmaster.kernel.testing.messages import Headers, HeadersLike, Response, encode_headers
from bandmaster.kernel.testing.websocket import WebSocket

Params: TypeAlias = "Mapping[str, Any] | Iterable[tuple[str, Any]]"
Content: TypeAlias = "str | bytes | Iterable[bytes] | AsyncIterable[bytes]"

_ERROR = Response(
    500, Headers([(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]), b"Internal Server Error"
)
"""What a server answers for an application that raises before it has answered."""


class Addressing(TypedDict, total=False):
    """What HTTP requests and WebSockets have in common."""

    params: Params
    """The query, in addition to the path's own."""
    headers: HeadersLike
    scope: Mapping[str, Any]
    """Keys of the ASGI scope that are to be other than usual: ``client``, ``root_path``, ``extensions``, ``asgi``."""
    timeout: float | None
    """Seconds; none waits for ever."""


class RequestOptions(Addressing, total=False):
    """What a request may have beside method and path."""

    json: Any
    data: Params
    """A form."""
    content: Content
    """The body. Each item of an iterable is a message of its own, sent when the application asks for it."""


class ResponseCutError(ConnectionError):
    """The application broke its response off; a client sees the connection closed.

    ``response`` is what had come.
    """

    def __init__(self, message: str, response: Response) -> None:
        super().__init__(message)
        self.response = response


@asynccontextmanager
async def connect(
    app: ASGIApp,
    *,
    base_url: str = "http://testserver",
    headers: HeadersLike = (),
    state: Mapping[str, Any] | None = None,
    timeout: float | None = 10.0,  # noqa: ASYNC109  # of every step that the client takes
    raise_app_exceptions: bool = True,
) -> AsyncGenerator[Client, None]:
    """A client for an ASGI application that runs already, or that needs no start.

    Each request is served in a task of its own, with context variables of its own. At the end all clients go away,
    and what is then still served is cancelled.

    ``headers`` come with every request. ``timeout``, in seconds, bounds each request, and each step of a stream or
    WebSocket. What the application raises is raised here, unless ``raise_app_exceptions`` is off: then the client sees
    what a server makes of it.

    ```python
    async with connect(app) as client:
        response = await client.get("/items", params={"page": 2})
        assert response.status == 200
    ```
    """
    client = Client(
        app,
        base_url=base_url,
        headers=headers,
        state=state,
        timeout=timeout,
        raise_app_exceptions=raise_app_exceptions,
    )
    ended_by: BaseException | None = None
    async with anyio.create_task_group() as client.tasks:
        try:
            yield client
        except BaseException as error:  # noqa: BLE001  # raised again below: a task group would make a group of it
            ended_by = error
        client.close()
        client.tasks.cancel_scope.cancel()
    try:
        raise_all(ended_by, client.unheard())
    finally:
        del ended_by


def raise_all(first: BaseException | None, others: Iterable[tuple[Call, BaseException]]) -> None:
    """Raise what a body ended by, with notes on what else there was; else whatever there was."""
    found = [(call, error) for call, error in others if error is not first]
    try:
        if first is not None:
            for call, error in found:
                first.add_note(f"{call.what}: the application raised {type(error).__name__}: {error}")
            raise first
        for call, error in found:
            error.add_note(f"while serving {call.what}, which nobody waited for any more")
        if len(found) == 1:
            raise found[0][1]
        if found:
            raise BaseExceptionGroup("requests failed that nobody waited for any more", [error for _, error in found])
    finally:
        del first, found, others  # a frame that holds the exception it raises is a cycle


class Client:
    """Sends HTTP requests and opens WebSockets. `connect` makes one.

    Cookies that responses set are kept in ``cookies``, by name, and sent with every request. Redirects aren't followed.
    """

    tasks: TaskGroup
    """In which the application is served."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        base_url: str = "http://testserver",
        headers: HeadersLike = (),
        state: Mapping[str, Any] | None = None,
        timeout: float | None = 10.0,
        raise_app_exceptions: bool = True,
    ) -> None:
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"base_url: expected something like 'https://example.org', got {base_url!r}")
        self.timeout = timeout
        self.raise_app_exceptions = raise_app_exceptions
        self.cookies: dict[str, str] = {}
        self._app = app
        self._scheme = url.scheme
        self._server = (url.hostname, url.port or (443 if url.scheme == "https" else 80))
        self._headers = [(b"host", url.netloc.encode()), (b"accept", b"*/*"), (b"user-agent", b"bandmaster-testing")]
        self._headers = _merged(self._headers, encode_headers(headers))
        self._state = state or {}
        # A request mustn't see the context variables of the test, nor those of the request before it.
        self._neutral: Context = copy_context()
        self._calls: list[Call] = []
        self._closed = False

    async def get(self, path: str, **options: Unpack[RequestOptions]) -> Response:
        """Send a GET; see `request`."""
        return await self.request("GET", path, **options)

    async def head(self, path: str, **options: Unpack[RequestOptions]) -> Response:
        """Send a HEAD; see `request`."""
        return await self.request("HEAD", path, **options)

    async def options(self, path: str, **options: Unpack[RequestOptions]) -> Response:
        """Send an OPTIONS; see `request`."""
        return await self.request("OPTIONS", path, **options)

    async def post(self, path: str, **options: Unpack[RequestOptions]) -> Response:
        """Send a POST; see `request`."""
        return await self.request("POST", path, **options)

    async def put(self, path: str, **options: Unpack[RequestOptions]) -> Response:
        """Send a PUT; see `request`."""
        return await self.request("PUT", path, **options)

    async def patch(self, path: str, **options: Unpack[RequestOptions]) -> Response:
        """Send a PATCH; see `request`."""
        return await self.request("PATCH", path, **options)

    async def delete(self, path: str, **options: Unpack[RequestOptions]) -> Response:
        """Send a DELETE; see `request`."""
        return await self.request("DELETE", path, **options)

    async def request(self, method: str, path: str, **options: Unpack[RequestOptions]) -> Response:
        """Send a request and wait for the whole response, background tasks included.

        If the wait is cancelled the client goes away, and the application goes on as it does on a server.

        Raises:
            TimeoutError: it took too long; the message says what was missing and where the application stood.
            ResponseCutError: the response broke off (only without ``raise_app_exceptions``).
        """
        call = self._request(method, path, options)
        response = StreamedResponse(self, call)
        try:
            with within(self._timeout(options), lambda: response.expectation()):
                await response.start()
                await response.read()
                await call.over.wait()
        finally:
            call.leave()
        self._raise_error_of(call)
        return response.whole()

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, **options: Unpack[RequestOptions]
    ) -> AsyncGenerator[StreamedResponse, None]:
        """Send a request and read the response as it comes; the client goes away at the end of the block.

        ```python
        async with client.stream("GET", "/events") as response:
            first = await response.receive()
        ```

        Raises:
            TimeoutError: a step took too long.
            ResponseCutError: the response broke off (only without ``raise_app_exceptions``).
        """
        call = self._request(method, path, options)
        response = StreamedResponse(self, call, self._timeout(options))
        ended_by: BaseException | None = None
        try:
            await response.start()
            yield response
            await response.disconnect()
            await self.finish(call, self._timeout(options))
        except BaseException as error:  # noqa: BLE001  # raised again, with what the application says of it
            ended_by = error
        call.leave()
        try:
            raise_all(ended_by, self.taken(call))
        finally:
            del ended_by

    def websocket(
        self, path: str, *, subprotocols: Iterable[str] = (), **options: Unpack[Addressing]
    ) -> AbstractAsyncContextManager[WebSocket]:
        """Open a WebSocket; it is closed at the end of the block, unless it is before.

        ```python
        async with client.websocket("/chat", subprotocols=["v2"]) as socket:
            await socket.send_text("hello")
            assert await socket.receive_text() == "hello yourself"
        ```

        Raises:
            WebSocketRefused: the application didn't accept it.
            WebSocketClosed: the application closed it, and more was expected.
            TimeoutError: a step took too long.
        """
        offered = list(subprotocols)
        usual = [
            (b"connection", b"Upgrade"),
            (b"upgrade", b"websocket"),
            (b"sec-websocket-version", b"13"),
            (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        ]
        if offered:
            usual.append((b"sec-websocket-protocol", ", ".join(offered).encode("latin-1")))
        scope = self._scope(
            path,
            options,
            usual,
            type="websocket",
            scheme="wss" if self._scheme == "https" else "ws",
            subprotocols=offered,
            asgi={"version": "3.0", "spec_version": "2.4"},
            extensions={"websocket.http.response": {}},
        )
        return self._opened(scope, self._timeout(options))

    @asynccontextmanager
    async def _opened(self, scope: Scope, timeout: float | None) -> AsyncIterator[WebSocket]:  # noqa: ASYNC109
        call = SocketCall(f"WebSocket {scope['path']}", self._app, scope)
        self._begin(call)
        socket = WebSocket(call, timeout, raise_app_exceptions=self.raise_app_exceptions)
        ended_by: BaseException | None = None
        try:
            await socket.handshake()
            yield socket
            await socket.close()
            call.leave()
            await self.finish(call, timeout)
        except BaseException as error:  # noqa: BLE001  # raised again, with what the application says of it
            ended_by = error
        call.leave()
        try:
            raise_all(ended_by, self.taken(call))
        finally:
            del ended_by

    async def wait_idle(self) -> None:
        """Wait until nothing is served any more, also of what the clients have left.

        Raises:
            TimeoutError: it took too long; the message names what is still served.
        """
        with within(self.timeout, lambda: f"{self._served()} did not end"):
            for call in self._calls:
                await call.over.wait()

    def _served(self) -> str:
        return ", ".join(call.what for call in self._calls if not call.over.is_set())

    # -- what streams and sockets ask for ----------------------------------------------------------------------

    async def finish(self, call: Call, timeout: float | None) -> None:  # noqa: ASYNC109
        """Wait until the application is done with a call whose client has gone.

        Raises:
            TimeoutError: it goes on.
        """
        with within(timeout, lambda: f"{call.what}: the application did not end{call.where()}"):
            await call.over.wait()

    def taken(self, call: Call) -> list[tuple[Call, BaseException]]:
        """What the application raised, if the test should hear of it."""
        error = call.take_error()
        return [(call, error)] if error is not None and self.raise_app_exceptions else []

    def unheard(self) -> list[tuple[Call, BaseException]]:
        """What the application raised in calls that nobody waited for."""
        return [pair for call in self._calls for pair in self.taken(call)]

    def close(self) -> None:
        """All clients go away, and what is still served is cancelled."""
        self._closed = True
        for call in self._calls:
            call.leave()
            call.cancel()

    def keep_cookies(self, response: Response) -> None:
        """Remember what a response sets."""
        for name, value in response.cookies.items():
            if value:
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)

    def _raise_error_of(self, call: Call) -> None:
        for _, error in self.taken(call):
            try:
                raise error
            finally:
                del error

    # -- requests ----------------------------------------------------------------------------------------------

    def _timeout(self, options: Addressing) -> float | None:
        return options.get("timeout", self.timeout)

    def _request(self, method: str, path: str, options: RequestOptions) -> HTTPCall:
        content, headers = _content(options)
        scope = self._scope(path, options, headers, type="http", method=method.upper())
        call = HTTPCall(f"{scope['method']} {scope['path']}", self._app, scope)
        self._begin(call)
        if isinstance(content, bytes):
            call.inbox.put({"type": "http.request", "body": content, "more_body": False})
        else:
            self.tasks.start_soon(call.feed, content, name=f"the body of {call.what}")
        return call

    def _begin(self, call: Call) -> None:
        if self._closed:
            raise RuntimeError("the client is closed: what it was connected to has stopped")
        self._calls = [other for other in self._calls if not other.over.is_set() or other.error is not None]
        self._calls.append(call)
        self._neutral.copy().run(partial(self.tasks.start_soon, call.run, name=call.what))

    def _scope(self, path: str, options: Addressing, usual: list[tuple[bytes, bytes]], **further: Any) -> Scope:
        if not path.startswith("/"):
            raise ValueError(f"path: expected something that starts with '/', got {path!r}")
        path, _, query = path.partition("?")
        params = urlencode(_pairs(options.get("params", ())))
        if self.cookies:
            cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            usual = [*usual, (b"cookie", cookies.encode("latin-1"))]
        return {
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "scheme": self._scheme,
            "path": unquote(path),
            "raw_path": quote(path, safe="/%:@!$&'()*+,;=~").encode(),
            "query_string": "&".join(filter(None, (query, params))).encode("latin-1"),
            "root_path": "",
            "headers": _merged([*self._headers, *usual], encode_headers(options.get("headers", ()))),
            "client": ("127.0.0.1", 50000),
            "server": self._server,
            "state": dict(self._state),
            **further,
            **options.get("scope", {}),
        }


class StreamedResponse:
    """A response that is read as it comes: ``async for chunk in response``."""

    def __init__(self, client: Client, call: HTTPCall, timeout: float | None = None) -> None:
        self.status = 0
        self.headers = Headers()
        self.complete = False
        """Whether all of it has been read."""
        self._client = client
        self._call = call
        self._timeout = timeout
        self._messages: list[Message] = []
        self._body: list[bytes] = []

    async def start(self) -> None:
        """Wait for status and headers."""
        message = await self._next()
        if message is None:
            self._broken_off(_ERROR)
            self.status, self.headers, self._body = _ERROR.status, _ERROR.headers, [_ERROR.body]
            self.complete = True
            return
        self.status, self.headers = message["status"], Headers(message.get("headers", ()))
        self._client.keep_cookies(Response(self.status, self.headers, b""))

    async def receive(self) -> bytes:
        """The next chunk of the body, as the application sent it; empty when the body has ended.

        Raises:
            TimeoutError: it took too long.
            ResponseCutError: the response broke off (only without ``raise_app_exceptions``).
        """
        while not self.complete:
            message = await self._next()
            if message is None:
                self._broken_off(self.whole())
                raise ResponseCutError(f"{self._call.what}: the response broke off", self.whole())
            chunk: bytes = self._take(message)
            if chunk:
                return chunk
        return b""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks()

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        while chunk := await self.receive():
            yield chunk

    async def read(self) -> bytes:
        """The rest of the body."""
        return b"".join([chunk async for chunk in self])

    async def disconnect(self) -> None:
        """Go away, also in the middle of the response."""
        self._call.leave()
        self.complete = True
        await anyio.lowlevel.checkpoint()

    def whole(self) -> Response:
        """What has come so far, as a `Response`."""
        return Response(self.status, self.headers, b"".join(self._body), tuple(self._messages))

    def expectation(self) -> str:
        """What a timeout says."""
        call = self._call
        if not self.status:
            missing = "no response"
        elif not self.complete:
            come = sum(map(len, self._body))
            missing = f"its response didn't end ({come} bytes have come; stream() reads what has no end)"
        else:
            missing = "the response came, but the application went on"
        return f"{call.what}: {missing}{call.where()}"

    def _take(self, message: Message) -> bytes:
        match message["type"]:
            case "http.response.body":
                self.complete = not message.get("more_body", False) and not self._messages[0].get("trailers")
            case "http.response.trailers":
                self.complete = not message.get("more_trailers", False)
            case "http.response.pathsend":
                self.complete = True
        # RFC 9110, 9.3.2: a response to HEAD has no content, whatever the application sends.
        chunk: bytes = message.get("body", b"") if self._call.scope["method"] != "HEAD" else b""
        if chunk:
            self._body.append(chunk)
        return chunk

    async def _next(self) -> Message | None:
        try:
            with within(self._timeout, self.expectation):
                message = await self._call.outbox.get()
        except Closed:
            return None
        self._messages.append(message)
        return message

    def _broken_off(self, so_far: Response) -> None:
        """Raise why there is no more, where there is a reason that the test should hear of."""
        if self._call.feeding_failed is not None:
            raise self._call.feeding_failed
        for _, error in self._client.taken(self._call):
            try:
                raise error
            finally:
                del error
        if self._client.raise_app_exceptions:
            raise ResponseCutError(f"{self._call.what}: the call was cancelled", so_far)


def _pairs(params: Params) -> list[tuple[str, str]]:
    pairs: Any = params.items() if isinstance(params, Mapping) else params
    return [
        (name, str(each)) for name, value in pairs for each in (value if isinstance(value, (list, tuple)) else [value])
    ]


def _content(options: RequestOptions) -> tuple[Any, list[tuple[bytes, bytes]]]:
    given = [name for name in ("json", "data", "content") if name in options]
    if len(given) > 1:
        raise ValueError(f"{given[1]}: a request has one body, and {given[0]} is given, too")
    kind = b""
    content: Any = options.get("content", b"")
    if "json" in options:
        content, kind = json.dumps(options["json"]), b"application/json"
    elif "data" in options:
        content, kind = urlencode(_pairs(options["data"])), b"application/x-www-form-urlencoded"
    if isinstance(content, str):
        content = content.encode()
    headers = [(b"content-type", kind)] if kind else []
    if not isinstance(content, bytes):
        headers.append((b"transfer-encoding", b"chunked"))
    elif given:
        headers.append((b"content-length", str(len(content)).encode()))
    return content, headers


def _merged(usual: Iterable[tuple[bytes, bytes]], given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    given = list(given)
    names = {name for name, _ in given}
    return [*(pair for pair in usual if pair[0] not in names), *given]
