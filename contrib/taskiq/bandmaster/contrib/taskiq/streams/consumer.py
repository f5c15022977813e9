"""A consumer of a queue: fetches messages, delivers them to a worker, renews their leases, and releases them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from redis.asyncio import Redis

from bandmaster.contrib.redis import RedisSettings
from bandmaster.contrib.taskiq.brokers.message_handle import Delivery
from bandmaster.contrib.taskiq.logger import get_logger
from bandmaster.contrib.taskiq.streams.acknowledgement import Acknowledger, StreamMessageHandle
from bandmaster.contrib.taskiq.streams.fetch_loop import FetchLoop
from bandmaster.contrib.taskiq.streams.lease_renewal import LeaseRenewal
from bandmaster.contrib.taskiq.streams.leases import Lease, Leases, Ownership
from bandmaster.contrib.taskiq.streams.message_scripts import RELEASE_ALL
from bandmaster.contrib.taskiq.streams.options import LeasedStreamOptions
from bandmaster.contrib.taskiq.streams.queue_scripts import REMOVE_CONSUMER
from bandmaster.contrib.taskiq.streams.script_runner import ScriptRunner, lacks_group
from bandmaster.kernel import BandmasterError


class Consumer:
    """One worker's share of a queue. A broker that only sends has none.

    ``report_dead_letter`` is called with the task id and the detail of a message that was delivered too often.
    """

    def __init__(
        self,
        runner: ScriptRunner,
        reading: Redis,
        options: LeasedStreamOptions,
        settings: RedisSettings,
        report_dead_letter: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._report_dead_letter = report_dead_letter
        self._runner = runner
        self._reading = reading
        self._options = options
        self._leases = Leases(options.lease, options.slots)
        self._acknowledger = Acknowledger(runner, self._leases, options.queue, self._slot_freed)
        self._ready: deque[tuple[Lease, bytes]] = deque()
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._fetching: FetchLoop | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._releasing = False
        self._renewal = LeaseRenewal(self._leases, options, settings, runner.consumer, self._lost_in_renewal)
        self._renewal.start()

    async def deliveries(self) -> AsyncGenerator[Delivery, None]:
        """Deliver messages as they arrive, until they are released."""
        await self._stop_fetching()
        self._releasing = False
        fetching = FetchLoop(self._runner, self._reading, self._leases, self._options, self._ready, self)
        self._fetching = fetching
        acknowledger = self._acknowledger
        try:
            while not self._releasing:
                while (message := await self._next()) is not None:
                    yield Delivery.of(message[1], StreamMessageHandle(message[0], acknowledger))
                fetching.check()
                if fetching.ended:
                    return
                self._news.clear()
                if not (self._ready or self._releasing):
                    await self._news.wait()
        finally:
            if not fetching.ended:
                # Not awaited: closing or cancelling a generator isn't expected to take time.
                self._stopping = self._loop.create_task(fetching.stop(), name="taskiq-stop")

    def arrived(self) -> None:
        """See `FetchListener.arrived`."""
        self._news.set()
        self._renewal.wake()

    def lost(self, leases: Sequence[Lease]) -> None:
        """See `FetchListener.lost`. Cancels the tasks of these messages."""
        get_logger().warning(
            "leases were lost: other workers have these messages, whose tasks may run twice",
            count=len(leases),
            first=leases[0].id,
            queue=self._options.queue,
        )
        self._call_on_lost(leases)

    async def dead_lettered(self, task_ids: Sequence[str], detail: str) -> None:
        """See `FetchListener.dead_lettered`. Lets the senders know that there will be no result."""
        for task_id in task_ids:
            try:
                await self._report_dead_letter(task_id, detail)
            except Exception as error:  # noqa: BLE001  # a result backend's error must not end the fetch loop
                get_logger().error("result can't be stored", task_id=task_id, error=f"{type(error).__name__}: {error}")

    async def release_unstarted(self) -> int:
        """Stop fetching and release the messages whose tasks haven't begun. Returns their number."""
        await self._stop()
        self._leases.withdraw(begun=False)
        return await self._release(begun_too=False)

    async def leave(self) -> None:
        """Release all messages and remove this consumer from the group."""
        await self._acknowledger.flush()
        await self._stop()
        self._leases.withdraw(begun=False)
        try:
            await self._release(begun_too=True)
            await self._runner.run(REMOVE_CONSUMER)
        except BandmasterError as error:
            if not lacks_group(error):
                raise

    async def close(self) -> None:
        """Forget all leases, cancel their tasks, and end the renewal."""
        await self._stop()
        self._call_on_lost(self._leases.withdraw(begun=True))
        await self._renewal.stop()

    async def _next(self) -> tuple[Lease, bytes] | None:
        """The next message with a valid lease; None if there is none now."""
        while self._ready and not self._releasing:
            lease = self._ready[0][0]
            if lease.is_valid:
                return self._ready.popleft()
            if lease.ownership is Ownership.OURS and not lease.forgotten:
                # The server is away for longer than a lease. The owner is unknown until the server is back.
                await asyncio.sleep(self._options.lease / 20)
            else:
                self._ready.popleft()
                self._leases.forget([lease])
                self._slot_freed()
        return None

    async def _stop(self) -> None:
        self._releasing = True
        self._news.set()
        await self._stop_fetching()
        self._ready.clear()

    async def _stop_fetching(self) -> None:
        if self._fetching is not None:
            await self._fetching.stop()
        if self._stopping is not None:
            await asyncio.wait({self._stopping})

    async def _release(self, *, begun_too: bool) -> int:
        # A message that is just being ended counts as begun: its task is done.
        begun = [lease.id for lease in self._leases.list_held() if lease.begun or lease.ending]
        released, first = 0, "-"
        while True:
            count, last = await self._runner.run(RELEASE_ALL, first, int(begun_too), *begun)
            released += int(count)
            if not last:
                return released
            first = f"({last.decode()}"

    def _call_on_lost(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            if (on_lost := lease.on_lost) is not None:
                lease.on_lost = None
                self._loop.call_soon(on_lost)

    def _slot_freed(self) -> None:
        if self._fetching is not None:
            self._fetching.slot_freed()

    def _lost_in_renewal(self, leases: Sequence[Lease]) -> None:
        """Called in the renewal's thread."""
        try:
            self._loop.call_soon_threadsafe(self.lost, leases)
        except RuntimeError:
            pass  # the event loop has ended, and the tasks with it
