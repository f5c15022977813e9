"""Tests of bandmaster.kernel.planning.make, and of the rooms that it is made of."""

import dataclasses
import functools
import random as randoms
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Protocol, runtime_checkable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from starlette.middleware.cors import CORSMiddleware
from tests.kernel import deferred

from bandmaster.kernel import (
    Context,
    ErrorHandlerContribution,
    LifespanBand,
    LifespanContribution,
    MiddlewareBand,
    MiddlewareContribution,
    Named,
    PlanError,
    Problem,
    Provenance,
    RouteContribution,
)
from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.planning.deadlines import Deadlines
from bandmaster.kernel.planning.make import make_plan

OBSERVABILITY, PERSISTENCE, MESSAGING, SERVICES, APPLICATION = LifespanBand
POLICY = MiddlewareBand.POLICY
ACME = Provenance("acme", "1.0", "acme:part")


class Database: ...


class Engine: ...


class Cache: ...


class Redis:
    __module__ = "redis.asyncio.client"


class Oidc:
    __module__ = "bandmaster.contrib.oidc.client"


class Pings(Protocol):
    def ping(self) -> None: ...


@runtime_checkable
class Closes(Protocol):
    def close(self) -> None: ...


class Pool:
    def ping(self) -> None: ...

    def close(self) -> None: ...


class PoolSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="TEST_POOL_")

    size: int = 10


class SecretSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="TEST_SECRET_")

    password: SecretStr
    size: int


def part(name, band=SERVICES, needs=None, provides=None, **fields):
    """A component whose function takes ``needs`` and yields ``provides``."""
    parameters = {f"p{index}": kind for index, kind in enumerate(needs or ())}
    code = f"async def function({', '.join(parameters)}):\n    yield\n"
    space: dict[str, Any] = {}
    exec(code, space)
    function = space["function"]
    function.__annotations__ = {**parameters, "return": AsyncIterator[provides]}
    function.__module__, function.__qualname__ = __name__, name
    priority = {"priority": band} if isinstance(band, int) else {"band": band}
    return LifespanContribution(
        **{"name": name, "factory": asynccontextmanager(function), "provenance": ACME, **priority, **fields}
    )


class Hooks:
    def on_request(self, exchange: object) -> None: ...


def layer(name, band=POLICY, kind=Hooks, **fields):
    priority = {"priority": band} if isinstance(band, int) else {"band": band}
    return MiddlewareContribution(**{"name": name, "layer": kind, "provenance": ACME, **priority, **fields})


def names(plan):
    return [component.name for component in plan]


def stacked(plan):
    return [layer.name for layer in plan.layers]


def problems(*parts, **options):
    with pytest.raises(PlanError) as caught:
        make_plan(parts, **options)
    return list(caught.value.problems)


def problem(*parts, **options):
    (only,) = problems(*parts, **options)
    return str(only)


def who(name, band="SERVICES"):
    return f"lifespan {name!r} ({band}, acme 1.0)"


# -- order -----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("FA-13", "XC-L2", "CF-30")
def test_bands_then_edges_then_names():
    """Stages are barriers, lowest first; inside a stage the edges decide, then the names."""
    plan = make_plan(
        [
            part("z", PERSISTENCE, provides=Database),
            part("a", PERSISTENCE, needs=[Database]),
            part("b", PERSISTENCE),
            part("first", 0),
            part("last", APPLICATION, needs=[Database]),
            part("early", 101),
        ]
    )
    assert ["first", "early", "b", "z", "a", "last"] == names(plan)
    assert [
        (OBSERVABILITY, 0, ("first",)),
        (PERSISTENCE, 101, ("early",)),
        (PERSISTENCE, 150, ("b", "z", "a")),
        (APPLICATION, 450, ("last",)),
    ] == [(stage.band, stage.priority, stage.components) for stage in plan.stages]
    assert [0, 1, 2, 2, 2, 3] == [component.stage for component in plan]


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
    """In whatever order parts are found."""
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
    """In whatever order parts are found, the report is the same, to the letter."""
    assert list(map(str, problems(*FAULTY))) == list(map(str, problems(*parts)))


