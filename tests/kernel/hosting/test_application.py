"""Tests of bandmaster.kernel.hosting.application."""

import functools
import importlib.metadata

import anyio
import pytest
from fastapi import FastAPI
from pydantic_settings import BaseSettings
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from tests.kernel.asking import ask, call, http_scope, websocket_scope
from tests.kernel.virtual import anyio_backend  # noqa: F401

from bandmaster.kernel import events
from bandmaster.kernel.contributions.bands import LifespanBand, MiddlewareBand
from bandmaster.kernel.contributions.decorators import lifespan, middleware
from bandmaster.kernel.contributions.keys import Named
from bandmaster.kernel.contributions.model import ErrorHandlerContribution, MiddlewareContribution, RouteContribution
from bandmaster.kernel.errors import PlanError, StartError, StopError
from bandmaster.kernel.hosting.application import Application, create_app
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.lifecycle.engine import Phase
from bandmaster.kernel.lifecycle.kernel import Kernel
from bandmaster.kernel.lifecycle.resources import Resources
from bandmaster.kernel.lifecycle.restart import Restart
from bandmaster.kernel.settings.kernel import KernelSettings

pytestmark = pytest.mark.anyio


class Database:
    """What a component provides."""


class LayerSettings(BaseSettings):
    """Settings of a layer."""

    shade: str = "dark"


@lifespan(band=LifespanBand.PERSISTENCE, provides=Database)
async def database():
    yield Database()


async def hello(request):
    return PlainTextResponse("hello")


HELLO = Route("/hello", hello)


def composed(*contributions, host=None, settings=None, **arguments):
    told = []
    app = create_app(
        host if host is not None else Starlette(routes=[HELLO]),
        contributions=contributions,
        discover=False,
        settings=KernelSettings(**settings or {}),
        listeners=[told.append],
        **arguments,
    )
    app.told = told
    return app


def warned(app):
    return [(event.component, event.message) for event in app.told if isinstance(event, events.Warned)]


# -- making one ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"host": 5}, "host: expected an ASGI app, got 5"),
        ({"settings": {}}, "settings: expected KernelSettings, got dict"),
        ({"overrides": 5}, "overrides: expected a mapping like {Database: fake}, got 5"),
        ({"contributions": 5}, "contributions: expected a list of contributions, got 5"),
        ({"contributions": [5]}, "contributions: 5 is no contribution"),
    ],
)
@pytest.mark.requirement("P-18")
def test_wrong_arguments_are_named(arguments, message):
    """Whoever passes the wrong thing reads which argument it was."""
    with pytest.raises(ValueError) as raised:
        create_app(discover=False, **arguments)
    assert str(raised.value).startswith(message)


def test_it_shows_what_it_is_made_of():
    """Plan, kernel and host are there for people and tools."""
    host = Starlette()
    app = composed(database, host=host)
    assert (host, app.kernel.plan, "web") == (app.host, app.plan, app.plan.role)
    assert ["database", "host"] == [component.name for component in app.plan.components]


def test_no_host_is_a_new_starlette_app():
    """Which shows tracebacks where the settings say so."""
    for debug in (True, False):
        app = create_app(discover=False, settings=KernelSettings(debug=debug))
        assert (Starlette, debug) == (type(app.host), app.host.debug)


def test_settings_may_be_an_override():
    """As for a kernel."""
    settings = KernelSettings(title="x")
    assert settings is create_app(discover=False, overrides={KernelSettings: settings}).settings


def test_an_application_may_be_put_together_by_hand():
    """A kernel that is planned already, around a host."""
    host = Starlette()
    app = Application(Kernel(discover=False), host)
    assert (host, 0) == (app.host, app.in_flight)


@pytest.mark.requirement("FA-12", "CF-34")
def test_title_and_version_come_from_the_distribution():
    """Unless they are set; a FastAPI host shows them in its document, also where that was made already."""
    installed = importlib.metadata.version("anyio")
    for settings, expected in (
        ({}, ("Mine", "9")),
        ({"distribution": "anyio"}, ("anyio", installed)),
        ({"distribution": "anyio", "title": "Set"}, ("Set", installed)),
        ({"distribution": "anyio", "title": "Set", "version": "2"}, ("Set", "2")),
        ({"version": "2"}, ("Mine", "2")),
    ):
        for made_already in (False, True):
            host = FastAPI(title="Mine", version="9")
            if made_already:
                host.openapi()
            app = composed(host=host, settings=settings)
            info = host.openapi()["info"]
            assert expected == (app.title, app.version) == (info["title"], info["version"])


