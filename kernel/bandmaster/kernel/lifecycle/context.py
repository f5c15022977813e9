"""Offer the kernel's services to a component: probes, background services, drain hooks."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from bandmaster.kernel.errors import BudgetExceededError
from bandmaster.kernel.events import Listener
from bandmaster.kernel.lifecycle.restart import Restart, Service
from bandmaster.kernel.planning.budgets import TO_REDUCE, BudgetShare

if TYPE_CHECKING:
    from bandmaster.kernel.lifecycle.resources import Resources
    from bandmaster.kernel.planning.plan import Plan
    from bandmaster.kernel.settings.kernel import KernelSettings

Probe = Callable[[], Awaitable[object]]
"""An async function that raises unless the component is healthy."""
DrainHook = Callable[[], Awaitable[object]]
"""An async function that stops taking on new work."""


class RunHandle(Protocol):
    """The functions of a kernel's run that a `Context` calls, each for the component of that name."""

    def add_probe(self, component: str, name: str, probe: Probe, *, critical: bool, timeout: float) -> None:
        """Register a health probe."""

    def supervise(self, component: str, name: str, service: Service, restart: Restart) -> None:
        """Run a background service while the component runs."""

    def add_drain_hook(self, component: str, hook: DrainHook) -> None:
        """Call a function when draining begins."""

    def extend_timeout(self, component: str, seconds: float) -> None:
        """Move the deadline of the component's start or stop."""

    def request_stop(self, reason: str) -> None:
        """Request an orderly stop."""

    async def wait_ready(self) -> Resources:
        """Wait until everything has started, and return the resources."""
        raise NotImplementedError

    def warn(self, component: str, message: str) -> None:
        """Emit a `Warned` event."""

    def listen(self, component: str, listener: Listener) -> None:
        """Call a function with the events of the run."""

    @property
    def settings(self) -> KernelSettings:
        """The kernel's settings."""
        raise NotImplementedError

    @property
    def plan(self) -> Plan:
        """The plan that is being run."""
        raise NotImplementedError

    @property
    def provided(self) -> Resources:
        """The values that components have provided so far."""
        raise NotImplementedError