def test_every_problem_in_one_go():
    """A set with many faults is told all of them, each by the name of a part that it is about."""
    found = problems(*FAULTY)
    assert [
        ("twin", "have the same name"),
        ("two", "both answer for 404"),
        ("motor", "both provide an Engine"),
        ("option", "has the option 'allow_orgins', which CORSMiddleware doesn't take"),
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
    "both provide an Engine",
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
    """Is a plan."""
    plan = make_plan([])
    assert ([], (), (), 0) == (names(plan), plan.stages, plan.layers, plan.stop_seconds)


@pytest.mark.requirement("P-18")
def test_what_is_no_contribution():
    """A function that nobody has decorated."""
    with pytest.raises(ValueError, match=r"^contributions: expected contributions, got <built-in function print>$"):
        make_plan([print])


# -- names -----------------------------------------------------------------------------------------------------------


def test_two_of_one_name():
    """Both are named, and where each came from; three are two problems."""
    one, two = Provenance("acme-jobs", "1.0"), Provenance("other-jobs", "2.1")
    assert (
        "lifespan 'jobs' (MESSAGING, acme-jobs 1.0) and lifespan 'jobs' (SERVICES, other-jobs 2.1) have the same name. "
        "Names are unique across all distributions: uninstall one, or rename the one that is yours."
    ) == problem(part("jobs", provenance=two), part("jobs", MESSAGING, provenance=one))
    assert 2 == len(problems(part("jobs"), part("jobs", provenance=one), part("jobs", provenance=two)))


def test_names_are_unique_within_a_group():
    """A layer may be called as a component is."""
    handler = ErrorHandlerContribution(name="jobs", exception=ValueError, handler=print)
    assert make_plan([part("jobs"), layer("jobs"), RouteContribution(name="jobs", routes=[]), handler])
    assert problem(handler, dataclasses.replace(handler, exception=KeyError)).startswith(
        "error handler 'jobs' (in code) and error handler 'jobs' (in code) have the same name."
    )
    assert problem(RouteContribution(name="a", routes=[]), RouteContribution(name="a", routes=())).startswith(
        "routes 'a' (in code) and routes 'a' (in code) have the same name."
    )


def test_two_handlers_for_one_exception():
    """Only one could answer."""
    one = ErrorHandlerContribution(name="one", exception=ValueError, handler=print, provenance=ACME)
    assert (
        "error handler 'one' (acme 1.0) and error handler 'two' (acme 1.0) both answer for ValueError. "
        "Disable one of them."
    ) == problem(one, dataclasses.replace(one, name="two"))


@pytest.mark.requirement("CF-30", "XC-L3")
def test_a_slip_in_an_ordering():
    """A name that is nearly another's is a slip; the message says whose the other is."""
    broker = part("broker", MESSAGING, provenance=Provenance("bandmaster-taskiq", "1.0"))
    jobs = "lifespan 'jobs' (SERVICES, acme 1.0) is to start"
    hint = "which nobody contributes. Did you mean 'broker' (bandmaster-taskiq 1.0)?"
    assert f"{jobs} after 'brokr', {hint}" == problem(part("jobs", after="brokr"), broker)
    assert f"{jobs} before 'borker', {hint}" == problem(part("jobs", before="borker"), broker)
    auth = layer("auth", after="tracign")
    assert (
        "layer 'auth' (POLICY, acme 1.0) is to stand inside 'tracign', which nobody contributes. "
        "Did you mean 'tracing' (acme 1.0)?"
    ) == problem(auth, layer("tracing"))


@pytest.mark.parametrize(
    ("after", "options"),
    [
        ("metrics", {}),
        ("brokr", {"known": ["brokr"]}),
        ("other-role", {"role": "web"}),
        ("jobz", {}),
    ],
)
def test_ordering_never_implies_requirement(after, options):
    """A name that nobody has, that is left out, or that belongs to another role, orders nothing and harms nobody."""
    plan = make_plan(
        [part("jobs", after=after, before=after), part("broker"), part("other-role", roles="worker")], **options
    )
    assert () == plan.by_name["jobs"].waits_for
    assert () == plan.warnings


def test_a_name_that_goes_on_may_be_another_part():
    """'redis' beside 'redis2' is no slip for sure, so it only warns."""
    parts = [part("jobs", after="redis"), part("redis2")]
    assert (
        (
            "lifespan 'jobs' (SERVICES, acme 1.0) is to start after 'redis', which nobody contributes. "
            "Did you mean 'redis2' (acme 1.0)?"
        ),
    ) == make_plan(parts).warnings
    assert () == make_plan(parts, known=["redis"]).warnings


@pytest.mark.parametrize("how", ["requires", "after", "before"])
def test_nothing_waits_for_itself(how):
    """By name."""
    reason = "it requires" if how == "requires" else f"it is declared to start {how}"
    assert f"{who('jobs')}: {reason} 'jobs', which is itself." == problem(part("jobs", **{how: "jobs"}))


@pytest.mark.parametrize(
    ("requires", "options", "expected"),
    [
        ("worker", {"role": "web"}, "It belongs to the roles 'cron' and 'worker', not 'web'."),
        ("audit", {"known": ["audit"]}, "It is disabled; enable it, or disable this one too."),
        ("databse", {}, "Did you mean 'database' (acme 1.0)?"),
        ("audit", {}, "Install the part that brings it."),
    ],
)
def test_what_is_required_must_be_there(requires, options, expected):
    """The message says why it isn't."""
    parts = [part("jobs", requires=requires), part("database"), part("worker", roles={"worker", "cron"})]
    assert f"{who('jobs')} requires {requires!r}, which isn't there. {expected}" == problem(*parts, **options)


# -- edges -----------------------------------------------------------------------------------------------------------


def test_why_each_waits_for_whom():
    """A need, a requirement and an ordering; the first that is declared is the reason."""
    plan = make_plan(
        [
            part("database", PERSISTENCE, provides=Database, before="jobs"),
            part("cache", PERSISTENCE),
            part("broker", before="jobs"),
            part("jobs", needs=[Database], requires=["database", "cache"], after=["cache", "tracing"]),
            part("tracing", OBSERVABILITY),
        ]
    )
    assert (
        ("broker", "'broker' is declared to start before it"),
        ("cache", "it requires 'cache'"),
        ("database", "'database' is declared to start before it"),
        ("tracing", "it is declared to start after 'tracing'"),
    ) == plan.by_name["jobs"].waits_for
    assert ((("jobs", "'broker' is declared to start before it"),)) == plan.dependents["broker"]


@pytest.mark.requirement("FA-13", "XC-L3", "CF-30")
def test_an_edge_to_a_later_stage():
    """Both ends, both distributions, why, and what to do."""
    late = part("cache", MESSAGING, provides=Cache, provenance=Provenance("bandmaster-redis", "2.0"))
    assert (
        "lifespan 'jobs' (PERSISTENCE, acme 1.0) is to wait for lifespan 'cache' (MESSAGING, bandmaster-redis 2.0), "
        "which starts in a later stage: it needs its Cache. "
        "Move 'jobs' to MESSAGING or later (now PERSISTENCE 150), or 'cache' to PERSISTENCE 150 or earlier "
        "(now MESSAGING 250)."
    ) == problem(part("jobs", PERSISTENCE, needs=[Cache]), late)
    assert "Move 'jobs' to PERSISTENCE 170 or later" in problem(part("jobs", PERSISTENCE, after="b"), part("b", 170))
    assert "'late' is declared to start before it" in problem(part("late", before="early"), part("early", MESSAGING))


@pytest.mark.requirement("FA-13", "XC-L3", "CF-30")
def test_a_cycle():
    """Drawn from edge to edge, each with its reason and who brought it."""
    assert (
        "lifespans a → b → a wait for each other: 'a' waits for 'b' (it needs its Cache; acme 1.0), 'b' waits for 'a' "
        "(it is declared to start after 'a'; other 2.0). "
        "Take one of these edges away, or let both use a third component."
    ) == problem(part("a", needs=[Cache]), part("b", provides=Cache, after="a", provenance=Provenance("other", "2.0")))


# -- needs -----------------------------------------------------------------------------------------------------------


def needing(kind, **options):
    part_ = part("auth", needs=[kind], provenance=Provenance("bandmaster-oidc", "1.0"))
    return functools.partial(problem, part_, **options)


MISSING = "lifespan 'auth' (SERVICES, bandmaster-oidc 1.0) needs a"


def test_what_nothing_provides():
    """Who needs what, from which distribution, and what to install or pass."""
    assert (
        f"{MISSING} Redis, which nothing provides. Install bandmaster-redis, or pass overrides={{Redis: ...}}"
    ) == needing(Redis)()
    assert (
        f"{MISSING}n Oidc, which nothing provides. bandmaster-oidc brings it: let its part in, or pass "
        "overrides={Oidc: ...}"
    ) == needing(Oidc)()
    assert (
        f"{MISSING} Database, which nothing provides. Contribute a component that does, or pass "
        "overrides={Database: ...}"
    ) == needing(Database)()
    assert (
        f"{MISSING} Database named 'replica', which nothing provides. Contribute a component that does, or pass "
        "overrides={(Database, 'replica'): ...}"
    ) == needing(Annotated[Database, Named("replica")])()
    assert (
        f"{MISSING}n int, which nothing provides. Plain values belong into a settings type, or a layer's options; or "
        "pass overrides={int: ...}"
    ) == needing(int)()


class Databases: ...


@pytest.mark.parametrize(
    ("wanted", "there", "expected"),
    [
        (
            Database,
            part("db", provides=Annotated[Database, Named("replica")]),
            "'db' provides a Database named 'replica'; name the one that is meant with Named.",
        ),
        (
            Closes,
            part("db", provides=Pool),
            "'db' provides a Pool, which is one; resources are found by exact type, so let it declare provides=Closes.",
        ),
        (
            Pings,
            part("db", provides=Pool),
            "Contribute a component that does, or pass overrides={Pings: ...}",
        ),
        (
            Database,
            part("db", provides=Databases),
            (
                "Contribute a component that does, or pass overrides={Database: ...}. "
                "Did you mean 'Databases', which 'db' (acme 1.0) provides?"
            ),
        ),
        (
            list[Database],
            part("db", provides=list[Databases]),
            (
                "Contribute a component that does, or pass overrides={list[Database]: ...}. "
                "Did you mean 'list[Databases]', which 'db' (acme 1.0) provides?"
            ),
        ),
    ],
)
def test_something_similar_is_provided(wanted, there, expected):
    """Under another name, as a subclass, or of a like-named type."""
    said = problem(part("auth", needs=[wanted]), there)
    assert expected == said.partition("which nothing provides. ")[2]


def test_another_role_would_provide_it():
    """Or it is overridden elsewhere."""
    unreadable = part("odd", roles="worker", provides=Database | None)
    worker = part("worker", roles="worker", provides=Database)
    auth = part("auth", needs=[Database])
    assert "'worker' would, but belongs to the roles 'worker', not 'web'." in problem(
        auth, unreadable, worker, role="web"
    )
    both = dataclasses.replace(part("both", provides=Database), provides=Cache)
    assert "'both' would, but isn't started since Cache is overridden; override Database as well." in problem(
        auth, both, part("a", provides=Engine), overrides={Cache: Cache(), Engine: Engine()}
    )


@pytest.mark.parametrize("wanted", [Database | None, Annotated[Database | None, Named("replica")]])
def test_an_optional_need_may_stay_open(wanted):
    """Nothing provides it, and nothing complains."""
    (component,) = make_plan([part("auth", needs=[wanted])]).components
    assert component.needs[0].optional
    assert () == component.waits_for


def test_an_optional_need_is_an_edge_where_it_is_filled():
    """As a required one."""
    plan = make_plan([part("auth", needs=[Database | None]), part("z", provides=Database)])
    assert ["z", "auth"] == names(plan)


def test_what_a_component_provides_itself():
    """It can't be there before it."""
    assert f"{who('pool')} needs a Pool, which it provides itself." == problem(
        part("pool", needs=[Pool], provides=Pool)
    )


def test_two_providers_of_one_type():
    """Both are named; names tell them apart."""
    one, two = part("one", provides=Database), part("two", provides=Database)
    assert (
        f"{who('one')} and {who('two')} both provide a Database. "
        "Tell them apart with Annotated[..., Named('...')], or disable one."
    ) == problem(one, two)
    replica = part("replica", provides=Annotated[Database, Named("replica")])
    plan = make_plan([one, replica, part("reads", needs=[Annotated[Database, Named("replica")]])])
    assert "replica" == plan.by_name["reads"].waits_for[0].to


def test_a_context_is_the_components_own():
    """It is no resource, whatever the parameter is called; a layer has none."""
    (component,) = make_plan([part("auth", needs=[Context])], context=Context).components
    assert () == component.waits_for
    assert (
        "layer 'it' (POLICY, acme 1.0) needs a Context, which nothing provides. Only components have one."
    ) == problem(layer("it", kind=TakesContext), context=Context)


class TakesContext(Hooks):
    def __init__(self, hand: Context) -> None: ...


def test_signatures_that_can_not_be_read():
    """One problem for what it needs, one for what it provides; its neighbours are told nothing wrong for it."""
    assert [
        "lifespan 'odd' (SERVICES, in code): it provides Database | None; a component provides one type, always.",
        "lifespan 'odd' (SERVICES, in code): parameter 'database' has no type; write one, or give it a default.",
    ] == list(map(str, problems(LifespanContribution(name="odd", factory=odd, band=SERVICES))))


async def odd(database) -> AsyncIterator[Database | None]:
    yield database


def test_a_signature_of_a_replaced_component_is_not_needed():
    """An override stands in for it, whatever it asks for."""
    unreadable = LifespanContribution(name="a", factory=deferred.absent_parameter, band=SERVICES)
    assert problems(unreadable)
    assert {"a": Key(deferred.Database)} == make_plan([unreadable], overrides={deferred.Database: 1}).replaced


# -- overrides -------------------------------------------------------------------------------------------------------


def test_an_override_replaces_the_component():
    """It isn't started, nor what it alone needs; what needs it, by type or name, is content."""
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
    """Replaces that one only."""
    parts = [part("main", provides=Database), part("replica", provides=Annotated[Database, Named("replica")])]
    assert ["main"] == names(make_plan(parts, overrides={key: 1}))


def test_an_override_without_a_component():
    """Fills a need that nothing else would."""
    assert ["auth"] == names(make_plan([part("auth", needs=[Redis])], overrides={Redis: 1}))


def test_an_override_that_nobody_needs():
    """A warning, with the nearest; settings are handed over on stock and don't warn."""
    parts = [part("database", provides=Database)]
    assert ("overrides has an Engine, which nothing here provides or needs.",) == make_plan(
        parts, overrides={Engine: 1, PoolSettings: PoolSettings()}
    ).warnings
    assert ("overrides has a Databases, which nothing here provides or needs. Did you mean 'Database'?",) == make_plan(
        parts, overrides={Databases: 1}
    ).warnings


@pytest.mark.requirement("P-18")
def test_an_override_of_something_odd():
    """The message names the argument."""
    with pytest.raises(ValueError, match=r"^overrides: expected a type or a pair \(type, name\), got "):
        make_plan([], overrides={(Database, Cache, Engine): 1})


# -- roles -----------------------------------------------------------------------------------------------------------


def test_a_role_starts_what_belongs_to_it():
    """No role starts everything; a part without roles belongs to every role."""
    parts = [part("all"), part("web", roles="web"), part("worker", roles={"worker", "cron"})]
    assert ["all", "web", "worker"] == names(make_plan(parts))
    plan = make_plan(parts, role="web")
    assert (["all", "web"], ["worker"], "web") == (names(plan), [one.name for one in plan.other_roles], plan.role)
    assert ["all"] == names(make_plan(parts, role="else"))


# -- settings --------------------------------------------------------------------------------------------------------


def test_settings_are_read_once():
    """However many ask for them; in an order that depends on the types alone."""
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
    """Unless a reader is given."""
    monkeypatch.setenv("TEST_POOL_SIZE", "7")
    plan = make_plan([part("a", needs=[PoolSettings])])
    assert {PoolSettings: PoolSettings(size=7)} == plan.settings


def nobody_reads(kinds):
    raise AssertionError(list(kinds))


def test_overridden_settings_are_not_read():
    """By type, for all that ask; by name, for those that ask by that name."""
    mine = PoolSettings(size=1)
    parts = [part("a", needs=[PoolSettings], budget=lambda settings: {"x": settings.size})]
    plan = make_plan(parts, overrides={PoolSettings: mine}, read_settings=nobody_reads)
    assert ({PoolSettings: mine}, {"x": 1}) == (plan.settings, plan.budget)
    named = part("a", needs=[Annotated[PoolSettings, Named("replica")]])
    plan = make_plan([named], overrides={(PoolSettings, "replica"): mine}, read_settings=nobody_reads)
    assert {} == plan.settings


def test_settings_that_a_component_provides_are_not_read():
    """They are a resource then."""
    parts = [part("vault", PERSISTENCE, provides=SecretSettings), part("a", needs=[SecretSettings])]
    plan = make_plan(parts, read_settings=nobody_reads)
    assert "vault" == plan.by_name["a"].waits_for[0].to


@pytest.mark.requirement("FA-10")
def test_missing_settings_are_named_by_their_variables():
    """And nothing that follows from them is a second problem."""
    needy = part("a", needs=[SecretSettings], budget=lambda settings: {"x": settings.size})
    assert [
        (
            "TEST_SECRET_PASSWORD is not set (SecretSettings needs it). "
            "Set it in the environment, or pass overrides={SecretSettings: SecretSettings(...)}."
        ),
        (
            "TEST_SECRET_SIZE is not set (SecretSettings needs it). "
            "Set it in the environment, or pass overrides={SecretSettings: SecretSettings(...)}."
        ),
    ] == list(map(str, problems(needy)))


# -- budgets ---------------------------------------------------------------------------------------------------------


def annotated(pool: PoolSettings) -> dict[str, int]:
    return {"postgres": pool.size}


def with_default(pool: PoolSettings, factor: int = 2, other: SecretSettings | None = None) -> dict[str, int]:
    assert other is None
    return {"postgres": pool.size * factor}


def stranger(pool: PoolSettings, secret: SecretSettings) -> dict[str, int]: ...


def not_settings(database: Database) -> dict[str, int]: ...


@pytest.mark.requirement("XC-R1", "CF-04")
@pytest.mark.parametrize(
    ("needs", "budget", "expected"),
    [
        ([], {"postgres": 3}, 3),
        ([], lambda: {"postgres": 4}, 4),
        ([PoolSettings], lambda settings: {"postgres": settings.size}, 10),
        ([PoolSettings, PoolSettings], lambda settings: {"postgres": settings.size}, 10),
        ([Context, PoolSettings], annotated, 10),
        ([PoolSettings], with_default, 20),
        ([PoolSettings], functools.partial(with_default, factor=3), 30),
    ],
)
def test_what_a_component_may_hold(needs, budget, expected):
    """Numbers, or a function of its settings by annotation or, where there is one parameter, without."""
    plan = make_plan([part("a", needs=needs, budget=budget)], context=Context)
    assert {"postgres": expected} == plan.budget


@pytest.mark.requirement("XC-R1", "CF-04", "CF-29")
def test_budgets_are_summed():
    """By resource, over all that start in one process."""
    parts = [
        part("a", budget={"postgres": 15, "threads": 4}),
        part("b", budget={"postgres": 3, "redis": 1}),
        part("other", roles="worker", budget={"postgres": 100}),
        part("replaced", provides=Database, budget={"postgres": 100}),
    ]
    plan = make_plan(parts, role="web", overrides={Database: 1}, processes=4)
    assert {"postgres": 18, "redis": 1, "threads": 4} == plan.budget
    assert ["postgres", "redis", "threads"] == list(plan.budget)
    assert 4 == plan.processes


@pytest.mark.parametrize(
    ("needs", "budget", "expected"),
    [
        ([], lambda: 1 / 0, "ZeroDivisionError: division by zero"),
        ([], lambda: {"a": -1}, "budget: expected names with numbers from 0 up, got 'a': -1"),
        ([], lambda: None, "budget: expected a mapping like {'postgres': 15}, got None"),
        ([], lambda settings: {}, "parameter 'settings' has no type; write one, or give it a default"),
        ([PoolSettings], lambda a, b: {}, "parameter 'a' has no type; write one, or give it a default"),
        ([PoolSettings], stranger, "it asks for 'SecretSettings', which isn't among its settings"),
        ([], not_settings, "it asks for 'Database', which isn't among its settings"),
        ([], max, "its signature can't be read: no signature found for builtin <built-in function max>"),
    ],
)
def test_budgets_that_can_not_be_had(needs, budget, expected):
    """A function that fails is one problem of several, whatever it raises."""
    others = [part("b", needs=[SecretSettings])]
    found = problems(
        part("a", needs=needs, budget=budget),
        *others,
        read_settings=lambda kinds: ({PoolSettings: PoolSettings()}, [Problem("SECRET is not set.")]),
    )
    assert ["SECRET is not set.", f"{who('a')}: its budget can't be had: {expected}."] == list(map(str, found))


# -- layers ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("FA-2", "CF-26")
def test_layers_by_priority_then_as_they_declare_then_by_name():
    """Outermost first."""
    parts = [
        layer("z", 0),
        layer("a", 150),
        layer("b", 150, before="a"),
        layer("c", 150, after=["z", "gone"]),
        layer("y", 1),
    ]
    assert ["z", "y", "b", "a", "c"] == stacked(make_plan(parts))


def test_layers_against_their_priorities():
    """A number and a name that contradict each other: both layers and both numbers are named."""
    expected = (
        "layer 'in' (SECURITY, acme 1.0) is to stand inside layer 'out' (POLICY, acme 1.0), against their priorities "
        "(150 and 350; lower is further out). Change one of the priorities, or take the before= or after= away."
    )
    assert expected == problem(layer("in", MiddlewareBand.SECURITY, after="out"), layer("out"))
    assert "is to stand outside layer 'in'" in problem(layer("in", MiddlewareBand.SECURITY), layer("out", before="in"))
    assert ["out", "in"] == stacked(make_plan([layer("in", 2, after="out"), layer("out", 1)]))


def test_layers_in_a_cycle():
    """Each and who brought it."""
    assert (
        "layers a → b → a are each to stand inside the next: 'a' (acme 1.0), 'b' (acme 1.0). "
        "Take one of their before= or after= away."
    ) == problem(layer("a", after="b"), layer("b", after="a"))
    assert "layer 'a' (POLICY, acme 1.0) is to stand inside itself." == problem(layer("a", after="a"))
    assert "layer 'a' (POLICY, acme 1.0) is to stand outside itself." == problem(layer("a", before="a"))


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
def test_what_a_layer_takes(kind, options, expected):
    """Resources and settings by type, options by name; the app is handed over by position, whatever it is called."""
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
                "layer 'it' (POLICY, acme 1.0) needs a str, which nothing provides. Plain values belong into a settings type, "
                "or a layer's options; or pass overrides={str: ...}"
            ),
        ),
    ],
)
def test_what_a_layer_can_not_take(kind, options, expected):
    """Found when it is planned, not when it is made."""
    assert problem(layer("it", kind=kind, options=options)).startswith(expected)


