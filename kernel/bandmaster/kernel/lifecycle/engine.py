"""Run a plan once, with one task for each component."""

from __future__ import annotations

import contextvars
import math
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial

import anyio

from bandmaster.kernel import events
from bandmaster.kernel.events import Event
from bandmaster.kernel.lifecycle.cancellation import make_outside_cancellation, remove_cancellations, wait_through
from bandmaster.kernel.lifecycle.component_task import ComponentTask, TaskState
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.lifecycle.failed_starts import BACKOFF, DegradedStart
from bandmaster.kernel.lifecycle.outcome import Ending, choose_exception, join_interruptions
from bandmaster.kernel.lifecycle.overdue import list_waiting, make_deadline_error
from bandmaster.kernel.lifecycle.phases import Phase
from bandmaster.kernel.lifecycle.provided import Provided
from bandmaster.kernel.lifecycle.record import Record
from bandmaster.kernel.lifecycle.resources import Resources
from bandmaster.kernel.lifecycle.restart import Restart, Service
from bandmaster.kernel.lifecycle.schedule import Schedule
from bandmaster.kernel.lifecycle.services import Services
from bandmaster.kernel.lifecycle.starts import Starts
from bandmaster.kernel.lifecycle.timer import Timer, get_clock
from bandmaster.kernel.planning.plan import Plan


