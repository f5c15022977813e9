"""An httpx2 transport that calls an ASGI application in the same event loop and streams both bodies."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import anyio
import httpx2
from starlette.types import Message, Scope

from bandmaster.kernel.testing.calls import Calls, add_notes, raise_first
from bandmaster.kernel.testing.http_call import BODY_EXTENSION, HTTPCall
from bandmaster.kernel.testing.mailbox import Closed
from bandmaster.kernel.testing.timeouts import fail_after

_PORTS = {"http": 80, "https": 443}
_WHOLE = "bandmaster_whole_response"


def make_client(calls: Calls, base_url: str, headers: Any) -> httpx2.AsyncClient:
    """A client of the application; the connection closes the client."""
    return _Client(transport=ASGITransport(calls), base_url=base_url, headers=headers, timeout=calls.timeout)


class _Client(httpx2.AsyncClient):
    async def send(
        self,
        request: httpx2.Request,
        *,
        stream: bool = False,
        auth: Any = httpx2.USE_CLIENT_DEFAULT,
        follow_redirects: Any = httpx2.USE_CLIENT_DEFAULT,
    ) -> httpx2.Response:
        # httpx2's timeout bounds each step. A response without end would keep a test waiting for ever, chunk by chunk.
        request.extensions = {**request.extensions, _WHOLE: not stream}
        return await super().send(request, stream=stream, auth=auth, follow_redirects=follow_redirects)


class ASGITransport(httpx2.AsyncBaseTransport):
    """Calls the application for each request, in a task of its own."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request, and return the response when it has started.

        The application raises here. Without ``raise_app_exceptions`` the response is the one that a server sends.

        Raises:
            httpx2.ReadTimeout: no response came; the message shows where the application waits.
            httpx2.RemoteProtocolError: the response broke off.
            httpx2.UnsupportedProtocol: the URL isn't one of http or https.
        """
        if request.url.scheme not in _PORTS or not request.url.host:
            raise httpx2.UnsupportedProtocol(
                f"expected a URL like 'http://testserver/items', got {str(request.url)!r}; "
                "websocket() opens WebSockets, and base_url completes a path",
                request=request,
            )
        call = HTTPCall(f"{request.method} {request.url.path}", self._calls.app, build_scope(request, self._calls))
        self._calls.start(call)
        body = ResponseBody(call, self._calls, request)
        try:
            if isinstance(request.stream, httpx2.ByteStream):
                content = await request.aread()
                call.inbox.put({"type": "http.request", "body": content, "more_body": False})
            else:
                assert isinstance(request.stream, httpx2.AsyncByteStream)
                self._calls.tasks.start_soon(call.feed, request.stream, name=f"the body of {call.name}")
            status, headers = await body.receive_start()
        except BaseException:
            call.leave()
            raise
        extensions = {"http_version": b"HTTP/1.1", "asgi_messages": body.messages, BODY_EXTENSION: body}
        return httpx2.Response(status, headers=headers, stream=body, extensions=extensions, request=request)


class ResponseBody(httpx2.AsyncByteStream):
    """The body of a response, in the chunks that the application sends."""

    def __init__(self, call: HTTPCall, calls: Calls, request: httpx2.Request) -> None:
        self.messages: list[Message] = []
        """The ASGI messages of the response."""
        self._call = call
        self._calls = calls
        self._request = request
        self._timeout = read_timeout(request)
        self._began = anyio.current_time()
        self._handled_before = sys.exception()
        self._started = False
        self._trailers = False
        self._received = 0
        self._ready: list[bytes] = []
        """The body of the response that a server sends in the place of an application that has failed."""
        self._complete = False

    async def receive_start(self) -> tuple[int, list[tuple[bytes, bytes]]]:
        """The status and the headers."""
        while (message := await self._next_message()) is not None:
            if message["type"] == "http.response.start":
                self._started, self._trailers = True, bool(message.get("trailers"))
                return message["status"], list(message.get("headers", ()))
        self._raise_reason()
        self._complete = True
        self._ready = [] if self._request.method == "HEAD" else [b"Internal Server Error"]
        return 500, [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]

    async def receive(self) -> bytes:
        """The next chunk; empty when the body and the application have ended."""
        if self._ready:
            return self._ready.pop()
        while not self._complete:
            message = await self._next_message()
            if message is None:
                self._raise_reason()
                raise self._broken_off(f"the response broke off after {self._received} bytes")
            if chunk := self._take_chunk(message):
                return chunk
        # A response is over when its background tasks are.
        await self._wait(self._call.ended.wait)
        raise_first(self._calls.take_errors(self._call))
        return b""

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        while chunk := await self.receive():
            yield chunk

    async def aclose(self) -> None:
        """Disconnect the client, and wait until the application has ended."""
        self._call.leave()
        # httpx2 closes a response in a `finally`, where an exception of the test may be on its way. The test's own
        # exception is the one to raise, and isn't delayed by the application.
        on_its_way = sys.exception()
        if on_its_way is not None and on_its_way is not self._handled_before:
            if isinstance(on_its_way, Exception):
                add_notes(on_its_way, self._calls.take_errors(self._call))
            return
        try:
            await self._calls.wait_end(self._call, self._timeout)
        except TimeoutError as error:
            raise httpx2.ReadTimeout(str(error), request=self._request) from None
        raise_first(self._calls.take_errors(self._call))

    async def _next_message(self) -> Message | None:
        try:
            message: Message = await self._wait(self._call.outbox.get)
        except Closed:
            return None
        self.messages.append(message)
        return message

    async def _wait(self, wait: Any) -> Any:
        since = self._began if self._request.extensions.get(_WHOLE) else None
        try:
            with fail_after(self._timeout, self._describe_missing, since=since):
                return await wait()
        except TimeoutError as error:
            self._call.leave()
            raise httpx2.ReadTimeout(str(error), request=self._request) from None

    def _take_chunk(self, message: Message) -> bytes:
        match message["type"]:
            case "http.response.body":
                self._complete = not (message.get("more_body", False) or self._trailers)
            case "http.response.trailers":
                self._complete = not message.get("more_trailers", False)
            case "http.response.pathsend":
                self._complete = True
        # RFC 9110, 9.3.2: a response to HEAD has no content, whatever the application sends.
        chunk: bytes = message.get("body", b"") if self._request.method != "HEAD" else b""
        self._received += len(chunk)
        return chunk

    def _raise_reason(self) -> None:
        """Raise the exception of the request's body or of the application, which has ended the response."""
        if self._call.body_error is not None:
            raise self._call.body_error
        raise_first(self._calls.take_errors(self._call))
        if self._calls.raise_app_exceptions:
            raise self._broken_off("the call was cancelled")

    def _broken_off(self, reason: str) -> httpx2.RemoteProtocolError:
        return httpx2.RemoteProtocolError(f"{self._call.name}: {reason}", request=self._request)

    def _describe_missing(self) -> str:
        if not self._started:
            missing = "no response"
        elif not self._complete:
            missing = f"its response didn't end ({self._received} bytes have come; stream() reads what has no end)"
        else:
            missing = "the response came, but the application went on"
        return f"{self._call.name}: {missing}{self._call.describe_position()}"


def build_scope(request: httpx2.Request, calls: Calls, **changes: Any) -> Scope:
    """The ASGI scope of a request. The request's extension ``asgi_scope`` has the last word on each key."""
    url = request.url
    given: Mapping[str, Any] = request.extensions.get("asgi_scope") or {}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": url.scheme,
        "path": url.path,
        "raw_path": url.raw_path.partition(b"?")[0],
        "query_string": url.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": ("127.0.0.1", 50000),
        "server": (url.host, url.port or _PORTS[url.scheme]),
        "state": dict(calls.state),
        **changes,
        **given,
    }


def read_timeout(request: httpx2.Request) -> float | None:
    """The seconds that each step of a request may take."""
    seconds: float | None = request.extensions.get("timeout", {}).get("read")
    return seconds