class Untyped(Hooks):
    def __init__(self, title) -> None: ...


def test_a_layer_whose_signature_can_not_be_read():
    """A foreign class can't be mended here, but its arguments can be given."""
    assert (
        "layer 'it' (POLICY, acme 1.0): parameter 'title' has no type; write one, or give it a default. "
        "Or give it by name in options."
    ) == problem(layer("it", kind=Untyped))
    assert make_plan([layer("it", kind=Untyped, options={"title": "it"})]).layers[0].needs == ()


# -- deadlines -------------------------------------------------------------------------------------------------------


def test_deadlines_that_are_declared_stand():
    """Those that aren't are the kernel's settings; a stop without any gets a share of what the grace leaves."""
    parts = [part("a", start_timeout=1, stop_timeout=2), part("b")]
    assert {"a": (1, 2), "b": (30, 10)} == {one.name: (one.start_timeout, one.stop_timeout) for one in make_plan(parts)}
    deadlines = Deadlines(start=7, stop=3, left_for_stops=20)
    plan = make_plan(parts, deadlines=deadlines)
    assert {"a": (1, 2), "b": (7, 3)} == {one.name: (one.start_timeout, one.stop_timeout) for one in plan}
    assert 3 == plan.stop_seconds


def test_stops_share_what_is_left():
    """So that all of them fit."""
    parts = [part("a", PERSISTENCE), part("b", MESSAGING), part("c", stop_timeout=2), part("d", after="c")]
    plan = make_plan(parts, deadlines=Deadlines(left_for_stops=20))
    assert {"a": 6, "b": 6, "c": 2, "d": 6} == {one.name: one.stop_timeout for one in plan}
    assert 20 == plan.stop_seconds


