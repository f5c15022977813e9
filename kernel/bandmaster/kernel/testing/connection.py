"""Connect to an ASGI application in the same event loop, by an HTTP client and by WebSockets."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Unpack

import anyio
from starlette.types import ASGIApp

from bandmaster.kernel.testing.calls import Calls, add_notes, raise_unawaited
from bandmaster.kernel.testing.http_call import BODY_EXTENSION
from bandmaster.kernel.testing.own_task import in_own_task
from bandmaster.kernel.testing.websocket import WebSocket, open_websocket

if TYPE_CHECKING:
    import httpx2


HeadersLike: TypeAlias = Mapping[str, str] | Sequence[tuple[str, str]]
QueryLike: TypeAlias = str | Mapping[str, Any] | Sequence[tuple[str, Any]]


class WebSocketOptions(TypedDict, total=False):
    """Further options of a WebSocket, with the meaning that they have for a request of ``httpx2.AsyncClient``."""

    params: QueryLike
    timeout: float | None
    """The seconds that each step may take; none waits for ever."""
    extensions: Mapping[str, Any]
    """``{"asgi_scope": {...}}`` changes keys of the ASGI scope."""


class Connection:
    """A connection to an ASGI application. `connect` makes one."""

    def __init__(self, calls: Calls, base_url: str, headers: HeadersLike) -> None:
        self._calls = calls
        self._base_url = base_url
        self._headers = headers

    @cached_property
    def client(self) -> httpx2.AsyncClient:
        """An ``httpx2.AsyncClient``: ``await connection.client.get("/items")``.

        Raises:
            ModuleNotFoundError: httpx2 isn't installed.
        """
        try:
            from bandmaster.kernel.testing.transport import make_client
        except ModuleNotFoundError as error:
            if error.name != "httpx2":
                raise
            raise ModuleNotFoundError(
                "the test kit's client needs httpx2, which isn't installed. Install it: pip install "
                "'bandmaster[testing]'",
                name="httpx2",
            ) from None
        return make_client(self._calls, self._base_url, self._headers)

    def websocket(
        self,
        url: str,
        *,
        subprotocols: Iterable[str] = (),
        headers: HeadersLike = (),
        **options: Unpack[WebSocketOptions],
    ) -> AbstractAsyncContextManager[WebSocket]:
        """Open a WebSocket. The end of the block closes an open WebSocket.

        The headers and cookies of the ``client`` are sent, too.

        ```python
        async with connection.websocket("/chat", subprotocols=["v2"]) as socket:
            await socket.send_text("hello")
            assert await socket.receive_text() == "hello yourself"
        ```

        Raises:
            WebSocketRefused: the application didn't accept the WebSocket.
            WebSocketClosed: the application closed the WebSocket, and the test waited for a message.
            TimeoutError: a step took too long.
        """
        return open_websocket(self._calls, self.client, url, subprotocols, headers, options)

    async def wait_idle(self) -> None:
        """Wait until the application serves no request and no WebSocket, those included that the test has left.

        Raises:
            TimeoutError: a call goes on; the message names the call.
        """
        await self._calls.wait_idle()


@asynccontextmanager
async def open_connection(
    app: ASGIApp,
    *,
    base_url: str = "http://testserver",
    headers: HeadersLike = (),
    state: Mapping[str, Any] | None = None,
    timeout: float | None = 10.0,  # noqa: ASYNC109  # of every step of the client
    raise_app_exceptions: bool = True,
) -> AsyncGenerator[Connection, None]:
    """Connect to an ASGI application that runs already, or that needs no start.

    Each request is served in a task of its own, with context variables of its own. At the end of the block all clients
    disconnect, and requests that are still served are cancelled.

    ``headers`` come with every request. ``timeout``, in seconds, bounds each request, and each step of a stream or
    WebSocket. The exceptions of the application are raised in the test. With ``raise_app_exceptions=False`` the test
    receives the response that a client of a server would receive.

    ```python
    async with connect(app) as connection:
        response = await connection.client.get("/items", params={"page": 2})
        assert response.status_code == 200
    ```
    """
    ended_by: BaseException | None = None
    tasks = anyio.create_task_group()
    calls = Calls(app, tasks, state or {}, timeout=timeout, raise_app_exceptions=raise_app_exceptions)
    connection = Connection(calls, base_url, headers)
    async with tasks:
        try:
            yield connection
        except BaseException as error:  # noqa: BLE001  # raised again below: a task group would make a group of it
            ended_by = error
        calls.close()
        tasks.cancel_scope.cancel()
    if "client" in vars(connection):
        await connection.client.aclose()
    unawaited = calls.take_errors()
    try:
        if ended_by is not None:
            add_notes(ended_by, unawaited)
            raise ended_by
        raise_unawaited(unawaited)
    finally:
        del ended_by, unawaited


connect = in_own_task(open_connection)
"""Connect to an ASGI application that runs already, or that needs no start: ``async with connect(app) as connection:``.

The context manager lives in a task of its own, so that a fixture may hold the connection open. Keyword arguments:
``base_url`` and ``headers`` of the client, ``state`` that requests see, ``timeout`` in seconds for every step of the
client (10 unless given), and ``raise_app_exceptions``, without which the client sees the answer of a server.
"""


async def read_chunk(response: httpx2.Response) -> bytes:
    """The next chunk of a streamed response, as the application sent it; empty at the end of the body.

    ```python
    async with running.client.stream("GET", "/events") as response:
        assert await read_chunk(response) == b"data: 1"
    ```

    The chunk isn't decompressed. ``response.aiter_bytes()`` reads all chunks; an iteration of it that ends early closes
    the response.

    Raises:
        httpx2.ReadTimeout: no chunk came.
        httpx2.RemoteProtocolError: the response broke off.
        TypeError: the response isn't one of the kit's client.
    """
    body = response.extensions.get(BODY_EXTENSION)
    if body is None:
        raise TypeError(f"response: expected a response of the test kit's client, got {response!r}")
    chunk: bytes = await body.receive()
    return chunk
