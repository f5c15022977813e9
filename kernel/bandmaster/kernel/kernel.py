"""A plan and its run: what the launcher, the application and the worker all drive."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio

from bandmaster.kernel import events
from bandmaster.kernel.context import Context, DrainHook, Probe
from bandmaster.kernel.contributions import Contribution
from bandmaster.kernel.deadlines import Deadlines
from bandmaster.kernel.discovery import Discovery, discover
from bandmaster.kernel.errors import PlanError
from bandmaster.kernel.events import Event, Listener
from bandmaster.kernel.health import Check, Health, Report, combine
from bandmaster.kernel.journal import Journal
from bandmaster.kernel.lifecycle import Engine, Phase
from bandmaster.kernel.plan import Plan
from bandmaster.kernel.planning import make_plan
from bandmaster.kernel.resources import Resources
from bandmaster.kernel.settings import KernelSettings, read_settings
from bandmaster.kernel.supervision import Restart, Service
from bandmaster.kernel.timeline import Timeline
from bandmaster.kernel.wording import near


class Kernel:
    """Finds parts, plans them at once, and runs the plan: ``async with Kernel().running() as resources:``.

    ``contributions`` come in addition to what is installed, unless ``discover`` is off. ``disable`` names parts to
    leave out. ``overrides`` replaces what components provide, or settings, by type. ``role`` starts only what belongs
    to it; none starts everything.

    Raises:
        DiscoveryError: installed parts that can't be found, trusted or loaded.
        PlanError: parts that don't fit together, settings that are missing or wrong.
        ValueError: an argument is of the wrong kind.
    """

    def __init__(
        self,
        *,
        contributions: Iterable[Contribution] = (),
        discover: bool = True,
        disable: Iterable[str] = (),
        overrides: Mapping[Any, Any] | None = None,
        role: str | None = None,
        settings: KernelSettings | None = None,
        listeners: Iterable[Listener] = (),
    ) -> None:
        overrides = dict(overrides or {})
        self.settings = kernel_settings(settings, overrides)
        given = tuple(contributions)
        _check_contributions(given)
        disabled = _names(disable) | self.settings.disable
        self.discovery = _discover(self.settings, disabled, given) if discover else Discovery()
        warnings = list(self.discovery.warnings)
        if not discover:
            warnings += _unknown_names(disabled, given)
        self.plan: Plan = make_plan(
            [*self.discovery.contributions, *(part for part in given if part.name not in disabled)],
            role=role,
            overrides={**overrides, KernelSettings: self.settings},
            read_settings=read_settings,
            context=Context,
            deadlines=Deadlines(
                start=self.settings.start_timeout,
                stop=self.settings.stop_timeout,
                left_for_stops=self.settings.left_for_stops,
            ),
            processes=self.settings.processes,
            known=[*disabled, *(part.found.name for part in self.discovery.left_out)],
            warnings=warnings,
        )
        self.timeline = Timeline(self.plan)
        self._listeners: list[Listener] = [Journal(self.plan), self.timeline, *listeners]
        self._run: _Run | None = None

    @property
    def role(self) -> str | None:
        """The role that it runs."""
        return self.plan.role

    @property
    def phase(self) -> Phase:
        """What it is at; between two runs, how the last one ended."""
        return self._run.phase if self._run is not None else Phase.NEW

    @property
    def is_ready(self) -> bool:
        """Whether everything has started, and nothing has asked for a stop."""
        return self.phase is Phase.READY

    def listen(self, listener: Listener) -> None:
        """Tell a function of everything that happens from now on."""
        self._listeners.append(listener)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Resources, None]:
        """Start everything, hand out what it provides, stop everything. One run at a time.

        Raises:
            StartError: a component failed to start; everything has been stopped again.
            StartCancelled: `request_stop` was called before everything had started.
            CrashError: a component died while serving.
            StopError: something failed while stopping.
            RuntimeError: the kernel runs already.
        """
        if self._run is not None and self._run.phase not in (Phase.STOPPED, Phase.FAILED):
            raise RuntimeError("this kernel runs already; another run needs another Kernel")
        run = self._run = _Run(self.plan, self.settings, self.emit)
        async with run.engine.running() as resources:
            yield resources

    def request_stop(self, reason: str) -> None:
        """Ask for an orderly stop: a start under way is rolled back, a body waiting in `wait_stop_requested` goes on.

        Idempotent; without a run it does nothing.
        """
        if self._run is not None:
            self._run.request_stop(reason)

    async def wait_stop_requested(self) -> str:
        """Wait until somebody asks for a stop; the answer is the reason."""
        return await self._running().wait_stop_requested()

    async def drain(self) -> None:
        """Fail readiness and run all drain hooks, side by side, within ``drain_timeout``.

        The application's requests in flight are waited for by `Application.drain`, which calls this.
        """
        await self._running().drain()

    async def live(self) -> Report:
        """Whether the process can do anything at all: never depends on anything outside it."""
        return Report("pass")

    async def started(self) -> Report:
        """Whether everything has started; while starting, the components that haven't."""
        if self.phase in (Phase.READY, Phase.DRAINING):
            return Report("pass")
        missing = self._run.unstarted if self._run is not None else [part.name for part in self.plan.components]
        return combine(
            [
                Check("kernel", "kernel", "fail", self.phase.value),
                *(Check(name, name, "fail", "not started") for name in missing),
            ]
        )

    async def ready(self) -> Report:
        """Whether new work may come: started, not draining, every critical probe passes, no service given up."""
        if self.phase is not Phase.READY:
            return Report("fail", (Check("kernel", "kernel", "fail", self.phase.value),))
        return await self._running().ready()

    def emit(self, event: Event) -> None:
        """Tell all listeners. One that fails is told no more: what happens must not depend on who looks on."""
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception as error:  # noqa: BLE001  # whatever it is, the others must still be told
                self._listeners.remove(listener)
                message = f"the listener {listener!r} failed and is told no more: {type(error).__name__}: {error}"
                self.emit(events.Warned(at=event.at, component="kernel", message=message))

    def _running(self) -> _Run:
        if self._run is None:
            raise RuntimeError("this kernel doesn't run; enter running() first")
        return self._run


