"""A broker on a Redis stream that leases messages to workers. A message stays until its task has ended."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any

import anyio
from redis.asyncio import Redis
from taskiq import BrokerMessage, TaskiqResult

from bandmaster.contrib.redis import RedisSettings, open_client
from bandmaster.contrib.taskiq.brokers.isolated_dependencies import IsolatingBroker
from bandmaster.contrib.taskiq.brokers.message_handle import Delivery
from bandmaster.contrib.taskiq.errors import PoisonError
from bandmaster.contrib.taskiq.logger import get_logger
from bandmaster.contrib.taskiq.streams.client_settings import make_probe_settings, make_reading_settings
from bandmaster.contrib.taskiq.streams.consumer import Consumer
from bandmaster.contrib.taskiq.streams.dead_letters import StreamDeadLetters
from bandmaster.contrib.taskiq.streams.lua import RELEASED
from bandmaster.contrib.taskiq.streams.options import LeasedStreamOptions
from bandmaster.contrib.taskiq.streams.publisher import send
from bandmaster.contrib.taskiq.streams.queue_scripts import DEPTH
from bandmaster.contrib.taskiq.streams.script_runner import ScriptRunner, execute
from bandmaster.kernel import BandmasterError

_LEAVE_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """The numbers of messages in a queue."""

    waiting: int
    """Messages that no worker holds."""
    held: int
    """Messages that workers hold, whether their tasks run or not."""
    delayed: int
    dead: int


class LeasedStreamBroker(IsolatingBroker):
    """Sends and receives TaskIQ's messages through one Redis stream, from which each worker leases its messages.

    Differences to stock brokers on streams:

    - A message that is sent before the first worker starts isn't lost: the group begins with the first message.
    - No message is trimmed, however many wait. A finished message leaves the stream rather than staying for ever.
    - `listen` survives a server that is restarted, emptied, away or read-only. A stock worker ends with its connection.
    - The messages of a killed worker are redelivered when their leases expire, whether or not other messages arrive. A
      stock worker looks for them only after a read that brought something.
    - A worker renews its leases, in a thread of its own, so that a long task doesn't run twice at once.
    - A worker that stops releases the messages whose tasks haven't begun. A stock worker keeps them from the others.

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
        if consumer is not None and (not consumer.strip() or consumer == RELEASED):
            raise ValueError(f"consumer: {consumer!r} can't be one worker's name")
        # Used for every command except blocking reads, renewals and probes, and closed by the code that opened it.
        self._given_client = client
        super().__init__()
        self._options = options
        self._settings = redis
        self._consumer_name = consumer or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._stack: AsyncExitStack | None = None
        self._client: Redis | None = None
        self._probe: Redis | None = None
        self._consumer: Consumer | None = None
        self._listening = False
        self.on_poison: Callable[[str], object] = lambda task_id: None
        """Called with the id of each message that was delivered too often, and is a dead letter now."""

    @property
    def options(self) -> LeasedStreamOptions:
        """The queue and its workers' shares."""
        return self._options

    @property
    def consumer(self) -> str:
        """The name of this broker in the consumer group."""
        return self._consumer_name

    @property
    def dead_letters(self) -> StreamDeadLetters:
        """The queue's dead letters, while the broker is started."""
        return StreamDeadLetters(self._check_started(), self._options)

    async def startup(self) -> None:
        """Open the clients, create the consumer group, and run TaskIQ's start handlers. Does nothing if started.

        Raises:
            TransientError: the server can't be reached.
            PermanentError: the server refuses.
        """
        if self._stack is not None:
            return
        async with AsyncExitStack() as stack:
            client = self._given_client
            if client is None:
                client = await stack.enter_async_context(open_client(self._settings, "tasks"))
            probe = await stack.enter_async_context(open_client(make_probe_settings(self._settings), "tasks-probe"))
            await self._make_runner(client).make_group()
            self._client, self._probe = client, probe
            self._stack = stack.pop_all()
        try:
            await super().startup()
        except BaseException:
            await self._close()
            raise

    async def shutdown(self) -> None:
        """Release all messages, run TaskIQ's shutdown handlers, and close the clients. Does nothing if not started.

        The delivery of a message whose task has begun is counted, and the task is lost to this worker. If the server
        can't be reached within a few seconds, the messages are redelivered when their leases expire.
        """
        if self._stack is None:
            return
        try:
            await self._leave()
        finally:
            try:
                await super().shutdown()
            finally:
                await self._close()

    async def ping(self) -> None:
        """Send one PING to the server.

        Raises:
            TransientError: the server doesn't answer.
            PermanentError: the server refuses.
        """
        self._check_started()
        assert self._probe is not None
        await execute(self._probe, "PING")

    async def kick(self, message: BrokerMessage) -> None:
        """Send a message. Its labels may set a delay, another queue, and a key under which it is sent only once.

        The message is stored until its task has ended, even if no worker has ever run. The group of a stock broker
        begins with the messages sent after it was created, and a stream with a greatest length drops unread messages.

        Raises:
            TransientError: the server can't be reached, or is full. If the settings allow ``retries`` and answers were
                lost, the message may have been sent all the same, or twice.
            PermanentError: the server refuses.
            ValueError: a label is invalid.
        """
        await send(self._check_started(), self._options, message)

    async def listen(self) -> AsyncGenerator[Delivery, None]:
        """Deliver messages as they arrive, as many at once as there are slots, until `release_unstarted`.

        Errors of the server don't end it, as they do a stock broker's: it retries with growing pauses. If it is closed
        or cancelled, no message is lost: those that were read are delivered by the next call, or released.

        Raises:
            RuntimeError: the broker isn't started, or another caller listens already.
        """
        client = self._check_started()
        if self._listening:
            raise RuntimeError(
                "another caller listens to this broker already; another worker needs a broker of its own"
            )
        self._listening = True
        consumer = self._consumer
        try:
            if consumer is None:
                consumer = self._consumer = await self._make_consumer(client)
            async with aclosing(consumer.deliveries()) as deliveries:
                async for delivery in deliveries:
                    yield delivery
        finally:
            self._listening = False

    async def release_unstarted(self) -> int:
        """Stop reading and release, at once, all messages whose tasks haven't begun. Returns their number.

        Their deliveries aren't counted. Running tasks go on. A stock receiver doesn't call `MessageHandle.begin`, so
        that with one no task counts as begun.

        Raises:
            TransientError: the server can't be reached; the messages are redelivered when their leases expire.
            PermanentError: the server refuses.
        """
        self._check_started()
        return 0 if self._consumer is None else await self._consumer.release_unstarted()

    async def depth(self) -> Depth:
        """The numbers of messages in the queue.

        Raises:
            TransientError: the server can't be reached.
            PermanentError: the server refuses.
        """
        waiting, held, delayed, dead = await self._make_runner(self._check_started()).run(DEPTH)
        return Depth(waiting=waiting, held=held, delayed=delayed, dead=dead)

    def _check_started(self) -> Redis:
        if self._client is None:
            raise RuntimeError("the broker isn't started: await its startup() first")
        return self._client

    def _make_runner(self, client: Redis) -> ScriptRunner:
        return ScriptRunner(client, self._options.keys, self._options.group, self._consumer_name)

    async def _make_consumer(self, client: Redis) -> Consumer:
        assert self._stack is not None
        settings = make_reading_settings(self._settings)
        reading = await self._stack.enter_async_context(open_client(settings, "tasks-read"))
        return Consumer(self._make_runner(client), reading, self._options, self._settings, self._store_poison_result)

    async def _store_poison_result(self, task_id: str, detail: str) -> None:
        self.on_poison(task_id)
        error = PoisonError(detail)
        result: TaskiqResult[Any] = TaskiqResult(is_err=True, return_value=None, execution_time=0.0, error=error)
        await self.result_backend.set_result(task_id, result)

    async def _leave(self) -> None:
        if self._consumer is None:
            return
        try:
            async with asyncio.timeout(_LEAVE_SECONDS):
                await self._consumer.leave()
        except (BandmasterError, TimeoutError) as error:
            get_logger().warning(
                "messages can't be released; other workers get them when their leases expire",
                error=str(error) or type(error).__name__,
                lease=self._options.lease,
                queue=self._options.queue,
            )

    async def _close(self) -> None:
        stack, self._stack = self._stack, None
        consumer, self._consumer = self._consumer, None
        # Shielded: it is short, and a cancellation would leave the renewal's thread running.
        with anyio.CancelScope(shield=True):
            try:
                if consumer is not None:
                    await consumer.close()
            finally:
                if stack is not None:
                    await stack.aclose()
