"""Install contributed routes in the hosted application."""

from __future__ import annotations

import inspect
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

from starlette.types import ASGIApp, Receive, Send

from bandmaster.kernel.contributions.model import ErrorHandlerContribution, RouteContribution
from bandmaster.kernel.errors import PlanError, Problems
from bandmaster.kernel.hosting.error_handlers import add_error_handlers, wrap_in_error_handlers
from bandmaster.kernel.hosting.frameworks import (
    find_router,
    has_lifespan,
    has_middleware,
    include_router,
    matches_every_path,
    takes_error_handlers,
)
from bandmaster.kernel.hosting.mounted import find_mounts, unwrap_app

_INSTALLED = "_bandmaster_parts"
"""The attribute of a host that lists the contributed routes installed there."""

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def install_routes(
    host: Any,
    routes: Sequence[RouteContribution],
    error_handlers: Sequence[ErrorHandlerContribution] = (),
    *,
    debug: bool = False,
    production: bool = False,
) -> tuple[ASGIApp, list[str]]:
    """Put contributed routes and error handlers into a host. Returns the app to serve, and warnings.

    A Starlette or FastAPI host gets both, after its own routes and error handlers. Any other app is
    called for each request that no contributed route answers, with the error handlers around both. The host keeps the
    routes when another application is made around it.

    Raises:
        PlanError: a contribution's routes can't be made, or an app has the debug mode on in ``production``.
    """
    problems = Problems()
    made = _make_routes(routes, host, problems)
    if production:
        _check_debug_mode(host, problems)
    problems.raise_if_any(PlanError)
    if takes_error_handlers(host):
        _install(host, made)
        return host, add_error_handlers(host, error_handlers)
    app: ASGIApp = host
    if made:
        from starlette.applications import Starlette

        front = Starlette(debug=debug)
        _install(front, made)
        add_error_handlers(front, error_handlers)
        app = _RoutesFirst(front, host)
    return wrap_in_error_handlers(app, error_handlers) if error_handlers else app, []


class _RoutesFirst:
    """A Starlette app for the contributed routes, and the host for all other requests."""

    def __init__(self, front: Any, host: ASGIApp) -> None:
        self._front = front
        self._host = host
        # As in a Starlette app, so that apps mounted by the contributed routes are found here.
        self.router = front.router
        self.routes = front.routes

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        from starlette.routing import Match

        # A route that has the path but not the method leaves the request to the host, which may have both.
        answers = any(route.matches(scope)[0] is Match.FULL for route in self._front.routes)
        await (self._front if answers else self._host)(scope, receive, send)


def _check_debug_mode(host: Any, problems: Problems) -> None:
    apps = [("the host", host), *((f"the app mounted at {mount.path!r}", mount.app) for mount in find_mounts(host))]
    for name, app in apps:
        inner = unwrap_app(app)
        if getattr(inner, "debug", False) is True:
            problems.add(
                f"{name}, a {type(inner).__name__}, has debug=True, which shows tracebacks to clients, in production.",
                "Make it without; BANDMASTER_DEBUG does the same, and not in production.",
                "host",
            )


class _RoutesError(Exception):
    """A contribution's object is something else than routes."""


def _make_routes(
    contributions: Sequence[RouteContribution], host: Any, problems: Problems
) -> list[tuple[RouteContribution, Any]]:
    """Each contribution with the FastAPI router or the Starlette routes that it stands for."""
    made: list[tuple[RouteContribution, Any]] = []
    for contribution in contributions:
        name = contribution.name
        try:
            made.append((contribution, _read_routes(contribution, host)))
        except Exception as error:  # noqa: BLE001  # other people's code; all problems are reported at once
            cause = str(error) if isinstance(error, _RoutesError) else f"{type(error).__name__}: {error}"
            message = f"routes {name!r} ({contribution.provenance}) can't be had: {cause}."
            problems.add(message, f"Mend them, or leave them out with disable={{{name!r}}}.", name)
    return made


def _read_routes(contribution: RouteContribution, host: Any) -> Any:
    from starlette.routing import BaseRoute

    given: Any = contribution.routes
    # A router can be called as well: it is an ASGI app.
    made: Any = _call(given, host) if callable(given) and not hasattr(given, "routes") else given
    if hasattr(made, "include_router"):
        if not hasattr(host, "include_router"):
            # Its routes need the context that only a FastAPI app puts around them.
            kind = type(host).__name__
            raise _RoutesError(
                f"they are a FastAPI router, which the host, a {kind}, can't include; make the host a FastAPI app"
            )
        return made
    if inspect.iscoroutine(made):
        made.close()
        raise _RoutesError("the function that makes them is async, and there is no event loop yet")
    router = find_router(made)
    if router is not None and (has_lifespan(router) or has_middleware(made, router)):
        return [made]  # as a whole, since its lifespan and its middleware aren't those of its routes
    routes = list(getattr(made, "routes", made))
    strangers = [route for route in routes if not isinstance(route, BaseRoute)]
    if strangers:
        raise _RoutesError(f"{strangers[0]!r} is no Starlette route")
    return routes


def _call(function: Callable[..., Any], host: Any) -> Any:
    """Call a function that makes routes, with the host if the function has a parameter for the host."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C
        return function()
    takes_host = any(parameter.kind in _POSITIONAL and parameter.default is parameter.empty for parameter in parameters)
    return function(host) if takes_host else function()


def _install(host: Any, made: Sequence[tuple[RouteContribution, Any]]) -> None:
    # A host may be given to several applications, one after the other, as tests do: each contribution goes in once. An
    # equal one counts as the same, since installed contributions are loaded anew each time.
    installed: list[Any] = host.__dict__.setdefault(_INSTALLED, [])
    for contribution, routes in made:
        if contribution not in installed:
            _add_routes(host, contribution, routes)
            installed.append(contribution)


def _add_routes(host: Any, contribution: RouteContribution, made: Any) -> None:
    routes = host.router.routes
    place = next((index for index, route in enumerate(routes) if matches_every_path(route)), len(routes))
    if hasattr(made, "include_router"):
        added = include_router(host, made, prefix=contribution.prefix, tags=contribution.tags)
    elif len(made) == 1 and find_router(made[0]) is not None:
        added = [_make_shared_mount(contribution.prefix, app=made[0])]
    elif contribution.prefix:
        added = [_make_shared_mount(contribution.prefix, routes=made, name=contribution.name)]
    else:
        added = made
    routes[place:place] = added


def _make_shared_mount(prefix: str, **content: Any) -> Any:
    from starlette.routing import Match, Mount

    class SharedMount(Mount):
        """A mount that matches only if one of the routes does, since others may share the prefix."""

        def matches(self, scope: MutableMapping[str, Any]) -> tuple[Match, MutableMapping[str, Any]]:
            match, inside = super().matches(scope)
            if match is Match.NONE:
                return match, inside
            found = [route.matches({**scope, **inside})[0] for route in self.routes]
            return max(found, key=lambda match: match.value, default=Match.NONE), inside

    return SharedMount(prefix, **content)