class Context:
    """The kernel's services for one component: probes, background services, drain hooks, name and settings.

    A component that has a parameter of this type gets a context of its own, for as long as the component runs::

        @lifespan(band=LifespanBand.MESSAGING)
        async def queue(settings: QueueSettings, context: Context) -> AsyncIterator[Queue]:
            async with Queue(settings) as queue:
                context.add_probe("queue", queue.ping)
                context.supervise(queue.consume)
                context.on_drain(queue.pause)
                yield queue
    """

    __slots__ = ("_name", "_run")

    def __init__(self, name: str, run: RunHandle) -> None:
        self._name = name
        self._run = run

    @property
    def name(self) -> str:
        """The component's name."""
        return self._name

    @property
    def settings(self) -> KernelSettings:
        """The kernel's settings."""
        return self._run.settings

    @property
    def plan(self) -> Plan:
        """The plan that is being run, with every other component. Values of others are parameters of the component."""
        return self._run.plan

    @property
    def provided(self) -> Resources:
        """The values that the components have provided so far, for a component that runs other code with resources.

        Its own dependencies are parameters of the component: the plan knows those, and starts them before it.
        """
        return self._run.provided

    def add_probe(self, name: str, probe: Probe, *, critical: bool = True, timeout: float = 2.0) -> None:
        """Let readiness depend on an async function: the probe passes if the function returns without an exception.

        Readiness fails with a critical probe, and only warns with any other. ``timeout`` is in seconds; above 4 it
        counts as 4, since orchestrators give up soon after. The result is reused for 2 seconds, a failure for 0.5.

        Raises:
            ValueError: ``probe`` isn't async, ``timeout`` isn't above 0, or the name is empty or taken.
        """
        _check_async(probe, "probe")
        _check_seconds(timeout, "timeout")
        if not isinstance(name, str) or not name:
            raise ValueError(f"name: expected the probe's name, got {name!r}")
        self._run.add_probe(self._name, name, probe, critical=critical, timeout=timeout)

    def supervise(self, service: Service, *, name: str | None = None, restart: Restart | None = None) -> None:
        """Run an async function in the background while the component runs.

        The service begins once the component has started, or at once if that has happened. Before the component stops,
        the service is cancelled and awaited, within the component's stop timeout. ``restart`` decides about a service
        that returns or fails meanwhile: by default a failure restarts it, with growing pauses, and too many failures
        stop the plan. The name is the function's unless given.

        Raises:
            ValueError: ``service`` isn't async, the component has a service of that name, or is stopping.
        """
        _check_async(service, "service")
        self._run.supervise(self._name, name or _get_name(service), service, restart or Restart())

    def on_drain(self, hook: DrainHook) -> None:
        """Call an async function when draining begins, to stop taking on new work.

        Readiness fails by then, and requests are still accepted. All hooks run at the same time, and those that take
        longer than the setting ``drain_timeout`` are cancelled.

        Raises:
            ValueError: ``hook`` isn't async.
        """
        _check_async(hook, "hook")
        self._run.add_drain_hook(self._name, hook)

    def listen(self, listener: Listener) -> None:
        """Call a function with every event of this run: now with those so far, then with each as it happens.

        For parts that observe the application, such as traces and metrics. The events are those of
        `bandmaster.kernel.events`: all of the start, also of components that started before this one, and after the
        start the last hundred. The function is called until the component has stopped; it must not block. A function
        that raises an exception later on isn't called any more, and a `Warned` event says so.

        Raises:
            ValueError: ``listener`` can't be called, or is async.
            Exception: what the function raises for one of the events so far.
        """
        if not callable(listener) or inspect.iscoroutinefunction(listener):
            raise ValueError(f"listener: expected a plain function that takes an event, got {listener!r}")
        self._run.listen(self._name, listener)

    def extend_timeout(self, seconds: float) -> None:
        """Let the start or stop under way end ``seconds`` from now, instead of at the timeout.

        For work that takes long but makes progress, such as a migration: call this with each step, as with systemd's
        ``EXTEND_TIMEOUT_USEC``. Outside a start or a stop the call does nothing.

        Raises:
            ValueError: ``seconds`` isn't a number above 0.
        """
        _check_seconds(seconds, "seconds")
        self._run.extend_timeout(self._name, seconds)

    def request_stop(self, reason: str) -> None:
        """Request an orderly stop of the kernel, as SIGTERM does. The reason is logged with the component's name."""
        self._run.request_stop(f"{self._name}: {reason}")

    async def wait_ready(self) -> Resources:
        """Wait until every component has started, and return the resources of all.

        For background services only: a component that waits during the own start waits in vain, until the timeout. A
        component asks for a single value of another by a parameter of its type.
        """
        return await self._run.wait_ready()

    def check_budget(self, resource: str, allowed: int) -> None:
        """Compare the plan's budget of a resource, in all processes, with the number that a server allows.

        For a component that can ask the server for the limit, such as PostgreSQL's ``max_connections``. The setting
        ``limits`` overrides ``allowed``. A budget above 80 % of the limit is logged as a warning.

        Raises:
            BudgetExceededError: the budget is above the limit, and the setting ``over_budget`` isn't ``warn``.
        """
        settings = self._run.settings
        share = BudgetShare(
            resource,
            each=self._run.plan.budget.get(resource, 0),
            processes=settings.processes,
            limit=settings.limits.get(resource, allowed),
            limited_by="BANDMASTER_LIMITS" if resource in settings.limits else "the server",
        )
        if share.is_over and settings.over_budget == "refuse":
            raise BudgetExceededError(f"{share}. {TO_REDUCE}")
        if share.is_over or share.is_close:
            self._run.warn(self._name, str(share))


def _check_async(function: Any, label: str) -> None:
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    # Calling a class makes an instance, also where the instance itself has an async __call__.
    called = None if isinstance(inner, type) else getattr(inner, "__call__", None)  # noqa: B004
    if not (inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(called)):
        raise ValueError(
            f"{label}: expected an async function, got {function!r}. Blocking work goes to anyio.to_thread.run_sync"
        )


def _check_seconds(value: Any, label: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"{label}: expected seconds above 0, got {value!r}")


def _get_name(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)
