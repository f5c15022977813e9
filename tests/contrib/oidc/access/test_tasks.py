"""The principal of who has sent a task, where the task runs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from taskiq import TaskiqDepends, TaskiqMessage
from tests.contrib.oidc.access.apps import serve

from bandmaster.contrib.oidc import Principal, current_principal, principal_context
from bandmaster.contrib.oidc.access.task_principal import LABEL, PrincipalMiddleware, parse_principal, render_principal
from bandmaster.contrib.oidc.access.tasks import principal_in_tasks
from bandmaster.contrib.oidc.testing import ActingUsers
from bandmaster.contrib.taskiq import TaskIQSettings, TaskQueue, task, task_idempotency, task_worker, taskiq, tasks
from bandmaster.contrib.web import user

pytestmark = pytest.mark.anyio

SEEN: list[tuple[str, Principal | None, str | None]] = []


@pytest.fixture
def anyio_backend() -> str:
    """TaskIQ runs on asyncio only."""
    return "asyncio"


@pytest.fixture(autouse=True)
def empty() -> None:
    SEEN.clear()


@task
async def note(kind: str) -> None:
    SEEN.append((kind, current_principal(), user()))


@task
def note_in_thread(kind: str) -> None:
    SEEN.append((kind, current_principal(), user()))


@task
async def send_on(kind: str, queue: TaskQueue = TaskiqDepends()) -> None:
    await queue.send(note, kind)


async def send(request: Request) -> PlainTextResponse:
    queue = request.state.resources[TaskQueue]
    for kind, one in (("async", note), ("thread", note_in_thread), ("sent on", send_on)):
        handle = await queue.send(one, kind)
        await handle.wait_result(timeout=10)
    return PlainTextResponse("sent")


PARTS = (taskiq, task_worker, task_idempotency, principal_in_tasks, tasks("notes", note, note_in_thread, send_on))


async def test_a_task_of_a_request() -> None:
    """A task, also one in a thread and one that another task sends, runs for the user of the request."""
    ada = Principal("ada", issuer="i", scopes=frozenset({"a", "b"}), client_id="web", expires_at=1)
    users, overrides = ActingUsers(), {TaskIQSettings: TaskIQSettings()}
    async with serve(users=users, routes=[Route("/", send)], parts=PARTS, overrides=overrides) as running:
        await running.client.get("/", headers=users.act_as(ada))
        await running.drain()
    sent = Principal("ada", issuer="i", scopes=frozenset({"a", "b"}), client_id="web")
    assert SEEN == [("async", sent, "ada"), ("thread", sent, "ada"), ("sent on", sent, "ada")]


async def test_a_task_of_nobody() -> None:
    """A task that nobody's request sends runs for nobody, also after tasks of others."""
    users, overrides = ActingUsers(), {TaskIQSettings: TaskIQSettings()}
    async with serve(users=users, routes=[Route("/", send)], parts=PARTS, overrides=overrides) as running:
        await running.client.get("/", headers=users.act_as("ada"))
        await running.client.get("/")
        await running.drain()
    assert [(kind, found and found.subject, name) for kind, found, name in SEEN[3:]] == [
        ("async", None, None),
        ("thread", None, None),
        ("sent on", None, None),
    ]


def test_a_message_without_a_sender() -> None:
    """A worker that processes messages one after the other in the same context doesn't mix up their senders."""
    steps, message = PrincipalMiddleware(), TaskiqMessage(task_id="1", task_name="t", labels={}, args=[], kwargs={})
    with principal_context(Principal("earlier")):
        steps.pre_execute(message)
        assert current_principal() is None


def test_a_replayed_message_keeps_the_sender() -> None:
    """A message that has a sender isn't sent in the name of whoever sends the message again."""
    labels = {LABEL: render_principal(Principal("ada"))}
    message = TaskiqMessage(task_id="1", task_name="t", labels=labels, args=[], kwargs={})
    with principal_context(Principal("operator")):
        sent = PrincipalMiddleware().pre_send(message)
    assert parse_principal(sent.labels[LABEL]) == Principal("ada")


async def test_tasks_of_an_application_without_a_queue() -> None:
    """Without a task queue in the plan the part does nothing."""
    async with serve(parts=[principal_in_tasks]) as running:
        assert (await running.client.get("/")).status_code == 200


async def test_code_that_serves_no_request() -> None:
    """A program sends tasks for somebody by a block."""
    overrides = {TaskIQSettings: TaskIQSettings()}
    async with serve(parts=PARTS, overrides=overrides) as running:
        with principal_context(Principal("cron")):
            await running.resources[TaskQueue].send(note, "cron")
        await running.drain()
    assert [(kind, found and found.subject) for kind, found, _ in SEEN] == [("cron", "cron")]


@given(
    st.builds(
        Principal,
        st.text(min_size=1),
        issuer=st.text(),
        scopes=st.frozensets(st.text(min_size=1)),
        kind=st.sampled_from(["token", "session", "api_key", "bypass"]),
        client_id=st.none() | st.text(min_size=1),
    )
)
def test_the_round_trip(principal: Principal) -> None:
    """A label has the sender, without claims and times."""
    assert parse_principal(render_principal(principal)) == principal


@pytest.mark.parametrize(
    "label",
    [
        None,
        "",
        7,
        b"x",
        "[]",
        "null",
        "{}",
        '{"sub": 7}',
        '{"sub": "a", "scopes": [1]}',
        '{"sub": "a", "iss": []}',
        '{"sub": "a", "kind": "root"}',
    ],
)
def test_labels_of_other_programs(label: Any) -> None:
    """A label that isn't ours is nobody's, and no error."""
    assert parse_principal(label) is None
