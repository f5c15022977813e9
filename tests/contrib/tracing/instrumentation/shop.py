"""An application on all packages whose work is traced: a request calls, queries, caches and sends a task."""

from __future__ import annotations

import os
import time
from typing import Any

import httpx2
from redis.asyncio import Redis
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from taskiq import TaskiqDepends

from bandmaster.contrib.http import http
from bandmaster.contrib.persistence import DatabaseManager, database
from bandmaster.contrib.redis import redis
from bandmaster.contrib.taskiq import TaskQueue, task, task_scheduler, task_worker, taskiq, tasks
from bandmaster.contrib.tracing import (
    trace_calls,
    trace_commands,
    trace_propagator,
    trace_statements,
    trace_tasks,
    tracing,
)
from bandmaster.contrib.tracing.requests.layer import TracingLayer
from bandmaster.contrib.web import RequestContextLayer
from bandmaster.kernel import Application, TransientError, create_app

SECRETS = ("hunter2-password", "s3cr3t-token", "literal-4711")
"""What stands in URLs, statements, keys and errors, and must be in no span."""
TRACED = [tracing, trace_propagator, TracingLayer, trace_calls, trace_tasks, trace_statements, trace_commands]


@task(name="bill", backoff=0, jitter=0)
async def bill(order: int, manager: DatabaseManager = TaskiqDepends()) -> int:
    """Fails at its first attempt."""
    async with manager.session() as session:
        await session.execute(text("SELECT 'literal-4711'"))
    if order not in _SEEN:
        _SEEN.add(order)
        raise TransientError("postgresql://ann:hunter2-password@db/shop is away")
    return order


_SEEN: set[int] = set()


@task(name="work")
def work(seconds: float) -> int:
    """A synchronous task, which says in which process it ran."""
    time.sleep(seconds)
    return os.getpid()


async def order(request: Request) -> PlainTextResponse:
    resources = request.state.resources
    await resources[httpx2.AsyncClient].get(
        f"{os.environ['SERVICE_URL']}/price?token=s3cr3t-token", extensions={"url_template": "/price"}
    )
    await resources[Redis].set("session:s3cr3t-token", "hunter2-password")
    async with resources[DatabaseManager].session() as session:
        await session.execute(text("SELECT :name"), {"name": "literal-4711"})
    await resources[TaskQueue].send(bill, 1)
    return PlainTextResponse("ordered")


def app(**options: Any) -> Application:
    return create_app(
        Starlette(routes=[Route("/orders", order, methods=["POST"])]),
        contributions=[
            *TRACED,
            RequestContextLayer,
            http,
            redis,
            database,
            taskiq,
            task_worker,
            task_scheduler,
            tasks("shop", bill, work),
        ],
        discover=False,
        **options,
    )


def workers() -> Application:
    """The application of the worker processes, with nothing but the queue."""
    return create_app(contributions=[*TRACED, taskiq, task_worker, tasks("shop", work)], discover=False)
