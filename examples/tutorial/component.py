"""Step 1: a component that starts and stops with the application."""

from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from bandmaster.kernel import Application, LifespanBand, create_app, lifespan


class Greeter:
    """Stands for a connection pool, a client or a model."""

    def greet(self, name: str) -> str:
        return f"Hello, {name}!"


@lifespan(band=LifespanBand.SERVICES)
async def greeter() -> AsyncIterator[Greeter]:
    """Greets people by name."""
    print("the greeter opens")
    yield Greeter()
    print("the greeter closes")


async def hello(request: Request) -> PlainTextResponse:
    greeter = request.state.resources[Greeter]
    return PlainTextResponse(greeter.greet(request.path_params["name"]))


def app() -> Application:
    host = Starlette(routes=[Route("/hello/{name}", hello)])
    return create_app(host, contributions=[greeter])
