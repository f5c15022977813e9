"""A plan and its run: what the launcher, the application and the worker all drive."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio

from bandmaster.kernel import events
from bandmaster.kernel.contributions.layer_classes import LayerClass
from bandmaster.kernel.contributions.model import GROUPS, Contribution
from bandmaster.kernel.discovery.discover import Discovery, discover
from bandmaster.kernel.discovery.entry_points import PREFIX
from bandmaster.kernel.events import Event, Listener
from bandmaster.kernel.lifecycle.context import Context, DrainHook, Probe
from bandmaster.kernel.lifecycle.engine import Engine, Phase
from bandmaster.kernel.lifecycle.health import Check, Health, Report, combine
from bandmaster.kernel.lifecycle.resources import Resources
from bandmaster.kernel.lifecycle.restart import Restart, Service
from bandmaster.kernel.listeners.event_log import Journal
from bandmaster.kernel.listeners.timeline import Timeline
from bandmaster.kernel.planning.deadlines import Deadlines
from bandmaster.kernel.planning.make import make_plan
from bandmaster.kernel.planning.plan import Plan
from bandmaster.kernel.settings.kernel import KernelSettings
from bandmaster.kernel.settings.reading import read_one, read_settings
from bandmaster.kernel.text import duration, near


class Kernel:
    """Finds parts, plans them at once, and runs the plan: ``async with Kernel().running() as resources:``.

    ``contributions`` come in addition to what is installed, unless ``discover`` is off. ``disable`` names parts to
    leave out, in every group (``audit``) or in one (``lifespan:audit``). ``overrides`` replaces what components provide, or settings, by type. ``role`` starts only what belongs
    to it; none starts everything. ``serves`` says whether there is an application to serve requests with, and so whether
    layers, routes and error handlers are planned; unless given, there is for the role ``web`` and for none.

    Raises:
        DiscoveryError: installed parts that can't be found, trusted or loaded.
        PlanError: parts that don't fit together, settings that are missing or wrong.
        ValueError: an argument is of the wrong kind.
    """

    def __init__(
        self,
        *,
        contributions: Iterable[Contribution | LayerClass] = (),
        discover: bool = True,
        disable: Iterable[str] = (),
        overrides: Mapping[Any, Any] | None = None,
        role: str | None = None,
        settings: KernelSettings | None = None,
        serves: bool | None = None,
        listeners: Iterable[Listener] = (),
    ) -> None:
        given = given_parts(contributions)
        disabled = _words(disable)
        self._arguments: dict[str, Any] = {"contributions": given, "discover": discover, "disable": disabled}
        told = tuple(_iterable(listeners, "listeners", "functions"))
        for listener in told:
            _check_listener(listener)
        if role is not None and (not isinstance(role, str) or not role):
            raise ValueError(f"role: expected a name, or None for every role, got {role!r}")
        overrides = given_overrides(overrides)
        self.settings = kernel_settings(settings, overrides)
        self._arguments |= {"overrides": overrides, "settings": self.settings, "listeners": told}
        disabled |= self.settings.disable
        self.discovery = _discover(self.settings, disabled, given) if discover else Discovery()
        warnings = list(self.discovery.warnings)
        if not discover:
            warnings += _unknown_names(disabled, given)
        self.plan: Plan = make_plan(
            [*self.discovery.contributions, *(part for part in given if not disabled & _addresses(part))],
            role=role,
            serves=serves,
            overrides={**overrides, KernelSettings: self.settings},
            read_settings=read_settings,
            context=Context,
            deadlines=Deadlines(
                start=self.settings.start_timeout,
                stop=self.settings.stop_timeout,
                left_for_stops=self.settings.left_for_stops,
            ),
            processes=self.settings.processes,
            known=[_bare(word) for word in disabled] + [part.found.name for part in self.discovery.left_out],
            warnings=warnings,
        )
        self.timeline = Timeline(self.plan)
        self._listeners: list[Listener] = [Journal(self.plan), self.timeline, *told]
        self._run: _Run | None = None

    def for_role(
        self, role: str | None, *, overrides: Mapping[Any, Any] | None = None, settings: KernelSettings | None = None
    ) -> Kernel:
        """A kernel of the same parts, settings, overrides and listeners for another role: `bandmaster worker` makes one.

        ``overrides`` come on top of its own, ``settings`` in place of them. It serves no requests unless the role is
        ``web``.

        Raises:
            DiscoveryError, PlanError, ValueError: as `Kernel` does.
        """
        arguments = {**self._arguments, "overrides": {**self._arguments["overrides"], **given_overrides(overrides)}}
        if settings is not None:
            arguments["settings"] = settings
        return Kernel(role=role, **arguments)

    @property
    def role(self) -> str | None:
        """The role that it runs."""
        return self.plan.role

    @property
    def phase(self) -> Phase:
        """What it is at; between two runs, how the last one ended."""
        return self._run.phase if self._run is not None else Phase.NEW

    @property
    def is_running(self) -> bool:
        """Whether a run is under way, from its first start to its last stop."""
        return self.phase not in (Phase.NEW, Phase.STOPPED, Phase.FAILED)

    @property
    def is_ready(self) -> bool:
        """Whether everything has started, and nothing has asked for a stop."""
        return self.phase is Phase.READY

    def listen(self, listener: Listener) -> None:
        """Tell a function of everything that happens from now on.

        Raises:
            ValueError: ``listener`` can't be called.
        """
        _check_listener(listener)
        self._listeners.append(listener)

    @contextmanager
    def listening(self, *listeners: Listener) -> Iterator[None]:
        """Tell functions of everything that happens meanwhile.

        Raises:
            ValueError: one of them can't be called.
        """
        for listener in listeners:
            self.listen(listener)
        try:
            yield
        finally:
            self._listeners = [other for other in self._listeners if other not in listeners]

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
        if self.is_running:
            raise RuntimeError("this kernel runs already; a second run beside it needs a Kernel of its own")
        run = self._run = _Run(self.plan, self.settings, self.emit)
        for message in self.plan.warnings:
            run.warn("kernel", message)
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

    async def drain(self) -> int:
        """Fail readiness and run all drain hooks, side by side, within ``drain_timeout``. A second caller waits for the
        first; where nothing serves any more, there is nothing to do. The answer is `cut_short`.

        The application's requests in flight are waited for by `Application.drain`, which calls this.
        """
        await self._running().drain()
        return self.cut_short

    @property
    def cut_short(self) -> int:
        """How many drain hooks of this run, or of the last, weren't over when the time for them was."""
        return self._run.cut_short if self._run is not None else 0

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
        report = await self._running().ready()
        # The probes took their time, and the stop may have begun meanwhile.
        return report if self.phase is Phase.READY else await self.ready()

    def emit(self, event: Event) -> None:
        """Tell all listeners. One that fails is told no more: what happens must not depend on who looks on."""
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception as error:  # noqa: BLE001  # whatever it is, the others must still be told
                if listener not in self._listeners:
                    continue  # it failed at being told of another's failure, too
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
        self._drained: anyio.Event | None = None
        self._drain_hooks: list[tuple[str, DrainHook]] = []
        self.cut_short = 0
        self.resources: Resources | None = None
        self._stop_reason: str | None = None
        self._stop_requested = anyio.Event()
        self._settled = anyio.Event()
        self._started: set[str] = set()

    @property
    def phase(self) -> Phase:
        phase = self.engine.phase
        leaving = self._drained is not None or self._stop_reason is not None
        return Phase.DRAINING if phase is Phase.READY and leaving else phase

    @property
    def plan(self) -> Plan:
        return self._plan

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
        if self._drained is not None:
            await self._drained.wait()
        elif self.engine.phase is Phase.READY:
            self._drained = anyio.Event()
            try:
                await self._run_drain_hooks()
            finally:
                self._drained.set()

    async def _run_drain_hooks(self) -> None:
        seconds = self.settings.drain_timeout
        left = dict(enumerate(self._drain_hooks))
        self.cut_short = len(left)

        async def run(number: int, component: str, hook: DrainHook) -> None:
            try:
                await hook()
            except Exception as error:  # noqa: BLE001  # one hook must not end the others; the stop goes on
                self.warn(component, f"a drain hook failed: {type(error).__name__}: {error}")
            del left[number]
            self.cut_short = len(left)

        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as tasks:
                for number, (component, hook) in enumerate(self._drain_hooks):
                    tasks.start_soon(run, number, component, hook)
        for component, _ in left.values():
            self.warn(component, f"a drain hook didn't end within {duration(seconds)} and was cut short")

    async def ready(self) -> Report:
        degraded = self.engine.degraded_by
        died = [Check(name, name, "fail", "died") for name in sorted(degraded)]
        report = await self.health.check()
        # A probe often has its component's name, and may well pass where something else of it has died.
        return combine([*died, *(check for check in report.checks if check.name not in degraded)])

    # -- what a Context asks for -------------------------------------------------------------------------------

    def add_probe(self, component: str, name: str, probe: Probe, *, critical: bool, timeout: float) -> None:
        self.health.add(component, name, probe, critical=critical, timeout=timeout)

    def supervise(self, component: str, name: str, service: Service, restart: Restart) -> None:
        self.engine.supervise(component, name, service, restart)

    def add_drain_hook(self, component: str, hook: DrainHook) -> None:
        self._drain_hooks.append((component, hook))

    def extend_timeout(self, component: str, seconds: float) -> None:
        self.engine.extend(component, seconds)

    async def wait_ready(self) -> Resources:
        await self._settled.wait()
        assert self.resources is not None
        return self.resources

    def warn(self, component: str, message: str) -> None:
        self._emit(events.Warned(at=anyio.current_time(), component=component, message=message))

    # -- what happens ------------------------------------------------------------------------------------------

    def _emitted(self, event: Event) -> None:
        if isinstance(event, events.ComponentStarted):
            self._started.add(event.component)
        elif isinstance(event, events.Ready):
            self.resources = self.engine.resources
            self._settled.set()
        elif isinstance(event, _GONE):
            self.health.forget(event.component)
        self._emit(event)

    def _probe_changed(self, check: Check) -> None:
        now = anyio.current_time()
        if check.status == "pass":
            self._emit(events.ReadinessRegained(at=now, probe=check.name))
        else:
            self._emit(events.ReadinessLost(at=now, probe=check.name, status=check.status, reason=check.reason))


