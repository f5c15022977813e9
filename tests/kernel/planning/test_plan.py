"""Tests of bandmaster.kernel.planning.plan."""

import dataclasses
from collections.abc import AsyncIterator

import pytest
from pydantic_settings import BaseSettings

from bandmaster.kernel import (
    Context,
    ErrorHandlerContribution,
    KernelSettings,
    LifespanBand,
    LifespanContribution,
    MiddlewareBand,
    MiddlewareContribution,
    Provenance,
    RouteContribution,
    lifespan,
)
from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.planning.deadlines import Deadlines
from bandmaster.kernel.planning.make import make_plan
from bandmaster.kernel.planning.plan import Edge

ACME = Provenance("acme", "1.0", "acme.parts:it")


class Database: ...


class Cache: ...


class Clock: ...


class PoolSettings(BaseSettings):
    size: int = 10


async def tracing() -> AsyncIterator[None]:
    yield


async def database(settings: PoolSettings, context: Context) -> AsyncIterator[Database]:
    yield Database()


async def cache(database: Database, clock: Clock) -> AsyncIterator[Cache]:
    yield Cache()


async def jobs(cache: Cache, database: Database | None, size: int = 5) -> AsyncIterator[None]:
    yield


class Hooks:
    def __init__(self, database: Database, settings: PoolSettings) -> None: ...

    def on_request(self, exchange: object) -> None: ...


class Asgi:
    def __init__(self, app: object, cache: Cache | None = None) -> None: ...

    async def __call__(self, scope: object, receive: object, send: object) -> None: ...


def part(function, band, **fields):
    return LifespanContribution(
        **{"name": function.__name__, "factory": function, "band": band, "provenance": ACME, **fields}
    )


PARTS = [
    part(tracing, LifespanBand.OBSERVABILITY, provenance=Provenance(entry_point="shop:tracing")),
    part(database, LifespanBand.PERSISTENCE, budget={"postgres": 15, "threads": 1}, provides=Clock, stop_timeout=2.5),
    part(cache, LifespanBand.PERSISTENCE, name="cache", start_timeout=5),
    part(tracing, LifespanBand.PERSISTENCE, name="beside"),
    part(tracing, LifespanBand.PERSISTENCE, name="aside", after="database"),
    part(jobs, LifespanBand.SERVICES, roles={"web", "worker"}, budget={"postgres": 3}),
    part(tracing, LifespanBand.SERVICES, name="cron", roles="cron"),
    MiddlewareContribution(name="auth", layer=Hooks, band=MiddlewareBand.SECURITY, scopes="http", provenance=ACME),
    MiddlewareContribution(name="ids", layer=Asgi, band=MiddlewareBand.SECURITY, before=["auth", "gone"]),
    MiddlewareContribution(name="last", layer=Asgi, band=MiddlewareBand.INNERMOST, after=["auth"]),
    RouteContribution(name="orders", routes=[], provenance=ACME),
    ErrorHandlerContribution(name="conflict", exception=ValueError, handler=print),
]


def planned(**options):
    return make_plan(PARTS, **{"role": "web", "context": Context, **options})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "tracing",
            """\
tracing: component 1 of 6, in stage OBSERVABILITY 50
  brought by in code, shop:tracing
  has 30 s to start (BANDMASTER_START_TIMEOUT) and 5.8 s to stop (an equal share of the grace)""",
        ),
        (
            "database",
            """\
database: component 3 of 6, in stage PERSISTENCE 150, which starts when all of OBSERVABILITY 50 has started
  brought by acme 1.0, acme.parts:it
  aside waits for it: it is declared to start after 'database'
  cache waits for it: it needs its Database
  jobs waits for it: it needs its Database
  takes settings: PoolSettings from the environment
  takes context: Context from the kernel
  provides Database
  provides Clock
  starts beside 'beside'
  has 30 s to start (BANDMASTER_START_TIMEOUT) and 2.5 s to stop (as it declares)
  may hold 15 of postgres
  may hold 1 of threads""",
        ),
        (
            "cache",
            """\
cache: component 5 of 6, in stage PERSISTENCE 150, which starts when all of OBSERVABILITY 50 has started
  brought by acme 1.0, acme.parts:it
  waits for database: it needs its Database
  jobs waits for it: it needs its Cache
  takes database: Database from 'database'
  takes clock: Clock from 'database'
  provides Cache
  starts beside 'beside' and 'aside'
  has 5 s to start (as it declares) and 5.8 s to stop (an equal share of the grace)""",
        ),
        (
            "jobs",
            """\
jobs: component 6 of 6, in stage SERVICES 350, which starts when all of PERSISTENCE 150 has started
  brought by acme 1.0, acme.parts:it
  waits for cache: it needs its Cache
  waits for database: it needs its Database
  takes cache: Cache from 'cache'
  takes database: Database from 'database'
  takes size: int from its default
  has 30 s to start (BANDMASTER_START_TIMEOUT) and 5.8 s to stop (an equal share of the grace)
  may hold 3 of postgres
  belongs to the roles 'web' and 'worker'""",
        ),
        (
            "cron",
            """\
cron: not started: it belongs to the roles 'cron', not 'web'
  brought by acme 1.0, acme.parts:it""",
        ),
        (
            "auth",
            """\
auth: layer 2 of 3 from outside, in SECURITY 150
  brought by acme 1.0, acme.parts:it
  stands inside 'ids', as that declares
  stands outside 'last', as that declares
  serves 'http' in hook form
  takes database: Database from 'database'
  takes settings: PoolSettings from the environment""",
        ),
        (
            "ids",
            """\
ids: layer 1 of 3 from outside, in SECURITY 150
  brought by in code
  stands outside 'auth', as it declares
  serves 'http' and 'websocket' in ASGI form
  takes cache: Cache from 'cache'""",
        ),
        (
            "last",
            """\
last: layer 3 of 3 from outside, in INNERMOST 450
  brought by in code
  stands inside 'auth', as it declares
  serves 'http' and 'websocket' in ASGI form
  takes cache: Cache from 'cache'""",
        ),
        ("orders", "orders: goes into the host application\n  brought by acme 1.0, acme.parts:it"),
        ("conflict", "conflict: goes into the host application\n  brought by in code"),
    ],
)
def test_why_a_part_stands_where_it_stands(name, expected):
    """An explanation gives place and rule, distribution, edges in both directions, needs, and provided types."""
    assert expected == str(planned(deadlines=Deadlines(left_for_stops=20)).explain(name))


