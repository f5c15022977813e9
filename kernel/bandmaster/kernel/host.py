"""The application that is hosted: its routes, its error handlers, its lifespan, and those of what is mounted in it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
from starlette.types import ASGIApp, Message, Receive, Send

from bandmaster.kernel.bands import LifespanBand
from bandmaster.kernel.contributions import (
    ErrorHandlerContribution,
    LifespanContribution,
    Provenance,
    RouteContribution,
)

State = MutableMapping[str, Any]
_INSTALLED = "_bandmaster_parts"


class HostLifespanError(Exception):
    """The hosted application reported that its lifespan failed."""


# -- lifespans -----------------------------------------------------------------------------------------------------


def lifespans(host: ASGIApp, state: State, *, mounted: bool = True) -> list[LifespanContribution]:
    """One component for the host's own lifespan and, if ``mounted``, one for each app mounted in it.

    Each app is started once, however often it is mounted. What the lifespans yield is merged into ``state``.
    """
    found: list[LifespanContribution] = []
    # What is compared is the lifespan and not only the app: it is common to hand a mounted app's lifespan to its host,
    # because most servers start nothing else.
    seen: list[Any] = []
    for name, app in [("host", host), *(_mounted(host) if mounted else ())]:
        identity = getattr(getattr(app, "router", app), "lifespan_context", app)
        if any(identity is other or app is other for other in seen):
            continue
        seen += [identity, app]
        enter = _lifespan_of(app, state, explicit=app is host)
        if enter is not None:
            found.append(_component(name, app, enter, after_host=app is not host))
    return found


def _component(
    name: str, app: ASGIApp, enter: Callable[[], AbstractAsyncContextManager[Any]], *, after_host: bool
) -> LifespanContribution:
    taken = type(app)
    return LifespanContribution(
        name=name,
        factory=enter,
        band=LifespanBand.APPLICATION,
        priority=LifespanBand.APPLICATION.priorities[-1],
        after=("host",) if after_host else (),
        description=f"The lifespan of {taken.__module__}.{taken.__qualname__}.",
        provenance=Provenance(entry_point=f"{taken.__module__}.{taken.__qualname__}"),
    )


def _mounted(app: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for route in getattr(app, "routes", None) or ():
        inner = getattr(route, "_base_app", None) or getattr(route, "app", None)
        if inner is None or not hasattr(route, "routes"):
            continue  # an ordinary route: its app is the endpoint
        place = f"{path}{getattr(route, 'path', '') or getattr(route, 'host', '')}"
        words = "".join(letter if letter.isalnum() else " " for letter in place).split()
        yield ".".join(["host", *words]), inner
        yield from _mounted(inner, place)


def _lifespan_of(app: Any, state: State, *, explicit: bool) -> Callable[[], AbstractAsyncContextManager[None]] | None:
    router = getattr(app, "router", app)
    if hasattr(router, "lifespan_context"):
        # Read again when it is entered: routers that are included later merge theirs into it.
        return (lambda: _entered(app, state)) if explicit or _has_lifespan(router) else None
    speaks = explicit or any(hasattr(app, name) for name in ("lifespan", "on_startup"))
    return (lambda: speaking(app, state)) if speaks else None


def _has_lifespan(router: Any) -> bool:
    if type(router.lifespan_context).__name__ != "_DefaultLifespan":
        return True
    return bool(getattr(router, "on_startup", None) or getattr(router, "on_shutdown", None))


@asynccontextmanager
async def _entered(app: Any, state: State) -> AsyncGenerator[None, None]:
    async with getattr(app, "router", app).lifespan_context(app) as yielded:
        if yielded is not None:
            state.update(yielded)
        yield


@asynccontextmanager
async def speaking(app: ASGIApp, state: State) -> AsyncGenerator[None, None]:
    """Run an app's lifespan by the ASGI protocol, as a server does.

    An app that raises before it has received anything, or that returns without an answer, has no lifespan, which the
    specification allows.

    Raises:
        HostLifespanError: the app answered that its startup or shutdown failed.
    """
    conversation = _Conversation(app, state)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(conversation.run, name="bandmaster: lifespan of the host")
        await conversation.started.wait()
        conversation.check()
        yield
        conversation.leaving.set()
        await conversation.over.wait()
        conversation.check()


class _Conversation:
    """The lifespan protocol, seen from the server's side."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app = app
        self._state = state
        self._questions = iter(("startup", "shutdown"))
        self._asked = False
        self._failed: Exception | None = None
        self.started = anyio.Event()
        self.leaving = anyio.Event()
        self.over = anyio.Event()

    async def run(self) -> None:
        """Hold the conversation; raises what the app raises while it should serve, for that is a crash."""
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._state}
        try:
            await self._app(scope, self._receive, self._send)
        except Exception as error:
            if self._asked and self._failed is None:
                self._failed = error
            if self.started.is_set() and not self.leaving.is_set():
                raise
        finally:
            self.started.set()
            self.over.set()

    def check(self) -> None:
        """Raise what the app has failed with."""
        if self._failed is not None:
            raise self._failed

    async def _receive(self) -> Message:
        question = next(self._questions, None)
        if question == "shutdown":
            await self.leaving.wait()
        elif question is None:
            await anyio.sleep_forever()
        self._asked = True
        return {"type": f"lifespan.{question}"}

    async def _send(self, message: Message) -> None:
        match message["type"]:
            case "lifespan.startup.complete":
                self.started.set()
            case "lifespan.shutdown.complete":
                self.over.set()
            case "lifespan.startup.failed" | "lifespan.shutdown.failed" as kind:
                self._failed = HostLifespanError(message.get("message") or f"the app sent {kind}")
                self.started.set()
                self.over.set()
            case other:
                raise RuntimeError(f"expected a lifespan message, got {other!r}")


