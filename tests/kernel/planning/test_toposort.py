"""Tests of bandmaster.kernel.planning.toposort."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmaster.kernel.planning.toposort import find_cycles, sort

NAMES = "abcdefg"


@st.composite
def graphs(draw):
    """Names, edges (some to names that don't exist), and ranks."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    waits_for = {name: draw(st.lists(st.sampled_from(NAMES + "xy"), max_size=3)) for name in names}
    rank = {name: draw(st.integers(0, 2)) for name in names}
    return names, waits_for, rank


def reachable(start, names, waits_for):
    """All names for which ``start`` waits, directly or not, found by search."""
    found, open_ends = set(), [start]
    while open_ends:
        for other in waits_for[open_ends.pop()]:
            if other in names and other not in found:
                found.add(other)
                open_ends.append(other)
    return found


@pytest.mark.requirement("XC-L2", "FA-13")
@given(graphs())
def test_everything_comes_after_what_it_waits_for(graph):
    """Each name comes after all for which it waits; names that wait for no cycle come exactly once."""
    names, waits_for, rank = graph
    order = sort(names, waits_for, rank)
    place = {name: index for index, name in enumerate(order)}
    assert len(place) == len(order)
    assert all(place[other] < place[name] for name in order for other in waits_for[name] if other in names)
    cyclic = {name for name in names if name in reachable(name, names, waits_for)}
    free = {name for name in names if not ({name} | reachable(name, names, waits_for)) & cyclic}
    assert free == set(order)


@given(graphs())
def test_where_several_may_come_the_lowest_comes(graph):
    """Of the names that may come next, the lowest rank comes, then the lowest name."""
    names, waits_for, rank = graph
    order = sort(names, waits_for, rank)
    for index, name in enumerate(order):
        done = set(order[:index])
        ready = [one for one in names if one not in done and not (set(waits_for[one]) & set(names)) - done]
        assert min((rank[one], one) for one in ready) == (rank[name], name)


@pytest.mark.requirement("XC-L2", "FA-13")
@given(graphs(), st.randoms())
def test_the_order_in_which_names_come_changes_nothing(graph, random):
    """The order of the names and of the edges doesn't matter."""
    names, waits_for, rank = graph
    shuffled = random.sample(names, len(names))
    edges = {name: random.sample(waits_for[name], len(waits_for[name])) for name in shuffled}
    assert sort(names, waits_for, rank) == sort(shuffled, edges, rank)
    assert find_cycles(names, waits_for) == find_cycles(shuffled, edges)


@pytest.mark.requirement("XC-L3", "CF-30")
@given(graphs())
def test_every_cycle_is_found_and_is_one(graph):
    """Each name that reaches itself is in a reported cycle; a cycle follows edges and visits no name twice."""
    names, waits_for, _ = graph
    found = find_cycles(names, waits_for)
    cyclic = {name for name in names if name in reachable(name, names, waits_for)}
    assert cyclic == {name for cycle in found for name in cycle}
    for cycle in found:
        assert cycle[0] == cycle[-1]
        assert len(cycle) - 1 == len(set(cycle))
        assert all(awaited in waits_for[waiting] for waiting, awaited in pairwise(cycle))


@given(graphs())
def test_a_cycle_is_as_short_as_can_be(graph):
    """A cycle is a shortest one of its first name."""
    names, waits_for, _ = graph
    for cycle in find_cycles(names, waits_for):
        ends, steps = {cycle[0]}, 0
        while steps == 0 or cycle[0] not in ends:
            ends = {other for name in ends for other in waits_for[name] if other in names}
            steps += 1
        assert steps == len(cycle) - 1


@pytest.mark.parametrize(
    ("waits_for", "expected"),
    [
        ({}, []),
        ({"a": "b", "b": ""}, []),
        ({"a": "a"}, [["a", "a"]]),
        ({"a": "b", "b": "a"}, [["a", "b", "a"]]),
        ({"a": "b", "b": "c", "c": "b", "d": "a"}, [["b", "c", "b"]]),
        ({"a": "b", "b": "a", "m": "ax", "x": "y", "y": "x"}, [["a", "b", "a"], ["x", "y", "x"]]),
    ],
)
def test_cycles_as_they_are_drawn(waits_for, expected):
    """A cycle begins with its lowest name that no earlier cycle has; names that lead from or to one are left out."""
    assert expected == find_cycles(waits_for, waits_for)
