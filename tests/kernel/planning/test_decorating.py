"""Tests of components that decorate the objects of others: bandmaster.kernel.planning."""

import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated

import pytest
from tests.kernel.planning.composing import (
    ACME,
    APPLICATION,
    MESSAGING,
    PERSISTENCE,
    SERVICES,
    Cache,
    Database,
    Engine,
    Pool,
    describe,
    names,
    part,
    problem,
    problems,
)

from bandmaster.kernel import Kernel, Named, PlanError, lifespan, value
from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.planning.make import make_plan

pytestmark = pytest.mark.anyio

REPLICA = Annotated[Database, Named("replica")]


class Repository:
    def __init__(self, path):
        self.path = path


class Asked:
    def __init__(self, repository):
        self.path = repository.path


@lifespan(band=PERSISTENCE)
async def repository() -> AsyncIterator[Repository]:
    """Somebody else's."""
    yield Repository("repository")


@lifespan(band=PERSISTENCE)
async def engine() -> AsyncIterator[Engine]:
    yield Engine()


def around(name, band=PERSISTENCE, **fields):
    @lifespan(band=band, name=name, decorates=Repository, **fields)
    async def function(inner: Repository) -> AsyncIterator[Repository]:
        yield Repository(f"{name}({inner.path})")

    return dataclasses.replace(function, provenance=ACME)


@lifespan(band=APPLICATION)
async def asks(repository: Repository) -> AsyncIterator[Asked]:
    """Gets the outermost."""
    yield Asked(repository)


async def run(*parts, **options):
    stopped = []
    kernel = Kernel(
        contributions=parts,
        discover=False,
        listeners=[
            lambda event: stopped.append(event.component) if type(event).__name__ == "ComponentStopped" else None
        ],
        **options,
    )
    async with kernel.running() as resources:
        path = resources[Asked].path
        everything = [each.path for each in resources[Sequence[Repository]]], [*resources[Mapping[str, Repository]]]
        outermost = resources[Repository].path
    return path, outermost, everything, stopped


@pytest.mark.parametrize("band", [PERSISTENCE, MESSAGING])
async def test_everybody_else_gets_the_decorated_one(band):
    """In the provider's own stage or a later one; the stops run from the outside in."""
    path, outermost, everything, stopped = await run(repository, asks, around("cached", band))
    assert "cached(repository)" == path == outermost
    assert (["cached(repository)"], ["repository"]) == everything
    assert ["asks", "cached", "repository"] == stopped


async def test_several_stack_in_plan_order():
    """By stage first; in one stage by the order that is declared, else by name."""
    parts = [repository, asks, around("c"), around("b", before="c"), around("a", MESSAGING)]
    assert "a(c(b(repository)))" == (await run(*parts))[0]
    parts = [repository, asks, around("c"), around("b", after="c"), around("a")]
    assert "b(c(a(repository)))" == (await run(*parts))[0]


async def test_the_order_follows_other_edges():
    """A decorator that needs something after another one stands outside of that other one under any names."""
    parts = [
        repository,
        asks,
        around("a", requires="between"),
        part("between", PERSISTENCE, after="z", needs=[Engine]),
        engine,
        around("z"),
    ]
    assert "a(z(repository))" == (await run(*parts))[0]


def test_the_order_of_one_chain_may_decide_about_another():
    """The chains are ordered one after the other, so that no two of them contradict each other."""
    parts = [part("base", provides=Database), part("store", provides=Cache)]
    parts += [
        part("x1", needs=[Database], decorates=Database, provides=Engine),
        part("x2", needs=[Database], decorates=Database),
        part("y1", needs=[Cache], decorates=Cache, after="x2"),
        part("y2", needs=[Cache], decorates=Cache, before="x1"),
    ]
    plan = make_plan(parts)
    assert {("x1", "x2"), ("y2", "y1")} == {chain.decorators for chain in plan.providers.decorated.values()}


async def test_a_value_is_decorated():
    """A ready object can be decorated as well; who asks by the value's name gets the decorated one, too."""

    @lifespan(band=APPLICATION)
    async def by_name(repository: Annotated[Repository, Named("ready")]) -> AsyncIterator[Asked]:
        yield Asked(repository)

    path, outermost, everything, _ = await run(value(Repository("ready"), name="ready"), by_name, around("cached"))
    assert "cached(ready)" == path == outermost
    assert (["cached(ready)"], ["ready"]) == everything


@pytest.mark.parametrize("parameter", [REPLICA, Database])
@pytest.mark.parametrize("returned", [REPLICA, Database])
def test_one_of_several_is_decorated_by_its_name(parameter, returned):
    """The parameter and the return annotation may leave out the name, so that one function serves several."""
    plan = make_plan(
        [
            part("main", provides=Database),
            part("replica", provides=REPLICA),
            part("metered", needs=[parameter], provides=returned, decorates=REPLICA),
            part("asks", needs=[Database, REPLICA]),
        ]
    )
    assert {Key(Database): "main", Key(Database, "replica"): "metered"} == plan.provided
    assert ["replica"] == [edge.to for edge in plan.by_name["metered"].waits_for]
    assert ["main", "metered"] == [edge.to for edge in plan.by_name["asks"].waits_for]


