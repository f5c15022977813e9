"""The component that sends the principal with tasks, and sets the principal where they run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

from bandmaster.kernel import LifespanBand, lifespan

_HAS_TASKS = find_spec("bandmaster.contrib.taskiq") is not None

if TYPE_CHECKING or _HAS_TASKS:
    from bandmaster.contrib.taskiq import TaskQueue
else:

    class TaskQueue:
        """A type that nothing provides, where bandmaster-taskiq isn't installed."""


def has_tasks() -> bool:
    """Whether bandmaster-taskiq is installed."""
    return _HAS_TASKS


@lifespan(band=LifespanBand.MESSAGING, name="principal_in_tasks", when=has_tasks)
async def principal_in_tasks(queue: TaskQueue | None) -> AsyncIterator[None]:
    """Lets `current_principal` return the sender of a task, where the task runs."""
    if queue is not None:
        # Imported here, since TaskIQ may not be installed.
        from bandmaster.contrib.oidc.access.task_principal import PrincipalMiddleware

        queue.broker.add_middlewares(PrincipalMiddleware())
    yield
