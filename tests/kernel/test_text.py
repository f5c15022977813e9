"""Tests of bandmaster.kernel.text."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmaster.kernel.text import duration, listed, near, nearest


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("brokr", ["broker", "database"], "broker"),
        ("Broker", ["broker"], "broker"),
        ("databasemanager", ["DatabaseManager"], "DatabaseManager"),
        ("brokr", [], None),
        ("brokr", ["unlike"], None),
    ],
)
def test_the_nearest_name(name, known, expected):
    """One slip of the finger, or of the shift key, is seen through."""
    assert expected == nearest(name, known)
    assert ("" if expected is None else f" Did you mean {expected!r}?") == near(name, known)


def test_a_stricter_look():
    """Where a strange name is allowed, only a close one counts."""
    assert " Did you mean 'caches'?" == near("cahe", ["caches"])
    assert "" == near("cahe", ["caches"], cutoff=0.85)


@given(st.text(max_size=8), st.sets(st.text(max_size=8)), st.randoms())
def test_the_nearest_name_depends_on_the_names_alone(name, known, random):
    """The order in which they come changes nothing."""
    shuffled = sorted(known)
    random.shuffle(shuffled)
    assert nearest(name, sorted(known)) == nearest(name, shuffled)


@pytest.mark.parametrize(
    ("names", "expected"),
    [([], "nothing"), (["a"], "'a'"), (["a", "b"], "'a' and 'b'"), (iter("abc"), "'a', 'b' and 'c'")],
)
def test_names_as_prose(names, expected):
    """Commas, and an 'and' before the last."""
    assert expected == listed(names)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "<1 ms"),
        (0.0004, "<1 ms"),
        (0.0005, "<1 ms"),
        (0.0006, "1 ms"),
        (0.012, "12 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (1, "1 s"),
        (3.42, "3.4 s"),
        (90.0, "90 s"),
        (math.inf, "inf s"),
    ],
)
def test_durations_as_people_read_them(seconds, expected):
    """Milliseconds below a second, at most one decimal above."""
    assert expected == duration(seconds)
