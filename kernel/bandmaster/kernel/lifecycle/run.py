"""One run of a kernel: the engine, and the registrations of components."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

import anyio

from bandmaster.kernel import events
from bandmaster.kernel.events import Event, Listener
from bandmaster.kernel.lifecycle.blocked_phases import BlockedPhases, ReportBlocked
from bandmaster.kernel.lifecycle.context import Context, DrainHook, Probe
from bandmaster.kernel.lifecycle.engine import Engine
from bandmaster.kernel.lifecycle.health import Check, Health, Report, combine
from bandmaster.kernel.lifecycle.phases import Phase
from bandmaster.kernel.lifecycle.resources import Resources
from bandmaster.kernel.lifecycle.restart import Restart, Service
from bandmaster.kernel.planning.plan import Plan
from bandmaster.kernel.settings.kernel import KernelSettings
from bandmaster.kernel.text import render_duration

_GONE = (
    events.ComponentStartFailed,
    events.ComponentStartRetrying,
    events.ComponentStartCancelled,
    events.ComponentDegraded,
    events.ComponentStopping,
)
"""The events after which the probes and drain hooks of a component aren't called any more."""


_OVER = (
    events.ComponentStartFailed,
    events.ComponentStartRetrying,
    events.ComponentStartCancelled,
    events.ComponentDegraded,
    events.ComponentStopped,
    events.ComponentStopFailed,
)
"""The events after which the listeners of a component aren't called any more."""


class Run:
    """One run of a kernel.

    It is the service that a `Context` calls: probes, background services and drain hooks register here.
    """

    def __init__(
        self,
        plan: Plan,
        settings: KernelSettings,
        emit: Listener,
        report_blocked: ReportBlocked | None = None,
        *,
        listening: Callable[[Listener], AbstractContextManager[None]],
    ) -> None:
        self.settings = settings
        self.engine = Engine(
            plan,
            make_context=lambda component: Context(component, self),
            emit=self._handle_event,
            abandon_after=settings.abandon_after,
        )
        self.blocked_phases = BlockedPhases(plan, emit, report_blocked)
        self.health = Health(changed=self._emit_probe_change)
        self._plan = plan
        self._emit = emit
        self._listening = listening
        self._listeners: dict[str, ExitStack] = {}
        """For each component that listens, what ends that."""
        self._drained: anyio.Event | None = None
        self._drain_hooks: list[tuple[str, DrainHook]] = []
        self.cut_short = 0
        self.resources: Resources | None = None
        self._stop_reason: str | None = None
        self._stop_requested = anyio.Event()
        self._all_started = anyio.Event()
        self._started: set[str] = set()

    @property
    def phase(self) -> Phase:
        """The engine's phase, or draining once a drain or a stop has been requested."""
        phase = self.engine.phase
        leaving = self._drained is not None or self._stop_reason is not None
        return Phase.DRAINING if phase is Phase.READY and leaving else phase

    @property
    def plan(self) -> Plan:
        """The plan that is being run."""
        return self._plan

    @property
    def unstarted(self) -> list[str]:
        """Names of the components that have not started yet, in plan order."""
        return [component.name for component in self._plan.components if component.name not in self._started]

    def request_stop(self, reason: str) -> None:
        """Request an orderly stop. Idempotent."""
        if self._stop_reason is None and self.engine.phase not in (Phase.STOPPED, Phase.FAILED):
            self._stop_reason = reason
            self._emit(events.StopRequested(at=anyio.current_time(), reason=reason))
            self._stop_requested.set()
            self.engine.stop(reason)

    async def wait_stop_requested(self) -> str:
        """Wait until a stop is requested; returns the reason."""
        await self._stop_requested.wait()
        return self._stop_reason or ""

    async def drain(self) -> None:
        """Run all drain hooks once; a second caller waits for the first."""
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
            self.warn(component, f"a drain hook didn't end within {render_duration(seconds)} and was cut short")

    async def ready(self) -> Report:
        """The probes' report, with a failed check for each component that died, and a warning for each degraded one."""
        degraded = self.engine.degraded_by
        died = [Check(name, name, "fail", "died") for name in sorted(degraded)]
        without = [
            Check(name, name, "warn", f"degraded at the start: {start.kind}")
            for name, start in sorted(self.engine.degraded_starts.items())
        ]
        report = await self.health.check()
        # A probe often has its component's name, and may well pass where something else of it has died.
        return combine([*died, *without, *(check for check in report.checks if check.name not in degraded)])

    def add_probe(self, component: str, name: str, probe: Probe, *, critical: bool, timeout: float) -> None:
        """See `Context.add_probe`."""
        self.health.add(component, name, probe, critical=critical, timeout=timeout)

    def supervise(self, component: str, name: str, service: Service, restart: Restart) -> None:
        """See `Context.supervise`."""
        self.engine.supervise(component, name, service, restart)

    def add_drain_hook(self, component: str, hook: DrainHook) -> None:
        """See `Context.on_drain`."""
        self._drain_hooks.append((component, hook))

    def extend_timeout(self, component: str, seconds: float) -> None:
        """See `Context.extend_timeout`."""
        self.engine.extend(component, seconds)
        self.blocked_phases.extend(component, seconds, anyio.current_time())

    @property
    def provided(self) -> Resources:
        """See `Context.provided`."""
        return self.engine.resources

    async def wait_ready(self) -> Resources:
        """Wait until every component has started; returns the resources."""
        await self._all_started.wait()
        assert self.resources is not None
        return self.resources

    def warn(self, component: str, message: str) -> None:
        """Emit a warning of a component."""
        self._emit(events.Warned(at=anyio.current_time(), component=component, message=message))

    def listen(self, component: str, listener: Listener) -> None:
        """See `Context.listen`."""
        self._listeners.setdefault(component, ExitStack()).enter_context(self._listening(listener))

    def _handle_event(self, event: Event) -> None:
        if isinstance(event, (events.ComponentStarted, events.ComponentDegraded)):
            self._started.add(event.component)
        elif isinstance(event, events.Ready):
            self.resources = self.engine.resources
            self._all_started.set()
        if isinstance(event, _GONE):
            self.health.forget(event.component)
            self._drain_hooks = [hook for hook in self._drain_hooks if hook[0] != event.component]
        self._emit(event)
        if isinstance(event, _OVER) and event.component in self._listeners:
            self._listeners.pop(event.component).close()
        self.blocked_phases.handle_event(event)

    def _emit_probe_change(self, check: Check) -> None:
        now = anyio.current_time()
        if check.status == "pass":
            self._emit(events.ReadinessRegained(at=now, probe=check.name))
        else:
            self._emit(events.ReadinessLost(at=now, probe=check.name, status=check.status, reason=check.reason))
