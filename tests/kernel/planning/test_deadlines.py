"""Tests of bandmaster.kernel.planning.deadlines."""

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kernel.planning.composing import part, problems

from bandmaster.kernel.planning.deadlines import (
    LONGEST_SHARE,
    Deadlines,
    StopPath,
    find_slowest_path,
    fits,
    share_seconds,
)
from bandmaster.kernel.planning.make import make_plan

NAMES = "abcdef"


@st.composite
def orders(draw):
    """Stages in topological order, edges inside of them, and the deadlines that some stops declare."""
    size = draw(st.integers(1, len(NAMES)))
    cuts = draw(st.sets(st.integers(1, size - 1))) if size > 1 else set()
    edges = [0, *sorted(cuts), size]
    stages = [NAMES[first:last] for first, last in pairwise(edges)]
    waits_for = {
        name: [other for other in NAMES[:index] if draw(st.booleans())] for index, name in enumerate(NAMES[:size])
    }
    declared = {name: draw(st.none() | st.sampled_from([0.5, 1.0, 3.0, 7.0, 20.0])) for name in NAMES[:size]}
    return stages, waits_for, declared


def paths(stages, waits_for, declared):
    """Every path, as the sum of its declared deadlines and the number of undeclared ones, by trying all."""

    def within(stage, name):
        own = (declared[name] or 0.0, declared[name] is None)
        yield own
        for other in waits_for[name]:
            if other in stage:
                for seconds, count in within(stage, other):
                    yield seconds + own[0], count + own[1]

    for ways in product(*([way for name in stage for way in within(stage, name)] for stage in stages)):
        yield sum(way[0] for way in ways), sum(way[1] for way in ways)


@given(orders(), st.floats(0, LONGEST_SHARE))
def test_the_slowest_path_is_the_slowest_of_all(order, share):
    """The slowest path takes as long as the longest of all paths."""
    expected = max(seconds + count * share for seconds, count in paths(*order))
    path = find_slowest_path(*order, share)
    assert expected == pytest.approx(path.seconds(share))
    assert (path.declared, path.undeclared) in set(paths(*order))
    declared = [order[2][name] for name in path.names]
    assert (path.declared, path.undeclared) == (sum(filter(None, declared)), declared.count(None))


@given(orders(), st.floats(0.1, 100))
def test_the_share_is_the_largest_that_fits(order, left):
    """Every path fits with the share, and none would with more; the share is at most `LONGEST_SHARE`."""
    share, path = share_seconds(*order, left)
    everything = list(paths(*order))
    limits = [LONGEST_SHARE, *((left - seconds) / count for seconds, count in everything if count)]
    if share > 0 and fits(path, share, left):
        assert min(limits) == pytest.approx(share)
        assert path.seconds(share) == pytest.approx(max(seconds + count * share for seconds, count in everything))
    else:
        # Not even a share of zero fits.
        assert max(seconds for seconds, _ in everything) >= left - 1e-9


@pytest.mark.parametrize("left", [1e-9, 0.3, 29.999999, 1e9, 1e15])
@pytest.mark.parametrize("declared", [0.1, 7.77, 1e9 - 5, 1e15 - 3])
def test_rounding_ends_the_search(left, declared):
    """The search ends although large numbers don't add up exactly."""
    share, _ = share_seconds(
        ["abcd"], {"b": "a", "c": "b", "d": "c"}, {"a": declared, "b": None, "c": None, "d": None}, left
    )
    assert share <= LONGEST_SHARE


@pytest.mark.parametrize(
    ("stages", "waits_for", "declared", "left", "expected"),
    [
        ([], {}, {}, 20, (10.0, StopPath())),
        (["a"], {}, {"a": None}, 20, (10.0, StopPath(("a",), 0, 1))),
        (["ab"], {"b": "a"}, {"a": None, "b": None}, 10, (5.0, StopPath(("a", "b"), 0, 2))),
        (["a", "b"], {}, {"a": None, "b": 4.0}, 10, (6.0, StopPath(("a", "b"), 4, 1))),
        (["ab"], {}, {"a": 20.0, "b": None}, 20, (10.0, StopPath(("a",), 20, 0))),
        (["ab"], {}, {"a": 21.0, "b": None}, 20, (10.0, StopPath(("a",), 21, 0))),
        (["ab"], {"b": "a"}, {"a": 20.0, "b": None}, 20, (0.0, StopPath(("a", "b"), 20, 1))),
        (["ab"], {"b": "a"}, {"a": 30.0, "b": None}, 20, (-10.0, StopPath(("a", "b"), 30, 1))),
    ],
)
def test_shares_by_example(stages, waits_for, declared, left, expected):
    """Stops in one stage run side by side; stops that wait for each other, and stages, add up."""
    assert expected == share_seconds(stages, waits_for, declared, left)


BY_NAME = Deadlines(start=20, starts={"a": 60, "gone": 1}, stops={"a": 3, "b": 4}, left_for_stops=20)


def test_operators_set_time_outs_by_name():
    """A time-out by name replaces a declared one, and the plan knows the origin of each."""
    parts = [part("a", start_timeout=5), part("b", stop_timeout=7), part("c", start_timeout=6)]
    plan = make_plan([*parts, part("gone", when=lambda: False)], deadlines=BY_NAME)
    assert [
        ("a", 60, "operator", 3, "operator"),
        ("b", 20, "setting", 4, "operator"),
        ("c", 6, "component", 10, "grace"),
    ] == [
        (each.name, each.start_timeout, each.start_timeout_source, each.stop_timeout, each.stop_timeout_source)
        for each in plan
    ]
    assert () == plan.warnings
    assert (
        "has 60 s to start (BANDMASTER_START_TIMEOUTS) and 3 s to stop (BANDMASTER_STOP_TIMEOUTS)"
        in plan.explain("a").facts
    )
    assert "has 6 s to start (as it declares) and 10 s to stop (an equal share of the grace)" in plan.explain("c").facts


def test_a_stop_by_name_counts_against_the_grace():
    """The stops' deadlines have to fit into the grace with the time-outs that operators set."""
    parts = [part("a", stop_timeout=1), part("b", after="a")]
    plan = make_plan(parts, deadlines=Deadlines(stops={"a": 16}, left_for_stops=20))
    assert (20, 4) == (plan.stop_seconds, plan.by_name["b"].stop_timeout)
    (found,) = problems(*parts, deadlines=Deadlines(stops={"a": 21}, left_for_stops=20))
    assert "the longest of which are 'a' 21 s." in found.hint


def test_a_time_out_of_an_unknown_component_is_a_warning():
    """With the near miss; components of other roles and parts that are left out are known."""
    deadlines = Deadlines(starts={"databse": 60, "jobs": 1, "off": 1}, stops={"xyz": 3})
    plan = make_plan([part("database"), part("jobs", roles="worker")], role="web", known=["off"], deadlines=deadlines)
    assert (
        "BANDMASTER_START_TIMEOUTS names 'databse', which no component has. Did you mean 'database'?",
        "BANDMASTER_STOP_TIMEOUTS names 'xyz', which no component has.",
    ) == plan.warnings
