"""The message that a broker delivers, with a handle to acknowledge, retry or release the message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from pydantic import ConfigDict
from taskiq import AckableMessage

from bandmaster.contrib.taskiq.dead_letters.dead_letter import Reason


class MessageHandle(Protocol):
    """Controls one message that was delivered to this process.

    Each message ends by one of `acknowledge`, `retry`, `dead_letter` and `release`. If none is called, or the call
    fails, the message is redelivered when its lease has expired. That is why a worker's death loses no message.
    """

    @property
    def id(self) -> str:
        """The broker's id of the message."""
        ...

    @property
    def deliveries(self) -> int:
        """How often the message was delivered, this time included."""
        ...

    def begin(self, on_lost: Callable[[], object]) -> bool:
        """Mark the task as begun. False means that the lease has expired or may have: the task must not run here.

        ``on_lost`` is called in the event loop, once, if another worker gets the message while the task runs.
        """
        ...

    async def acknowledge(self) -> None:
        """Remove the message: its task is done. Correct also after the lease was lost, since the work has been done.

        Raises:
            TransientError: the broker can't be reached, after retries.
            PermanentError: the broker refuses.
        """
        ...

    async def retry(self, data: bytes, *, delay: float) -> bool:
        """Replace the message by ``data``, to be delivered after ``delay`` seconds at the earliest, in one step.

        False if another worker has the message by now; nothing has changed then.

        Raises:
            TransientError: the broker can't be reached.
            PermanentError: the broker refuses.
        """
        ...

    async def dead_letter(self, reason: Reason, detail: str, *, data: bytes | None = None) -> bool:
        """Make the message a dead letter, in one step, with ``data`` in its place if given. False as for `retry`.

        Raises:
            TransientError: the broker can't be reached.
            PermanentError: the broker refuses.
        """
        ...

    async def release(self) -> bool:
        """Let another worker, or this one, have the message at once. False as for `retry`.

        The delivery isn't counted: the worker that releases the message is alive.

        Raises:
            TransientError: the broker can't be reached; the message is redelivered when its lease has expired.
            PermanentError: the broker refuses.
        """
        ...


class Delivery(AckableMessage):
    """TaskIQ's message, as this package's brokers deliver it: with a `MessageHandle`."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    handle: Any
    """A `MessageHandle`."""

    @classmethod
    def of(cls, data: bytes, handle: MessageHandle) -> Delivery:
        """The message of these bytes. Not validated, since one is made for every message."""
        return cls.model_construct(data=data, ack=handle.acknowledge, handle=handle)
