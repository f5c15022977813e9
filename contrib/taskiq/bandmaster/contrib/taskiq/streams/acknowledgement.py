"""Ends messages on the server: acknowledges many with one command; retries, dead-letters or releases one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from uuid import uuid4

from bandmaster.contrib.redis import RedisUnavailableError
from bandmaster.contrib.taskiq.dead_letters.dead_letter import Reason
from bandmaster.contrib.taskiq.streams.leases import Lease, Leases
from bandmaster.contrib.taskiq.streams.lua import WINDOW, Script
from bandmaster.contrib.taskiq.streams.message_scripts import ACKNOWLEDGE, DEAD_LETTER, RELEASE, RETRY
from bandmaster.contrib.taskiq.streams.retry_backoff import RetryBackoff
from bandmaster.contrib.taskiq.streams.script_runner import ScriptRunner, lacks_group
from bandmaster.kernel import BandmasterError, TransientError


class Acknowledger:
    """Ends the messages of one process."""

    def __init__(self, runner: ScriptRunner, leases: Leases, queue: str, slot_freed: Callable[[], None]) -> None:
        self._runner = runner
        self._leases = leases
        self._slot_freed = slot_freed
        self._waiting: list[tuple[Lease, asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None
        self._releasing: set[asyncio.Task[None]] = set()
        self._backoff = RetryBackoff("acknowledging messages", queue=queue)

    def acknowledge(self, lease: Lease) -> asyncio.Future[None]:
        """Acknowledge a message together with others. The future is done when the server has confirmed."""
        lease.ending = True
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append((lease, future))
        if self._flushing is None:
            self._flushing = loop.create_task(self._flush(), name="taskiq-acknowledge")
        return future

    async def retry(self, lease: Lease, data: bytes, delay: float) -> bool:
        """See `MessageHandle.retry`."""
        return await self._end(lease, RETRY, max(0, round(delay * 1000)), data, uuid4().hex)

    async def dead_letter(self, lease: Lease, reason: Reason, detail: str, data: bytes | None) -> bool:
        """See `MessageHandle.dead_letter`."""
        return await self._end(lease, DEAD_LETTER, reason.value, detail, *(() if data is None else (data,)))

    async def release(self, lease: Lease) -> bool:
        """See `MessageHandle.release`."""
        return await self._end(lease, RELEASE)

    def abandon(self, lease: Lease) -> None:
        """See `Leases.abandon`."""
        self._leases.abandon(lease)

    def begin(self, lease: Lease, on_lost: Callable[[], object]) -> bool:
        """See `MessageHandle.begin`. A message whose lease may have expired is released."""
        if self._leases.begin(lease, on_lost):
            return True
        if not (lease.forgotten or lease.ending or lease.begun):
            lease.ending = True
            task = asyncio.get_running_loop().create_task(self._try_release(lease), name="taskiq-release")
            self._releasing.add(task)
            task.add_done_callback(self._releasing.discard)
        return False

    async def flush(self) -> None:
        """Wait until all acknowledgements so far are confirmed, or have failed."""
        while (task := self._flushing) is not None:
            await asyncio.wait({task})

    async def _try_release(self, lease: Lease) -> None:
        try:
            await self.release(lease)
        except BandmasterError:
            pass  # the message is redelivered when its lease expires
        finally:
            self._forget([lease])

    async def _end(self, lease: Lease, script: Script, *arguments: bytes | str | float) -> bool:
        # The second condition: the message was redelivered to this very process, and its task is about to run again.
        if lease.acknowledged or self._leases.get(lease.id) not in (lease, None):
            return False
        lease.ending = True
        answer = -1
        try:
            answer = await self._runner.run(script, lease.id, *arguments)
        except BandmasterError as error:
            if not lacks_group(error):
                raise
        finally:
            # Forgotten after a failure too, so that the lease expires and the message is redelivered.
            was_valid = lease.is_valid
            self._forget([lease])
        # The message may be gone since a first try succeeded and only its answer was lost. No other worker can have
        # ended the message while the lease was valid.
        lease.acknowledged = answer == 1 or (answer == -1 and was_valid)
        return lease.acknowledged

    async def _flush(self) -> None:
        try:
            await asyncio.sleep(0)  # for the acknowledgements of the same turn of the event loop
            while batch := self._waiting[:WINDOW]:
                await self._acknowledge_batch(batch)
        finally:
            self._flushing = None
            # None are left, unless this task was cancelled: then no caller may wait for ever.
            for _, future in self._waiting:
                future.cancel()
            self._waiting.clear()

    async def _acknowledge_batch(self, batch: Sequence[tuple[Lease, asyncio.Future[None]]]) -> None:
        failure: BaseException | None = None
        try:
            await self._acknowledge_with_retries([lease.id for lease, _ in batch])
        except BandmasterError as error:
            failure = error
        del self._waiting[: len(batch)]
        self._forget([lease for lease, _ in batch])
        for lease, future in batch:
            lease.acknowledged = failure is None
            if future.done():
                continue  # its caller was cancelled
            if failure is None:
                future.set_result(None)
            else:
                future.set_exception(failure)

    async def _acknowledge_with_retries(self, ids: Sequence[str]) -> None:
        # For as long as a lease. While the server is away no other worker can claim the messages, and when it is back
        # they are renewed for as long as this retries.
        deadline = time.monotonic() + self._leases.seconds
        last: TransientError | None = None
        while True:
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await self._runner.run(ACKNOWLEDGE, *ids)
            except TransientError as error:
                last = error
                pause = self._backoff.record_failure(error)
                if time.monotonic() + pause >= deadline:
                    raise
                await asyncio.sleep(pause)
            except TimeoutError:
                raise last or RedisUnavailableError(
                    f"the server didn't acknowledge {len(ids)} messages within {self._leases.seconds:g} s"
                ) from None
            else:
                self._backoff.record_success()
                return

    def _forget(self, leases: Sequence[Lease]) -> None:
        self._leases.forget(leases)
        self._slot_freed()


class StreamMessageHandle:
    """The `MessageHandle` of a leased message."""

    __slots__ = ("_acknowledger", "_lease")

    def __init__(self, lease: Lease, acknowledger: Acknowledger) -> None:
        self._lease = lease
        self._acknowledger = acknowledger

    def __del__(self) -> None:
        # Without its handle no code can end the message, so its lease must expire.
        if not self._lease.forgotten:
            self._acknowledger.abandon(self._lease)

    def __repr__(self) -> str:
        return f"<StreamMessageHandle of {self.id}, delivery {self.deliveries}>"

    @property
    def id(self) -> str:
        """The entry's id in the stream."""
        return self._lease.id

    @property
    def deliveries(self) -> int:
        """See `MessageHandle.deliveries`."""
        return self._lease.deliveries

    def begin(self, on_lost: Callable[[], object]) -> bool:
        """See `MessageHandle.begin`. False too while the server can't be reached for longer than a lease."""
        return self._acknowledger.begin(self._lease, on_lost)

    async def acknowledge(self) -> None:
        """See `MessageHandle.acknowledge`.

        The message leaves the stream in the same step. Stock brokers only acknowledge messages, with one command
        for each, so that finished messages stay in the stream for ever.
        """
        await self._acknowledger.acknowledge(self._lease)

    async def retry(self, data: bytes, *, delay: float) -> bool:
        """See `MessageHandle.retry`."""
        return await self._acknowledger.retry(self._lease, data, delay)

    async def dead_letter(self, reason: Reason, detail: str, *, data: bytes | None = None) -> bool:
        """See `MessageHandle.dead_letter`."""
        return await self._acknowledger.dead_letter(self._lease, reason, detail, data)

    async def release(self) -> bool:
        """See `MessageHandle.release`."""
        return await self._acknowledger.release(self._lease)
