"""The engine that runs a plan: one task for each component, from its start to its stop."""

from __future__ import annotations

import contextvars
import heapq
import math
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from enum import Enum
from typing import Any, NamedTuple

import anyio

from bandmaster.kernel import events
from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.contributions.signatures import Kind
from bandmaster.kernel.errors import CrashError, DeadlineExceeded, StartCancelled, StartError, StopError
from bandmaster.kernel.events import Event
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.lifecycle.coroutine_stacks import where
from bandmaster.kernel.lifecycle.resources import Resources
from bandmaster.kernel.lifecycle.restart import History, Restart, Service
from bandmaster.kernel.lifecycle.schedule import Schedule
from bandmaster.kernel.planning.plan import Component, Plan
from bandmaster.kernel.text import duration, listed


class Phase(Enum):
    """What a kernel is at."""

    NEW = "new"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class _State(Enum):
    """What the task of one component is at."""

    STARTING = "start"
    STARTED = "serving"
    STOPPING = "stop"
    OVER = "over"


_MOST_WAITING = 20
"""How many waiting components a missed deadline lists."""


class Fault(NamedTuple):
    """Something that went wrong with a component."""

    component: str
    phase: str
    """``start``, ``serving`` or ``stop``."""
    error: BaseException | None
    """None while a crashed component hasn't told yet what it died of."""


class _Host:
    """One component's task, as the engine sees it."""

    __slots__ = (
        "abort",
        "awaited",
        "component",
        "crash",
        "deadline",
        "guard",
        "index",
        "manager",
        "name",
        "overdue",
        "patience",
        "release",
        "services",
        "since",
        "state",
        "waited",
    )

    def __init__(self, index: int, component: Component) -> None:
        self.index = index
        self.name = component.name
        self.component = component
        self.state = _State.STARTING
        # Both scopes are opened before the component is entered and closed after it has been exited, so that they
        # nest around whatever scopes it holds across its yield. `abort` ends a start and nothing after it; `guard`
        # ends a stop.
        self.abort = anyio.CancelScope(shield=True)
        self.guard = anyio.CancelScope()
        self.release = anyio.Event()
        """All that depends on it is over, and it may stop."""
        self.manager: AbstractAsyncContextManager[Any] | None = None
        self.awaited: Any = None
        """What it is at now, as a coroutine that can be asked where it stands."""
        self.services: dict[str, _ServiceTask] = {}
        self.patience: anyio.CancelScope | None = None
        """Ends the wait for its services."""
        self.crash: int | None = None
        """Where among the faults its crash stands."""
        self.deadline = math.inf
        self.overdue = False
        """Whether the deadline of the present phase has passed, and it was cancelled for that."""
        self.since = 0.0
        """When the present phase began."""
        self.waited = 0.0


class _ServiceTask:
    """One background service, as the engine sees it."""

    __slots__ = ("begun", "history", "name", "over", "restart", "scope", "service")

    def __init__(self, name: str, service: Service, restart: Restart) -> None:
        self.name = name
        self.service = service
        self.restart = restart
        self.history = History(restart)
        self.scope = anyio.CancelScope(shield=True)
        self.begun = False
        self.over = anyio.Event()