def test_a_host_without_a_title_has_one():
    """Other hosts show nothing, but people and tools may ask."""
    assert ("bandmaster", "") == (composed().title, composed().version)
    assert ("Set", "2") == (composed(settings={"title": "Set", "version": "2"}).title, "2")


@pytest.mark.requirement("FA-12", "CF-34")
def test_a_distribution_that_is_not_there_is_a_problem():
    """With the variable that names it, and the nearest that is there."""
    with pytest.raises(PlanError) as raised:
        composed(settings={"distribution": "starlete"})
    assert (
        "BANDMASTER_DISTRIBUTION is 'starlete', which isn't installed. Install it, or unset the variable. Did you mean "
        "'starlette'?"
    ) == str(raised.value.problems[0])


@pytest.mark.requirement("FA-4", "FA-6")
async def test_routes_and_error_handlers_go_into_the_host():
    """Handlers find resources by type."""

    async def which(request):
        return PlainTextResponse(type(request.state.resources[Database]).__name__)

    async def fails(request):
        raise KeyError

    async def handle(request, error):
        return PlainTextResponse("handled", 500)

    app = composed(
        database,
        RouteContribution(name="which", routes=[Route("/which", which), Route("/fails", fails)], prefix="/api"),
        ErrorHandlerContribution(name="errors", exception=KeyError, handler=handle),
    )
    async with app.running():
        assert b"Database" == (await ask(app, "/api/which")).body
        assert b"handled" == (await ask(app, "/api/fails")).body


async def test_what_finds_no_place_is_told():
    """To those who ask, and to those who read the log."""

    async def own(request, error):
        raise AssertionError

    host = Starlette(exception_handlers={KeyError: own})
    app = composed(ErrorHandlerContribution(name="errors", exception=KeyError, handler=hello), host=host)
    async with app.running():
        pass
    message = "error handler 'errors' (in code) gives way to the host's own for KeyError"
    assert ([message], [("host", message)]) == (app.warnings, warned(app))


# -- serving -------------------------------------------------------------------------------------------------------


async def closing(websocket):
    await websocket.accept()
    await websocket.close()


@pytest.mark.requirement("FA-1")
async def test_requests_are_served_while_it_runs_and_only_then():
    """Before the start and after the stop they are refused, with the time to come back."""
    host = Starlette(routes=[HELLO, WebSocketRoute("/ws", closing)])
    app = composed(host=host, settings={"retry_after": 7})

    async def asked():
        socket = await call(app, websocket_scope("/ws"))
        answer = await ask(app, "/hello")
        return answer.status, answer.headers.get("retry-after"), socket.messages[0]["type"]

    assert (503, "7", "websocket.close") == await asked()
    async with app.running():
        assert (200, None, "websocket.accept") == await asked()
    assert (503, "7", "websocket.close") == await asked()


async def test_a_scope_of_another_type_is_an_error():
    """As the ASGI specification asks for."""
    with pytest.raises(ValueError, match="scope: expected http, websocket or lifespan, got 'smtp'"):
        await composed()({"type": "smtp"}, None, None)


async def test_a_server_may_run_it_by_the_lifespan_protocol():
    """What is served in between."""
    app = composed()
    sent, gate = [], anyio.Event()
    questions = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive():
        question = next(questions)
        if question == "lifespan.shutdown":
            await gate.wait()
        return {"type": question}

    async def send(message):
        sent.append(message["type"])
        if message["type"] == "lifespan.startup.complete":
            assert 200 == (await ask(app, "/hello")).status
            gate.set()

    await app({"type": "lifespan"}, receive, send)
    assert ["lifespan.startup.complete", "lifespan.shutdown.complete"] == sent


async def test_one_run_at_a_time():
    """A second one beside it is refused, and does the first no harm."""
    app = composed(database)
    async with app.running():
        with pytest.raises(RuntimeError, match="this application runs already"):
            async with app.running():
                pytest.fail("it ran twice")
        assert (200, True) == ((await ask(app, "/hello")).status, Database in app.resources)


