"""The examples run, and behave as their pages describe."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import anyio
import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.types import ASGIApp

from bandmaster.contrib.persistence import DatabaseManager, DatabaseSettings, OutboxSettings
from bandmaster.contrib.persistence.testing import PostgresDatabase
from bandmaster.contrib.taskiq import TaskIQSettings, TaskQueue
from bandmaster.contrib.web import request_context
from bandmaster.kernel import Application, create_app, load_application
from bandmaster.kernel.testing import Running, check_contribution, read_chunk, run
from bandmaster_ratelimit import RateLimitLayer, RateLimits, RateLimitSettings, rate_limits
from boxoffice.feed import Feed
from boxoffice.jobs import count_sales, print_tickets
from boxoffice.parts import BoxOfficeSettings

GROUPS = {f"bandmaster.{kind}" for kind in ("lifespan", "values", "middleware", "routes", "error_handlers")}
pytestmark = pytest.mark.anyio
TUTORIAL = Path(__file__).parent.parent / "examples" / "tutorial"
PARTS = tuple(
    point.load()
    for name in ("persistence", "taskiq", "web", "fastapi", "example-boxoffice")
    for point in distribution(f"bandmaster-{name}").entry_points
    if point.group in GROUPS
)


@pytest.fixture
def anyio_backend() -> str:
    """SQLAlchemy's asynchronous engines run on asyncio only."""
    return "asyncio"


def _compose_box_office(
    url: str,
    *,
    host: ASGIApp | None = None,
    hold_seconds: float = 60,
    seconds_per_ticket: float = 0.01,
    tasks: str | None = None,
    **database: str,
) -> Application:
    settings = DatabaseSettings.model_validate({"url": url, "migrate_on_start": True, **database})
    return create_app(
        FastAPI() if host is None else host,
        contributions=PARTS,
        discover=False,
        overrides={
            DatabaseSettings: settings,
            BoxOfficeSettings: BoxOfficeSettings(hold_seconds=hold_seconds, seconds_per_ticket=seconds_per_ticket),
            OutboxSettings: OutboxSettings(poll_interval=0.05),
            TaskIQSettings: TaskIQSettings(redis_url=tasks),
        },
    )


async def _buy(running: Running, seats: int, house: str = "opera", show: str = "aida") -> dict:
    held = await running.client.post(f"/houses/{house}/shows/{show}/holds", json={"seats": seats})
    sold = await running.client.post(f"/houses/{house}/holds/{held.json()['id']}/purchase")
    assert 200 == sold.status_code
    return sold.json()


async def _read_events(running: Running, sale: int, house: str = "opera") -> list[dict]:
    """Read the stream of a sale's tickets to its end."""
    async with running.client.stream("GET", f"/houses/{house}/sales/{sale}/tickets/events") as stream:
        return _parse_events(await stream.aread())


def _parse_events(text: bytes) -> list[dict]:
    lines = text.decode().splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def _compose_step(name: str, monkeypatch: pytest.MonkeyPatch) -> Application:
    # A reader of the tutorial has installed no plugin yet.
    monkeypatch.setenv("BANDMASTER_PLUGINS", "allowlist")
    monkeypatch.syspath_prepend(str(TUTORIAL))
    sys.modules.pop(name, None)
    return importlib.import_module(name).app()


