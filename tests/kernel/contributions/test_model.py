"""Tests of bandmaster.kernel.contributions.model."""

import dataclasses
import functools
import math
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Annotated, Any, Generic, TypeVar

import pytest
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route, Router

from bandmaster.kernel import (
    ErrorHandlerContribution,
    LifespanBand,
    LifespanContribution,
    MiddlewareBand,
    MiddlewareContribution,
    Named,
    Provenance,
    RouteContribution,
    lifespan,
    middleware,
    value,
)
from bandmaster.kernel.contributions.checks import check_budget
from bandmaster.kernel.contributions.keys import Key

T = TypeVar("T")
SERVICES = LifespanBand.SERVICES
POLICY = MiddlewareBand.POLICY


class Database: ...


class Repository(Generic[T]): ...


async def database() -> AsyncIterator[Database]:
    """Owns the pool.

    And more about it.
    """
    yield Database()


class Starts:
    async def __aenter__(self) -> Database:
        return Database()

    async def __aexit__(self, *exc: object) -> None: ...


class Called:
    """Makes a database when it is called."""

    async def __call__(self) -> AsyncIterator[Database]:
        yield Database()

    async def method(self) -> AsyncIterator[Database]:
        yield Database()

    @staticmethod
    async def static() -> AsyncIterator[Database]:
        yield Database()


class Adds:
    def on_request(self, exchange: object) -> None: ...


class Passes:
    """Passes everything on.

    Without looking at it.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class Dispatches(BaseHTTPMiddleware): ...


def refused(message, make, *arguments, **keywords):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make(*arguments, **keywords)


def component(**fields):
    return LifespanContribution(**{"name": "database", "factory": database, "band": SERVICES, **fields})


def layer(**fields):
    return MiddlewareContribution(**{"name": "adds", "layer": Adds, "band": POLICY, **fields})


def routes(**fields):
    return RouteContribution(**{"name": "orders", "routes": [], **fields})


def handler(**fields):
    return ErrorHandlerContribution(**{"name": "conflict", "exception": ValueError, "handler": print, **fields})


async def started(contribution):
    async with contribution.factory() as value:
        return value


# -- components ------------------------------------------------------------------------------------------------------


def test_a_decorated_function_is_described():
    """Name, description and origin come from the function, the rest from the arguments and their defaults."""
    made = lifespan(band=SERVICES)(database)
    assert ("database", SERVICES, 350, "Owns the pool.") == (made.name, made.band, made.priority, made.description)
    assert f"in code, {__name__}:database" == str(made.provenance)
    assert ((), (), (), (), None) == (made.provides, made.requires, made.after, made.before, made.roles)
    assert (None, None, {}, "stop") == (made.start_timeout, made.stop_timeout, made.budget, made.on_crash)


def test_everything_can_be_said():
    """Each argument of the decorator reaches its field; single names and types needn't be in a list."""
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
        description="",
    )(database)
    assert ("db", SERVICES, 301) == (made.name, made.band, made.priority)
    assert ((Key(Repository[int]),), ("a",), ("b", "c"), ("d",)) == (
        made.provides,
        made.requires,
        made.after,
        made.before,
    )
    assert (frozenset({"web"}), 1, 2.5, {"postgres": 15}, "degrade", "") == (
        made.roles,
        made.start_timeout,
        made.stop_timeout,
        made.budget,
        made.on_crash,
        made.description,
    )


@asynccontextmanager
async def managed() -> AsyncIterator[Database]:
    yield Database()


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
async def test_whatever_makes_an_async_context_manager_will_do(function, expected):
    """Async generator functions and callables that return managers, in all their disguises, decorated or not."""
    made = lifespan(band=SERVICES)(function)
    assert expected == made.name
    assert isinstance(await started(made), Database)
    assert isinstance(await started(component(factory=function)), Database)


