"""Tests of bandmaster.kernel.planning.misspelt_names."""

import pytest
from tests.kernel.planning.composing import MESSAGING, layer, part, problem

from bandmaster.kernel import (
    Provenance,
)
from bandmaster.kernel.planning.make import make_plan


@pytest.mark.requirement("CF-30", "XC-L3")
def test_a_misspelt_ordering_is_a_problem():
    """An unknown name that is nearly another part's name is a problem that names that part and its distribution."""
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
    """A name that no part has, that is left out, or that belongs to another role orders nothing and is no problem."""
    plan = make_plan(
        [part("jobs", after=after, before=after), part("broker"), part("other-role", roles="worker")], **options
    )
    assert () == plan.by_name["jobs"].waits_for
    assert () == plan.warnings


def test_a_name_that_begins_alike_is_a_warning():
    """'redis' beside 'redis2' may well be another part, so that the plan only warns."""
    parts = [part("jobs", after="redis"), part("redis2")]
    assert (
        (
            "lifespan 'jobs' (SERVICES, acme 1.0) is to start after 'redis', which nobody contributes. "
            "Did you mean 'redis2' (acme 1.0)?"
        ),
    ) == make_plan(parts).warnings
    assert () == make_plan(parts, known=["redis"]).warnings