def test_the_others_of_a_type_are_asked_for_as_ever():
    """With a parameter for the named one, a parameter without a name asks for another object."""
    plan = make_plan(
        [
            part("main", provides=Database),
            part("replica", provides=REPLICA),
            part("metered", needs=[Database, REPLICA], decorates=REPLICA),
        ]
    )
    assert [("main", "it needs its Database"), ("replica", "it decorates its Database named 'replica'")] == [
        (edge.to, edge.why) for edge in plan.by_name["metered"].waits_for
    ]


def test_a_decorator_may_provide_more():
    """The other types of a decorator are provided beside the decorated one."""
    metered = part("metered", needs=[Database], provides=Pool, decorates=Database)
    plan = make_plan([part("main", provides=Database), metered, part("asks", needs=[Database, Pool])])
    assert (Key(Database), Key(Pool)) == plan.by_name["metered"].provides
    assert ["metered"] == [edge.to for edge in plan.by_name["asks"].waits_for]


def test_an_asker_between_the_provider_and_the_decorator_is_a_problem():
    """The problem names both ends, and both moves."""
    parts = [repository, around("cached", SERVICES), part("asks", MESSAGING, needs=[Repository])]
    assert (
        f"{describe('asks', 'MESSAGING')} is to wait for {describe('cached')}, which starts in a later stage: it needs "
        "its Repository, around the one of 'repository'. Move 'asks' to SERVICES or later (now MESSAGING 250), or "
        "'cached' to MESSAGING 250 or earlier (now SERVICES 350)."
    ) == problem(*parts)


def test_a_decorator_before_its_provider_is_a_problem():
    """Of the same kind."""
    message = problem(
        part("late", SERVICES, provides=Database), part("m", PERSISTENCE, needs=[Database], decorates=Database)
    )
    assert "which starts in a later stage: it decorates its Database." in message


@pytest.mark.parametrize("wanted", [Database, Database | None])
def test_a_missing_provider_is_a_problem(wanted):
    """Also if the parameter is optional: a decorator of nothing has nothing to provide."""
    assert (
        f"{describe('cached')} decorates a Database, which nothing provides. Contribute a component that does, or pass "
        "overrides={Database: ...}"
    ) == problem(part("cached", needs=[wanted], decorates=Database))
    assert "'replica' provides a Database named 'replica'; name the one that is meant" in problem(
        part("cached", needs=[wanted], decorates=Database), part("replica", provides=REPLICA)
    )


def test_one_of_several_without_a_name_is_a_problem():
    """The problem names all of them."""
    assert (
        f"{describe('cached')} decorates a Database, which {describe('a')} and {describe('b')} provide. Let each "
        "provide Annotated[Database, Named('...')], and name the one that is meant. Each can be decorated by its name."
    ) == problem(
        part("a", provides=Database), part("b", provides=Database), part("cached", needs=[Database], decorates=Database)
    )


def test_a_decorator_takes_what_it_decorates():
    """A decorator without a parameter for the decorated object is a problem, since that object would be hidden."""
    main = [part("main", provides=Database), part("replica", provides=REPLICA)]
    assert (
        f"{describe('cached')} decorates a Database, and has no parameter that takes the one of 'main'. Write a "
        "parameter for it, as in inner: Database."
    ) == problem(*main, part("cached", decorates=Database, needs=[Sequence[Pool]]))
    assert problem(*main, part("cached", decorates=REPLICA)).endswith(
        "as in inner: Annotated[Database, Named('replica')]."
    )


def test_wrapping_without_saying_so_leads_to_decorates():
    """A part that takes another part's type and provides the same type learns of ``decorates``."""
    assert (
        f"{describe('cached')} needs a Database, which it provides itself. To take the one of 'main' in between, write "
        "decorates=Database."
    ) == problem(part("main", provides=Database), part("cached", needs=[Database], provides=Database))


async def test_an_override_replaces_the_provider_and_its_decorators():
    """A test that overrides a type gets exactly that object; the plan says which decorators are left out."""
    parts = [repository, asks, around("cached"), around("metered")]
    path, outermost, everything, stopped = await run(*parts, overrides={Repository: Repository("fake")})
    assert "fake" == path == outermost
    assert (["fake"], ["repository"]) == everything
    assert ["asks"] == stopped
    plan = make_plan(parts, overrides={Repository: 1})
    assert {name: Key(Repository) for name in ("repository", "cached", "metered")} == plan.replaced
    assert str(plan.explain("cached")).startswith(
        "cached: not started: an override provides Repository, which it decorates"
    )
    assert str(plan.explain("repository")).startswith(
        "repository: not started: an override provides Repository in its place"
    )


