"""The lifespans of a host, and of mounted apps, as components."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from typing import Any

import anyio
from starlette.types import ASGIApp

from bandmaster.kernel import events
from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.model import LifespanContribution, Provenance
from bandmaster.kernel.errors import NotReadyError
from bandmaster.kernel.events import Event
from bandmaster.kernel.hosting.entered import Finding
from bandmaster.kernel.hosting.hidden_apps import find_hidden_lifespans
from bandmaster.kernel.hosting.hosted_run import RESOURCES, HostedRun
from bandmaster.kernel.hosting.lifespan_client import LifespanClient
from bandmaster.kernel.hosting.mounted import (
    HOST,
    HostedApp,
    NestedApplication,
    describe_host,
    find_mounted_apps,
)
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.lifecycle.health import LONGEST_TIMEOUT
from bandmaster.kernel.lifecycle.resources import Resources
from bandmaster.kernel.settings.kernel import MountedLifespans

Factory = Callable[..., AbstractAsyncContextManager[None]]


class Lifespans:
    """The lifespans of a host and of the apps mounted in the host; each app is started once.

    ``mounted`` says which mounted apps are started: with ``auto`` all but those that the host's own lifespan starts or
    may have started, with True also those that it may have started, with False none. Hosts often start mounted apps,
    since servers start the host only. ``starts_host`` says whether the host has a component.
    """

    def __init__(self, host: ASGIApp, *, mounted: MountedLifespans = "auto", starts_host: bool = True) -> None:
        self._host = describe_host(host)
        self._mounted = mounted
        self._apps = {HOST: self._host} if starts_host else {}
        self._run: HostedRun | None = None
        self._running = 0
        """The number of lifespans that run."""
        self._emit: Callable[[Event], None] = lambda _event: None
        self.contributions = (
            *(self._make_contribution(hosted) for hosted in self._apps.values()),
            *self.add_mounted(host),
        )

    def add_mounted(self, served: ASGIApp) -> tuple[LifespanContribution, ...]:
        """The components for the apps that have been mounted since.

        ``served`` is the host with the contributed routes, which may be in an app of their own.
        """
        added = {hosted.name: hosted for hosted in self._find_unknown(served)}
        self._apps.update(added)
        return tuple(self._make_contribution(hosted) for hosted in added.values())

    def prepare_run(self, emit: Callable[[Event], None]) -> None:
        """Forget the values of an earlier run."""
        if self._run is not None:
            self._run.end()  # a component of the earlier run that was abandoned hasn't ended it
        self._run, self._running = None, 0
        self._emit = emit

    @property
    def resources(self) -> Resources | None:
        """The values of the other components, while the lifespans of the host and of mounted apps run."""
        return self._run.resources if self._run is not None and self._running else None

    @property
    def state(self) -> dict[str, Any]:
        """The values that the lifespans have yielded for requests. Of two values by one name the outer app's counts."""
        merged: dict[str, Any] = {}
        for name in self._apps:
            for key, value in self._get_state(name).items():
                merged.setdefault(key, value)
        return merged

    def find_warnings(self, served: ASGIApp) -> Iterator[str]:
        """Problems that only a start can show: apps that were mounted too late, and two values by one name.

        ``served`` is the host with the contributed routes, which may be in an app of their own.
        """
        for late in self._find_unknown(served):
            yield (
                f"the app mounted at {late.path!r} has a lifespan that isn't started: it came after the plan was "
                "made. Mount it before create_app(), or contribute its lifespan"
            )
        owners: dict[str, str] = {}
        for name in self._apps:
            for key in self._get_state(name):
                owner = owners.setdefault(key, name)
                if owner != name:
                    yield (
                        f"the lifespans {owner!r} and {name!r} both yield the state {key!r}; "
                        "requests see the first one's"
                    )

    def find_hidden(self, served: ASGIApp) -> list[str]:
        """Warnings about mounted apps that call another app, whose lifespan can't be run from here."""
        return list(find_hidden_lifespans(served, self._host, self._apps.values())) if self._mounted else []

    def _find_unknown(self, served: ASGIApp) -> Iterator[HostedApp]:
        known = list(self._apps.values())
        for app in (self._host.app, served) if self._mounted else ():
            for hosted in find_mounted_apps(app, known):
                known.append(hosted)
                yield hosted

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
            return functools.partial(self._run_nested, hosted, hosted.app)
        return functools.partial(self._run_mounted if hosted.path else self._run_host, hosted)

    def _get_state(self, name: str) -> dict[str, Any]:
        return {} if self._run is None else self._run.get_state(name)

    @asynccontextmanager
    async def _run_host(self, hosted: HostedApp, context: Context) -> AsyncGenerator[None, None]:
        with self._join_run(context) as run, run.watch_host():
            async with self._speak(hosted, run):
                run.judge_mounted()
                yield

    @asynccontextmanager
    async def _run_mounted(self, hosted: HostedApp, context: Context) -> AsyncGenerator[None, None]:
        with self._join_run(context) as run:
            if self._is_left_to_host(hosted, run):
                yield
            elif hosted.router is None or hosted.app is not hosted.core:
                async with self._speak(hosted, run):
                    yield
            else:
                async with self._enter_router(hosted, run):
                    yield

    @asynccontextmanager
    async def _speak(self, hosted: HostedApp, run: HostedRun) -> AsyncGenerator[None, None]:
        # An object of a framework always speaks the protocol, so that an exception is a failure of its own middleware.
        required = run.is_required(hosted) or (hosted.router is not None and hosted.app is hosted.core)
        client = LifespanClient(hosted.app, required=required, state={RESOURCES: run.resources})
        run.set_state(hosted.name, client.state)
        try:
            async with client.running():
                yield
        except Exception as error:
            run.explain_failure(hosted, error)
            raise

    @asynccontextmanager
    async def _enter_router(self, hosted: HostedApp, run: HostedRun) -> AsyncGenerator[None, None]:
        # By way of the router, as hosts start mounted apps, for no server ever sends a mounted app the lifespan scope.
        try:
            async with hosted.router.lifespan_context(hosted.app) as yielded:
                run.set_state(hosted.name, dict(yielded or {}))
                yield
        except Exception as error:
            run.explain_failure(hosted, error)
            raise

    @asynccontextmanager
    async def _run_nested(
        self, hosted: HostedApp, app: NestedApplication, context: Context
    ) -> AsyncGenerator[None, None]:
        with self._join_run(context) as run:
            async with nullcontext() if self._is_left_to_host(hosted, run) else app.running():
                context.add_probe(hosted.name, functools.partial(_check_ready, app), timeout=LONGEST_TIMEOUT)
                context.on_drain(functools.partial(app.drain, delay=context.settings.drain_delay))
                yield

    def _is_left_to_host(self, hosted: HostedApp, run: HostedRun) -> bool:
        finding = run.find(hosted)
        if finding is Finding.NOT_STARTED or (finding is not Finding.STARTED and self._mounted is True):
            return False
        now = anyio.current_time()
        if finding is Finding.UNCLEAR:
            message = (
                f"the app mounted at {hosted.path!r} isn't started: {finding.value}. If the host starts the app, "
                f"BANDMASTER_DISABLE={hosted.name} says so; otherwise BANDMASTER_MOUNTED_LIFESPANS=true starts it"
            )
            self._emit(events.Warned(at=now, component=hosted.name, message=message))
        else:
            self._emit(events.MountedAppLeftToHost(at=now, component=hosted.name, reason=finding.value))
        return True

    @contextmanager
    def _join_run(self, context: Context) -> Iterator[HostedRun]:
        """The run, which begins with the first lifespan that starts, and ends with the last one that stops.

        Its resources are those of the kernel that runs, which may be another than the application's: a worker's.
        """
        if self._run is None or not self._running:
            self._run = HostedRun(self._host, [*self._apps.values()], context.provided)
        self._running += 1
        run = self._run
        try:
            yield run
        finally:
            self._running -= 1
            if not self._running:
                run.end()


async def _check_ready(app: NestedApplication) -> None:
    report = await app.ready()
    if report.status == "fail":
        raise NotReadyError
