"""Tests of bandmaster.kernel.planning.deadlines."""

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmaster.kernel.planning.deadlines import LONGEST_SHARE, StopPath, find_slowest_path, fits, share_seconds

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
