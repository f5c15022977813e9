"""The backends of a queue, opened as the settings ask: broker, results, dead letters, schedules, idempotency."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from taskiq import AsyncBroker, ScheduleSource

from bandmaster.contrib.redis import open_client, see_redis
from bandmaster.contrib.taskiq.brokers.embedded_broker import EmbeddedBroker
from bandmaster.contrib.taskiq.brokers.third_party_dead_letters import ThirdPartyDeadLetters
from bandmaster.contrib.taskiq.dead_letters.dead_letter import DeadLetters
from bandmaster.contrib.taskiq.dead_letters.memory import MemoryDeadLetters
from bandmaster.contrib.taskiq.errors import TaskQueueError
from bandmaster.contrib.taskiq.idempotency.idempotency import Idempotency
from bandmaster.contrib.taskiq.idempotency.memory import MemoryIdempotency
from bandmaster.contrib.taskiq.idempotency.redis_keys import RedisIdempotency
from bandmaster.contrib.taskiq.logger import get_logger
from bandmaster.contrib.taskiq.results.result_backends import MemoryResults, RedisResults
from bandmaster.contrib.taskiq.schedules.stored_schedules import MemorySchedules, RedisSchedules
from bandmaster.contrib.taskiq.settings import TaskIQSettings
from bandmaster.contrib.taskiq.streams import LeasedStreamBroker, StreamDeadLetters, options_of
from bandmaster.kernel import ImportFailure, import_object


@dataclass(frozen=True, slots=True)
class Backends:
    """The backends of a queue. The broker isn't started."""

    broker: AsyncBroker
    dead_letters: DeadLetters
    schedules: ScheduleSource
    idempotency: Idempotency
    connection_limit: int | None = None
    """The most connections that Redis accepts; None if unknown."""


@asynccontextmanager
async def open_backends(settings: TaskIQSettings, name: str) -> AsyncGenerator[Backends, None]:
    """Open the backends until the block ends. Errors call the queue ``name``.

    Raises:
        TaskQueueError: the settings can't be met.
        TransientError, PermanentError: Redis can't be reached, or refuses.
    """
    _check_asyncio()
    broker = None if settings.broker is None else _make_broker(settings, settings.broker)
    if settings.redis_url is not None:
        async with open_client(settings.redis, name) as client:
            connection_limit = await see_redis(client, settings.redis)
            options, prefix = options_of(settings), settings.stream_prefix
            dead_letters: DeadLetters = StreamDeadLetters(client, options)
            if broker is None:
                broker = LeasedStreamBroker(options, settings.redis, client=client)
                broker.with_result_backend(
                    RedisResults(client, prefix, settings.result_ttl, keep=settings.keep_results)
                )
            else:
                dead_letters = ThirdPartyDeadLetters(broker, dead_letters)
            schedules, idempotency = RedisSchedules(client, prefix), RedisIdempotency(client, prefix)
            yield Backends(broker, dead_letters, schedules, idempotency, connection_limit)
    elif broker is not None:
        get_logger().warning(
            "dead letters and schedules are stored in memory only: set TASKIQ_REDIS_URL to store them in Redis",
            broker=settings.broker,
        )
        dead_letters = ThirdPartyDeadLetters(broker, MemoryDeadLetters())
        yield Backends(broker, dead_letters, MemorySchedules(), MemoryIdempotency())
    else:
        embedded = EmbeddedBroker()
        embedded.with_result_backend(MemoryResults(settings.result_ttl, keep=settings.keep_results))
        yield Backends(embedded, embedded.dead_letters, MemorySchedules(), MemoryIdempotency())


@asynccontextmanager
async def run_broker(broker: AsyncBroker, *, is_worker: bool = False) -> AsyncGenerator[None, None]:
    """Start the broker until the block ends, in a worker's process or in one that only sends."""
    broker.is_worker_process = is_worker
    await broker.startup()
    try:
        yield
    finally:
        await broker.shutdown()


def _make_broker(settings: TaskIQSettings, path: str) -> AsyncBroker:
    """The broker of another package that the settings name.

    Raises:
        TaskQueueError: the function can't be imported, fails, or returns something else.
    """
    module, _, name = path.partition(":")
    try:
        factory: Callable[[TaskIQSettings], Any] = import_object(module, name)
        broker = factory(settings)
    except Exception as error:  # noqa: BLE001  # code of another package; its error is the cause of ours
        reason = error.__cause__ if isinstance(error, ImportFailure) and error.__cause__ else error
        raise TaskQueueError(
            f"TASKIQ_BROKER is {path!r}, which can't be made: {type(reason).__name__}: {reason}"
        ) from reason
    if not isinstance(broker, AsyncBroker):
        raise TaskQueueError(f"TASKIQ_BROKER is {path!r}, which makes {broker!r} rather than a broker of TaskIQ's")
    return broker


def _check_asyncio() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError as error:
        raise TaskQueueError("TaskIQ runs on asyncio only; run the server on asyncio") from error
