"""The broker that needs no server: tasks wait in this process, and are lost with it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from taskiq.message import BrokerMessage

from bandmaster.contrib.taskiq import message_labels as labels
from bandmaster.contrib.taskiq.brokers.isolated_dependencies import IsolatingBroker
from bandmaster.contrib.taskiq.brokers.message_handle import Delivery, Reason
from bandmaster.contrib.taskiq.dead_letters.dead_letter import DeadLetter, anew, letter_of

_MOST_LETTERS = 10_000


class EmbeddedBroker(IsolatingBroker):
    """Gives out in the order of sending, to listeners in this event loop; does what `LeasedStreamBroker` does, but keep.

    Messages are bytes here as well, so that what can't travel is seen at once.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.dead_letters = MemoryDeadLetters(self.put)
        self._clock = clock
        self._waiting: deque[_Message] = deque()
        self._delayed: list[tuple[float, int, _Message]] = []
        self._held: set[_Message] = set()
        self._once: dict[str, float] = {}
        self._numbers = itertools.count(1)
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def waiting(self) -> int:
        """Messages that nobody has been given, delayed ones included."""
        return len(self._waiting) + len(self._delayed)

    async def kick(self, message: BrokerMessage) -> None:
        """Send a message."""
        found = message.labels
        once = found.get(labels.ONCE)
        if once:
            now = self._clock()
            self._once = {key: until for key, until in self._once.items() if until > now}
            if once in self._once:
                return
            self._once[once] = now + float(found.get(labels.ONCE_FOR) or 0)
        self.put(message.message, float(found.get(labels.DELAY) or 0))

    def put(self, data: bytes, delay: float = 0) -> None:
        """Let a message wait."""
        self._wait(_Message(self, str(next(self._numbers)), data), delay)

    async def listen(self) -> AsyncGenerator[Delivery, None]:
        """Messages as they come; several listeners share them."""
        while True:
            self._move_due()
            if self._waiting:
                message = self._waiting.popleft()
                message.deliveries += 1
                self._held.add(message)
                self._tell()
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
        """Wait until nothing is being run and nothing waits but what is delayed; for tests, and for a drain."""
        while self._waiting or self._held:  # something may come before this goes on
            await self._idle.wait()

    async def ping(self) -> None:
        """It is always there."""

    # -- what its messages do ----------------------------------------------------------------------------------

    def settle(self, message: _Message) -> bool:
        """Let go of one; whether it was held."""
        held = message in self._held
        self._held.discard(message)
        self._tell()
        return held

    def give_back(self, message: _Message) -> bool:
        """Put one first in the queue again."""
        if not self.settle(message):
            return False
        self._waiting.appendleft(message)
        self._tell()
        return True

    def again(self, message: _Message, data: bytes, delay: float) -> bool:
        """Put another in its place."""
        if not self.settle(message):
            return False
        self.put(data, delay)
        return True

    def _wait(self, message: _Message, delay: float) -> None:
        if delay > 0:
            heapq.heappush(self._delayed, (self._clock() + delay, next(self._numbers), message))
        else:
            self._waiting.append(message)
        self._tell()

    def _move_due(self) -> None:
        now = self._clock()
        while self._delayed and self._delayed[0][0] <= now:
            self._waiting.append(heapq.heappop(self._delayed)[2])

    def _tell(self) -> None:
        if self._waiting or self._delayed:
            self._news.set()
        if self._waiting or self._held:
            self._idle.clear()
        else:
            self._idle.set()


@dataclass(slots=True, eq=False)
class _Message:
    """A message, and the hand on it."""

    broker: EmbeddedBroker
    id: str
    data: bytes
    deliveries: int = 0

    def begin(self, on_lost: Callable[[], object]) -> bool:
        """It is nobody else's, ever."""
        return True

    async def done(self) -> None:
        """It is done with."""
        self.broker.settle(self)

    async def again(self, data: bytes, *, delay: float) -> bool:
        """Another stands in its place."""
        return self.broker.again(self, data, delay)

    async def bury(self, reason: Reason, detail: str, *, data: bytes | None = None) -> bool:
        """It is a dead letter."""
        if not self.broker.settle(self):
            return False
        letter = letter_of(self.data if data is None else data, reason, detail, self.deliveries)
        await self.broker.dead_letters.add(letter)
        return True

    async def give_back(self) -> bool:
        """It is the next again."""
        return self.broker.give_back(self)


class MemoryDeadLetters:
    """The dead letters of this process, the last 10 000."""

    def __init__(self, put: Callable[[bytes], object] | None = None) -> None:
        self._put = put
        self._letters: dict[str, DeadLetter] = {}
        self._numbers = itertools.count(1)

    async def count(self) -> int:
        """How many there are."""
        return len(self._letters)

    async def page(self, *, after: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """Letters, oldest first, from behind the one with the id ``after``."""
        since = 0 if after is None else int(after)
        return list(itertools.islice((one for one in self._letters.values() if int(one.id) > since), limit))

    async def get(self, id: str) -> DeadLetter | None:  # noqa: A002
        """One of them."""
        return self._letters.get(id)

    async def add(self, letter: DeadLetter) -> str:
        """Keep one."""
        number = str(next(self._numbers))
        self._letters[number] = replace(letter, id=number)
        if len(self._letters) > _MOST_LETTERS:
            del self._letters[next(iter(self._letters))]
        return number

    async def replay(self, ids: Iterable[str] | None = None) -> list[str]:
        """Send letters again; all of them unless ``ids`` are given."""
        if self._put is None:
            raise RuntimeError("nobody has said where these dead letters are to be sent")
        chosen = [each for each in dict.fromkeys(self._letters if ids is None else ids) if each in self._letters]
        for each in chosen:
            self._put(anew(self._letters.pop(each).data))
        return chosen

    async def purge(self, ids: Iterable[str] | None = None, *, before: datetime | None = None) -> int:
        """Forget letters."""
        chosen = [
            each
            for each in dict.fromkeys(self._letters if ids is None else ids)
            if each in self._letters and (before is None or self._letters[each].died_at < before)
        ]
        for each in chosen:
            del self._letters[each]
        return len(chosen)
