"""The context of requests, WebSocket connections and tasks."""

from __future__ import annotations

import re
import time

import anyio
import anyio.lowlevel
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket
from tests.asgi_cases import CASES, Rig, http_scope, websocket_scope

from bandmaster.contrib.web import (
    RequestContext,
    RequestContextLayer,
    WebSettings,
    add_request_context,
    correlation_id,
    current_context,
    log_fields,
    new_request_id,
    request_context,
    request_id,
    set_tenant,
    set_user,
    tenant,
    user,
)
from bandmaster.contrib.web.request_ids import RequestIds
from bandmaster.kernel import Exchange, MiddlewareBand, MiddlewareContribution, create_app
from bandmaster.kernel.stack.build import BoundLayer, build
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio


async def _answer_id(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request_id() or "")


def _app(endpoint=_answer_id, *, trust: bool = False):
    return create_app(
        Starlette(routes=[Route("/", endpoint)]),
        contributions=[RequestContextLayer],
        discover=False,
        overrides={WebSettings: WebSettings(trust_request_id=trust)},
    )


async def test_a_handler_and_the_client_see_the_same_id() -> None:
    """The id in the response's header is the one that the handler saw."""
    async with run(_app()) as running:
        response = await running.client.get("/")
    assert response.headers["x-request-id"] == response.text


async def test_a_client_cannot_choose_the_id() -> None:
    """Without trust, the id that the client sends is ignored."""
    async with run(_app()) as running:
        response = await running.client.get("/", headers={"x-request-id": "mine"})
    assert response.headers["x-request-id"] != "mine"


async def test_a_trusted_proxy_chooses_the_id() -> None:
    """With trust, a valid id is accepted unchanged."""
    async with run(_app(trust=True)) as running:
        response = await running.client.get("/", headers={"x-request-id": "Az09._-"})
    assert response.headers["x-request-id"] == "Az09._-"


@pytest.mark.parametrize("sent", ["", "a" * 129, "a b", "\x1b[31m", "x\ty", "ä"])
async def test_an_invalid_id_is_replaced(sent: str) -> None:
    """Even a trusted proxy can't pass on control characters, spaces or 30 kB."""
    async with run(_app(trust=True)) as running:
        response = await running.client.get("/", headers=[(b"x-request-id", sent.encode("utf-8"))])
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])


@pytest.mark.requirement("FA-16")
async def test_outside_a_request_there_is_no_id() -> None:
    """The id is gone when the request is over."""
    async with run(_app()) as running:
        await running.client.get("/")
    assert request_id() is None


@pytest.mark.parametrize("make", [new_request_id, RequestIds().new])
def test_ids_are_uuids_of_version_seven_in_the_order_of_time(make) -> None:
    """RFC 9562: 48 bits of milliseconds, version 7, variant 10, and all else random."""
    before = time.time_ns() // 1_000_000
    ids = [make() for _ in range(1000)]
    after = time.time_ns() // 1_000_000
    assert 1000 == len(set(ids))
    assert sorted(one[:12] for one in ids) == [one[:12] for one in ids]
    assert before <= int(ids[0][:12], 16) <= int(ids[-1][:12], 16) <= after
    assert {("7", True)} == {(one[12], one[16] in "89ab") for one in ids}
    bits = [f"{int(one, 16):0128b}" for one in ids]
    places = [*range(52, 64), *range(66, 128)]
    assert all(300 < sum(one[place] == "1" for one in bits) < 700 for place in places)


def _read_context() -> list[str | None]:
    return [request_id(), correlation_id(), tenant(), user()]


