"""Parts that the tests of this folder describe."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

import pytest
from starlette.middleware.base import BaseHTTPMiddleware

from bandmaster.kernel import (
    ErrorHandlerContribution,
    LifespanBand,
    LifespanContribution,
    MiddlewareBand,
    MiddlewareContribution,
    RouteContribution,
)

T = TypeVar("T")
SERVICES = LifespanBand.SERVICES
POLICY = MiddlewareBand.POLICY


class Database: ...


class Repository(Generic[T]): ...


async def database() -> AsyncIterator[Database]:
    """Owns the pool.

    And more about it.
    """
    yield Database()


@asynccontextmanager
async def managed() -> AsyncIterator[Database]:
    yield Database()


class Starts:
    async def __aenter__(self) -> Database:
        return Database()

    async def __aexit__(self, *exc: object) -> None: ...


class Called:
    """Makes a database when called."""

    async def __call__(self) -> AsyncIterator[Database]:
        yield Database()

    async def method(self) -> AsyncIterator[Database]:
        yield Database()

    @staticmethod
    async def static() -> AsyncIterator[Database]:
        yield Database()


class Adds:
    def on_request(self, exchange: object) -> None: ...


class Passes:
    """Passes everything on.

    Without looking at it.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class Dispatches(BaseHTTPMiddleware): ...


def refused(message, make, *arguments, **keywords):
    """The call is refused with that message, to which decorators add the place."""
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}( \([^()]+:\d+\))?$"):
        make(*arguments, **keywords)


def component(**fields):
    return LifespanContribution(**{"name": "database", "factory": database, "band": SERVICES, **fields})


def layer(**fields):
    return MiddlewareContribution(**{"name": "adds", "layer": Adds, "band": POLICY, **fields})


def routes(**fields):
    return RouteContribution(**{"name": "orders", "routes": [], **fields})


def handler(**fields):
    return ErrorHandlerContribution(**{"name": "conflict", "exception": ValueError, "handler": print, **fields})


async def started(contribution):
    async with contribution.factory() as value:
        return value
