"""Step 1: one component, started before the first request and stopped after the last."""

from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from bandmaster.kernel import Application, LifespanBand, create_app, lifespan


class Greeter:
    """Something that has to be opened and closed: a pool, a client, a model in memory."""

    def greet(self, name: str) -> str:
        return f"Hello, {name}!"


@lifespan(band=LifespanBand.SERVICES)
async def greeter() -> AsyncIterator[Greeter]:
    """Greets people by name."""
    print("the greeter opens")  # noqa: T201
    yield Greeter()
    print("the greeter closes")  # noqa: T201


async def hello(request: Request) -> PlainTextResponse:
    greeter = request.state.resources[Greeter]
    return PlainTextResponse(greeter.greet(request.path_params["name"]))


def app() -> Application:
    return create_app(Starlette(routes=[Route("/hello/{name}", hello)]), contributions=[greeter])