@pytest.mark.parametrize(
    ("function", "description", "where"),
    [
        (functools.partial(database), "Owns the pool.", "database"),
        (Called(), "Makes a database when it is called.", "Called"),
        (Called().method, "", "Called.method"),
        (Starts, "", "Starts"),
    ],
)
def test_what_is_inside_is_described(function, description, where):
    """A partial's own docstring and module are functools'; the function inside is what somebody wrote."""
    made = lifespan(band=SERVICES, name="it")(function)
    assert description == made.description
    if where != "Called":  # an object has no name of its own
        assert f"{__name__}:{where}" == made.provenance.entry_point


def test_a_function_without_a_module():
    """Made by hand, and still described."""
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
        (coroutine, f"coroutine {WANTED}"),
        (generator, f"generator {WANTED}"),
        (functools.partial(coroutine), f"coroutine {WANTED}"),
        (Coroutine(), f"Coroutine {WANTED}"),
        (Database, "the class Database has no __aenter__ and __aexit__"),
        (None, "expected something callable, got None"),
        ("database", "expected something callable, got 'database'"),
    ],
)
def test_what_can_never_start_is_refused_at_once(function, expected):
    """A function with no yield, or not async, or no function: the message says what to write."""
    refused(f"factory: {expected}", component, factory=function)
    with pytest.raises(ValueError, match=rf"^function: {re.escape(expected)} \({re.escape(__file__)}:\d+\)$"):
        lifespan(band=SERVICES)(function)


def test_a_sync_context_manager_is_left_to_the_plan():
    """It can't be told from a callable that returns something else; its annotation tells the plan."""
    assert "generator" == lifespan(band=SERVICES)(contextmanager(generator)).name


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize("timeout", ["start_timeout", "stop_timeout"])
@pytest.mark.parametrize("seconds", [0, -1, -0.5, math.inf, -math.inf, math.nan, True, "5", [], 10**400 * -1])
def test_deadlines_are_seconds(timeout, seconds):
    """A deadline that is none, or none that a clock can show, is refused."""
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
        ({"budget": 5}, "budget: expected a mapping like {'postgres': 15}, got 5"),
        ({"budget": {"a": -1}}, "budget: expected names with numbers from 0 up, got 'a': -1"),
        ({"budget": {"a": 1.5}}, "budget: expected names with numbers from 0 up, got 'a': 1.5"),
        ({"budget": {"a": True}}, "budget: expected names with numbers from 0 up, got 'a': True"),
        ({"budget": {1: 1}}, "budget: expected names with numbers from 0 up, got 1: 1"),
    ],
)
def test_what_a_component_can_not_be(fields, expected):
    """The message names the argument, what came and what would do."""
    refused(expected, component, **fields)


@pytest.mark.requirement("CF-18", "FA-17")
@pytest.mark.parametrize("make", [component, lambda **fields: lifespan(**fields)(database)])
def test_a_component_stands_in_its_band(make):
    """A priority outside its band is rejected when the description is made."""
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
    """One or several, with or without names; always kept as addresses."""
    assert expected == component(provides=provides).provides


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize("wrong", [None, "Database", Any, object, [Database, None], {Database}, (Database, 5, 6), [[]]])
def test_what_can_not_be_provided(wrong):
    """Nobody could ask for it."""
    with pytest.raises(ValueError, match=r"^provides: expected types or pairs \(type, name\), got "):
        component(provides=wrong)


def test_a_union_can_not_be_provided():
    """Who asks for ``Database | None`` asks for a Database."""
    refused(
        f"provides: expected types or pairs (type, name), got {Database | None!r}", component, provides=Database | None
    )


def test_a_budget_is_checked_wherever_it_comes_from():
    """A budget function's answer goes through the same check."""
    assert {"a": 0, "b": 7} == check_budget({"a": 0, "b": 7})
    refused("budget: expected a mapping like {'postgres': 15}, got None", check_budget, None)


# -- layers ----------------------------------------------------------------------------------------------------------


class Inherits(Adds): ...


class InheritsCall(Passes): ...


class SwitchesOff(Passes):
    __call__ = None  # type: ignore[assignment]

    def on_end(self, exchange: object) -> None: ...


