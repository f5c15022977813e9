"""Tests of bandmaster.kernel.hosting.error_handlers."""

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from tests.kernel.asking import ask, websocket_scope
from tests.kernel.hosting.apps import bare, composed, failing, handling, installed, read_failed, text

from bandmaster.kernel.contributions.model import ErrorHandlerContribution, RouteContribution
from bandmaster.kernel.hosting.error_handlers import share_error_handlers
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


def handler_for(exception, text="handled"):
    return ErrorHandlerContribution(name="errors", exception=exception, handler=handling(text))


@pytest.mark.parametrize("host", [Starlette, FastAPI])
@pytest.mark.parametrize("own", [500, Exception])
@pytest.mark.parametrize("contributed", [500, Exception])
async def test_the_hosts_own_handler_for_what_nobody_handles(host, own, contributed):
    """Status 500 and Exception are one place in the frameworks: the host's own handler for either stays."""
    app = host(routes=[Route("/hello", failing(KeyError()))], exception_handlers={own: handling("own")})
    _, warnings = install_routes(app, [], [handler_for(contributed)])
    name = "status 500" if own == 500 else "Exception"
    assert [f"error handler 'errors' (in code) gives way to the host's own for {name}"] == warnings
    assert b"own" == await read_failed(app, "/hello")


@pytest.mark.parametrize("first", [500, Exception])
@pytest.mark.parametrize("second", [500, Exception])
async def test_what_nobody_handles_after_an_earlier_application(first, second):
    """The latest application's handler answers, whichever of the two keys each application has used."""
    app = Starlette(routes=[Route("/hello", failing(KeyError()))])
    for key, name in ((first, "first"), (second, "second"), (first, "third")):
        assert [] == install_routes(app, [], [handler_for(key, name)])[1]
        assert name.encode() == await read_failed(app, "/hello")


class _Teapot(HTTPException):
    """An exception that may have a handler in a framework's app."""


@pytest.mark.parametrize(
    ("own", "contributed", "error"),
    [
        pytest.param(LookupError, KeyError, KeyError(), id="base class"),
        pytest.param(HTTPException, 418, HTTPException(418), id="status of any"),
        pytest.param(_Teapot, 418, _Teapot(418), id="status of a subclass"),
        pytest.param(HTTPException, _Teapot, _Teapot(418), id="subclass"),
        pytest.param(418, HTTPException, HTTPException(418), id="own status"),
        pytest.param(_Teapot, HTTPException, _Teapot(418), id="own subclass"),
        pytest.param(KeyError, LookupError, KeyError(), id="own is narrower"),
    ],
)
async def test_an_exception_that_the_host_has_answered_so_far(own, contributed, error):
    """An exception for which the host has a handler is answered by that, also where the other one is more specific."""
    app = Starlette(routes=[Route("/hello", failing(error))], exception_handlers={own: handling("own")})
    _, warnings = install_routes(app, [], [handler_for(contributed)])
    assert (500, "own") == await text(app)
    shadowed = own in (LookupError, HTTPException) or contributed == 418
    assert (
        [f"error handler 'errors' (in code) gives way to the host's own for {own.__name__}"] if shadowed else []
    ) == (warnings)


async def test_the_hosts_handler_for_what_nobody_handles_leaves_room():
    """A host's own handler for Exception doesn't keep a contributed one for an exception from answering."""
    app = Starlette(routes=[Route("/hello", failing(KeyError()))], exception_handlers={Exception: handling("own")})
    assert [] == install_routes(app, [], [handler_for(KeyError), handler_for(418)])[1]
    assert (500, "handled") == await text(app)


async def test_a_handler_without_a_module():
    """A host's own handler may be an object that belongs to no module."""

    class Handler:
        __module__ = None

        async def __call__(self, request, error):
            return PlainTextResponse("own", 500)

    app = Starlette(routes=[Route("/hello", failing(KeyError()))], exception_handlers={KeyError: Handler()})
    _, warnings = install_routes(app, [], [handler_for(KeyError)])
    assert 1 == len(warnings)
    assert (500, "own") == await text(app)


