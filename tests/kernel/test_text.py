"""Tests of bandmaster.kernel.text."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmaster.kernel.text import find_nearest, list_names, render_duration, suggest


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
    """A typing error, or a wrong case, is recognised."""
    assert expected == find_nearest(name, known)
    assert ("" if expected is None else f" Did you mean {expected!r}?") == suggest(name, known)


def test_a_stricter_cutoff():
    """With a higher cutoff, only a closer name is suggested."""
    assert " Did you mean 'caches'?" == suggest("cahe", ["caches"])
    assert "" == suggest("cahe", ["caches"], cutoff=0.85)


@given(st.text(max_size=8), st.sets(st.text(max_size=8)), st.randoms())
def test_the_nearest_name_depends_on_the_names_alone(name, known, random):
    """The order of the known names changes nothing."""
    shuffled = sorted(known)
    random.shuffle(shuffled)
    assert find_nearest(name, sorted(known)) == find_nearest(name, shuffled)


@pytest.mark.parametrize(
    ("names", "expected"),
    [([], "nothing"), (["a"], "'a'"), (["a", "b"], "'a' and 'b'"), (iter("abc"), "'a', 'b' and 'c'")],
)
def test_names_as_prose(names, expected):
    """Names are joined by commas, and the last by 'and'."""
    assert expected == list_names(names)


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
def test_durations_with_their_units(seconds, expected):
    """Durations are in milliseconds below a second, and have at most one decimal above."""
    assert expected == render_duration(seconds)