def test_what_an_override_does():
    """A replaced component is explained as replaced, and its dependents take the override."""
    plan = planned(overrides={Cache: Cache(), Database: None})
    assert "cache: not started: an override provides Cache in its place\n  brought by overrides" == str(
        plan.explain("cache")
    )
    assert "takes cache: Cache from an override" in str(plan.explain("jobs"))
    assert "takes database: Database from an override" in plan.explain("auth").facts


def test_what_nobody_provides():
    """An optional need without a default is None."""
    plan = make_plan([part(optional, LifespanBand.SERVICES)])
    assert "takes clock: Clock from nobody, so it is None" in plan.explain("optional").facts


async def optional(clock: Clock | None) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("databse", "there is no 'databse' in the plan. Did you mean 'database'?"),
        ("crom", "there is no 'crom' in the plan. Did you mean 'cron'?"),
        ("order", "there is no 'order' in the plan. Did you mean 'orders'?"),
        ("xyz", "there is no 'xyz' in the plan."),
    ],
)
def test_a_part_that_is_not_there(name, expected):
    """The error names the nearest name of all parts in the plan."""
    with pytest.raises(KeyError) as caught:
        planned().explain(name)
    assert expected == caught.value.args[0]


def test_an_explanation_has_fields():
    """The fields of an explanation are for programs."""
    found = planned().explain("cache")
    assert ("cache", "acme 1.0, acme.parts:it") == (found.name, found.brought_by)
    assert (Edge("database", "it needs its Database"),) == found.waits_for
    assert (Edge("jobs", "it needs its Cache"),) == found.waited_for_by


def test_a_plan_answers():
    """Components are found by name, by provided type, and by dependent."""
    plan = planned()
    assert ["tracing", "beside", "database", "aside", "cache", "jobs"] == [component.name for component in plan]
    assert set(plan.by_name) == {component.name for component in plan}
    assert {Key(Database): "database", Key(Clock): "database", Key(Cache): "cache"} == plan.provided
    assert ["aside", "cache", "jobs"] == [edge.to for edge in plan.dependents["database"]]
    assert {"postgres": 18, "threads": 1} == plan.budget
    assert ["conflict", "orders"] == sorted(one.name for one in (*plan.routes, *plan.error_handlers))


def test_a_plan_reads_as_its_names():
    """The repr of a plan names the role and the components."""
    assert "<Plan for web: tracing, beside, database, aside, cache, jobs>" == repr(planned())
    assert "<Plan: no components>" == repr(make_plan([]))


def test_a_plan_is_frozen():
    """The mappings of a plan can't be changed."""
    plan = planned()
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.role = "worker"
    for mapping in (plan.by_name, plan.provided, plan.dependents, plan.budget, plan.settings, plan.overrides):
        with pytest.raises(TypeError):
            mapping["new"] = 1
    with pytest.raises(TypeError):
        plan.by_name["database"].budget["postgres"] = 1000


def test_the_settings_that_count(monkeypatch):
    """An override comes first, then the settings as read; a type that no part reads is None."""
    monkeypatch.setenv("BANDMASTER_DRAIN_TIMEOUT", "3")

    @lifespan(band=LifespanBand.SERVICES, name="part")
    async def part(settings: KernelSettings) -> AsyncIterator[None]:
        yield

    given = KernelSettings(drain_timeout=7)
    assert 3 == make_plan([part]).settings_of(KernelSettings).drain_timeout
    assert given is make_plan([part], overrides={KernelSettings: given}).settings_of(KernelSettings)
    assert make_plan([]).settings_of(KernelSettings) is None


def test_settings_and_overrides_are_not_shown():
    """Settings and overrides may hold secrets, so the repr has neither."""
    assert "hunter2" not in repr(planned(overrides={Cache: "hunter2"}))
