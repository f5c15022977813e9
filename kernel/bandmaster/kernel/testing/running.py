"""Run an application for a test, from start to stop."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Unpack

import anyio
from starlette.types import ASGIApp

from bandmaster.kernel import events
from bandmaster.kernel.contributions.layer_classes import LayerClass
from bandmaster.kernel.contributions.model import Contribution
from bandmaster.kernel.events import Listener
from bandmaster.kernel.hosting.application import Application
from bandmaster.kernel.lifecycle.kernel import Kernel
from bandmaster.kernel.lifecycle.resources import Resources
from bandmaster.kernel.planning.plan import Plan
from bandmaster.kernel.settings.kernel import KernelSettings
from bandmaster.kernel.testing.compose import ROLE, compose
from bandmaster.kernel.testing.connection import Connection, HeadersLike, WebSocketOptions, open_connection
from bandmaster.kernel.testing.faults import Fault
from bandmaster.kernel.testing.injection import Injection
from bandmaster.kernel.testing.lifespan import LifespanError, lifespan
from bandmaster.kernel.testing.own_task import in_own_task
from bandmaster.kernel.testing.recording import Recording
from bandmaster.kernel.testing.websocket import WebSocket
from bandmaster.kernel.text import list_names

if TYPE_CHECKING:
    import httpx2

Via: TypeAlias = Literal["running", "lifespan"]


class RunCancelled(Exception):
    """A fault has cancelled the run, everything has stopped, and no other failure occurred."""


class Running:
    """A running application. `run` makes one."""

    def __init__(self, app: Application, connection: Connection, recording: Recording, injection: Injection) -> None:
        self.app = app
        self.events = recording
        """The events since the start began."""
        self._connection = connection
        self._injection = injection

    @property
    def client(self) -> httpx2.AsyncClient:
        """An ``httpx2.AsyncClient`` of the application: ``await running.client.get("/items")``.

        Raises:
            ModuleNotFoundError: httpx2 isn't installed.
        """
        return self._connection.client

    @property
    def kernel(self) -> Kernel:
        """The kernel that runs."""
        return self.app.kernel

    @property
    def plan(self) -> Plan:
        """The plan of the kernel."""
        return self.app.plan

    @property
    def resources(self) -> Resources:
        """The objects that the components provide, by type: ``running.resources[DatabaseManager]``.

        Raises:
            RuntimeError: some components haven't started.
        """
        return self.app.resources

    def websocket(
        self,
        url: str,
        *,
        subprotocols: Iterable[str] = (),
        headers: HeadersLike = (),
        **options: Unpack[WebSocketOptions],
    ) -> AbstractAsyncContextManager[WebSocket]:
        """Open a WebSocket; see `Connection.websocket`."""
        return self._connection.websocket(url, subprotocols=subprotocols, headers=headers, **options)

    async def wait_idle(self) -> None:
        """Wait until the application serves no request and no WebSocket; see `Connection.wait_idle`."""
        await self._connection.wait_idle()

    def crash(self, component: str) -> None:
        """Trigger the crash of ``faults=[crash(component, after=None)]``.

        Raises:
            ValueError: no such fault is among the faults of the run.
        """
        self._injection.trigger(component)

    async def drain(self, *, delay: float = 0) -> int:
        """Drain the application, as before a stop. Returns the number of requests that are still in flight."""
        return await self.app.drain(delay=delay)


@in_own_task
@asynccontextmanager
async def run(
    app: Application | ASGIApp | None = None,
    *,
    contributions: Iterable[Contribution | LayerClass] = (),
    discover: bool = False,
    disable: Iterable[str] = (),
    overrides: Mapping[Any, Any] | None = None,
    settings: KernelSettings | None = None,
    role: str | None = ROLE,
    faults: Iterable[Fault] = (),
    listeners: Iterable[Listener] = (),
    via: Via = "running",
    timeout: float | None = 10.0,  # noqa: ASYNC109  # of the start, and of every step that a client takes
    base_url: str = "http://testserver",
    headers: HeadersLike = (),
    raise_app_exceptions: bool = True,
) -> AsyncGenerator[Running, None]:
    """Start an application before the block, and stop it after the block.

    ``app`` is an `Application`, or any other ASGI app, which becomes the host of one; none means a new Starlette app.
    The next six arguments are those of `create_app`, except that ``discover`` is off: a test names the parts that it
    runs. An `Application` is run unchanged. With any of the six arguments another application is planned, of the same
    parts and around the same host. Its settings are read again, unless an override replaces them.

    ``faults`` are injected into components. ``via="lifespan"`` starts and stops by the ASGI lifespan protocol, as a
    server does, instead of by `Application.running`; a failure is then a `LifespanError`. ``timeout``, in seconds,
    bounds the start, each request, and each step of a stream or WebSocket. Stops have the deadlines of the plan. The
    last three arguments are those of `connect`.

    The run lives in a task of its own, so that a fixture may be torn down in another task than it was set up in.

    ```python
    async with run(contributions=[database, api], overrides={Clock: fake_clock}) as running:
        response = await running.client.post("/orders", json={"item": 7})
        assert response.status_code == 201
        assert running.events.start_order == ["database", "api"]
    ```

    Raises:
        DiscoveryError, PlanError, ValueError: as `create_app` does.
        ValueError: the plan doesn't have the component of a fault.
        StartError, CrashError, StopError: as `Application.running` does; `attempt` returns them.
        RunCancelled: a fault has cancelled the run.
        TimeoutError: the application didn't start in time.
    """
    composed = compose(
        app,
        contributions=contributions,
        discover=discover,
        disable=disable,
        overrides=overrides,
        settings=settings,
        role=role,
    )
    recording = Recording()
    options = {"base_url": base_url, "headers": headers, "raise_app_exceptions": raise_app_exceptions}
    async with serve(composed, faults, [recording, *listeners], via, timeout, options) as running:
        yield running


@asynccontextmanager
async def serve(
    app: Application,
    faults: Iterable[Fault],
    listeners: list[Any],
    via: Via,
    timeout: float | None,  # noqa: ASYNC109
    options: Mapping[str, Any],
) -> AsyncGenerator[Running, None]:
    """Run an application with faults. The first of the listeners is the recording."""
    if via not in ("running", "lifespan"):
        raise ValueError(f"via: expected 'running' or 'lifespan', got {via!r}")
    recording: Recording = listeners[0]
    kernel, plan = app.kernel, app.plan
    injection = Injection(faults, plan)
    starting = True
    try:
        with (
            kernel.substitute_plan(injection.apply(plan)),
            kernel.listening(*listeners, injection),
            anyio.CancelScope() as whole,
        ):
            injection.cancel_run = whole.cancel
            whole.deadline = math.inf if timeout is None else anyio.current_time() + timeout
            async with (
                _start(app, via) as state,
                open_connection(app, state=state, timeout=timeout, **options) as connection,
            ):
                starting, whole.deadline = False, math.inf
                yield Running(app, connection, recording, injection)
    except LifespanError as error:
        _set_cause(error, recording)
        raise
    if injection.cancelled_by is not None:
        raise RunCancelled(f"the run was cancelled by a fault: {injection.cancelled_by}")
    if starting and whole.cancelled_caught:
        raise TimeoutError(_describe_late_start(timeout or 0, plan, recording))


@asynccontextmanager
async def _start(app: Application, via: Via) -> AsyncGenerator[Mapping[str, Any], None]:
    if via == "lifespan":
        async with lifespan(app) as state:
            yield state
    else:
        async with app.running():
            yield {}


def _set_cause(error: LifespanError, recording: Recording) -> None:
    kinds = (events.ComponentStartFailed, events.ComponentStopFailed)
    errors = [event.error for event in recording if isinstance(event, kinds)]
    error.__cause__ = errors[0] if errors else None


def _describe_late_start(seconds: float, plan: Plan, recording: Recording) -> str:
    began, ended = recording.names(events.ComponentStarting), recording.start_order
    starting = [name for name in began if name not in ended]
    waiting = [component.name for component in plan if component.name not in began]
    message = f"not everything had started within {seconds:g} s: {list_names(starting)} had not"
    return message + (f", and {list_names(waiting)} waited" if waiting else "")
