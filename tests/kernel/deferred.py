"""Components with annotations as text, some of which can't be evaluated at run time."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Generic, Protocol, TypeVar

from bandmaster.kernel import Named

if TYPE_CHECKING:
    from typing import Self

    from elsewhere import Absent

T = TypeVar("T")


class Database: ...


class Cache: ...


class Repository(Generic[T]): ...


class Reads(Protocol):
    def read(self) -> str: ...


async def everything(
    database: Database,
    cache: Cache | None,
    replica: Annotated[Database | None, Named("replica")],
    other: Annotated[Database, Named("other")] | None,
    *,
    repository: Repository[Cache],
    reads: Reads = None,  # type: ignore[assignment]
) -> AsyncIterator[Database]:
    yield database


async def absent_parameter(absent: Absent) -> AsyncIterator[Database]:
    yield Database()


async def absent_default(absent: Absent = None) -> AsyncIterator[Database]:  # type: ignore[assignment]
    yield Database()


async def absent_return() -> AsyncIterator[Absent]:
    yield


async def not_python() -> "not a type":  # noqa: F722
    yield


async def no_type(five: 5) -> AsyncIterator[None]:
    yield


async def no_attribute(it: functools.nothing) -> AsyncIterator[None]:
    yield


def passes_on(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*arguments: Any, **keywords: Any) -> Any:
        return function(*arguments, **keywords)

    return wrapper


wrapped = passes_on(asynccontextmanager(everything))


class Manager:
    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None: ...


class Unreadable(Manager):
    async def __aenter__(self) -> Absent: ...


class Layer:
    def __init__(
        self, app: Absent, database: Database, *, title: Absent = None, cache: Cache | None = None
    ) -> None: ...

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


def manages() -> Manager:
    return Manager()


def manages_generic() -> AbstractAsyncContextManager[Repository[Cache]]: ...  # type: ignore[empty-body]
