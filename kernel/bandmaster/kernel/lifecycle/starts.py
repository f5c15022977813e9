"""Start one component: enter it, and do what its policy says when that fails."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import anyio

from bandmaster.kernel import events
from bandmaster.kernel.contributions.signatures import Kind, Need
from bandmaster.kernel.lifecycle.arguments import NOTHING, make_arguments
from bandmaster.kernel.lifecycle.cancellation import remove_cancellations
from bandmaster.kernel.lifecycle.component_manager import ComponentManager
from bandmaster.kernel.lifecycle.component_task import ComponentTask, TaskState
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.lifecycle.failed_starts import (
    DegradedStart,
    choose_delay,
    describe_degraded,
    make_dependency_error,
)
from bandmaster.kernel.lifecycle.provided import Provided
from bandmaster.kernel.lifecycle.record import Record, annotate
from bandmaster.kernel.lifecycle.restart import Restart
from bandmaster.kernel.lifecycle.schedule import Schedule
from bandmaster.kernel.lifecycle.timer import Timer
from bandmaster.kernel.planning.plan import Component, Plan


class Starts:
    """The starts of one run, which begins now.

    ``go_on`` starts the components that waited for one that has started, or is degraded. ``degraded`` is filled with
    the components whose start has failed, and whose policy is to serve without them.
    """

    def __init__(
        self,
        plan: Plan,
        provided: Provided,
        schedule: Schedule,
        *,
        record: Record,
        timer: Timer[ComponentTask],
        now: Callable[[], float],
        make_context: Callable[[str], Context] | None,
        backoff: Restart,
        degraded: dict[str, DegradedStart],
        go_on: Callable[[ComponentTask], None],
    ) -> None:
        self.began = now()
        self._settings = plan.settings
        self._provided = provided
        self._schedule = schedule
        self._record = record
        self._timer = timer
        self._now = now
        self._make_context = make_context
        self._backoff = backoff
        """The delays between the tries of a start."""
        self._degraded = degraded
        self._go_on = go_on

    async def enter(self, task: ComponentTask) -> bool:
        """Whether the component has entered, be it in spite of its cancellation; otherwise its failure is recorded."""
        if task.attempt == 1:
            now = self._now()
            task.phase_began, task.waited = now, now - self.began
            task.start_by = now + task.component.start_timeout
        lost = [name for name in task.component.relies_on if name in self._degraded]
        if lost:
            task.failed_start = make_dependency_error(task.component, lost)
            return False
        self._timer.set_deadline(task, task.start_by)
        try:
            if task.delay:
                await anyio.sleep(task.delay)
                if self._schedule.stopping:  # since this very tick: the sleep was over before the cancellation came
                    self._record.emit_end(events.ComponentStartCancelled, task)
                    return False
            self._record.emit(events.ComponentStarting, component=task.name, waited=task.waited, attempt=task.attempt)
            task.manager = ComponentManager.make(task.component, self._make_arguments(task.component))
            task.pending = task.manager.__aenter__()
            value = await task.pending
        except BaseException as error:
            self._record_failed_entry(task, error)
            return False
        finally:
            task.pending = None
            task.deadline = math.inf
        # Shielded against `abort` from here on. Otherwise a cancellation of the start that comes too late would
        # arrive at the next await, in the exit at the latest, and cut the exit off.
        task.guard.shield = True
        task.overdue = False
        task.earlier_error = None
        task.state = TaskState.STARTED
        self._record_entry(task, value)
        return True

    def _record_failed_entry(self, task: ComponentTask, error: BaseException) -> None:
        if not self._schedule.stopping and self._follow_start_policy(task, error):
            return
        own = remove_cancellations(error, expected=task.abort.cancel_called)
        if own is None:
            self._record.emit_end(events.ComponentStartCancelled, task)
        else:
            self._record.emit_end(events.ComponentStartFailed, task, error=own)
            self._record.add_failure(task, "start", own)

    def _follow_start_policy(self, task: ComponentTask, error: BaseException) -> bool:
        """Whether the run goes on after the failed try of a start, as the component's policy says.

        No policy applies to SystemExit and KeyboardInterrupt, which mean the process, and to a cancellation by other
        code.
        """
        own = remove_cancellations(error, expected=True)
        if own is not None and not isinstance(own, Exception):
            return False
        if task.failed_start is not None:
            # The deadline has cancelled the start, which may have failed with an error of its own at that.
            task.failed_start.__cause__ = own
            return True
        if own is None:
            return False
        reaction = task.component.on_start_failure.reaction
        if reaction == "degrade":
            task.failed_start = own
            return True
        if reaction == "retry":
            delay = choose_delay(own, task.attempt, left=task.deadline - self._now(), backoff=self._backoff)
            if delay is not None:
                task.prepare_next_try(own, delay)
                following = {"error": own, "delay": delay, "attempt": task.attempt + 1}
                self._record.emit_end(events.ComponentStartRetrying, task, **following)
                return True
        return False

    def is_given_up(self, task: ComponentTask) -> bool:
        """Whether the application is to serve without a component whose start has failed, or was too late."""
        return task.failed_start is not None and not self._schedule.stopping

    def degrade(self, task: ComponentTask) -> None:
        """Let the others start without this component."""
        error, task.failed_start = task.failed_start, None
        assert error is not None
        task.state = TaskState.DEGRADED
        self._degraded[task.name] = describe_degraded(error)
        annotate(task, error, "start")
        self._record.emit_end(events.ComponentDegraded, task, error=error, waited=task.waited)
        self._go_on(task)

    def _record_entry(self, task: ComponentTask, value: Any) -> None:
        self._record.emit_end(events.ComponentStarted, task, waited=task.waited)
        if self._schedule.stopping or task.failed_start is not None:
            return  # it has started in spite of its cancellation, and goes on to its exit
        self._provided.add(task.name, value)
        if task.services is not None:
            task.services.start()
        self._go_on(task)

    def _make_arguments(self, component: Component) -> dict[str, Any]:
        def find(need: Need) -> Any:
            value = self._provided.find(component, need)
            if value is NOTHING and need.kind is Kind.CONTEXT and self._make_context is not None:
                return self._make_context(component.name)
            return value

        return make_arguments(component.needs, find, self._settings)
