"""Run the background services of one component, and restart them as their policy says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import anyio

from bandmaster.kernel import events
from bandmaster.kernel.contributions.model import OnCrash
from bandmaster.kernel.events import Event
from bandmaster.kernel.lifecycle.cancellation import make_outside_cancellation, remove_cancellations, wait_through
from bandmaster.kernel.lifecycle.restart import Restart, RestartHistory, Service


class Emit(Protocol):
    """Emits an event that happens now."""

    def __call__(self, kind: type[Event], **fields: object) -> None:
        """Make an event of that kind and tell the listeners."""


class ServiceTask:
    """One background service, with the scope for ending the service."""

    __slots__ = ("begun", "history", "name", "over", "restart", "scope", "service")

    def __init__(self, name: str, service: Service, restart: Restart) -> None:
        self.name = name
        self.service = service
        self.restart = restart
        self.history = RestartHistory(restart)
        # Shielded like a component's scope: only `Services.end` ends a service, in its turn.
        self.scope = anyio.CancelScope(shield=True)
        self.begun = False
        self.over = anyio.Event()


class Services:
    """The background services of one component: begun after the start, ended before the exit.

    ``record_failure`` takes the name of a service and the error that the service raised while being cancelled.
    ``record_give_up`` takes the name of a service that isn't restarted, the last error, and the policy to follow.
    """

    def __init__(
        self,
        component: str,
        *,
        start_soon: Callable[..., object],
        emit: Emit,
        record_failure: Callable[[str, BaseException], None],
        record_give_up: Callable[[str, BaseException | None, OnCrash], None],
    ) -> None:
        self._component = component
        self._start_soon = start_soon
        self._emit = emit
        self._record_failure = record_failure
        self._record_give_up = record_give_up
        self._tasks: dict[str, ServiceTask] = {}
        self._started = False
        self._patience = anyio.CancelScope(shield=True)

    def add(self, name: str, service: Service, restart: Restart) -> None:
        """Add a service, which begins with the others, or at once if they have begun.

        Raises:
            ValueError: the component has a service of that name.
        """
        if name in self._tasks:
            raise ValueError(
                f"name: component {self._component!r} has a service {name!r} already; give this one another name"
            )
        task = self._tasks[name] = ServiceTask(name, service, restart)
        if self._started:
            self._start(task)

    def start(self) -> None:
        """Begin every service. Called in the component's task: the services inherit that task's context variables."""
        self._started = True
        for task in self._tasks.values():
            self._start(task)

    async def end(self) -> None:
        """Cancel every service and wait for their ends, until `stop_waiting` is called."""
        for task in self._tasks.values():
            task.scope.cancel()
        # Shielded, since the task of a crashed component waits here in its own cancelled scope.
        await wait_through(self._list_ends(), self._patience)

    def stop_waiting(self) -> None:
        """Let `end` return although services ignore their cancellation: the component still gets its exit."""
        self._patience.cancel()

    async def wait_ended(self) -> None:
        """Wait until every service is over, without a limit."""
        await wait_through(self._list_ends())

    def _list_ends(self) -> list[anyio.Event]:
        # A service that hasn't taken its first step returns at once when it comes to it, which may be after the end.
        return [task.over for task in self._tasks.values() if task.begun]

    def _start(self, task: ServiceTask) -> None:
        self._start_soon(self._run, task, name=f"bandmaster: {self._component}/{task.name}")

    async def _run(self, task: ServiceTask) -> None:
        if task.scope.cancel_called:
            return
        task.begun = True
        try:
            with task.scope:
                await self._run_repeatedly(task)
        except BaseException as error:  # noqa: BLE001  # an error must not reach the task group of all components
            # Only asyncio's own cancel() of this task, during the pause between two runs, comes here.
            if not task.scope.cancel_called:
                self._give_up(task, make_outside_cancellation(error), "stop")
        finally:
            task.over.set()

    async def _run_repeatedly(self, task: ServiceTask) -> None:
        attempt = 0
        while True:
            attempt += 1
            self._emit(events.ServiceStarted, component=self._component, service=task.name, attempt=attempt)
            error = await self._run_once(task)
            if task.scope.cancel_called:
                if error is not None:
                    self._emit(events.ServiceEnded, component=self._component, service=task.name, error=error)
                    self._record_failure(task.name, error)
                return
            if error is not None and not isinstance(error, Exception):
                # SystemExit and KeyboardInterrupt mean the process, whatever the policy.
                self._give_up(task, error, "stop")
                return
            when = task.restart.when
            if when == "never" or (when == "on_failure" and error is None):
                self._emit(events.ServiceEnded, component=self._component, service=task.name, error=error)
                return
            delay = task.history.next_delay(anyio.current_time())
            if delay is None:
                self._give_up(task, error, task.restart.when_exhausted)
                return
            self._emit(
                events.ServiceRestarting,
                component=self._component,
                service=task.name,
                error=error,
                delay=delay,
                attempt=attempt + 1,
            )
            await anyio.sleep(delay)

    async def _run_once(self, task: ServiceTask) -> BaseException | None:
        try:
            await task.service()
        except BaseException as error:  # noqa: BLE001  # the restart policy decides about every error
            return remove_cancellations(error, expected=task.scope.cancel_called)
        return None

    def _give_up(self, task: ServiceTask, error: BaseException | None, policy: OnCrash) -> None:
        self._emit(events.ServiceGaveUp, component=self._component, service=task.name, error=error, policy=policy)
        self._record_give_up(task.name, error, policy)