@pytest.mark.requirement("FA-16", "P-14")
async def test_the_context_is_seen_by_the_request_alone() -> None:
    """Handlers, their tasks and background tasks see the tenant and the user; code after the request doesn't."""
    seen: list[list[str | None]] = []

    async def endpoint(request: Request) -> PlainTextResponse:
        assert [None, None] == [tenant(), user()]
        set_tenant("acme")
        set_user("ada")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(note)
        return PlainTextResponse(request_id() or "", background=BackgroundTask(note))

    async def note() -> None:
        seen.append(_read_context())

    async with run(_app(endpoint)) as running:
        response = await running.client.get("/")
        await note()
    sent = response.text
    assert [[sent, sent, "acme", "ada"], [sent, sent, "acme", "ada"], [None] * 4] == seen


@pytest.mark.requirement("FA-16", "P-14")
async def test_concurrent_requests_never_see_each_others() -> None:
    """However they take turns."""

    async def endpoint(request: Request) -> PlainTextResponse:
        name = request.url.query
        set_tenant(name)
        for _ in range(5):
            await anyio.sleep(0)
            assert name == tenant()
        return PlainTextResponse(f"{tenant()} {request_id()}")

    answers: list[str] = []

    async with run(_app(endpoint)) as running:

        async def ask(name: str) -> None:
            answers.append((await running.client.get(f"/?{name}")).text)

        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(ask, f"t{number}")
    tenants, ids = zip(*(answer.split() for answer in answers), strict=True)
    assert {f"t{number}" for number in range(50)} == set(tenants)
    assert 50 == len(set(ids))


STEPS = st.lists(st.sampled_from(["tenant", "user", "wait", "task", "log"]), min_size=1, max_size=6)
VISITS = st.lists(st.tuples(st.sampled_from(["http", "websocket"]), STEPS), min_size=2, max_size=6)


