"""What a queue is made of, as the settings have it: broker, results, dead letters, schedules."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from taskiq import AsyncBroker, ScheduleSource

from bandmaster.contrib.redis import open_client, see_redis
from bandmaster.contrib.taskiq.brokers.embedded_broker import EmbeddedBroker, MemoryDeadLetters
from bandmaster.contrib.taskiq.brokers.foreign_broker import ForeignDeadLetters
from bandmaster.contrib.taskiq.dead_letters.dead_letter import DeadLetters
from bandmaster.contrib.taskiq.idempotency.idempotency import Idempotency, MemoryIdempotency, RedisIdempotency
from bandmaster.contrib.taskiq.results.result_backends import MemoryResults, RedisResults
from bandmaster.contrib.taskiq.schedules.stored_schedules import MemorySchedules, RedisSchedules
from bandmaster.contrib.taskiq.settings import TaskIQSettings
from bandmaster.contrib.taskiq.streams import LeasedStreamBroker, StreamDeadLetters, options_of
from bandmaster.kernel import PermanentError


class TaskQueueError(PermanentError):
    """The task queue can't be what the settings ask for."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a queue is made of. The broker isn't started."""

    broker: AsyncBroker
    letters: DeadLetters
    schedules: ScheduleSource
    idempotency: Idempotency
    allowed: int | None = None
    """How many connections Redis takes, where it tells that."""


@asynccontextmanager
async def open_parts(settings: TaskIQSettings, name: str) -> AsyncGenerator[Parts, None]:
    """All of it, until the block ends; ``name`` is what errors call it.

    Raises:
        TaskQueueError: the settings can't be met.
        TransientError, PermanentError: Redis can't be reached, or refuses.
    """
    _need_asyncio()
    broker = None if settings.broker is None else _made(settings)
    if settings.redis_url is not None:
        async with open_client(settings.redis, name) as client:
            allowed = await see_redis(client, settings.redis)
            options, prefix = options_of(settings), settings.stream_prefix
            letters: DeadLetters = StreamDeadLetters(client, options)
            if broker is None:
                broker = LeasedStreamBroker(options, settings.redis, client=client)
                broker.with_result_backend(
                    RedisResults(client, prefix, settings.result_ttl, keep=settings.keep_results)
                )
            else:
                letters = ForeignDeadLetters(broker, letters)
            schedules, idempotency = RedisSchedules(client, prefix), RedisIdempotency(client, prefix)
            yield Parts(broker, letters, schedules, idempotency, allowed)
    elif broker is not None:
        structlog.get_logger("bandmaster.taskiq").warning(
            "dead letters and schedules are kept in memory alone: set TASKIQ_REDIS_URL to keep them",
            broker=settings.broker,
        )
        letters = ForeignDeadLetters(broker, MemoryDeadLetters())
        yield Parts(broker, letters, MemorySchedules(), MemoryIdempotency())
    else:
        embedded = EmbeddedBroker()
        embedded.with_result_backend(MemoryResults(settings.result_ttl, keep=settings.keep_results))
        yield Parts(embedded, embedded.dead_letters, MemorySchedules(), MemoryIdempotency())


@asynccontextmanager
async def started(broker: AsyncBroker, *, works: bool = False) -> AsyncGenerator[None, None]:
    """The broker, started until the block ends, as one of a process that ``works`` at it or only sends."""
    broker.is_worker_process = works
    await broker.startup()
    try:
        yield
    finally:
        await broker.shutdown()


def _made(settings: TaskIQSettings) -> AsyncBroker:
    """The broker of another package that the settings name.

    Raises:
        TaskQueueError: it can't be had.
    """
    path = settings.broker or ""
    module, _, name = path.partition(":")
    try:
        factory: Callable[[TaskIQSettings], Any] = getattr(importlib.import_module(module), name)
        made = factory(settings)
    except Exception as error:
        raise TaskQueueError(
            f"TASKIQ_BROKER is {path!r}, which can't be made: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(made, AsyncBroker):
        raise TaskQueueError(f"TASKIQ_BROKER is {path!r}, which makes {made!r} rather than a broker of TaskIQ's")
    return made


def _need_asyncio() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError as error:
        raise TaskQueueError("TaskIQ runs on asyncio alone; run the server on asyncio") from error
