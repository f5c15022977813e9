"""Tests of bandmaster.kernel.hosting.routes."""

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount, Route, Router, WebSocketRoute
from tests.kernel.asking import ask, call, websocket_scope
from tests.kernel.hosting.apps import bare, failing, installed, page, read_failed, text

from bandmaster.kernel.contributions.model import ErrorHandlerContribution, Provenance, RouteContribution
from bandmaster.kernel.errors import PlanError
from bandmaster.kernel.hosting.routes import install_routes

pytestmark = pytest.mark.anyio


def routes(path="/hello", text="contributed", **fields):
    fields.setdefault("name", "hello")
    return RouteContribution(routes=[Route(path, page(text))], **fields)


def fast_router(path="/hello", text="contributed"):
    router = APIRouter()

    @router.get(path)
    async def hello() -> str:
        return text

    return router


MADE = {
    "routes": lambda: [Route("/hello", page("contributed"))],
    "router": lambda: Router([Route("/hello", page("contributed"))]),
    "function": lambda: lambda: [Route("/hello", page("contributed"))],
    "iterator": lambda: lambda: iter([Route("/hello", page("contributed"))]),
}
MADE_FOR_FASTAPI = {"fastapi router": fast_router, "function for a fastapi router": lambda: fast_router}
HOSTS = {"starlette": Starlette, "fastapi": FastAPI, "router": Router, "bare": lambda: bare}
CASES = {
    **{f"{host}-{made}": (HOSTS[host], MADE[made]) for host in HOSTS for made in MADE},
    **{f"fastapi-{made}": (FastAPI, make) for made, make in MADE_FOR_FASTAPI.items()},
}


@pytest.mark.requirement("FA-4", "FA-6")
@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize(("host", "made"), CASES.values(), ids=CASES)
async def test_every_host_takes_all_kinds_of_routes(host, made, prefix):
    """Routes, routers, FastAPI routers for FastAPI hosts, and functions that make them; with and without a prefix."""
    app = installed(host(), RouteContribution(name="hello", routes=made(), prefix=prefix))
    assert (200, "contributed") == await text(app, f"{prefix}/hello")
    assert 404 == (await ask(app, f"{prefix}/other")).status
    assert (200 if not prefix else 404) == (await ask(app, "/hello")).status


@pytest.mark.parametrize("host", [Starlette, FastAPI])
def test_routes_without_a_prefix_are_the_hosts(host):
    """Routes without a prefix are in the host's own list, where their names are found."""
    app = installed(host(), routes())
    assert "/hello" == app.url_path_for("endpoint")


@pytest.mark.parametrize("host", [Starlette(), bare], ids=["starlette", "bare"])
async def test_a_fastapi_router_needs_a_fastapi_host(host):
    """A FastAPI router is refused by other hosts, where each route would fail at the first request."""
    part = RouteContribution(name="hello", routes=fast_router())
    with pytest.raises(
        PlanError, match=f"they are a FastAPI router, which the host, a {type(host).__name__}, can't include"
    ):
        install_routes(host, [part], [])


@pytest.mark.requirement("FA-6")
async def test_tags_reach_the_openapi_document():
    """The tags of a contribution are in the document of a FastAPI host."""
    host = FastAPI()
    installed(host, RouteContribution(name="hello", routes=fast_router(), prefix="/api", tags=("greetings",)))
    assert ["greetings"] == host.openapi()["paths"]["/api/hello"]["get"]["tags"]


async def test_a_websocket_route_is_found():
    """A contributed WebSocket route works, also under a prefix that other contributions share."""

    async def endpoint(websocket):
        await websocket.accept()
        await websocket.close(4000)

    parts = [
        routes(prefix="/api", name="a"),
        RouteContribution(name="b", routes=[WebSocketRoute("/ws", endpoint)], prefix="/api"),
    ]
    for host in (Starlette(), FastAPI(), bare):
        answer = await call(installed(host, *parts), websocket_scope("/api/ws"))
        assert ["websocket.accept", "websocket.close"] == [message["type"] for message in answer.messages]


