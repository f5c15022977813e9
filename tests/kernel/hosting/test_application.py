"""Tests of bandmaster.kernel.hosting.application."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from fastapi import FastAPI
from pydantic_settings import BaseSettings
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from tests.kernel.asking import ask, call, http_scope, websocket_scope
from tests.kernel.hosting.apps import HELLO, Database, composed, database, hello, warned
from tests.kernel.virtual import anyio_backend  # noqa: F401
from tests.logged import capture_logs

from bandmaster.kernel import events
from bandmaster.kernel.contributions.bands import LifespanBand, MiddlewareBand
from bandmaster.kernel.contributions.decorators import lifespan
from bandmaster.kernel.contributions.keys import Named
from bandmaster.kernel.contributions.model import ErrorHandlerContribution, MiddlewareContribution, RouteContribution
from bandmaster.kernel.errors import StartError, StopError
from bandmaster.kernel.hosting.application import Application
from bandmaster.kernel.hosting.create import create_app
from bandmaster.kernel.lifecycle.kernel import Kernel
from bandmaster.kernel.lifecycle.resources import Resources
from bandmaster.kernel.settings.kernel import KernelSettings

pytestmark = pytest.mark.anyio


class LayerSettings(BaseSettings):
    """Settings that a layer takes."""

    shade: str = "dark"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"host": 5}, "host: expected an ASGI app, got an int"),
        ({"settings": {}}, "settings: expected KernelSettings, got dict"),
        ({"overrides": 5}, "overrides: expected a mapping like {Database: fake}, got 5"),
        ({"contributions": 5}, "contributions: expected a list of contributions, got 5"),
        ({"contributions": [5]}, "contributions: 5 is no contribution"),
    ],
)
@pytest.mark.requirement("P-18")
def test_wrong_arguments_are_named(arguments, message):
    """A wrong argument is a `ValueError` that names the argument."""
    with pytest.raises(ValueError) as raised:
        create_app(discover=False, **arguments)
    assert str(raised.value).startswith(message)


def test_attributes():
    """Plan, kernel and host are attributes of the application."""
    host = Starlette()
    app = composed(database, host=host)
    assert (host, app.kernel.plan, "web") == (app.host, app.plan, app.plan.role)
    assert ["database", "host"] == [component.name for component in app.plan.components]


def test_no_host_is_a_new_starlette_app():
    """Without a host there is a new Starlette app, with the debug mode of the settings."""
    for debug in (True, False):
        app = create_app(discover=False, settings=KernelSettings(debug=debug))
        assert (Starlette, debug) == (type(app.host), app.host.debug)


def test_settings_may_be_an_override():
    """The kernel's settings may come as an override, as for a kernel."""
    settings = KernelSettings(title="x")
    assert settings is create_app(discover=False, overrides={KernelSettings: settings}).settings


def test_an_application_of_a_kernel_and_a_host():
    """An application can be made of a kernel and a host."""
    host = Starlette()
    app = Application(Kernel(discover=False), host)
    assert (host, 0) == (app.host, app.in_flight)


@pytest.mark.requirement("FA-4", "FA-6")
async def test_routes_and_error_handlers_go_into_the_host():
    """Contributed routes and error handlers work in the host, and handlers find resources by type."""

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


async def test_an_error_handler_without_a_place():
    """A warning about an error handler without a place is on the application and in the events."""

    async def own(request, error):
        raise AssertionError

    host = Starlette(exception_handlers={KeyError: own})
    app = composed(ErrorHandlerContribution(name="errors", exception=KeyError, handler=hello), host=host)
    async with app.running():
        pass
    message = "error handler 'errors' (in code) gives way to the host's own for KeyError"
    assert ([message], [("host", message)]) == (app.warnings, warned(app))


@pytest.mark.parametrize("name", ["include_router", "dependency_overrides", "add_middleware", "router"])
def test_an_attribute_of_the_host_only(name):
    """The error for an attribute that only the host has points to the host."""
    app = composed(host=FastAPI())
    with pytest.raises(AttributeError) as raised:
        getattr(app, name)
    assert (
        f"'Application' object has no attribute {name!r}; its host, a FastAPI, has one: use app.host.{name}, and pass "
        "app.host to whatever expects a FastAPI"
    ) == str(raised.value)
    assert not hasattr(app, name)


