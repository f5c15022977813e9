"""Tests of bandmaster.kernel.hosting.routes."""

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, Router, WebSocketRoute
from tests.kernel.asking import ask, call, websocket_scope

from bandmaster.kernel.contributions.model import ErrorHandlerContribution, Provenance, RouteContribution
from bandmaster.kernel.errors import PlanError
from bandmaster.kernel.hosting.routes import furnish

pytestmark = pytest.mark.anyio


def page(text, status=200):
    async def endpoint(request):
        return PlainTextResponse(text, status)

    return endpoint


def routes(path="/hello", text="contributed", **fields):
    fields.setdefault("name", "hello")
    return RouteContribution(routes=[Route(path, page(text))], **fields)


def fast_router(path="/hello", text="contributed"):
    router = APIRouter()

    @router.get(path)
    async def hello() -> str:
        return text

    return router


async def bare(scope, receive, send):
    await PlainTextResponse(f"bare {scope['method']}", 404)(scope, receive, send)


async def text(app, path="/hello", method="GET"):
    answer = await ask(app, path, method)
    return answer.status, answer.body.decode().strip('"')


def furnished(host, *parts):
    inner, warnings = furnish(
        host,
        [part for part in parts if isinstance(part, RouteContribution)],
        [part for part in parts if isinstance(part, ErrorHandlerContribution)],
    )
    assert [] == warnings
    return inner


FAST = ("fastapi router", "function for a fastapi router")
HOSTS = [Starlette, FastAPI, Router, lambda: bare]
MADE = {
    "routes": lambda: [Route("/hello", page("contributed"))],
    "router": lambda: Router([Route("/hello", page("contributed"))]),
    "fastapi router": fast_router,
    "function": lambda: lambda: [Route("/hello", page("contributed"))],
    "function for a fastapi router": lambda: fast_router,
    "iterator": lambda: lambda: iter([Route("/hello", page("contributed"))]),
}


@pytest.mark.requirement("FA-4", "FA-6")
@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
@pytest.mark.parametrize("host", HOSTS, ids=["starlette", "fastapi", "router", "bare"])
async def test_every_host_takes_all_kinds_of_routes(host, made, prefix):
    """Starlette routes, routers, FastAPI's routers into FastAPI, functions that make them; with a prefix or without."""
    if made in [MADE[kind] for kind in FAST] and host is not FastAPI:
        return
    app = furnished(host(), RouteContribution(name="hello", routes=made(), prefix=prefix))
    assert (200, "contributed") == await text(app, f"{prefix}/hello")
    assert 404 == (await ask(app, f"{prefix}/other")).status


@pytest.mark.parametrize("host", [Starlette(), bare], ids=["starlette", "bare"])
async def test_a_fastapi_router_needs_a_fastapi_host(host):
    """Elsewhere each of its routes would fail at the first request; so it is said now."""
    part = RouteContribution(name="hello", routes=fast_router())
    with pytest.raises(
        PlanError, match=f"they are a FastAPI router, which the host, a {type(host).__name__}, can't include"
    ):
        furnish(host, [part], [])


@pytest.mark.requirement("FA-6")
async def test_tags_reach_the_openapi_document():
    """Where the host has such a thing."""
    host = FastAPI()
    furnished(host, RouteContribution(name="hello", routes=fast_router(), prefix="/api", tags=("greetings",)))
    assert ["greetings"] == host.openapi()["paths"]["/api/hello"]["get"]["tags"]


async def test_a_websocket_route_is_found():
    """Also under a prefix that others share."""

    async def endpoint(websocket):
        await websocket.accept()
        await websocket.close(4000)

    parts = [
        routes(prefix="/api", name="a"),
        RouteContribution(name="b", routes=[WebSocketRoute("/ws", endpoint)], prefix="/api"),
    ]
    for host in (Starlette(), FastAPI(), bare):
        answer = await call(furnished(host, *parts), websocket_scope("/api/ws"))
        assert ["websocket.accept", "websocket.close"] == [message["type"] for message in answer.messages]


