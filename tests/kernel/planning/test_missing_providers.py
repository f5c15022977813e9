"""Tests of bandmaster.kernel.planning.missing_providers."""

import dataclasses
import functools
from typing import Annotated, Generic, TypeVar

import pytest
from tests.kernel.planning.composing import (
    Cache,
    Closes,
    Database,
    Databases,
    Engine,
    Oidc,
    Pings,
    Pool,
    Redis,
    describe,
    names,
    part,
    problem,
)

from bandmaster.kernel import Named, Plan, Provenance, value
from bandmaster.kernel.planning.make import make_plan

T = TypeVar("T")


class Repository(Generic[T]): ...


def needing(kind, **options):
    part_ = part("auth", needs=[kind], provenance=Provenance("bandmaster-oidc", "1.0"))
    return functools.partial(problem, part_, **options)


MISSING = "lifespan 'auth' (SERVICES, bandmaster-oidc 1.0) needs a"


def test_a_need_that_nothing_provides_is_a_problem():
    """The problem names part, distribution and type; the hint names a package to install, or an override."""
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
            Repository,
            part("db", provides=Repository[int]),
            "'db' provides a Repository[int]; resources are found by exact type, so ask for that.",
        ),
        (
            Repository[int],
            part("db", provides=Repository),
            (
                "'db' provides a Repository, which may be one; resources are found by exact type, so let it declare "
                "provides=Repository[int]."
            ),
        ),
        (
            Repository[int],
            part("db", provides=Repository[str]),
            (
                "Contribute a component that does, or pass overrides={Repository[int]: ...}. Did you mean "
                "'Repository[str]', which 'db' (acme 1.0) provides?"
            ),
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
def test_the_hint_names_a_similar_provider(wanted, there, expected):
    """Similar are the type under another name, a subclass, and a type of nearly the same name."""
    said = problem(part("auth", needs=[wanted]), there)
    assert expected == said.partition("which nothing provides. ")[2]


def test_the_hint_names_a_provider_that_does_not_start():
    """A provider may belong to another role, or be replaced by an override of another type."""
    unreadable = part("odd", roles="worker", provides=Database | None)
    worker = part("worker", roles="worker", provides=Database)
    auth = part("auth", needs=[Database])
    assert "'worker' would, but belongs to the roles 'worker', not 'web'." in problem(
        auth, unreadable, worker, role="web"
    )
    values = [value(Cache(), name="cache", roles="worker"), value(Database(), name="ready", roles="worker")]
    assert "'ready' would, but belongs to the roles 'worker', not 'web'." in problem(auth, *values, role="web")
    both = dataclasses.replace(part("both", provides=Database), provides=Cache)
    assert "'both' would, but isn't started since Cache is overridden; override Database as well." in problem(
        auth, both, part("a", provides=Engine), overrides={Cache: Cache(), Engine: Engine()}
    )


@pytest.mark.parametrize("wanted", [Database | None, Annotated[Database | None, Named("replica")]])
def test_an_optional_need_without_a_provider_is_none(wanted):
    """An optional need that nothing provides is no problem."""
    (component,) = make_plan([part("auth", needs=[wanted])]).components
    assert component.needs[0].optional
    assert () == component.waits_for


def test_an_optional_need_with_a_provider_is_an_edge():
    """An optional need waits for a provider as a required one does."""
    plan = make_plan([part("auth", needs=[Database | None]), part("z", provides=Database)])
    assert ["z", "auth"] == names(plan)


def test_a_component_that_needs_its_own_type_is_a_problem():
    """A component can't take a resource that the same component provides."""
    assert f"{describe('pool')} needs a Pool, which it provides itself." == problem(
        part("pool", needs=[Pool], provides=Pool)
    )


def test_the_hint_for_a_plan_names_the_context():
    """A component gets the plan from the context."""
    assert (
        f"{describe('it')} needs a Plan, which nothing provides. "
        "A component with the parameter context: Context has it as context.plan."
    ) == problem(part("it", needs=[Plan]))
