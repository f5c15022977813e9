"""The ASGI application: a host app behind a request stack, served while a kernel runs."""

from __future__ import annotations

import importlib.metadata
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
from starlette.types import ASGIApp, Receive, Scope, Send

from bandmaster.kernel import events, refusal
from bandmaster.kernel.contributions import Contribution
from bandmaster.kernel.events import Listener
from bandmaster.kernel.gate import Gate
from bandmaster.kernel.health import Check, Report, combine
from bandmaster.kernel.host import furnish, lifespans
from bandmaster.kernel.kernel import Kernel, kernel_settings
from bandmaster.kernel.plan import Layer, Plan
from bandmaster.kernel.protocol import speak_lifespan
from bandmaster.kernel.resources import Resources
from bandmaster.kernel.settings import KernelSettings
from bandmaster.kernel.signatures import Kind
from bandmaster.kernel.stack import BoundLayer, Stack, build


def create_app(
    host: ASGIApp | None = None,
    *,
    settings: KernelSettings | None = None,
    contributions: Iterable[Contribution] = (),
    discover: bool = True,
    disable: Iterable[str] = (),
    overrides: Mapping[Any, Any] | None = None,
    role: str | None = "web",
    listeners: Iterable[Listener] = (),
) -> Application:
    """Compose an application: everything installed and everything given, planned now, started when it is served.

    ``host`` is any ASGI app; none means a new Starlette app. Contributed routes and error handlers go into it, its
    lifespan and those of apps mounted in it run as the last components. The other arguments are those of `Kernel`.

    Raises:
        DiscoveryError: installed parts that can't be found, trusted or loaded.
        PlanError: parts that don't fit together, settings that are missing or wrong.
        ValueError: an argument is of the wrong kind.
    """
    if host is not None and not callable(host):
        raise ValueError(f"host: expected an ASGI app, got {host!r}")
    overrides = dict(overrides or {})
    settings = kernel_settings(settings, overrides)
    state: dict[str, Any] = {}
    hosted = [] if host is None else lifespans(host, state, mounted=settings.mounted_lifespans)
    kernel = Kernel(
        contributions=[*contributions, *hosted],
        discover=discover,
        disable=disable,
        overrides=overrides,
        role=role,
        settings=settings,
        listeners=listeners,
    )
    return Application(kernel, host if host is not None else _new_host(settings), state)


def _new_host(settings: KernelSettings) -> ASGIApp:
    from starlette.applications import Starlette

    return Starlette(debug=settings.debug)