@pytest.mark.parametrize("host", [Starlette, FastAPI])
async def test_parts_share_a_prefix(host):
    """None swallows what stands under a prefix after it: another part's, nor the host's."""
    app = furnished(
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
    """As for the host's own routes."""
    app = furnished(host(), routes(prefix="/api"))
    answer = await ask(app, "/api/hello/")
    assert (307, "http://testserver/api/hello") == (answer.status, answer.headers["location"])


async def test_the_hosts_own_routes_come_first():
    """Who writes the application has the last word."""
    app = furnished(Starlette(routes=[Route("/hello", page("own"))]), routes())
    assert (200, "own") == await text(app)


@pytest.mark.parametrize(
    "made", [[Route("/hello", page("contributed"))], fast_router()], ids=["routes", "fastapi router"]
)
@pytest.mark.parametrize("host", [Starlette, FastAPI])
@pytest.mark.parametrize(
    "everything",
    [Mount("/", app=bare), Route("/{path:path}", page("everything", 404)), Mount("", app=bare)],
    ids=["mount at the root", "page for every path", "mount without a path"],
)
async def test_what_answers_everything_comes_last(host, everything, made):
    """A front end at the root leaves contributed routes reachable, and the host's own order as it was."""
    if isinstance(made, APIRouter) and host is not FastAPI:
        return
    app = host()
    app.router.routes += [Route("/own", page("own")), everything]
    furnished(app, RouteContribution(name="hello", routes=made))
    assert (200, "contributed") == await text(app)
    assert (200, "own") == await text(app, "/own")
    assert 404 == (await ask(app, "/else")).status


@pytest.mark.parametrize("host", [Starlette, FastAPI])
async def test_a_second_application_on_one_host_doubles_nothing(host):
    """Tests make one after the other, and what is installed is loaded anew each time."""
    app = host()
    made = fast_router() if host is FastAPI else [Route("/hello", page("contributed"))]
    handler = page("handled")
    for _ in range(2):
        furnished(
            app,
            RouteContribution(name="hello", routes=made, provenance=Provenance("acme", "1")),
            ErrorHandlerContribution(name="errors", exception=KeyError, handler=handler),
        )
    own = len(host().router.routes)
    assert own + 1 == len(app.router.routes)


async def test_a_host_that_is_no_framework_stands_behind_the_routes():
    """It answers all other paths, and all methods that no contributed route has."""
    app = furnished(bare, routes())
    assert (200, "contributed") == await text(app)
    assert (404, "bare GET") == await text(app, "/other")
    assert (404, "bare POST") == await text(app, method="POST")
    assert ["/hello"] == [route.path for route in app.routes]


async def test_a_host_that_is_no_framework_stays_itself_without_routes():
    """Nothing stands before it for nothing."""
    assert bare is furnished(bare)


@pytest.mark.requirement("FA-3")
@pytest.mark.parametrize("exception", [KeyError, 418, Exception, 500])
async def test_error_handlers_answer_for_a_host_that_takes_none(exception):
    """They stand around it as they stand around Starlette's router, the last of them outermost."""

    async def host(scope, receive, send):
        if scope["path"] == "/fine":
            await PlainTextResponse("fine")(scope, receive, send)
        elif exception == 418:
            raise HTTPException(418)
        else:
            raise KeyError

    handler = ErrorHandlerContribution(name="errors", exception=exception, handler=handling("handled"))
    app = furnished(host, handler)
    assert (200, "fine") == await text(app, "/fine")
    if exception in (Exception, 500):  # raised again, for the server to log
        assert b"handled" == await swallow(app, "/broken")
    else:
        assert (500, "handled") == await text(app, "/broken")


async def test_a_host_that_has_begun_to_answer_is_not_answered_for():
    """What its error was is not lost, and there is no second start."""

    async def host(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise KeyError("mine")

    handler = ErrorHandlerContribution(name="errors", exception=Exception, handler=handling("handled"))
    with pytest.raises(KeyError, match="mine"):
        await ask(furnished(host, handler), "/")


async def test_websockets_and_lifespans_pass_to_a_host_behind_error_handlers():
    """Neither is a request that could be answered for."""
    seen = []

    async def host(scope, receive, send):
        seen.append(scope["type"])

    app = furnished(host, ErrorHandlerContribution(name="errors", exception=Exception, handler=handling("")))
    await app(websocket_scope("/"), None, None)
    await app({"type": "lifespan"}, None, None)
    assert ["websocket", "lifespan"] == seen


async def test_routes_may_fit_the_host():
    """A function of one argument is given the host, whatever it is."""

    def fitting(host):
        return [Route("/hello", page(type(host).__name__))]

    part = RouteContribution(name="hello", routes=fitting)
    assert (200, "Starlette") == await text(furnished(Starlette(), part))
    assert (200, "FastAPI") == await text(furnished(FastAPI(), part))
    assert (200, "function") == await text(furnished(bare, part))


async def test_a_function_with_defaults_is_given_nothing():
    """It was written without the host in mind."""

    def plain(text="its own"):
        return [Route("/hello", page(text))]

    assert (200, "its own") == await text(furnished(Starlette(), RouteContribution(name="hello", routes=plain)))


class Unreadable:
    """Callable, and inspect can't tell how: much of what is written in C."""

    __signature__ = "none"

    def __call__(self):
        return [Route("/hello", page("contributed"))]


async def test_a_function_that_cannot_be_read_is_given_nothing():
    """It is called as it always was."""
    assert (200, "contributed") == await text(
        furnished(Starlette(), RouteContribution(name="hello", routes=Unreadable()))
    )


def test_no_app_shows_tracebacks_in_production():
    """Neither the host nor what is mounted in it, however deep; elsewhere they may."""
    inner = Starlette(debug=True)
    host = Starlette(routes=[Mount("/api", Starlette(routes=[Mount("/deep", inner)]))])
    furnish(host, [], [])
    furnish(Starlette(), [], [], production=True)
    with pytest.raises(PlanError, match="the app mounted at '/deep', a Starlette, has debug=True"):
        furnish(host, [], [], production=True)
    with pytest.raises(PlanError, match="the host, a FastAPI, has debug=True"):
        furnish(FastAPI(debug=True), [], [], production=True)


def test_an_app_mounted_in_itself_is_looked_at_to_a_depth():
    """A circle of mounts has no end."""
    host = Starlette()
    host.mount("/again", host)
    furnish(host, [], [], production=True)


async def test_error_handlers_answer_for_contributed_routes_of_any_host():
    """Even where the host itself can't have them."""
    part = RouteContribution(name="hello", routes=[Route("/hello", failing(KeyError()))])
    handler = ErrorHandlerContribution(name="errors", exception=KeyError, handler=handling("handled"))
    assert (500, "handled") == await text(furnished(bare, part, handler))


async def test_debug_reaches_the_app_in_front():
    """Its errors show a traceback where those of a host made here would."""
    part = RouteContribution(name="hello", routes=[Route("/hello", failing(KeyError("here")))])
    for debug in (True, False):
        app, _ = furnish(bare, [part], [], debug=debug)
        messages = await swallow(app, "/hello")
        assert debug == (b"KeyError" in messages)


async def swallow(app, path):
    body = b""

    async def send(message):
        nonlocal body
        body += message.get("body", b"")

    from tests.kernel.asking import http_scope

    with pytest.raises(KeyError):
        await app(http_scope(path), None, send)
    return body


def failing(error):
    async def endpoint(request):
        raise error

    return endpoint


def handling(said):
    async def handler(request, error):
        return PlainTextResponse(said, 500)

    return handler


@pytest.mark.parametrize("host", [Starlette, FastAPI])
@pytest.mark.parametrize(
    ("exception", "error"), [(KeyError, KeyError()), (404, HTTPException(404)), (LookupError, KeyError())]
)
@pytest.mark.requirement("FA-3")
async def test_an_error_handler_answers(host, exception, error):
    """For an exception's type, its subclasses, and for a status."""
    app = host()
    app.router.routes.append(Route("/hello", failing(error)))
    furnished(app, ErrorHandlerContribution(name="errors", exception=exception, handler=handling("handled")))
    assert (500, "handled") == await text(app)


async def test_a_handler_that_comes_late_still_answers():
    """A host that has served before, in another test, has its handlers fixed; they are made anew."""
    app = Starlette(routes=[Route("/hello", failing(KeyError()))])
    with pytest.raises(KeyError):
        await ask(app)
        await ask(app, "/hello")
    furnished(app, ErrorHandlerContribution(name="errors", exception=KeyError, handler=handling("handled")))
    assert (500, "handled") == await text(app)


async def test_the_hosts_own_error_handler_comes_first():
    """Who writes the application has the last word, and is told who gave way."""
    app = Starlette(routes=[Route("/hello", failing(KeyError()))], exception_handlers={KeyError: handling("own")})
    _, warnings = furnish(
        app, [], [ErrorHandlerContribution(name="errors", exception=KeyError, handler=handling("handled"))]
    )
    assert ["error handler 'errors' (in code) gives way to the host's own for KeyError"] == warnings
    assert (500, "own") == await text(app)


async def test_a_frameworks_default_gives_way():
    """FastAPI brings handlers that nobody has chosen."""
    app = FastAPI()
    app.router.routes.append(Route("/hello", failing(HTTPException(418))))
    furnished(app, ErrorHandlerContribution(name="errors", exception=HTTPException, handler=handling("handled")))
    assert (500, "handled") == await text(app)


async def test_a_handler_of_an_earlier_application_gives_way():
    """The host belongs to the application that runs now."""
    app = Starlette(routes=[Route("/hello", failing(KeyError()))])
    for said in ("first", "second"):
        handler = handling(said)
        furnished(app, ErrorHandlerContribution(name=said, exception=KeyError, handler=handler))
    assert (500, "second") == await text(app)
    furnished(app, ErrorHandlerContribution(name="again", exception=KeyError, handler=handler))


async def broken():
    return []


def stranger():
    return [Route("/fine", page("fine")), "/hello"]


def raising():
    raise OSError("no table")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (raising, "OSError: no table"),
        (stranger, "'/hello' is no Starlette route"),
        (broken, "the function that makes them is async, and there is no event loop yet"),
        (lambda: None, "TypeError: 'NoneType' object is not iterable"),
    ],
)
async def test_routes_that_cannot_be_had_are_problems(made, said):
    """The error names the part, who brought it, and how to do without it; the cause of all comes at once."""
    host = Starlette()
    parts = [
        routes("/first", name="first"),
        RouteContribution(name="bad", routes=made, provenance=Provenance("acme", "1.0")),
        RouteContribution(name="worse", routes=raising),
    ]
    with pytest.raises(PlanError) as raised:
        furnish(host, parts, [])
    first, second = raised.value.problems
    assert (f"routes 'bad' (acme 1.0) can't be had: {said}.", "bad") == (first.message, first.subject)
    assert ("Mend them, or leave them out with disable={'bad'}.", "worse") == (first.hint, second.subject)
    assert [] == host.routes


