"""Tests of the needs that bandmaster.kernel.contributions.signatures reads."""

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import (
    Annotated,
    Any,
    Literal,
    Optional,
    Union,
)

import pytest
from tests.kernel.contributions.signatures.examples import (
    Database,
    Of,
    Perhaps,
    PoolSettings,
    Reads,
    Replica,
    Repository,
    T,
    UserId,
    needs_of,
    resource,
    taking,
)

from bandmaster.kernel import Context, Named
from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.contributions.signatures import Kind, Need, read_needs, read_provides
from bandmaster.kernel.errors import SignatureError


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Database, resource(Database)),
        (Database | None, resource(Database, True)),
        (Optional[Database], resource(Database, True)),  # noqa: UP045
        (Union[None, Database], resource(Database, True)),  # noqa: UP007
        (Annotated[Database, Named("replica")], resource(Key(Database, "replica"))),
        (Annotated[Database, Named("replica")] | None, resource(Key(Database, "replica"), True)),
        (Annotated[Database | None, Named("replica")], resource(Key(Database, "replica"), True)),
        (Optional[Annotated[Database | None, Named("replica")]], resource(Key(Database, "replica"), True)),  # noqa: UP045
        (Annotated[Database, "a remark"], resource(Database)),
        (Repository[Database], resource(Repository[Database])),
        (Repository[Database] | None, resource(Repository[Database], True)),
        (dict[str, Database], resource(dict[str, Database])),
        (Reads, resource(Reads)),
        (UserId, resource(UserId)),
        (Literal["a"], resource(Literal["a"])),
        (int, resource(int)),
        (Replica, resource(Key(Database, "replica"))),
        (Replica | None, resource(Key(Database, "replica"), True)),
        (Perhaps, resource(Database, True)),
        (Annotated[Perhaps, Named("a")], resource(Key(Database, "a"), True)),
        (Of[Database], resource(Repository[Database])),
        (PoolSettings, [("it", Key(PoolSettings), Kind.SETTINGS, False)]),
        (PoolSettings | None, [("it", Key(PoolSettings), Kind.SETTINGS, True)]),
        (Context, [("it", Key(Context), Kind.CONTEXT, False)]),
        (Annotated[Context, 1], [("it", Key(Context), Kind.CONTEXT, False)]),
    ],
)
def test_the_need_of_a_parameter(annotation, expected):
    """A need has a type, the name of one of several, and whether the resource is optional."""
    assert expected == needs_of(taking(annotation), context=Context)


def test_a_default_makes_a_need_optional():
    """The default is used if nothing provides the type."""
    (need,) = read_needs(taking(Database, None))
    assert Need("it", Key(Database), Kind.RESOURCE, optional=True, has_default=True) == need
    assert "it: Database" == str(need)


def test_the_caller_decides_which_type_is_the_context():
    """Without a context type, no parameter is a context."""
    assert resource(Context) == needs_of(taking(Context))


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (Any, "Any"),
        (object, "object"),
        (None, "None"),
        (T, "T"),
        (int | str, "int | str"),
        (Union[int, str, None], "int | str | None"),  # noqa: UP007
        (Annotated[Any, Named("a")], "Any"),
    ],
)
def test_types_that_are_too_wide(annotation, said):
    """A parameter of such a type is refused, unless a default is there to be used."""
    with pytest.raises(SignatureError) as caught:
        read_needs(taking(annotation))
    assert f"parameter 'it' has the type {said}, which doesn't say what it needs" == str(caught.value)
    assert [] == read_needs(taking(annotation, None))


def test_all_kinds_of_parameters():
    """Keyword-only parameters are needs like others; ``*args`` and ``**kwargs`` aren't needs."""

    def function(first: Database, *rest: int, second: PoolSettings, third=5, **more: str): ...

    assert ["first", "second"] == [need.parameter for need in read_needs(function)]
    assert ["second"] == [need.parameter for need in read_needs(function, given={"first"})]
    assert ["second"] == [need.parameter for need in read_needs(function, positional=1)]


@pytest.mark.requirement("P-18")
def test_parameters_that_can_not_be_filled():
    """A parameter without a type is refused, and so is one that can't be passed by name."""

    def untyped(database): ...

    def positional(database: Database, /): ...

    with pytest.raises(SignatureError, match=r"^parameter 'database' has no type; write one, or give it a default$"):
        read_needs(untyped)
    expected = "^parameter 'database' is positional-only; the kernel passes arguments by name$"
    with pytest.raises(SignatureError, match=expected):
        read_needs(positional)
    assert [] == read_needs(positional, positional=1)


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize("builtin", [min, dict.fromkeys, vars, type("C", (dict,), {"__init__": dict.update})])
def test_builtins_without_a_signature(builtin):
    """A callable without a signature is refused."""
    with pytest.raises(SignatureError, match=r"^(its signature can't be read: |parameter )"):
        read_needs(builtin)


def made_by_hand(database: Database, settings: PoolSettings) -> AsyncIterator[Database]: ...


class Callable:
    def __call__(self, database: Database, settings: PoolSettings) -> AsyncIterator[Database]: ...

    def method(self, database: Database, settings: PoolSettings) -> AsyncIterator[Database]: ...

    @classmethod
    def of_class(cls, database: Database, settings: PoolSettings) -> AsyncIterator[Database]: ...

    @staticmethod
    def static(database: Database, settings: PoolSettings) -> AsyncIterator[Database]: ...


@pytest.mark.parametrize(
    "function",
    [
        made_by_hand,
        asynccontextmanager(made_by_hand),
        functools.lru_cache(made_by_hand),
        functools.partial(made_by_hand),
        asynccontextmanager(functools.partial(made_by_hand)),
        functools.partial(asynccontextmanager(functools.partial(made_by_hand))),
        Callable(),
        functools.partial(Callable()),
        asynccontextmanager(Callable()),
        Callable().method,
        asynccontextmanager(Callable().method),
        Callable.of_class,
        Callable.static,
        Callable.__dict__["static"],
    ],
)
def test_the_signature_inside_of_a_wrapper(function):
    """Wrappers, partials, methods and callable objects have the needs of the function inside."""
    assert [("database", Key(Database)), ("settings", Key(PoolSettings))] == [
        (need.parameter, need.key) for need in read_needs(function)
    ]
    assert [Key(Database)] == read_provides(function)


@pytest.mark.parametrize("wrap", [lambda function: function, asynccontextmanager])
def test_a_bound_argument_is_no_need(wrap):
    """An argument that a partial has bound isn't replaced by a resource or by settings."""
    assert ["database"] == [
        need.parameter for need in read_needs(wrap(functools.partial(made_by_hand, settings=PoolSettings())))
    ]
    assert ["settings"] == [need.parameter for need in read_needs(wrap(functools.partial(made_by_hand, Database())))]
