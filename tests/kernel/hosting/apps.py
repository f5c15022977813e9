"""Apps and applications for the tests of hosting."""

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.kernel.asking import ask, http_scope

from bandmaster.kernel import events
from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.decorators import lifespan
from bandmaster.kernel.contributions.model import ErrorHandlerContribution, RouteContribution
from bandmaster.kernel.hosting.create import create_app
from bandmaster.kernel.hosting.routes import install_routes
from bandmaster.kernel.settings.kernel import KernelSettings


class Database:
    """A resource."""


@lifespan(band=LifespanBand.PERSISTENCE, provides=Database)
async def database():
    yield Database()


async def hello(request):
    return PlainTextResponse("hello")


HELLO = Route("/hello", hello)


def composed(*contributions, host=None, settings=None, **arguments):
    """An application that answers ``/hello``, with all events in the attribute ``seen``."""
    seen = []
    app = create_app(
        host if host is not None else Starlette(routes=[HELLO]),
        contributions=contributions,
        discover=False,
        settings=KernelSettings(**settings or {}),
        listeners=[seen.append],
        **arguments,
    )
    app.seen = seen
    return app


def warned(app):
    return [(event.component, event.message) for event in app.seen if isinstance(event, events.Warned)]


def page(text, status=200):
    """An endpoint that answers with a text."""

    async def endpoint(request):
        return PlainTextResponse(text, status)

    return endpoint


def failing(error):
    """An endpoint that raises."""

    async def endpoint(request):
        raise error

    return endpoint


def handling(text):
    """An exception handler that answers with a text and status 500."""

    async def handler(request, error):
        return PlainTextResponse(text, 500)

    return handler


async def bare(scope, receive, send):
    """An app of no framework."""
    await PlainTextResponse(f"bare {scope['method']}", 404)(scope, receive, send)


async def text(app, path="/hello", method="GET"):
    """Status and text of one response."""
    answer = await ask(app, path, method)
    return answer.status, answer.body.decode().strip('"')


async def read_failed(app, path):
    """The body that an app sends before raising KeyError."""
    body = b""

    async def send(message):
        nonlocal body
        body += message.get("body", b"")

    with pytest.raises(KeyError):
        await app(http_scope(path), None, send)
    return body


def installed(host, *contributions):
    """The app to serve, for a host with contributions and no warning."""
    app, warnings = install_routes(
        host,
        [other for other in contributions if isinstance(other, RouteContribution)],
        [other for other in contributions if isinstance(other, ErrorHandlerContribution)],
    )
    assert [] == warnings
    return app