_GONE = (events.ComponentStartFailed, events.ComponentStartCancelled, events.ComponentStopping)
"""After these a component has nothing more to be asked."""


def given_parts(contributions: Iterable[Contribution | LayerClass]) -> tuple[Contribution, ...]:
    """The contributions that code hands over.

    Raises:
        ValueError: one of them is something else.
    """
    given = tuple(_iterable(contributions, "contributions", "contributions"))
    for part in given:
        if not isinstance(part, Contribution):
            name = getattr(part, "__name__", repr(part))
            raise ValueError(
                f"contributions: {name} is no contribution; decorate it with @lifespan(...) or @middleware(...), or make "
                "a LifespanContribution, MiddlewareContribution, RouteContribution or ErrorHandlerContribution of it"
            )
    return given


def given_overrides(overrides: Mapping[Any, Any] | None) -> dict[Any, Any]:
    """A copy of the overrides that code hands over.

    Raises:
        ValueError: they are something else.
    """
    if overrides is not None and not isinstance(overrides, Mapping):
        raise ValueError(f"overrides: expected a mapping like {{Database: fake}}, got {overrides!r}")
    return dict(overrides or {})


def kernel_settings(settings: KernelSettings | None, overrides: dict[Any, Any]) -> KernelSettings:
    """The kernel's settings as given, as overridden (which is taken out of ``overrides``), or from the environment.

    Raises:
        PlanError: they can't be read.
        ValueError: what is given is something else, or both are given.
    """
    overridden = overrides.pop(KernelSettings, None)
    for label, value in (("settings", settings), ("overrides", overridden)):
        if value is not None and not isinstance(value, KernelSettings):
            raise ValueError(f"{label}: expected KernelSettings, got {type(value).__name__}")
    if settings is not None and overridden is not None:
        raise ValueError("settings: overrides has KernelSettings as well; give them once")
    given = settings if overridden is None else overridden
    if given is not None:
        return given
    return read_one(KernelSettings)


