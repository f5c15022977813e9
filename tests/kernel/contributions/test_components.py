"""Tests of LifespanContribution in bandmaster.kernel.contributions.model."""

import functools
import math
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Annotated, Any, Literal, NewType

import pytest
from tests.kernel.contributions.examples import (
    SERVICES,
    Called,
    Database,
    Repository,
    Starts,
    component,
    database,
    managed,
    refused,
    started,
)

from bandmaster.kernel import (
    LifespanBand,
    Named,
    lifespan,
)
from bandmaster.kernel.contributions.checks import check_budget
from bandmaster.kernel.contributions.keys import Key


def test_a_decorated_function_is_described():
    """The function gives name, description and origin; the arguments and their defaults give the rest."""
    made = lifespan(band=SERVICES)(database)
    assert ("database", SERVICES, 350, "Owns the pool.") == (made.name, made.band, made.priority, made.description)
    assert f"in code, {database.__module__}:database" == str(made.provenance)
    assert ((), (), (), (), None) == (made.provides, made.requires, made.after, made.before, made.roles)
    assert (None, None, {}) == (made.start_timeout, made.stop_timeout, made.budget)
    assert ("stop", "stop") == (made.on_crash, made.on_start_failure)


def test_every_argument_of_lifespan():
    """Each argument of the decorator sets the field of that name; single names and types needn't be in a list."""
    made = lifespan(
        priority=301,
        name="db",
        provides=Repository[int],
        requires="a",
        after=["b", "c"],
        before=("d",),
        roles="web",
        start_timeout=1,
        stop_timeout=2.5,
        budget={"postgres": 15},
        on_crash="degrade",
        on_start_failure="retry",
        description="",
    )(database)
    assert ("db", SERVICES, 301) == (made.name, made.band, made.priority)
    assert ((Key(Repository[int]),), ("a",), ("b", "c"), ("d",)) == (
        made.provides,
        made.requires,
        made.after,
        made.before,
    )
    assert (frozenset({"web"}), 1, 2.5, {"postgres": 15}, "degrade", "retry", "") == (
        made.roles,
        made.start_timeout,
        made.stop_timeout,
        made.budget,
        made.on_crash,
        made.on_start_failure,
        made.description,
    )


def returns() -> AbstractAsyncContextManager[Database]:
    return Starts()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (database, "database"),
        (managed, "managed"),
        (returns, "returns"),
        (Starts, "Starts"),
        (Called(), "Called"),
        (Called().method, "method"),
        (Called.static, "static"),
        (Called.__dict__["static"], "static"),
        (functools.partial(database), "database"),
        (functools.partial(functools.partial(Called())), "Called"),
        (functools.partial(Starts), "Starts"),
    ],
)
async def test_every_kind_of_factory(function, expected):
    """Async generator functions and callables that return managers are accepted, wrapped and bound in every way."""
    made = lifespan(band=SERVICES)(function)
    assert expected == made.name
    assert isinstance(await started(made), Database)
    assert isinstance(await started(component(factory=function)), Database)


@pytest.mark.parametrize(
    ("function", "description", "where"),
    [
        (functools.partial(database), "Owns the pool.", "database"),
        (Called(), "Makes a database when called.", "Called"),
        (Called().method, "", "Called.method"),
        (Starts, "", "Starts"),
    ],
)
def test_the_function_inside_is_described(function, description, where):
    """Docstring and module are those of the function inside a partial, not of ``functools.partial``."""
    made = lifespan(band=SERVICES, name="it")(function)
    assert description == made.description
    if where != "Called":  # an object has no name of its own
        assert f"{Database.__module__}:{where}" == made.provenance.entry_point


def test_a_function_without_a_module():
    """A function from run time is described by the name alone."""
    made = lifespan(band=SERVICES)(nameless)
    assert "nameless" == made.provenance.entry_point


async def nameless() -> AsyncIterator[None]:
    yield


nameless.__module__ = None  # type: ignore[assignment]


async def coroutine() -> Database:
    return Database()


def generator() -> Iterator[Database]:
    yield Database()


class Coroutine:
    async def __call__(self) -> Database:
        return Database()


