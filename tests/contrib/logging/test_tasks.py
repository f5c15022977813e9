"""Events of tasks: those of a synchronous task have the same ids as those of an async one."""

from __future__ import annotations

import logging
import threading

import anyio
import pytest
import structlog
from taskiq import AsyncBroker
from tests.contrib.logging.logs import Captured, make_settings, replaced_stderr
from tests.contrib.taskiq.timing import PATIENCE

from bandmaster.contrib.logging import LogSettings, redactor
from bandmaster.contrib.logging import logging as log_component
from bandmaster.contrib.taskiq import (
    TaskIQSettings,
    TaskQueue,
    task,
    task_idempotency,
    task_scheduler,
    task_worker,
    taskiq,
    tasks,
)
from bandmaster.contrib.web import keep_context, request_context
from bandmaster.kernel.testing import run

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

log = structlog.get_logger("shop")


@task(name="sync-task")
def sync_task() -> None:
    log.info("event of a sync task")
    logging.getLogger("shop").info("standard event of a sync task")
    thread = threading.Thread(target=keep_context(lambda: log.info("event of a thread of a sync task")))
    thread.start()
    thread.join()


@task(name="async-task")
async def async_task() -> None:
    log.info("event of an async task")


@task(name="failing-task", attempts=1)
def failing_task() -> None:
    password = "planted"  # noqa: F841
    raise LookupError("no such queue at redis://:planted@cache")


@pytest.fixture(autouse=True)
def clear_registry(monkeypatch):
    monkeypatch.delenv("TASKIQ_REDIS_URL", raising=False)
    monkeypatch.setattr(AsyncBroker, "global_task_registry", {})


async def run_tasks(*sent):
    """The events of tasks that a request has sent."""
    captured = Captured()
    parts = [taskiq, task_idempotency, task_worker, task_scheduler, redactor, log_component]
    with replaced_stderr(captured):
        async with run(
            contributions=[*parts, tasks("shop", sync_task, async_task, failing_task)],
            overrides={LogSettings: make_settings(), TaskIQSettings: TaskIQSettings()},
        ) as running:
            for each in sent:
                with request_context("r-1", "c-1", tenant="t-1", user="u-1"):
                    result = await running.resources[TaskQueue].send(each)
                with anyio.fail_after(PATIENCE):
                    await result.wait_result(check_interval=0.02)
    return captured


@pytest.mark.requirement("OBS-L5", "OB-10")
async def test_events_of_tasks_name_request_tenant_and_task() -> None:
    """Whether a task is sync or async, and in its own threads, each event says who has sent which task."""
    captured = await run_tasks(sync_task, async_task)
    names = ["event of a sync task", "standard event of a sync task", "event of a thread of a sync task"]
    events = [captured.one(name) for name in [*names, "event of an async task"]]
    expected = {"request_id": "r-1", "correlation_id": "c-1", "tenant": "t-1", "user": "u-1"}
    assert [expected] * 4 == [{name: event.get(name) for name in expected} for event in events]
    assert ["sync-task"] * 3 + ["async-task"] == [event["task"] for event in events]
    assert 1 == len({event["task_id"] for event in events[:3]})
    assert events[3]["task_id"] != events[0]["task_id"]


@pytest.mark.requirement("OBS-L1", "OBS-L2")
async def test_the_worker_logs_no_secret_of_a_failed_task() -> None:
    """The worker's own event of a failed task has the task's ids, and neither variables nor secrets of the error."""
    captured = await run_tasks(failing_task)
    assert "planted" not in captured.text.replace('password = \\"planted\\"', "")
    events = [event for event in captured.events if event["logger"] == "bandmaster.taskiq" and "exception" in event]
    assert events
    assert all(("r-1", "failing-task") == (event["request_id"], event["task"]) for event in events)
