"""Tests of bandmaster.kernel.planning.component_order."""

import pytest
from tests.kernel.planning.composing import (
    APPLICATION,
    MESSAGING,
    OBSERVABILITY,
    PERSISTENCE,
    Cache,
    Database,
    describe,
    names,
    part,
    problem,
)

from bandmaster.kernel import (
    Provenance,
)
from bandmaster.kernel.planning.make import make_plan


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


@pytest.mark.parametrize("how", ["requires", "after", "before"])
def test_a_component_that_names_itself_is_a_problem(how):
    """``requires``, ``after`` and ``before`` can't name the component itself."""
    reason = "it requires" if how == "requires" else f"it is declared to start {how}"
    assert f"{describe('jobs')}: {reason} 'jobs', which is itself." == problem(part("jobs", **{how: "jobs"}))


@pytest.mark.parametrize(
    ("requires", "options", "expected"),
    [
        ("worker", {"role": "web"}, "It belongs to the roles 'cron' and 'worker', not 'web'."),
        ("audit", {"known": ["audit"]}, "It is disabled; enable it, or disable this one too."),
        ("databse", {}, "Did you mean 'database' (acme 1.0)?"),
        ("audit", {}, "Install the part that brings it."),
    ],
)
def test_a_required_name_must_exist(requires, options, expected):
    """A name in ``requires`` that no running component has is a problem; the hint gives the reason."""
    parts = [part("jobs", requires=requires), part("database"), part("worker", roles={"worker", "cron"})]
    assert f"{describe('jobs')} requires {requires!r}, which isn't there. {expected}" == problem(*parts, **options)


def test_each_edge_has_a_reason():
    """Needs, ``requires`` and orderings are edges; the first one declared gives the reason."""
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
def test_an_edge_to_a_later_stage_is_a_problem():
    """The problem names both components, both distributions, the reason and both possible moves."""
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
def test_a_cycle_is_a_problem():
    """The problem lists the cycle edge by edge, each with its reason and its distribution."""
    assert (
        "lifespans a → b → a wait for each other: 'a' waits for 'b' (it needs its Cache; acme 1.0), 'b' waits for 'a' "
        "(it is declared to start after 'a'; other 2.0). "
        "Take one of these edges away, or let both use a third component."
    ) == problem(part("a", needs=[Cache]), part("b", provides=Cache, after="a", provenance=Provenance("other", "2.0")))
