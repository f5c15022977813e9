"""Tests of bandmaster.kernel.planning.wiring."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from starlette.middleware.cors import CORSMiddleware
from tests.kernel import deferred
from tests.kernel.planning.composing import (
    SERVICES,
    Cache,
    Database,
    Databases,
    Engine,
    Hooks,
    PoolSettings,
    Redis,
    SecretSettings,
    describe,
    layer,
    names,
    part,
    problem,
    problems,
)

from bandmaster.kernel import (
    Context,
    LifespanContribution,
    Named,
)
from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.planning.make import make_plan


def test_two_providers_of_one_type_are_a_problem_for_whoever_asks_for_one():
    """The problem names both parts and the possible annotations; `Named` tells the objects apart."""
    one, two = part("one", provides=Database), part("two", provides=Database)
    assert ["one", "two"] == names(make_plan([one, two]))
    assert (
        f"{describe('asks')} needs a Database, which {describe('one')} and {describe('two')} provide. "
        "Let each provide Annotated[Database, Named('...')], and name the one that is meant. "
        "All of them come by Sequence[Database] or Mapping[str, Database]."
    ) == problem(one, two, part("asks", needs=[Database]))
    replica = part("replica", provides=Annotated[Database, Named("replica")])
    plan = make_plan([one, replica, part("reads", needs=[Annotated[Database, Named("replica")]])])
    assert "replica" == plan.by_name["reads"].waits_for[0].to


def test_two_providers_of_one_name_are_a_problem():
    """A name that two parts of a type claim is a problem, whether somebody asks for that name or not."""
    named = Annotated[Database, Named("replica")]
    assert (
        f"{describe('one')} and {describe('two')} both provide a Database named 'replica'. "
        "A name tells the parts of one type apart: give one of them another, or disable one."
    ) == problem(part("one", provides=named), part("two", provides=named))


def test_only_components_have_a_context():
    """A `Context` is no resource, under any parameter name, and layers have none."""
    (component,) = make_plan([part("auth", needs=[Context])], context=Context).components
    assert () == component.waits_for
    assert (
        "layer 'it' (POLICY, acme 1.0) needs a Context, which nothing provides. Only components have one."
    ) == problem(layer("it", kind=TakesContext), context=Context)


class TakesContext(Hooks):
    def __init__(self, hand: Context) -> None: ...


def test_an_unreadable_signature_is_a_problem():
    """Unreadable needs and an unreadable return type are a problem each, and cause none elsewhere."""
    place = f"({__file__}:{odd.__code__.co_firstlineno})"
    assert [
        f"lifespan 'odd' (SERVICES, in code): {fault} {place}."
        for fault in (
            "it provides Database | None; a component provides one type, always",
            "parameter 'database' has no type; write one, or give it a default",
        )
    ] == list(map(str, problems(LifespanContribution(name="odd", factory=odd, band=SERVICES))))


async def odd(database) -> AsyncIterator[Database | None]:
    yield database


def test_the_signature_of_a_replaced_component_is_not_read():
    """A component that an override replaces may need anything."""
    unreadable = LifespanContribution(name="a", factory=deferred.absent_parameter, band=SERVICES)
    assert problems(unreadable)
    assert {"a": Key(deferred.Database)} == make_plan([unreadable], overrides={deferred.Database: 1}).replaced


def test_an_override_replaces_the_component():
    """A replaced component doesn't start; needs by type or name are met by the override."""
    database = part(
        "database", needs=[Engine, SecretSettings], provides=Database, requires="nobody", budget=lambda s: s
    )
    plan = make_plan(
        [database, part("jobs", needs=[Database], requires="database", after="database", before="database")],
        overrides={Database: "fake"},
    )
    assert ["jobs"] == names(plan)
    assert {"database": Key(Database)} == plan.replaced
    assert {Key(Database): "fake"} == plan.overrides
    assert () == plan.by_name["jobs"].waits_for
    assert () == plan.warnings


