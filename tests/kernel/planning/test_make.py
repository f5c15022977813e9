"""Tests of bandmaster.kernel.planning.make."""

import dataclasses
import random as randoms
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.middleware.cors import CORSMiddleware
from tests.kernel.planning.composing import (
    APPLICATION,
    MESSAGING,
    OBSERVABILITY,
    PERSISTENCE,
    SERVICES,
    Cache,
    Database,
    Engine,
    Hooks,
    Pool,
    PoolSettings,
    SecretSettings,
    layer,
    names,
    part,
    problem,
    problems,
)

from bandmaster.kernel import (
    ErrorHandlerContribution,
    MiddlewareBand,
    MiddlewareContribution,
    Named,
    PlanError,
    Provenance,
    RouteContribution,
)
from bandmaster.kernel.planning.deadlines import Deadlines
from bandmaster.kernel.planning.make import make_plan

POOL = [
    part("tracing", OBSERVABILITY),
    part("database", PERSISTENCE, provides=Database),
    part("cache", PERSISTENCE, needs=[Database | None], provides=Cache),
    part(
        "jobs",
        MESSAGING,
        needs=[Cache, PoolSettings],
        requires="database",
        budget=lambda settings: {"a": settings.size},
    ),
    part("late", SERVICES, after=["jobs", "gone"], before="host", budget={"a": 3, "b": 1}),
    part("host", SERVICES, needs=[Database, Cache]),
    part("web", SERVICES, roles="web"),
    part("worker", SERVICES, roles="worker"),
    layer("outer", 0),
    layer("ids", after="auth"),
    layer("auth"),
    layer("cors", kind=CORSMiddleware, options={"allow_origins": ["*"]}, before="auth"),
    RouteContribution(name="orders", routes=[]),
    RouteContribution(name="items", routes=[]),
    ErrorHandlerContribution(name="conflict", exception=ValueError, handler=print),
]


@pytest.mark.requirement("FA-13", "XC-L2", "FA-2", "CF-26")
@given(st.permutations(POOL), st.sampled_from([None, "web", "worker"]))
def test_the_same_set_gives_the_same_plan(parts, role):
    """The plan of a set of parts doesn't depend on the order in which they come."""
    options = {"role": role, "overrides": {Engine: 1, Cache: Cache()} if role else None}
    expected, actual = make_plan(POOL, **options), make_plan(parts, **options)
    fields = [field.name for field in dataclasses.fields(expected) if field.name not in ("settings", "overrides")]
    assert [getattr(expected, field) for field in fields] == [getattr(actual, field) for field in fields]
    assert list(expected.settings) == list(actual.settings)


FAULTY = [
    part("jobs", MESSAGING, after="brokr"),
    part("broker", MESSAGING),
    part("needs", needs=[Database]),
    part("self", needs=[Pool], provides=Pool),
    part("a", after="b"),
    part("b", after="a"),
    part("backwards", PERSISTENCE, needs=[Cache]),
    part("cache", APPLICATION, provides=Cache),
    part("twin", provenance=Provenance("one", "1")),
    part("twin", provenance=Provenance("two", "2")),
    part("engine", provides=Engine),
    part("motor", provides=Engine),
    part("drives", needs=[Engine]),
    part("secret", needs=[SecretSettings], budget=lambda settings: {"a": settings.size}),
    part("failing", budget=lambda: 1 / 0),
    part("requires", requires="nobody"),
    layer("inside", 310, after="outside"),
    layer("outside", 320),
    layer("option", kind=CORSMiddleware, options={"allow_orgins": "*"}),
    ErrorHandlerContribution(name="one", exception=404, handler=print),
    ErrorHandlerContribution(name="two", exception=404, handler=print),
]


@pytest.mark.requirement("FA-13", "XC-L2")
@given(st.permutations(FAULTY))
def test_the_same_faults_give_the_same_problems(parts):
    """The problems of a set of parts, to the letter, don't depend on the order in which the parts come."""
    assert list(map(str, problems(*FAULTY))) == list(map(str, problems(*parts)))


def test_every_problem_in_one_go():
    """All problems are reported at once, each with the name of the part that has it."""
    found = problems(*FAULTY)
    assert [
        ("twin", "have the same name"),
        ("two", "both answer for 404"),
        ("option", "has the option 'allow_orgins', which CORSMiddleware doesn't take"),
        ("drives", "needs an Engine, which"),
        ("needs", "needs a Database, which nothing provides"),
        ("self", "needs a Pool, which it provides itself"),
        ("SecretSettings", "TEST_SECRET_PASSWORD is not set"),
        ("SecretSettings", "TEST_SECRET_SIZE is not set"),
        ("jobs", "is to start after 'brokr'"),
        ("requires", "requires 'nobody'"),
        ("backwards", "in a later stage"),
        ("a", "wait for each other"),
        ("inside", "against their priorities"),
        ("failing", "its budget can't be had"),
    ] == [(one.subject, next(said for said in SAID if said in one.message)) for one in found]


