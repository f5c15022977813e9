"""What brings messages to this process: one loop that reads, looks for leases that have run out, and lets in what is due.

It is one loop so that no slot is filled twice. Reads wait on the server for no longer than until something else is to
be done.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

from redis.asyncio import Redis

from bandmaster.contrib.taskiq.brokers.message_handle import Reason
from bandmaster.contrib.taskiq.streams.blocking_reader import Reader
from bandmaster.contrib.taskiq.streams.lease_renewal import let_dropped_go, renew
from bandmaster.contrib.taskiq.streams.leases import Lease, Leases
from bandmaster.contrib.taskiq.streams.message_scripts import DUE, HUSH, RECLAIM
from bandmaster.contrib.taskiq.streams.options import LeasedStreamOptions
from bandmaster.contrib.taskiq.streams.outage import Outage, log
from bandmaster.contrib.taskiq.streams.queue_scripts import FORGET
from bandmaster.contrib.taskiq.streams.script_runner import Link, lacks_group
from bandmaster.kernel import BandmasterError

_BUSY_LOOK = 1.0
"""Seconds between two looks while messages arrive: nobody is idle then who could be nudged."""
_DUE_PAUSE = 0.02
"""Seconds between two looks at what is due, at least."""
_GATHER = 0.001
"""Seconds in which slots gather of which there are few, rather than one being filled at a time."""


class Receiving(Protocol):
    """Who is told about what comes."""

    def arrived(self) -> None:
        """There is something ready."""
        ...

    def lost(self, leases: Sequence[Lease]) -> None:
        """These are somebody else's."""
        ...

    async def buried(self, task_ids: Sequence[str], detail: str) -> None:
        """These have become dead letters, because they were given out too often."""
        ...