@pytest.mark.parametrize("stop", [None, 15.0])
def test_stops_that_do_not_fit(stop):
    """What they add up to, what is left, which are the longest, and which settings decide."""
    parts = [part("a", 100, stop_timeout=15), part("b", 200, stop_timeout=8), part("c", 300)]
    alone = "23 s on the slowest path, with 1 more that declare none"
    added, longest = (
        (alone, "'a' 15 s, 'b' 8 s") if stop is None else ("38 s on the slowest path", "'a' 15 s, 'c' 15 s, 'b' 8 s")
    )
    assert (
        f"the stops' deadlines add up to {added}, but draining leaves 20 s of the grace. "
        "Raise BANDMASTER_TERMINATION_GRACE (and the platform's), or lower drain_timeout or the stop_timeouts, the "
        f"longest of which are {longest}."
    ) == problem(*parts, deadlines=Deadlines(stop=stop, left_for_stops=20))


def test_a_short_share_is_said():
    """It fits, but hardly anything stops in that time."""
    parts = [part(name, priority) for priority, name in enumerate("abcde")]
    assert (
        (
            "stops that declare no stop_timeout have only 400 ms each: 5 of them follow one another, and draining leaves 2 s "
            "of the grace."
        ),
    ) == make_plan(parts, deadlines=Deadlines(left_for_stops=2)).warnings


# -- size ------------------------------------------------------------------------------------------------------------


def test_a_large_plan():
    """A thousand components in chains of ten are no matter; neither are names that nobody has."""
    parts = [
        part(f"c{number:04}", after=[f"c{number - 1:04}", f"x{number % 7}"] if number % 10 else ())
        for number in range(1000)
    ]
    randoms.Random(1).shuffle(parts)
    plan = make_plan(parts)
    assert 1000 == len(plan.components)
    assert ["c0000", "c0001"] == [name for name in names(plan) if name < "c0002"]


# What is served -------------------------------------------------------------------------------------------------------


def test_a_worker_has_no_layers_and_misses_nothing_of_theirs():
    """Where no requests are served, layers, routes and error handlers are left out, with whatever they need."""

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
    """For tools that look at all there is."""
    assert ["page"] == [one.name for one in make_plan([RouteContribution(name="page", routes=[])]).routes]
