"""Tests of bandmaster.kernel.contributions.local_names."""

import pytest
from tests.kernel.contributions import local_parts

from bandmaster.kernel import Kernel, Key, PlanError


def plan(*parts):
    return Kernel(discover=False, contributions=parts, serves=True).plan


def test_annotations_that_name_a_local_class():
    """Components, layers and budgets of a function find the function's classes, in front of those of the module."""
    clock, parts = local_parts.make_parts()
    made = plan(*parts)
    assert "clock" == made.provided[Key(clock)]
    needs = {
        name: [need.key.type for need in part.needs]
        for name, part in [*made.by_name.items(), *((layer.name, layer) for layer in made.layers)]
    }
    assert [clock] == needs["uses"] == needs["Stamps"]
    assert [clock, local_parts.Watch] == needs["inner"]
    assert {"threads": 3} == made.budget


def test_a_class_that_comes_later():
    """A class that the component uses is found when the plan is made, even if defined after the component."""
    late, early = local_parts.make_early()
    assert [Key(late)] == list(plan(early).by_name["early"].provides)


@pytest.mark.parametrize("make", [local_parts.make_unused, local_parts.make_unassigned])
def test_a_class_that_can_not_be_found(make):
    """The problem names the class, and the place to define the class."""
    with pytest.raises(PlanError) as caught:
        plan(make())
    assert (
        "the type of parameter 'late' can't be resolved: name 'Late' is not defined. Import the name at run time, not "
        "under TYPE_CHECKING, and define it at module level, or in the function around before this one"
    ) in str(caught.value)


def test_an_annotation_that_fails():
    """An annotation that fails is left to the plan, which reports the failure."""
    with pytest.raises(PlanError, match="the type of parameter 'clock' can't be resolved: AttributeError"):
        plan(local_parts.make_wrong())


def test_a_local_class_that_enters_itself():
    """The class is what it provides, also where the quoted name of a local class is in quotes once more."""
    client, part = local_parts.make_entered()
    assert [Key(client)] == list(plan(part).by_name["Client"].provides)


def test_a_class_among_the_members_of_a_class():
    """A component in the body of a class finds the class' members."""
    assert [Key(local_parts.Shelf.Book)] == list(plan(local_parts.Shelf.book).by_name["book"].provides)


def test_a_condition_that_names_local_settings():
    """A condition finds the settings type of the function around."""
    assert ["conditional"] == [omission.part.name for omission in plan(local_parts.make_conditional()).omitted]
