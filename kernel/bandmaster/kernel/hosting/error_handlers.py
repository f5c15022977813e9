"""Install contributed error handlers in the hosted application."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.types import ASGIApp

from bandmaster.kernel.contributions.model import ErrorHandlerContribution
from bandmaster.kernel.errors import Problems
from bandmaster.kernel.hosting.frameworks import find_exception_handler, is_default_handler, set_exception_handler


def check_clashes(handlers: Sequence[ErrorHandlerContribution], problems: Problems) -> None:
    """Report error handlers that are for the same exception: the answer must not depend on their names."""
    first: dict[type[Exception] | int, ErrorHandlerContribution] = {}
    for handler in handlers:
        other = first.setdefault(handler.exception, handler)
        if other is not handler:
            both = f"{other.name!r} ({other.provenance}) and {handler.name!r} ({handler.provenance})"
            message = f"error handlers {both} are both for {_describe_exception(handler)}."
            problems.add(message, f"Disable one, as in disable={{{other.name!r}}}.", handler.name)


def add_error_handlers(host: Any, handlers: Sequence[ErrorHandlerContribution], installed: list[Any]) -> list[str]:
    """Give error handlers to a Starlette or FastAPI host. Returns warnings about those that give way to the host's own.

    ``installed`` holds the contributions of earlier applications on this host, whose handlers give way.
    """
    warnings: list[str] = []
    for handler in handlers:
        own = find_exception_handler(host, handler.exception)
        if own is None or own is handler.handler or _is_replaceable(own, installed):
            set_exception_handler(host, handler.exception, handler.handler)
            installed.append(handler)
        else:
            warnings.append(
                f"error handler {handler.name!r} ({handler.provenance}) gives way to the host's own for "
                f"{_describe_exception(handler)}"
            )
    return warnings


def wrap_in_error_handlers(app: ASGIApp, handlers: Sequence[ErrorHandlerContribution]) -> ASGIApp:
    """Put error handlers around an app that takes none, in the order of Starlette's middleware around a router."""
    from starlette.middleware.errors import ServerErrorMiddleware
    from starlette.middleware.exceptions import ExceptionMiddleware

    by_exception = {handler.exception: handler.handler for handler in handlers}
    unhandled = by_exception.pop(500, None) or by_exception.get(Exception)
    by_exception.pop(Exception, None)
    app = ExceptionMiddleware(app, handlers=by_exception)
    return ServerErrorMiddleware(app, handler=unhandled) if unhandled else app


def _is_replaceable(handler: Any, installed: Sequence[Any]) -> bool:
    if is_default_handler(handler):
        return True
    return any(isinstance(other, ErrorHandlerContribution) and other.handler is handler for other in installed)


def _describe_exception(handler: ErrorHandlerContribution) -> str:
    return handler.exception.__name__ if isinstance(handler.exception, type) else f"status {handler.exception}"