async def test_routes_that_failed_once_may_work_later():
    """A failure leaves no mark on the host."""
    fail = [True]

    def made():
        if fail:
            raise OSError(fail.pop())
        return [Route("/hello", page("contributed"))]

    host, part = Starlette(), RouteContribution(name="hello", routes=made)
    with pytest.raises(PlanError):
        furnish(host, [part], [])
    assert (200, "contributed") == await text(furnished(host, part))


async def test_two_handlers_for_one_exception_are_a_problem():
    """Which of them answers must not depend on their names."""
    parts = [
        ErrorHandlerContribution(name="a", exception=KeyError, handler=page("a"), provenance=Provenance("acme", "1.0")),
        ErrorHandlerContribution(name="b", exception=KeyError, handler=page("b")),
        ErrorHandlerContribution(name="c", exception=404, handler=page("c")),
        ErrorHandlerContribution(name="d", exception=404, handler=page("d")),
    ]
    with pytest.raises(PlanError) as raised:
        furnish(Starlette(), [], parts)
    assert [
        "error handlers 'a' (acme 1.0) and 'b' (in code) are both for KeyError. Disable one, as in disable={'a'}.",
        "error handlers 'c' (in code) and 'd' (in code) are both for status 404. Disable one, as in disable={'c'}.",
    ] == [str(problem) for problem in raised.value.problems]
