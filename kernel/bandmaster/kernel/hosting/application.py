"""The ASGI application: a host app behind a request stack, served while a kernel runs."""

from __future__ import annotations

import importlib.metadata
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple, cast

import anyio
from starlette.types import ASGIApp, Receive, Scope, Send

from bandmaster.kernel import events
from bandmaster.kernel.contributions.layer_classes import LayerClass
from bandmaster.kernel.contributions.model import Contribution
from bandmaster.kernel.contributions.signatures import Kind
from bandmaster.kernel.errors import PlanError, Problem, StartError
from bandmaster.kernel.events import Listener
from bandmaster.kernel.hosting import responses as refusal
from bandmaster.kernel.hosting.in_flight import Gate
from bandmaster.kernel.hosting.lifespan_server import speak_lifespan
from bandmaster.kernel.hosting.lifespans import HOST, Lifespans
from bandmaster.kernel.hosting.routes import furnish
from bandmaster.kernel.lifecycle.composition import check_contributions, check_overrides, choose_settings
from bandmaster.kernel.lifecycle.engine import Phase
from bandmaster.kernel.lifecycle.health import Check, Report, combine
from bandmaster.kernel.lifecycle.kernel import Kernel
from bandmaster.kernel.lifecycle.resources import Resources
from bandmaster.kernel.planning.plan import Layer, Plan
from bandmaster.kernel.settings.kernel import KernelSettings
from bandmaster.kernel.stack.build import BoundLayer, Stack, build
from bandmaster.kernel.text import near


