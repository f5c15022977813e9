"""Resources of tests, components that provide them, and a request to a host."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Generic, Protocol, TypeVar

from fastapi import FastAPI

from bandmaster.contrib.fastapi import Resource
from bandmaster.kernel import (
    LifespanBand,
    LifespanContribution,
    Scoped,
    create_app,
    lifespan,
)
from bandmaster.kernel.testing import run

T = TypeVar("T")


class Database:
    def __init__(self, name: str = "main") -> None:
        self.name = name


class Cache: ...


class Repository(Generic[T]):
    name = "users"


class Greets(Protocol):
    def greet(self) -> str: ...


class Greeter:
    def greet(self) -> str:
        return "hello"


class Session:
    count = 0

    def __init__(self) -> None:
        type(self).count += 1
        self.events: list[str] = []


def provide(value: Any, kind: Any, name: str = "part") -> LifespanContribution:
    @asynccontextmanager
    async def enter() -> AsyncIterator[Any]:
        yield value

    return LifespanContribution(name=name, factory=enter, band=LifespanBand.PERSISTENCE, provides=(kind,))


async def fetch_json(host: FastAPI, *parts: LifespanContribution, path: str = "/", **options: Any) -> Any:
    async with run(create_app(host, contributions=parts, discover=False, **options)) as running:
        return (await running.client.get(path)).json()


OneSession = Annotated[Session, Resource(scope="request")]


def sessions(events: list[str]) -> LifespanContribution:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Session]:
        events.append("open")
        try:
            yield Session()
        except ZeroDivisionError:
            events.append("rolled back")
            raise
        finally:
            events.append("closed")

    @lifespan(band=LifespanBand.PERSISTENCE)
    async def sessions() -> AsyncIterator[Scoped[Session]]:
        yield Scoped(opened)

    return sessions
