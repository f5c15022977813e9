"""What a broker needs to work at its queue, and a sender doesn't: a reading client, a thread, and what it holds."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from redis.asyncio import Redis

from bandmaster.contrib.redis import RedisSettings
from bandmaster.contrib.taskiq.brokers.message_handle import Delivery
from bandmaster.contrib.taskiq.streams.acknowledgement import Settler, StreamHand
from bandmaster.contrib.taskiq.streams.fetch_loop import Intake
from bandmaster.contrib.taskiq.streams.lease_renewal import Renewal
from bandmaster.contrib.taskiq.streams.leases import Lease, Leases, Standing
from bandmaster.contrib.taskiq.streams.message_scripts import RETURN
from bandmaster.contrib.taskiq.streams.options import LeasedStreamOptions
from bandmaster.contrib.taskiq.streams.outage import log
from bandmaster.contrib.taskiq.streams.queue_scripts import LEAVE
from bandmaster.contrib.taskiq.streams.script_runner import Link, lacks_group
from bandmaster.kernel import BandmasterError


class Working:
    """One worker's part of a queue."""

    def __init__(
        self,
        link: Link,
        reading: Redis,
        options: LeasedStreamOptions,
        settings: RedisSettings,
        buried: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._buried = buried
        self._link = link
        self._reading = reading
        self._options = options
        self._leases = Leases(options.lease, options.slots)
        self._settler = Settler(link, self._leases, options.queue, self._freed)
        self._ready: deque[tuple[Lease, bytes]] = deque()
        self._some = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._intake: Intake | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._handing_back = False
        self._renewal = Renewal(self._leases, options, settings, link.consumer, self._lost_elsewhere)
        self._renewal.start()

    async def deliveries(self) -> AsyncGenerator[Delivery, None]:
        """Messages as they come, until they are handed back."""
        await self._stop_intake()
        self._handing_back = False
        intake = self._intake = Intake(self._link, self._reading, self._leases, self._options, self._ready, self)
        settler = self._settler
        try:
            while not self._handing_back:
                while (message := await self._next()) is not None:
                    yield Delivery.of(message[1], StreamHand(message[0], settler))
                intake.check()
                if intake.ended:
                    return
                self._some.clear()
                if not (self._ready or self._handing_back):
                    await self._some.wait()
        finally:
            if not intake.ended:
                # Not awaited: whoever closes or cancels a generator doesn't expect it to take its time.
                self._stopping = self._loop.create_task(intake.stop(), name="taskiq-stop")

    def arrived(self) -> None:
        """There is something ready, or nothing will be any more."""
        self._some.set()
        self._renewal.wake()

    def lost(self, leases: Sequence[Lease]) -> None:
        """These are somebody else's; who runs them is told."""
        log().warning(
            "leases were lost: others have these messages, which may run twice",
            count=len(leases),
            first=leases[0].id,
            queue=self._options.queue,
        )
        self._tell(leases)

    async def buried(self, task_ids: Sequence[str], detail: str) -> None:
        """These have become dead letters, because they were given out too often; who waits for them is told."""
        for task_id in task_ids:
            try:
                await self._buried(task_id, detail)
            except Exception as error:  # noqa: BLE001  # a result that isn't told must not end the reading
                log().error("result not kept", task_id=task_id, error=f"{type(error).__name__}: {error}")

    async def hand_back(self) -> int:
        """Stop reading, and let others have what hasn't begun; how much that was."""
        await self._stop()
        self._leases.withdraw(begun=False)
        return await self._return(begun_too=False)

    async def leave(self) -> None:
        """Let others have everything, and be no consumer any more."""
        await self._settler.flush()
        await self._stop()
        self._leases.withdraw(begun=False)
        try:
            await self._return(begun_too=True)
            await self._link.run(LEAVE)
        except BandmasterError as error:
            if not lacks_group(error):
                raise

    async def close(self) -> None:
        """Hold nothing any more."""
        await self._stop()
        self._tell(self._leases.withdraw(begun=True))
        await self._renewal.stop()

    async def _next(self) -> tuple[Lease, bytes] | None:
        """The next message that is surely ours; none if there is none now."""
        while self._ready and not self._handing_back:
            lease = self._ready[0][0]
            if lease.sure:
                return self._ready.popleft()
            if lease.standing is Standing.OURS and not lease.over:
                # The server is away for longer than a lease. Nobody knows until it is back.
                await asyncio.sleep(self._options.lease / 20)
            else:
                self._ready.popleft()
                self._leases.let_go([lease])
                self._freed()
        return None

    async def _stop(self) -> None:
        self._handing_back = True
        self._some.set()
        await self._stop_intake()
        self._ready.clear()

    async def _stop_intake(self) -> None:
        if self._intake is not None:
            await self._intake.stop()
        if self._stopping is not None:
            await asyncio.wait({self._stopping})

    async def _return(self, *, begun_too: bool) -> int:
        # Those that are being settled count as begun: they are at their end.
        begun = [lease.id for lease in self._leases.held() if lease.begun or lease.settling]
        returned, first = 0, "-"
        while True:
            count, last = await self._link.run(RETURN, first, int(begun_too), *begun)
            returned += int(count)
            if not last:
                return returned
            first = f"({last.decode()}"

    def _tell(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            if (on_lost := lease.on_lost) is not None:
                lease.on_lost = None
                self._loop.call_soon(on_lost)

    def _freed(self) -> None:
        if self._intake is not None:
            self._intake.freed()

    def _lost_elsewhere(self, leases: Sequence[Lease]) -> None:
        try:
            self._loop.call_soon_threadsafe(self.lost, leases)
        except RuntimeError:
            pass  # the loop has ended, and with it what ran there
