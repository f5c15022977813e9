"""Read who acts, for which tenant and in which request or task, from the context of the running code."""

from __future__ import annotations

import sys
from typing import Any

from bandmaster.contrib.web import current_context
from bandmaster.kernel import current_exchange

_TASKS = "bandmaster.contrib.taskiq.running_task"


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
    fields |= _read_task()
    return {name: value for name, value in fields.items() if value}


def _read_task() -> dict[str, str | None]:
    # A task runs only where bandmaster-taskiq is imported already, and nothing else needs the package here.
    module: Any = sys.modules.get(_TASKS)
    task = None if module is None else module.current_task()
    if task is None:
        return {}
    return {"task": task.name, "task_id": task.id, "schedule": task.schedule_id}