WANTED = "must be an async generator function (async def with one yield) or return an async context manager"


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (coroutine, f"coroutine has no yield; it {WANTED}"),
        (generator, f"generator isn't async; it {WANTED}"),
        (functools.partial(coroutine), f"coroutine has no yield; it {WANTED}"),
        (Coroutine(), f"Coroutine has no yield; it {WANTED}"),
        (contextmanager(generator), f"generator is a sync context manager; it {WANTED}"),
        (contextmanager(nameless), f"nameless is a sync context manager; it {WANTED}"),
        (asynccontextmanager(generator), f"generator isn't async; it {WANTED}"),
        (asynccontextmanager(coroutine), f"coroutine has no yield; it {WANTED}"),
        (Database, "the class Database has no __aenter__ and __aexit__"),
        (None, "expected something callable, got None"),
        ("database", "expected something callable, got 'database'"),
    ],
)
def test_a_factory_that_can_never_start_is_refused(function, expected):
    """A function without yield, or not async, is refused on decoration, and the message shows the right form."""
    refused(f"factory: {expected}", component, factory=function)
    with pytest.raises(ValueError, match=rf"^function: {re.escape(expected)} \({re.escape(__file__)}:\d+\)$"):
        lifespan(band=SERVICES)(function)


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize("timeout", ["start_timeout", "stop_timeout"])
@pytest.mark.parametrize("seconds", [0, -1, -0.5, math.inf, -math.inf, math.nan, True, "5", [], 10**400 * -1])
def test_deadlines_are_seconds(timeout, seconds):
    """A deadline is a finite number of seconds above 0."""
    refused(f"{timeout}: expected seconds above 0, got {seconds!r}", component, **{timeout: seconds})


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": ""}, "name: expected letters, digits, '_', '-' and '.', a letter or '_' first, got ''"),
        ({"name": "a b"}, "name: expected letters, digits, '_', '-' and '.', a letter or '_' first, got 'a b'"),
        ({"requires": 5}, "requires: expected names, got 5"),
        ({"requires": [5]}, "requires: expected names, got 5"),
        ({"after": [""]}, "after: expected names, got ''"),
        ({"before": None}, "before: expected names, got None"),
        ({"roles": []}, "roles: an empty set would start nowhere; leave it out for every role"),
        ({"roles": [None]}, "roles: expected names, got None"),
        ({"on_crash": "ignore"}, "on_crash: expected 'stop' or 'degrade', got 'ignore'"),
        ({"on_crash": []}, "on_crash: expected 'stop' or 'degrade', got []"),
        ({"on_start_failure": "ignore"}, "on_start_failure: expected 'stop', 'retry' or 'degrade', got 'ignore'"),
        ({"budget": 5}, "budget: expected a mapping like {'postgres': 15}, got 5"),
        ({"budget": {"a": -1}}, "budget: expected names with numbers from 0 up, got 'a': -1"),
        ({"budget": {"a": 1.5}}, "budget: expected names with numbers from 0 up, got 'a': 1.5"),
        ({"budget": {"a": True}}, "budget: expected names with numbers from 0 up, got 'a': True"),
        ({"budget": {1: 1}}, "budget: expected names with numbers from 0 up, got 1: 1"),
    ],
)
def test_fields_that_a_component_refuses(fields, expected):
    """The message names the field, the value and the expected values."""
    refused(expected, component, **fields)


@pytest.mark.requirement("CF-18", "FA-17")
@pytest.mark.parametrize("make", [component, lambda **fields: lifespan(**fields)(database)])
def test_a_component_stands_in_its_band(make):
    """A priority outside the band is refused when the contribution is made."""
    refused("priority: 250 lies outside its band. Allowed: SERVICES 300–399", make, band=SERVICES, priority=250)
    assert (LifespanBand.MESSAGING, 250) == (
        make(band=None, priority=250).band,
        make(band=None, priority=250).priority,
    )


@pytest.mark.parametrize(
    ("provides", "expected"),
    [
        ((), ()),
        (Database, (Key(Database),)),
        ([Database, Repository[int]], (Key(Database), Key(Repository[int]))),
        (Annotated[Database, Named("replica")], (Key(Database, "replica"),)),
        ((Database, "replica"), (Key(Database, "replica"),)),
        (((Database, "a"), (Database, "b")), (Key(Database, "a"), Key(Database, "b"))),
        (Key(Database, "replica"), (Key(Database, "replica"),)),
        ((Database, Starts), (Key(Database), Key(Starts))),
    ],
)
def test_further_types_that_are_provided(provides, expected):
    """One type or several, with or without names, are kept as keys."""
    assert expected == component(provides=provides).provides


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize("wrong", [None, "Database", Any, object, [Database, None], {Database}, (Database, 5, 6), [[]]])
def test_types_that_can_not_be_provided(wrong):
    """A type that nothing could ask for is refused."""
    with pytest.raises(ValueError, match=r"^provides: expected types or pairs \(type, name\), got "):
        component(provides=wrong)


def test_a_union_can_not_be_provided():
    """A parameter ``Database | None`` asks for a Database, so nothing could ask for the union."""
    refused(
        f"provides: expected types or pairs (type, name), got {Database | None!r}", component, provides=Database | None
    )


def test_a_budget_is_checked_wherever_it_comes_from():
    """The result of a budget function is checked like a budget that is given."""
    assert {"a": 0, "b": 7} == check_budget({"a": 0, "b": 7})
    refused("budget: expected a mapping like {'postgres': 15}, got None", check_budget, None)


Money = NewType("Money", int)


def test_an_object_in_place_of_a_type():
    """An instance is refused with the line of the function, and every form in which a type can be written is taken."""
    given = Database()
    for field in ("provides", "decorates"):
        with pytest.raises(ValueError, match=rf"^{field}: expected .*, got .*Database object") as caught:
            lifespan(band=SERVICES, **{field: given})(database)
        code = database.__code__
        assert f"({code.co_filename}:{code.co_firstlineno})" in str(caught.value)
    for kind in (Database, Repository[int], Money, Literal["a"], Callable[[], int], Annotated[Database, Named("a")]):
        assert (Key.of(kind),) == component(provides=kind).provides