async def test_it_runs_again():
    """With a new gate, a new stack and new resources."""
    app = composed(database)
    seen = []
    for _ in range(2):
        async with app.running() as resources:
            assert resources is app.resources
            seen.append(resources[Database])
            assert 200 == (await ask(app, "/hello")).status
            await app.drain()
            assert 503 == (await ask(app, "/hello")).status
    assert seen[0] is not seen[1]
    with pytest.raises(RuntimeError, match="the application has no resources: it is stopped"):
        app.resources


async def test_the_servers_scope_and_state_stay_as_they_are():
    """An application that this one is mounted in, or the server, may use them again."""
    seen = {}

    async def look(request):
        seen.update(request.state._state)
        request.state.touched = True
        request.scope["touched"] = True
        return PlainTextResponse("")

    app = composed(database, host=Starlette(routes=[Route("/look", look)]))
    state = {"of": "server"}
    scope = http_scope("/look", state=state)
    before = dict(scope)
    async with app.running() as resources:
        await call(app, scope)
        assert {"of": "server", "resources": resources, "drain": app._gate.drain} == seen
    assert (before, {"of": "server"}) == (scope, state)


@pytest.mark.parametrize("missing", [{"state": None}, {}])
async def test_a_server_without_state_will_do(missing):
    """It is an extension of the protocol; requests don't share what is made for them."""
    left = []

    async def look(request):
        left.append(sorted(request.state._state))
        request.state.touched = True
        return PlainTextResponse("")

    app = composed(host=Starlette(routes=[Route("/look", look)]))
    async with app.running():
        for _ in range(2):
            scope = http_scope("/look")
            del scope["state"]
            await call(app, {**scope, **missing})
    assert [["drain", "resources"]] * 2 == left


@pytest.mark.requirement("FA-7", "XC-L1")
async def test_two_applications_live_side_by_side():
    """With settings of their own, and resources of their own."""

    async def which(request):
        return PlainTextResponse(str(id(request.state.resources[Database])))

    apps = [
        composed(database, host=Starlette(routes=[Route("/", which)]), settings={"title": str(n)}) for n in range(2)
    ]
    async with apps[0].running() as first, apps[1].running() as second:
        assert [str(id(resources[Database])) for resources in (first, second)] == [
            (await ask(app)).body.decode() for app in apps
        ]
    assert ["0", "1"] == [app.title for app in apps]


# -- layers --------------------------------------------------------------------------------------------------------


def layer(cls, name="layer", **fields):
    return MiddlewareContribution(name=name, layer=cls, band=MiddlewareBand.POLICY, **fields)


class Nothing:
    """What no component provides."""


async def test_layers_hold_live_resources():
    """Resources, settings, options and what isn't there, all by the constructor."""
    made = []

    class Layer:
        def __init__(
            self,
            app,
            database: Database,
            kernel_settings: KernelSettings,
            settings: LayerSettings,
            word: str,
            nothing: Nothing | None,
            default: Nothing = "default",
        ):
            made.append((database, kernel_settings, settings.shade, word, nothing, default))
            self.app = app

        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)

    app = composed(database, layer(Layer, options={"word": "x"}))
    for _ in range(2):
        async with app.running() as resources:
            assert 200 == (await ask(app, "/hello")).status
            assert (resources[Database], app.settings, "dark", "x", None, "default") == made.pop()
    assert [] == made


async def test_lifespan_never_passes_a_layer():
    """No layer can switch it off."""
    scopes = []

    class Layer:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            scopes.append(scope["type"])
            await self.app(scope, receive, send)

    app = composed(layer(Layer), host=Starlette(routes=[HELLO, WebSocketRoute("/ws", closing)]))
    async with app.running():
        await ask(app, "/hello")
        await ask(app, "/livez")
        await call(app, websocket_scope("/ws"))
    assert ["http", "websocket"] == scopes