class Application:
    """An ASGI application that runs a kernel around a host app. `create_app` makes one.

    ``state`` is what the lifespans of the host add to every request's state.
    """

    def __init__(self, kernel: Kernel, host: ASGIApp, state: dict[str, Any] | None = None) -> None:
        self.kernel = kernel
        self.host = host
        self.settings = kernel.settings
        self.title, self.version = _identity(kernel.settings, host)
        self._inner, self.warnings = furnish(host, kernel.plan.routes, kernel.plan.error_handlers)
        self._host_state = {} if state is None else state
        self._state: dict[str, Any] = {}
        self._stack: Stack | None = None
        self._gate = Gate()
        self._accepting = False
        self._health: dict[str, Callable[[], Any]] = {}
        if self.settings.health:
            self._health = {"/livez": self.live, "/readyz": self.ready, "/startupz": self.started}

    @property
    def plan(self) -> Plan:
        """The checked order of everything."""
        return self.kernel.plan

    @property
    def in_flight(self) -> int:
        """How many requests and connections are being served."""
        return self._gate.in_flight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, one WebSocket, or the lifespan."""
        kind = scope["type"]
        if kind == "http":
            if scope["path"] in self._health:
                await self._answer_health(scope, receive, send)
            elif self._accepting and self._stack is not None:
                await self._gate.request(self._stack.http, self._inside(scope), receive, send)
            else:
                await refusal.refuse_request(send, self.settings.retry_after, closing=self._gate.drain.begun)
        elif kind == "websocket":
            if self._accepting and self._stack is not None:
                await self._gate.connection(self._stack.websocket, self._inside(scope), receive, send)
            else:
                await refusal.refuse_connection(scope, receive, send, self.settings.retry_after)
        elif kind == "lifespan":
            await speak_lifespan(self, receive, send)
        else:
            raise ValueError(f"scope: expected http, websocket or lifespan, got {kind!r}")

    def _inside(self, scope: Scope) -> Scope:
        # A copy: where this app is mounted in another, the outer app's scope and state must stay as they are.
        return {**scope, "state": {**(scope.get("state") or {}), **self._state}}

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Resources, None]:
        """Start the plan, build the request stack with its live resources, serve, stop the plan.

        Servers do this by the lifespan protocol and the launcher directly; tests may, too.

        Raises:
            StartError: a component or a layer failed to start.
            StartCancelled: a stop was asked for before everything had started.
            CrashError: a component died while serving.
            StopError: something failed while stopping.
        """
        self._gate = Gate(self.settings.websocket_close_code)
        self._host_state.clear()
        try:
            async with self.kernel.running() as resources:
                self._stack = build([self._bind(layer, resources) for layer in self.plan.layers], self._inner)
                self._state = {**self._host_state, "resources": resources, "drain": self._gate.drain}
                self._accepting = True
                try:
                    yield resources
                finally:
                    self._accepting = False
        finally:
            self._stack = None
            self._state = {}

    def _bind(self, layer: Layer, resources: Resources) -> BoundLayer:
        arguments = dict(layer.contribution.options)
        for need in layer.needs:
            if need.key in resources:
                arguments[need.parameter] = resources[need.key]
            elif need.kind is Kind.SETTINGS:
                arguments[need.parameter] = self.plan.settings[need.key.type]
            elif not need.has_default:
                arguments[need.parameter] = None
        return BoundLayer(layer.contribution, arguments)

    async def drain(self, *, delay: float | None = None) -> int:
        """Let what is in flight end; the answer is how much was left when the time for it was over.

        Readiness fails and drain hooks run at once, open WebSockets are closed and streams told; new requests are
        accepted for ``delay`` seconds more (the setting ``drain_delay``, unless given), then refused; what is in
        flight has ``drain_timeout`` seconds from then on. A second caller waits for the first.
        """
        settings = self.settings
        delay = settings.drain_delay if delay is None else delay
        began = anyio.current_time()
        if not self._gate.drain.begun:
            self.kernel.emit(events.Draining(at=began, delay=delay, timeout=settings.drain_timeout))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.kernel.drain)
            await self._gate.tell()
            await anyio.sleep(delay)
            self._accepting = False
            await self._gate.tell()
            with anyio.move_on_after(settings.drain_timeout):
                await self._gate.wait_empty()
        left = self._gate.in_flight
        self.kernel.emit(events.Drained(at=anyio.current_time(), took=anyio.current_time() - began, left=left))
        return left

    # -- health ------------------------------------------------------------------------------------------------

    async def live(self) -> Report:
        """Whether the process can do anything at all; it never depends on anything outside it."""
        return await self.kernel.live()

    async def started(self) -> Report:
        """Whether everything has started; while starting, which components haven't."""
        return await self.kernel.started()

    async def ready(self) -> Report:
        """Whether new requests may come."""
        if not self._accepting:
            phase = self.kernel.phase.value
            return combine([Check("application", "application", "fail", phase if phase != "ready" else "not serving")])
        return await self.kernel.ready()

    async def _answer_health(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await refusal.answer(send, 405, {"status": "fail"}, [(b"allow", b"GET, HEAD")])
            return
        report: Report = await self._health[scope["path"]]()
        body: dict[str, Any] = {"status": report.status}
        if self.settings.shows_details:
            body["checks"] = {
                check.name: {"status": check.status, "component": check.component, "reason": check.reason}
                for check in report.checks
            }
        await refusal.answer(send, report.http_status, body, [(b"cache-control", b"no-store")])


def _identity(settings: KernelSettings, host: Any) -> tuple[str, str]:
    """Title and version: as set, else the distribution's, else the host's own; a FastAPI host shows them."""
    title, version = settings.title, settings.version
    if settings.distribution is not None:
        metadata = importlib.metadata.metadata(settings.distribution)
        title, version = title or metadata["Name"], version or metadata["Version"]
    if hasattr(host, "openapi_url"):
        if title is not None:
            host.title = title
        if version is not None:
            host.version = version
    return title or getattr(host, "title", "") or "bandmaster", version or getattr(host, "version", "") or ""
