"""Each request, connection and task has its own scope."""

import asyncio
import random

import pytest
import sentry_sdk
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute
from tests.contrib.logging.sentry.reporting import make_app, make_kernel, silenced
from tests.contrib.taskiq.worker.helpers import LocalWorker

from bandmaster.contrib.logging.sentry.component import TaskScopes
from bandmaster.contrib.taskiq import task
from bandmaster.contrib.web import bind, set_tenant, set_user
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio


async def mark(number):
    """Set everything that an event shows, with pauses in which others run."""
    set_user(f"user{number}")
    await asyncio.sleep(random.random() / 100)
    set_tenant(f"tenant{number}")
    sentry_sdk.set_tag("number", number)
    await asyncio.sleep(random.random() / 100)
    sentry_sdk.add_breadcrumb({"message": f"crumb{number}", "category": "own"})
    await asyncio.create_task(mark_in_task(number))
    await asyncio.to_thread(sentry_sdk.set_tag, "thread", number)


async def mark_in_task(number):
    bind(number=number)
    sentry_sdk.set_tag("task_number", number)
    sentry_sdk.get_isolation_scope().add_attachment(bytes=f"attachment{number}".encode(), filename=f"{number}.txt")


async def fail(request):
    await mark(int(request.path_params["number"]))
    raise LookupError(f"error{request.path_params['number']}")


async def fail_connected(websocket):
    await websocket.accept()
    await mark(int(websocket.path_params["number"]))
    raise LookupError(f"error{websocket.path_params['number']}")


@pytest.mark.requirement("OBS-S4")
async def test_interleaved_requests_and_connections(receiver):
    """200 interleaved requests and connections: each event has its own user, tenant, tags, crumbs and attachment."""
    routes = [Route("/{number}", fail), WebSocketRoute("/ws/{number}", fail_connected)]

    async def connect(running, number):
        try:
            async with running.websocket(f"/ws/{number}") as websocket:
                await websocket.receive_text()
        except Exception:
            pass

    with silenced():
        async with run(
            make_app(receiver, Starlette(routes=routes), flush_timeout=30, log={"repeat_limit": None}),
            raise_app_exceptions=False,
        ) as running:
            calls = [running.client.get(f"/{number}") for number in range(160)]
            await asyncio.gather(*calls, *(connect(running, number) for number in range(160, 200)))
    check_own(receiver, 200)


@pytest.mark.requirement("OBS-S4")
async def test_interleaved_tasks(receiver):
    """Tasks of a worker have scopes of their own, asynchronous and synchronous ones."""

    @task(name="work")
    async def work(number: int) -> None:
        await mark(number)
        raise LookupError(f"error{number}")

    @task(name="work_in_thread")
    def work_in_thread(number: int) -> None:
        set_user(f"user{number}")
        set_tenant(f"tenant{number}")
        bind(number=number)
        for tag in ("number", "task_number", "thread"):
            sentry_sdk.set_tag(tag, number)
        sentry_sdk.add_breadcrumb({"message": f"crumb{number}", "category": "own"})
        sentry_sdk.get_isolation_scope().add_attachment(bytes=f"attachment{number}".encode(), filename=f"{number}.txt")
        raise LookupError(f"error{number}")

    with silenced():
        async with make_kernel(receiver, flush_timeout=30).running():
            async with LocalWorker(work, work_in_thread, observers=[TaskScopes()], attempts=1) as worker:
                for number in range(30):
                    await worker.send(work if number % 2 else work_in_thread, number)
                await worker.idle()
    check_own(receiver, 30)
    assert 30 == len({event["tags"]["task_id"] for event in receiver.events})


def check_own(receiver, count):
    """Each of the events has its own values, and all of them."""
    assert count == len(receiver.events)
    attachments = {item.envelope["event_id"]: [] for item in receiver.items if item.type == "attachment"}
    for item in receiver.items:
        if item.type == "attachment":
            attachments[item.envelope["event_id"]].append(item.payload.decode())
    for event in receiver.events:
        number = event["exception"]["values"][-1]["value"].removeprefix("error")
        own = {"number": int(number), "thread": int(number), "task_number": int(number)}
        assert own == {name: int(event["tags"][name]) for name in own}
        assert (f"tenant{number}", {"id": f"user{number}"}) == (event["tags"]["tenant"], event["user"])
        assert int(number) == event["contexts"]["bound"]["number"]
        crumbs = [crumb["message"] for crumb in event["breadcrumbs"]["values"] if crumb["category"] == "own"]
        assert ([f"crumb{number}"], [f"attachment{number}"]) == (crumbs, attachments[event["event_id"]])
