"""The lifespans of the hosted application, and of what is mounted in it, as components."""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import FunctionType, MethodType
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

from starlette.types import ASGIApp

from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.model import LifespanContribution, Provenance
from bandmaster.kernel.errors import NotReadyError
from bandmaster.kernel.hosting.lifespan_client import speaking
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.lifecycle.health import LONGEST_TIMEOUT, Report

HOST = "host"
"""The name of the host's own component; those of mounted apps begin with it."""

Enter = Callable[..., AbstractAsyncContextManager[None]]


class Lifespans:
    """The lifespans of a host and, if ``mounted``, of the apps mounted in it; each app is started once.

    An app that is mounted twice, or whose lifespan the host's own enters, is not started a second time. It is common
    to have the host do it, for most servers start nothing else.
    """

    def __init__(self, host: ASGIApp, *, mounted: bool = True) -> None:
        self._host = host
        self._mounted = mounted
        self._states: dict[str, dict[str, Any]] = {}
        self._held: list[Any] = []
        """What the host's own lifespan has entered in this run."""
        self._found = {app.name: app for app in _find(host, mounted=mounted)}
        self.contributions = tuple(self._component(app) for app in self._found.values())

    def begin(self) -> None:
        """Forget what an earlier run has yielded."""
        self._states.clear()
        self._held = []

    @property
    def state(self) -> dict[str, Any]:
        """What the lifespans have yielded; of two values by one name the outer app's is kept."""
        merged: dict[str, Any] = {}
        for name in self._found:
            for key, value in self._states.get(name, {}).items():
                merged.setdefault(key, value)
        return merged

    def warnings(self) -> Iterator[str]:
        """What has come to light only now: apps that were mounted too late, state that hides other state."""
        planned = [app.app for app in self._found.values()]
        for late in _find(self._host, mounted=self._mounted):
            if late.place and not any(late.app is other for other in planned):
                yield (
                    f"the app mounted at {late.place!r} has a lifespan that isn't started: it came after the plan was "
                    "made. Mount it before create_app(), or contribute its lifespan"
                )
        owners: dict[str, str] = {}
        for name in self._found:
            for key in self._states.get(name, {}):
                owner = owners.setdefault(key, name)
                if owner != name:
                    yield f"the lifespans {owner!r} and {name!r} both yield the state {key!r}; requests see the first one's"

    def _component(self, found: _Found) -> LifespanContribution:
        kind = f"{type(found.app).__module__}.{type(found.app).__qualname__}"
        return LifespanContribution(
            name=found.name,
            factory=self._enter(found),
            band=LifespanBand.APPLICATION,
            priority=LifespanBand.APPLICATION.priorities[-1],
            after=(HOST,) if found.place else (),
            description=f"The lifespan of {kind}.",
            provenance=Provenance(entry_point=kind),
        )

    def _enter(self, found: _Found) -> Enter:
        if isinstance(found.app, Composed):
            return _composed(found.app, found.name)
        enter = functools.partial(self._spoken if found.router is None else self._entered, found)
        return enter if found.place else functools.partial(self._noticing, enter)

    @asynccontextmanager
    async def _noticing(self, enter: Enter) -> AsyncGenerator[None, None]:
        mounted = [found.router for found in self._found.values() if found.place and found.router is not None]
        with _Notice(mounted) as notice:
            self._held = notice.entered
            async with enter():
                notice.end()
                yield

    @asynccontextmanager
    async def _entered(self, found: _Found) -> AsyncGenerator[None, None]:
        if any(found.router is other for other in self._held):
            yield  # by the host's own lifespan, a moment ago
            return
        # Read only now: routers that were included meanwhile have merged theirs into it.
        async with found.router.lifespan_context(found.app) as yielded:
            self._states[found.name] = dict(yielded or {})
            yield

    @asynccontextmanager
    async def _spoken(self, found: _Found) -> AsyncGenerator[None, None]:
        state = self._states[found.name] = {}
        async with speaking(found.app, state, must=found.must):
            yield


@runtime_checkable
class Composed(Protocol):
    """An application of bandmaster's own, mounted in another."""

    def running(self) -> AbstractAsyncContextManager[Any]:
        """Start it, serve, stop it."""
        raise NotImplementedError

    async def drain(self, *, delay: float | None = None) -> int:
        """Let what is in flight in it end."""
        raise NotImplementedError

    async def ready(self) -> Report:
        """Whether new requests may come."""
        raise NotImplementedError


def _composed(app: Composed, name: str) -> Enter:
    async def ready() -> None:
        report = await app.ready()
        if report.status == "fail":
            raise NotReadyError

    @asynccontextmanager
    async def enter(context: Context) -> AsyncGenerator[None, None]:
        async with app.running():
            context.add_probe(name, ready, timeout=LONGEST_TIMEOUT)
            context.on_drain(functools.partial(app.drain, delay=context.settings.drain_delay))
            yield

    return enter