SAID = [
    "have the same name",
    "both answer for 404",
    "needs an Engine, which",
    "has the option 'allow_orgins', which CORSMiddleware doesn't take",
    "needs a Database, which nothing provides",
    "needs a Pool, which it provides itself",
    "TEST_SECRET_PASSWORD is not set",
    "TEST_SECRET_SIZE is not set",
    "is to start after 'brokr'",
    "requires 'nobody'",
    "in a later stage",
    "wait for each other",
    "against their priorities",
    "its budget can't be had",
]


def test_a_plan_of_nothing():
    """A plan of no parts has no components and no layers."""
    plan = make_plan([])
    assert ([], (), (), 0) == (names(plan), plan.stages, plan.layers, plan.stop_seconds)


@pytest.mark.requirement("P-18")
def test_an_override_of_no_type_is_refused():
    """The message names the argument ``overrides``."""
    with pytest.raises(ValueError, match=r"^overrides: expected a type or a pair \(type, name\), got "):
        make_plan([], overrides={(Database, Cache, Engine): 1})


def test_settings_are_read_once():
    """A settings type is read once for all that need it; the order of reading depends on the types alone."""
    asked = []

    def read(kinds):
        asked.extend(kinds)
        return {kind: kind.model_construct() for kind in kinds}, ()

    parts = [part("a", needs=[SecretSettings, PoolSettings]), part("b", needs=[PoolSettings | None])]
    plan = make_plan([*parts, layer("it", kind=TakesSettings)], read_settings=read)
    assert [PoolSettings, SecretSettings] == asked == list(plan.settings)


class TakesSettings(Hooks):
    def __init__(self, settings: PoolSettings) -> None: ...


def test_settings_come_from_the_environment(monkeypatch):
    """Settings are read from the environment unless a reader is given."""
    monkeypatch.setenv("TEST_POOL_SIZE", "7")
    plan = make_plan([part("a", needs=[PoolSettings])])
    assert {PoolSettings: PoolSettings(size=7)} == plan.settings


def nobody_reads(kinds):
    raise AssertionError(list(kinds))


def test_overridden_settings_are_not_read():
    """An override by type serves every need; an override by name serves the needs of that name."""
    mine = PoolSettings(size=1)
    parts = [part("a", needs=[PoolSettings], budget=lambda settings: {"x": settings.size})]
    plan = make_plan(parts, overrides={PoolSettings: mine}, read_settings=nobody_reads)
    assert ({PoolSettings: mine}, {"x": 1}) == (plan.settings, plan.budget)
    named = part("a", needs=[Annotated[PoolSettings, Named("replica")]])
    plan = make_plan([named], overrides={(PoolSettings, "replica"): mine}, read_settings=nobody_reads)
    assert {} == plan.settings


def test_settings_that_a_component_provides_are_not_read():
    """A settings type that a component provides is a resource."""
    parts = [part("vault", PERSISTENCE, provides=SecretSettings), part("a", needs=[SecretSettings])]
    plan = make_plan(parts, read_settings=nobody_reads)
    assert "vault" == plan.by_name["a"].waits_for[0].to


@pytest.mark.requirement("FA-10")
def test_missing_settings_are_named_by_their_variables():
    """A missing setting is one problem that names the variable; budgets that follow from it add none."""
    needy = part("a", needs=[SecretSettings], budget=lambda settings: {"x": settings.size})
    assert [
        (
            "TEST_SECRET_PASSWORD is not set (SecretSettings needs it). "
            "Set it in the environment, or pass overrides={SecretSettings: SecretSettings(...)}. "
            "SecretSettings is read by lifespan 'a' (SERVICES, acme 1.0)."
        ),
        (
            "TEST_SECRET_SIZE is not set (SecretSettings needs it). "
            "Set it in the environment, or pass overrides={SecretSettings: SecretSettings(...)}. "
            "SecretSettings is read by lifespan 'a' (SERVICES, acme 1.0)."
        ),
    ] == list(map(str, problems(needy)))


def test_every_reader_of_missing_settings_is_named():
    """The hint names each component and each layer that reads the settings type."""

    class Secretive(Hooks):
        def __init__(self, settings: SecretSettings): ...

    found = problems(part("a", needs=[SecretSettings]), part("b"), layer("l", kind=Secretive))
    assert ["SecretSettings is read by lifespan 'a' (SERVICES, acme 1.0) and layer 'l' (POLICY, acme 1.0)."] * 2 == [
        problem.hint.partition("}. ")[2] for problem in found
    ]


