"""Types of resources, by their keys. Checked by mypy and pyright, and never run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, Self, assert_type

from bandmaster.kernel import (
    Resources,
    Scoped,
)


class DatabaseManager:
    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None: ...


class Repository(ABC):
    @abstractmethod
    def find(self) -> int: ...


class Store(Protocol):
    def find(self) -> int: ...


def resources_by_type(resources: Resources) -> None:
    assert_type(resources[DatabaseManager], DatabaseManager)
    assert_type(resources[DatabaseManager, "replica"], DatabaseManager)
    assert_type(resources.get(DatabaseManager), DatabaseManager | None)
    assert_type(resources.get(DatabaseManager, 5), DatabaseManager | int)
    assert_type(resources.get((DatabaseManager, "replica")), DatabaseManager | None)
    assert_type(resources.get((DatabaseManager, "replica"), "else"), DatabaseManager | str)
    assert_type(DatabaseManager in resources, bool)
    assert_type(resources[Scoped[DatabaseManager]], Scoped[DatabaseManager])
    assert_type(Scoped(DatabaseManager).open(), AbstractAsyncContextManager[DatabaseManager])
    assert_type(resources[Scoped[DatabaseManager], "replica"], Scoped[DatabaseManager])
    assert_type(resources[list[int]], list[int])
    assert_type(resources[Sequence[DatabaseManager]], Sequence[DatabaseManager])
    assert_type(resources[Sequence[Store]], Sequence[Store])
    assert_type(resources[Mapping[str, Repository]], Mapping[str, Repository])
    assert_type(resources[Repository], Repository)
    assert_type(resources[Repository, "cached"], Repository)
    assert_type(resources[Store, "cached"], Store)
    assert_type(resources.get(Repository), Repository | None)
    assert_type(resources.get((Store, "cached"), 5), Store | int)
    resources["database"]  # type: ignore[call-overload]
    resources[5]  # type: ignore[call-overload]