class _Notice:
    """Sees which lifespans are entered while it looks on, by standing in their places."""

    def __init__(self, routers: list[Any]) -> None:
        self.entered: list[Any] = []
        self._places = [
            (router, router.lifespan_context, functools.partial(self._enter, router, router.lifespan_context))
            for router in routers
        ]

    def __enter__(self) -> Self:
        for router, _, ours in self._places:
            router.lifespan_context = ours
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Look away."""
        for router, theirs, ours in self._places:
            if router.lifespan_context is ours:
                router.lifespan_context = theirs

    def _enter(self, router: Any, lifespan: Callable[[Any], Any], app: Any) -> Any:
        self.entered.append(router)
        return lifespan(app)


# -- finding them --------------------------------------------------------------------------------------------------


class _Found(NamedTuple):
    """An app whose lifespan is to be run."""

    name: str
    app: Any
    place: str = ""
    """Where it is mounted; empty for the host itself."""
    router: Any = None
    """What has its lifespan, in the manner of Starlette; none means that it is spoken to."""
    must: bool = False
    """Whether it wraps an app that is known to have a lifespan."""


class _Mount(NamedTuple):
    place: str
    app: Any
    held: tuple[Any, ...]
    """The lifespans of the apps around it."""


def _find(host: Any, *, mounted: bool) -> Iterator[_Found]:
    core = _core(host)
    yield _Found(HOST, host, router=_router(host), must=core is not host)
    seen: list[Any] = [host, core]
    names = {HOST}
    for mount in _mounts(core, "", (), ()) if mounted else ():
        if any(mount.app is other for other in seen):
            continue
        seen.append(mount.app)
        core = _core(mount.app)
        router = _router(core)
        if isinstance(core, Composed) or (router is not None and _has_lifespan(router, mount.held)):
            found = _Found("", mount.app, router=_router(mount.app), must=core is not mount.app)
        elif router is None and any(hasattr(mount.app, sign) for sign in ("lifespan", "on_startup")):
            found = _Found("", mount.app)
        else:
            continue
        yield found._replace(name=_name(mount.place, names), place=mount.place or "/")


def _mounts(app: Any, place: str, around: tuple[Any, ...], held: tuple[Any, ...]) -> Iterator[_Mount]:
    router = _router(app)
    around, held = (*around, app), held if router is None else (*held, router.lifespan_context)
    for route in getattr(app, "routes", None) or ():
        included = getattr(route, "original_router", None)
        if included is not None:  # FastAPI keeps an included router as it is, its lifespan merged into the app's
            prefix = getattr(getattr(route, "include_context", None), "prefix", "")
            yield from _mounts(included, place + prefix, around, held)
            continue
        # What the mount's own middleware stands around, if it is a mount.
        inner = getattr(route, "_base_app", getattr(route, "app", None))
        if inner is None or not hasattr(route, "routes") or any(inner is other for other in around):
            continue
        there = place + (getattr(route, "path", "") or getattr(route, "host", ""))
        yield _Mount(there, inner, held)
        yield from _mounts(_core(inner), there, around, held)


def _core(app: Any) -> Any:
    """The app inside its wrappers, where one is found that a lifespan can be read from; else the app itself."""
    inner, wrappers = app, 0
    while _router(inner) is None and not isinstance(inner, Composed):
        inner, wrappers = getattr(inner, "app", None), wrappers + 1
        if not callable(inner) or wrappers > _MOST_WRAPPERS:
            return app
    return inner


_MOST_WRAPPERS = 100


def _router(app: Any) -> Any:
    router = getattr(app, "router", app)
    return router if hasattr(router, "lifespan_context") else None


def _has_lifespan(router: Any, held: tuple[Any, ...]) -> bool:
    lifespan = router.lifespan_context
    if any(_holds(other, lifespan) for other in held):
        return False
    if type(lifespan).__name__ != "_DefaultLifespan":
        return True
    return bool(getattr(router, "on_startup", None) or getattr(router, "on_shutdown", None))


def _holds(lifespan: Any, other: Any) -> bool:
    """Whether one lifespan is another, or was made around it, as FastAPI merges those of included routers."""
    todo: list[Any] = [lifespan]
    seen: list[Any] = []
    while todo:
        part = todo.pop()
        if _same(part, other):
            return True
        if any(part is known for known in seen):
            continue
        seen.append(part)
        if isinstance(part, functools.partial):
            todo += [part.func, *part.args]
        elif isinstance(part, FunctionType):
            todo += [cell.cell_contents for cell in part.__closure__ or () if _is_filled(cell)]
            todo.append(getattr(part, "__wrapped__", None))
        elif isinstance(part, tuple):  # the arguments of a function that combines several
            todo += part
    return False


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, MethodType) and isinstance(other, MethodType):  # made anew with each look at them
        return one.__self__ is other.__self__ and one.__func__ is other.__func__
    return one is other


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _name(place: str, taken: set[str]) -> str:
    plain = ".".join([HOST, *(re.findall("[A-Za-z0-9]+", place) or ["root"])])
    name, number = plain, 1
    while name in taken:
        number += 1
        name = f"{plain}-{number}"
    taken.add(name)
    return name