@pytest.mark.requirement("FA-14", "XC-L4")
async def test_a_layer_that_cannot_be_made_stops_everything_in_order():
    """A start that fails late is still rolled back, and the log says which layer it was."""
    trace = []

    @lifespan(band=LifespanBand.PERSISTENCE)
    async def component():
        trace.append("up")
        yield
        trace.append("down")

    class Layer:
        def __init__(self, app):
            raise OSError("no key")

        async def __call__(self, scope, receive, send):
            """Never made."""

    app = composed(component, layer(Layer))
    with pytest.raises(StartError) as raised:
        async with app.running():
            pytest.fail("served")
    assert ("layer", "no key", ["up", "down"]) == (raised.value.component, str(raised.value.__cause__), trace)
    assert [("layer", str(raised.value))] == warned(app)
    assert 503 == (await ask(app, "/hello")).status


async def test_a_stop_that_fails_after_a_layer_failed_hides_nothing():
    """The layer is the cause, and comes first."""

    @lifespan(band=LifespanBand.PERSISTENCE)
    async def component():
        yield
        raise OSError("stuck")

    class Layer:
        def __init__(self, app):
            raise OSError("no key")

        async def __call__(self, scope, receive, send):
            """Never made."""

    with pytest.raises(StopError) as raised:
        async with composed(component, layer(Layer)).running():
            pytest.fail("served")
    assert [StartError, OSError] == [type(error) for error in raised.value.exceptions]


# -- draining ------------------------------------------------------------------------------------------------------


def slow(seconds):
    async def endpoint(request):
        await anyio.sleep(seconds)
        return PlainTextResponse("slow")

    return Route("/slow", endpoint)


async def test_a_drain_accepts_then_refuses_then_waits():
    """For drain_delay new requests are welcome, then they are refused; those in flight may end."""
    app = composed(host=Starlette(routes=[HELLO, slow(8)]), settings={"drain_delay": 5, "drain_timeout": 10})
    answers = {}

    async def request(name, path, at):
        await anyio.sleep(at)
        answers[name] = await ask(app, path)

    async with app.running():
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(request, "in flight", "/slow", 0)
            tasks.start_soon(request, "welcome", "/hello", 4)
            tasks.start_soon(request, "ready", "/readyz", 1.5)
            tasks.start_soon(request, "refused", "/hello", 7)
            await anyio.sleep(1)
            assert (1, 0) == (app.in_flight, await app.drain())
        assert 8 == pytest.approx(anyio.current_time() - began)
    assert {"in flight": 200, "welcome": 200, "ready": 503, "refused": 503} == {
        name: answer.status for name, answer in answers.items()
    }
    assert "close" == answers["refused"].headers["connection"]
    (draining,) = [event for event in app.told if isinstance(event, events.Draining)]
    (drained,) = [event for event in app.told if isinstance(event, events.Drained)]
    assert (5, 10, 0, 7) == (draining.delay, draining.timeout, drained.left, pytest.approx(drained.took))


async def test_a_drain_is_bounded_and_tells_what_is_left():
    """Who doesn't end in time is counted."""
    app = composed(host=Starlette(routes=[slow(60)]), settings={"drain_timeout": 3})
    async with app.running(), anyio.create_task_group() as tasks:
        tasks.start_soon(ask, app, "/slow")
        await anyio.sleep(1)
        began = anyio.current_time()
        assert 1 == await app.drain()
        assert 3 == pytest.approx(anyio.current_time() - began)
        tasks.cancel_scope.cancel()


async def test_a_stream_may_look_at_the_drain():
    """It ends by itself."""

    async def chunks(drain):
        yield b"first"
        await drain.wait()
        yield b"last"

    async def endpoint(request):
        return StreamingResponse(chunks(request.state.drain))

    app = composed(host=Starlette(routes=[Route("/", endpoint)]))
    async with app.running(), anyio.create_task_group() as tasks:
        answers = []

        async def stream():
            answers.append((await ask(app)).body)

        tasks.start_soon(stream)
        await anyio.sleep(1)
        assert 0 == await app.drain()
    assert [b"firstlast"] == answers


async def test_a_second_drain_waits_for_the_first():
    """It happens once, and both callers come back when it has."""
    app = composed(host=Starlette(routes=[slow(4)]))
    back = []

    async def drain(delay):
        back.append((await app.drain(delay=delay), anyio.current_time() - began))

    async with app.running(), anyio.create_task_group() as tasks:
        began = anyio.current_time()
        tasks.start_soon(ask, app, "/slow")
        await anyio.sleep(1)
        tasks.start_soon(drain, 1)
        await anyio.sleep(0.5)
        tasks.start_soon(drain, 0)
    assert [(0, 4), (0, 4)] == [(left, pytest.approx(at)) for left, at in back]
    assert 1 == len([event for event in app.told if isinstance(event, events.Drained)])