class Callable(type):
    def __call__(cls, *arguments: Any) -> Any:
        return super().__call__(*arguments)


class MadeByMeta(metaclass=Callable):
    def on_error(self, exchange: object, error: object) -> None: ...


class Static:
    @staticmethod
    def on_request(exchange: object) -> None: ...

    @classmethod
    def on_end(cls, exchange: object) -> None: ...

    on_error = functools.partialmethod(lambda self, exchange, error: None)


class Property:
    @property
    def on_request(self) -> Any:
        return print


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Adds, "hooks"),
        (Inherits, "hooks"),
        (Passes, "asgi"),
        (InheritsCall, "asgi"),
        (SwitchesOff, "hooks"),
        (MadeByMeta, "hooks"),
        (Static, "hooks"),
        (Property, "hooks"),
    ],
)
def test_the_form_of_a_layer(kind, expected):
    """Inherited members count, those of a metaclass don't, and None switches one off."""
    assert expected == layer(layer=kind).form


def test_a_decorated_class_is_described():
    """Name, description and origin come from the class, the rest from the arguments and their defaults."""
    made = middleware(band=POLICY)(Passes)
    assert ("Passes", Passes, POLICY, 350) == (made.name, made.layer, made.band, made.priority)
    assert "Passes everything on." == made.description
    assert f"in code, {__name__}:Passes" == str(made.provenance)
    assert ((), (), {"http", "websocket"}, {}) == (made.after, made.before, made.scopes, made.options)
    assert "" == middleware(band=POLICY)(InheritsCall).description


def test_every_argument_of_a_layer():
    """Each argument of the decorator reaches its field."""
    made = middleware(
        priority=301,
        name="it",
        after="a",
        before=["b"],
        scopes="http",
        options={"x": 1},
        allow_base_http_middleware=True,
        description="Does it.",
    )(Dispatches)
    assert ("it", 301, ("a",), ("b",), {"http"}, {"x": 1}, "Does it.") == (
        made.name,
        made.priority,
        made.after,
        made.before,
        made.scopes,
        made.options,
        made.description,
    )


class Both(Passes):
    def on_request(self, exchange: object) -> None: ...


class Async:
    async def on_request(self, exchange: object) -> None: ...


class AsyncStatic:
    @staticmethod
    async def on_request(exchange: object) -> None: ...


class AsyncClass:
    @classmethod
    async def on_end(cls, exchange: object) -> None: ...


class AsyncPartial:
    on_end = functools.partialmethod(Async.on_request)


class AsyncGenerator(Adds):
    async def on_end(self, exchange: object) -> AsyncIterator[None]:
        yield


class Generator:
    def on_end(self, exchange: object) -> Iterator[None]:
        yield


class Constant:
    on_request = 5


ASYNC = "is async; hooks are plain functions. Use the ASGI form"


def _type_name(value: object) -> str | None:
    # Not the message: one of them holds an address, and tests need the same name in every process.
    return getattr(value, "__name__", type(value).__name__) if not isinstance(value, str) else ""


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Both, "layer: Both has __call__ and on_request; a layer has one form, not both"),
        (Database, "layer: Database has neither __call__ nor any of on_request, on_response_start, on_end, on_error"),
        (Async, f"layer: Async.on_request {ASYNC}"),
        (AsyncStatic, f"layer: AsyncStatic.on_request {ASYNC}"),
        (AsyncClass, f"layer: AsyncClass.on_end {ASYNC}"),
        (AsyncPartial, f"layer: AsyncPartial.on_end {ASYNC}"),
        (AsyncGenerator, f"layer: AsyncGenerator.on_end {ASYNC}"),
        (Generator, f"layer: Generator.on_end is no plain function: {Generator.on_end!r}"),
        (Constant, "layer: Constant.on_request is no plain function: 5"),
        (print, f"layer: expected a class, got {print!r}"),
        (Passes(None), "layer: expected a class, got "),
        (None, "layer: expected a class, got None"),
    ],
    ids=_type_name,
)
def test_what_is_no_layer(kind, expected):
    """A class has one form, and hooks are plain functions."""
    for make in (lambda: layer(layer=kind), lambda: middleware(band=POLICY, name="it")(kind)):
        with pytest.raises(ValueError, match=f"^{re.escape(expected)}"):
            make()


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"scopes": []}, "scopes: expected some of 'http' and 'websocket', got []"),
        ({"scopes": "lifespan"}, "scopes: expected some of 'http' and 'websocket', got ['lifespan']"),
        ({"scopes": {"http", "ftp"}}, "scopes: expected some of 'http' and 'websocket', got ['ftp', 'http']"),
        ({"scopes": None}, "scopes: expected names, got None"),
        ({"scopes": [1]}, "scopes: expected names, got 1"),
        ({"options": 5}, "options: expected constructor arguments by name, got 5"),
        ({"options": {1: 2}}, "options: expected constructor arguments by name, got {1: 2}"),
        ({"after": 5}, "after: expected names, got 5"),
        ({"name": None}, "name: expected letters, digits, '_', '-' and '.', a letter or '_' first, got None"),
    ],
)
def test_what_a_layer_can_not_be(fields, expected):
    """The message names the argument, what came and what would do."""
    refused(expected, layer, **fields)


