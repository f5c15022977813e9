"""The ASGI application: a host app behind a request stack, served while a kernel runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bandmaster.kernel import events
from bandmaster.kernel.errors import BandmasterError, StartError, StopError
from bandmaster.kernel.hosting.compared_paths import check_compared_paths
from bandmaster.kernel.hosting.draining import CloseServer, Drainer
from bandmaster.kernel.hosting.error_handlers import add_shared_error_handlers
from bandmaster.kernel.hosting.frameworks import find_root_path
from bandmaster.kernel.hosting.health_endpoints import (
    find_hidden_routes,
    make_health_endpoints,
    report_live,
    report_ready,
)
from bandmaster.kernel.hosting.host_attributes import PointsToHost
from bandmaster.kernel.hosting.identity import apply_identity
from bandmaster.kernel.hosting.in_flight import InFlight
from bandmaster.kernel.hosting.lifespan_server import speak_lifespan
from bandmaster.kernel.hosting.lifespans import Lifespans
from bandmaster.kernel.hosting.mounted import HOST
from bandmaster.kernel.hosting.not_serving import NEVER_STARTED, describe_absence
from bandmaster.kernel.hosting.responses import close_after, refuse_request, refuse_websocket
from bandmaster.kernel.hosting.routes import install_routes
from bandmaster.kernel.hosting.server_logs import ServerLogFilter, omit_traceback_of
from bandmaster.kernel.lifecycle.health import Report
from bandmaster.kernel.lifecycle.kernel import Kernel
from bandmaster.kernel.lifecycle.resources import Resources
from bandmaster.kernel.planning.plan import Plan
from bandmaster.kernel.stack.build import Stack, bind, build


class _Serving(NamedTuple):
    """The two chains of the stack and the state for each request, while the application accepts requests."""

    http: ASGIApp
    websocket: ASGIApp
    state: dict[str, Any]


class Application(PointsToHost):
    """An ASGI application that runs a kernel around a host app. `create_app` makes one.

    ``lifespans`` are those of the host, which the kernel's plan has as components; without them the host isn't started.
    The lifespans of apps that contributed routes mount are added to the plan.

    Raises:
        PlanError: contributed routes or error handlers don't fit the host, the ``distribution`` isn't installed, or a
            layer compares paths, and a mounted app replaces the ``root_path``.
    """

    def __init__(self, kernel: Kernel, host: ASGIApp, lifespans: Lifespans | None = None) -> None:
        self.kernel = kernel
        self.host = host
        self.settings = kernel.settings
        self.title, self.version = apply_identity(kernel.settings, host)
        if lifespans is None:
            lifespans = Lifespans(host, mounted=kernel.settings.mounted_lifespans, starts_host=False)
            if lifespans.contributions:
                kernel.extend(lifespans.contributions)
        self._lifespans = lifespans
        self._inner, self.warnings = install_routes(
            host,
            kernel.plan.routes,
            kernel.plan.error_handlers,
            debug=kernel.settings.debug,
            production=kernel.settings.is_production,
        )
        # Layers that compare paths must see the one that the host's routes will match.
        self._root_path = find_root_path(self._inner)
        check_compared_paths(self._inner, kernel.plan.layers)
        self._share_error_handlers()
        added = lifespans.add_mounted(self._inner)
        if added:
            kernel.extend(added)
        self.warnings += lifespans.find_hidden(self._inner)
        self._state: dict[str, Any] = {}
        self._serving: _Serving | None = None
        self._was_started = False
        self._server_log = ServerLogFilter()
        self._has_warned = False
        self._prepare_run()
        self._health_endpoints: dict[str, ASGIApp] = {}
        if self.settings.health:
            reports = {
                self.settings.live_path: self.live,
                self.settings.ready_path: self.ready,
                self.settings.startup_path: self.started,
            }
            self._health_endpoints = make_health_endpoints(reports, show_details=self.settings.shows_details)
            self.warnings += find_hidden_routes(self._inner, self.settings)
        self._is_made = True

    @property
    def plan(self) -> Plan:
        """The checked order of all components, layers and routes."""
        return self.kernel.plan

    @property
    def resources(self) -> Resources:
        """The objects that the running components provide, also while the host's lifespan starts and stops.

        Raises:
            RuntimeError: not everything has started, or the stop has begun.
        """
        if self._state:
            return cast("Resources", self._state["resources"])
        resources = self._lifespans.resources
        if resources is None:
            raise RuntimeError(f"the application has no resources. {self._describe_absence()}")
        return resources

    @property
    def in_flight(self) -> int:
        """How many requests and WebSockets are being served."""
        return self._in_flight.count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, one WebSocket, or the lifespan."""
        kind = scope["type"]
        if not self._was_started:
            self._note_call(kind)
        if kind == "lifespan":
            await self._speak_lifespan(scope, receive, send)
            return
        if kind not in ("http", "websocket"):
            raise ValueError(f"scope: expected http, websocket or lifespan, got {kind!r}")
        try:
            await (self._serve_http if kind == "http" else self._serve_websocket)(scope, receive, send)
        except BaseException as error:
            self._server_log.note_exception(error, send)
            raise

    async def _serve_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, root = scope["path"], scope.get("root_path")
        if root:
            path = path.removeprefix(root)
        if path in self._health_endpoints:
            if self._in_flight.drain.begun:
                send = close_after(scope, send)
            await self._health_endpoints[path](scope, receive, send)
            return
        if (serving := self._serving) is not None:
            served = _add_state(scope, serving.state, self._root_path)
            if await self._in_flight.serve_request(serving.http, served, receive, send):
                return
        closing = self._in_flight.drain.begun
        detail = self._describe_absence()
        await refuse_request(scope, send, self.settings.retry_after, closing=closing, detail=detail)

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (serving := self._serving) is not None:
            scope = _add_state(scope, serving.state, self._root_path)
            await self._in_flight.serve_websocket(serving.websocket, scope, receive, send)
        else:
            await refuse_websocket(scope, receive, send, self.settings.retry_after, self._describe_absence())

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Resources, None]:
        """Start the plan, build the request stack with the live resources, serve, stop the plan.

        Servers do so by the lifespan protocol, the launcher and tests directly.

        Raises:
            StartError: a component or a layer failed to start.
            StartCancelled: a stop was requested before everything had started.
            CrashError: a component died while serving.
            StopError: a component failed to stop.
            RuntimeError: the application runs already.
        """
        if self.kernel.is_running:
            raise RuntimeError("this application runs already; a second run beside it needs an application of its own")
        self._was_started = True
        self._prepare_run()
        async with self._server_log.installed(), self.kernel.running() as resources:
            check_compared_paths(self._inner, self.plan.layers)  # again, with apps that were mounted since
            stack = self._build_stack(resources)
            self._share_error_handlers()
            for message in (*self.warnings, *self._lifespans.find_warnings(self._inner)):
                self._warn(HOST, message)
            self._state = {**self._lifespans.state, "resources": resources, "drain": self._in_flight.drain}
            self._serving = _Serving(stack.http, stack.websocket, self._state)
            try:
                yield resources
            finally:
                # Also after a crash, or where nobody drains: no component stops while a request may use it.
                await self._drainer.cancel_requests()
                self._state = {}

    def _note_call(self, kind: str) -> None:
        """Note the first lifespan; warn of a request before it, once."""
        if kind == "lifespan":
            self._was_started = True
        elif not self._has_warned:
            self._has_warned = True
            self._warn("kernel", NEVER_STARTED)

    def _describe_absence(self) -> str:
        return describe_absence(self.kernel.phase, was_started=self._was_started)

    async def _speak_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        own: Exception | None = None
        try:
            await speak_lifespan(self, receive, self._share_state(scope, send))
        except BandmasterError as error:
            omit_traceback_of(error, send)
            own = _find_own_failure(error) if isinstance(error, StartError | StopError) else None
            # An application that starts nothing but its host fails as the host does that is served itself.
            if own is None or any(name.partition(".")[0] != HOST for name in self.plan.by_name):
                raise
        try:
            if own is not None:
                omit_traceback_of(own, send)
                raise own
        finally:
            del own  # a frame that holds the exception it raises is a reference cycle

    def _share_state(self, scope: Scope, send: Send) -> Send:
        """The server's ``send``, which first gives the server the state that the host's lifespan yields."""

        async def send_after_state(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete" and scope.get("state") is not None:
                scope["state"].update(self._lifespans.state)
            await send(message)

        return send_after_state

    def _prepare_run(self) -> None:
        self._in_flight = InFlight(
            self.settings.websocket_close_code, lambda: not self.kernel.is_ready, self._server_log.note_ended_stream
        )
        self._drainer = Drainer(self.kernel, self._in_flight, self._refuse_requests)
        self._lifespans.prepare_run(self.kernel.emit)

    def _refuse_requests(self) -> None:
        self._serving = None

    def _share_error_handlers(self) -> None:
        for app in (self._inner, self.host):
            self.warnings += add_shared_error_handlers(app, self.plan.error_handlers)
        self.warnings = list(dict.fromkeys(self.warnings))

    def _build_stack(self, resources: Resources) -> Stack:
        try:
            return build([bind(layer, resources, self.plan.settings) for layer in self.plan.layers], self._inner)
        except StartError as error:
            # Layers aren't components, so no event of the kernel has it, and a server may show a single line.
            self._warn(error.component, str(error))
            raise

    def _warn(self, component: str, message: str) -> None:
        self.kernel.emit(events.Warned(at=anyio.current_time(), component=component, message=message))

    async def drain(self, *, delay: float | None = None, close_server: CloseServer | None = None) -> int:
        """Let the requests in flight end. Returns how many were cancelled when the time for that was over.

        Readiness fails at once; drain hooks run, open WebSockets are closed, streams are notified, and responses close
        their connections. New requests are accepted for ``delay`` seconds more (the setting ``drain_delay``, unless
        given), then until ``close_server`` has returned, and are refused after that. The requests in flight have
        ``drain_timeout`` seconds: after half of them each stream that goes on is told that the client has left, and at
        the end all that goes on is cancelled. A second caller waits for the first.
        """
        if self._serving is not None or self._drainer.has_run:
            await self._drainer.drain(self.settings.drain_delay if delay is None else delay, close_server)
        else:
            await self.kernel.drain()  # an error if the application has never run
        return max(self._drainer.cancelled, self._in_flight.count)

    async def cancel_requests(self) -> int:
        """Refuse new requests, and cancel those in flight. Returns how many this and the drain have cancelled.

        They have a second for their clean-up; one that ignores the cancellation is named in a warning.
        """
        await self._drainer.cancel_requests()
        return self._drainer.cancelled

    async def begin_drain(self, *, delay: float = 0) -> None:
        """Fail readiness, run the drain hooks, close WebSockets, notify streams. New requests are still accepted.

        ``delay`` is how many seconds longer they are accepted, for the log.
        """
        await self._drainer.begin(delay)

    async def wait_empty(self) -> None:
        """Wait until no request and no WebSocket is in flight."""
        await self._in_flight.wait_empty()

    async def live(self) -> Report:
        """Whether the process can work at all. Never depends on anything outside the process.

        A run that has failed isn't live: under a server that goes on without a lifespan, only a restart helps.
        """
        return await report_live(self.kernel)

    async def started(self) -> Report:
        """Whether everything has started; while starting, which components haven't."""
        return await self.kernel.started()

    async def ready(self) -> Report:
        """Whether the application accepts new requests."""
        return await report_ready(self.kernel, serving=self._serving is not None, draining=self._in_flight.drain.begun)


def _find_own_failure(error: StartError | StopError) -> Exception | None:
    """The exception that a lifespan has raised, if there was a single failure, and none of the kernel's."""
    found: Sequence[BaseException | None]
    found = error.exceptions if isinstance(error, StopError) else (error.__cause__, *error.rollback_errors)
    own = found[0] if len(found) == 1 else None
    return own if isinstance(own, Exception) and not isinstance(own, BandmasterError) else None


def _add_state(scope: Scope, added: dict[str, Any], root_path: str) -> Scope:
    # A copy: where this app is mounted in another, the outer app's scope and state must stay as they are.
    inside = dict(scope)
    state = scope.get("state")
    inside["state"] = {**state, **added} if state else added.copy()
    if root_path:
        inside["root_path"] = root_path
    return inside
