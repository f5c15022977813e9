"""Tests of bandmaster.kernel.contributions.signatures."""

import dataclasses
import functools
import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    Protocol,
    Self,
    TypeVar,
    Union,
)

import pytest
import typing_extensions
from pydantic import BaseModel
from pydantic_settings import BaseSettings
from tests.kernel import deferred

from bandmaster.kernel import Context, Named
from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.contributions.signatures import Kind, Need, is_settings, read_needs, read_provides
from bandmaster.kernel.errors import SignatureError

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


def needs_of(function, **options):
    return [(need.parameter, need.key, need.kind, need.optional) for need in read_needs(function, **options)]


def resource(key, optional=False):
    return [("it", key if isinstance(key, Key) else Key(key), Kind.RESOURCE, optional)]


# -- needs -----------------------------------------------------------------------------------------------------------


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
def test_what_a_parameter_needs(annotation, expected):
    """Its type, the name that tells two apart, and whether it can do without."""
    assert expected == needs_of(taking(annotation), context=Context)


def test_a_default_makes_a_need_optional():
    """Where nothing provides the type, the default stands."""
    (need,) = read_needs(taking(Database, None))
    assert Need("it", Key(Database), Kind.RESOURCE, optional=True, has_default=True) == need
    assert "it: Database" == str(need)


def test_without_a_context_type_nothing_is_one():
    """The type that means the kernel's hand is the caller's to say."""
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
def test_types_that_say_nothing(annotation, said):
    """Nobody could tell what is wanted, unless there is a default, which then stands."""
    with pytest.raises(SignatureError) as caught:
        read_needs(taking(annotation))
    assert f"parameter 'it' has the type {said}, which doesn't say what it needs" == str(caught.value)
    assert [] == read_needs(taking(annotation, None))


def test_all_kinds_of_parameters():
    """Keyword-only ones are like others; ``*args`` and ``**kwargs`` are nobody's business."""

    def function(first: Database, *rest: int, second: PoolSettings, third=5, **more: str): ...

    assert ["first", "second"] == [need.parameter for need in read_needs(function)]
    assert ["second"] == [need.parameter for need in read_needs(function, given={"first"})]
    assert ["second"] == [need.parameter for need in read_needs(function, positional=1)]


@pytest.mark.requirement("P-18")
def test_parameters_that_can_not_be_filled():
    """A parameter without a type, and one that can't be passed by name."""

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
def test_builtins_that_do_not_say(builtin):
    """Nothing is guessed about what has no signature."""
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
def test_a_signature_shines_through(function):
    """Wrappers, partials, methods and callable objects declare what is inside them."""
    assert [("database", Key(Database)), ("settings", Key(PoolSettings))] == [
        (need.parameter, need.key) for need in read_needs(function)
    ]
    assert [Key(Database)] == read_provides(function)


@pytest.mark.parametrize("wrap", [lambda function: function, asynccontextmanager])
def test_what_a_partial_has_bound_is_not_asked_for(wrap):
    """Somebody has decided; the environment must not overrule it."""
    assert ["database"] == [
        need.parameter for need in read_needs(wrap(functools.partial(made_by_hand, settings=PoolSettings())))
    ]
    assert ["settings"] == [need.parameter for need in read_needs(wrap(functools.partial(made_by_hand, Database())))]


# -- classes ---------------------------------------------------------------------------------------------------------


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
def test_a_class_asks_by_its_constructor(kind):
    """``__init__`` or, without one, ``__new__``; made by hand, by a dataclass, or by pydantic."""
    assert "database" == read_needs(kind)[0].parameter


class Bare: ...


class Dict(dict[str, str]): ...


@pytest.mark.parametrize("kind", [Bare, Repository, Repository[int], Reads, Dict])
def test_a_class_without_a_constructor_asks_for_nothing(kind):
    """What ``object`` takes is nothing."""
    assert [] == read_needs(kind)


# -- annotations as text ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [deferred.everything, deferred.wrapped, functools.partial(deferred.wrapped)])
def test_annotations_that_are_text(function):
    """``from __future__ import annotations`` changes nothing, through wrappers from other modules too."""
    assert [
        ("database", Key(deferred.Database), False),
        ("cache", Key(deferred.Cache), True),
        ("replica", Key(deferred.Database, "replica"), True),
        ("other", Key(deferred.Database, "other"), True),
        ("repository", Key(deferred.Repository[deferred.Cache]), False),
        ("reads", Key(deferred.Reads), True),
    ] == [(need.parameter, need.key, need.optional) for need in read_needs(function)]
    assert [Key(deferred.Database)] == read_provides(function)