class Engine:
    """One run of a plan, from the first start to the last stop.

    No component's task raises: each failure is recorded at once, and `running` raises when everything is over.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        make_context: Callable[[str], Context] | None = None,
        emit: Callable[[Event], None] | None = None,
        abandon_after: float = 2.0,
        backoff: Restart = BACKOFF,
    ) -> None:
        self.phase = Phase.NEW
        self.degraded_by: set[str] = set()
        """Components that died, or lost a service, and whose policy is to serve on without readiness."""
        self.degraded_starts: dict[str, DegradedStart] = {}
        """Components that failed to start, and whose policy is to serve without them."""
        self._plan = plan
        self._make_context = make_context
        self._emit = emit
        self._abandon_after = abandon_after
        self._backoff = backoff
        """The delays between the tries of a start."""
        index = {component.name: number for number, component in enumerate(plan.components)}
        self._schedule = Schedule(
            [[index[name] for name in stage.components] for stage in plan.stages],
            [
                # Edges to earlier stages hold by the barriers.
                [index[edge.to] for edge in component.waits_for if plan.by_name[edge.to].stage == component.stage]
                for component in plan.components
            ],
        )
        self._provided = Provided(plan)
        self._tasks: dict[str, ComponentTask] = {}
        """The tasks that have begun."""
        self._unstarted = len(plan.components)
        self._alive = 0
        """The number of tasks that have begun and aren't over."""
        self._abandoned: set[str] = set()
        """Those of them that ignored their cancellation."""
        self._was_ready = False
        self._stop_reason: str | None = None
        self._stop_began = 0.0

    @property
    def resources(self) -> Resources:
        """The values that components have provided so far."""
        return self._provided.make_resources({name: start.reason for name, start in self.degraded_starts.items()})

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Resources, None]:
        """Start every component, yield the resources, stop every component.

        Raises:
            StartError: a component failed to start.
            CrashError: a component died while serving.
            StopError: something failed while stopping; the body's own exception comes first, if there was one.
            StartCancelled: `stop` was called before everything had started.
        """
        self._start_over = anyio.Event()
        """Set when everything has started, and also when that won't happen any more."""
        self._all_over = anyio.Event()
        """Set when the stop has begun and no component's task is alive."""
        self._now = get_clock()
        self._timer = Timer(self._handle_deadline)
        self._record = Record(self._emit, self._now, end_run=self._end_run, degrade=self.degraded_by.add)
        self._starts = Starts(
            self._plan,
            self._provided,
            self._schedule,
            record=self._record,
            timer=self._timer,
            now=self._now,
            make_context=self._make_context,
            backoff=self._backoff,
            degraded=self.degraded_starts,
            go_on=self._continue_start,
        )
        # Ends the wait for the start, and the body. A cancellation by this scope also ends at this scope, so that a
        # cancellation that leaves it is always the caller's, and has to be raised again.
        self._body = anyio.CancelScope()
        # The context of the caller, in which no component has set a variable yet; see `_spawn`.
        self._neutral_context = contextvars.copy_context()
        interruption: BaseException | None = None
        try:
            async with anyio.create_task_group() as self._task_group:
                self._task_group.start_soon(self._timer.run, name="bandmaster: deadlines")
                try:
                    with self._body:
                        self._start()
                        await self._start_over.wait()
                        if self.phase is Phase.READY:
                            yield self.resources
                except BaseException as error:  # raised again below, once everything has stopped
                    interruption = self._explain_lost_task(error)
                self._begin_stop()
                # Not before the body is over: it may need every component until then, also after a crash.
                self._release(self._schedule.list_stoppable())
                # In spite of any cancellation of the caller, which must not cut the stops short. That cancellation is
                # raised at the end, unless a failure is.
                interruption = join_interruptions(interruption, await wait_through([self._all_over]))
                self._timer.stop()
        except BaseException as error:  # a cancellation that came while the tasks took their last steps
            interruption = join_interruptions(interruption, error)
        raised = choose_exception(
            Ending(tuple(self._record.failures), interruption, was_ready=self._was_ready, stop_reason=self._stop_reason)
        )
        self.phase = Phase.FAILED if self._record.failures else Phase.STOPPED
        self._record.emit(events.KernelStopped, took=self._now() - self._stop_began, errors=len(self._record.failures))
        self._record.failures.clear()
        if raised is not None:
            try:
                raise raised
            finally:
                del raised, interruption  # a frame that holds the exception it raises is a reference cycle

    def stop(self, reason: str) -> None:
        """Cancel a start that is under way; while serving, only record the request: the body decides. Idempotent.

        May be called from any callback of the event loop.
        """
        if self._stop_reason is None:
            self._stop_reason = reason
            if self.phase is Phase.STARTING:
                self._start_over.set()

    def supervise(self, component: str, name: str, service: Service, restart: Restart) -> None:
        """Run a background service from the end of the component's start to the beginning of the stop.

        Raises:
            ValueError: the component has a service of that name, or is stopping.
        """
        task = self._tasks[component]
        if task.state not in (TaskState.STARTING, TaskState.STARTED):
            doing = "degraded" if task.state is TaskState.DEGRADED else "stopping"
            raise ValueError(f"service: component {component!r} is {doing}, too late for {name!r} to begin")
        if task.services is None:
            task.services = Services(
                component,
                start_soon=self._task_group.start_soon,
                emit=self._record.emit,
                record_failure=partial(self._record.add_service_failure, task),
                record_give_up=partial(self._record.add_give_up, task),
            )
            if task.state is TaskState.STARTED:
                task.services.start()
        task.services.add(name, service, restart)

    def extend(self, component: str, seconds: float) -> None:
        """Move the deadline of the start or stop that the component is in to ``seconds`` from now."""
        task = self._tasks[component]
        if task.deadline < math.inf and not task.overdue:
            self._timer.set_deadline(task, self._now() + seconds)

    def _start(self) -> None:
        self.phase = Phase.STARTING
        self._record.emit(events.KernelStarting, components=self._unstarted)
        if self._stop_reason is not None:
            self._start_over.set()
        elif self._unstarted:
            self._spawn(self._schedule.list_first())
        else:
            self._become_ready()

    def _become_ready(self) -> None:
        self._was_ready = True
        self.phase = Phase.READY
        self._record.emit(events.Ready, took=self._now() - self._starts.began)
        self._start_over.set()

    def _begin_stop(self) -> None:
        """Start no more components, and cancel each start under way. `running` releases the started ones."""
        if self._schedule.stopping:
            return
        self._stop_began = self._now()
        if not self._was_ready:
            failures = self._record.failures
            self._record.emit(events.RollingBack, cause=failures[0].error if failures else None)
        self.phase = Phase.STOPPING
        self._record.emit(events.KernelStopping)
        self._start_over.set()
        self._schedule.begin_stop()
        for task in self._tasks.values():
            if task.state is TaskState.STARTING:
                task.abort.cancel()
                if not task.overdue:
                    # Undoing half a start is a stop, and gets the time of a stop: after a start's timeout nothing
                    # would be left of its own.
                    self._timer.set_deadline(task, self._stop_began + task.component.stop_timeout)
        if not self._alive:
            self._all_over.set()

    def _release(self, indexes: Iterable[int]) -> None:
        """Let components stop."""
        for index in indexes:
            self._tasks[self._plan.components[index].name].may_stop.set()

    def _explain_lost_task(self, error: BaseException) -> BaseException:
        # A task that is cancelled before its first step can catch nothing, so it is lost without a record. None of the
        # tasks ever raises, so a lost task is the only reason for which the task group cancels itself.
        lost = self._task_group.cancel_scope.cancel_called and isinstance(error, anyio.get_cancelled_exc_class())
        return make_outside_cancellation(error) if lost else error

    def _spawn(self, indexes: Iterable[int]) -> None:
        for index in indexes:
            self._spawn_task(ComponentTask(index, self._plan.components[index]))

    def _spawn_task(self, task: ComponentTask) -> None:
        # In a copy of the caller's context. A new task inherits the context of its creator, here the task of the
        # component that has just started: without a neutral context, components would see each other's variables, and a
        # further try those of the failed one.
        self._neutral_context.copy().run(self._start_task, task)

    def _start_task(self, task: ComponentTask) -> None:
        self._task_group.start_soon(self._run_component, task, name=f"bandmaster: {task.name}")

    async def _run_component(self, task: ComponentTask) -> None:
        if self._schedule.stopping:
            return  # between the call that spawned this task and its first step, another component has failed
        self._tasks[task.name] = task
        self._alive += 1
        self._schedule.mark_begun(task.index)
        try:
            with task.abort, task.guard:
                if await self._starts.enter(task):
                    crash = None if self._starts.is_given_up(task) else await self._hold(task)
                    await self._exit(task, crash)
        except BaseException as error:  # an error that escaped would cancel the tasks of all other components
            own = remove_cancellations(error, expected=False) or error
            self._record.add_failure(task, task.state.value, own)
        # Not before the scopes of the failed start are closed.
        if self._starts.is_given_up(task):
            self._starts.degrade(task)
            # In its place until then, so that the components which it depends on outlive those that depend on it.
            await wait_through([task.may_stop])
        elif task.next_try is not None:
            self._spawn_task(task.next_try)
        task.next_try = None  # it holds the exception of this try, whose frames hold this task
        task.state = TaskState.OVER
        task.manager = None
        self._finish(task)

    def _continue_start(self, task: ComponentTask) -> None:
        """Start the components that waited for this one."""
        self._unstarted -= 1
        self._spawn(self._schedule.mark_started(task.index))
        if not self._unstarted and self._stop_reason is None:
            self._become_ready()

    async def _hold(self, task: ComponentTask) -> BaseException | None:
        """Wait until the component may stop, and return the cancellation by which the component has crashed, if any.

        A task group that the component keeps open reports the failure of a child by cancelling this wait, and raises
        the failure itself only when the component is exited with that cancellation.
        """
        try:
            await task.may_stop.wait()
        except BaseException as error:
            # Before anything is unwound: the exit may take its time, and the body must end in the same tick.
            self._record.add_crash(task)
            # The component has died, and yet its dependents stop before it is exited: they may need parts that live.
            await wait_through([task.may_stop])
            return error
        return None

    async def _exit(self, task: ComponentTask, crash: BaseException | None) -> None:
        now = self._now()
        task.state, task.phase_began = TaskState.STOPPING, now
        self._timer.set_deadline(task, now + task.component.stop_timeout)
        self._record.emit(events.ComponentStopping, component=task.name)
        assert task.manager is not None
        error: BaseException | None = None
        try:
            if task.services is not None:
                await task.services.end()
            # The component's own exception or none, never that of another: the code after a bare yield must run.
            own = (None, None, None) if crash is None else (type(crash), crash, crash.__traceback__)
            task.pending = task.manager.__aexit__(*own)
            if not await task.pending:
                error = crash  # not suppressed by the component
        except BaseException as raised:
            error = raised
        finally:
            task.pending = None
        if task.services is not None:
            # A service that ignores its cancellation keeps its component from being over, as the component's own code
            # would: the components that it depends on must not stop under it.
            await task.services.wait_ended()
        task.deadline = math.inf
        try:
            self._record_exit(task, error)
        finally:
            del error, crash  # a frame that holds its own exception is a reference cycle

    def _record_exit(self, task: ComponentTask, error: BaseException | None) -> None:
        if error is None:
            self._record.emit_end(events.ComponentStopped, task)
            return
        own = remove_cancellations(error, expected=task.guard.cancel_called or task.abort.cancel_called)
        if own is None:
            if not task.guard.cancel_called:
                # The rollback came too late for this start, yet `abort` may have ended tasks that the component holds.
                # Raised again, a cancellation by `abort` ends at that scope, and `_run_component` records any other.
                raise error
            return  # the stop's deadline has passed, and has been recorded
        self._record.emit_end(events.ComponentStopFailed, task, error=own)
        if task.crash_place is None:
            self._record.add_failure(task, "stop", own)
        else:
            self._record.complete_crash(task, own)

    def _finish(self, task: ComponentTask) -> None:
        self._alive -= 1
        self._release(self._schedule.mark_over(task.index))
        if self._schedule.stopping and not self._alive:
            self._all_over.set()
        elif task.name in self._abandoned:
            self._abandoned.discard(task.name)
        else:
            self._report_only_abandoned_left()

    def _report_only_abandoned_left(self) -> None:
        if self._abandoned and len(self._abandoned) == self._alive:
            self._record.emit(events.OnlyAbandonedLeft, components=tuple(sorted(self._abandoned)))

    def _end_run(self) -> None:
        self._begin_stop()
        self._body.cancel()

    def _handle_deadline(self, task: ComponentTask, now: float) -> None:
        if task.overdue:
            self._abandon(task)
        else:
            self._cancel_overdue(task, now)

    def _cancel_overdue(self, task: ComponentTask, now: float) -> None:
        starting = task.state is TaskState.STARTING
        rolling_back = starting and self._schedule.stopping
        waiting = list_waiting(self._plan, self._tasks, task) if starting and not rolling_back else ()
        rollback_began = self._stop_began if rolling_back else None
        error = make_deadline_error(task, now, rollback_began=rollback_began, waiting=waiting)
        self._record.emit(
            events.ComponentOverdue,
            component=task.name,
            phase=error.phase,
            seconds=error.seconds,
            where=error.where,
            waiting=waiting,
        )
        task.overdue = True
        if not starting:  # a start is cancelled by the rollback, which this failure begins unless it has begun
            task.guard.cancel()
            if task.services is not None:
                task.services.stop_waiting()
        self._timer.set_deadline(task, now + self._abandon_after)
        if starting and not rolling_back and task.component.on_start_failure.reaction == "degrade":
            task.failed_start = error
            task.abort.cancel()
        else:
            self._record.add_failure(task, error.phase, error)

    def _abandon(self, task: ComponentTask) -> None:
        """Let the other components stop without waiting for this one, which ignores cancellation."""
        task.deadline = math.inf
        if task.failed_start is not None:
            # The application can't serve without a component whose start can't be undone.
            error, task.failed_start = task.failed_start, None
            self._record.add_failure(task, "start", error)
            task.may_stop.set()  # nothing has started after it
        self._abandoned.add(task.name)
        self._record.emit(events.ComponentAbandoned, component=task.name, phase=task.state.value)
        self._release(self._schedule.mark_over(task.index))
        self._report_only_abandoned_left()
