"""Publishes the messages of an outbox as tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bandmaster.contrib.persistence import OutboxMessage, Publisher
from bandmaster.contrib.taskiq.message_labels import ONCE, ONCE_FOR
from bandmaster.contrib.taskiq.queue import TaskQueue
from bandmaster.kernel import LifespanBand, lifespan

_REMEMBER_SECONDS = 86_400
"""Within this time a message that is published again doesn't become a second task."""


class TaskPublisher:
    """Sends each message as a task: the message's topic is the task's name, its id the task's id.

    A payload that is an object becomes the task's keyword arguments, a list its positional arguments, any other payload
    its only argument.
    """

    def __init__(self, queue: TaskQueue) -> None:
        self._queue = queue

    async def publish(self, message: OutboxMessage) -> None:
        """Send a message as a task. A second call for the same message within a day has no effect.

        The relay calls this in the request context of the message, which the task gets.

        Raises:
            UnknownTaskError: no task has the topic's name.
            TransientError: the queue can't be reached.
        """
        payload = message.payload
        kwargs = dict(payload) if isinstance(payload, dict) else {}
        args = [] if isinstance(payload, dict) else list(payload) if isinstance(payload, list) else [payload]
        await self._queue.send_message(
            message.topic,
            args,
            kwargs,
            task_id=message.id,
            labels={ONCE: f"outbox-{message.id}", ONCE_FOR: str(_REMEMBER_SECONDS)},
        )


@lifespan(band=LifespanBand.MESSAGING, name="task_publisher")
async def publisher(queue: TaskQueue) -> AsyncIterator[Publisher]:
    """Publishes the messages that the relay of an outbox reads as tasks."""
    yield TaskPublisher(queue)