WHAT_TO_DO = "Import the name at run time, not under TYPE_CHECKING, and define it at module level"


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize(
    ("read", "function", "expected"),
    [
        (
            read_needs,
            deferred.absent_parameter,
            f"the type of parameter 'absent' can't be resolved: name 'Absent' is not defined. {WHAT_TO_DO}",
        ),
        (
            read_needs,
            deferred.absent_default,
            f"the type of parameter 'absent' can't be resolved: name 'Absent' is not defined. {WHAT_TO_DO}",
        ),
        (
            read_provides,
            deferred.absent_return,
            f"its return type can't be resolved: name 'Absent' is not defined. {WHAT_TO_DO}",
        ),
        (
            read_provides,
            deferred.Unreadable,
            "the return type of Unreadable.__aenter__ can't be resolved: name 'Absent' is not defined. " + WHAT_TO_DO,
        ),
        (read_provides, deferred.not_python, "its return type can't be resolved: SyntaxError: "),
        (read_needs, deferred.no_type, "parameter 'five' has the type 5, which doesn't say what it needs"),
        (
            read_needs,
            deferred.no_attribute,
            "the type of parameter 'it' can't be resolved: AttributeError: module 'functools' has no attribute 'nothing'",
        ),
    ],
)
def test_annotations_that_can_not_be_read(read, function, expected):
    """The message says which, and what to do about it."""
    with pytest.raises(SignatureError, match=f"^{re.escape(expected)}"):
        read(function)


def test_one_unreadable_annotation_harms_no_other():
    """What a function provides can be told though a parameter can't."""
    assert [Key(deferred.Database)] == read_provides(deferred.absent_parameter)
    assert [] == read_needs(deferred.absent_parameter, given={"absent"})


def test_a_foreign_class_may_have_unreadable_annotations():
    """Its author imports for type checkers only; what is given or has a default needn't be read."""
    assert ["database", "cache"] == [need.parameter for need in read_needs(deferred.Layer, positional=1)]
    with pytest.raises(SignatureError, match=r"^the type of parameter 'app' can't be resolved"):
        read_needs(deferred.Layer)


def test_an_alias_that_can_not_be_read():
    """``type X = ...`` is evaluated late."""

    class TypeAliasType:
        __name__ = "Late"

        @property
        def __value__(self):
            raise NameError("name 'Absent' is not defined")

    with pytest.raises(SignatureError, match=r"^the type Late can't be resolved: name 'Absent' is not defined$"):
        read_provides(returning(AsyncIterator[Annotated[TypeAliasType(), 1]]))


# -- what is provided ------------------------------------------------------------------------------------------------


def returning(annotation):
    def function(): ...

    function.__annotations__["return"] = annotation
    return function


class Itself:
    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...


class Before311(Itself):
    async def __aenter__(self: T) -> T: ...  # noqa: PYI019


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
def test_what_is_provided(annotation, expected):
    """The value that entering the context manager gives, as far as it says."""
    assert expected == read_provides(returning(annotation))
    if isinstance(annotation, type) and annotation.__module__ == __name__ and "[" not in repr(annotation):
        assert expected == read_provides(annotation)
        assert expected == read_provides(functools.partial(annotation))


def test_no_annotation_provides_nothing():
    """Or only what ``provides=`` says."""
    assert [] == read_provides(lambda: None)


@pytest.mark.parametrize(("function", "expected"), [(deferred.manages, deferred.Manager), (Itself, Itself)])
def test_managers_that_give_themselves(function, expected):
    """Whether or not ``Self`` can be had at run time."""
    assert [Key(expected)] == read_provides(function)


def test_a_manager_of_something_generic():
    """The whole type is the address."""
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
def test_what_can_not_be_provided(function, expected):
    """The message says what stands there, and what to write."""
    with pytest.raises(SignatureError, match=f"^{re.escape(expected)}$"):
        read_provides(function)


# -- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (PoolSettings, True),
        (BaseSettings, True),
        (BaseModel, False),
        (Database, False),
        (list[int], False),
        (PoolSettings(), False),
        (None, False),
    ],
)
def test_settings_are_pydantic_settings(kind, expected):
    """A class that derives from BaseSettings, and nothing else."""
    assert expected == is_settings(kind)


def test_what_is_not_loaded_has_no_settings(monkeypatch):
    """No class derives from a package that nobody has imported."""
    monkeypatch.delitem(__import__("sys").modules, "pydantic_settings")
    assert not is_settings(PoolSettings)
