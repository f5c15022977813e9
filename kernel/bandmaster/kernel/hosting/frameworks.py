"""The internals of Starlette and FastAPI that hosting depends on, each with the reason.

The rest of this floor uses documented names of the frameworks only. `tests/kernel/hosting/test_frameworks.py` fails
when a new version changes one of these internals, and names the behaviour that would break.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from types import FunctionType, MethodType
from typing import Any, cast

_FRAMEWORKS = ("fastapi", "starlette")
_MAX_WRAPPERS = 20
"""Layers around an app that are looked through."""


def find_router(app: Any) -> Any:
    """The router that holds an app's lifespan, in the manner of Starlette; None for other apps.

    Reads ``router.lifespan_context``, because neither framework starts mounted apps, nor offers a way to do so.
    """
    router = getattr(app, "router", app)
    return router if hasattr(router, "lifespan_context") else None


def find_root_path(app: Any) -> str:
    """The ``root_path`` that a FastAPI app sets in place of the server's; empty for other apps.

    Reads the argument ``root_path`` through the middleware around an app, because the app sets it when it is called:
    after the layers, which are to see the path that the routes match.
    """
    for _ in range(_MAX_WRAPPERS):
        if any(base.__name__ == "FastAPI" and base.__module__ == "fastapi.applications" for base in type(app).__mro__):
            return str(app.root_path)
        # An object's own attribute, or none: a router's ``app`` is a method.
        app = vars(app).get("app") if hasattr(app, "__dict__") else None
        if app is None:
            break
    return ""


def has_lifespan(router: Any) -> bool:
    """Whether a router has a lifespan of its own.

    Reads the class ``_DefaultLifespan``, by which both frameworks mean that there is none, and FastAPI's lists of event
    handlers, which that class runs. Reads the variables of FastAPI's ``merged_lifespan``, into which an included router
    turns the app's lifespan, also if neither has one.
    """
    if list_startup_handlers(router) or getattr(router, "on_shutdown", None):
        return True
    todo = [router.lifespan_context]
    while todo:
        lifespan = todo.pop()
        merged = inspect.unwrap(lifespan) if isinstance(lifespan, FunctionType) else None
        if getattr(merged, "__qualname__", "").endswith("_merge_lifespan_context.<locals>.merged_lifespan"):
            todo += list_variables(cast("FunctionType", merged)).values()
        elif type(lifespan).__name__ != "_DefaultLifespan":
            return True
    return False


def has_middleware(app: Any, router: Any) -> bool:
    """Whether an app or its router has middleware of its own, which isn't that of its routes.

    Reads ``user_middleware`` of apps. Compares ``middleware_stack`` of routers with ``app``, which are the same method
    where there is no middleware, because a router doesn't keep the list.
    """
    own = getattr(router, "app", None)
    return bool(getattr(app, "user_middleware", None)) or getattr(router, "middleware_stack", own) != own


def list_startup_handlers(router: Any) -> list[Callable[..., Any]]:
    """The functions that a FastAPI router, or an older Starlette's, calls at its start in place of a lifespan."""
    return list(getattr(router, "on_startup", None) or ())


def includes_lifespan(lifespan: Any, other: Any) -> bool:
    """Whether a lifespan is the other one, or wraps that.

    Reads the variables that functions and partials close over, because that is where FastAPI's ``merged_lifespan``, and
    helpers that combine several lifespans, keep the lifespans which they run.
    """
    return any(_is_same(item, other) for item in walk_lifespan(lifespan))


def walk_lifespan(lifespan: Any) -> Iterator[Any]:
    """A lifespan, and every object that it wraps: decorated functions, the parts of a combination."""
    todo: list[Any] = [lifespan]
    seen: list[Any] = []
    while todo:
        item = todo.pop()
        if any(item is known for known in seen):
            continue
        seen.append(item)
        yield item
        if isinstance(item, functools.partial):
            todo += [item.func, *item.args]
        elif isinstance(item, FunctionType):
            todo += list_variables(item).values()
            todo.append(getattr(item, "__wrapped__", None))
        elif isinstance(item, MethodType):
            todo.append(item.__func__)
        elif isinstance(item, tuple):  # the arguments of a function that combines several
            todo += item


def list_variables(function: FunctionType) -> dict[str, Any]:
    """The variables that a function closes over, by name; those without a value yet are left out."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: cell.cell_contents for name, cell in cells if _is_filled(cell)}


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, MethodType) and isinstance(other, MethodType):  # each access makes another object
        return one.__self__ is other.__self__ and one.__func__ is other.__func__
    return one is other


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


class LifespanGuard:
    """Lets each router's lifespan be entered once in a run, by whatever way, until `end` is called.

    Replaces ``router.lifespan_context``, and the method that runs a router's event handlers (``_startup`` in FastAPI,
    ``startup`` in older Starlettes), because nothing else shows that a host's own lifespan enters that of a mounted
    app, or that a mounted app passes the lifespan on to its host.
    """

    def __init__(self, routers: Iterable[Any]) -> None:
        self.entered: list[Any] = []
        """The routers whose lifespans have been entered."""
        self._ended = False
        self._restore: list[Callable[[], None]] = []
        for router in routers:
            self._replace(router, "lifespan_context", self._enter)
            for name in ("_startup", "startup"):
                if hasattr(router, name):
                    self._replace(router, name, self._run_handlers)

    def has_entered(self, router: Any) -> bool:
        """Whether a router's lifespan has been entered."""
        return any(router is other for other in self.entered)

    def end(self) -> None:
        """Put the original lifespans back."""
        self._ended = True
        for restore in self._restore:
            restore()

    def _replace(self, router: Any, name: str, function: Callable[..., Any]) -> None:
        original = getattr(router, name)
        inherited = name not in vars(router)
        replacement = functools.partial(function, router, original)

        def restore() -> None:
            # Unless another one has been assigned meanwhile, which may wrap the replacement.
            if getattr(router, name) is not replacement:
                return
            if inherited:
                delattr(router, name)
            else:
                setattr(router, name, original)

        setattr(router, name, replacement)
        self._restore.append(restore)

    def _enter(self, router: Any, lifespan: Callable[[Any], Any], app: Any) -> Any:
        if self._ended:
            return lifespan(app)
        if self.has_entered(router):
            return nullcontext()
        self.entered.append(router)
        return lifespan(app)

    async def _run_handlers(self, router: Any, startup: Callable[[], Awaitable[None]]) -> None:
        if not self.has_entered(router):
            self.entered.append(router)
        await startup()


