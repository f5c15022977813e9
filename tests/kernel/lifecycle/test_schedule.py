"""Who may start and who may stop: small cases, and the law over any interleaving."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandmaster.kernel.lifecycle.schedule import Schedule


def test_first_are_those_that_wait_for_nobody() -> None:
    """A start begins with all that have no edge, in plan order."""
    assert Schedule([[0, 1, 2]], [(), (0,), ()]).first() == [0, 2]


def test_a_start_sets_free_whom_it_was_the_last_for() -> None:
    """A component with two dependencies starts when the second of them has started."""
    schedule = Schedule([[0, 1, 2]], [(), (), (0, 1)])
    assert (schedule.started(0), schedule.started(1)) == ([], [2])


def test_a_barrier_holds_a_stage_back() -> None:
    """A stage starts when all of the stage before it has started."""
    schedule = Schedule([[0, 1], [2, 3]], [(), (), (), ()])
    assert schedule.first() == [0, 1]
    assert (schedule.started(0), schedule.started(1)) == ([], [2, 3])


def test_stages_cost_one_edge_for_each_component() -> None:
    """A barrier is a node of its own: a thousand beside a thousand aren't a million edges."""
    schedule = Schedule([range(1000), range(1000, 2000)], [()] * 2000)
    assert sum(map(len, schedule._followers)) == 2000


def test_a_stop_begins_with_those_that_nobody_waits_for() -> None:
    """What has begun and has no live follower may stop at once."""
    schedule = Schedule([[0, 1, 2]], [(), (0,), (0,)])
    for node in (0, 1):
        schedule.begun(node)
    schedule.stop()
    assert schedule.free() == [1]
    assert schedule.over(1) == [0]


def test_a_stop_goes_through_the_barrier() -> None:
    """A stage stops when all of the next that had begun is over."""
    schedule = Schedule([[0, 1], [2, 3]], [(), (), (), ()])
    for node in (0, 1, 2):
        schedule.begun(node)
    schedule.stop()
    assert schedule.free() == [2]
    assert schedule.over(2) == [0, 1]


def test_over_before_the_stop_frees_nobody() -> None:
    """A start that failed is over, and those before it wait for the stop to begin."""
    schedule = Schedule([[0, 1]], [(), (0,)])
    schedule.begun(0)
    schedule.begun(1)
    assert schedule.over(1) == []
    schedule.stop()
    assert schedule.free() == [0]


def test_over_twice_is_harmless() -> None:
    """What was given up may still end later."""
    schedule = Schedule([[0, 1]], [(), (0,)])
    schedule.begun(0)
    schedule.begun(1)
    schedule.stop()
    assert (schedule.over(1), schedule.over(1)) == ([0], [])


def test_nothing_at_all() -> None:
    """An empty plan has nobody to start or to stop."""
    schedule = Schedule([], [])
    schedule.stop()
    assert (schedule.first(), schedule.free()) == ([], [])


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]]]:
    size = draw(st.integers(1, 14))
    stages: list[list[int]] = [[]]
    waits_for: list[list[int]] = []
    for node in range(size):
        if stages[-1] and draw(st.booleans()) and draw(st.booleans()):
            stages.append([])
        here = stages[-1]
        waits_for.append(sorted(draw(st.sets(st.sampled_from(here), max_size=3)))) if here else waits_for.append([])
        here.append(node)
    return stages, waits_for


@pytest.mark.requirement("FA-13", "XC-L2", "XC-L3")
@pytest.mark.law("I2", "I4", "I8")
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(graphs(), st.randoms(use_true_random=False), st.floats(0, 1))
def test_any_interleaving_respects_the_order(graph: tuple[list[list[int]], list[list[int]]], rng, share: float) -> None:
    """Whoever starts when, nobody starts before those it waits for, nobody stops under a follower, and all do both."""
    stages, waits_for = graph
    stage_of = {node: index for index, stage in enumerate(stages) for node in stage}
    leaders = {
        node: {other for other in stage_of if other in waits_for[node] or stage_of[other] < stage_of[node]}
        for node in stage_of
    }
    schedule = Schedule(stages, waits_for)
    free, started, begun = schedule.first(), set[int](), set[int]()
    until = share * len(stage_of)
    while free and (len(started) < until or share > 0.9):
        node = free.pop(rng.randrange(len(free)))
        assert leaders[node] <= started
        schedule.begun(node)
        begun.add(node)
        started.add(node)
        free += schedule.started(node)
    for node in free[: len(free) // 2]:
        schedule.begun(node)
        begun.add(node)
    schedule.stop()
    leaving, over = schedule.free(), set[int]()
    while leaving:
        node = leaving.pop(rng.randrange(len(leaving)))
        assert not {other for other in begun - over if node in leaders[other]}
        over.add(node)
        leaving += schedule.over(node)
    assert over == begun
