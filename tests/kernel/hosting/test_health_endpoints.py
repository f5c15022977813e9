"""Tests of bandmaster.kernel.hosting.health_endpoints."""

import anyio
import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from tests.kernel.asking import ask
from tests.kernel.hosting.apps import composed, hello, warned
from tests.kernel.virtual import anyio_backend  # noqa: F401

from bandmaster.kernel.contributions.bands import LifespanBand, MiddlewareBand
from bandmaster.kernel.contributions.decorators import lifespan, middleware
from bandmaster.kernel.errors import StartError
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.lifecycle.phases import Phase
from bandmaster.kernel.lifecycle.restart import Restart

pytestmark = pytest.mark.anyio


def probing(probe, **fields):
    @lifespan(band=LifespanBand.PERSISTENCE, name="database")
    async def component(context: Context):
        context.add_probe("primary", probe, **fields)
        yield

    return component


async def fine():
    """A probe that passes."""


async def away():
    raise ConnectionError("postgresql://bob:hunter2@db")


async def health(app, path="/readyz", **scope):
    answer = await ask(app, path, **scope)
    return answer.status, answer.json["status"]


@pytest.mark.requirement("FA-15", "CF-16", "XC-L5")
async def test_the_three_questions_through_a_run():
    """Live always, started from the end of the start until the stop, ready until the drain."""
    app = composed(probing(fine))
    seen = []

    async def look():
        seen.append([(await ask(app, path)).status for path in ("/livez", "/startupz", "/readyz")])

    await look()
    async with app.running():
        await look()
        await app.drain()
        await look()
    await look()
    assert [[200, 503, 503], [200, 200, 200], [200, 200, 503], [200, 503, 503]] == seen


async def test_a_run_that_has_failed_is_not_live():
    """After a failed run the process isn't live: only a restart helps a server that goes on."""

    @lifespan(band=LifespanBand.PERSISTENCE)
    async def bad():
        raise OSError
        yield

    app = composed(bad)
    with pytest.raises(StartError):
        async with app.running():
            pass
    assert (Phase.FAILED, (503, "fail")) == (app.kernel.phase, await health(app, "/livez"))


@pytest.mark.requirement("FA-15", "CF-16", "XC-L5")
async def test_readiness_is_lost_with_the_request_to_stop():
    """A requested stop fails readiness before requests are drained or refused."""
    app = composed()
    async with app.running():
        app.kernel.request_stop("SIGTERM")
        assert ((503, "fail"), 200) == (await health(app), (await ask(app, "/hello")).status)


@pytest.mark.requirement("FA-15", "CF-16", "XC-L5")
async def test_a_failing_probe_outside_production():
    """The report has the failing probe, the component and the type of the error, but never the text of the error."""
    app = composed(probing(away))
    async with app.running():
        answer = await ask(app, "/readyz")
    assert {
        "status": "fail",
        "checks": {"primary": {"status": "fail", "component": "database", "reason": "ConnectionError"}},
    } == answer.json
    assert (503, "no-store") == (answer.status, answer.headers["cache-control"])


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"environment": "production"}, False),
        ({"environment": "production", "health_details": True}, True),
        ({"health_details": False}, False),
        ({}, True),
    ],
)
@pytest.mark.requirement("FA-15", "CF-16", "XC-L5")
async def test_details_are_shown_where_the_settings_allow(settings, shown):
    """In production the report is pass or fail only, unless the settings allow details."""
    app = composed(probing(away), settings=settings)
    async with app.running():
        answer = await ask(app, "/readyz")
    assert (503, shown, False) == (answer.status, "checks" in answer.json, b"hunter2" in answer.body)


@pytest.mark.requirement("FA-15", "CF-16", "XC-L5")
async def test_a_probe_that_is_not_critical_warns():
    """A probe that isn't critical warns with status 200, so that the balancer goes on."""
    app = composed(probing(away, critical=False))
    async with app.running():
        assert (200, "warn") == await health(app)


async def test_a_degraded_component_fails_readiness():
    """A degraded component fails readiness, while requests are still served."""

    @lifespan(band=LifespanBand.PERSISTENCE)
    async def component(context: Context):
        context.supervise(away, restart=Restart(intensity=0, when_exhausted="degrade"))
        yield

    app = composed(component)
    with pytest.raises(Exception, match="died while serving"):
        async with app.running():
            await anyio.sleep(1)
            assert [(503, "fail"), (200, "pass")] == [await health(app), await health(app, "/livez")]
            assert 200 == (await ask(app, "/hello")).status


async def test_health_is_asked_by_get_and_head():
    """HEAD gets no content; other methods get 405 with the allowed ones."""
    app = composed()
    head = await ask(app, "/livez", "HEAD")
    assert (200, b"") == (head.status, head.body)
    wrong = await ask(app, "/livez", "POST")
    assert (405, "GET, HEAD") == (wrong.status, wrong.headers["allow"])


