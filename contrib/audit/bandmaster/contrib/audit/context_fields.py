"""Read actor, tenant, request and task from the context of the running code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from bandmaster.contrib.web import current_context
from bandmaster.kernel import current_exchange


@dataclass(frozen=True, slots=True)
class RunningTask:
    """The task that the running code is part of."""

    task: str
    task_id: str
    schedule: str | None = None


_TASK: ContextVar[RunningTask | None] = ContextVar("bandmaster.audit_task", default=None)


@contextmanager
def running_task(task: RunningTask) -> Iterator[None]:
    """Name a task in the entries that the block's code records."""
    token = _TASK.set(task)
    try:
        yield
    finally:
        try:
            _TASK.reset(token)
        except ValueError:
            # A coroutine that is garbage collected is closed in another context, where nothing was set.
            pass


def read_context() -> dict[str, str]:
    """The fields of an entry that the context knows: of a request, a connection or a task; empty outside of them."""
    fields: dict[str, str | None] = {}
    context = current_context()
    if context is not None:
        fields |= {
            "actor": context.user,
            "tenant": context.tenant,
            "request_id": context.request_id,
            "correlation_id": context.correlation_id,
        }
    exchange = current_exchange()
    client = None if exchange is None else exchange.scope.get("client")
    if client:
        fields["address"] = str(client[0])
    task = _TASK.get()
    if task is not None:
        fields |= {"task": task.task, "task_id": task.task_id, "schedule": task.schedule}
    return {name: value for name, value in fields.items() if value}