class Intake:
    """Fills the free slots, until it is stopped."""

    def __init__(
        self,
        link: Link,
        reading: Redis,
        leases: Leases,
        options: LeasedStreamOptions,
        ready: deque[tuple[Lease, bytes]],
        receiving: Receiving,
    ) -> None:
        self._link = link
        self._leases = leases
        self._options = options
        self._ready = ready
        self._receiving = receiving
        self._reader = Reader(reading, link)
        self._stopped = asyncio.Event()
        self._freed = asyncio.Event()
        self._look_at = self._due_at = self._forget_at = 0.0
        self._plenty = False
        """Whether the last read brought all that it might."""
        self._more = False
        """Whether the last look left something, for want of slots."""
        self._suspects = False
        """Whether it left something that is to run without its like."""
        fields = {"queue": options.queue, "consumer": link.consumer}
        self._reads = Outage("reading messages", **fields)
        self._looks = Outage("looking for messages whose lease is over", **fields)
        self._burials = Outage("making dead letters of messages that were given out too often", **fields)
        self._task = asyncio.get_running_loop().create_task(self._run(), name="taskiq-intake")
        self._task.add_done_callback(lambda _: receiving.arrived())

    @property
    def ended(self) -> bool:
        """Whether it has come to its end."""
        return self._task.done()

    def check(self) -> None:
        """Raise what it failed with: a fault of its own, for the server's it survives."""
        if self._task.done() and not self._task.cancelled() and (error := self._task.exception()) is not None:
            raise error

    def freed(self) -> None:
        """A slot is free."""
        self._freed.set()

    async def stop(self) -> None:
        """Read no more. What a read brings at this moment is still taken."""
        self._stopped.set()
        self._freed.set()
        if not self._task.done():
            await self._reader.interrupt(self._task)
        await asyncio.wait({self._task})

    # -- The loop ----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                try:
                    await self._step()
                except BandmasterError as error:
                    if lacks_group(error):
                        await self._make_group()
                    else:
                        await _wait(self._stopped, self._reads.failed(error))
        finally:
            await self._reader.close()

    async def _step(self) -> None:
        now = time.monotonic()
        if now >= self._due_at:
            await self._try(self._let_in)
        let_dropped_go(self._leases, self._options)
        wanted = (self._more and self._leases.free > 0) or (self._suspects and not self._has_suspect())
        if now >= self._look_at or wanted:
            await self._try(self._look)
        self._freed.clear()
        free = self._leases.free
        if self._plenty and 0 < free * 4 < self._options.slots:
            await asyncio.sleep(_GATHER)
            free = self._leases.free
        pause = min(self._look_at, self._due_at) - time.monotonic()
        if self._stopped.is_set():
            return
        if free > 0:
            await self._read(free, pause)
        else:
            await _wait(self._freed, pause)

    async def _try(self, look: Callable[[], Awaitable[None]]) -> None:
        """Look at something; reading goes on if that isn't possible."""
        try:
            await look()
        except BandmasterError as error:
            if lacks_group(error):
                await self._make_group()
            else:
                self._looks.failed(error)
        else:
            self._looks.over()

    async def _make_group(self) -> None:
        try:
            await self._link.make_group()
        except BandmasterError as error:
            await _wait(self._stopped, self._reads.failed(error))
        else:
            log().warning("the consumer group was gone, and has been made anew", queue=self._options.queue)

    # -- What it does ------------------------------------------------------------------------------------------------

    async def _read(self, free: int, pause: float) -> None:
        asked = time.monotonic()
        entries = await self._reader.read(free, pause)
        self._reads.over()
        self._plenty = len(entries) >= free
        if entries:
            self._look_at = min(self._look_at, asked + _BUSY_LOOK)
            await self._take([(entry, fields, 1) for entry, fields in entries], asked)

    async def _let_in(self) -> None:
        now = time.monotonic()
        self._due_at = now + self._options.look
        wait = await self._link.run(DUE)
        if wait >= 0:
            self._due_at = min(self._due_at, max(now + _DUE_PAUSE, time.monotonic() + (wait + 1) / 1000))

    async def _look(self) -> None:
        asked = time.monotonic()
        self._look_at = asked + self._options.look
        detail = f"given out {self._options.max_deliveries} times, and nobody came to its end"
        entries, buried, problem, more, suspects = await self._link.run(
            RECLAIM,
            round(self._options.lease * 1000),
            max(0, self._leases.free),
            self._options.max_deliveries,
            Reason.POISON.value,
            detail,
            int(self._has_suspect()),
            *(lease.id for lease in self._leases.held()),
        )
        self._more, self._suspects = bool(more), bool(suspects)
        await self._take(entries, asked)
        if buried:
            log().error("messages were given out too often, and are dead letters now", count=len(buried))
            await self._receiving.buried([task_id.decode(errors="replace") for task_id in buried], detail)
        if problem:
            self._burials.failed(RuntimeError(problem.decode()))
        elif buried:
            self._burials.over()
        if asked >= self._forget_at:
            self._forget_at = asked + self._options.silence / 2
            await self._link.run(FORGET, round(self._options.silence * 1000))

    def _has_suspect(self) -> bool:
        most = self._options.max_deliveries
        return most > 1 and any(lease.deliveries >= most for lease in self._leases.held())

    async def _take(self, entries: Sequence[tuple[bytes, Sequence[bytes], int]], asked: float) -> None:
        taken: list[Lease] = []
        nudges: list[bytes] = []
        for entry, fields, deliveries in entries:
            if fields[0] == b"nudge":
                nudges.append(entry)
            elif (lease := self._leases.take(entry.decode(), deliveries, asked)) is not None:
                self._ready.append((lease, _data(fields)))
                taken.append(lease)
        if taken:
            self._receiving.arrived()
        if nudges:
            self._look_at = self._due_at = 0.0
            for nudge in nudges:
                await self._link.run(HUSH, nudge)
        if taken and time.monotonic() - asked > self._options.lease / 2:
            # The answer had been there for who knows how long while something kept the event loop.
            await renew(self._link, self._leases, taken, self._receiving.lost)


def _data(fields: Sequence[bytes]) -> bytes:
    # The first field of what this package sends; others may have put theirs elsewhere, or none.
    return fields[1] if fields[0] == b"data" else dict(zip(fields[::2], fields[1::2], strict=True)).get(b"data", b"")


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()
