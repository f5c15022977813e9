"""Contributed routes and error handlers, put into the hosted application."""

from __future__ import annotations

import inspect
from collections.abc import MutableMapping, Sequence
from typing import Any

from starlette.types import ASGIApp, Receive, Send

from bandmaster.kernel.contributions.model import ErrorHandlerContribution, RouteContribution
from bandmaster.kernel.errors import PlanError, Problem

_INSTALLED = "_bandmaster_parts"
_FRAMEWORKS = ("fastapi", "starlette")


def furnish(
    host: Any,
    routes: Sequence[RouteContribution],
    error_handlers: Sequence[ErrorHandlerContribution],
    *,
    debug: bool = False,
    production: bool = False,
) -> tuple[ASGIApp, list[str]]:
    """The host with the contributed routes and error handlers in it, and warnings about what found no place.

    Starlette and FastAPI take them in; the host's own routes and handlers come first. Any other app is put behind a
    Starlette app that answers the contributed routes; error handlers stand around both, and answer for what the host
    raises. What one application has put into a host stays there for the next.

    Raises:
        PlanError: routes can't be had, two error handlers are for the same exception, or in ``production`` some app
            has its debug mode on.
    """
    made, problems = _make(routes, host)
    problems += _clashes(error_handlers)
    if production:
        problems += _debugging(host, "the host", 0)
    if problems:
        raise PlanError(problems)
    if hasattr(host, "router") and hasattr(host, "add_exception_handler"):
        return host, _take_in(host, made, error_handlers)
    app = host
    if made:
        from starlette.applications import Starlette

        front = Starlette(debug=debug)
        _take_in(front, made, error_handlers)
        app = _Behind(front, host)
    return _handling(app, error_handlers) if error_handlers else app, []


def _handling(app: ASGIApp, error_handlers: Sequence[ErrorHandlerContribution]) -> ASGIApp:
    """An app with what Starlette has around its router: handlers, the one for whatever is left outermost."""
    from starlette.middleware.errors import ServerErrorMiddleware
    from starlette.middleware.exceptions import ExceptionMiddleware

    handlers = {part.exception: part.handler for part in error_handlers}
    unhandled = handlers.pop(500, None) or handlers.get(Exception)
    handlers.pop(Exception, None)
    app = ExceptionMiddleware(app, handlers=handlers)
    return ServerErrorMiddleware(app, handler=unhandled) if unhandled else app


def _debugging(app: Any, called: str, depth: int) -> list[Problem]:
    """Which of an app and those mounted in it would show tracebacks to clients."""
    found: list[Problem] = []
    if getattr(app, "debug", False) is True:
        message = f"{called}, a {_kind(app)}, has debug=True, which shows tracebacks to clients, in production."
        found.append(
            Problem(message, "Make it without; BANDMASTER_DEBUG does the same, and not in production.", "host")
        )
    if depth < _DEEPEST_MOUNT:
        for route in getattr(app, "routes", ()):
            inner = getattr(route, "_base_app", getattr(route, "app", None))
            if inner is not None and hasattr(route, "routes"):
                found += _debugging(inner, f"the app mounted at {getattr(route, 'path', '')!r}", depth + 1)
    return found


_DEEPEST_MOUNT = 10


def _kind(host: Any) -> str:
    return type(host).__name__


class _Behind:
    """A Starlette app that answers some routes, and the app that answers all others."""

    def __init__(self, front: Any, host: ASGIApp) -> None:
        self._front = front
        self._host = host

    @property
    def routes(self) -> Sequence[Any]:
        return self._front.routes  # type: ignore[no-any-return]

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        from starlette.routing import Match

        # A route that has the path but not the method leaves it to the host, which may have both.
        answers = any(route.matches(scope)[0] is Match.FULL for route in self._front.routes)
        await (self._front if answers else self._host)(scope, receive, send)


# -- making --------------------------------------------------------------------------------------------------------


def _make(routes: Sequence[RouteContribution], host: Any) -> tuple[list[tuple[RouteContribution, Any]], list[Problem]]:
    """What each contribution brings: a router of FastAPI's, or Starlette routes."""
    made: list[tuple[RouteContribution, Any]] = []
    problems: list[Problem] = []
    for part in routes:
        try:
            made.append((part, _routes_of(part, host)))
        except Exception as error:  # noqa: BLE001  # a function of somebody else's; all that is wrong is told at once
            said = f"{type(error).__name__}: {error}".removeprefix(f"{_NoRoutes.__name__}: ")
            message = f"routes {part.name!r} ({part.provenance}) can't be had: {said}."
            problems.append(
                Problem(message, f"Mend them, or leave them out with disable={{{part.name!r}}}.", part.name)
            )
    return made, problems


class _NoRoutes(Exception):
    """What was brought isn't routes."""


