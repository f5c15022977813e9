"""The loop that fetches messages: reads new ones, claims those with expired leases, and moves due ones to the stream.

All three are one loop, so that no slot is filled twice. A blocking read ends when the next claim or move is due.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

from redis.asyncio import Redis

from bandmaster.contrib.taskiq.dead_letters.dead_letter import Reason
from bandmaster.contrib.taskiq.logger import get_logger
from bandmaster.contrib.taskiq.streams.blocking_reader import BlockingReader
from bandmaster.contrib.taskiq.streams.lease_renewal import forget_abandoned, renew
from bandmaster.contrib.taskiq.streams.leases import Lease, Leases
from bandmaster.contrib.taskiq.streams.message_scripts import MOVE_DUE, RECLAIM, REMOVE_WAKEUP
from bandmaster.contrib.taskiq.streams.options import LeasedStreamOptions
from bandmaster.contrib.taskiq.streams.queue_scripts import REMOVE_SILENT_CONSUMERS
from bandmaster.contrib.taskiq.streams.retry_backoff import RetryBackoff
from bandmaster.contrib.taskiq.streams.script_runner import ScriptRunner, lacks_group
from bandmaster.kernel import BandmasterError

_BUSY_RECLAIM_INTERVAL = 1.0
"""Seconds between two claims while messages arrive: no worker is idle then that a wakeup could reach."""
_SHORTEST_DUE_INTERVAL = 0.02
_GATHER_SECONDS = 0.001
"""Seconds in which free slots gather if there are few, rather than each causing a read of its own."""


class FetchListener(Protocol):
    """Is notified of fetched and lost messages."""

    def arrived(self) -> None:
        """Messages are ready, or the loop has ended."""
        ...

    def lost(self, leases: Sequence[Lease]) -> None:
        """Another consumer has these messages."""
        ...

    async def dead_lettered(self, task_ids: Sequence[str], detail: str) -> None:
        """These messages became dead letters, since they were delivered too often."""
        ...


class FetchLoop:
    """Fills the free slots until `stop`."""

    def __init__(
        self,
        runner: ScriptRunner,
        reading: Redis,
        leases: Leases,
        options: LeasedStreamOptions,
        ready: deque[tuple[Lease, bytes]],
        listener: FetchListener,
    ) -> None:
        self._runner = runner
        self._leases = leases
        self._options = options
        self._ready = ready
        self._listener = listener
        self._reader = BlockingReader(reading, runner)
        self._stopped = asyncio.Event()
        self._freed = asyncio.Event()
        self._reclaim_at = self._due_at = self._remove_consumers_at = 0.0
        self._is_busy = False
        """Whether the last read filled all free slots."""
        self._has_more = False
        """Whether the last claim left messages, for want of slots."""
        self._has_more_suspects = False
        """Whether the last claim left suspects, since this worker held one; see `RECLAIM`."""
        fields = {"queue": options.queue, "consumer": runner.consumer}
        self._read_backoff = RetryBackoff("reading messages", **fields)
        self._claim_backoff = RetryBackoff("claiming messages with expired leases", **fields)
        self._dead_letter_backoff = RetryBackoff("making dead letters of messages delivered too often", **fields)
        self._task = asyncio.get_running_loop().create_task(self._run(), name="taskiq-fetch")
        self._task.add_done_callback(lambda _: listener.arrived())

    @property
    def ended(self) -> bool:
        """Whether the loop has ended."""
        return self._task.done()

    def check(self) -> None:
        """Raise the error that ended the loop, if any: a fault of the code, since errors of the server are retried."""
        if self._task.done() and not self._task.cancelled() and (error := self._task.exception()) is not None:
            raise error

    def slot_freed(self) -> None:
        """Note that a slot is free."""
        self._freed.set()

    async def stop(self) -> None:
        """End the loop. The messages of a running read are still taken."""
        self._stopped.set()
        self._freed.set()
        if not self._task.done():
            await self._reader.interrupt(self._task)
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                try:
                    await self._step()
                except BandmasterError as error:
                    if lacks_group(error):
                        await self._make_group()
                    else:
                        await _wait(self._stopped, self._read_backoff.record_failure(error))
        finally:
            await self._reader.close()

    async def _step(self) -> None:
        now = time.monotonic()
        if now >= self._due_at:
            await self._try(self._move_due)
        forget_abandoned(self._leases, self._options)
        wanted = (self._has_more and self._leases.free > 0) or (self._has_more_suspects and not self._has_suspect())
        if now >= self._reclaim_at or wanted:
            await self._try(self._reclaim)
        self._freed.clear()
        free = self._leases.free
        if self._is_busy and 0 < free * 4 < self._options.slots:
            await asyncio.sleep(_GATHER_SECONDS)
            free = self._leases.free
        pause = min(self._reclaim_at, self._due_at) - time.monotonic()
        if self._stopped.is_set():
            return
        if free > 0:
            await self._read(free, pause)
        else:
            await _wait(self._freed, pause)

    async def _try(self, action: Callable[[], Awaitable[None]]) -> None:
        """Move or claim messages. A failure doesn't keep new messages from being read."""
        try:
            await action()
        except BandmasterError as error:
            if lacks_group(error):
                await self._make_group()
            else:
                self._claim_backoff.record_failure(error)
        else:
            self._claim_backoff.record_success()

    async def _make_group(self) -> None:
        try:
            await self._runner.make_group()
        except BandmasterError as error:
            await _wait(self._stopped, self._read_backoff.record_failure(error))
        else:
            get_logger().warning("the consumer group was missing and has been created", queue=self._options.queue)

    async def _read(self, free: int, pause: float) -> None:
        asked = time.monotonic()
        entries = await self._reader.read(free, pause)
        self._read_backoff.record_success()
        self._is_busy = len(entries) >= free
        if entries:
            self._reclaim_at = min(self._reclaim_at, asked + _BUSY_RECLAIM_INTERVAL)
            await self._take([(entry, fields, 1) for entry, fields in entries], asked)

    async def _move_due(self) -> None:
        now = time.monotonic()
        self._due_at = now + self._options.reclaim_interval
        wait = await self._runner.run(MOVE_DUE)
        if wait >= 0:
            self._due_at = min(self._due_at, max(now + _SHORTEST_DUE_INTERVAL, time.monotonic() + (wait + 1) / 1000))

    async def _reclaim(self) -> None:
        asked = time.monotonic()
        self._reclaim_at = asked + self._options.reclaim_interval
        detail = f"delivered {self._options.max_deliveries} times, and no worker finished its task"
        entries, dead, problem, more, suspects = await self._runner.run(
            RECLAIM,
            round(self._options.lease * 1000),
            max(0, self._leases.free),
            self._options.max_deliveries,
            Reason.POISON.value,
            detail,
            int(self._has_suspect()),
            *(lease.id for lease in self._leases.list_held()),
        )
        self._has_more, self._has_more_suspects = bool(more), bool(suspects)
        await self._take(entries, asked)
        if dead:
            get_logger().error("messages were delivered too often, and are dead letters now", count=len(dead))
            await self._listener.dead_lettered([task_id.decode(errors="replace") for task_id in dead], detail)
        if problem:
            self._dead_letter_backoff.record_failure(RuntimeError(problem.decode()))
        elif dead:
            self._dead_letter_backoff.record_success()
        if asked >= self._remove_consumers_at:
            self._remove_consumers_at = asked + self._options.silence / 2
            await self._runner.run(REMOVE_SILENT_CONSUMERS, round(self._options.silence * 1000))

    def _has_suspect(self) -> bool:
        most = self._options.max_deliveries
        return most > 1 and any(lease.deliveries >= most for lease in self._leases.list_held())

    async def _take(self, entries: Sequence[tuple[bytes, Sequence[bytes], int]], asked: float) -> None:
        taken: list[Lease] = []
        wakeups: list[bytes] = []
        for entry, fields, deliveries in entries:
            if fields[0] == b"wakeup":
                wakeups.append(entry)
            elif (lease := self._leases.acquire(entry.decode(), deliveries, asked)) is not None:
                self._ready.append((lease, _find_data(fields)))
                taken.append(lease)
        if taken:
            self._listener.arrived()
        if wakeups:
            self._reclaim_at = self._due_at = 0.0
            for wakeup in wakeups:
                await self._runner.run(REMOVE_WAKEUP, wakeup)
        if taken and time.monotonic() - asked > self._options.lease / 2:
            # A task blocked the event loop: the answer had been there for an unknown time, and the leases may be
            # expiring.
            await renew(self._runner, self._leases, taken, self._listener.lost)


def _find_data(fields: Sequence[bytes]) -> bytes:
    # The first field in messages of this package. Other programs may put it elsewhere, or send none.
    return fields[1] if fields[0] == b"data" else dict(zip(fields[::2], fields[1::2], strict=True)).get(b"data", b"")


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()