@pytest.mark.requirement("CF-18", "FA-17")
def test_a_layer_stands_in_its_band():
    """A priority outside its band is rejected when the description is made."""
    refused(
        "priority: 99 lies outside its band. Allowed: SECURITY 100–199", layer, band=MiddlewareBand(100), priority=99
    )


@pytest.mark.requirement("CF-17")
def test_base_http_middleware_is_refused_with_the_reason():
    """It may pass where somebody says so, and for HTTP only."""
    refused(
        "layer: Dispatches is a starlette BaseHTTPMiddleware: it runs the app in a task of its own, loses trailers and "
        "context variables, and costs as much as 700 plain layers. Write it in hook form or as pure ASGI, or pass "
        "allow_base_http_middleware=True",
        layer,
        layer=Dispatches,
    )
    refused(
        "scopes: Dispatches is a starlette BaseHTTPMiddleware and serves only 'http'; pass scopes={'http'}",
        layer,
        layer=Dispatches,
        allow_base_http_middleware=True,
    )
    assert "asgi" == layer(layer=Dispatches, allow_base_http_middleware=True, scopes={"http"}).form


# -- routes and error handlers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [[], (), Router(), list, [Route("/", PlainTextResponse("up"))]])
def test_routes_come_in_several_shapes(given):
    """Routes, a router, or a function that makes them."""
    made = routes(routes=given, prefix="/v1", tags="orders")
    assert ("/v1", ("orders",)) == (made.prefix, made.tags)


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"prefix": "v1"}, "prefix: expected text that starts with '/' and doesn't end with it, got 'v1'"),
        ({"prefix": "/v1/"}, "prefix: expected text that starts with '/' and doesn't end with it, got '/v1/'"),
        ({"prefix": "/"}, "prefix: expected text that starts with '/' and doesn't end with it, got '/'"),
        ({"prefix": None}, "prefix: expected text that starts with '/' and doesn't end with it, got None"),
        ({"tags": [1]}, "tags: expected names, got 1"),
        ({"routes": None}, "routes: expected routes, a router or a function that makes them, got None"),
        ({"routes": "/orders"}, "routes: expected routes, a router or a function that makes them, got '/orders'"),
        ({"name": "1"}, "name: expected letters, digits, '_', '-' and '.', a letter or '_' first, got '1'"),
    ],
)
def test_what_routes_can_not_be(fields, expected):
    """The message names the argument, what came and what would do."""
    refused(expected, routes, **fields)


