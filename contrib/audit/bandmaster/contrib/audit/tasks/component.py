"""The component that names the running task in entries, an observer of the tasks of bandmaster-taskiq."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager

from bandmaster.contrib.audit.context_fields import RunningTask, running_task
from bandmaster.contrib.audit.settings import AuditSettings, is_enabled
from bandmaster.contrib.taskiq import TaskAttempt, TaskEvent, TaskObserver
from bandmaster.kernel import LifespanBand, lifespan


class TaskNames(TaskObserver):
    """Names the task, its id and its schedule in the entries that the task records."""

    def observe_attempt(self, attempt: TaskAttempt) -> AbstractContextManager[object]:
        """See `TaskObserver.observe_attempt`."""
        return running_task(RunningTask(attempt.task, attempt.task_id, attempt.schedule))

    def on_task_event(self, event: TaskEvent) -> None:
        """Ignore the events of tasks."""
        return


@lifespan(band=LifespanBand.OBSERVABILITY, name="audit_task_names", when=is_enabled)
async def audit_task_names(settings: AuditSettings) -> AsyncIterator[TaskObserver]:
    """The names of running tasks, for the entries that they record."""
    yield TaskNames()
