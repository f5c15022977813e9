"""A plan and its runs: the object that the launcher, the application and the worker drive."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import fields, replace
from typing import Any

import sniffio

from bandmaster.kernel import events
from bandmaster.kernel.contributions.layer_classes import LayerClass
from bandmaster.kernel.contributions.model import Contribution
from bandmaster.kernel.errors import PlanError
from bandmaster.kernel.events import Event, Listener
from bandmaster.kernel.lifecycle.blocked_phases import ReportBlocked
from bandmaster.kernel.lifecycle.composition import Composition
from bandmaster.kernel.lifecycle.health import Check, Report, combine
from bandmaster.kernel.lifecycle.phases import Phase
from bandmaster.kernel.lifecycle.resources import Resources
from bandmaster.kernel.lifecycle.run import Run
from bandmaster.kernel.listeners.event_history import EventHistory
from bandmaster.kernel.listeners.event_log import EventLog
from bandmaster.kernel.listeners.timeline import Timeline
from bandmaster.kernel.planning.conditions import SettingsReader
from bandmaster.kernel.planning.plan import Plan
from bandmaster.kernel.planning.start_checks import EventLoop, check_start
from bandmaster.kernel.settings.environment import use_environment
from bandmaster.kernel.settings.kernel import KernelSettings


class Kernel:
    """Finds parts, plans them at once, and runs the plan: ``async with Kernel().running() as resources:``.

    ``contributions`` come in addition to installed parts, unless ``discover`` is off. ``disable`` names parts to leave
    out, in every group (``audit``) or in one (``lifespan:audit``). Of ``contributions``, a part with the name of a
    disabled installed one takes its place. ``overrides`` replaces resources and settings, by type: the component that
    provides an overridden type isn't started, and neither are those that decorate it. ``role`` starts only the
    components that belong to it; none starts all. ``serves`` says whether layers, routes and error handlers are
    planned, for there is an application to serve requests with; unless given, it is true for the role ``web`` and for
    no role. ``env_file`` is a file of lines ``NAME=value``: all settings are read from the variables of the process
    and, where those have no such variable, from the file. The option ``--env-file`` of a command has precedence over
    the argument, and the argument over the variable ``BANDMASTER_ENV_FILE``. ``read_settings`` reads the settings of
    parts in another way.

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
        disable: str | Iterable[str] = (),
        overrides: Mapping[Any, Any] | None = None,
        role: str | None = None,
        settings: KernelSettings | None = None,
        env_file: str | os.PathLike[str] | None = None,
        serves: bool | None = None,
        listeners: Iterable[Listener] = (),
        read_settings: SettingsReader | None = None,
    ) -> None:
        composition = Composition.check(
            contributions=contributions,
            discover=discover,
            disable=disable,
            overrides=overrides,
            settings=settings,
            env_file=env_file,
            read_settings=read_settings,
        )
        if role is not None and (not isinstance(role, str) or not role):
            raise ValueError(f"role: expected a name, or None for every role, got {role!r}")
        self._composition = composition
        self._given_listeners = _check_listeners(listeners)
        self.settings = composition.settings
        self._serves = serves
        self.discovery, self._plan = composition.plan(role, serves=serves)
        self.timeline = Timeline(self._plan)
        self._listeners: list[Listener] = [EventLog(self._plan), self.timeline, *self._given_listeners]
        self._history = EventHistory()
        self._report_blocked: ReportBlocked | None = None
        self._run: Run | None = None

    def for_role(
        self,
        role: str | None,
        *,
        overrides: Mapping[Any, Any] | None = None,
        settings: KernelSettings | None = None,
    ) -> Kernel:
        """Make a kernel of the same parts, settings, overrides and listeners for another role.

        ``overrides`` come on top of its own, ``settings`` in place of them. It serves no requests unless the role is
        ``web``.

        Raises:
            DiscoveryError, PlanError, ValueError: as `Kernel` does.
        """
        changed = self._composition.change(overrides, settings)
        arguments = {field.name: getattr(changed, field.name) for field in fields(changed)}
        with use_environment(arguments.pop("environment")):
            return Kernel(role=role, listeners=self._given_listeners, **arguments)

    def check_start(self, event_loop: EventLoop = EventLoop.ASYNCIO) -> tuple[str, ...]:
        """Run the checks of all components, as each start does at first, and return the warnings. Opens nothing.

        Raises:
            PlanError: a check has found a problem, for which nothing would be started.
        """
        findings = check_start(self.plan, event_loop)
        if findings.problems:
            raise PlanError(findings.problems)
        return findings.warnings

    def use_environment(self) -> AbstractContextManager[None]:
        """Read settings as this kernel does, its env file included, until the block ends."""
        return use_environment(self._composition.environment)

    @property
    def plan(self) -> Plan:
        """The checked order of everything."""
        return self._plan

    def plan_without_settings(self) -> Plan:
        """The plan as it is before any settings are known: every part with a condition is in it.

        Its order is the same in every environment. It isn't meant to be run.

        Raises:
            DiscoveryError, PlanError: as `Kernel` does.
        """
        return self._composition.plan(self.role, serves=self._serves, read_settings=lambda _: ({}, ()))[1]

    def extend(self, contributions: Iterable[Contribution]) -> None:
        """Plan again with further contributions, without another search for installed parts.

        Raises:
            PlanError: they don't fit in.
            RuntimeError: the kernel runs already.
        """
        if self.is_running:
            raise RuntimeError("this kernel runs already; its plan can be extended before it starts")
        self._composition = replace(self._composition, contributions=(*self._composition.contributions, *contributions))
        _, self._plan = self._composition.plan(self.role, serves=self._serves, discovery=self.discovery)
        self.timeline = Timeline(self._plan)
        others = [listener for listener in self._listeners if not isinstance(listener, EventLog | Timeline)]
        self._listeners = [EventLog(self._plan), self.timeline, *others]

    @contextmanager
    def substitute_plan(self, plan: Plan) -> Iterator[None]:
        """Run another plan of the same components meanwhile: the test kit puts faults into some of them.

        Raises:
            RuntimeError: the kernel runs already.
            ValueError: the plan has other components.
        """
        own = self._plan
        if self.is_running:
            raise RuntimeError("this kernel runs already; its plan can be substituted before it starts")
        if plan.by_name.keys() != own.by_name.keys():
            raise ValueError(f"plan: expected the components of {own!r}, got {plan!r}")
        self._plan = plan
        try:
            yield
        finally:
            self._plan = own

    @property
    def role(self) -> str | None:
        """The role whose components the plan starts; none means every role."""
        return self.plan.role

    @property
    def provided(self) -> Resources:
        """The values that the components have provided so far in this run, or in the last one."""
        return self._run.engine.resources if self._run is not None else Resources()

    @property
    def phase(self) -> Phase:
        """The phase of the run; between two runs, how the last one ended."""
        return self._run.phase if self._run is not None else Phase.NEW

    @property
    def is_running(self) -> bool:
        """Whether a run is under way, from the first start to the last stop."""
        return self.phase not in (Phase.NEW, Phase.STOPPED, Phase.FAILED)

    @property
    def is_ready(self) -> bool:
        """Whether every component has started and no stop has been requested."""
        return self.phase is Phase.READY

    def listen(self, listener: Listener) -> None:
        """Call a function with every event from now on.

        Raises:
            ValueError: ``listener`` can't be called.
        """
        _check_listener(listener)
        self._listeners.append(listener)

    def report_blocked_to(self, report_blocked: ReportBlocked | None) -> None:
        """Call a function, in another thread, when the event loop of a run is blocked past a component's deadline."""
        self._report_blocked = report_blocked

    @contextmanager
    def listening(self, *listeners: Listener) -> Iterator[None]:
        """Call functions with every event until the block ends.

        Raises:
            ValueError: one of them can't be called.
        """
        for listener in listeners:
            self.listen(listener)
        try:
            yield
        finally:
            self._listeners = [other for other in self._listeners if other not in listeners]

    @contextmanager
    def _listening_from_start(self, listener: Listener) -> Iterator[None]:
        """Call a function with the events of this run so far, and with every event until the block ends."""
        for event in self._history:
            listener(event)
        with self.listening(listener):
            yield

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Resources, None]:
        """Start every component, yield the resources, stop every component. One run at a time.

        Raises:
            StartError: a component failed to start; the others have been stopped again.
            StartCancelled: `request_stop` was called before every component had started.
            CrashError: a component died while serving.
            StopError: a component failed to stop.
            PlanError: the check of a component has found a problem; nothing was started.
            RuntimeError: the kernel runs already.
        """
        if self.is_running:
            raise RuntimeError("this kernel runs already; a second run beside it needs a Kernel of its own")
        warnings = self.check_start(EventLoop(sniffio.current_async_library()))
        self._history = EventHistory()
        run = self._run = Run(
            self.plan, self.settings, self.emit, self._report_blocked, listening=self._listening_from_start
        )
        for message in (*self.plan.warnings, *warnings):
            run.warn("kernel", message)
        with run.blocked_phases:
            async with run.engine.running() as resources:
                yield resources

    def request_stop(self, reason: str) -> None:
        """Request an orderly stop: a start under way is rolled back, and `wait_stop_requested` returns.

        Idempotent; without a run, a request has no effect.
        """
        if self._run is not None:
            self._run.request_stop(reason)

    async def wait_stop_requested(self) -> str:
        """Wait until a stop is requested; returns the reason."""
        return await self._get_run().wait_stop_requested()

    async def drain(self) -> int:
        """Fail readiness and run all drain hooks, side by side, within ``drain_timeout``; returns `cut_short`.

        A second caller waits for the first. `Application.drain` calls this, and waits for requests in flight beside.
        """
        await self._get_run().drain()
        return self.cut_short

    @property
    def cut_short(self) -> int:
        """How many drain hooks of this run, or of the last, had not ended when ``drain_timeout`` was over."""
        return self._run.cut_short if self._run is not None else 0

    async def live(self) -> Report:
        """Whether the process works at all; the answer never depends on another process."""
        return Report("pass")

    async def started(self) -> Report:
        """Whether every component has started; while starting, the report names those that have not."""
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
        """Whether new work may come: started, not draining, every critical probe passes, every service runs."""
        if self.phase is not Phase.READY:
            return Report("fail", (Check("kernel", "kernel", "fail", self.phase.value),))
        report = await self._get_run().ready()
        # The probes took their time, and the stop may have begun meanwhile.
        return report if self.phase is Phase.READY else await self.ready()

    def emit(self, event: Event) -> None:
        """Call all listeners. One that fails is removed: a listener must not change what it observes."""
        self._history(event)
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception as error:  # noqa: BLE001  # the other listeners must be called all the same
                if listener not in self._listeners:
                    continue  # it failed again, on the event of another listener's failure
                self._listeners.remove(listener)
                message = f"the listener {listener!r} failed and was removed: {type(error).__name__}: {error}"
                self.emit(events.Warned(at=event.at, component="kernel", message=message))

    def _get_run(self) -> Run:
        if self._run is None:
            raise RuntimeError("this kernel doesn't run; enter running() first")
        return self._run


def _check_listeners(listeners: Iterable[Listener]) -> tuple[Listener, ...]:
    if not isinstance(listeners, Iterable):
        raise ValueError(f"listeners: expected a list of functions, got {listeners!r}")
    given = tuple(listeners)
    for listener in given:
        _check_listener(listener)
    return given


def _check_listener(listener: object) -> None:
    if not callable(listener):
        raise ValueError(f"listeners: expected functions that take an event, got {listener!r}")
