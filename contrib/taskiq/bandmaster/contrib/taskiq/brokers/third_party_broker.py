"""Message handles for brokers of other packages, which can only acknowledge a message, or not even that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio
from taskiq import AckableMessage, AsyncBroker
from taskiq.message import BrokerMessage
from taskiq.utils import maybe_awaitable

from bandmaster.contrib.taskiq.dead_letters.dead_letter import DeadLetters, Reason, make_dead_letter, parse_names


@dataclass(frozen=True, slots=True)
class ThirdPartyHandles:
    """Makes the handles of one broker's messages."""

    broker: AsyncBroker
    dead_letters: DeadLetters
    stopping: anyio.Event
    """Set when the worker stops: no handle waits any longer then."""

    def make(self, message: Any, data: bytes) -> ThirdPartyHandle:
        """The handle of a message."""
        return ThirdPartyHandle(self, message.ack if isinstance(message, AckableMessage) else None, data)


@dataclass(frozen=True, slots=True)
class ThirdPartyHandle:
    """A `MessageHandle` made of an acknowledgement, or of nothing.

    `retry` and `dead_letter` take two steps: if the process dies between them, the message is there twice. A broker
    that waits for acknowledgements never loses a message between them.
    """

    handles: ThirdPartyHandles
    ack: Callable[[], Any] | None
    data: bytes

    @property
    def id(self) -> str:
        """The id of TaskIQ's message: the broker doesn't expose its own."""
        return parse_names(self.data)[1]

    @property
    def deliveries(self) -> int:
        """Always 1: the broker doesn't count."""
        return 1

    def begin(self, on_lost: Callable[[], object]) -> bool:
        """See `MessageHandle.begin`. Always true: the broker doesn't report that a message went to another worker."""
        return True

    async def acknowledge(self) -> None:
        """See `MessageHandle.acknowledge`."""
        if self.ack is not None:
            await maybe_awaitable(self.ack())

    async def wait(self, delay: float) -> None:
        """Hold the message for this many seconds, or until the worker stops."""
        with anyio.move_on_after(delay):
            await self.handles.stopping.wait()

    async def retry(self, data: bytes, *, delay: float) -> bool:
        """See `MessageHandle.retry`. Sends ``data`` now: the caller has waited before."""
        if self.handles.stopping.is_set() and self.ack is not None and delay > 0:
            # The wait was cut short. A message that isn't acknowledged is redelivered by its broker.
            return False
        await send_bytes(self.handles.broker, data)
        await self.acknowledge()
        return True

    async def dead_letter(self, reason: Reason, detail: str, *, data: bytes | None = None) -> bool:
        """See `MessageHandle.dead_letter`."""
        letter = make_dead_letter(self.data if data is None else data, reason, detail, self.deliveries)
        await self.handles.dead_letters.add(letter)
        await self.acknowledge()
        return True

    async def release(self) -> bool:
        """See `MessageHandle.release`. Doesn't acknowledge. A message without an acknowledgement is sent again."""
        if self.ack is None:
            await send_bytes(self.handles.broker, self.data)
        return True


async def send_bytes(broker: AsyncBroker, data: bytes) -> None:
    """Send the bytes of a message unchanged.

    Raises:
        ValueError: they aren't a message of TaskIQ's.
    """
    message = broker.formatter.loads(data)
    await broker.kick(
        BrokerMessage(task_id=message.task_id, task_name=message.task_name, message=data, labels=message.labels)
    )
