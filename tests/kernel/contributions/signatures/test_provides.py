"""Tests of the types that bandmaster.kernel.contributions.signatures reads as provided."""

import functools
import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from typing import (
    Annotated,
    Any,
    Generic,
    Self,
)

import pytest
import typing_extensions
from tests.kernel import deferred
from tests.kernel.contributions.signatures.examples import Database, Replica, Repository, T, returning

from bandmaster.kernel import Named
from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.contributions.signatures import read_provides
from bandmaster.kernel.errors import SignatureError


class Itself:
    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...


class Before311(Itself):
    async def __aenter__(self: T) -> T: ...


class ByName(Itself):
    async def __aenter__(self) -> "ByName": ...  # noqa: PYI034


class Gives(Itself):
    async def __aenter__(self) -> Database: ...


class GivesNothing(Itself):
    async def __aenter__(self) -> None: ...


class Silent(Itself):
    async def __aenter__(self): ...


class Builtin(Itself):
    __aenter__ = vars


class Pool(Generic[T]):
    async def __aenter__(self) -> Self: ...


class Holder(Generic[T]):
    async def __aenter__(self) -> T: ...


class HalfManager:
    async def __aexit__(self, *exc: object) -> None: ...


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (AsyncIterator[Database], [Key(Database)]),
        (AsyncGenerator[Database, None], [Key(Database)]),
        (AsyncIterable[Database], [Key(Database)]),
        (AbstractAsyncContextManager[Database], [Key(Database)]),
        (AbstractAsyncContextManager[Database, bool | None], [Key(Database)]),
        (typing_extensions.AsyncContextManager[Database], [Key(Database)]),
        (typing_extensions.AsyncIterator[Database], [Key(Database)]),
        (AsyncIterator[Annotated[Database, Named("replica")]], [Key(Database, "replica")]),
        (AsyncIterator[Repository[Database]], [Key(Repository[Database])]),
        (AsyncIterator[Replica], [Key(Database, "replica")]),
        (AsyncIterator[Annotated[Replica, Named("mine")]], [Key(Database, "mine")]),
        (AsyncIterator[Annotated[Replica, 1]], [Key(Database, "replica")]),
        (typing_extensions.TypeAliasType("It", AsyncIterator[Database]), [Key(Database)]),
        (AsyncIterator[None], []),
        (AsyncIterator[Any], []),
        (AsyncIterator[object], []),
        (AsyncIterator, []),
        (AbstractAsyncContextManager, []),
        (None, []),
        ("None", []),
        (Itself, [Key(Itself)]),
        (Before311, [Key(Before311)]),
        (ByName, [Key(ByName)]),
        (Gives, [Key(Database)]),
        (GivesNothing, []),
        (Silent, []),
        (Builtin, []),
        (Pool[Database], [Key(Pool[Database])]),
        (Holder[Database], [Key(Database)]),
        (Holder, []),
        (AsyncExitStack, []),
        (deferred.Manager, [Key(deferred.Manager)]),
    ],
)
def test_the_type_that_is_provided(annotation, expected):
    """The return annotation names the value that entering the context manager gives."""
    assert expected == read_provides(returning(annotation))
    if isinstance(annotation, type) and annotation.__module__ == __name__ and "[" not in repr(annotation):
        assert expected == read_provides(annotation)
        assert expected == read_provides(functools.partial(annotation))


def test_no_annotation_provides_nothing():
    """A function without a return annotation provides only the types of ``provides=``."""
    assert [] == read_provides(lambda: None)


@pytest.mark.parametrize(("function", "expected"), [(deferred.manages, deferred.Manager), (Itself, Itself)])
def test_managers_that_provide_themselves(function, expected):
    """``Self`` stands for the manager's class, also if the name can't be resolved at run time."""
    assert [Key(expected)] == read_provides(function)


def test_a_manager_of_a_generic_type():
    """The whole generic type is the key."""
    assert [Key(deferred.Repository[deferred.Cache])] == read_provides(deferred.manages_generic)


FORMS = "write AsyncIterator[T] for an async generator with one yield, or AbstractAsyncContextManager[T]"


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (returning(Database), f"it returns Database; {FORMS}"),
        (returning(Iterator[Database]), f"it returns Iterator[Database]; {FORMS}"),
        (contextmanager(returning(Iterator[Database])), f"it returns Iterator[Database]; {FORMS}"),
        (returning(AsyncIterator[Database] | None), f"it returns AsyncIterator[Database] | None; {FORMS}"),
        (
            returning(AsyncIterator[Database | None]),
            "it provides Database | None; a component provides one type, always",
        ),
        (returning(AsyncIterator[int | str]), "it provides int | str; a component provides one type, always"),
        (HalfManager, "HalfManager is no async context manager: it has no __aenter__"),
    ],
)
def test_return_types_that_are_refused(function, expected):
    """The message shows the return type and the right form."""
    with pytest.raises(SignatureError, match=f"^{re.escape(expected)}$"):
        read_provides(function)