@pytest.mark.parametrize("host", [Starlette, FastAPI])
async def test_parts_share_a_prefix(host):
    """Contributions under one prefix leave each other's routes reachable."""
    app = installed(
        host(),
        routes(prefix="/api", name="a"),
        routes("/bye", "second", prefix="/api", name="b"),
        routes("/x", "third", prefix="/api/v2", name="c"),
    )
    assert (200, "contributed") == await text(app, "/api/hello")
    assert (200, "second") == await text(app, "/api/bye")
    assert (200, "third") == await text(app, "/api/v2/x")
    assert 404 == (await ask(app, "/api/none")).status
    assert 405 == (await ask(app, "/api/hello", "DELETE")).status


@pytest.mark.parametrize("host", [Starlette, FastAPI])
async def test_a_slash_too_many_redirects(host):
    """A path with a slash too many is redirected, as for the host's own routes."""
    app = installed(host(), routes(prefix="/api"))
    answer = await ask(app, "/api/hello/")
    assert (307, "http://testserver/api/hello") == (answer.status, answer.headers["location"])


async def test_the_hosts_own_routes_come_first():
    """The author of the application has the last word."""
    app = installed(Starlette(routes=[Route("/hello", page("own"))]), routes())
    assert (200, "own") == await text(app)


@pytest.mark.parametrize(
    ("host", "made"),
    [
        (Starlette, [Route("/hello", page("contributed"))]),
        (FastAPI, [Route("/hello", page("contributed"))]),
        (FastAPI, fast_router()),
    ],
    ids=["routes for starlette", "routes for fastapi", "fastapi router"],
)
@pytest.mark.parametrize(
    "everything",
    [Mount("/", app=bare), Route("/{path:path}", page("everything", 404)), Mount("", app=bare)],
    ids=["mount at the root", "page for every path", "mount without a path"],
)
async def test_what_answers_everything_comes_last(host, everything, made):
    """Contributed routes come before a front end at the root, and the host's own order is kept."""
    app = host()
    app.router.routes += [Route("/own", page("own")), everything]
    installed(app, RouteContribution(name="hello", routes=made))
    assert (200, "contributed") == await text(app)
    assert (200, "own") == await text(app, "/own")
    assert 404 == (await ask(app, "/else")).status


@pytest.mark.parametrize("host", [Starlette, FastAPI])
async def test_a_second_application_on_one_host_doubles_nothing(host):
    """Tests make several applications around one host; an equal contribution is installed once."""
    app = host()
    made = fast_router() if host is FastAPI else [Route("/hello", page("contributed"))]
    handler = page("handled")
    for _ in range(2):
        installed(
            app,
            RouteContribution(name="hello", routes=made, provenance=Provenance("acme", "1")),
            ErrorHandlerContribution(name="errors", exception=KeyError, handler=handler),
        )
    own = len(host().router.routes)
    assert own + 1 == len(app.router.routes)


async def test_a_host_of_no_framework_comes_after_the_routes():
    """The host answers all other paths, and all methods that no contributed route has."""
    app = installed(bare, routes())
    assert (200, "contributed") == await text(app)
    assert (404, "bare GET") == await text(app, "/other")
    assert (404, "bare POST") == await text(app, method="POST")


async def test_a_host_of_no_framework_without_routes():
    """Without contributions the host itself is served."""
    assert bare is installed(bare)


async def test_a_function_that_takes_the_host():
    """A function with a parameter gets the host, of every kind."""

    def fitting(host):
        return [Route("/hello", page(type(host).__name__))]

    part = RouteContribution(name="hello", routes=fitting)
    assert (200, "Starlette") == await text(installed(Starlette(), part))
    assert (200, "FastAPI") == await text(installed(FastAPI(), part))
    assert (200, "function") == await text(installed(bare, part))


async def test_a_function_with_defaults():
    """A function with defaults for all parameters is called without the host."""

    def plain(text="its own"):
        return [Route("/hello", page(text))]

    assert (200, "its own") == await text(installed(Starlette(), RouteContribution(name="hello", routes=plain)))


async def test_a_function_of_any_arguments():
    """A function that takes any number of arguments is called without the host."""

    def variadic(*hosts, **names):
        return [Route("/hello", page(f"{len(hosts)} hosts"))]

    app = installed(Starlette(), RouteContribution(name="hello", routes=variadic))
    assert (200, "0 hosts") == await text(app)


class Unreadable:
    """A callable without a readable signature, as many that are written in C."""

    __signature__ = "none"

    def __call__(self):
        return [Route("/hello", page("contributed"))]