def mounted(error=None, **options):
    """A host and an app mounted in it that raises."""
    inner = Starlette(routes=[Route("/hello", failing(error or KeyError()))], **options)
    return Starlette(routes=[Mount("/in", inner)]), inner


async def answer_of_mounted(app):
    async with app.running():
        return await text(app, "/in/hello")


async def test_a_mounted_app_shares_the_error_handlers():
    """A mounted app that asks for them has the error handlers of the plan, as the host has."""
    host, inner = mounted()
    share_error_handlers(inner)
    app = composed(handler_for(KeyError), host=host)
    assert (500, "handled") == await answer_of_mounted(app)


async def test_a_mounted_app_keeps_its_own_handlers():
    """A mounted app's own handlers come first, and a warning names where the app is mounted."""
    host, inner = mounted(exception_handlers={500: handling("own")})
    share_error_handlers(inner, [handler_for(Exception, "given")])
    app = composed(handler_for(Exception), host=host)
    assert [
        "error handler 'errors' (in code) gives way to that of the app mounted at '/in' for status 500"
    ] == app.warnings
    async with app.running():
        assert b"own" == await read_failed(app, "/in/hello")


async def test_a_mounted_app_that_does_not_ask_is_left_alone():
    """A mounted app that doesn't ask for the error handlers has none of them."""
    host, _ = mounted(HTTPException(418))
    app = composed(handler_for(418), host=host)
    assert (418, "I'm a Teapot") == await answer_of_mounted(app)


async def test_handlers_that_are_given_at_once():
    """The handlers that are given count for an app that no application serves."""
    host, inner = mounted()
    share_error_handlers(inner, [handler_for(KeyError)])
    assert (500, "handled") == await text(host, "/in/hello")


async def test_an_app_that_is_mounted_after_the_plan_was_made():
    """An app that is mounted later shares the error handlers from the start on."""
    _, inner = mounted()
    outer = Starlette()
    app = composed(handler_for(KeyError), host=outer)
    outer.mount("/in", inner)
    share_error_handlers(inner)
    assert (500, "handled") == await answer_of_mounted(app)


async def test_an_app_of_contributed_routes_in_front_of_a_bare_host():
    """An app that contributed routes mount shares the error handlers, also where the host is no framework's."""
    _, inner = mounted()
    share_error_handlers(inner)
    app = composed(handler_for(KeyError), RouteContribution(name="in", routes=[Mount("/in", inner)]), host=bare)
    assert (500, "handled") == await answer_of_mounted(app)


async def test_an_app_inside_a_wrapper_shares_the_error_handlers():
    """A host that is a framework's app inside a wrapper can have the error handlers in the app."""

    class Wrapper:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)

    host, _ = mounted()
    host.add_route("/own", failing(KeyError()))
    share_error_handlers(host)
    app = composed(handler_for(Exception), host=Wrapper(host))
    async with app.running():
        assert b"handled" == await read_failed(app, "/own")


async def test_a_host_that_is_an_exception_middleware():
    """Starlette's ExceptionMiddleware takes handlers and is no framework's app: it is wrapped as any other host."""
    host = ExceptionMiddleware(bare, handlers={KeyError: handling("own")})
    part = RouteContribution(name="hello", routes=[Route("/hello", failing(KeyError()))])
    app = installed(host, part, handler_for(KeyError))
    assert (500, "handled") == await text(app)
    assert (404, "bare GET") == await text(app, "/other")


def test_an_app_that_takes_no_handlers():
    """Sharing with an app that takes no error handlers is an error."""
    with pytest.raises(ValueError, match="expected a Starlette or FastAPI app, got <function bare"):
        share_error_handlers(bare)