def test_declared_deadlines_win_over_settings():
    """Other starts have the setting's deadline, other stops a share of the grace."""
    parts = [part("a", start_timeout=1, stop_timeout=2), part("b")]
    assert {"a": (1, 2), "b": (30, 10)} == {one.name: (one.start_timeout, one.stop_timeout) for one in make_plan(parts)}
    deadlines = Deadlines(start=7, stop=3, left_for_stops=20)
    plan = make_plan(parts, deadlines=deadlines)
    assert {"a": (1, 2), "b": (7, 3)} == {one.name: (one.start_timeout, one.stop_timeout) for one in plan}
    assert 3 == plan.stop_seconds


def test_stops_share_the_rest_of_the_grace():
    """All stops together fit into the rest of the grace."""
    parts = [part("a", PERSISTENCE), part("b", MESSAGING), part("c", stop_timeout=2), part("d", after="c")]
    plan = make_plan(parts, deadlines=Deadlines(left_for_stops=20))
    assert {"a": 6, "b": 6, "c": 2, "d": 6} == {one.name: one.stop_timeout for one in plan}
    assert 20 == plan.stop_seconds


@pytest.mark.parametrize("stop", [None, 15.0])
def test_stops_that_exceed_the_grace_are_a_problem(stop):
    """The problem gives the sum, the rest of the grace, the longest stops and the settings that decide."""
    parts = [part("a", 100, stop_timeout=15), part("b", 200, stop_timeout=8), part("c", 300)]
    alone = "23 s on the slowest path, with 1 more that declare none"
    added, longest = (
        (alone, "'a' 15 s, 'b' 8 s") if stop is None else ("38 s on the slowest path", "'a' 15 s, 'c' 15 s, 'b' 8 s")
    )
    setting = "" if stop is None else ", BANDMASTER_STOP_TIMEOUT"
    assert (
        f"the stops' deadlines add up to {added}, but BANDMASTER_DRAIN_DELAY and BANDMASTER_DRAIN_TIMEOUT leave 20 s "
        "of BANDMASTER_TERMINATION_GRACE. Raise BANDMASTER_TERMINATION_GRACE (and the platform's), or lower "
        f"BANDMASTER_DRAIN_TIMEOUT{setting} or the deadlines of stops, the longest of which are {longest}."
    ) == problem(*parts, deadlines=Deadlines(stop=stop, left_for_stops=20))


def test_a_short_share_is_a_warning():
    """A share of less than a second fits, but few components stop in that time."""
    parts = [part(name, priority) for priority, name in enumerate("abcde")]
    assert (
        (
            "stops that declare no deadline have only 400 ms each: 5 of them follow one another, and "
            "BANDMASTER_DRAIN_DELAY and BANDMASTER_DRAIN_TIMEOUT leave 2 s of BANDMASTER_TERMINATION_GRACE."
        ),
    ) == make_plan(parts, deadlines=Deadlines(left_for_stops=2)).warnings


def test_a_large_plan():
    """A thousand components in chains of ten, with orderings that name no part, are planned within seconds."""
    parts = [
        part(f"c{number:04}", after=[f"c{number - 1:04}", f"x{number % 7}"] if number % 10 else ())
        for number in range(1000)
    ]
    randoms.Random(1).shuffle(parts)
    plan = make_plan(parts)
    assert 1000 == len(plan.components)
    assert ["c0000", "c0001"] == [name for name in names(plan) if name < "c0002"]


def test_a_worker_has_no_layers():
    """A role that serves no requests leaves out layers, routes and error handlers, and needs nothing for them."""

    class Session: ...

    class NeedsSession:
        def __init__(self, session: Session) -> None: ...

        def on_request(self, exchange): ...

    parts = [
        part("jobs"),
        part("session", roles={"web"}, provides=Session),
        MiddlewareContribution(name="signed_in", layer=NeedsSession, band=MiddlewareBand.SECURITY),
        RouteContribution(name="page", routes=[]),
        ErrorHandlerContribution(name="oops", exception=KeyError, handler=print),
    ]
    web, worker = make_plan(parts, role="web"), make_plan(parts, role="worker")
    assert (["signed_in"], ()) == ([layer.name for layer in web.layers], web.unserved)
    assert ((), (), ()) == (worker.layers, worker.routes, worker.error_handlers)
    assert ["oops", "page", "signed_in"] == [one.name for one in worker.unserved]
    assert "no requests are served" in str(worker.explain("signed_in"))
    with pytest.raises(PlanError, match="signed_in"):
        make_plan(parts, role="worker", serves=True)
    assert () == make_plan([*parts[2:]], role="worker").components


def test_without_a_role_everything_is_planned():
    """No role means every part, for tools that show all of them."""
    assert ["page"] == [one.name for one in make_plan([RouteContribution(name="page", routes=[])]).routes]