async def test_the_first_step_greets(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The component is open while requests are served, and closed afterwards."""
    async with run(_compose_step("component", monkeypatch)) as running:
        response = await running.client.get("/hello/Ada")
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("the greeter")]
    assert ("Hello, Ada!", ["the greeter opens", "the greeter closes"]) == (response.text, printed)


async def test_the_second_step_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The greeter starts after the guests, and reads its settings from the environment."""
    monkeypatch.setenv("GREETING_WORD", "Ahoy")
    async with run(_compose_step("dependency", monkeypatch)) as running:
        await running.client.get("/hello/Ada")
        response = await running.client.get("/hello/Grace")
        ready = await running.client.get("/readyz")
        order = [name for name in running.events.start_order if name in ("guests", "greeter")]
    expected = ("Ahoy, Grace! You are guest number 2.", 200, ["guests", "greeter"])
    assert expected == (response.text, ready.status_code, order)


async def test_the_third_step_measures_both_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The layer serves HTTP and WebSockets alike."""
    async with run(_compose_step("layer", monkeypatch)) as running:
        response = await running.client.get("/")
        async with running.websocket("/echo") as socket:
            await socket.send_text("la")
            echoed = await socket.receive_text()
            took = socket.headers["x-took"]
    assert ("Hello!", "la") == (response.text, echoed)
    assert response.headers["x-took"].endswith(" ms")
    assert took.endswith(" ms")


def test_importing_the_examples_composes_nothing() -> None:
    """Each `app` is a factory: importing its module reads no setting, so a wrong one does no harm."""
    names = ["boxoffice", *(path.stem for path in sorted(TUTORIAL.glob("*.py")))]
    code = "import importlib, sys; [print(type(importlib.import_module(name).app)) for name in sys.argv[1:]]"
    env = {"BANDMASTER_PLUGINS": "nonsense", "PYTHONPATH": str(TUTORIAL)}
    command = [sys.executable, "-c", code, *names]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (["<class 'function'>"] * len(names), "") == (done.stdout.splitlines(), done.stderr)


def test_commands_accept_the_factory() -> None:
    """Commands find their application by `load_application`, and plan it for the role of their process."""
    kernel = load_application("boxoffice:app").kernel
    plans = {role: kernel.for_role(role).plan for role in ("web", "worker", "scheduler")}
    names = {role: {component.name for component in plan.components} for role, plan in plans.items()}
    assert ["web"] == [role for role, components in names.items() if "box_office" in components]
    assert {"web", "worker"} == {role for role, components in names.items() if "task_worker" in components}


def test_uvicorn_accepts_the_factory() -> None:
    """`uvicorn boxoffice:app --factory` serves a composed application."""
    config = uvicorn.Config("boxoffice:app", factory=True, proxy_headers=False, log_config=None)
    config.load()
    assert isinstance(config.loaded_app, Application)


@pytest.mark.requirement("FA-1", "FA-4")
async def test_the_box_office_and_an_independent_plugin_are_found(tmp_path: Path) -> None:
    """Every installed part is found by its entry point, those of third parties like those of this repository."""
    settings = DatabaseSettings(url=f"sqlite:///{tmp_path / 'house'}", migrate_on_start=True)
    app = create_app(FastAPI(), overrides={DatabaseSettings: settings})
    brought = {part.contribution.name: part.contribution.provenance.distribution for part in app.plan.layers}
    expected = {
        "server_timing": "bandmaster-example-boxoffice",
        "rate_limit": "bandmaster-ratelimit",
        "request_context": "bandmaster-web",
    }
    assert expected == {name: brought[name] for name in expected}
    async with run(app) as running:
        response = await running.client.get("/houses/opera/shows")
    assert 200 == response.status_code
    assert {"x-request-id", "server-timing"} <= {name.lower() for name in response.headers}


async def test_the_box_office_serves_behind_a_starlette_host(url: str) -> None:
    """If the host isn't a FastAPI app, the routes are mounted as an app of their own."""
    async with run(_compose_box_office(url, host=Starlette())) as running:
        found = await running.client.get("/houses/opera/shows")
        missing = await running.client.get("/houses/nowhere/shows")
    assert [200, 404] == [found.status_code, missing.status_code]
    assert "application/problem+json" == missing.headers["content-type"]


@pytest.fixture(params=["sqlite", "psycopg", "asyncpg"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database. Only the URL differs between the databases."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'house'}"
    database: PostgresDatabase = request.getfixturevalue("postgres_database")
    return database.owner_url(request.param)


async def test_seats_are_held_and_bought(url: str) -> None:
    """A sale is in the export. Seats that aren't free can't be held."""
    async with run(_compose_box_office(url)) as running:
        held = await running.client.post("/houses/opera/shows/aida/holds", json={"seats": 39})
        sold = await running.client.post(f"/houses/opera/holds/{held.json()['id']}/purchase")
        again = await running.client.post(f"/houses/opera/holds/{held.json()['id']}/purchase")
        refused = await running.client.post("/houses/opera/shows/aida/holds", json={"seats": 2})
        export = await running.client.get("/houses/opera/sales.csv")
    assert [201, 200, 404, 409] == [held.status_code, sold.status_code, again.status_code, refused.status_code]
    assert "Aida has 1 seats left, not 2" == refused.json()["detail"]
    assert "number,show,seats\r\n1,aida,39\r\n" == export.text


async def test_a_buyer_may_buy_again(url: str) -> None:
    """The id of a hold is never reused, also after all other holds were deleted."""
    async with run(_compose_box_office(url)) as running:
        sales = [await _buy(running, 1) for _ in range(3)]
    assert [1, 2, 3] == [sale["id"] for sale in sales]


async def test_the_last_seats_are_held_once(url: str) -> None:
    """Of many simultaneous requests for the last seats, only as many succeed as there are seats."""
    statuses = []
    async with run(_compose_box_office(url)) as running:

        async def ask() -> None:
            answer = await running.client.post("/houses/opera/shows/aida/holds", json={"seats": 8})
            statuses.append(answer.status_code)

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(ask)
        left = (await running.client.get("/houses/opera/shows")).json()[0]["free"]
    assert ([201] * 5 + [409] * 5, 0) == (sorted(statuses), left)


async def test_houses_are_kept_apart(url: str) -> None:
    """A house neither sees nor buys the holds of another house."""
    async with run(_compose_box_office(url)) as running:
        held = (await running.client.post("/houses/opera/shows/aida/holds", json={"seats": 2})).json()["id"]
        stolen = await running.client.post(f"/houses/playhouse/holds/{held}/purchase")
        missing = await running.client.post("/houses/playhouse/shows/aida/holds", json={"seats": 2})
        shows = await running.client.get("/houses/playhouse/shows")
        export = await running.client.get("/houses/playhouse/sales.csv")
        nowhere = await running.client.get("/houses/nowhere/shows")
    assert [404, 404, 404] == [stolen.status_code, missing.status_code, nowhere.status_code]
    assert ["Hamlet", "Macbeth"] == [show["title"] for show in shows.json()]
    assert "number,show,seats\r\n" == export.text


@pytest.mark.requirement("CF-02", "PE-7")
async def test_on_postgresql_row_level_security_keeps_the_houses_apart(postgres_database: PostgresDatabase) -> None:
    """Row-level security separates the houses. One role owns the tables, another role serves."""
    settings = {"migration_url": postgres_database.owner_url(), "tenant_isolation": "rls"}
    async with run(_compose_box_office(postgres_database.app_url(), **settings)) as running:
        held = (await running.client.post("/houses/opera/shows/aida/holds", json={"seats": 2})).json()["id"]
        stolen = await running.client.post(f"/houses/playhouse/holds/{held}/purchase")
        sold = await running.client.post(f"/houses/opera/holds/{held}/purchase")
        manager = running.resources[DatabaseManager]
        seen = {}
        for house in ("opera", "playhouse"):
            with request_context(tenant=house):
                async with manager.session() as session:
                    seen[house] = await session.scalar(text("SELECT count(*) FROM sales"))
    assert [404, 200] == [stolen.status_code, sold.status_code]
    assert {"opera": 1, "playhouse": 0} == seen


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"seats": 0}', b'{"seats": true}', b'{"seats": "2"}'])
async def test_a_wrong_hold_is_refused(tmp_path: Path, body: bytes) -> None:
    """Invalid input is answered with 422 and takes no seat."""
    async with run(_compose_box_office(f"sqlite:///{tmp_path / 'house'}")) as running:
        response = await running.client.post(
            "/houses/opera/shows/aida/holds", content=body, headers={"content-type": "application/json"}
        )
        free = (await running.client.get("/houses/opera/shows")).json()[0]["free"]
    assert (422, 40) == (response.status_code, free)


async def test_expired_holds_are_released(url: str) -> None:
    """The background service releases the seats and notifies the listeners of that house only."""
    async with run(_compose_box_office(url, hold_seconds=0.2)) as running:
        feed = running.resources[Feed]
        with feed.listen("opera") as changes, feed.listen("playhouse") as others:
            await running.client.post("/houses/opera/shows/aida/holds", json={"seats": 2})
            with anyio.fail_after(5):
                kinds = [(await changes.receive())["kind"], (await changes.receive())["kind"]]
            assert 0 == others.statistics().current_buffer_used
        free = (await running.client.get("/houses/opera/shows")).json()[0]["free"]
    assert (["held", "released"], 40) == (kinds, free)


async def test_the_tickets_of_a_sale_are_printed(url: str) -> None:
    """A task prints them one after another, and the buyer can watch. A sale that doesn't exist is answered with 404."""
    async with run(_compose_box_office(url)) as running:
        sale = await _buy(running, 3)
        events = await _read_events(running, sale["id"])
        after = await running.client.get(f"/houses/opera/sales/{sale['id']}/tickets")
        elsewhere = await running.client.get(f"/houses/playhouse/sales/{sale['id']}/tickets")
        missing = await running.client.get("/houses/opera/sales/99/tickets/events")
    printed = {"state": "printed", "printed": 3, "of": 3}
    counts = [now["printed"] for now in events]
    assert (printed, printed) == (events[-1], after.json())
    assert counts == sorted(counts)
    assert [404, 404] == [elsewhere.status_code, missing.status_code]


async def test_tickets_wait_for_the_commit(url: str) -> None:
    """The task starts after the commit, under the id in the answer to the buyer."""
    async with run(_compose_box_office(url, seconds_per_ticket=0.2)) as running:
        manager, queue = running.resources[DatabaseManager], running.resources[TaskQueue]
        sale = await _buy(running, 5)
        with anyio.fail_after(5):
            while (await queue.handle(sale["printing"]).get_progress()) is None:
                await anyio.sleep(0.02)
        now = await running.client.get(f"/houses/opera/sales/{sale['id']}/tickets")
        with request_context(tenant="opera"):
            async with manager.session() as session:
                noted = await session.scalar(text("SELECT printing FROM sales"))
    assert ("printing", 5, sale["printing"]) == (now.json()["state"], now.json()["of"], noted)


async def test_tickets_are_printed_once(url: str) -> None:
    """A second message about the same sale prints nothing. Neither does a message of another house."""
    async with run(_compose_box_office(url)) as running:
        queue = running.resources[TaskQueue]
        sale = await _buy(running, 2)
        await _read_events(running, sale["id"])
        with request_context(tenant="opera"):
            again = await queue.send(print_tickets, "opera", "aida", 2, sale["id"])
            missing = await queue.send(print_tickets, "opera", "aida", 2, 99)
        with request_context(tenant="playhouse"):
            stolen = await queue.send(print_tickets, "opera", "aida", 2, sale["id"])
        results = [await each.wait_result(0.01, timeout=5) for each in (again, missing, stolen)]
        progress = await again.get_progress()
        dead = await queue.dead_letters.count()
    assert [False, True, True] == [result.is_err for result in results]
    assert (None, 2) == (progress, dead)


async def test_the_sales_are_counted(url: str) -> None:
    """The nightly task sums the seats of each house. Only this task has a schedule."""
    async with run(_compose_box_office(url)) as running:
        await _buy(running, 3)
        await _buy(running, 2, "playhouse", "hamlet")
        counting = await running.resources[TaskQueue].send(count_sales)
        result = await counting.wait_result(0.01, timeout=5)
    assert {"opera": 3, "playhouse": 2} == result.return_value
    assert [1, 0] == [len(task.options.schedules) for task in (count_sales, print_tickets)]


async def test_workers_print_where_tasks_travel_by_redis(url: str, redis_url: str) -> None:
    """Tickets wait until a worker runs. The buyer sees the same states as without Redis."""
    app = _compose_box_office(url, tasks=redis_url)
    async with run(app) as running:
        sale = await _buy(running, 3)
        await anyio.sleep(0.3)
        waiting = await running.client.get(f"/houses/opera/sales/{sale['id']}/tickets")
        worker = app.kernel.for_role("worker")
        async with running.client.stream("GET", f"/houses/opera/sales/{sale['id']}/tickets/events") as stream:
            first = _parse_events(await read_chunk(stream) + await read_chunk(stream))
            async with worker.running():
                started = {component.contribution.name for component in worker.plan.components}
                rest = _parse_events(b"".join([chunk async for chunk in stream.aiter_bytes()]))
                await worker.drain()
    assert {"state": "waiting", "printed": 0, "of": 3} == waiting.json()
    assert [waiting.json()] == first
    assert {"state": "printed", "printed": 3, "of": 3} == rest[-1]
    assert {"task_worker", "ticket_printer"} <= started
    assert not {"feed", "box_office"} & started


async def test_the_next_worker_prints_what_a_stopped_worker_left(tmp_path: Path, redis_url: str) -> None:
    """A worker that is stopped before its task is done returns the message to the queue."""
    app = _compose_box_office(f"sqlite:///{tmp_path / 'house'}", tasks=redis_url, seconds_per_ticket=0.3)
    async with run(app) as running:
        queue = running.resources[TaskQueue]
        sale = await _buy(running, 5)
        async with app.kernel.for_role("worker").running():
            with anyio.fail_after(5):
                while (await queue.handle(sale["printing"]).get_progress()) is None:
                    await anyio.sleep(0.02)
        left = await running.client.get(f"/houses/opera/sales/{sale['id']}/tickets")
        async with app.kernel.for_role("worker").running():
            events = await _read_events(running, sale["id"])
    assert "printing" == left.json()["state"]
    assert {"state": "printed", "printed": 5, "of": 5} == events[-1]


@pytest.mark.requirement("CF-02")
async def test_under_row_level_security_tasks_see_only_their_house(postgres_database: PostgresDatabase) -> None:
    """The tenant travels with the message, so the task runs for the house that sold the tickets."""
    settings = {"migration_url": postgres_database.owner_url(), "tenant_isolation": "rls"}
    async with run(_compose_box_office(postgres_database.app_url(), **settings)) as running:
        queue = running.resources[TaskQueue]
        sale = await _buy(running, 2)
        events = await _read_events(running, sale["id"])
        with request_context(tenant="playhouse"):
            stolen = await queue.send(print_tickets, "playhouse", "aida", 2, sale["id"])
        result = await stolen.wait_result(0.01, timeout=5)
        counted = await (await queue.send(count_sales)).wait_result(0.01, timeout=5)
    assert "printed" == events[-1]["state"]
    assert f"there is no sale {sale['id']} of 'playhouse'" == str(result.error)
    assert {"opera": 2, "playhouse": 0} == counted.return_value


async def test_a_websocket_sees_the_house_and_every_change(url: str) -> None:
    """The first message is the state, the following messages are changes."""
    async with run(_compose_box_office(url)) as running, running.websocket("/houses/opera/live") as socket:
        house = await socket.receive_json()
        await running.client.post("/houses/opera/shows/tosca/holds", json={"seats": 1})
        change = await socket.receive_json()
    assert [40, 40, 40] == [show["free"] for show in house["shows"]]
    assert ("held", "tosca", 1) == (change["kind"], change["show"], change["seats"])


@pytest.mark.requirement("CF-17")
async def test_draining_ends_streams_and_closes_websockets(url: str) -> None:
    """The drain ends streams that would never end by themselves."""
    async with run(_compose_box_office(url)) as running:
        events, live = "/houses/opera/events", "/houses/opera/live"
        async with running.client.stream("GET", events) as stream, running.websocket(live) as socket:
            first = await read_chunk(stream)
            await socket.receive_json()
            left = await running.drain()
            rest = [chunk async for chunk in stream.aiter_bytes()]
            code = await socket.wait_closed()
    assert (b"retry: 1000\n\n", 0, [], 1001) == (first, left, rest, code)


@pytest.mark.requirement("CF-17")
async def test_draining_ends_the_progress_stream_but_not_the_task(tmp_path: Path) -> None:
    """A browser can reconnect to another process, but a task in memory can only be finished in this process."""
    async with run(_compose_box_office(f"sqlite:///{tmp_path / 'house'}", seconds_per_ticket=0.2)) as running:
        sale = await _buy(running, 5)
        async with running.client.stream("GET", f"/houses/opera/sales/{sale['id']}/tickets/events") as stream:
            with anyio.fail_after(5):
                while b"printing" not in await read_chunk(stream):
                    pass
            left = await running.drain()
            rest = b"".join([chunk async for chunk in stream.aiter_bytes()])
        result = await running.resources[TaskQueue].handle(sale["printing"]).get_result()
    assert (0, False) == (left, result.is_err)
    assert b'"printed":5' not in rest


async def test_the_plugin_limits_a_client() -> None:
    """A request beyond the burst is answered with 429 and `Retry-After`."""
    settings = RateLimitSettings(per_second=0.5, burst=2)
    contributions = [rate_limits, RateLimitLayer]
    options = {"contributions": contributions, "discover": False, "overrides": {RateLimitSettings: settings}}
    async with run(**options) as running:
        statuses = [(await running.client.get("/")).status_code for _ in range(2)]
        refused = await running.client.get("/")
        clients = len(running.resources[RateLimits])
    assert ([404, 404], 429, "2", 1) == (statuses, refused.status_code, refused.headers["retry-after"], clients)


async def test_the_plugin_conforms() -> None:
    """The example of a third party's plugin passes the conformance kit."""
    await check_contribution(rate_limits, RateLimitLayer)