def create_app(
    host: ASGIApp | None = None,
    *,
    settings: KernelSettings | None = None,
    contributions: Iterable[Contribution | LayerClass] = (),
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
    overrides = check_overrides(overrides)
    settings = choose_settings(settings, overrides)
    lifespans = None if host is None else Lifespans(host, mounted=settings.mounted_lifespans)
    kernel = Kernel(
        contributions=[*check_contributions(contributions), *(lifespans.contributions if lifespans else ())],
        discover=discover,
        disable=disable,
        overrides=overrides,
        role=role,
        settings=settings,
        serves=True,
        listeners=listeners,
    )
    return Application(kernel, host if host is not None else _new_host(settings), lifespans)


def _new_host(settings: KernelSettings) -> ASGIApp:
    from starlette.applications import Starlette

    return Starlette(debug=settings.debug)


_LEAST_FOR_CLOSING = 1.0
"""Seconds that closing WebSockets may take where no time is left for draining: it rarely needs any."""


class _Serving(NamedTuple):
    """What a request meets while the application serves."""

    http: ASGIApp
    websocket: ASGIApp
    state: dict[str, Any]


class Application:
    """An ASGI application that runs a kernel around a host app. `create_app` makes one.

    ``lifespans`` are those of the host, which the kernel's plan holds as components.

    Raises:
        PlanError: contributed routes or error handlers don't fit the host, or the ``distribution`` isn't there.
    """

    def __init__(self, kernel: Kernel, host: ASGIApp, lifespans: Lifespans | None = None) -> None:
        self.kernel = kernel
        self.host = host
        self.settings = kernel.settings
        self.title, self.version = _identity(kernel.settings, host)
        # Before anything is contributed to the host: what comes with that isn't in the plan.
        self._lifespans = lifespans or Lifespans(host, mounted=kernel.settings.mounted_lifespans)
        self._inner, self.warnings = furnish(
            host,
            kernel.plan.routes,
            kernel.plan.error_handlers,
            debug=kernel.settings.debug,
            production=kernel.settings.is_production,
        )
        self._gate = Gate()
        self._state: dict[str, Any] = {}
        self._serving: _Serving | None = None
        self._drained: anyio.Event | None = None
        self._health: dict[str, Callable[[], Any]] = {}
        if self.settings.health:
            self._health = {"/livez": self.live, "/readyz": self.ready, "/startupz": self.started}

    @property
    def plan(self) -> Plan:
        """The checked order of everything."""
        return self.kernel.plan

    @property
    def resources(self) -> Resources:
        """What the running components provide.

        Raises:
            RuntimeError: not everything has started, or the stop has begun.
        """
        if not self._state:
            raise RuntimeError(f"the application has no resources: it is {self.kernel.phase.value}")
        return cast("Resources", self._state["resources"])

    @property
    def in_flight(self) -> int:
        """How many requests and connections are being served."""
        return self._gate.in_flight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, one WebSocket, or the lifespan."""
        kind = scope["type"]
        if kind == "http":
            path, root = scope["path"], scope.get("root_path")
            if root:
                path = path.removeprefix(root)
            serving = self._serving
            if path in self._health:
                await self._answer_health(self._health[path], scope, send)
            elif serving is not None:
                await self._gate.request(serving.http, _inside(scope, serving.state), receive, send)
            else:
                await refusal.refuse_request(scope, send, self.settings.retry_after, closing=self._gate.drain.begun)
        elif kind == "websocket":
            serving = self._serving
            if serving is not None:
                await self._gate.connection(serving.websocket, _inside(scope, serving.state), receive, send)
            else:
                await refusal.refuse_connection(scope, receive, send, self.settings.retry_after)
        elif kind == "lifespan":
            await speak_lifespan(self, receive, send)
        else:
            raise ValueError(f"scope: expected http, websocket or lifespan, got {kind!r}")

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Resources, None]:
        """Start the plan, build the request stack with its live resources, serve, stop the plan.

        Servers do this by the lifespan protocol and the launcher directly; tests may, too.

        Raises:
            StartError: a component or a layer failed to start.
            StartCancelled: a stop was asked for before everything had started.
            CrashError: a component died while serving.
            StopError: something failed while stopping.
            RuntimeError: the application runs already.
        """
        if self.kernel.is_running:
            raise RuntimeError("this application runs already; a second run beside it needs an application of its own")
        self._gate = Gate(self.settings.websocket_close_code)
        self._drained = None
        self._lifespans.begin()
        async with self.kernel.running() as resources:
            stack = self._build(resources)
            for message in (*self.warnings, *self._lifespans.warnings()):
                self._warn(HOST, message)
            self._state = {**self._lifespans.state, "resources": resources, "drain": self._gate.drain}
            self._serving = _Serving(stack.http, stack.websocket, self._state)
            try:
                yield resources
            finally:
                self._serving = None
                self._state = {}

    def _build(self, resources: Resources) -> Stack:
        try:
            return build([self._bind(layer, resources) for layer in self.plan.layers], self._inner)
        except StartError as error:
            # No event of the plan's components tells it, and a server may show no more than a line.
            self._warn(error.component, str(error))
            raise

    def _warn(self, component: str, message: str) -> None:
        self.kernel.emit(events.Warned(at=anyio.current_time(), component=component, message=message))

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
        gate = self._gate
        if self._drained is not None:
            await self._drained.wait()
            return gate.in_flight
        if self._serving is None:
            await self.kernel.drain()  # which says so if nothing has ever run
            return gate.in_flight
        drained = self._drained = anyio.Event()
        delay = self.settings.drain_delay if delay is None else delay
        began = anyio.current_time()
        self._announce_drain(delay)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(self.begin_drain, delay=delay))
                await anyio.sleep(delay)
                self._serving = None
                tasks.start_soon(self._tell)  # those who came meanwhile
                with anyio.move_on_after(self.settings.drain_timeout):
                    await gate.wait_empty()
        finally:
            self._serving = None
            drained.set()
        now = anyio.current_time()
        self.kernel.emit(events.Drained(at=now, took=now - began, left=gate.in_flight))
        return gate.in_flight

    async def begin_drain(self, *, delay: float = 0) -> None:
        """Fail readiness, run the drain hooks, close WebSockets, tell streams; new requests are still accepted.

        ``delay`` is how long they will be, for the log.
        """
        self._announce_drain(delay)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.kernel.drain)
            await self._tell()

    def _announce_drain(self, delay: float) -> None:
        if not self._gate.drain.begun:
            self._gate.drain.begin()
            timeout = self.settings.drain_timeout
            self.kernel.emit(events.Draining(at=anyio.current_time(), delay=delay, timeout=timeout))

    async def _tell(self) -> None:
        # A client that reads nothing keeps whoever sends to it waiting.
        with anyio.move_on_after(max(self.settings.drain_timeout, _LEAST_FOR_CLOSING)):
            await self._gate.tell()

    async def wait_empty(self) -> None:
        """Wait until no request and no connection is in flight any more."""
        await self._gate.wait_empty()

    # -- health ------------------------------------------------------------------------------------------------

    async def live(self) -> Report:
        """Whether the process can do anything at all; it never depends on anything outside it.

        After a failure it can't: under a server that goes on serving without a lifespan, only a restart helps.
        """
        if self.kernel.phase is Phase.FAILED:
            return combine([Check("kernel", "kernel", "fail", Phase.FAILED.value)])
        return await self.kernel.live()

    async def started(self) -> Report:
        """Whether everything has started; while starting, which components haven't."""
        return await self.kernel.started()

    async def ready(self) -> Report:
        """Whether new requests may come."""
        if self._serving is None or self._gate.drain.begun:
            phase = "draining" if self._gate.drain.begun else self.kernel.phase.value
            return combine([Check("application", "application", "fail", phase if phase != "ready" else "not serving")])
        return await self.kernel.ready()

    async def _answer_health(self, health: Callable[[], Any], scope: Scope, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await refusal.refuse_method(scope, send, "GET", "HEAD")
            return
        report: Report = await health()
        body: dict[str, Any] = {"status": report.status}
        if self.settings.shows_details:
            body["checks"] = {
                check.name: {"status": check.status, "component": check.component, "reason": check.reason}
                for check in report.checks
            }
        await refusal.answer(scope, send, report.http_status, body)


def _inside(scope: Scope, ours: dict[str, Any]) -> Scope:
    # A copy: where this app is mounted in another, the outer app's scope and state must stay as they are.
    inside = dict(scope)
    state = scope.get("state")
    inside["state"] = {**state, **ours} if state else ours.copy()
    return inside


def _identity(settings: KernelSettings, host: Any) -> tuple[str, str]:
    """Title and version: as set, else the distribution's, else the host's own; a FastAPI host shows them."""
    title, version = settings.title, settings.version
    if settings.distribution is not None:
        metadata = _metadata(settings.distribution)
        title, version = title or metadata["Name"], version or metadata["Version"]
    if hasattr(host, "openapi_url"):
        shown = {name: value for name, value in (("title", title), ("version", version)) if value is not None}
        for name, value in shown.items():
            setattr(host, name, value)
        if host.openapi_schema:  # made already
            host.openapi_schema["info"].update(shown)
    return title or getattr(host, "title", "") or "bandmaster", version or getattr(host, "version", "") or ""


def _metadata(distribution: str) -> Any:
    try:
        return importlib.metadata.metadata(distribution)
    except importlib.metadata.PackageNotFoundError as error:
        installed = [other.metadata["Name"] for other in importlib.metadata.distributions()]
        message = f"BANDMASTER_DISTRIBUTION is {distribution!r}, which isn't installed."
        hint = f"Install it, or unset the variable.{near(distribution, filter(None, installed))}"
        raise PlanError([Problem(message, hint, "distribution")]) from error