# -- routes and error handlers -------------------------------------------------------------------------------------


def furnish(
    host: Any, routes: Sequence[RouteContribution], error_handlers: Sequence[ErrorHandlerContribution]
) -> tuple[ASGIApp, list[str]]:
    """The host with the contributed routes and error handlers in it, and warnings about what found no place.

    Starlette and FastAPI take them in, the host's own routes first. Any other app is put behind a Starlette app that
    answers the contributed routes; error handlers then answer for those routes only.
    """
    if hasattr(host, "router") and hasattr(host, "add_exception_handler"):
        _take_in(host, routes, error_handlers)
        return host, []
    if not routes:
        names = [part.name for part in error_handlers]
        kind = type(host).__name__
        return host, [f"the host, a {kind}, takes no error handlers: {', '.join(names)}"] if names else []
    from starlette.applications import Starlette

    front = Starlette()
    front.router.default = host
    _take_in(front, routes, error_handlers)
    # Starlette would turn the host's errors into its own 500 answers; they are the host's.
    return _Behind(front, host), []


class _Behind:
    """A Starlette app that answers some routes, and the app that answers all others."""

    def __init__(self, front: Any, host: ASGIApp) -> None:
        self._front = front
        self._host = host

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        from starlette.routing import Match

        answers = any(route.matches(scope)[0] is not Match.NONE for route in self._front.routes)
        await (self._front if answers else self._host)(scope, receive, send)


def _take_in(
    host: Any, routes: Sequence[RouteContribution], error_handlers: Sequence[ErrorHandlerContribution]
) -> None:
    # A host may be given to several applications, one after the other, as tests do: each part goes in once.
    installed: list[Any] = host.__dict__.setdefault(_INSTALLED, [])
    parts: list[RouteContribution | ErrorHandlerContribution] = [*routes, *error_handlers]
    for part in parts:
        if any(part is other for other in installed):
            continue
        installed.append(part)
        if isinstance(part, ErrorHandlerContribution):
            host.add_exception_handler(part.exception, part.handler)
        else:
            _add_routes(host, part)


def _add_routes(host: Any, part: RouteContribution) -> None:
    from starlette.routing import BaseRoute, Mount

    made: Any = part.routes
    if callable(made) and not hasattr(made, "routes"):  # a router is callable too: it is an ASGI app
        made = made()
    if hasattr(host, "include_router") and hasattr(made, "include_router"):
        host.include_router(made, prefix=part.prefix, tags=list(part.tags) or None)
        return
    routes = list(getattr(made, "routes", made))
    strangers = [route for route in routes if not isinstance(route, BaseRoute)]
    if strangers:
        raise ValueError(
            f"routes: routes {part.name!r} ({part.provenance}) hold {strangers[0]!r}, which is no Starlette route"
        )
    if part.prefix:
        routes = [Mount(part.prefix, routes=routes, name=part.name)]
    # Before a mount at the root, which would answer everything.
    own = host.router.routes
    place = next((index for index, route in enumerate(own) if isinstance(route, Mount) and not route.path), len(own))
    own[place:place] = routes
