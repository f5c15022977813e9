"""Step 2: a component needs another component, and settings."""

from collections.abc import AsyncIterator

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from bandmaster.kernel import (
    Application,
    Context,
    LifespanBand,
    create_app,
    lifespan,
)


class GreetingSettings(BaseSettings):
    """Read from environment variables that begin with ``GREETING_``."""

    model_config = SettingsConfigDict(env_prefix="GREETING_")

    word: str = Field(default="Hello", description="The first word of a greeting.")


class Guests:
    """Stands for a database: remembers who was greeted."""

    def __init__(self) -> None:
        self.names: list[str] = []

    async def ping(self) -> None:
        """Raise an exception if the database can't be reached."""


class Greeter:
    def __init__(self, word: str, guests: Guests) -> None:
        self._word = word
        self._guests = guests

    def greet(self, name: str) -> str:
        self._guests.names.append(name)
        number = len(self._guests.names)
        return f"{self._word}, {name}! You are guest number {number}."


@lifespan(band=LifespanBand.PERSISTENCE, start_timeout=10)
async def guests(context: Context) -> AsyncIterator[Guests]:
    """Remembers the guests."""
    guests = Guests()
    context.add_probe("guests", guests.ping)
    yield guests


@lifespan(band=LifespanBand.SERVICES)
async def greeter(
    settings: GreetingSettings,
    guests: Guests,
) -> AsyncIterator[Greeter]:
    """Greets people by name and counts them."""
    yield Greeter(settings.word, guests)


async def hello(request: Request) -> PlainTextResponse:
    greeter = request.state.resources[Greeter]
    return PlainTextResponse(greeter.greet(request.path_params["name"]))


def app() -> Application:
    host = Starlette(routes=[Route("/hello/{name}", hello)])
    return create_app(host, contributions=[guests, greeter])
