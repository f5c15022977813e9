"""Tests of bandmaster.kernel.planning.layer_order."""

import pytest
from tests.kernel.planning.composing import layer, problem, stacked

from bandmaster.kernel import (
    MiddlewareBand,
)
from bandmaster.kernel.planning.make import make_plan


@pytest.mark.requirement("FA-2", "CF-26")
def test_layers_by_priority_then_orderings_then_names():
    """Layers are ordered outermost first."""
    parts = [
        layer("z", 0),
        layer("a", 150),
        layer("b", 150, before="a"),
        layer("c", 150, after=["z", "gone"]),
        layer("y", 1),
    ]
    assert ["z", "y", "b", "a", "c"] == stacked(make_plan(parts))


def test_an_ordering_against_the_priorities_is_a_problem():
    """The problem names both layers and both priorities."""
    expected = (
        "layer 'in' (SECURITY, acme 1.0) is to stand inside layer 'out' (POLICY, acme 1.0), against their priorities "
        "(150 and 350; lower is further out). Change one of the priorities, or take the before= or after= away."
    )
    assert expected == problem(layer("in", MiddlewareBand.SECURITY, after="out"), layer("out"))
    assert "is to stand outside layer 'in'" in problem(layer("in", MiddlewareBand.SECURITY), layer("out", before="in"))
    assert ["out", "in"] == stacked(make_plan([layer("in", 2, after="out"), layer("out", 1)]))


def test_layers_in_a_cycle_are_a_problem():
    """The problem names each layer with its distribution."""
    assert (
        "layers a → b → a are each to stand inside the next: 'a' (acme 1.0), 'b' (acme 1.0). "
        "Take one of their before= or after= away."
    ) == problem(layer("a", after="b"), layer("b", after="a"))
    assert "layer 'a' (POLICY, acme 1.0) is to stand inside itself." == problem(layer("a", after="a"))
    assert "layer 'a' (POLICY, acme 1.0) is to stand outside itself." == problem(layer("a", before="a"))
