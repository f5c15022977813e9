"""Record what happens in a run: its events, and its failures with what follows from each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from bandmaster.kernel import events
from bandmaster.kernel.errors import DeadlineExceeded
from bandmaster.kernel.events import Event
from bandmaster.kernel.lifecycle.component_task import ComponentTask
from bandmaster.kernel.lifecycle.outcome import Failure, describe_component


class Record:
    """The record of one run.

    A failure is recorded at once and never raised: ``end_run`` is called for each that ends the run, and ``degrade``
    with the name of a component that died, or lost a service, and whose policy is to serve on without readiness.
    """

    def __init__(
        self,
        emit: Callable[[Event], None] | None,
        now: Callable[[], float],
        *,
        end_run: Callable[[], None],
        degrade: Callable[[str], None],
    ) -> None:
        self.failures: list[Failure] = []
        """In the order in which they happened: the first is the cause of the others."""
        self._emit = emit
        self._now = now
        self._end_run = end_run
        self._degrade = degrade

    def emit(self, kind: type[Event], **fields: Any) -> None:
        """Emit an event that happens now."""
        if self._emit is not None:
            self._emit(kind(at=self._now(), **fields))

    def emit_end(self, kind: Callable[..., Event], task: ComponentTask, **fields: Any) -> None:
        """Emit the end of a component's phase, with the seconds that the phase took."""
        if self._emit is not None:
            now = self._now()
            self._emit(kind(at=now, component=task.name, own=now - task.phase_began, **fields))

    def add_failure(self, task: ComponentTask, phase: str, error: BaseException) -> None:
        """Record the failure of a start or a stop, and end the run."""
        annotate(task, error, phase)
        self.failures.append(Failure(task.component, phase, error, task.attempt))
        self._end_run()

    def add_crash(self, task: ComponentTask) -> None:
        """Record that a component has died. `complete_crash` adds the error, which is known only after the exit."""
        policy = task.component.contribution.on_crash
        task.crash_place = len(self.failures)
        self.failures.append(Failure(task.component, "serving", None))
        self.emit(events.ComponentCrashed, component=task.name, policy=policy)
        self._follow_policy(policy, task)

    def complete_crash(self, task: ComponentTask, error: BaseException) -> None:
        """Add the error of a component that has died."""
        assert task.crash_place is not None
        annotate(task, error, "serving")
        self.failures[task.crash_place] = Failure(task.component, "serving", error)

    def add_service_failure(self, task: ComponentTask, service: str, error: BaseException) -> None:
        """Record that a background service failed to stop, and end the run."""
        _add_note(error, f"in the background service {service!r}")
        self.add_failure(task, "stop", error)

    def add_give_up(self, task: ComponentTask, service: str, error: BaseException | None, policy: str) -> None:
        """Record that a background service isn't restarted any more, and follow its policy."""
        if error is not None:
            _add_note(error, f"in the background service {service!r}")
            annotate(task, error, "serving")
        self.failures.append(Failure(task.component, "serving", error))
        self._follow_policy(policy, task)

    def _follow_policy(self, policy: str, task: ComponentTask) -> None:
        if policy == "stop":
            self._end_run()
        else:
            self._degrade(task.name)


def annotate(task: ComponentTask, error: BaseException, phase: str) -> None:
    """Note on an error which component failed, and in which phase."""
    if not isinstance(error, DeadlineExceeded):  # whose message names the component
        doing = {"start": "starting", "serving": "serving", "stop": "stopping"}[phase]
        _add_note(error, f"while {doing} {describe_component(task.component)}")


def _add_note(error: BaseException, note: str) -> None:
    with suppress(Exception):  # an exception may be frozen, and is still the cause
        error.add_note(note)
