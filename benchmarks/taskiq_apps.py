"""The programs that the workers of bench_taskiq.py run: one task, on our broker and on those of taskiq-redis."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from taskiq.serializers import JSONSerializer
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend, RedisStreamBroker

from bandmaster.contrib.taskiq import task, tasks
from bandmaster.contrib.taskiq.component import task_worker, taskiq
from bandmaster.kernel import create_app

URL = os.environ.get("BENCH_URL", "redis://127.0.0.1:6379/1")
COUNT = int(os.environ.get("BENCH_COUNT", "0"))
OUT = os.environ.get("BENCH_OUT", "")
READ = int(os.environ.get("BENCH_READ", "20"))
RESULTS = os.environ.get("BENCH_RESULTS", "1") == "1"
seen: list[float] = []


def noted(text: str) -> None:
    descriptor = os.open(OUT, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


async def work(number: int) -> int:
    seen.append(time.perf_counter())
    if len(seen) == COUNT:
        noted(f"{seen[-1] - seen[0]}")
    return number


async def hold(seconds: float) -> None:
    noted(f"{os.getpid()} {time.time()}")
    await asyncio.sleep(seconds)


ours_work = task(name="work")(work)
ours_hold = task(name="hold")(hold)
app = create_app(contributions=[tasks("bench", ours_work, ours_hold), taskiq, task_worker], discover=False)


def _stock(kind: Any, **options: Any) -> Any:
    broker = kind(URL, **options)
    if RESULTS:
        backend: Any = RedisAsyncResultBackend(URL, serializer=JSONSerializer(), result_ex_time=3600)
        broker = broker.with_result_backend(backend)
    broker.register_task(work, task_name="work")
    return broker


def stream() -> Any:
    return _stock(RedisStreamBroker, xread_count=READ)


def lists() -> Any:
    return _stock(ListQueueBroker)