async def test_a_function_without_a_signature():
    """Without a readable signature the function is called without arguments."""
    assert (200, "contributed") == await text(
        installed(Starlette(), RouteContribution(name="hello", routes=Unreadable()))
    )


def test_no_app_shows_tracebacks_in_production():
    """Neither the host nor a mounted app, at any depth and behind any wrapper, may have the debug mode on."""
    inner = Starlette(debug=True)
    host = Starlette(routes=[Mount("/api", Starlette(routes=[Mount("/deep", inner)]))])
    install_routes(host, [], [])
    install_routes(Starlette(), [], [], production=True)
    with pytest.raises(PlanError, match="the app mounted at '/api/deep', a Starlette, has debug=True"):
        install_routes(host, [], [], production=True)
    with pytest.raises(PlanError, match="the host, a FastAPI, has debug=True"):
        install_routes(FastAPI(debug=True), [], [], production=True)
    with pytest.raises(PlanError, match="the host, a FastAPI, has debug=True"):
        install_routes(GZipMiddleware(FastAPI(debug=True)), [], [], production=True)


def test_an_app_mounted_in_itself_is_checked_once():
    """A circle of mounts doesn't keep the check for debug mode from ending."""
    host = Starlette(debug=True)
    host.mount("/again", host)
    with pytest.raises(PlanError) as raised:
        install_routes(host, [], [], production=True)
    assert 1 == len(raised.value.problems)


async def test_debug_reaches_the_app_in_front():
    """The app for contributed routes has the debug mode of the settings."""
    part = RouteContribution(name="hello", routes=[Route("/hello", failing(KeyError("here")))])
    for debug in (True, False):
        app, _ = install_routes(bare, [part], [], debug=debug)
        messages = await read_failed(app, "/hello")
        assert debug == (b"KeyError" in messages)


async def broken():
    return []


def stranger():
    return [Route("/fine", page("fine")), "/hello"]


def raising():
    raise OSError("no table")


@pytest.mark.parametrize(
    ("made", "cause"),
    [
        (raising, "OSError: no table"),
        (stranger, "'/hello' is no Starlette route"),
        (broken, "the function that makes them is async, and there is no event loop yet"),
        (lambda: None, "TypeError: 'NoneType' object is not iterable"),
    ],
)
async def test_routes_that_cannot_be_made_are_problems(made, cause):
    """A problem has the contribution, the distribution and the way to leave it out; all are reported at once."""
    host = Starlette()
    parts = [
        routes("/first", name="first"),
        RouteContribution(name="bad", routes=made, provenance=Provenance("acme", "1.0")),
        RouteContribution(name="worse", routes=raising),
    ]
    with pytest.raises(PlanError) as raised:
        install_routes(host, parts, [])
    first, second = raised.value.problems
    assert (f"routes 'bad' (acme 1.0) can't be had: {cause}.", "bad") == (first.message, first.subject)
    assert ("Mend them, or leave them out with disable={'bad'}.", "worse") == (first.hint, second.subject)
    assert [] == host.routes


async def test_routes_that_failed_once_may_work_later():
    """A failure leaves the host unchanged."""
    fail = [True]

    def made():
        if fail:
            raise OSError(fail.pop())
        return [Route("/hello", page("contributed"))]

    host, part = Starlette(), RouteContribution(name="hello", routes=made)
    with pytest.raises(PlanError):
        install_routes(host, [part], [])
    assert (200, "contributed") == await text(installed(host, part))


class Teapot:
    """A middleware that answers everything."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 418, "headers": []})
        await send({"type": "http.response.body", "body": b"teapot"})


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize("host", [Starlette, FastAPI])
@pytest.mark.parametrize("kind", [Router, Starlette])
async def test_a_router_keeps_its_middleware(kind, host, prefix):
    """The middleware of a contributed router or app stands around its routes, and around no other path."""
    made = kind(routes=[Route("/hello", page("contributed"))], middleware=[Middleware(Teapot)])
    app = installed(host(), RouteContribution(name="hello", routes=made, prefix=prefix))
    assert (418, "teapot") == await text(app, f"{prefix}/hello")
    assert 404 == (await ask(app, f"{prefix}/other")).status
