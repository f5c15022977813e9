"""Install contributed error handlers in the hosted application, and in the apps mounted there that ask for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from starlette.types import ASGIApp

from bandmaster.kernel.contributions.model import ErrorHandlerContribution
from bandmaster.kernel.hosting.frameworks import (
    UNHANDLED,
    find_exception_handler,
    is_default_handler,
    list_exceptions,
    set_exception_handler,
    takes_error_handlers,
)
from bandmaster.kernel.hosting.mounted import find_mounts, unwrap_app
from bandmaster.kernel.stack.exchange import current_exchange

_INSTALLED = "_bandmaster_error_handlers"
"""The attribute of an app that lists the contributed handlers installed there."""
_SHARED = "_bandmaster_shares_error_handlers"
"""The attribute of an app that asks for the error handlers of the plan."""


def share_error_handlers(app: Any, handlers: Sequence[ErrorHandlerContribution] = ()) -> None:
    """Give a Starlette or FastAPI app that is mounted in a host, or wrapped, the error handlers that a host gets.

    A mounted app has error handling of its own, which the host's handlers don't reach. The app gets the ``handlers``
    now, and all error handlers of the plan from `create_app`, if the app is mounted by then, or when the application
    starts. The app's own handlers come first.

    Raises:
        ValueError: the app takes no error handlers.
    """
    if not takes_error_handlers(app):
        raise ValueError(f"app: expected a Starlette or FastAPI app, got {app!r}")
    setattr(app, _SHARED, True)
    add_error_handlers(app, handlers)


def add_error_handlers(
    app: Any, handlers: Sequence[ErrorHandlerContribution], owner: str = "the host's own"
) -> list[str]:
    """Give error handlers to a Starlette or FastAPI app. Returns warnings about those that give way to the app's own.

    Handlers that earlier applications have installed in this app give way.
    """
    installed: list[ErrorHandlerContribution] = app.__dict__.setdefault(_INSTALLED, [])
    warnings: list[str] = []
    for handler in handlers:
        own = _find_own(app, handler, installed)
        if own is None:
            if find_exception_handler(app, handler.exception) is not handler.handler:
                set_exception_handler(app, handler.exception, handler.handler)
                installed.append(handler)
        else:
            warnings.append(
                f"error handler {handler.name!r} ({handler.provenance}) gives way to {owner} for {_describe(own)}"
            )
    return warnings


def add_shared_error_handlers(app: Any, handlers: Sequence[ErrorHandlerContribution]) -> list[str]:
    """Give error handlers to the apps in ``app``, mounted or wrapped, that share them; see `share_error_handlers`.

    Returns warnings about handlers that give way to an app's own.
    """
    inside = [("the host's own", unwrap_app(app))]
    inside += [(f"that of the app mounted at {mount.path!r}", unwrap_app(mount.app)) for mount in find_mounts(app)]
    warnings: list[str] = []
    for owner, inner in inside:
        if getattr(inner, _SHARED, False) is True:
            warnings += add_error_handlers(inner, handlers, owner)
    return warnings


def wrap_in_error_handlers(app: ASGIApp, handlers: Sequence[ErrorHandlerContribution]) -> ASGIApp:
    """Put error handlers around an app that takes none, in the order of Starlette's middleware around a router."""
    from starlette.exceptions import WebSocketException
    from starlette.middleware.errors import ServerErrorMiddleware
    from starlette.middleware.exceptions import ExceptionMiddleware

    by_exception = {handler.answers_for: handler.handler for handler in handlers}
    unhandled = by_exception.pop(Exception, None)
    by_exception.setdefault(WebSocketException, _close_websocket)
    app = ExceptionMiddleware(app, handlers=by_exception)
    return ServerErrorMiddleware(app, handler=unhandled) if unhandled else app


async def _close_websocket(websocket: Any, error: Any) -> None:
    exchange = current_exchange()
    # Starlette's own handler would close the WebSocket twice: the object that it gets doesn't know the messages sent.
    if exchange is not None and exchange.socket is not None and exchange.socket.closed:
        raise error
    await websocket.close(error.code, error.reason)


def _find_own(
    app: Any, handler: ErrorHandlerContribution, installed: Sequence[ErrorHandlerContribution]
) -> type[Exception] | int | None:
    """The exception for which an app has a handler of its own that a contributed one would take the place of."""
    for exception in _list_covering(app, handler.exception):
        own = find_exception_handler(app, exception)
        if not (own is handler.handler or is_default_handler(own) or any(own is one.handler for one in installed)):
            return exception
    return None


def _list_covering(app: Any, exception: type[Exception] | int) -> Iterator[type[Exception] | int]:
    """The exceptions that an app has handlers for and that include the given one."""
    from starlette.exceptions import HTTPException

    for known in list_exceptions(app):
        if exception in UNHANDLED or known in UNHANDLED:
            # A handler for unhandled exceptions doesn't mind that more specific ones are added.
            if exception in UNHANDLED and known in UNHANDLED:
                yield known
        elif isinstance(known, int) or isinstance(exception, int):
            # Frameworks look for the handler of a status before that of an HTTPException's type.
            if known == exception or (isinstance(known, type) and issubclass(known, HTTPException)):
                yield known
        elif issubclass(exception, known):
            yield known


def _describe(exception: type[Exception] | int) -> str:
    return exception.__name__ if isinstance(exception, type) else f"status {exception}"