class Engine:
    """One run of a plan, from the first start to the last stop.

    Every fault is recorded and none raised where it happens: `running` raises once everything is over, the cause first.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        make_context: Callable[[str], Context] | None = None,
        emit: Callable[[Event], None] | None = None,
        phase_changed: Callable[[Phase], None] | None = None,
        abandon_after: float = 2.0,
    ) -> None:
        self.phase = Phase.NEW
        self.degraded_by: set[str] = set()
        """Components that died, or lost a service, and whose policy is to serve on without readiness."""
        self._plan = plan
        self._make_context = make_context
        self._emit_event = emit
        self._phase_changed = phase_changed
        self._abandon_after = abandon_after
        index = {component.name: number for number, component in enumerate(plan.components)}
        self._schedule = Schedule(
            [[index[name] for name in stage.components] for stage in plan.stages],
            [
                # Edges to earlier stages hold by the barriers.
                [index[edge.to] for edge in component.waits_for if plan.by_name[edge.to].stage == component.stage]
                for component in plan.components
            ],
        )
        self._values: dict[Key, Any] = dict(plan.ready_objects)
        self._hosts: dict[str, _Host] = {}
        self._faults: list[Fault] = []
        self._unstarted = len(plan.components)
        self._alive = 0
        """How many hosts have begun and aren't over."""
        self._abandoned: set[str] = set()
        """Those of them that are given up."""
        self._was_ready = False
        self._stop_reason: str | None = None
        self._began = 0.0
        self._stop_began = 0.0
        self._alarms: list[tuple[float, int, _Host]] = []
        self._alarm_number = 0

    @property
    def resources(self) -> Resources:
        """What has been provided so far."""
        return Resources(self._values)

    # -- the caller's task -------------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Resources, None]:
        """Start everything, hand out what it provides, stop everything.

        Raises:
            StartError: a component failed to start.
            CrashError: a component died while serving.
            StopError: something failed while stopping; the body's own exception comes first in it, if there was one.
            StartCancelled: `stop` was called before everything had started.
        """
        self._settled = anyio.Event()
        self._all_over = anyio.Event()
        self._rearmed = anyio.Event()
        self._body = anyio.CancelScope()
        self._neutral = contextvars.copy_context()
        ended_by: BaseException | None = None
        try:
            async with anyio.create_task_group() as self._tasks:
                self._tasks.start_soon(self._keep_time, name="bandmaster: deadlines")
                try:
                    with self._body:
                        self._start()
                        await self._settled.wait()
                        if self.phase is Phase.READY:
                            yield self.resources
                except BaseException as error:  # raised again below, once everything has stopped
                    ended_by = self._unless_a_task_was_lost(error)
                self._begin_stop()
                # Not before: whatever went wrong, the body may need everything until it is over.
                self._release(self._schedule.free())
                ended_by = _both(ended_by, await _through([self._all_over]))
                self._rearmed.set()
        except BaseException as error:  # a cancellation that came while the tasks took their last steps
            ended_by = _both(ended_by, error)
        raised = self._outcome(ended_by)
        self._change_phase(Phase.FAILED if self._faults else Phase.STOPPED)
        self._emit(events.KernelStopped, took=anyio.current_time() - self._began, errors=len(self._faults))
        self._faults.clear()
        if raised is not None:
            try:
                raise raised
            finally:
                del raised, ended_by  # a frame that holds the exception it raises is a cycle

    def stop(self, reason: str) -> None:
        """Ask for a stop: cancels a start that is under way; while serving, it is up to the body to end. Idempotent.

        May be called from any callback of the event loop.
        """
        if self._stop_reason is None:
            self._stop_reason = reason
            if self.phase is Phase.STARTING:
                self._settled.set()

    def _start(self) -> None:
        self._began = anyio.current_time()
        self._change_phase(Phase.STARTING)
        self._emit(events.KernelStarting, components=self._unstarted)
        if self._stop_reason is not None:
            self._settled.set()
        elif self._unstarted:
            self._spawn(self._schedule.first())
        else:
            self._all_started()

    def _all_started(self) -> None:
        self._was_ready = True
        self._change_phase(Phase.READY)
        self._emit(events.Ready, took=anyio.current_time() - self._began)
        self._settled.set()

    def _begin_stop(self) -> None:
        """Start nothing more, cancel what is starting, and let `running` go on to release what nobody depends on."""
        if self._schedule.stopping:
            return
        self._stop_began = anyio.current_time()
        if not self._was_ready:
            self._emit(events.RollingBack, cause=self._faults[0].error if self._faults else None)
        self._change_phase(Phase.STOPPING)
        self._emit(events.KernelStopping)
        self._settled.set()
        self._schedule.stop()
        for host in self._hosts.values():
            if host.state is _State.STARTING:
                host.abort.cancel()
                if not host.overdue:
                    # The rollback has a clock of its own: undoing half a start is a stop.
                    self._arm(host, self._stop_began + host.component.stop_timeout)
        if not self._alive:
            self._all_over.set()

    def _fail(self) -> None:
        self._begin_stop()
        self._body.cancel()

    def _unless_a_task_was_lost(self, error: BaseException) -> BaseException:
        # None of the tasks ever raises, so the group cancels itself for one thing only: somebody has cancelled a task
        # before its first step, in which nothing can be caught.
        lost = self._tasks.cancel_scope.cancel_called and isinstance(error, anyio.get_cancelled_exc_class())
        return _cancelled_from_outside(error) if lost else error

    def _outcome(self, ended_by: BaseException | None) -> BaseException | None:
        """What `running` raises."""
        if not self._faults:
            if ended_by is None and not self._was_ready:
                return StartCancelled(f"asked to stop before everything had started: {self._stop_reason}")
            return ended_by
        first, *rest = self._faults
        errors = _distinct([fault.error for fault in rest], first.error)
        if isinstance(ended_by, anyio.get_cancelled_exc_class()):
            ended_by = None
        if first.phase == "stop":
            causes = _distinct([ended_by, first.error, *errors])
            names = listed(dict.fromkeys(fault.component for fault in self._faults))
            message = f"{names} failed to stop"
            if all(isinstance(error, Exception) for error in causes):
                return StopError(message, causes)  # type: ignore[arg-type]  # just tested
            return causes[0] if len(causes) == 1 else BaseExceptionGroup(message, causes)
        errors = _distinct([*errors, ended_by], first.error)
        outcome = self._start_error(first, errors) if first.phase == "start" else self._crash_error(first, errors)
        fatal = [error for error in (first.error, *errors) if error is not None and not isinstance(error, Exception)]
        if not fatal:
            return outcome
        # SystemExit and KeyboardInterrupt mean the process; nothing may turn them into an ordinary error.
        if first.error is fatal[0]:
            return fatal[0] if not errors else BaseExceptionGroup(str(outcome), [fatal[0], *errors])
        return BaseExceptionGroup(str(outcome), [outcome, *fatal])

    def _start_error(self, first: Fault, errors: list[BaseException]) -> StartError:
        assert first.error is not None
        message = f"{self._describe(first.component)} failed to start: {_said(first.error)}"
        if errors:
            message += f" (and {len(errors)} more while rolling back)"
        outcome = StartError(message, component=first.component, rollback_errors=errors)
        outcome.__cause__ = first.error
        return outcome

    def _crash_error(self, first: Fault, errors: list[BaseException]) -> CrashError:
        said = "it ended by itself" if first.error is None else _said(first.error)
        message = f"{self._describe(first.component)} died while serving: {said}"
        if errors:
            message += f" (and {len(errors)} more while stopping)"
        outcome = CrashError(message, component=first.component, stop_errors=errors)
        outcome.__cause__ = first.error
        return outcome

    # -- a component's task ------------------------------------------------------------------------------------

    def _spawn(self, free: list[int]) -> None:
        for index in free:
            # From a neutral context: a component must not see the variables of the one whose start set it free.
            self._neutral.copy().run(self._spawn_host, _Host(index, self._plan.components[index]))

    def _spawn_host(self, host: _Host) -> None:
        self._tasks.start_soon(self._host, host, name=f"bandmaster: {host.name}")

    async def _host(self, host: _Host) -> None:
        if self._schedule.stopping:
            return  # what set it free, or something beside it, has failed in the meantime
        self._hosts[host.name] = host
        self._alive += 1
        self._schedule.begun(host.index)
        try:
            with host.abort, host.guard:
                if await self._enter(host):
                    crash = await self._hold(host)
                    await self._exit(host, crash)
        except BaseException as error:  # nothing may escape into the other hosts
            self._fault(host, host.state.value, _without_cancellation(error, expected=False) or error)
        host.state = _State.OVER
        host.manager = None
        self._over(host)

    async def _enter(self, host: _Host) -> bool:
        now = anyio.current_time()
        host.since, host.waited = now, now - self._began
        self._arm(host, now + host.component.start_timeout)
        self._emit(events.ComponentStarting, component=host.name, waited=host.waited)
        try:
            host.manager = host.component.contribution.factory(**self._arguments(host.component))
            host.awaited = host.manager.__aenter__()
            value = await host.awaited
        except BaseException as error:
            return self._not_entered(host, error)
        finally:
            host.awaited = None
            host.deadline = math.inf
        # From here on no cancellation of the start reaches it, not even one that is on its way.
        host.guard.shield = True
        host.overdue = False
        host.state = _State.STARTED
        self._started(host, value)
        return True

    def _not_entered(self, host: _Host, error: BaseException) -> bool:
        fault = _without_cancellation(error, expected=host.abort.cancel_called)
        if fault is None:
            self._emit_end(events.ComponentStartCancelled, host)
        else:
            self._emit_end(events.ComponentStartFailed, host, error=fault)
            self._fault(host, "start", fault)
        return False

    def _started(self, host: _Host, value: Any) -> None:
        self._emit_end(events.ComponentStarted, host, waited=host.waited)
        if self._schedule.stopping:
            return  # it entered in spite of its cancellation, and goes on to its exit
        for key in host.component.provides:
            self._values[key] = value
        for task in host.services.values():
            self._spawn_service(host, task)
        self._unstarted -= 1
        self._spawn(self._schedule.started(host.index))
        if not self._unstarted and self._stop_reason is None:
            self._all_started()

    async def _hold(self, host: _Host) -> BaseException | None:
        """Wait for the stop; the answer is the cancellation by which the component's own task group reports a crash."""
        try:
            await host.release.wait()
        except BaseException as error:
            # Said before anything is unwound: the unwinding may take its time.
            self._crashed(host)
            await _through([host.release])
            return error
        return None

    async def _exit(self, host: _Host, crash: BaseException | None) -> None:
        now = anyio.current_time()
        host.state, host.since = _State.STOPPING, now
        self._arm(host, now + host.component.stop_timeout)
        self._emit(events.ComponentStopping, component=host.name)
        assert host.manager is not None
        error: BaseException | None = None
        try:
            if host.services:
                await self._end_services(host)
            # Its own exception or none, never a neighbour's: what follows a bare yield must run.
            own = (None, None, None) if crash is None else (type(crash), crash, crash.__traceback__)
            host.awaited = host.manager.__aexit__(*own)
            if not await host.awaited:
                error = crash  # which it lets pass
        except BaseException as raised:
            error = raised
        finally:
            host.awaited = None
        if host.services:
            # One that ignores its cancellation keeps its component from being over, as the component itself would.
            await _through([task.over for task in host.services.values() if task.begun])
        host.deadline = math.inf
        try:
            self._exited(host, error)
        finally:
            del error, crash  # a frame that holds its own exception is a cycle

    def _exited(self, host: _Host, error: BaseException | None) -> None:
        if error is None:
            self._emit_end(events.ComponentStopped, host)
            return
        fault = _without_cancellation(error, expected=host.guard.cancel_called or host.abort.cancel_called)
        if fault is None:
            if not host.guard.cancel_called:
                raise error  # of its start, perhaps, which it outran: `abort` stops that one and no other
            return  # its deadline has passed, which is recorded
        self._emit_end(events.ComponentStopFailed, host, error=fault)
        if host.crash is None:
            self._fault(host, "stop", fault)
        else:
            self._faults[host.crash] = Fault(host.name, "serving", self._note(host, fault, "serving"))

    def _over(self, host: _Host) -> None:
        self._alive -= 1
        self._release(self._schedule.over(host.index))
        if self._schedule.stopping and not self._alive:
            self._all_over.set()
        elif host.name in self._abandoned:
            self._abandoned.discard(host.name)
        else:
            self._tell_if_only_abandoned_are_left()

    def _tell_if_only_abandoned_are_left(self) -> None:
        if self._abandoned and len(self._abandoned) == self._alive:
            self._emit(events.OnlyAbandonedLeft, components=tuple(sorted(self._abandoned)))

    def _release(self, free: list[int]) -> None:
        for index in free:
            self._hosts[self._plan.components[index].name].release.set()

    def _arguments(self, component: Component) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        for need in component.needs:
            if need.key in self._values:
                arguments[need.parameter] = self._values[need.key]
            elif need.kind is Kind.CONTEXT and self._make_context is not None:
                arguments[need.parameter] = self._make_context(component.name)
            elif need.kind is Kind.SETTINGS:
                arguments[need.parameter] = self._plan.settings[need.key.type]
            elif not need.has_default:
                arguments[need.parameter] = None
        return arguments

    # -- faults ------------------------------------------------------------------------------------------------

    def _fault(self, host: _Host, phase: str, error: BaseException) -> None:
        self._faults.append(Fault(host.name, phase, self._note(host, error, phase)))
        self._fail()

    def _note(self, host: _Host, error: BaseException, phase: str) -> BaseException:
        doing = {"start": "starting", "serving": "serving", "stop": "stopping"}[phase]
        if not isinstance(error, DeadlineExceeded):
            _annotate(error, f"while {doing} {self._describe(host.name)}")
        return error

    def _crashed(self, host: _Host) -> None:
        policy = host.component.contribution.on_crash
        host.crash = len(self._faults)
        self._faults.append(Fault(host.name, "serving", None))
        self._emit(events.ComponentCrashed, component=host.name, policy=policy)
        self._follow(policy, host)

    def _follow(self, policy: str, host: _Host) -> None:
        if policy == "stop":
            self._fail()
        else:
            self.degraded_by.add(host.name)

    def _describe(self, name: str) -> str:
        return f"{name!r} ({self._plan.by_name[name].contribution.provenance})"

    # -- background services -----------------------------------------------------------------------------------

    def supervise(self, component: str, name: str, service: Service, restart: Restart) -> None:
        """Run a background service from when its component has started until before it stops.

        Raises:
            ValueError: the component has a service of that name, or is stopping.
        """
        host = self._hosts[component]
        if name in host.services:
            raise ValueError(
                f"name: component {component!r} has a service {name!r} already; give this one another name"
            )
        if host.state in (_State.STOPPING, _State.OVER):
            raise ValueError(f"service: component {component!r} is stopping, too late for {name!r} to begin")
        task = host.services[name] = _ServiceTask(name, service, restart)
        if host.state is _State.STARTED:
            self._spawn_service(host, task)

    def _spawn_service(self, host: _Host, task: _ServiceTask) -> None:
        self._tasks.start_soon(self._serve, host, task, name=f"bandmaster: {host.name}/{task.name}")

    async def _serve(self, host: _Host, task: _ServiceTask) -> None:
        if task.scope.cancel_called:
            return  # its component is stopping already, and doesn't wait for what hasn't begun
        task.begun = True
        try:
            with task.scope:
                await self._run_repeatedly(host, task)
        except BaseException as error:  # its pause was cancelled by somebody else; nothing may escape
            if not task.scope.cancel_called:
                self._gave_up(host, task, _cancelled_from_outside(error), "stop")
        finally:
            task.over.set()

    async def _run_repeatedly(self, host: _Host, task: _ServiceTask) -> None:
        attempt = 0
        while True:
            attempt += 1
            self._emit(events.ServiceStarted, component=host.name, service=task.name, attempt=attempt)
            error = await self._run_once(task)
            if task.scope.cancel_called:
                if error is not None:
                    self._emit(events.ServiceEnded, component=host.name, service=task.name, error=error)
                    self._fault(host, "stop", _annotate(error, f"in the background service {task.name!r}"))
                return
            if error is not None and not isinstance(error, Exception):
                # SystemExit and KeyboardInterrupt mean the process, whatever the policy.
                self._gave_up(host, task, error, "stop")
                return
            when = task.restart.when
            if when == "never" or (when == "on_failure" and error is None):
                self._emit(events.ServiceEnded, component=host.name, service=task.name, error=error)
                return
            delay = task.history.next_delay(anyio.current_time())
            if delay is None:
                self._gave_up(host, task, error, task.restart.when_exhausted)
                return
            self._emit(
                events.ServiceRestarting,
                component=host.name,
                service=task.name,
                error=error,
                delay=delay,
                attempt=attempt + 1,
            )
            await anyio.sleep(delay)

    async def _run_once(self, task: _ServiceTask) -> BaseException | None:
        try:
            await task.service()
        except BaseException as error:
            return _without_cancellation(error, expected=task.scope.cancel_called)
        return None

    def _gave_up(self, host: _Host, task: _ServiceTask, error: BaseException | None, policy: str) -> None:
        self._emit(events.ServiceGaveUp, component=host.name, service=task.name, error=error, policy=policy)
        if error is not None:
            _annotate(error, f"in the background service {task.name!r}")
            self._note(host, error, "serving")
        self._faults.append(Fault(host.name, "serving", error))
        self._follow(policy, host)

    async def _end_services(self, host: _Host) -> None:
        """Cancel them and wait, at most until the stop's deadline: the component gets its exit all the same."""
        for task in host.services.values():
            task.scope.cancel()
        # Shielded, since a crashed component waits here in its own cancelled scope.
        host.patience = anyio.CancelScope(shield=True)
        await _through([task.over for task in host.services.values() if task.begun], host.patience)

    # -- deadlines ---------------------------------------------------------------------------------------------

    def extend(self, component: str, seconds: float) -> None:
        """Move the deadline of the start or stop that the component is in to ``seconds`` from now."""
        host = self._hosts[component]
        if host.deadline < math.inf and not host.overdue:
            self._arm(host, anyio.current_time() + seconds)

    def _arm(self, host: _Host, deadline: float) -> None:
        host.deadline = deadline
        self._alarm_number += 1
        alarm = (deadline, self._alarm_number, host)
        heapq.heappush(self._alarms, alarm)
        if self._alarms[0] is alarm:
            self._rearmed.set()

    async def _keep_time(self) -> None:
        while not self._all_over.is_set():
            self._rearmed = anyio.Event()
            pause = anyio.CancelScope(deadline=self._alarms[0][0] if self._alarms else math.inf, shield=True)
            await _through([self._rearmed], pause)
            self._ring(anyio.current_time())

    def _ring(self, now: float) -> None:
        while self._alarms and self._alarms[0][0] <= now:
            deadline, _, host = heapq.heappop(self._alarms)
            if host.deadline != deadline:
                continue  # it ended in time, or was given more
            if host.overdue:
                self._abandon(host)
            else:
                self._overdue(host, now)

    def _overdue(self, host: _Host, now: float) -> None:
        phase, deed, began = host.state.value, host.state.value, host.since
        if host.state is _State.STARTING and self._schedule.stopping:
            phase, deed, began = "stop", "clean up after its cancelled start", self._stop_began
        seconds = now - began
        stack = where(host.awaited if host.awaited is not None else host.manager)
        waiting = tuple(self._waiting(host)) if phase == "start" else ()
        if len(waiting) > _MOST_WAITING:
            waiting = (*waiting[:_MOST_WAITING], f"and {len(waiting) - _MOST_WAITING} more")
        self._emit(
            events.ComponentOverdue, component=host.name, phase=phase, seconds=seconds, where=stack, waiting=waiting
        )
        message = f"{self._describe(host.name)} didn't {deed} within {duration(seconds)}"
        message += f"; it stood at\n{stack}" if stack else ""
        message += "".join(f"\n  {line}" for line in ("still waiting:", *waiting)) if waiting else ""
        error = DeadlineExceeded(message, component=host.name, phase=phase, seconds=seconds, where=stack)
        host.overdue = True
        (host.abort if host.state is _State.STARTING else host.guard).cancel()
        if host.patience is not None:
            host.patience.cancel()
        self._arm(host, now + self._abandon_after)
        self._fault(host, phase, error)

    def _waiting(self, laggard: _Host) -> Iterator[str]:
        for component in self._plan.components:
            host = self._hosts.get(component.name)
            if host is laggard or (host is not None and host.state is not _State.STARTING):
                continue
            if host is not None:
                place = where(host.awaited).rstrip().rpartition("\n  File ")[2].replace("\n   ", ":")
                yield f"{component.name!r} is starting" + (f", at {place}" if place else "")
                continue
            awaited = [edge.to for edge in component.waits_for if not self._has_started(edge.to)]
            yield f"{component.name!r} waits for {listed(awaited) if awaited else 'the stage before its own'}"

    def _has_started(self, name: str) -> bool:
        host = self._hosts.get(name)
        return host is not None and host.state is _State.STARTED

    def _abandon(self, host: _Host) -> None:
        host.deadline = math.inf
        self._abandoned.add(host.name)
        self._emit(events.ComponentAbandoned, component=host.name, phase=host.state.value)
        self._release(self._schedule.over(host.index))
        self._tell_if_only_abandoned_are_left()

    # -- telling -----------------------------------------------------------------------------------------------

    def _change_phase(self, phase: Phase) -> None:
        self.phase = phase
        if self._phase_changed is not None:
            self._phase_changed(phase)

    def _emit(self, kind: type[Event], **fields: Any) -> None:
        if self._emit_event is not None:
            self._emit_event(kind(at=anyio.current_time(), **fields))

    def _emit_end(self, kind: Callable[..., Event], host: _Host, **fields: Any) -> None:
        """Tell of the end of a phase, with the seconds that it took."""
        if self._emit_event is not None:
            now = anyio.current_time()
            self._emit_event(kind(at=now, component=host.name, own=now - host.since, **fields))


