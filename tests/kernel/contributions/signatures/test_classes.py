"""Tests of the needs of classes."""

import dataclasses
import functools
from typing import (
    Any,
    NamedTuple,
)

import pytest
from pydantic import BaseModel
from tests.kernel.contributions.signatures.examples import (
    Database,
    Reads,
    Repository,
)

from bandmaster.kernel.contributions.signatures import read_needs


class Takes:
    def __init__(self, database: Database) -> None: ...


class Inherits(Takes): ...


class New:
    def __new__(cls, database: Database) -> "New": ...  # noqa: PYI034


class NewAndInit:
    def __new__(cls, *arguments: Any, **keywords: Any) -> "NewAndInit":  # noqa: PYI034
        return super().__new__(cls)

    def __init__(self, database: Database) -> None: ...


@dataclasses.dataclass
class Data:
    database: Database
    size: int = 5


class Tuple(NamedTuple):
    database: Database


class Model(BaseModel):
    database: str


class Meta(type):
    def __call__(cls, *arguments: Any) -> Any: ...


class MadeByMeta(metaclass=Meta):
    def __init__(self, database: Database) -> None: ...


@pytest.mark.parametrize(
    "kind", [Takes, Inherits, New, NewAndInit, Data, Tuple, Model, MadeByMeta, functools.partial(Takes)]
)
def test_a_class_has_the_needs_of_its_constructor(kind):
    """``__init__``, or else ``__new__``, declares the needs of a class, also of a dataclass or a model of pydantic."""
    assert "database" == read_needs(kind)[0].parameter


class Bare: ...


class Dict(dict[str, str]): ...


@pytest.mark.parametrize("kind", [Bare, Repository, Repository[int], Reads, Dict])
def test_a_class_without_a_constructor_needs_nothing(kind):
    """The parameters of ``object`` aren't needs."""
    assert [] == read_needs(kind)
