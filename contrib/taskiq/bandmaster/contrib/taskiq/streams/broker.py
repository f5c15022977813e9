"""A broker on a Redis stream whose messages are leased: nothing that a worker hasn't come to the end of is lost."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any

import anyio
from redis.asyncio import Redis
from taskiq import BrokerMessage, TaskiqResult

from bandmaster.contrib.redis import RedisSettings, open_client
from bandmaster.contrib.taskiq.brokers.isolated_dependencies import IsolatingBroker
from bandmaster.contrib.taskiq.brokers.message_handle import Delivery
from bandmaster.contrib.taskiq.streams.client_settings import probing, reading
from bandmaster.contrib.taskiq.streams.consumer import Working
from bandmaster.contrib.taskiq.streams.dead_letters import StreamDeadLetters
from bandmaster.contrib.taskiq.streams.message_scripts import NOBODY
from bandmaster.contrib.taskiq.streams.options import LeasedStreamOptions
from bandmaster.contrib.taskiq.streams.outage import log
from bandmaster.contrib.taskiq.streams.publisher import send
from bandmaster.contrib.taskiq.streams.queue_scripts import DEPTH
from bandmaster.contrib.taskiq.streams.script_runner import Link, execute
from bandmaster.kernel import BandmasterError, PermanentError

_GOODBYE_SECONDS = 5.0


class PoisonError(PermanentError):
    """A message was given out as often as it may, and nobody came to its end; it is a dead letter now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How many messages a queue has."""

    waiting: int
    """May be taken, and nobody has them."""
    held: int
    """Workers have them, running or not."""
    delayed: int
    dead: int


class LeasedStreamBroker(IsolatingBroker):
    """Sends and receives TaskIQ's messages through one Redis stream, to workers that each hold what they have by lease.

    Where stock brokers on streams differ:

    - What is sent before there is a worker isn't lost: the group begins with the first message, not with the next.
    - No message is trimmed away, however many wait; one that is done leaves the stream, rather than staying for ever.
    - `listen` survives the server: restarted, emptied, away or read-only; a stock worker ends with the connection.
    - The messages of a worker that was killed are given out again when their leases are over, whether or not others
      arrive; a stock worker looks for them only after it has read something.
    - What a worker holds it renews, from a thread of its own, and so never runs a long task twice at once.
    - A worker that stops hands back what it hasn't begun; a stock one keeps it from others until it is given up.

    Raises:
        ValueError: ``consumer`` can't be a worker's name.
    """

    def __init__(
        self,
        options: LeasedStreamOptions,
        redis: RedisSettings,
        *,
        consumer: str | None = None,
        client: Redis | None = None,
    ) -> None:
        if consumer is not None and (not consumer.strip() or consumer == NOBODY):
            raise ValueError(f"consumer: {consumer!r} can't be one worker's name")
        # In the place of one of its own, for all that is answered at once; whoever has opened it closes it.
        self._given = client
        super().__init__()
        self._options = options
        self._settings = redis
        self._consumer = consumer or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._stack: AsyncExitStack | None = None
        self._client: Redis | None = None
        self._probe: Redis | None = None
        self._working: Working | None = None
        self._listening = False

    @property
    def options(self) -> LeasedStreamOptions:
        """The queue, and how it is shared."""
        return self._options

    @property
    def consumer(self) -> str:
        """What the server calls this broker as a worker."""
        return self._consumer

    @property
    def dead_letters(self) -> StreamDeadLetters:
        """The queue's dead letters, for as long as the broker is started."""
        return StreamDeadLetters(self._started(), self._options)

    # -- Life --------------------------------------------------------------------------------------------------------

    async def startup(self) -> None:
        """Make the client and the consumer group, and start what TaskIQ starts. Nothing if it is started already.

        Raises:
            TransientError: the server can't be reached.
            PermanentError: it refuses.
        """
        if self._stack is not None:
            return
        async with AsyncExitStack() as stack:
            client = self._given
            if client is None:
                client = await stack.enter_async_context(open_client(self._settings, "tasks"))
            probe = await stack.enter_async_context(open_client(probing(self._settings), "tasks-probe"))
            await self._link(client).make_group()
            self._client, self._probe = client, probe
            self._stack = stack.pop_all()
        try:
            await super().startup()
        except BaseException:
            await self._close()
            raise

    async def shutdown(self) -> None:
        """Hand back everything, stop what TaskIQ has started, and close the clients. Nothing if it isn't started.

        What has begun and isn't at its end counts as a delivery, and is lost to whoever runs it. If the server can't be
        told within a few seconds, others get it all when the leases are over.
        """
        if self._stack is None:
            return
        try:
            await self._say_goodbye()
        finally:
            try:
                await super().shutdown()
            finally:
                await self._close()

    async def ping(self) -> None:
        """Ask the server for a sign of life, once.

        Raises:
            TransientError: there is none.
            PermanentError: the server refuses.
        """
        self._started()
        assert self._probe is not None
        await execute(self._probe, "PING")

    # -- Sending and receiving ---------------------------------------------------------------------------------------

    async def kick(self, message: BrokerMessage) -> None:
        """Send a message; what its labels may say stands in `bandmaster.contrib.taskiq.message_labels`.

        It is kept until it is done, also where no worker has ever been. A stock broker's group begins with what is sent
        after it was made, and a stream with a greatest length forgets messages that nobody has read.

        Raises:
            TransientError: the server can't be reached, or has no room. Where answers were lost on their way, and
                ``retries`` of the settings has it tried again, the message may have been sent all the same, or twice.
            PermanentError: the server refuses.
            ValueError: a label can't be.
        """
        await send(self._started(), self._options, message)

    async def listen(self) -> AsyncGenerator[Delivery, None]:
        """Messages as they come, up to as many at once as there are slots; until `hand_back`.

        No failure of the server ends it, as it would a stock broker's; it is tried again, ever less often. Where it is
        closed or cancelled, nothing is lost: what was read meanwhile is there for the next one, or handed back.

        Raises:
            RuntimeError: the broker isn't started, or somebody listens already.
        """
        client = self._started()
        if self._listening:
            raise RuntimeError("somebody listens to this broker already; another worker needs a broker of its own")
        self._listening = True
        working = self._working
        try:
            if working is None:
                working = self._working = await self._work(client)
            async with aclosing(working.deliveries()) as deliveries:
                async for delivery in deliveries:
                    yield delivery
        finally:
            self._listening = False

    async def hand_back(self) -> int:
        """Read no more, and let others have at once all that was given or read and hasn't begun.

        Its deliveries don't count. What has begun goes on; a stock receiver doesn't tell, so that with one all counts as
        not begun. A stock broker keeps everything to itself. The answer is how many messages others have got.

        Raises:
            TransientError: the server couldn't be told; others get it when the leases are over.
            PermanentError: it refuses.
        """
        self._started()
        return 0 if self._working is None else await self._working.hand_back()

    async def depth(self) -> Depth:
        """How many messages there are.

        Raises:
            TransientError: the server can't be reached.
            PermanentError: it refuses.
        """
        waiting, held, delayed, dead = await self._link(self._started()).run(DEPTH)
        return Depth(waiting=waiting, held=held, delayed=delayed, dead=dead)

    # -- Helpers -----------------------------------------------------------------------------------------------------

    def _started(self) -> Redis:
        if self._client is None:
            raise RuntimeError("the broker isn't started: await its startup() first")
        return self._client

    def _link(self, client: Redis) -> Link:
        return Link(client, self._options.keys, self._options.group, self._consumer)

    async def _work(self, client: Redis) -> Working:
        assert self._stack is not None
        reader = await self._stack.enter_async_context(open_client(reading(self._settings), "tasks-read"))
        return Working(self._link(client), reader, self._options, self._settings, self._tell_buried)

    async def _tell_buried(self, task_id: str, detail: str) -> None:
        """Let whoever waits for a result know that there will be none."""
        error = PoisonError(detail)
        result: TaskiqResult[Any] = TaskiqResult(is_err=True, return_value=None, execution_time=0.0, error=error)
        await self.result_backend.set_result(task_id, result)

    async def _say_goodbye(self) -> None:
        if self._working is None:
            return
        try:
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await self._working.leave()
        except (BandmasterError, TimeoutError) as error:
            log().warning(
                "messages couldn't be handed back; others get them when their leases are over",
                error=str(error) or type(error).__name__,
                lease=self._options.lease,
                queue=self._options.queue,
            )

    async def _close(self) -> None:
        stack, self._stack = self._stack, None
        working, self._working = self._working, None
        # It is short, and half of it would leave a thread behind.
        with anyio.CancelScope(shield=True):
            try:
                if working is not None:
                    await working.close()
            finally:
                if stack is not None:
                    await stack.aclose()