def test_an_override_by_another_name_of_the_provider():
    """A decorator goes with its provider, also where the override has the provider's name and the decorator hasn't."""
    parts = [value(Repository("ready"), name="ready"), around("cached")]
    plan = make_plan(parts, overrides={(Repository, "ready"): 1})
    assert {"ready": Key(Repository, "ready"), "cached": Key(Repository, "ready")} == plan.replaced
    both = part("both", provides=Database)
    both = dataclasses.replace(both, provides=(Key(Database, "x"), Pool))
    cached = part("cached", needs=[Database], decorates=Database)
    assert {"both", "cached"} == make_plan([both, cached], overrides={(Database, "x"): 1}).replaced.keys()
    # An override of another type leaves the decorator without a provider.
    assert "'both' would, but isn't started since Pool is overridden; override Database as well." in problem(
        both, cached, overrides={Pool: 1}
    )


def test_an_override_of_the_decorators_own_type():
    """The decorator isn't started, and the decorated type comes from the provider."""
    cached = part("cached", needs=[Database], provides=Pool, decorates=Database)
    plan = make_plan(
        [part("main", provides=Database), cached, part("asks", needs=[Database, Pool])], overrides={Pool: 1}
    )
    assert ({"cached": Key(Pool)}, "main") == (plan.replaced, plan.provided[Key(Database)])


def test_decorators_that_wait_for_each_other_are_a_problem():
    """A cycle names the chain's edges as every other edge."""
    parts = [
        part("main", provides=Database),
        part("a", needs=[Database], decorates=Database, requires="b"),
        part("b", needs=[Database], decorates=Database, requires="a"),
    ]
    assert "wait for each other" in problem(*parts)
    collects = part("c", needs=[Database, Sequence[Database]], decorates=Database)
    assert f"{describe('c')} needs every Database, one of which it provides itself." in problem(parts[0], collects)


def test_decorators_are_explained():
    """The explanation of each part of a chain has a position; a part that asks gets the whole chain."""
    plan = make_plan([repository, asks, around("cached"), around("metered")])
    chain = "Repository: from 'metered', around 'cached', around 'repository'"
    for name in ("repository", "cached", "metered"):
        assert chain in plan.explain(name).facts
        # Each waits for the one inside, and so for all of them.
        assert not any("starts beside" in fact for fact in plan.explain(name).facts)
    assert f"takes repository: {chain}".replace(": from", " from") in plan.explain("asks").facts
    assert (
        "takes inner: Repository from 'cached', around 'repository', and provides its own to everybody else"
    ) in plan.explain("metered").facts
    ready = make_plan([value(Repository("x"), name="ready"), around("cached")])
    assert "Repository: from 'cached', around 'ready'" in ready.explain("ready").facts


def test_values_that_are_collected_can_not_be_decorated():
    """Values collected before a start can't be decorated, since decorators haven't started."""
    plan = make_plan([value(Repository("x"), name="ready"), around("cached")])
    with pytest.raises(PlanError) as caught:
        plan.values_of(Repository)
    assert caught.value.problems[0].message == (
        "the component 'cached' decorates Repository, which is collected without a start."
    )


@pytest.mark.parametrize(
    ("decorates", "expected"),
    [
        (Sequence[Database], "decorates: Sequence[Database] stands for every Database; a component decorates one."),
        ((Database, Pool), "decorates: expected one type or a pair"),
        ([Database], "decorates: expected one type or a pair"),
        ("Database", "decorates: expected one type or a pair"),
        (object, "decorates: expected one type or a pair"),
    ],
)
def test_what_can_not_be_decorated(decorates, expected):
    """A component decorates one type."""
    with pytest.raises(ValueError, match=expected.replace("[", r"\[")):
        part("it", decorates=decorates)


def test_a_named_decorator():
    """A decorator has no type of its own that a name could tell apart; a second one is made with another key."""
    with pytest.raises(ValueError, match="'cached' decorates Repository, and provides no type of its own"):
        around("cached").named("other")
    second = dataclasses.replace(around("cached"), name="second", decorates=(Repository, "x"))
    assert Key(Repository, "x") == second.decorates


def test_a_decorator_of_another_role():
    """A decorator of a provider in another role is a problem that names the roles."""
    parts = [part("main", provides=Database, roles="worker"), part("cached", needs=[Database], decorates=Database)]
    assert "'main' would, but belongs to the roles 'worker', not 'web'." in problem(*parts, role="web")
    assert ["main", "cached"] == names(make_plan(parts, role="worker"))


def test_every_problem_of_decorators_at_once():
    """All of them are reported in one go."""
    found = problems(
        part("a", decorates=Database), part("b", needs=[Pool], decorates=Pool), part("c", provides=Database)
    )
    assert ["a", "b"] == [each.subject for each in found]