@pytest.mark.parametrize("name", ["openapi", "dependency_overrides", "state"])
def test_setting_an_attribute_of_the_host_only(name):
    """Setting an attribute that only the host reads is refused: nothing would read the application's own."""
    app = composed(host=FastAPI())
    with pytest.raises(AttributeError) as raised:
        setattr(app, name, {})
    assert (
        f"{name!r} of 'Application' is never read; its host, a FastAPI, has one: use app.host.{name}, and pass "
        "app.host to whatever expects a FastAPI"
    ) == str(raised.value)
    assert not hasattr(app, name)


def test_setting_any_other_attribute():
    """Attributes of the application itself, private ones, and those of no host can be set."""
    app = composed(host=FastAPI())
    for name in ("title", "_is_instrumented", "shop"):
        setattr(app, name, "own")
        assert "own" == getattr(app, name)


def test_an_attribute_of_the_host_of_a_nested_application():
    """The error points through all applications to the host that has the attribute."""
    with pytest.raises(AttributeError, match=r"use app\.host\.host\.include_router, and pass app\.host\.host to"):
        _ = composed(host=composed(host=FastAPI())).include_router


def test_a_host_whose_attribute_fails():
    """An attribute of the host that can't be read doesn't change the error about the application."""

    class Fails:
        async def __call__(self, scope, receive, send):
            raise AssertionError

        @property
        def state(self):
            raise RuntimeError("not now")

    assert not hasattr(composed(host=Fails()), "state")


@pytest.mark.parametrize("name", ["include_router", "_private"])
def test_an_attribute_that_the_host_has_not(name):
    """Without such a public attribute of the host, the error is the usual one."""
    host = Starlette()
    host._private = True
    with pytest.raises(AttributeError) as raised:
        getattr(composed(host=host), name)
    assert f"'Application' object has no attribute {name!r}" == str(raised.value)


async def closing(websocket):
    await websocket.accept()
    await websocket.close()


@pytest.mark.requirement("FA-1")
async def test_requests_are_served_while_it_runs_and_only_then():
    """Before the start and after the stop requests are refused, with the time after which to come back."""
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
    """The ASGI specification wants an error for an unknown type of scope."""
    with pytest.raises(ValueError, match="scope: expected http, websocket or lifespan, got 'smtp'"):
        await composed()({"type": "smtp"}, None, None)


async def test_the_lifespan_protocol():
    """Between startup and shutdown the application serves."""
    app = composed()
    sent, served = [], anyio.Event()
    questions = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive():
        question = next(questions)
        if question == "lifespan.shutdown":
            await served.wait()
        return {"type": question}

    async def send(message):
        sent.append(message["type"])
        if message["type"] == "lifespan.startup.complete":
            assert 200 == (await ask(app, "/hello")).status
            served.set()

    await app({"type": "lifespan"}, receive, send)
    assert ["lifespan.startup.complete", "lifespan.shutdown.complete"] == sent


@pytest.mark.parametrize("state", [{}, {"region": "eu", "pool": 1}])
async def test_the_servers_state_gets_what_lifespans_yield(state):
    """A server gets the state that the host's lifespan yields, and nothing of the application's own."""

    @asynccontextmanager
    async def lifespan(app):
        yield {"pool": 7}

    app = composed(database, host=Starlette(lifespan=lifespan))
    questions = iter(["lifespan.startup", "lifespan.shutdown"])
    seen = []

    async def receive():
        return {"type": next(questions)}

    async def send(message):
        seen.append(dict(state))

    await app({"type": "lifespan", "state": state}, receive, send)
    assert [{**state, "pool": 7}] * 2 == seen


def failing_host(phase):
    """A host with a lifespan that fails in the phase."""

    @asynccontextmanager
    async def lifespan(app):
        if phase == "start":
            raise LookupError("the host's own")
        yield
        raise LookupError("the host's own")

    return Starlette(lifespan=lifespan)


async def speak(app):
    """The types of the messages to a server that stops the application at once, and the application's exception."""
    questions = iter(["lifespan.startup", "lifespan.shutdown"])
    sent = []

    async def receive():
        return {"type": next(questions)}

    async def send(message):
        sent.append(message["type"].removeprefix("lifespan."))

    with pytest.raises(Exception) as raised:
        await app({"type": "lifespan", "state": {}}, receive, send)
    return sent, raised.value


@pytest.mark.parametrize(
    ("phase", "expected"),
    [("start", ["startup.failed"]), ("stop", ["startup.complete", "shutdown.failed"])],
)
async def test_an_application_of_a_host_alone_fails_as_the_host_does(phase, expected):
    """Without other components the host's own exception is raised, which tests of the host expect."""
    sent, error = await speak(composed(host=failing_host(phase)))
    assert (expected, LookupError) == (sent, type(error))
    assert error.__context__ is None