async def _through(events: Iterable[anyio.Event], scope: anyio.CancelScope | None = None) -> BaseException | None:
    """Wait for all of them whatever happens, or until the scope is cancelled.

    The answer is what tried to interrupt the wait, if anything did: a task's own ``cancel()``, or Ctrl-C; no shield
    holds these off.
    """
    interrupted: BaseException | None = None
    with scope or anyio.CancelScope(shield=True) as within:
        for event in events:
            while not (event.is_set() or within.cancel_called):
                try:
                    await event.wait()
                except BaseException as error:
                    interrupted = error
    return interrupted


def _both(first: BaseException | None, second: BaseException | None) -> BaseException | None:
    """Both in one, though a cancellation never hides an error."""
    cancelled = anyio.get_cancelled_exc_class()
    if second is None or (first is not None and isinstance(second, cancelled)):
        return first
    if first is None or isinstance(first, cancelled):
        return second
    return BaseExceptionGroup("interrupted while stopping", [first, second])


def _without_cancellation(error: BaseException, *, expected: bool) -> BaseException | None:
    """What a component has raised of its own; nothing where it has only obeyed a cancellation that was ``expected``."""
    cancelled = anyio.get_cancelled_exc_class()
    own: BaseException | None = None if isinstance(error, cancelled) else error
    if isinstance(error, BaseExceptionGroup) and error.subgroup(cancelled) is not None:
        # On Trio, an error in the clean-up of a cancelled task group stands beside the cancellations of its tasks.
        own = error.split(cancelled)[1]
    return own if own is not None or expected else _cancelled_from_outside(error)


def _cancelled_from_outside(error: BaseException | None) -> RuntimeError:
    cancelled = RuntimeError("its task was cancelled from outside the kernel")
    cancelled.__cause__ = error
    return cancelled


def _annotate(error: BaseException, note: str) -> BaseException:
    with suppress(Exception):  # frozen exceptions exist, and are still the cause
        error.add_note(note)
    return error


def _said(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = "(it can't even say what)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _distinct(errors: Iterable[BaseException | None], *but: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    for error in errors:
        if error is not None and not any(error is other for other in (*found, *but)):
            found.append(error)
    return found
