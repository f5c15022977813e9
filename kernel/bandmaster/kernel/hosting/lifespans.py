"""The lifespans of a host, and of mounted apps, as components."""

from __future__ import annotations

import functools
import itertools
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from starlette.types import ASGIApp

from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.model import LifespanContribution, Provenance
from bandmaster.kernel.errors import NotReadyError
from bandmaster.kernel.hosting.frameworks import LifespanWatch
from bandmaster.kernel.hosting.lifespan_client import LifespanClient
from bandmaster.kernel.hosting.mounted import HOST, HostedApp, NestedApplication, find_hosted_apps
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.lifecycle.health import LONGEST_TIMEOUT

Factory = Callable[..., AbstractAsyncContextManager[None]]


class Lifespans:
    """The lifespans of a host and, if ``mounted``, of the apps mounted in the host; each app is started once.

    An app that is mounted twice isn't started twice, and neither is an app whose lifespan the host's own enters. Hosts
    often do that, since most servers start the host only.
    """

    def __init__(self, host: ASGIApp, *, mounted: bool = True) -> None:
        self._host = host
        self._mounted = mounted
        self._states: dict[str, dict[str, Any]] = {}
        self._entered_by_host: list[Any] = []
        """The routers whose lifespans the host's own lifespan has entered in this run."""
        self._apps = {hosted.name: hosted for hosted in find_hosted_apps(host, mounted=mounted)}
        self.contributions = tuple(self._make_contribution(hosted) for hosted in self._apps.values())

    def reset(self) -> None:
        """Forget the values that an earlier run has yielded."""
        self._states.clear()
        self._entered_by_host = []

    @property
    def state(self) -> dict[str, Any]:
        """The values that the lifespans have yielded for requests. Of two values by one name the outer app's counts."""
        merged: dict[str, Any] = {}
        for name in self._apps:
            for key, value in self._states.get(name, {}).items():
                merged.setdefault(key, value)
        return merged

    def find_warnings(self, served: ASGIApp) -> Iterator[str]:
        """Problems that only a start can show: apps that were mounted too late, and two values by one name.

        ``served`` is the host with the contributed routes, which may be in an app of their own.
        """
        known = [hosted.app for hosted in self._apps.values()]
        for late in itertools.chain.from_iterable(
            find_hosted_apps(app, mounted=self._mounted) for app in (self._host, served)
        ):
            if late.path and not any(late.app is other for other in known):
                known.append(late.app)
                yield (
                    f"the app mounted at {late.path!r} has a lifespan that isn't started: it came after the plan was "
                    "made. Mount it before create_app(), or contribute its lifespan"
                )
        owners: dict[str, str] = {}
        for name in self._apps:
            for key in self._states.get(name, {}):
                owner = owners.setdefault(key, name)
                if owner != name:
                    yield (
                        f"the lifespans {owner!r} and {name!r} both yield the state {key!r}; "
                        "requests see the first one's"
                    )

    def _make_contribution(self, hosted: HostedApp) -> LifespanContribution:
        kind = f"{type(hosted.app).__module__}.{type(hosted.app).__qualname__}"
        return LifespanContribution(
            name=hosted.name,
            factory=self._choose_factory(hosted),
            band=LifespanBand.APPLICATION,
            priority=LifespanBand.APPLICATION.priorities[-1],
            after=(HOST,) if hosted.path else (),
            description=f"The lifespan of {kind}.",
            provenance=Provenance(entry_point=kind),
        )

    def _choose_factory(self, hosted: HostedApp) -> Factory:
        if isinstance(hosted.app, NestedApplication):
            return _make_nested_factory(hosted.app, hosted.name)
        factory = functools.partial(self._run_by_protocol if hosted.router is None else self._enter_router, hosted)
        return factory if hosted.path else functools.partial(self._run_watched, factory)

    @asynccontextmanager
    async def _run_watched(self, factory: Factory) -> AsyncGenerator[None, None]:
        routers = [hosted.router for hosted in self._apps.values() if hosted.path and hosted.router is not None]
        with LifespanWatch(routers) as watch:
            self._entered_by_host = watch.entered
            async with factory():
                watch.end()
                yield

    @asynccontextmanager
    async def _enter_router(self, hosted: HostedApp) -> AsyncGenerator[None, None]:
        if any(hosted.router is other for other in self._entered_by_host):
            yield
            return
        # Read only now: routers that were included since the plan was made have merged their lifespans into it.
        async with hosted.router.lifespan_context(hosted.app) as yielded:
            self._states[hosted.name] = dict(yielded or {})
            yield

    @asynccontextmanager
    async def _run_by_protocol(self, hosted: HostedApp) -> AsyncGenerator[None, None]:
        client = LifespanClient(hosted.app, required=hosted.required)
        self._states[hosted.name] = client.state
        async with client.running():
            yield


def _make_nested_factory(app: NestedApplication, name: str) -> Factory:
    async def check_ready() -> None:
        report = await app.ready()
        if report.status == "fail":
            raise NotReadyError

    @asynccontextmanager
    async def run(context: Context) -> AsyncGenerator[None, None]:
        async with app.running():
            context.add_probe(name, check_ready, timeout=LONGEST_TIMEOUT)
            context.on_drain(functools.partial(app.drain, delay=context.settings.drain_delay))
            yield

    return run
