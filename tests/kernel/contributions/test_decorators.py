"""Tests of bandmaster.kernel.contributions.decorators."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Protocol

import pytest

from bandmaster.kernel import LifespanBand, MiddlewareBand, Named, Provenance, ValueContribution, lifespan, middleware
from bandmaster.kernel import value as make_value
from bandmaster.kernel.contributions.keys import Key

SERVICES = LifespanBand.SERVICES
HERE = re.escape(__file__)


class Region:
    """Where the shop stands."""


class North(Region): ...


class Placed(Protocol):
    place: str


async def database() -> AsyncIterator[Region]:
    yield Region()


def plain():
    return Region()


def makes_nothing() -> None: ...


@asynccontextmanager
async def managed() -> AsyncIterator[Region]:
    yield Region()


def opens() -> AbstractAsyncContextManager[Region]:
    return managed()


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize(
    ("decorate", "defined"), [(lifespan, database), (lifespan, plain), (middleware, Region), (middleware, database)]
)
def test_a_decorator_without_parentheses_is_refused(decorate, defined):
    """The message says to write the parentheses, with the file and line where they are missing."""
    message = f"{decorate.__name__}: write the parentheses: @{decorate.__name__}(band=...) for '{defined.__name__}'"
    with pytest.raises(ValueError, match=rf"^{re.escape(message)} \({HERE}:\d+\)$") as caught:
        decorate(defined)
    line = int(str(caught.value).rpartition(":")[2].rstrip(")"))
    first = getattr(defined, "__code__", None)
    assert line == (first.co_firstlineno if first else caught.traceback[0].lineno + 1)


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize("function", [plain, makes_nothing])
def test_a_plain_function_is_no_component(function):
    """A function that isn't async, and isn't annotated to return a context manager, is refused by file and line."""
    with pytest.raises(ValueError, match=rf"^function: {function.__name__} is a plain function; .* \({HERE}:\d+\)$"):
        lifespan(band=SERVICES)(function)


@pytest.mark.parametrize("function", [managed, opens])
def test_a_plain_function_may_return_a_context_manager(function):
    """A plain function is accepted if the annotation, or ``asynccontextmanager``, shows that a manager is returned."""
    assert function is lifespan(band=SERVICES)(function).factory


def test_only_a_class_is_a_layer():
    """A decorated object that isn't a class is refused by file and line."""
    with pytest.raises(ValueError, match=rf"^layer: expected a class, got <function plain.*> \({HERE}:\d+\)$"):
        middleware(band=MiddlewareBand.POLICY)(plain)


def test_an_object_becomes_a_value():
    """An object is provided under the type of the object, and has the given name."""
    region = North()
    made = make_value(region, name="region")
    assert ("region", region, (Key(North),), None, "") == (
        made.name,
        made.value,
        made.provides,
        made.roles,
        made.description,
    )
    assert Provenance(entry_point=f"{__name__}:North") == made.provenance


@pytest.mark.parametrize(
    ("provides", "expected"),
    [
        (Region, (Key(Region),)),
        ([Region, North], (Key(Region), Key(North))),
        ((Region, "north"), (Key(Region, "north"),)),
        (Annotated[Region, Named("north")], (Key(Region, "north"),)),
        (Placed, (Key(Placed),)),
        (Sequence[str], (Key(Sequence[str]),)),
        ([], (Key(North),)),
    ],
)
def test_the_types_of_a_value(provides, expected):
    """The types that are given replace the object's own."""
    assert expected == make_value(North(), name="region", provides=provides).provides


def test_every_argument_of_a_value():
    """Each argument of `value` sets the field of that name."""
    made = make_value(North(), name="region", provides=Region, roles="web", description="Where the shop stands.")
    assert (frozenset({"web"}), "Where the shop stands.") == (made.roles, made.description)


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": "not a name"}, "name: expected letters"),
        ({"provides": North}, "provides: the value has the type Region, not North"),
        ({"provides": [Region, (str, "a")]}, "provides: the value has the type Region, not str"),
        ({"provides": [None]}, "provides: expected types or pairs (type, name), got None"),
        ({"roles": []}, "roles: an empty set would start nowhere"),
        ({"value": None}, "provides: expected types or pairs (type, name), got <class 'NoneType'>"),
        (
            {"value": lifespan(band=SERVICES)(database)},
            "value: expected an object to provide, got a LifespanContribution",
        ),
    ],
)
def test_fields_that_a_value_refuses(fields, expected):
    """The message names the field, the value and the expected values."""
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}"):
        ValueContribution(**{"name": "region", "value": Region(), **fields})


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize(
    ("decorate", "given", "example"),
    [
        (lifespan, SERVICES, "@lifespan(band=LifespanBand.SERVICES), got <LifespanBand.SERVICES: 300>"),
        (lifespan, "database", "@lifespan(band=LifespanBand.SERVICES), got 'database'"),
        (middleware, 300, "@middleware(band=MiddlewareBand.POLICY), got 300"),
    ],
)
def test_arguments_of_decorators_have_names(decorate, given, example):
    """An argument without a name isn't taken for a decorated function, and is refused by file and line."""
    message = f"{decorate.__name__}: arguments are given by name, as in {example}"
    with pytest.raises(ValueError, match=rf"^{re.escape(message)} \({HERE}:\d+\)$"):
        decorate(given)


@pytest.mark.parametrize("decorate", [lifespan, middleware])
def test_a_part_is_decorated_once(decorate):
    """A contribution isn't decorated again."""
    made = lifespan(band=SERVICES)(database)
    message = "'database' is decorated twice: it is a LifespanContribution already"
    with pytest.raises(ValueError, match=rf"^{re.escape(message)} \({HERE}:\d+\)$"):
        decorate(band=SERVICES)(made)


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: lifespan()(database), "band: give a band, a priority, or both."),
        (lambda: lifespan(band=SERVICES, start_timeout=0)(database), "start_timeout: expected seconds above 0, got 0"),
        (lambda: middleware(band=MiddlewareBand.POLICY)(Region), "layer: Region has neither __call__ nor any of "),
        (lambda: make_value(Region(), name="a b"), "name: expected letters, "),
    ],
)
def test_every_wrong_argument_has_a_place(make, expected):
    """An error about an argument of a decorator ends with the file and line of the part."""
    with pytest.raises(ValueError, match=rf"^{re.escape(expected)}.* \({HERE}:\d+\)$"):
        make()
