"""The order of starts and stops: small cases, and the law over any interleaving."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandmaster.kernel.lifecycle.schedule import Schedule


def test_components_without_leaders_start_first() -> None:
    """A start begins with every component that has no edge, in plan order."""
    assert Schedule([[0, 1, 2]], [(), (0,), ()]).list_first() == [0, 2]


def test_a_component_starts_after_its_last_leader() -> None:
    """A component with two dependencies starts when the second of them has started."""
    schedule = Schedule([[0, 1, 2]], [(), (), (0, 1)])
    assert (schedule.mark_started(0), schedule.mark_started(1)) == ([], [2])


def test_a_barrier_holds_a_stage_back() -> None:
    """A stage starts once every component of the stage before it has started."""
    schedule = Schedule([[0, 1], [2, 3]], [(), (), (), ()])
    assert schedule.list_first() == [0, 1]
    assert (schedule.mark_started(0), schedule.mark_started(1)) == ([], [2, 3])


def test_stages_cost_one_edge_for_each_component() -> None:
    """A barrier is a node of its own, so two stages of a thousand components don't need a million edges."""
    schedule = Schedule([range(1000), range(1000, 2000)], [()] * 2000)
    assert sum(map(len, schedule._followers)) == 2000


def test_components_without_followers_stop_first() -> None:
    """A component that has begun, and none of whose followers has, may stop at once."""
    schedule = Schedule([[0, 1, 2]], [(), (0,), (0,)])
    for node in (0, 1):
        schedule.mark_begun(node)
    schedule.begin_stop()
    assert schedule.list_stoppable() == [1]
    assert schedule.mark_over(1) == [0]


def test_a_stop_goes_through_the_barrier() -> None:
    """A stage stops once every component of the next stage that had begun is over."""
    schedule = Schedule([[0, 1], [2, 3]], [(), (), (), ()])
    for node in (0, 1, 2):
        schedule.mark_begun(node)
    schedule.begin_stop()
    assert schedule.list_stoppable() == [2]
    assert schedule.mark_over(2) == [0, 1]


def test_a_failed_start_frees_no_leader() -> None:
    """The leaders of a component that failed to start stay until the stop begins."""
    schedule = Schedule([[0, 1]], [(), (0,)])
    schedule.mark_begun(0)
    schedule.mark_begun(1)
    assert schedule.mark_over(1) == []
    schedule.begin_stop()
    assert schedule.list_stoppable() == [0]


def test_an_abandoned_component_that_ends_later() -> None:
    """The second end of a component frees no leader a second time."""
    schedule = Schedule([[0, 1]], [(), (0,)])
    schedule.mark_begun(0)
    schedule.mark_begun(1)
    schedule.begin_stop()
    assert (schedule.mark_over(1), schedule.mark_over(1)) == ([0], [])


def test_an_empty_plan() -> None:
    """An empty plan has no component to start or to stop."""
    schedule = Schedule([], [])
    schedule.begin_stop()
    assert (schedule.list_first(), schedule.list_stoppable()) == ([], [])


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
    """In any order of starts and stops, leaders start before followers and stop after them, and none is forgotten."""
    stages, waits_for = graph
    stage_of = {node: index for index, stage in enumerate(stages) for node in stage}
    leaders = {
        node: {other for other in stage_of if other in waits_for[node] or stage_of[other] < stage_of[node]}
        for node in stage_of
    }
    schedule = Schedule(stages, waits_for)
    free, started, begun = schedule.list_first(), set[int](), set[int]()
    until = share * len(stage_of)
    while free and (len(started) < until or share > 0.9):
        node = free.pop(rng.randrange(len(free)))
        assert leaders[node] <= started
        schedule.mark_begun(node)
        begun.add(node)
        started.add(node)
        free += schedule.mark_started(node)
    for node in free[: len(free) // 2]:
        schedule.mark_begun(node)
        begun.add(node)
    schedule.begin_stop()
    stoppable, over = schedule.list_stoppable(), set[int]()
    while stoppable:
        node = stoppable.pop(rng.randrange(len(stoppable)))
        assert not {other for other in begun - over if node in leaders[other]}
        over.add(node)
        stoppable += schedule.mark_over(node)
    assert over == begun