def get_mounted_app(route: Any) -> Any:
    """The app that a route mounts, without the route's own middleware; None for other routes.

    Reads ``Mount._base_app``, because ``Mount.app`` is that middleware, which hides the app. Reads Litestar's
    ``ASGIRoute.route_handler``, whose ``fn`` is the app if one is given in place of a function.
    """
    handler = getattr(route, "route_handler", None)
    if handler is not None and getattr(handler, "is_mount", False):
        return handler.fn
    return getattr(route, "_base_app", getattr(route, "app", None)) if hasattr(route, "routes") else None


def get_included_router(route: Any) -> tuple[Any, str] | None:
    """The router that FastAPI keeps as one route, and the prefix; None for other routes.

    Reads ``_IncludedRouter.original_router`` and ``include_context``, because apps mounted in that router are to be
    found. The router's own lifespan is merged into the app's.
    """
    router = getattr(route, "original_router", None)
    return None if router is None else (router, getattr(getattr(route, "include_context", None), "prefix", ""))


def matches_every_path(route: Any) -> bool:
    """Whether no route after this one is ever reached: a mount at the root, or a page for every path.

    Reads ``path_regex``, because a router offers no other way to ask.
    """
    regex = getattr(route, "path_regex", None)
    return regex is not None and all(regex.match(path) for path in ("/", "/any/path", "/another-0/p.a_th/"))


def include_router(host: Any, router: Any, *, prefix: str, tags: Sequence[str]) -> list[Any]:
    """Include a FastAPI router in a host, and take the routes that this has added off the end of the host's list.

    Relies on ``include_router`` appending to ``router.routes``, because a router can't be included at another place.
    """
    routes = host.router.routes
    before = len(routes)
    host.include_router(router, prefix=prefix, tags=list(tags) or None)
    added: list[Any] = routes[before:]
    del routes[before:]
    return added


def takes_error_handlers(app: Any) -> bool:
    """Whether an app is a Starlette or FastAPI object, which can be given error handlers and routes.

    Reads ``exception_handlers`` and ``router`` as well, because Starlette's ``ExceptionMiddleware`` has an
    ``add_exception_handler`` of its own.
    """
    return all(hasattr(app, name) for name in ("add_exception_handler", "exception_handlers", "router"))


UNHANDLED = (500, Exception)
"""The two keys of the one handler for exceptions that no other handler is for."""


def find_exception_handler(host: Any, exception: type[Exception] | int) -> Any:
    """The handler that a host has for an exception or a status; None without one.

    Reads ``exception_handlers``, because a host offers no other way to ask. Both frameworks have one place for status
    500 and ``Exception``, and the later key fills it.
    """
    keys = UNHANDLED if exception in UNHANDLED else (exception,)
    found = [handler for key, handler in host.exception_handlers.items() if key in keys]
    return found[-1] if found else None


def list_exceptions(host: Any) -> list[type[Exception] | int]:
    """The exceptions and statuses that a host has handlers for.

    Reads ``exception_handlers``, because a host offers no other way to ask.
    """
    return list(host.exception_handlers)


def is_default_handler(handler: Any) -> bool:
    """Whether an exception handler is one that the framework brings, such as FastAPI's for validation errors.

    Reads the handler's module, because a default looks like the choice of the host's author.
    """
    return (getattr(handler, "__module__", None) or "").partition(".")[0] in _FRAMEWORKS


def set_exception_handler(host: Any, exception: type[Exception] | int, handler: Any) -> None:
    """Give a host a handler, also if the host has served before.

    Removes the other key of `UNHANDLED`, which could fill the place instead. Resets ``middleware_stack``, which the
    first request builds with the handlers of that moment.
    """
    for key in UNHANDLED if exception in UNHANDLED else ():
        host.exception_handlers.pop(key, None)
    host.add_exception_handler(exception, handler)
    host.middleware_stack = None


def set_openapi_info(host: Any, **info: str) -> None:
    """Set title and version of a FastAPI host; other hosts stay as they are.

    Writes into ``openapi_schema``, because a document that was generated before keeps the old values.
    """
    if not hasattr(host, "openapi_url"):
        return
    for name, value in info.items():
        setattr(host, name, value)
    if host.openapi_schema:
        host.openapi_schema["info"].update(info)