@pytest.mark.parametrize(("phase", "kind"), [("start", StartError), ("stop", StopError)])
async def test_an_application_with_components_names_the_one_that_failed(phase, kind):
    """With other components the kernel's error is raised, which tells the failures of all."""
    _, error = await speak(composed(database, host=failing_host(phase)))
    assert isinstance(error, kind)


async def test_a_failure_of_the_kernels_own_stays_as_it_is():
    """A host that reports a failure and raises nothing has no exception of its own."""

    async def host(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no"})

    _, error = await speak(composed(host=host))
    assert isinstance(error, StartError)


async def test_one_run_at_a_time():
    """A second run at the same time is refused, and doesn't disturb the first."""
    app = composed(database)
    async with app.running():
        with pytest.raises(RuntimeError, match="this application runs already"):
            async with app.running():
                pytest.fail("it ran twice")
        assert (200, True) == ((await ask(app, "/hello")).status, Database in app.resources)


async def test_a_run_after_another():
    """A later run has a new stack and new resources."""
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
    with pytest.raises(RuntimeError, match=r"the application has no resources\. The application has stopped"):
        app.resources


async def test_the_servers_scope_and_state_stay_as_they_are():
    """Scope and state aren't changed, since the server, or an outer application, may use them again."""
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
        assert {"of": "server", "resources": resources, "drain": app._in_flight.drain} == seen
    assert (before, {"of": "server"}) == (scope, state)


@pytest.mark.parametrize("missing", [{"state": None}, {}])
async def test_a_server_without_state(missing):
    """State is an extension of ASGI; without the extension, each request gets a separate state."""
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
    """Two applications in one process have their own settings and resources."""

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


def test_resources_before_the_start():
    """The error has the application's phase."""
    with pytest.raises(RuntimeError, match=r"the application has no resources\. The application was never started"):
        composed().resources


def layer(cls, name="layer", **fields):
    return MiddlewareContribution(name=name, layer=cls, band=MiddlewareBand.POLICY, **fields)


class Nothing:
    """A type that no component provides."""


async def test_layers_hold_live_resources():
    """A layer's constructor gets resources, settings and options, and None for a resource that doesn't exist."""
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
    """Lifespan and health requests skip the layers."""
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
    """If a layer can't be made, the components are stopped in order, and a warning names the layer."""
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


async def test_a_stop_that_fails_after_a_layer_failed():
    """Both failures are raised, and the layer's comes first as the cause."""

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


async def test_named_resources_reach_layers():
    """Of two resources of one type a layer gets the one with the given name."""
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


@pytest.mark.parametrize("path", ["/hello", "/readyz"])
async def test_an_application_that_nobody_starts(path):
    """Without a run of the lifespan every answer is 503, and one warning says how to run the lifespan."""
    app = composed(database)
    with capture_logs(level=logging.WARNING) as logs:
        answers = [await ask(app, path) for _ in range(2)]
    assert [503, 503] == [answer.status for answer in answers]
    (warning,) = logs
    assert warning["event"].startswith("the application was never started")
    for remedy in ("with TestClient(app)", "async with app.running()", "--lifespan off", "mounted in another"):
        assert remedy in warning["event"]


async def test_the_reason_for_a_503():
    """The detail tells an application that was never started from one that stops, and from one that has stopped."""
    app = composed(database)
    never = (await ask(app, "/hello")).json["detail"]
    async with app.running():
        await app.drain(delay=0)
        stopping = (await ask(app, "/hello")).json["detail"]
    stopped = (await ask(app, "/hello")).json["detail"]
    assert [
        "The application was never started: nothing has run its lifespan.",
        "The application is stopping.",
        "The application has stopped.",
    ] == [never, stopping, stopped]


async def test_the_reason_for_a_503_after_a_failure():
    """After a failed start the detail says that the last run has failed, and nothing of the cause."""

    @lifespan(band=LifespanBand.PERSISTENCE)
    async def broken() -> AsyncIterator[None]:
        raise LookupError("hunter2")
        yield

    app = composed(broken)
    with pytest.raises(StartError):
        async with app.running():
            pass
    detail = (await ask(app, "/hello")).json["detail"]
    assert "The application isn't running: its last run has failed." == detail


async def test_the_reason_for_a_503_while_starting():
    """A request that comes before the end of the start learns that the application is starting."""
    app, seen = composed(database), []

    @app.kernel.listen
    def note(event):
        if isinstance(event, events.ComponentStarting):
            seen.append(app._describe_absence())

    async with app.running():
        pass
    assert ["The application is starting."] == seen[:1]
