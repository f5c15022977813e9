"""Tests of parts from code in place of disabled installed ones: bandmaster.kernel.lifecycle.composition."""

import dataclasses

import pytest
from tests.kernel.planning.composing import ACME, Hooks, describe, layer, names, part, stacked

from bandmaster.kernel import Kernel, KernelSettings, PlanError, Provenance
from bandmaster.kernel.contributions.model import group_of
from bandmaster.kernel.discovery.disabling import list_addresses
from bandmaster.kernel.discovery.discover import Discovery, Found, LeftOut
from bandmaster.kernel.lifecycle import composition as module
from bandmaster.kernel.testing import run

CODE = Provenance(entry_point="shop:parts")


class Strict(Hooks):
    """Stands in for an installed layer."""


@pytest.fixture
def installed(monkeypatch):
    """Installed parts, which discovery leaves out by their names as it does with real ones."""
    parts = [layer("limit", kind=Hooks), part("audit"), part("limit")]

    def discover(*, disable, **_):
        found = {id(each): Found(group_of(each), each.name, "acme:part", ACME) for each in parts}
        off = [each for each in parts if disable & list_addresses(group_of(each), each.name)]
        return Discovery(
            contributions=tuple(each for each in parts if each not in off),
            found=(*found.values(), Found("bandmaster.commands", "reports", "acme:command", ACME)),
            left_out=tuple(LeftOut(found[id(each)], "it is disabled") for each in off),
        )

    monkeypatch.setattr(module, "discover", discover)
    return parts


def mine(name="limit"):
    return layer(name, kind=Strict, provenance=CODE)


@pytest.mark.parametrize("disable", ["limit", "middleware:limit", "bandmaster.middleware:limit"])
@pytest.mark.parametrize("setting", [False, True])
def test_code_takes_the_place_of_a_disabled_part(installed, disable, setting):
    """The plan and the explanation name the replaced part, in every way to disable a part."""
    settings = KernelSettings(disable=disable if setting else "")
    kernel = Kernel(contributions=[mine()], disable="" if setting else disable, settings=settings)
    assert (["limit"], Strict, ()) == (
        stacked(kernel.plan),
        kernel.plan.layers[0].contribution.layer,
        kernel.plan.warnings,
    )
    assert (["audit"] if disable == "limit" else ["audit", "limit"]) == names(kernel.plan)
    assert {("bandmaster.middleware", "limit"): ACME} == kernel.plan.replaces
    replaces = "replaces the disabled part of that name (acme 1.0)"
    # Unless the layer alone is disabled, the name means the component.
    assert (disable == "limit") == (replaces in kernel.plan.explain("limit").facts)
    reasons = {left.found.address: left.reason for left in kernel.discovery.left_out}
    assert "it is disabled, and code replaces it" == reasons["middleware:limit"]


def test_a_changed_copy_of_the_installed_part_takes_its_place(installed):
    """As code does that moves an installed layer elsewhere."""
    moved = dataclasses.replace(installed[0], options={}, description="moved")
    plan = Kernel(contributions=[moved], disable={"middleware:limit"}).plan
    assert "moved" == plan.layers[0].contribution.description


def test_one_name_in_several_groups(installed):
    """Code that replaces one part of a disabled name brings no other back, and may bring parts of other groups."""
    plan = Kernel(contributions=[mine()], disable={"limit"}).plan
    assert (["limit"], ["audit"]) == (stacked(plan), names(plan))
    plan = Kernel(contributions=[mine("audit")], disable={"audit"}).plan
    assert (["audit", "limit"], ["limit"], {}) == (stacked(plan), names(plan), plan.replaces)


def test_the_same_name_without_disabling_is_a_problem(installed):
    """Two parts of one name are no replacement unless somebody says so."""
    with pytest.raises(PlanError, match="have the same name"):
        Kernel(contributions=[mine()])


def test_a_name_that_only_code_has_is_disabled(installed):
    """The plan says so, and warns where ``disable=`` may have been meant for an installed part that isn't there."""
    plan = Kernel(contributions=[part("mine"), mine("reports")], disable={"mine"}).plan
    assert (["mine"], ["it is disabled"]) == (
        [omission.part.name for omission in plan.omitted],
        [omission.reason for omission in plan.omitted],
    )
    (warning,) = plan.warnings
    assert (
        "'mine' is disabled, and only code contributes it: it is left out. There is no installed part of that name "
        "that it could replace"
    ) == warning
    assert "left out: it is disabled" == plan.explain("mine").place
    settings = KernelSettings(disable="mine, reports")
    plan = Kernel(contributions=[part("mine"), mine("reports")], settings=settings).plan
    assert ({"mine", "reports"}, ()) == ({omission.part.name for omission in plan.omitted}, plan.warnings)
    with pytest.raises(PlanError) as caught:
        Kernel(contributions=[part("mine", provides=Hooks), part("asks", needs=[Hooks])], settings=settings)
    assert f"{describe('asks')} needs a Hooks, which nothing provides. 'mine' would, but it is disabled." == str(
        caught.value.problems[0]
    )


def test_an_operator_can_switch_the_replacement_off(installed):
    """A name that the code disables itself means, in the operator's setting, the part that code has put there."""
    plan = Kernel(contributions=[mine()], disable={"limit"}, settings=KernelSettings(disable="limit")).plan
    assert ([], ["limit"], {}) == (stacked(plan), [omission.part.name for omission in plan.omitted], plan.replaces)


@pytest.mark.anyio
async def test_a_test_replaces_a_part_of_an_application(installed):
    """The test kit takes disabled parts out of the application's parts, and puts the test's own part in their place."""
    from bandmaster.kernel import create_app

    app = create_app(contributions=[mine()], settings=KernelSettings(disable="middleware:limit"))
    fake = part("audit", provenance=CODE)
    async with run(app, contributions=[fake], disable="audit") as running:
        assert CODE == running.plan.by_name["audit"].contribution.provenance
        assert Strict is running.plan.layers[0].contribution.layer
    async with run(app, disable="audit, limit, typo") as running:
        assert ([], []) == (names(running.plan), stacked(running.plan))
        assert ("'typo' is disabled, but no part has that name.",) == running.plan.warnings
    async with run(app, contributions=[part("more")], settings=KernelSettings(disable="audit")) as running:
        assert ["limit", "more"] == names(running.plan)