def _routes_of(part: RouteContribution, host: Any) -> Any:
    from starlette.routing import BaseRoute

    given: Any = part.routes
    # A router is callable too: it is an ASGI app.
    made: Any = _called(given, host) if callable(given) and not hasattr(given, "routes") else given
    if hasattr(made, "include_router"):
        if not hasattr(host, "include_router"):
            # Its routes ask for what only a FastAPI app puts around them.
            kind = _kind(host)
            raise _NoRoutes(
                f"they are a FastAPI router, which the host, a {kind}, can't include; make the host a FastAPI app"
            )
        return made
    if inspect.iscoroutine(made):
        made.close()
        raise _NoRoutes("the function that makes them is async, and there is no event loop yet")
    routes = list(getattr(made, "routes", made))
    strangers = [route for route in routes if not isinstance(route, BaseRoute)]
    if strangers:
        raise _NoRoutes(f"{strangers[0]!r} is no Starlette route")
    return routes


def _called(function: Any, host: Any) -> Any:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C
        return function()
    needed = [parameter for parameter in parameters if parameter.default is parameter.empty]
    positional = [parameter for parameter in needed if parameter.kind in _POSITIONAL]
    return function(host) if positional else function()


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _clashes(error_handlers: Sequence[ErrorHandlerContribution]) -> list[Problem]:
    problems: list[Problem] = []
    first: dict[type[Exception] | int, ErrorHandlerContribution] = {}
    for part in error_handlers:
        other = first.setdefault(part.exception, part)
        if other is not part:
            both = f"{other.name!r} ({other.provenance}) and {part.name!r} ({part.provenance})"
            message = f"error handlers {both} are both for {_exception(part)}."
            problems.append(Problem(message, f"Disable one, as in disable={{{other.name!r}}}.", part.name))
    return problems


def _exception(part: ErrorHandlerContribution) -> str:
    return part.exception.__name__ if isinstance(part.exception, type) else f"status {part.exception}"


# -- putting in ----------------------------------------------------------------------------------------------------


def _take_in(
    host: Any, made: Sequence[tuple[RouteContribution, Any]], error_handlers: Sequence[ErrorHandlerContribution]
) -> list[str]:
    # A host may be given to several applications, one after the other, as tests do: each part goes in once. Equal is
    # enough, for what is installed is loaded anew each time.
    installed: list[Any] = host.__dict__.setdefault(_INSTALLED, [])
    for part, routes in made:
        if part not in installed:
            _add_routes(host, part, routes)
            installed.append(part)
    warnings: list[str] = []
    for handler in error_handlers:
        if handler in installed:
            continue
        own = host.exception_handlers.get(handler.exception)
        if own is None or own is handler.handler or _is_replaceable(own, installed):
            host.add_exception_handler(handler.exception, handler.handler)
            host.middleware_stack = None  # made with the first request, the old handlers in it
            installed.append(handler)
        else:
            warnings.append(
                f"error handler {handler.name!r} ({handler.provenance}) gives way to the host's own for "
                f"{_exception(handler)}"
            )
    return warnings


def _is_replaceable(handler: Any, installed: Sequence[Any]) -> bool:
    """Whether a handler is a framework's default, or was put there by an earlier application."""
    if getattr(handler, "__module__", "").partition(".")[0] in _FRAMEWORKS:
        return True
    return any(isinstance(part, ErrorHandlerContribution) and part.handler is handler for part in installed)


def _add_routes(host: Any, part: RouteContribution, made: Any) -> None:
    own = host.router.routes
    place = next((index for index, route in enumerate(own) if _answers_all(route)), len(own))
    if hasattr(made, "include_router"):
        before = len(own)
        host.include_router(made, prefix=part.prefix, tags=list(part.tags) or None)
        routes = own[before:]
        del own[before:]
    else:
        routes = [_under(part.prefix, made, part.name)] if part.prefix else made
    own[place:place] = routes


def _answers_all(route: Any) -> bool:
    """Whether nothing that comes after a route is ever reached: a mount at the root, a page for every path."""
    regex = getattr(route, "path_regex", None)
    return regex is not None and all(regex.match(path) for path in ("/", "/any/path", "/another-0/p.a_th/"))


def _under(prefix: str, routes: Sequence[Any], name: str) -> Any:
    from starlette.routing import Match, Mount

    class Under(Mount):
        """A mount that lets pass what none of its routes answers, for others may stand under the same prefix."""

        def matches(self, scope: MutableMapping[str, Any]) -> tuple[Match, MutableMapping[str, Any]]:
            match, inside = super().matches(scope)
            if match is Match.NONE:
                return match, inside
            found = [route.matches({**scope, **inside})[0] for route in self.routes]
            best = max(found, key=lambda match: match.value, default=Match.NONE)
            return best, inside if best is not Match.NONE else {}

    return Under(prefix, routes=routes, name=name)