async def test_a_drain_that_is_cut_short_lets_nobody_wait():
    """Who can't wait cancels it; the others come back, and nothing is accepted any more."""
    app = composed(host=Starlette(routes=[HELLO, slow(60)]), settings={"drain_delay": 5})
    async with app.running(), anyio.create_task_group() as tasks:
        tasks.start_soon(ask, app, "/slow")
        await anyio.sleep(1)

        async def wait():
            await anyio.sleep(0.5)
            assert 1 == await app.drain()
            assert 503 == (await ask(app, "/hello")).status
            tasks.cancel_scope.cancel()

        tasks.start_soon(wait)
        with anyio.move_on_after(1):
            await app.drain()
        await anyio.sleep_forever()


async def test_a_drain_may_begin_before_it_is_time_to_refuse():
    """A server that says nothing of a stop is told of it by others; the hooks still run once."""
    hooks = []

    @lifespan(band=LifespanBand.PERSISTENCE)
    async def component(context: Context):
        context.on_drain(functools.partial(note, hooks))
        yield

    app = composed(component)
    async with app.running():
        await app.begin_drain(delay=3)
        assert (200, 503) == ((await ask(app, "/hello")).status, (await ask(app, "/readyz")).status)
        assert 0 == await app.drain(delay=0)
        await app.wait_empty()
    assert ([True], [3]) == (hooks, [event.delay for event in app.told if isinstance(event, events.Draining)])


async def note(calls):
    calls.append(True)


async def test_a_client_that_reads_nothing_holds_nobody_up():
    """Closing its WebSocket blocks; the drain goes on, and ends in time."""
    stuck = anyio.Event()

    async def endpoint(websocket):
        await websocket.accept()
        stuck.set()
        await anyio.sleep_forever()

    async def send(message):
        if message["type"] == "websocket.close":
            await anyio.sleep_forever()

    async def receive():
        if stuck.is_set():
            await anyio.sleep_forever()
        return {"type": "websocket.connect"}

    app = composed(
        host=Starlette(routes=[HELLO, WebSocketRoute("/ws", endpoint)]), settings={"drain_delay": 2, "drain_timeout": 3}
    )
    async with app.running(), anyio.create_task_group() as tasks:
        tasks.start_soon(app, websocket_scope("/ws"), receive, send)
        await stuck.wait()
        began = anyio.current_time()
        assert 1 == await app.drain()
        assert 5 == pytest.approx(anyio.current_time() - began)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("timeout", [0, 10])
async def test_websockets_are_closed_when_draining(timeout):
    """With the code that the settings say, also where no time is left for anything else."""

    async def endpoint(websocket):
        await websocket.accept()
        await websocket.receive()

    app = composed(
        host=Starlette(routes=[WebSocketRoute("/ws", endpoint)]),
        settings={"websocket_close_code": 1012, "drain_timeout": timeout},
    )
    sent = []

    async def send(message):
        sent.append(message.get("code"))
        await anyio.sleep(0)

    questions = iter([{"type": "websocket.connect"}])

    async def receive():
        for question in questions:
            return question
        await anyio.sleep_forever()

    async with app.running(), anyio.create_task_group() as tasks:
        tasks.start_soon(app, websocket_scope("/ws"), receive, send)
        await anyio.sleep(1)
        await app.drain()
        tasks.cancel_scope.cancel()
    assert [None, 1012] == sent


async def test_a_drain_where_nothing_serves_does_nothing():
    """After the stop; without any run it is a mistake."""
    app = composed()
    with pytest.raises(RuntimeError, match="this kernel doesn't run"):
        await app.drain()
    async with app.running():
        pass
    assert 0 == await app.drain()


# -- health --------------------------------------------------------------------------------------------------------


def probing(probe, **fields):
    @lifespan(band=LifespanBand.PERSISTENCE, name="database")
    async def component(context: Context):
        context.add_probe("primary", probe, **fields)
        yield

    return component