@pytest.mark.requirement("CF-25", "FA-16", "P-14")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
# Not shrunk: a failure in one of several tasks takes minutes to shrink.
@settings(max_examples=100, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(VISITS)
def test_p14_concurrent_requests_never_see_each_others_context(backend: str, visits: list) -> None:
    """In any interleaving, each step and each log event has the values of its own request, and none remain."""
    ids = []

    async def app(scope, receive, send) -> None:
        number = int(scope["path"].removeprefix("/"))
        expected = {"request_id": request_id()}
        ids.append(request_id())
        for step in visits[number][1]:
            if step == "tenant":
                expected["tenant"] = f"tenant {number}"
                set_tenant(expected["tenant"])
            elif step == "user":
                expected["user"] = f"user {number}"
                set_user(expected["user"])
            elif step == "task":
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(check, expected)
            else:
                await anyio.lowlevel.checkpoint()
            await check(expected)

    async def check(expected) -> None:
        await anyio.lowlevel.checkpoint()
        assert {"event": "x", **expected} == add_request_context(None, "info", {"event": "x"})
        assert [expected["request_id"], expected.get("tenant"), expected.get("user")] == [
            request_id(),
            tenant(),
            user(),
        ]

    async def main() -> None:
        stack = build([BoundLayer(RequestContextLayer, {"settings": WebSettings()})], app)

        async def visit(number: int, kind: str) -> None:
            scope = http_scope() if kind == "http" else websocket_scope()
            built = stack.http if kind == "http" else stack.websocket
            await built({**scope, "path": f"/{number}"}, never, never)
            assert current_context() is None

        async def never(message=None):
            await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks:
            for number, (kind, _) in enumerate(visits):
                tasks.start_soon(visit, number, kind)
        assert current_context() is None

    anyio.run(main, backend=backend)
    assert len(visits) == len(set(ids))


@pytest.mark.requirement("FA-16")
async def test_a_websocket_has_one_context_for_all_its_messages() -> None:
    """The client gets the id with the handshake, and every message has the same context."""

    async def echo(websocket: WebSocket) -> None:
        set_user("ada")
        await websocket.accept()
        async for _ in websocket.iter_text():
            await websocket.send_text(f"{request_id()} {user()}")

    app = create_app(
        Starlette(routes=[WebSocketRoute("/", echo)]),
        contributions=[RequestContextLayer],
        discover=False,
        overrides={WebSettings: WebSettings()},
    )
    async with run(app) as running, running.websocket("/") as socket:
        answers = []
        for _ in range(2):
            await socket.send_text("?")
            answers.append(await socket.receive_text())
    assert [f"{socket.headers['x-request-id']} ada"] * 2 == answers


async def test_a_correlation_id_is_accepted_from_a_trusted_proxy() -> None:
    """Without a correlation id, the request's own id takes its place."""

    async def endpoint(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{request_id()} {correlation_id()}")

    sent = {"x-request-id": "one", "x-correlation-id": "chain"}
    async with run(_app(endpoint, trust=True)) as running:
        assert "one chain" == (await running.client.get("/", headers=sent)).text
        assert "one one" == (await running.client.get("/", headers={"x-request-id": "one"})).text
    async with run(_app(endpoint)) as running:
        ids = (await running.client.get("/", headers=sent)).text.split()
    assert ids[0] == ids[1] != "chain"


async def test_a_mounted_application_has_its_own_id() -> None:
    """The client gets the id of the outer application, once."""
    seen = []

    async def endpoint(request: Request) -> PlainTextResponse:
        seen.append(request_id())
        return PlainTextResponse("")

    class Note:
        def on_end(self, exchange: Exchange) -> None:
            seen.append(request_id())

    note = MiddlewareContribution(name="note", layer=Note, band=MiddlewareBand.INNERMOST)
    app = create_app(
        Starlette(routes=[Mount("/in", _app(endpoint))]),
        contributions=[RequestContextLayer, note],
        discover=False,
        overrides={WebSettings: WebSettings()},
    )
    async with run(app) as running:
        response = await running.client.get("/in/")
    assert 2 == len(set(seen))
    assert [seen[1]] == response.headers.get_list("x-request-id")


@pytest.mark.requirement("FA-16")
def test_a_task_has_a_context_of_its_own() -> None:
    """A task has the context of its message. An invalid id is replaced."""
    with request_context("task-1", "chain", tenant="acme", user="ada") as context:
        assert ["task-1", "chain", "acme", "ada"] == _read_context()
        assert context is current_context()
        with request_context("a\nb", "c\nd"):
            assert re.fullmatch("[0-9a-f]{32}", request_id() or "")
            assert correlation_id() == request_id()
        assert "task-1" == request_id()
    assert [None] * 4 == _read_context()


@pytest.mark.parametrize("establish", [set_tenant, set_user])
def test_nothing_can_be_set_outside_a_context(establish) -> None:
    """A value without a context would be lost, or reach another request."""
    with pytest.raises(RuntimeError, match=r"request_context\(\)"):
        establish("acme")


@pytest.mark.requirement("CF-25")
def test_log_events_have_the_known_fields() -> None:
    """There are no fields outside of a context, no repeated ids, and an event's own fields stay."""
    assert {"event": "x"} == add_request_context(None, "info", {"event": "x"})
    with request_context("one"):
        assert {"request_id": "one"} == log_fields()
        assert {"event": "x", "request_id": "mine"} == add_request_context(
            None, "info", {"event": "x", "request_id": "mine"}
        )
    with request_context("one", "chain", tenant="acme", user="ada"):
        assert {"request_id": "one", "correlation_id": "chain", "tenant": "acme", "user": "ada"} == log_fields()


def test_the_repr_has_no_personal_data() -> None:
    """The repr appears in logs and tracebacks."""
    assert "<RequestContext one>" == repr(RequestContext("one", tenant="acme", user="ada"))


@pytest.mark.requirement("CF-17", "CF-33", "FA-18", "FA-19")
@pytest.mark.parametrize("name", CASES)
async def test_traps(name: str) -> None:
    """Every exchange that ASGI allows passes through unharmed."""
    layer = BoundLayer(RequestContextLayer, {"settings": WebSettings()})
    await CASES[name](Rig(lambda app: build([layer], app)))
