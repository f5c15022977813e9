"""The examples: they run, and they do what their pages say."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import anyio
import pytest

from bandmaster.kernel import Application, create_app
from bandmaster.kernel.testing import check_contribution, run
from bandmaster_ratelimit import RateLimitLayer, RateLimits, RateLimitSettings, rate_limits
from boxoffice.feed import Feed
from boxoffice.layers import ServerTiming
from boxoffice.parts import BoxOfficeSettings, box_office, feed, routes, sold_out
from boxoffice.sales import BoxOffice

pytestmark = pytest.mark.anyio
TUTORIAL = Path(__file__).parent.parent / "examples" / "tutorial"
PARTS = (feed, box_office, routes, sold_out, ServerTiming)


def _app(**settings: float) -> Application:
    return create_app(
        contributions=PARTS,
        discover=False,
        overrides={BoxOfficeSettings: BoxOfficeSettings(**{"seats": 4, **settings})},
    )


def _step(name: str, monkeypatch: pytest.MonkeyPatch) -> Application:
    monkeypatch.syspath_prepend(str(TUTORIAL))
    sys.modules.pop(name, None)
    return importlib.import_module(name).app


async def test_the_first_step_greets(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The component is open while requests are served, and closed afterwards."""
    async with run(_step("component", monkeypatch)) as running:
        response = await running.http.get("/hello/Ada")
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("the greeter")]
    assert ("Hello, Ada!", ["the greeter opens", "the greeter closes"]) == (response.text, said)


async def test_the_second_step_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The greeter starts after the guests, and reads its settings from the environment."""
    monkeypatch.setenv("GREETING_WORD", "Ahoy")
    async with run(_step("dependency", monkeypatch)) as running:
        await running.http.get("/hello/Ada")
        response = await running.http.get("/hello/Grace")
        ready = await running.http.get("/readyz")
        order = [name for name in running.events.start_order if name in ("guests", "greeter")]
    expected = ("Ahoy, Grace! You are guest number 2.", 200, ["guests", "greeter"])
    assert expected == (response.text, ready.status, order)


async def test_the_third_step_measures_both_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The layer serves HTTP and WebSockets alike."""
    async with run(_step("layer", monkeypatch)) as running:
        response = await running.http.get("/")
        async with running.websocket("/echo") as socket:
            await socket.send_text("la")
            echoed = await socket.receive_text()
            took = socket.headers["x-took"]
    assert ("Hello!", "la") == (response.text, echoed)
    assert response.headers["x-took"].endswith(" ms")
    assert took.endswith(" ms")


@pytest.mark.requirement("FA-1", "FA-4")
async def test_the_box_office_is_found_with_the_plugin_that_knows_nothing_of_it() -> None:
    """Everything installed is composed by its entry points, third parties' parts as our own."""
    app = create_app()
    brought = {part.contribution.name: part.contribution.provenance.distribution for part in app.plan.layers}
    expected = {
        "server_timing": "bandmaster-example-boxoffice",
        "rate_limit": "bandmaster-ratelimit",
        "request_context": "bandmaster-web",
    }
    assert expected == {name: brought[name] for name in expected}
    async with run(app) as running:
        response = await running.http.get("/shows")
    assert 200 == response.status
    assert {"x-request-id", "server-timing"} <= {name.lower() for name in response.headers}


async def test_seats_are_held_and_bought() -> None:
    """What is bought stands in the export; what isn't there can't be held."""
    async with run(_app()) as running:
        held = await running.http.post("/shows/aida/holds", json={"seats": 3})
        sold = await running.http.post(f"/holds/{held.json()['id']}/purchase")
        refused = await running.http.post("/shows/aida/holds", json={"seats": 2})
        export = await running.http.get("/sales.csv")
    assert [201, 200, 409] == [held.status, sold.status, refused.status]
    assert "Aida has 1 seats left, not 2" == refused.json()["detail"]
    assert "number,show,seats\r\n1,aida,3\r\n" == export.text


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"seats": 0}', b'{"seats": true}', b'{"seats": "2"}'])
async def test_a_wrong_hold_is_refused(body: bytes) -> None:
    """Bad input gets a 422 and takes no seat."""
    async with run(_app()) as running:
        response = await running.http.post("/shows/aida/holds", content=body)
        free = running.resources[BoxOffice].shows[0].free
    assert (422, 4) == (response.status, free)


async def test_what_is_held_for_too_long_is_given_back() -> None:
    """The background service releases seats and tells everybody."""
    async with run(_app(hold_seconds=0.05)) as running:
        with running.resources[Feed].listen() as changes:
            await running.http.post("/shows/aida/holds", json={"seats": 2})
            with anyio.fail_after(5):
                kinds = [(await changes.receive())["kind"], (await changes.receive())["kind"]]
        free = running.resources[BoxOffice].shows[0].free
    assert (["held", "released"], 4) == (kinds, free)


async def test_a_websocket_sees_the_house_and_every_change() -> None:
    """The first message is the state, the next ones are what changes."""
    async with run(_app()) as running, running.websocket("/live") as socket:
        house = await socket.receive_json()
        await running.http.post("/shows/tosca/holds", json={"seats": 1})
        change = await socket.receive_json()
    assert [4, 4, 4] == [show["free"] for show in house["shows"]]
    assert ("held", "tosca", 1) == (change["kind"], change["show"], change["seats"])


@pytest.mark.requirement("CF-17")
async def test_draining_ends_streams_and_closes_websockets() -> None:
    """Nobody has to wait for a stream that has no end."""
    async with run(_app()) as running:
        async with running.http.stream("GET", "/events") as stream, running.websocket("/live") as socket:
            first = await stream.receive()
            await socket.receive_json()
            left = await running.drain()
            rest = [chunk async for chunk in stream]
            code = await socket.wait_closed()
    assert (b"retry: 1000\n\n", 0, [], 1001) == (first, left, rest, code)


async def test_the_plugin_limits_a_client() -> None:
    """More than the burst is answered with 429 and when to come again."""
    settings = RateLimitSettings(per_second=0.5, burst=2)
    contributions = [rate_limits, RateLimitLayer]
    async with run(contributions=contributions, overrides={RateLimitSettings: settings}) as running:
        statuses = [(await running.http.get("/")).status for _ in range(2)]
        refused = await running.http.get("/")
        clients = len(running.resources[RateLimits])
    assert ([404, 404], 429, "2", 1) == (statuses, refused.status, refused.headers["retry-after"], clients)


async def test_the_plugin_conforms() -> None:
    """The conformance kit has nothing against a plugin that a third party would write."""
    await check_contribution(rate_limits, RateLimitLayer)