class _Run:
    """One run of a kernel: the engine, and what components have registered with it."""

    def __init__(self, plan: Plan, settings: KernelSettings, emit: Listener) -> None:
        self.settings = settings
        self.engine = Engine(
            plan,
            make_context=lambda component: Context(component, self),
            emit=self._emitted,
            abandon_after=settings.abandon_after,
        )
        self.health = Health(changed=self._probe_changed)
        self._plan = plan
        self._emit = emit
        self._draining = False
        self._drain_hooks: list[tuple[str, DrainHook]] = []
        self._stop_reason: str | None = None
        self._stop_requested = anyio.Event()
        self._settled = anyio.Event()
        self._started: set[str] = set()

    @property
    def phase(self) -> Phase:
        phase = self.engine.phase
        return Phase.DRAINING if phase is Phase.READY and (self._draining or self._stop_reason is not None) else phase

    @property
    def budget(self) -> Mapping[str, int]:
        return self._plan.budget

    @property
    def unstarted(self) -> list[str]:
        return [component.name for component in self._plan.components if component.name not in self._started]

    def request_stop(self, reason: str) -> None:
        if self._stop_reason is None and self.engine.phase not in (Phase.STOPPED, Phase.FAILED):
            self._stop_reason = reason
            self._emit(events.StopRequested(at=anyio.current_time(), reason=reason))
            self._stop_requested.set()
            self.engine.stop(reason)

    async def wait_stop_requested(self) -> str:
        await self._stop_requested.wait()
        return self._stop_reason or ""

    async def drain(self) -> None:
        if self._draining:
            return
        self._draining = True
        with anyio.move_on_after(self.settings.drain_timeout):
            async with anyio.create_task_group() as tasks:
                for component, hook in self._drain_hooks:
                    tasks.start_soon(self._run_drain_hook, component, hook)

    async def _run_drain_hook(self, component: str, hook: DrainHook) -> None:
        try:
            await hook()
        except Exception as error:  # noqa: BLE001  # one hook must not end the others; the stop goes on
            self.warn(component, f"a drain hook failed: {type(error).__name__}: {error}")

    async def ready(self) -> Report:
        degraded = [Check(name, name, "fail", "died") for name in sorted(self.engine.degraded_by)]
        report = await self.health.check()
        return combine([*degraded, *report.checks])

    # -- what a Context asks for -------------------------------------------------------------------------------

    def add_probe(self, component: str, name: str, probe: Probe, *, critical: bool, timeout: float) -> None:
        self.health.add(component, name, probe, critical=critical, timeout=timeout)

    def supervise(self, component: str, name: str, service: Service, restart: Restart) -> None:
        self.engine.supervise(component, name, service, restart)

    def add_drain_hook(self, component: str, hook: DrainHook) -> None:
        self._drain_hooks.append((component, hook))

    def extend_timeout(self, component: str, seconds: float) -> None:
        self.engine.extend(component, seconds)

    async def wait_ready(self) -> None:
        await self._settled.wait()

    def warn(self, component: str, message: str) -> None:
        self._emit(events.Warned(at=anyio.current_time(), component=component, message=message))

    # -- what happens ------------------------------------------------------------------------------------------

    def _emitted(self, event: Event) -> None:
        if isinstance(event, events.ComponentStarted):
            self._started.add(event.component)
        elif isinstance(event, events.Ready):
            self._settled.set()
        elif isinstance(event, events.ComponentStopped | events.ComponentStartFailed):
            self.health.forget(event.component)
        self._emit(event)

    def _probe_changed(self, check: Check) -> None:
        now = anyio.current_time()
        if check.status == "pass":
            self._emit(events.ReadinessRegained(at=now, probe=check.name))
        else:
            self._emit(events.ReadinessLost(at=now, probe=check.name, status=check.status, reason=check.reason))


