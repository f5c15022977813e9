"""TaskIQ's middlewares, called at each step of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskiq import AsyncBroker, TaskiqMessage, TaskiqMiddleware
from taskiq.utils import maybe_awaitable

from bandmaster.contrib.taskiq.errors import render_error
from bandmaster.contrib.taskiq.logger import get_logger

_AFTER_RUN = ("on_error", "post_execute", "post_save")


class MiddlewareSteps:
    """The steps that a broker's middlewares implement, looked up once: most inherit most steps from TaskIQ's base."""

    def __init__(self, broker: AsyncBroker) -> None:
        self._before = _find_steps(broker.middlewares, "pre_execute")
        self._after = {step: _find_steps(broker.middlewares[::-1], step) for step in _AFTER_RUN}

    async def run_before(self, message: TaskiqMessage) -> TaskiqMessage:
        """Call ``pre_execute`` of each middleware and return the message that the last one returns.

        Raises:
            TypeError: a middleware returned something else.
        """
        for step in self._before:
            returned: Any = await maybe_awaitable(step(message))
            if not isinstance(returned, TaskiqMessage):
                raise TypeError(f"{step.__qualname__} returned {returned!r} rather than the message")
            message = returned
        return message

    async def run_after(self, step: str, message: TaskiqMessage, *arguments: Any) -> None:
        """Call a later step of each middleware. Errors are logged: they must not change the outcome of the task."""
        for call in self._after[step]:
            try:
                await maybe_awaitable(call(message, *arguments))
            except Exception as error:  # noqa: BLE001  # a middleware raises errors of any type
                get_logger().error(
                    "a middleware failed", step=call.__qualname__, task=message.task_name, error=render_error(error)
                )


def _find_steps(middlewares: list[TaskiqMiddleware], step: str) -> tuple[Callable[..., Any], ...]:
    inherited = getattr(TaskiqMiddleware, step)
    return tuple(getattr(each, step) for each in middlewares if getattr(type(each), step) is not inherited)
