"""The internals of Starlette, FastAPI and Litestar that the web parts rely on.

``tests/contrib/web/test_frameworks.py`` fails if a new version changes one of them.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Coroutine, Iterable
from re import Pattern
from typing import Any, NamedTuple

from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

_MAX_WRAPPERS = 10
"""Layers around an application that are looked through for its routes."""


def render_traceback_page(scope: Scope, error: Exception) -> Response:
    """Starlette's debug page for an exception.

    Starlette shows the page only from its own outermost middleware, and an exception that a layer raises never gets
    there. The method that renders the page isn't documented.
    """
    return ServerErrorMiddleware(_refuse_call, debug=True).debug_response(Request(scope), error)


async def _refuse_call(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotImplementedError


def ask_cors(cors: CORSMiddleware, scope: Scope) -> tuple[Message, Message]:
    """Call Starlette's CORS middleware without an event loop: the start and the body of its response.

    Around an application without headers (`answer_empty`) the response has nothing but the headers of CORS. The
    middleware reads the request's headers and nothing else, so the coroutine never waits.

    Raises:
        RuntimeError: the middleware waited, which no known version does.
    """
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    _run_without_waiting(cors(scope, _refuse_receive, send))
    start, body = sent
    return start, body


async def answer_empty(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers with no headers and an empty body."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _refuse_receive() -> Message:
    raise RuntimeError("CORS was decided by a request's body")


def _run_without_waiting(coroutine: Coroutine[Any, Any, None]) -> None:
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError("Starlette's CORSMiddleware waited for something")


def is_client_disconnect(error: BaseException) -> bool:
    """Whether an exception means no more than that the client has disconnected.

    Servers raise an OSError from ``send`` (ASGI 2.4). Starlette's and Litestar's exceptions are compared by name, since
    Litestar has its own class of the same name, and may not be installed.
    """
    return isinstance(error, OSError) or type(error).__name__ in ("ClientDisconnect", "WebSocketDisconnect")


class RouteFacts(NamedTuple):
    """The attributes of a route that templates are made of. Starlette documents none of them."""

    template: str | None
    """The path with its parameters, such as ``/items/{id}``; None for a route by host name."""
    pattern: Pattern[str] | None
    """The expression that paths are matched with. For mounts the rest of the path is the group ``path``."""
    endpoint: Any
    """The handler; None for mounts."""
    methods: Collection[str] | None
    """The methods that the route answers; None for any."""
    app: Any
    """The application that is mounted or hosted; None for other routes."""
    routes: Collection[Any]
    """The routes inside a mount or a host."""


def read_route(route: Any) -> RouteFacts:
    """Read the attributes of a route of Starlette or FastAPI."""
    return RouteFacts(
        template=getattr(route, "path_format", None),
        pattern=getattr(route, "path_regex", None),
        endpoint=getattr(route, "endpoint", None),
        methods=getattr(route, "methods", None),
        app=getattr(route, "app", None),
        routes=getattr(route, "routes", None) or (),
    )


def flatten_routes(routes: Iterable[Any]) -> Iterable[Any]:
    """The routes, with those of included routers in their place and with their prefixes.

    Newer versions of FastAPI keep an included router as one route, and resolve it with this undocumented function.
    """
    flatten = getattr(sys.modules.get("fastapi.routing"), "iter_route_contexts", None)
    return routes if flatten is None else flatten(routes)


def find_routes(app: Any) -> Iterable[Any]:
    """The routes of an application, looking through middleware (``app``) and a kernel's application (``host``)."""
    for _ in range(_MAX_WRAPPERS):
        routes = getattr(app, "routes", None)
        if routes:
            return list(routes)
        app = getattr(app, "app", None) or getattr(app, "host", None)
        if app is None:
            break
    return ()


def find_outermost_app(scope: Scope) -> Any:
    """The outermost router that served a request, or else the application, as they leave themselves in the scope."""
    return scope.get("router") or scope.get("app")


def read_local_path(scope: Scope) -> str:
    """The path below the outermost application. Mounts extend ``root_path`` and keep the original one apart."""
    root: str = scope.get("app_root_path", scope.get("root_path", ""))
    path: str = scope["path"]
    return path.removeprefix(root)