def kernel_settings(settings: KernelSettings | None, overrides: dict[Any, Any]) -> KernelSettings:
    """The kernel's settings as given, as overridden (which is taken out of ``overrides``), or from the environment.

    Raises:
        PlanError: they can't be read.
        ValueError: ``settings`` is something else.
    """
    overridden = overrides.pop(KernelSettings, None)
    if settings is not None and not isinstance(settings, KernelSettings):
        raise ValueError(f"settings: expected KernelSettings, got {type(settings).__name__}")
    if settings is not None or overridden is not None:
        return settings or overridden
    values, problems = read_settings([KernelSettings])
    if problems:
        raise PlanError(problems)
    read = values[KernelSettings]
    assert isinstance(read, KernelSettings)
    return read


def _check_contributions(given: Iterable[object]) -> None:
    for part in given:
        if not isinstance(part, Contribution):
            name = getattr(part, "__name__", repr(part))
            raise ValueError(
                f"contributions: {name} is no contribution; decorate it with @lifespan(...) or @middleware(...), or make "
                "a LifespanContribution, MiddlewareContribution, RouteContribution or ErrorHandlerContribution of it"
            )


def _discover(settings: KernelSettings, disabled: Iterable[str], given: Iterable[Contribution]) -> Discovery:
    return discover(
        mode=settings.plugins,
        allow=settings.allow,
        disable=disabled,
        lock=settings.lock_file,
        elsewhere=[part.name for part in given],
    )


def _names(names: Iterable[str] | str) -> frozenset[str]:
    return frozenset((names,) if isinstance(names, str) else names)


def _unknown_names(disabled: Iterable[str], given: Iterable[Contribution]) -> list[str]:
    known = {part.name for part in given}
    return [f"disable names {name!r}, which isn't there.{near(name, known)}" for name in sorted(set(disabled) - known)]
