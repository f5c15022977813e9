"""Hands the messages of an outbox on as tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bandmaster.contrib.persistence import OutboxMessage, Publisher
from bandmaster.contrib.taskiq.message_labels import ONCE, ONCE_FOR
from bandmaster.contrib.taskiq.queue import TaskQueue
from bandmaster.kernel import LifespanBand, lifespan

_KEPT = 86_400
"""Seconds for which a message that is handed on again doesn't become another task."""


class TaskPublisher:
    """Makes a task of each message: its topic is the task's name, its id the task's id.

    A payload that is an object becomes the task's keyword arguments, a list its arguments, anything else its only one.
    """

    def __init__(self, queue: TaskQueue) -> None:
        self._queue = queue

    async def publish(self, message: OutboxMessage) -> None:
        """Send a message as a task; the second time within a day nothing happens.

        Who and what the message is about travels in the request context, in which relays call this.

        Raises:
            UnknownTaskError: no task is called like the topic.
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
            labels={ONCE: f"outbox-{message.id}", ONCE_FOR: str(_KEPT)},
        )


@lifespan(band=LifespanBand.MESSAGING, name="task_publisher")
async def publisher(queue: TaskQueue) -> AsyncIterator[Publisher]:
    """Messages of an outbox become tasks: a relay hands them on to it."""
    yield TaskPublisher(queue)