async def fine():
    """Passes."""


async def away():
    raise ConnectionError("postgresql://bob:hunter2@db")


async def health(app, path="/readyz", **scope):
    answer = await ask(app, path, **scope)
    return answer.status, answer.json["status"]


@pytest.mark.requirement("FA-15", "CF-16", "XC-L5")
async def test_the_three_questions_through_a_run():
    """Live throughout, started from the end of the start to the stop, ready until the drain."""
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
    """A server that serves on can't be helped but by a restart."""

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
    """Before anything is drained or refused."""
    app = composed()
    async with app.running():
        app.kernel.request_stop("SIGTERM")
        assert ((503, "fail"), 200) == (await health(app), (await ask(app, "/hello")).status)


@pytest.mark.requirement("FA-15", "CF-16", "XC-L5")
async def test_a_failing_probe_is_told_by_name_outside_production():
    """Its type, its component, never its text."""
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
    """In production the public learns no more than pass or fail."""
    app = composed(probing(away), settings=settings)
    async with app.running():
        answer = await ask(app, "/readyz")
    assert (503, shown, False) == (answer.status, "checks" in answer.json, b"hunter2" in answer.body)


@pytest.mark.requirement("FA-15", "CF-16", "XC-L5")
async def test_a_probe_that_is_not_critical_warns():
    """200, so that the balancer stays, and a status that people see."""
    app = composed(probing(away, critical=False))
    async with app.running():
        assert (200, "warn") == await health(app)


async def test_a_degraded_component_fails_readiness():
    """It serves on, and asks for nothing new."""

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
    """HEAD has no content; other methods are told so."""
    app = composed()
    head = await ask(app, "/livez", "HEAD")
    assert (200, b"") == (head.status, head.body)
    wrong = await ask(app, "/livez", "POST")
    assert (405, "GET, HEAD") == (wrong.status, wrong.headers["allow"])


async def test_health_is_found_below_a_root_path():
    """A server that is told of a proxy's prefix puts it before every path."""
    app = composed()
    assert (200, "pass") == await health(app, "/api/livez", root_path="/api")
    assert (200, "pass") == await health(app, "/livez", root_path="/api")
    outer = Starlette(routes=[Mount("/sub", app)])
    assert (200, "pass") == await health(outer, "/sub/livez")
    async with app.running():
        assert 200 == (await ask(outer, "/sub/hello")).status
        assert 404 == (await ask(app, "/other/livez", root_path="/api")).status


async def test_a_setting_leaves_health_to_the_host():
    """Its own pages may stand there."""
    app = composed(host=Starlette(routes=[Route("/livez", hello)]), settings={"health": False})
    async with app.running():
        assert b"hello" == (await ask(app, "/livez")).body


async def test_health_passes_no_layer_and_counts_as_no_request():
    """Not in the access log, not in a trace, not waited for."""

    @middleware(band=MiddlewareBand.OUTERMOST)
    class Refuses:
        def on_request(self, exchange):
            raise AssertionError

    app = composed(Refuses)
    async with app.running():
        assert [(200, "pass")] * 3 == [await health(app, path) for path in ("/livez", "/startupz", "/readyz")]


async def test_an_application_that_is_not_served_is_not_ready():
    """A kernel that runs alone serves no requests."""
    app = composed()
    async with app.kernel.running():
        assert [("application", "not serving")] == [(check.name, check.reason) for check in (await app.ready()).checks]


def test_resources_before_the_start_are_a_mistake():
    """The error says what the application is at."""
    with pytest.raises(RuntimeError, match="the application has no resources: it is new"):
        composed().resources


async def test_named_resources_reach_layers():
    """The name tells two of a type apart."""
    from typing import Annotated

    made = []

    @lifespan(band=LifespanBand.PERSISTENCE, provides=Annotated[Database, Named("replica")])
    async def replica():
        yield Database()

    class Layer:
        def __init__(self, app, replica: Annotated[Database, Named("replica")]):
            made.append(replica)

        async def __call__(self, scope, receive, send):
            """Never called."""

    async with composed(database, replica, layer(Layer)).running() as resources:
        assert isinstance(resources, Resources)
        assert [resources[Database, "replica"]] == made