def _discover(settings: KernelSettings, disabled: Iterable[str], given: Iterable[Contribution]) -> Discovery:
    return discover(
        mode=settings.plugins,
        allow=settings.allow,
        disable=disabled,
        lock=settings.lock_file,
        elsewhere=[part.name for part in given],
    )


def _iterable(values: Iterable[Any], label: str, kind: str) -> Iterable[Any]:
    if not isinstance(values, Iterable):
        raise ValueError(f"{label}: expected a list of {kind}, got {values!r}")
    return values


def _check_listener(listener: object) -> None:
    if not callable(listener):
        raise ValueError(f"listeners: expected functions that take an event, got {listener!r}")


def _words(names: Iterable[str]) -> frozenset[str]:
    """Names as `trust.admit` reads them: one or many, commas between them."""
    given = [names] if isinstance(names, str) else list(_iterable(names, "disable", "names"))
    for name in given:
        if not isinstance(name, str):
            raise ValueError(f"disable: expected names, got {name!r}")
    return frozenset(word.strip() for name in given for word in name.split(",") if word.strip())


def _addresses(part: Contribution) -> frozenset[str]:
    """What a part may be disabled by: its name, alone or with its group, as for those that are installed."""
    group = next(group for group, kind in GROUPS.items() if isinstance(part, kind))
    return frozenset((part.name, f"{group.removeprefix(PREFIX)}:{part.name}", f"{group}:{part.name}"))


def _bare(word: str) -> str:
    return word.rpartition(":")[2]


def _unknown_names(disabled: Iterable[str], given: Iterable[Contribution]) -> list[str]:
    names = {part.name for part in given}
    known = names.union(*map(_addresses, given))
    return [
        f"{name!r} is disabled, but no part has that name.{near(name, sorted(known - names if ':' in name else names))}"
        for name in sorted(set(disabled) - known)
    ]