@pytest.mark.parametrize(
    "key", [(Database, "replica"), Annotated[Database, Named("replica")], Key(Database, "replica")]
)
def test_an_override_by_name(key):
    """An override by name replaces only the component of that name."""
    parts = [part("main", provides=Database), part("replica", provides=Annotated[Database, Named("replica")])]
    assert ["main"] == names(make_plan(parts, overrides={key: 1}))


def test_an_override_without_a_component():
    """An override meets a need that no component meets."""
    assert ["auth"] == names(make_plan([part("auth", needs=[Redis])], overrides={Redis: 1}))


def test_an_unused_override_is_a_warning():
    """The warning names the nearest type; overrides of settings may be meant for other parts and don't warn."""
    parts = [part("database", provides=Database)]
    assert ("overrides has an Engine, which nothing here provides or needs.",) == make_plan(
        parts, overrides={Engine: 1, PoolSettings: PoolSettings()}
    ).warnings
    assert ("overrides has a Databases, which nothing here provides or needs. Did you mean 'Database'?",) == make_plan(
        parts, overrides={Databases: 1}
    ).warnings


class Takes(Hooks):
    def __init__(self, database: Database, settings: PoolSettings, cache: Cache | None, limit: int = 5) -> None: ...


class App:
    def __init__(self, inner: Any, /, database: Database, *, app: Cache | None = None, **more: Any) -> None: ...

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class Variable:
    def __init__(self, *arguments: Any, title: str) -> None: ...

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        (Hooks, {}, []),
        (Takes, {}, ["database", "settings", "cache", "limit"]),
        (Takes, {"limit": 7}, ["database", "settings", "cache"]),
        (App, {}, ["database", "app"]),
        (App, {"anything": 1}, ["database", "app"]),
        (CORSMiddleware, {"allow_origins": ["*"]}, None),
        (deferred.Layer, {}, ["database", "cache"]),
        (Variable, {"title": "it"}, []),
    ],
)
def test_a_layer_takes_resources_settings_and_options(kind, options, expected):
    """Resources and settings come by type, options by name, and the app by position."""
    parts = [
        layer("it", kind=kind, options=options),
        part("db", provides=Database),
        part("d2", provides=deferred.Database),
    ]
    (only,) = make_plan(parts).layers
    assert "it" == only.name
    assert expected in (None, [need.parameter for need in only.needs])
    assert all(need.optional for need in only.needs) or expected is not None


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        (
            Takes,
            {},
            "layer 'it' (POLICY, acme 1.0) needs a Database, which nothing provides. Contribute a component that",
        ),
        (
            CORSMiddleware,
            {"allow_orgins": ["*"]},
            (
                "layer 'it' (POLICY, acme 1.0) has the option 'allow_orgins', which CORSMiddleware doesn't take. "
                "Did you mean 'allow_origins'?"
            ),
        ),
        (
            CORSMiddleware,
            {"app": 1},
            "layer 'it' (POLICY, acme 1.0) has the option 'app', which CORSMiddleware doesn't",
        ),
        (
            Variable,
            {},
            (
                "layer 'it' (POLICY, acme 1.0) needs a str, which nothing provides. Plain values belong into a "
                "settings type, or a layer's options; or pass overrides={str: ...}"
            ),
        ),
    ],
)
def test_arguments_that_a_layer_can_not_get_are_problems(kind, options, expected):
    """Wrong arguments are found when the layer is planned, before the construction."""
    assert problem(layer("it", kind=kind, options=options)).startswith(expected)


class Untyped(Hooks):
    def __init__(self, title) -> None: ...


def test_a_layer_with_an_unreadable_signature_is_a_problem():
    """The problem has the place of the class, and the hint says that its arguments can be given as options."""
    line = Untyped.__init__.__code__.co_firstlineno - 1
    assert (
        "layer 'it' (POLICY, acme 1.0): parameter 'title' has no type; write one, or give it a default "
        f"({__file__}:{line}). Or give it by name in options."
    ) == problem(layer("it", kind=Untyped))
    assert make_plan([layer("it", kind=Untyped, options={"title": "it"})]).layers[0].needs == ()
