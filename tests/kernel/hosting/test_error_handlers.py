"""Tests of bandmaster.kernel.hosting.error_handlers."""

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.kernel.asking import ask, websocket_scope
from tests.kernel.hosting.apps import bare, failing, handling, installed, page, read_failed, text

from bandmaster.kernel.contributions.model import ErrorHandlerContribution, Provenance, RouteContribution
from bandmaster.kernel.errors import PlanError
from bandmaster.kernel.hosting.routes import install_routes

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("FA-3")
@pytest.mark.parametrize("exception", [KeyError, 418, Exception, 500])
async def test_error_handlers_answer_for_a_host_that_takes_none(exception):
    """Error handlers are put around such a host in the order of Starlette's middleware."""

    async def host(scope, receive, send):
        if scope["path"] == "/fine":
            await PlainTextResponse("fine")(scope, receive, send)
        elif exception == 418:
            raise HTTPException(418)
        else:
            raise KeyError

    handler = ErrorHandlerContribution(name="errors", exception=exception, handler=handling("handled"))
    app = installed(host, handler)
    assert (200, "fine") == await text(app, "/fine")
    if exception in (Exception, 500):  # raised again, for the server to log
        assert b"handled" == await read_failed(app, "/broken")
    else:
        assert (500, "handled") == await text(app, "/broken")


async def test_an_error_that_no_handler_is_for():
    """An error without a handler reaches the server, and nothing is answered."""

    async def host(scope, receive, send):
        raise KeyError("mine")

    app = installed(host, ErrorHandlerContribution(name="errors", exception=OSError, handler=handling("handled")))
    assert b"" == await read_failed(app, "/")


async def test_an_error_after_the_start_of_the_response():
    """Once the response has started, the host's error is raised, and there is no second start."""

    async def host(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise KeyError("mine")

    handler = ErrorHandlerContribution(name="errors", exception=Exception, handler=handling("handled"))
    with pytest.raises(KeyError, match="mine"):
        await ask(installed(host, handler), "/")


async def test_websockets_and_lifespans_pass_to_a_host_behind_error_handlers():
    """WebSockets and lifespans reach the host unchanged."""
    seen = []

    async def host(scope, receive, send):
        seen.append(scope["type"])

    app = installed(host, ErrorHandlerContribution(name="errors", exception=Exception, handler=handling("")))
    await app(websocket_scope("/"), None, None)
    await app({"type": "lifespan"}, None, None)
    assert ["websocket", "lifespan"] == seen


async def test_error_handlers_answer_for_contributed_routes_of_any_host():
    """Error handlers answer for contributed routes, also where the host takes none."""
    part = RouteContribution(name="hello", routes=[Route("/hello", failing(KeyError()))])
    handler = ErrorHandlerContribution(name="errors", exception=KeyError, handler=handling("handled"))
    assert (500, "handled") == await text(installed(bare, part, handler))


@pytest.mark.parametrize("host", [Starlette, FastAPI])
@pytest.mark.parametrize(
    ("exception", "error"), [(KeyError, KeyError()), (404, HTTPException(404)), (LookupError, KeyError())]
)
@pytest.mark.requirement("FA-3")
async def test_an_error_handler_answers(host, exception, error):
    """A handler answers for an exception's type, for subclasses, or for a status."""
    app = host()
    app.router.routes.append(Route("/hello", failing(error)))
    installed(app, ErrorHandlerContribution(name="errors", exception=exception, handler=handling("handled")))
    assert (500, "handled") == await text(app)


async def test_a_handler_that_comes_late_still_answers():
    """A handler also reaches a host that has served before, with the middleware already built."""
    app = Starlette(routes=[Route("/hello", failing(KeyError()))])
    with pytest.raises(KeyError):
        await ask(app)
        await ask(app, "/hello")
    installed(app, ErrorHandlerContribution(name="errors", exception=KeyError, handler=handling("handled")))
    assert (500, "handled") == await text(app)


async def test_the_hosts_own_error_handler_comes_first():
    """The host's own handler counts, and a warning names the contribution that gave way."""
    app = Starlette(routes=[Route("/hello", failing(KeyError()))], exception_handlers={KeyError: handling("own")})
    _, warnings = install_routes(
        app, [], [ErrorHandlerContribution(name="errors", exception=KeyError, handler=handling("handled"))]
    )
    assert ["error handler 'errors' (in code) gives way to the host's own for KeyError"] == warnings
    assert (500, "own") == await text(app)


async def test_a_frameworks_default_gives_way():
    """A handler that FastAPI itself brings gives way."""
    app = FastAPI()
    app.router.routes.append(Route("/hello", failing(HTTPException(418))))
    installed(app, ErrorHandlerContribution(name="errors", exception=HTTPException, handler=handling("handled")))
    assert (500, "handled") == await text(app)


async def test_a_handler_of_an_earlier_application_gives_way():
    """The handlers of the latest application count, also where an earlier one had an equal handler."""
    app = Starlette(routes=[Route("/hello", failing(KeyError()))])
    first, second = handling("first"), handling("second")
    for name, handler in (("first", first), ("second", second), ("first", first)):
        installed(app, ErrorHandlerContribution(name=name, exception=KeyError, handler=handler))
        assert (500, name) == await text(app)


async def test_a_handler_that_the_host_has_itself():
    """A contributed handler that is the host's own gives no warning."""
    own = handling("own")
    app = Starlette(routes=[Route("/hello", failing(KeyError()))], exception_handlers={KeyError: own})
    installed(app, ErrorHandlerContribution(name="errors", exception=KeyError, handler=own))
    assert (500, "own") == await text(app)


async def test_two_handlers_for_one_exception_are_a_problem():
    """Two handlers for one exception are a problem, since their names would decide."""
    parts = [
        ErrorHandlerContribution(name="a", exception=KeyError, handler=page("a"), provenance=Provenance("acme", "1.0")),
        ErrorHandlerContribution(name="b", exception=KeyError, handler=page("b")),
        ErrorHandlerContribution(name="c", exception=404, handler=page("c")),
        ErrorHandlerContribution(name="d", exception=404, handler=page("d")),
    ]
    with pytest.raises(PlanError) as raised:
        install_routes(Starlette(), [], parts)
    assert [
        "error handlers 'a' (acme 1.0) and 'b' (in code) are both for KeyError. Disable one, as in disable={'a'}.",
        "error handlers 'c' (in code) and 'd' (in code) are both for status 404. Disable one, as in disable={'c'}.",
    ] == [str(problem) for problem in raised.value.problems]
