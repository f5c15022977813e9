"""The types that checkers infer for resources in FastAPI handlers. Checked by mypy and pyright, never run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, Generic, Protocol, TypeVar, assert_type

from fastapi import Depends, FastAPI

from bandmaster.contrib.fastapi import Resource, check_resources, dependency
from bandmaster.kernel import Application, Problem

T = TypeVar("T")


class Database: ...


class Repository(Generic[T]): ...


class Greets(Protocol):
    def greet(self) -> str: ...


class Mailer(ABC):
    @abstractmethod
    def send(self) -> None: ...


Replica = Annotated[Database, Resource("replica")]


async def annotated(
    database: Annotated[Database, Resource()],
    replica: Replica,
    optional: Annotated[Database | None, Resource()],
    repository: Annotated[Repository[Database], Resource()],
    greets: Annotated[Greets, Resource()],
    session: Annotated[Database, Resource(scope="request")],
) -> None:
    assert_type(database, Database)
    assert_type(replica, Database)
    assert_type(optional, Database | None)
    assert_type(repository, Repository[Database])
    assert_type(greets.greet(), str)
    assert_type(session, Database)


async def defaults(
    database: Database = Resource(),
    replica: Database = Resource("replica"),
    typed: Database = Resource(Database, "replica", scope="function"),
    mailer: Mailer = Resource(Mailer),
) -> None: ...


assert_type(Resource(Database), Any)

app = FastAPI(dependencies=[Depends(dependency(Database)), Resource(Database)])
assert_type(dependency(Database), Callable[..., Any])
app.dependency_overrides[dependency(Database, "replica")] = lambda: Database()
Resource(Database, scope="session")  # type: ignore[arg-type]


def check(application: Application) -> None:
    assert_type(check_resources(application.host, application.plan), list[Problem])
