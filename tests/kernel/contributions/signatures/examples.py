"""Types and functions whose signatures the tests of this folder read."""

from typing import (
    Annotated,
    Generic,
    NewType,
    Protocol,
    TypeVar,
)

import typing_extensions
from pydantic_settings import BaseSettings

from bandmaster.kernel import Named
from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.contributions.signatures import Kind, read_needs

T = TypeVar("T")
UserId = NewType("UserId", str)


class Database: ...


class Repository(Generic[T]): ...


class Reads(Protocol):
    def read(self) -> str: ...


class PoolSettings(BaseSettings):
    size: int = 5


Replica = typing_extensions.TypeAliasType("Replica", Annotated[Database, Named("replica")])
Perhaps = typing_extensions.TypeAliasType("Perhaps", Database | None)
Of = typing_extensions.TypeAliasType("Of", Repository[T], type_params=(T,))


def taking(annotation, default=...):
    """A function with one parameter ``it``."""

    def one(it): ...

    one.__annotations__["it"] = annotation
    one.__defaults__ = () if default is ... else (default,)
    return one


def returning(annotation):
    """A function with that return type."""

    def function(): ...

    function.__annotations__["return"] = annotation
    return function


def needs_of(function, **options):
    return [(need.parameter, need.key, need.kind, need.optional) for need in read_needs(function, **options)]


def resource(key, optional=False):
    return [("it", key if isinstance(key, Key) else Key(key), Kind.RESOURCE, optional)]
