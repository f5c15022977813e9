"""Messages of other packages' brokers, dealt with as far as those can: they know no more than an acknowledgement."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import anyio
from taskiq import AckableMessage, AsyncBroker
from taskiq.message import BrokerMessage
from taskiq.utils import maybe_awaitable

from bandmaster.contrib.taskiq.brokers.message_handle import Reason
from bandmaster.contrib.taskiq.dead_letters.dead_letter import DeadLetter, DeadLetters, anew, letter_of, named_in


@dataclass(frozen=True, slots=True)
class ForeignHands:
    """Makes hands on the messages of one broker."""

    broker: AsyncBroker
    letters: DeadLetters
    stopping: anyio.Event
    """Set when nobody is to wait any longer."""

    def take(self, message: Any, data: bytes) -> ForeignHand:
        """The hand on a message."""
        return ForeignHand(self, message.ack if isinstance(message, AckableMessage) else None, data)


@dataclass(frozen=True, slots=True)
class ForeignHand:
    """What can be done about a message that can only be acknowledged, or not even that.

    One step takes two here: a message that is sent again, or kept as a dead letter, may be there twice if the process
    dies in between. It is never gone before, where the broker waits for acknowledgements.
    """

    hands: ForeignHands
    acknowledge: Callable[[], Any] | None
    data: bytes

    @property
    def id(self) -> str:
        """The id of TaskIQ's message: the broker's own isn't told."""
        return named_in(self.data)[1]

    @property
    def deliveries(self) -> int:
        """Nobody tells."""
        return 1

    def begin(self, on_lost: Callable[[], object]) -> bool:
        """Nobody tells of a loss either."""
        return True

    async def done(self) -> None:
        """Acknowledge it."""
        if self.acknowledge is not None:
            await maybe_awaitable(self.acknowledge())

    async def wait(self, delay: float) -> None:
        """Wait here, holding it, for so many seconds, or until nobody is to wait any longer."""
        with anyio.move_on_after(delay):
            await self.hands.stopping.wait()

    async def again(self, data: bytes, *, delay: float) -> bool:
        """Send the other now, after a `wait`. A broker that waits for acknowledgements keeps what waited too short."""
        if self.hands.stopping.is_set() and self.acknowledge is not None and delay > 0:
            return False  # it comes again by itself
        await send(self.hands.broker, data)
        await self.done()
        return True

    async def bury(self, reason: Reason, detail: str, *, data: bytes | None = None) -> bool:
        """Keep it with the dead letters, and acknowledge it."""
        await self.hands.letters.add(letter_of(self.data if data is None else data, reason, detail, self.deliveries))
        await self.done()
        return True

    async def give_back(self) -> bool:
        """Leave it unacknowledged; one that has no acknowledgement is sent again."""
        if self.acknowledge is None:
            await send(self.hands.broker, self.data)
        return True


class ForeignDeadLetters:
    """Dead letters that are kept in one place and sent again by another package's broker."""

    def __init__(self, broker: AsyncBroker, letters: DeadLetters) -> None:
        self._broker = broker
        self._letters = letters

    async def count(self) -> int:
        """How many there are."""
        return await self._letters.count()

    async def page(self, *, after: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """Letters, oldest first, from behind the one with the id ``after``."""
        return await self._letters.page(after=after, limit=limit)

    async def get(self, id: str) -> DeadLetter | None:  # noqa: A002
        """One of them."""
        return await self._letters.get(id)

    async def add(self, letter: DeadLetter) -> str:
        """Keep one."""
        return await self._letters.add(letter)

    async def replay(self, ids: Iterable[str] | None = None) -> list[str]:
        """Send letters again, and forget each thereafter: a letter may be sent twice, but isn't lost.

        What can't be read can't be sent, and stays.
        """
        sent = []
        for letter in await self._chosen(ids):
            data = anew(letter.data)
            try:
                await send(self._broker, data)
            except ValueError:
                continue
            await self._letters.purge([letter.id])
            sent.append(letter.id)
        return sent

    async def purge(self, ids: Iterable[str] | None = None, *, before: datetime | None = None) -> int:
        """Forget letters."""
        return await self._letters.purge(ids, before=before)

    async def _chosen(self, ids: Iterable[str] | None) -> list[DeadLetter]:
        if ids is not None:
            return [letter for each in dict.fromkeys(ids) if (letter := await self._letters.get(each)) is not None]
        found: list[DeadLetter] = []
        while page := await self._letters.page(after=found[-1].id if found else None):
            found += page
        return found


async def send(broker: AsyncBroker, data: bytes) -> None:
    """Send a message as it is.

    Raises:
        ValueError: it isn't one of TaskIQ's.
    """
    message = broker.formatter.loads(data)
    await broker.kick(
        BrokerMessage(task_id=message.task_id, task_name=message.task_name, message=data, labels=message.labels)
    )
