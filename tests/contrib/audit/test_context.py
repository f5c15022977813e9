"""Entries of requests and tasks name who acts, for which tenant, from where, and in which request or task."""

from datetime import UTC, datetime

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from taskiq import AsyncBroker, ScheduledTask, TaskiqDepends
from tests.contrib.taskiq.timing import PATIENCE

from bandmaster.contrib.audit import AuditLog, AuditSettings
from bandmaster.contrib.audit.component import audit_log, audit_memory_store
from bandmaster.contrib.audit.tasks.parts import audit_task_names
from bandmaster.contrib.taskiq import TaskIQSettings, TaskQueue, task, task_worker, taskiq, tasks
from bandmaster.contrib.taskiq.component import task_idempotency, task_scheduler
from bandmaster.contrib.web import RequestContextLayer, request_id, set_tenant, set_user
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio
AUDIT = [audit_log, audit_memory_store, audit_task_names]
OVERRIDES = {AuditSettings: AuditSettings(store="memory")}


@task(name="cancel")
async def cancel(number: int, audit: AuditLog = TaskiqDepends()) -> None:
    """An asynchronous task."""
    await audit.record("order.cancel", resource_id=str(number))


@task(name="cancel_sync")
def cancel_sync(number: int, audit: AuditLog = TaskiqDepends()) -> None:
    """A synchronous task, which runs in a worker thread."""
    anyio.from_thread.run(lambda: audit.record("order.cancel", resource_id=str(number)))


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """Clear the environment, and TaskIQ's registry of shared tasks."""
    for name in ("TASKIQ_REDIS_URL", "TASKIQ_BROKER", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(AsyncBroker, "global_task_registry", {})


async def handle(request: Request) -> JSONResponse:
    """Know the caller, record, and send tasks."""
    resources = request.state.resources
    set_user("ann")
    set_tenant("red")
    await resources[AuditLog].record("order.seen")
    if TaskQueue in resources:
        for each in (cancel, cancel_sync):
            await resources[TaskQueue].send(each, 7)
    return JSONResponse({"request_id": request_id()})


async def test_an_entry_of_a_request() -> None:
    """Actor, tenant, address and request id are those of the request."""
    app = Starlette(routes=[Route("/", handle)])
    async with run(app, contributions=[*AUDIT, RequestContextLayer], overrides=OVERRIDES) as running:
        answer = (await running.client.get("/")).json()
        (record,) = (await running.resources[AuditLog].list()).records
    entry = record.entry
    assert ("ann", "red", answer["request_id"], "127.0.0.1") == (
        entry.actor,
        entry.tenant,
        entry.request_id,
        entry.address,
    )
    assert (None, None, None) == (entry.task, entry.task_id, entry.schedule)


@pytest.mark.requirement("OBS-A7")
async def test_an_entry_of_a_task_names_the_request_that_started_it() -> None:
    """OBS-A7: actor, tenant and request id of the request, and the task, also in a synchronous one."""
    app = Starlette(routes=[Route("/", handle)])
    parts = [*AUDIT, RequestContextLayer, taskiq, task_idempotency, task_worker, tasks("shop", cancel, cancel_sync)]
    async with run(app, contributions=parts, overrides={**OVERRIDES, TaskIQSettings: TaskIQSettings()}) as running:
        audit = running.resources[AuditLog]
        answer = (await running.client.get("/")).json()
        with anyio.fail_after(PATIENCE):
            while len((await audit.list()).records) < 3:
                await anyio.sleep(0.01)
        entries = [record.entry for record in (await audit.list()).records if record.entry.action == "order.cancel"]
    assert {"cancel", "cancel_sync"} == {entry.task for entry in entries}
    for entry in entries:
        assert ("ann", "red", answer["request_id"]) == (entry.actor, entry.tenant, entry.request_id)
        assert entry.task_id
        assert entry.schedule is None


@pytest.mark.requirement("OBS-A7")
async def test_an_entry_of_a_scheduled_run_names_the_schedule() -> None:
    """OBS-A7: nobody started it but the schedule."""
    parts = [*AUDIT, taskiq, task_idempotency, task_worker, task_scheduler, tasks("shop", cancel)]
    async with run(contributions=parts, overrides={**OVERRIDES, TaskIQSettings: TaskIQSettings()}) as running:
        queue, audit = running.resources[TaskQueue], running.resources[AuditLog]
        await queue.schedules.add_schedule(
            ScheduledTask(
                schedule_id="nightly",
                task_name="cancel",
                labels={},
                args=[7],
                kwargs={},
                time=datetime.now(UTC),
            )
        )
        with anyio.fail_after(PATIENCE):
            while not (records := (await audit.list()).records):
                await anyio.sleep(0.05)
    entry = records[0].entry
    assert (None, "cancel", "nightly") == (entry.actor, entry.task, entry.schedule)