@pytest.mark.parametrize("exception", [ValueError, ExceptionGroup, 400, 404, 599])
def test_what_a_handler_answers_for(exception):
    """An exception type, or a status that is an error."""
    assert exception == handler(exception=exception).exception


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        *(
            ({"exception": wrong}, f"exception: expected an exception type or a status 400–599, got {wrong!r}")
            for wrong in (399, 600, True, KeyboardInterrupt, ValueError(), "ValueError", None)
        ),
        ({"handler": None}, "handler: expected something callable, got None"),
        ({"name": "1"}, "name: expected letters, digits, '_', '-' and '.', a letter or '_' first, got '1'"),
    ],
)
def test_what_a_handler_can_not_be(fields, expected):
    """The message names the argument, what came and what would do."""
    refused(expected, handler, **fields)


# -- all of them -----------------------------------------------------------------------------------------------------

ALL = [
    lambda: component(factory=managed, provides=(Database, "a"), budget={"postgres": 15}, roles={"web"}),
    lambda: component(factory=Starts, budget=dict),
    lambda: lifespan(band=SERVICES, provides=[Database])(database),
    lambda: value(Database, name="database", provides=(type, "a")),
    lambda: layer(options={"x": [1]}, scopes={"http"}),
    lambda: routes(routes=[Route("/", database)], tags=["a"]),
    handler,
]


@pytest.mark.parametrize("make", ALL)
def test_descriptions_are_frozen(make):
    """Nothing in them can be changed, not even inside."""
    made = make()
    for field in dataclasses.fields(made):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, field.name, None)
    assert [] == [
        field.name for field in dataclasses.fields(made) if isinstance(getattr(made, field.name), dict | list)
    ]


def test_what_was_handed_over_may_change_later():
    """A description keeps what it was made of."""
    budget, options, given = {"postgres": 15}, {"x": 1}, [Route("/", database)]
    made = component(budget=budget), layer(options=options), routes(routes=given)
    for inner in (budget, options, given):
        inner.clear()
    assert ({"postgres": 15}, {"x": 1}, 1) == (made[0].budget, made[1].options, len(made[2].routes))


@pytest.mark.parametrize("make", ALL[:2] + ALL[3:5] + ALL[6:])
def test_equal_descriptions_are_equal(make):
    """And so they can stand in a set."""
    assert make() == make()
    assert 1 == len({make(), make()})
    assert make() != dataclasses.replace(make(), name="other")


@pytest.mark.parametrize("make", ALL)
def test_a_description_can_be_replaced(make):
    """Discovery gives each the name of its entry point and its provenance; everything else stays."""
    made = make()
    provenance = Provenance("acme-data", "1.2", "acme:data")
    found = dataclasses.replace(made, name="found", provenance=provenance)
    assert ("found", provenance) == (found.name, found.provenance)
    assert made == dataclasses.replace(found, name=made.name, provenance=made.provenance)
    assert hash(made) == hash(dataclasses.replace(made))


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize("make", ALL)
def test_a_replaced_description_is_checked_again(make):
    """Discovery relies on it for names."""
    with pytest.raises(ValueError, match=r"^name: expected letters"):
        dataclasses.replace(make(), name="not a name")


@pytest.mark.parametrize("decorate", [lambda name: lifespan(band=SERVICES, name=name)(database)])
def test_an_empty_name_is_no_missing_name(decorate):
    """Only no name at all means the function's."""
    assert "database" == decorate(None).name
    refused("name: expected letters, digits, '_', '-' and '.', a letter or '_' first, got ''", decorate, "")


def test_a_lambda_needs_a_name():
    """Its own can't be written anywhere."""
    refused(
        "name: expected letters, digits, '_', '-' and '.', a letter or '_' first, got '<lambda>'",
        lifespan(band=SERVICES),
        lambda: Starts(),
    )


@pytest.mark.parametrize(
    ("provenance", "expected"),
    [
        (Provenance(), "in code"),
        (Provenance(entry_point="acme:data"), "in code, acme:data"),
        (Provenance("acme-data", "1.2"), "acme-data 1.2"),
        (Provenance("acme-data", "1.2", "acme:data"), "acme-data 1.2"),
        (Provenance("acme-data"), "acme-data (no version)"),
    ],
)
def test_who_brought_a_part(provenance, expected):
    """A distribution with its version, or the place in the code."""
    assert expected == str(provenance)
