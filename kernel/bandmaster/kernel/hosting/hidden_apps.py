"""Find apps with a lifespan that a mounted function or wrapper calls, where nothing shows who starts them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from bandmaster.kernel.hosting.frameworks import find_router, has_lifespan
from bandmaster.kernel.hosting.mounted import HostedApp, NestedApplication, find_mounts, has_lifespan_sign, unwrap_app
from bandmaster.kernel.hosting.references import list_functions, list_named_objects, read_attributes


def find_hidden_lifespans(served: Any, host: HostedApp, known: Iterable[HostedApp]) -> Iterator[str]:
    """A warning about each mounted function or wrapper that calls an app whose lifespan isn't run from here.

    An app that the host's own lifespan names is left out: the host starts that one.
    """
    seen = [app for hosted in (host, *known) for app in (hosted.app, hosted.core)]
    if host.router is not None:
        seen += [
            item
            for function, owner in list_functions(host.router.lifespan_context)
            for item in list_named_objects(function, owner)
        ]
    for mount in find_mounts(served):
        core = unwrap_app(mount.app)
        if find_router(core) is not None or isinstance(core, NestedApplication) or has_lifespan_sign(core):
            continue
        for app in _list_named_apps(mount.app):
            if any(app is other for other in (*seen, *mount.around)):
                continue
            seen.append(app)
            yield (
                f"the app mounted at {mount.path!r} calls a {type(app).__name__} app with a lifespan, which isn't run: "
                "only apps that are mounted themselves are started. Unless the host's own lifespan starts the app, "
                "mount it without the function or object around it, or contribute its lifespan"
            )


def _list_named_apps(app: Any) -> list[Any]:
    items: list[Any] = [*read_attributes(app).values()]
    for function, owner in (*list_functions(app), *list_functions(type(app).__call__)):
        items += list_named_objects(function, owner)
    return [item for item in items if _has_own_lifespan(item)]


def _has_own_lifespan(item: Any) -> bool:
    if isinstance(item, type) or not callable(item):
        return False
    try:
        core = unwrap_app(item)
        router = find_router(core)
    except Exception:  # noqa: BLE001  # a proxy of something that isn't there yet
        return False
    return isinstance(core, NestedApplication) or (router is not None and has_lifespan(router))
