"""Tests of bandmaster.kernel.planning.parts."""

import dataclasses

import pytest
from tests.kernel.planning.composing import (
    ACME,
    MESSAGING,
    layer,
    names,
    part,
    problem,
    problems,
)

from bandmaster.kernel import (
    ErrorHandlerContribution,
    Provenance,
    RouteContribution,
)
from bandmaster.kernel.planning.make import make_plan


@pytest.mark.requirement("P-18")
def test_an_undecorated_function_is_refused():
    """A function without a decorator is no contribution."""
    with pytest.raises(ValueError, match=r"^contributions: expected contributions, got <built-in function print>$"):
        make_plan([print])


def test_two_parts_of_one_name_are_a_problem():
    """The problem names both parts and both distributions; three parts are two problems."""
    one, two = Provenance("acme-jobs", "1.0"), Provenance("other-jobs", "2.1")
    assert (
        "lifespan 'jobs' (MESSAGING, acme-jobs 1.0) and lifespan 'jobs' (SERVICES, other-jobs 2.1) have the same name. "
        "Names are unique across all distributions: uninstall one, or rename the one that is yours."
    ) == problem(part("jobs", provenance=two), part("jobs", MESSAGING, provenance=one))
    assert 2 == len(problems(part("jobs"), part("jobs", provenance=one), part("jobs", provenance=two)))


def test_names_are_unique_within_a_group():
    """A layer may have the name of a component."""
    handler = ErrorHandlerContribution(name="jobs", exception=ValueError, handler=print)
    assert make_plan([part("jobs"), layer("jobs"), RouteContribution(name="jobs", routes=[]), handler])
    assert problem(handler, dataclasses.replace(handler, exception=KeyError)).startswith(
        "error handler 'jobs' (in code) and error handler 'jobs' (in code) have the same name."
    )
    assert problem(RouteContribution(name="a", routes=[]), RouteContribution(name="a", routes=())).startswith(
        "routes 'a' (in code) and routes 'a' (in code) have the same name."
    )


def test_two_handlers_for_one_exception_are_a_problem():
    """An exception type, or a status, has one handler."""
    one = ErrorHandlerContribution(name="one", exception=ValueError, handler=print, provenance=ACME)
    assert (
        "error handler 'one' (acme 1.0) and error handler 'two' (acme 1.0) both answer for ValueError. "
        "Disable one of them."
    ) == problem(one, dataclasses.replace(one, name="two"))


def test_status_500_and_exception_are_one_place():
    """Frameworks have one place for a handler of status 500 and of Exception, so that two handlers are a problem."""
    one = ErrorHandlerContribution(name="one", exception=500, handler=print, provenance=ACME)
    assert (
        "error handler 'one' (acme 1.0) and error handler 'two' (acme 1.0) both answer for Exception, which is the "
        "same as status 500. Disable one of them."
    ) == problem(one, dataclasses.replace(one, name="two", exception=Exception))


def test_a_role_starts_its_own_components():
    """No role starts every component; a component without roles belongs to every role."""
    parts = [part("all"), part("web", roles="web"), part("worker", roles={"worker", "cron"})]
    assert ["all", "web", "worker"] == names(make_plan(parts))
    plan = make_plan(parts, role="web")
    assert (["all", "web"], ["worker"], "web") == (names(plan), [one.name for one in plan.other_roles], plan.role)
    assert ["all"] == names(make_plan(parts, role="else"))
