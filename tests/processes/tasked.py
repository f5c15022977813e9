"""The application whose workers the process tests start, kill and stop."""

import asyncio
import os
import time

from bandmaster.contrib.taskiq import KernelBroker, Schedule, task, tasks
from bandmaster.contrib.taskiq.component import task_idempotency, task_scheduler, task_worker, taskiq
from bandmaster.contrib.web import request_id, tenant
from bandmaster.kernel import LifespanBand, create_app, lifespan


def fact(text):
    """One line, written whole whatever the process does next."""
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
def blocking(seconds: float, name: str) -> None:
    fact(f"begin {name}")
    time.sleep(seconds)
    fact(f"end {name}")


@task
async def freezing(seconds: float, name: str) -> None:
    """What no task should do: hold the event loop."""
    fact(f"begin {name}")
    time.sleep(seconds)
    fact(f"end {name}")


@task
def poison() -> None:
    fact("poison")
    os.kill(os.getpid(), 9)


@task
async def whose() -> None:
    fact(f"whose {tenant()} {request_id()}")


@task(schedule=Schedule(every=1))
async def tick() -> None:
    fact("tick")


@lifespan(band=LifespanBand.SERVICES)
async def neighbour():
    fact("start neighbour")
    yield
    fact("stop neighbour")


parts = [
    tasks("tasked", mark, long, blocking, freezing, poison, whose, tick),
    taskiq,
    task_idempotency,
    task_worker,
    task_scheduler,
    neighbour,
]
app = create_app(contributions=parts, discover=False)


def broker():
    return KernelBroker(app)
