"""Tests of bandmaster.kernel.contributions.instances."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NewType, Protocol, TypedDict, TypeVar, runtime_checkable
from unittest.mock import AsyncMock

import pytest
from pydantic import BaseModel

from bandmaster.kernel.contributions.instances import may_be

T = TypeVar("T")


class Store: ...


class Memory(Store): ...


class Repository(Generic[T]): ...


class Page(BaseModel, Generic[T]):
    number: int = 1


class Closes(Protocol):
    def close(self) -> None: ...


class Placed(Protocol):
    place: str


class Named(Closes, Protocol): ...


@runtime_checkable
class Compares(Protocol):
    def __lt__(self, other: object) -> bool: ...


class File(Closes):
    def close(self) -> None: ...


class Proxy:
    def __getattr__(self, name: str) -> Any:
        return getattr(Store(), name)


class Movie(TypedDict):
    title: str


class Refuses(type):
    def __instancecheck__(cls, instance: object) -> bool:
        raise RuntimeError("don't ask")


class Odd(metaclass=Refuses): ...


Number = NewType("Number", int)
Order = NewType("Order", Number)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Store(), Store),
        (Memory(), Store),
        (AsyncMock(), Store),
        (Proxy(), Store),
        (1, float),
        (1.5, complex),
        (bytearray(), bytes),
        (True, int),
        (Repository(), Repository[int]),
        (Page(), Page[int]),
        ({}, dict[str, int]),
        ({}, Mapping[str, int]),
        (object(), Sequence[int]),
        (object(), Iterable[int]),
        (object(), Awaitable[int]),
        (print, Callable[..., None]),
        (Store, type[Store]),
        (Number(1), Number),
        (1, Order),
        (object(), Closes),
        (object(), Placed),
        (None, Compares),
        (None, Callable),
        (object(), AbstractAsyncContextManager[int]),
        ({}, Movie),
        ("a", Literal["b"]),
        (1, Annotated[int, "positive"]),
        (1, int | str),
        (1, T),
        (1, Any),
        (1, Odd),
        (logging.getLogger(), logging.Logger),
    ],
)
def test_an_object_that_may_be_of_the_type(value, kind):
    """An object that a type checker accepts, or that only a type checker could refuse, counts as being of the type."""
    assert may_be(value, kind)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, Store),
        (Store(), Memory),
        (Store, Store),
        (1, str),
        (1.5, int),
        (Decimal(1), float),
        (None, Repository[int]),
        (Store(), Page[int]),
        ([], dict[str, int]),
        (Store(), type[Store]),
        ("1", Order),
        (object(), File),
        (None, Closes),
        (None, Placed),
        (None, Named),
        ("1", Annotated[int, "positive"]),
    ],
)
def test_an_object_that_is_not_of_the_type(value, kind):
    """An object of another class is told apart, also under a generic type, a NewType or an annotation."""
    assert not may_be(value, kind)