async def test_health_is_found_below_a_root_path():
    """A server that knows a proxy's prefix puts the prefix before every path."""
    app = composed()
    assert (200, "pass") == await health(app, "/api/livez", root_path="/api")
    assert (200, "pass") == await health(app, "/livez", root_path="/api")
    outer = Starlette(routes=[Mount("/sub", app)])
    assert (200, "pass") == await health(outer, "/sub/livez")
    async with app.running():
        assert 200 == (await ask(outer, "/sub/hello")).status
        assert 404 == (await ask(app, "/other/livez", root_path="/api")).status


async def test_a_setting_leaves_health_to_the_host():
    """With the setting off, the host answers at these paths."""
    app = composed(host=Starlette(routes=[Route("/livez", hello)]), settings={"health": False})
    async with app.running():
        assert b"hello" == (await ask(app, "/livez")).body


async def test_health_passes_no_layer_and_counts_as_no_request():
    """A health request skips the layers, and isn't in flight."""

    @middleware(band=MiddlewareBand.OUTERMOST)
    class Refuses:
        def on_request(self, exchange):
            raise AssertionError

    app = composed(Refuses)
    async with app.running():
        assert [(200, "pass")] * 3 == [await health(app, path) for path in ("/livez", "/startupz", "/readyz")]


async def test_an_application_that_is_not_served_is_not_ready():
    """A kernel that runs without the application serves no requests."""
    app = composed()
    async with app.kernel.running():
        assert [("application", "not serving")] == [(check.name, check.reason) for check in (await app.ready()).checks]


PATHS = {"live_path": "/alive", "ready_path": "/health/ready", "startup_path": ""}


async def test_other_paths():
    """Settings name the paths; an empty path switches a check off, and the host has all other paths."""
    app = composed(host=Starlette(routes=[Route("/readyz", hello), Route("/", hello)]), settings=PATHS)
    async with app.running():
        paths = ("/alive", "/health/ready", "/readyz", "/livez", "/startupz", "/")
        assert [200, 200, 200, 404, 404, 200] == [(await ask(app, path)).status for path in paths]
    assert [] == app.warnings


async def test_a_health_check_of_the_host_is_not_hidden_silently():
    """The warning names the host's endpoint and the variable that mends the fault, wherever the route is."""
    inner = Starlette(routes=[Route("/startupz", hello), Route("/other", hello)])
    app = composed(host=Starlette(routes=[Route("/readyz", hello), Mount("/livez", inner), Mount("", inner)]))
    hidden = [
        ("/livez", "starlette.applications:Starlette", "BANDMASTER_LIVE_PATH"),
        ("/readyz", "tests.kernel.hosting.apps:hello", "BANDMASTER_READY_PATH"),
        ("/startupz", "tests.kernel.hosting.apps:hello", "BANDMASTER_STARTUP_PATH"),
    ]
    assert app.warnings == [
        f"the route {path!r} ({endpoint}) is never reached, since the application itself answers the health check "
        f"{path}. Give the check another path with {variable}, or switch it off with {variable} empty."
        for path, endpoint, variable in hidden
    ]
    async with app.running():
        assert {message for _, message in warned(app)} >= set(app.warnings)


async def test_a_hidden_route_in_an_included_router():
    """FastAPI keeps an included router as one route."""
    host, router = FastAPI(), APIRouter(prefix="/api")
    router.add_api_route("/readyz", hello)
    host.include_router(router)
    host.mount("/v2", Starlette(routes=[Route("/readyz", hello)]))
    hidden = [composed(host=host, settings={"ready_path": path}).warnings for path in ("/api/readyz", "/v2/readyz")]
    assert [1, 1] == [len(warnings) for warnings in hidden]
    assert [] == composed(host=host).warnings
    assert [] == composed(host=host, settings={"ready_path": "/api/readyz", "health": False}).warnings


async def test_a_page_for_every_path_hides_nothing():
    """A route that matches the path among others isn't meant for health checks."""
    assert [] == composed(host=Starlette(routes=[Route("/{path:path}", hello)])).warnings


async def test_an_app_that_mounts_itself():
    """The search ends."""
    host = Starlette()
    host.mount("/self", host)
    assert [] == composed(host=host, settings={"ready_path": "/self/self/readyz"}).warnings


async def test_health_checks_close_connections_while_draining():
    """A load balancer then asks on another connection, which another process accepts."""
    app = composed()
    async with app.running():
        assert "connection" not in (await ask(app, "/readyz")).headers
        await app.drain()
        assert "close" == (await ask(app, "/readyz")).headers["connection"]
