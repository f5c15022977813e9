"""The broker without a server: messages wait in this process's memory and are lost with the process."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from taskiq.message import BrokerMessage

from bandmaster.contrib.taskiq.brokers.isolated_dependencies import IsolatingBroker
from bandmaster.contrib.taskiq.brokers.message_handle import Delivery
from bandmaster.contrib.taskiq.dead_letters.dead_letter import Reason, make_dead_letter
from bandmaster.contrib.taskiq.dead_letters.memory import MemoryDeadLetters
from bandmaster.contrib.taskiq.message_labels import DELAY, ONCE, ONCE_FOR
from bandmaster.contrib.taskiq.queue_depth import Depth


class EmbeddedBroker(IsolatingBroker):
    """Delivers messages in the order of sending to listeners in this event loop, as the leased broker does to workers.

    Messages are bytes here too, so that arguments which JSON can't express fail at once.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.dead_letters = MemoryDeadLetters(self.put)
        self._clock = clock
        self._waiting: deque[EmbeddedMessage] = deque()
        self._delayed: list[tuple[float, int, EmbeddedMessage]] = []
        self._held: set[EmbeddedMessage] = set()
        self._once: dict[str, float] = {}
        self._numbers = itertools.count(1)
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def waiting(self) -> int:
        """The number of undelivered messages, delayed ones included."""
        return len(self._waiting) + len(self._delayed)

    async def kick(self, message: BrokerMessage) -> None:
        """Send a message."""
        labels = message.labels
        once = labels.get(ONCE)
        if once:
            now = self._clock()
            self._once = {key: until for key, until in self._once.items() if until > now}
            if once in self._once:
                return
            self._once[once] = now + float(labels.get(ONCE_FOR) or 0)
        self.put(message.message, float(labels.get(DELAY) or 0))

    def put(self, data: bytes, delay: float = 0) -> None:
        """Enqueue the bytes of a message."""
        due = self._clock() + delay
        message = EmbeddedMessage(self, str(next(self._numbers)), data, due)
        if delay > 0:
            heapq.heappush(self._delayed, (due, next(self._numbers), message))
        else:
            self._waiting.append(message)
        self._wake()

    async def listen(self) -> AsyncGenerator[Delivery, None]:
        """Deliver messages as they arrive. Several listeners share them."""
        while True:
            self._move_due()
            if self._waiting:
                message = self._waiting.popleft()
                message.deliveries += 1
                self._held.add(message)
                self._wake()
                yield Delivery.of(message.data, message)
            else:
                self._news.clear()
                pause = self._delayed[0][0] - self._clock() if self._delayed else None
                try:
                    async with asyncio.timeout(pause):
                        await self._news.wait()
                except TimeoutError:
                    pass

    async def wait_idle(self) -> None:
        """Wait until no task runs and no message waits, except delayed ones; for tests, and for a drain."""
        while self._waiting or self._held:  # a message may arrive between the event and this task's turn
            await self._idle.wait()

    async def depth(self) -> Depth:
        """The numbers of messages in the queue."""
        self._move_due()
        return Depth(
            waiting=len(self._waiting),
            held=len(self._held),
            delayed=len(self._delayed),
            dead=await self.dead_letters.count(),
            oldest=max((self._clock() - message.due for message in self._waiting), default=0.0),
        )

    async def ping(self) -> None:
        """Succeed: memory can always be reached."""

    def forget(self, message: EmbeddedMessage) -> bool:
        """Stop holding a message. Returns False for a message that wasn't held."""
        held = message in self._held
        self._held.discard(message)
        self._wake()
        return held

    def release(self, message: EmbeddedMessage) -> bool:
        """Put a held message at the front of the queue. Returns False for a message that wasn't held."""
        if not self.forget(message):
            return False
        self._waiting.appendleft(message)
        self._wake()
        return True

    def replace(self, message: EmbeddedMessage, data: bytes, delay: float) -> bool:
        """Enqueue other bytes in place of a held message. Returns False for a message that wasn't held."""
        if not self.forget(message):
            return False
        self.put(data, delay)
        return True

    def _move_due(self) -> None:
        now = self._clock()
        while self._delayed and self._delayed[0][0] <= now:
            self._waiting.append(heapq.heappop(self._delayed)[2])

    def _wake(self) -> None:
        if self._waiting or self._delayed:
            self._news.set()
        if self._waiting or self._held:
            self._idle.clear()
        else:
            self._idle.set()


@dataclass(slots=True, eq=False)
class EmbeddedMessage:
    """A message of an `EmbeddedBroker`, and its `MessageHandle`."""

    broker: EmbeddedBroker
    id: str
    data: bytes
    due: float
    """The time from which it may be delivered."""
    deliveries: int = 0

    def begin(self, on_lost: Callable[[], object]) -> bool:
        """See `MessageHandle.begin`. There is no lease, so the message is never lost to another worker."""
        return True

    async def acknowledge(self) -> None:
        """See `MessageHandle.acknowledge`."""
        self.broker.forget(self)

    async def retry(self, data: bytes, *, delay: float) -> bool:
        """See `MessageHandle.retry`."""
        return self.broker.replace(self, data, delay)

    async def dead_letter(self, reason: Reason, detail: str, *, data: bytes | None = None) -> bool:
        """See `MessageHandle.dead_letter`."""
        if not self.broker.forget(self):
            return False
        letter = make_dead_letter(self.data if data is None else data, reason, detail, self.deliveries)
        await self.broker.dead_letters.add(letter)
        return True

    async def release(self) -> bool:
        """See `MessageHandle.release`."""
        return self.broker.release(self)
