"""How a message comes to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from uuid import uuid4

from bandmaster.contrib.redis import RedisUnavailableError
from bandmaster.contrib.taskiq.brokers.message_handle import Reason
from bandmaster.contrib.taskiq.streams.leases import Lease, Leases
from bandmaster.contrib.taskiq.streams.message_scripts import AGAIN, BURY, DONE, RELEASE, WINDOW, Script
from bandmaster.contrib.taskiq.streams.outage import Outage
from bandmaster.contrib.taskiq.streams.script_runner import Link, lacks_group
from bandmaster.kernel import BandmasterError, TransientError


class Settler:
    """Tells the server what became of messages; of those that are done, of many at once."""

    def __init__(self, link: Link, leases: Leases, queue: str, freed: Callable[[], None]) -> None:
        self._link = link
        self._leases = leases
        self._freed = freed
        self._waiting: list[tuple[Lease, asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None
        self._releasing: set[asyncio.Task[None]] = set()
        self._outage = Outage("telling what is done", queue=queue)

    def done(self, lease: Lease) -> asyncio.Future[None]:
        """It is done; wait for the answer to know that the server knows."""
        lease.settling = True
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append((lease, future))
        if self._flushing is None:
            self._flushing = loop.create_task(self._flush(), name="taskiq-done")
        return future

    async def again(self, lease: Lease, data: bytes, delay: float) -> bool:
        """Put ``data`` in its place."""
        return await self._settle(lease, AGAIN, max(0, round(delay * 1000)), data, uuid4().hex)

    async def bury(self, lease: Lease, reason: Reason, detail: str, data: bytes | None) -> bool:
        """Make it a dead letter."""
        return await self._settle(lease, BURY, reason.value, detail, *(() if data is None else (data,)))

    async def release(self, lease: Lease, *, counted: bool) -> bool:
        """Let others have it."""
        return await self._settle(lease, RELEASE, int(counted))

    def release_soon(self, lease: Lease) -> None:
        """Let others have it, uncounted, if the server can be told."""
        lease.settling = True
        task = asyncio.get_running_loop().create_task(self._try_release(lease), name="taskiq-release")
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)

    def drop(self, lease: Lease) -> None:
        """Nobody can come to its end any more; see `Leases.drop`."""
        self._leases.drop(lease)

    def begin(self, lease: Lease, on_lost: Callable[[], object]) -> bool:
        """Whether it may begin now. If nobody is sure, somebody else is to have it."""
        if self._leases.begin(lease, on_lost):
            return True
        if not (lease.over or lease.settling or lease.begun):
            self.release_soon(lease)
        return False

    async def flush(self) -> None:
        """Wait until the server knows what it has been told up to now, or can't be told."""
        while (task := self._flushing) is not None:
            await asyncio.wait({task})

    async def _try_release(self, lease: Lease) -> None:
        try:
            await self.release(lease, counted=False)
        except BandmasterError:
            pass  # it is given out again when its lease is over
        finally:
            self._let_go([lease])

    async def _settle(self, lease: Lease, script: Script, *arguments: bytes | str | float) -> bool:
        if lease.ended or self._leases.get(lease.id) not in (lease, None):
            return False  # or the message has come back meanwhile, and is about to be run from the start
        lease.settling = True
        answer = -1
        try:
            answer = await self._link.run(script, lease.id, *arguments)
        except BandmasterError as error:
            if not lacks_group(error):
                raise
        finally:
            # After a failure as well: then its lease runs out.
            sure = lease.sure
            self._let_go([lease])
        # A first try may have done it, and only its answer was lost.
        lease.ended = answer == 1 or (answer == -1 and sure)
        return lease.ended

    async def _flush(self) -> None:
        try:
            await asyncio.sleep(0)  # for those that come in the same turn of the loop
            while batch := self._waiting[:WINDOW]:
                await self._tell(batch)
        finally:
            self._flushing = None
            for _, future in self._waiting:  # none, unless this was cut off: nobody is to wait for ever
                future.cancel()
            self._waiting.clear()

    async def _tell(self, batch: Sequence[tuple[Lease, asyncio.Future[None]]]) -> None:
        failure: BaseException | None = None
        try:
            await self._tell_patiently([lease.id for lease, _ in batch])
        except BandmasterError as error:
            failure = error
        del self._waiting[: len(batch)]
        self._let_go([lease for lease, _ in batch])
        for lease, future in batch:
            lease.ended = failure is None
            if future.done():
                continue  # whoever waited was cancelled
            if failure is None:
                future.set_result(None)
            else:
                future.set_exception(failure)

    async def _tell_patiently(self, ids: Sequence[str]) -> None:
        # While the server is away nobody can take them either; afterwards they are renewed for as long as this tries.
        deadline = time.monotonic() + self._leases.seconds
        last: TransientError | None = None
        while True:
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await self._link.run(DONE, *ids)
            except TransientError as error:
                last = error
                pause = self._outage.failed(error)
                if time.monotonic() + pause >= deadline:
                    raise
                await asyncio.sleep(pause)
            except TimeoutError:
                raise last or RedisUnavailableError(
                    f"the server didn't take {len(ids)} done messages within {self._leases.seconds:g} s"
                ) from None
            else:
                self._outage.over()
                return

    def _let_go(self, leases: Sequence[Lease]) -> None:
        self._leases.let_go(leases)
        self._freed()


class StreamHand:
    """The `Hand` of one message."""

    __slots__ = ("_lease", "_settler")

    def __init__(self, lease: Lease, settler: Settler) -> None:
        self._lease = lease
        self._settler = settler

    def __del__(self) -> None:
        # Whoever had it can't end it any more.
        if not self._lease.over:
            self._settler.drop(self._lease)

    def __repr__(self) -> str:
        return f"<StreamHand of {self.id}, delivery {self.deliveries}>"

    @property
    def id(self) -> str:
        """The entry's id in the stream."""
        return self._lease.id

    @property
    def deliveries(self) -> int:
        """How often it has been given out, this time included."""
        return self._lease.deliveries

    def begin(self, on_lost: Callable[[], object]) -> bool:
        """See `Hand.begin`. False as well while nobody can be sure whose it is, for the server can't be asked."""
        return self._settler.begin(self._lease, on_lost)

    async def done(self) -> None:
        """See `Hand.done`.

        The message leaves the stream in the same step. Stock brokers acknowledge it only, one command for each, and
        what is done stays in the stream for ever.
        """
        await self._settler.done(self._lease)

    async def again(self, data: bytes, *, delay: float) -> bool:
        """See `Hand.again`."""
        return await self._settler.again(self._lease, data, delay)

    async def bury(self, reason: Reason, detail: str, *, data: bytes | None = None) -> bool:
        """See `Hand.bury`."""
        return await self._settler.bury(self._lease, reason, detail, data)

    async def give_back(self) -> bool:
        """See `Hand.give_back`."""
        return await self._settler.release(self._lease, counted=False)
