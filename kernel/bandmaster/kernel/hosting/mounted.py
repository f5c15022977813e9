"""Find the apps mounted in a host, and their endpoints."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, Protocol, runtime_checkable

from bandmaster.kernel.hosting.frameworks import (
    find_router,
    get_included_router,
    get_mounted_app,
    has_lifespan,
    includes_lifespan,
)
from bandmaster.kernel.lifecycle.health import Report
from bandmaster.kernel.lifecycle.kernel import Kernel

HOST = "host"
"""The name of the host's own component, and the beginning of the names of mounted apps."""

_MOST_WRAPPERS = 100


@runtime_checkable
class NestedApplication(Protocol):
    """An application of bandmaster's own that is mounted in another."""

    @property
    def kernel(self) -> Kernel:
        """The kernel that the application runs."""
        raise NotImplementedError

    def running(self) -> AbstractAsyncContextManager[Any]:
        """Start, serve, stop."""
        raise NotImplementedError

    async def drain(self, *, delay: float | None = None) -> int:
        """Let the application's requests in flight end."""
        raise NotImplementedError

    async def ready(self) -> Report:
        """Whether the application accepts new requests."""
        raise NotImplementedError


class HostedApp(NamedTuple):
    """An app with a lifespan: the host, or a mounted app."""

    name: str
    """The name of the component for the lifespan."""
    app: Any
    path: str = ""
    """Where the app is mounted; empty for the host."""
    core: Any = None
    """The app inside its wrappers, or the app itself."""
    router: Any = None
    """The router that holds the core's lifespan, in the manner of Starlette; None for other apps."""


class MountedApp(NamedTuple):
    """An app mounted in another."""

    path: str
    app: Any
    lifespans: tuple[Any, ...]
    """The lifespans of the outer apps."""
    around: tuple[Any, ...]
    """The outer apps."""


def describe_host(host: Any) -> HostedApp:
    """The host, as an app with a lifespan: any host may have one."""
    core = unwrap_app(host)
    return HostedApp(HOST, host, core=core, router=find_router(core))


def find_mounted_apps(host: Any, known: Iterable[HostedApp] = ()) -> Iterator[HostedApp]:
    """Every app with a lifespan that is mounted in the host, each once, without those ``known`` already.

    An app whose lifespan is part of an outer app's is left out, and so are the outer apps.
    """
    known = list(known)
    seen: list[Any] = [host, unwrap_app(host), *(app for hosted in known for app in (hosted.app, hosted.core))]
    names = {HOST, *(hosted.name for hosted in known)}
    for mount in find_mounts(host):
        core = unwrap_app(mount.app)
        if any(app is other for app in (mount.app, core) for other in seen):
            continue
        seen += [mount.app, core]
        router = find_router(core)
        if isinstance(core, NestedApplication):
            is_hosted = True
        elif router is not None:
            is_hosted = _has_own_lifespan(router, mount.lifespans)
        else:  # Litestar and others
            is_hosted = has_lifespan_sign(mount.app) and not _leads_back(mount)
        if is_hosted:
            yield HostedApp(_choose_name(mount.path, names), mount.app, mount.path or "/", core, router)


def find_mounts(host: Any) -> Iterator[MountedApp]:
    """Every mount in an app, with those in mounted apps. An app that is mounted within itself is found once."""
    yield from _walk(unwrap_app(host), "", (), ())


def has_lifespan_sign(app: Any) -> bool:
    """Whether the attributes of an app that isn't Starlette's show a lifespan."""
    return any(hasattr(app, sign) for sign in ("lifespan", "on_startup"))


def find_endpoint(app: Any, path: str) -> str | None:
    """Name the endpoint that an app, or one mounted there, has at exactly this path; None without one."""
    app = unwrap_app(app)
    for route in getattr(app, "routes", None) or ():
        included, inner = get_included_router(route), get_mounted_app(route)
        own = getattr(route, "path", None)
        found = None
        if included is not None:
            router, prefix = included
            found = find_endpoint(router, path.removeprefix(prefix)) if path.startswith(prefix) else None
        elif inner is None or own == path:
            found = _name_endpoint(getattr(route, "endpoint", inner or route)) if own == path else None
        elif inner is not app and isinstance(own, str) and path.startswith(f"{own}/"):
            found = find_endpoint(inner, path.removeprefix(own))
        if found is not None:
            return found
    return None


def _name_endpoint(endpoint: Any) -> str:
    named = endpoint if hasattr(endpoint, "__qualname__") else type(endpoint)
    return f"{named.__module__}:{named.__qualname__}"


def unwrap_app(app: Any) -> Any:
    """The app inside its wrappers, if one is found that a lifespan can be read from; otherwise the app itself."""
    inner, wrappers = app, 0
    while find_router(inner) is None and not isinstance(inner, NestedApplication):
        inner, wrappers = getattr(inner, "app", None), wrappers + 1
        if not callable(inner) or wrappers > _MOST_WRAPPERS:
            return app
    return inner


def _walk(app: Any, path: str, around: tuple[Any, ...], lifespans: tuple[Any, ...]) -> Iterator[MountedApp]:
    router = find_router(app)
    around = (*around, app)
    if router is not None:
        lifespans = (*lifespans, router.lifespan_context)
    for route in getattr(app, "routes", None) or ():
        included = get_included_router(route)
        if included is not None:
            inner_router, prefix = included
            yield from _walk(inner_router, path + prefix, around, lifespans)
            continue
        inner = get_mounted_app(route)
        if inner is None or any(app is other for app in (inner, unwrap_app(inner)) for other in around):
            continue
        inner_path = path + (getattr(route, "path", "") or getattr(route, "host", ""))
        yield MountedApp(inner_path, inner, lifespans, around)
        yield from _walk(unwrap_app(inner), inner_path, around, lifespans)


def _leads_back(mount: MountedApp) -> bool:
    """Whether a mounted app has nothing to start, and passes the lifespan on to an outer app (python-socketio)."""
    own = any(getattr(mount.app, name, None) for name in ("on_startup", "on_shutdown"))
    inside = [unwrap_app(value) for value in getattr(mount.app, "__dict__", {}).values() if callable(value)]
    return not own and any(inner is outer for inner in inside for outer in mount.around)


def _has_own_lifespan(router: Any, outer: tuple[Any, ...]) -> bool:
    return has_lifespan(router) and not any(includes_lifespan(other, router.lifespan_context) for other in outer)


def _choose_name(path: str, taken: set[str]) -> str:
    plain = ".".join([HOST, *(re.findall("[A-Za-z0-9]+", path) or ["root"])])
    name, number = plain, 1
    while name in taken:
        number += 1
        name = f"{plain}-{number}"
    taken.add(name)
    return name
