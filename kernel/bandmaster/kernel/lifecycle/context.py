"""What a starting component may ask of the kernel."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from bandmaster.kernel.errors import BudgetExceededError
from bandmaster.kernel.lifecycle.restart import Restart, Service

if TYPE_CHECKING:
    from bandmaster.kernel.lifecycle.resources import Resources
    from bandmaster.kernel.planning.plan import Plan
    from bandmaster.kernel.settings.kernel import KernelSettings

Probe = Callable[[], Awaitable[object]]
DrainHook = Callable[[], Awaitable[object]]


class Hand(Protocol):
    """What the engine does for a `Context`."""

    def add_probe(self, component: str, name: str, probe: Probe, *, critical: bool, timeout: float) -> None:
        """Register a health probe."""

    def supervise(self, component: str, name: str, service: Service, restart: Restart) -> None:
        """Run a background service while the component runs."""

    def add_drain_hook(self, component: str, hook: DrainHook) -> None:
        """Call a function when draining begins."""

    def extend_timeout(self, component: str, seconds: float) -> None:
        """Move the deadline of the phase that the component is in."""

    def request_stop(self, reason: str) -> None:
        """Ask for an orderly stop."""

    async def wait_ready(self) -> Resources:
        """Wait until everything has started; the answer is what it provides."""
        raise NotImplementedError

    def warn(self, component: str, message: str) -> None:
        """Tell the people who run this."""

    @property
    def settings(self) -> KernelSettings:
        """The kernel's settings."""
        raise NotImplementedError

    @property
    def plan(self) -> Plan:
        """What is being run."""
        raise NotImplementedError


class Context:
    """The kernel's hand for one component: probes, background services, drain, its name and settings."""

    __slots__ = ("_hand", "_name")

    def __init__(self, name: str, hand: Hand) -> None:
        self._name = name
        self._hand = hand

    @property
    def name(self) -> str:
        """The component's name."""
        return self._name

    @property
    def settings(self) -> KernelSettings:
        """The kernel's settings."""
        return self._hand.settings

    @property
    def plan(self) -> Plan:
        """The plan that is being run: who else is there. What the others provide is asked for in the signature."""
        return self._hand.plan

    def add_probe(self, name: str, probe: Probe, *, critical: bool = True, timeout: float = 2.0) -> None:
        """Let readiness depend on an async function: it passes if it returns within ``timeout`` seconds, 4 at most.

        A failing probe that isn't ``critical`` only warns.

        Raises:
            ValueError: ``probe`` isn't async, ``timeout`` isn't above 0, or the name is empty or taken.
        """
        _check_async(probe, "probe")
        _check_seconds(timeout, "timeout")
        if not isinstance(name, str) or not name:
            raise ValueError(f"name: expected the probe's name, got {name!r}")
        self._hand.add_probe(self._name, name, probe, critical=critical, timeout=timeout)

    def supervise(self, service: Service, *, name: str | None = None, restart: Restart | None = None) -> None:
        """Run an async function in the background while the component runs.

        It begins once the component has started, and is cancelled and awaited before the component stops, within the
        component's stop deadline. ``restart`` says what happens when it ends.

        Raises:
            ValueError: ``service`` isn't async, or the component has a service of that name.
        """
        _check_async(service, "service")
        self._hand.supervise(self._name, name or _name_of(service), service, restart or Restart())

    def on_drain(self, hook: DrainHook) -> None:
        """Call an async function when draining begins: readiness fails already, requests are still accepted.

        All hooks run at once, bounded by ``drain_timeout``.

        Raises:
            ValueError: ``hook`` isn't async.
        """
        _check_async(hook, "hook")
        self._hand.add_drain_hook(self._name, hook)

    def extend_timeout(self, seconds: float) -> None:
        """Give the running start or stop ``seconds`` from now: one that progresses earns time.

        As systemd's ``EXTEND_TIMEOUT_USEC``. Outside a start or a stop it does nothing.

        Raises:
            ValueError: ``seconds`` isn't a number above 0.
        """
        _check_seconds(seconds, "seconds")
        self._hand.extend_timeout(self._name, seconds)

    def request_stop(self, reason: str) -> None:
        """Ask the kernel for an orderly stop, as a signal would."""
        self._hand.request_stop(f"{self._name}: {reason}")

    async def wait_ready(self) -> Resources:
        """Wait until every component has started; for background services that must not begin earlier.

        The answer is what all of them provide, for services that do what others have described: a component that knows
        what it needs asks for it in its signature.
        """
        return await self._hand.wait_ready()

    def check_budget(self, resource: str, allowed: int) -> None:
        """Compare what the plan may hold, in all processes, with what the server allows.

        The setting ``limits`` overrules ``allowed``. Above 80 % it warns.

        Raises:
            BudgetExceededError: it is above 100 %, unless the setting ``over_budget`` is ``warn``.
        """
        settings = self._hand.settings
        by = "BANDMASTER_LIMITS" if resource in settings.limits else "the server"
        allowed = settings.limits.get(resource, allowed)
        each = self._hand.plan.budget.get(resource, 0)
        total = each * settings.processes
        # In whole numbers: 0.8 times a number may come out just below it.
        if total * 5 <= allowed * 4:
            return
        share = f"{total / allowed:.0%}" if allowed > 0 else "more than all"
        processes = "one process" if settings.processes == 1 else f"each of {settings.processes} processes"
        message = f"the plan may hold {total} of {resource} ({each} in {processes}), {share} of the {allowed} that {by} allows"
        if total > allowed and settings.over_budget == "refuse":
            raise BudgetExceededError(
                f"{message}. Lower pool sizes or processes, raise the limit, or set BANDMASTER_OVER_BUDGET=warn"
            )
        self._hand.warn(self._name, message)


def _check_async(function: Any, label: str) -> None:
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    # Calling a class makes an instance, whatever calling the instance does.
    called = None if isinstance(inner, type) else getattr(inner, "__call__", None)  # noqa: B004
    if not (inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(called)):
        raise ValueError(
            f"{label}: expected an async function, got {function!r}. Blocking work goes to anyio.to_thread.run_sync"
        )


def _check_seconds(value: Any, label: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"{label}: expected seconds above 0, got {value!r}")


def _name_of(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)
