"""The application of the process tests, with tasks that write facts to a file."""

import asyncio
import os
import time
from pathlib import Path

from taskiq import Context, TaskiqDepends

from bandmaster.contrib.taskiq import KernelBroker, Schedule, task, tasks
from bandmaster.contrib.taskiq.component import task_idempotency, task_scheduler, task_worker, taskiq
from bandmaster.contrib.web import request_id, tenant
from bandmaster.kernel import LifespanBand, create_app, lifespan

RELEASE = "release"
"""The name of a file beside the facts, which the test makes to let held tasks end."""


def fact(text):
    """Append one line in one system call, so that a killed process leaves no half line."""
    descriptor = os.open(os.environ["FACTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{os.getpid()} {time.time():.3f} {text}\n".encode())
    os.close(descriptor)


@task
async def mark(number: int) -> int:
    fact(f"take {number}")
    await asyncio.sleep(0.08)
    fact(f"mark {number}")
    return number


@task
async def long(seconds: float, name: str) -> None:
    fact(f"begin {name}")
    await asyncio.sleep(seconds)
    fact(f"end {name}")


@task
async def held(name: str) -> None:
    fact(f"begin {name}")
    while not Path(os.environ["FACTS"]).with_name(RELEASE).exists():
        await asyncio.sleep(0.02)
    fact(f"end {name}")


@task
def blocking(seconds: float, name: str) -> None:
    fact(f"begin {name}")
    time.sleep(seconds)
    fact(f"end {name}")


@task
async def freezing(seconds: float, name: str) -> None:
    """Block the event loop, as no task should."""
    fact(f"begin {name}")
    time.sleep(seconds)
    fact(f"end {name}")


@task
def poison() -> None:
    fact("poison")
    os.kill(os.getpid(), 9)


@task
async def show_context() -> None:
    fact(f"context {tenant()} {request_id()}")


@task(schedule=Schedule(every=1))
async def tick(context: Context = TaskiqDepends()) -> None:
    fact(f"tick {context.message.task_id}")  # the id of the firing


@lifespan(band=LifespanBand.SERVICES)
async def neighbour():
    fact("start neighbour")
    yield
    fact("stop neighbour")


parts = [
    tasks("tasked", mark, long, held, blocking, freezing, poison, show_context, tick),
    taskiq,
    task_idempotency,
    task_worker,
    task_scheduler,
    neighbour,
]
app = create_app(contributions=parts, discover=False)


def broker():
    return KernelBroker(app)
