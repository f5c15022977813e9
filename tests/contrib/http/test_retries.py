"""The decision about another attempt."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmaster.contrib.http.retries import RetryPolicy, read_retry_after


@pytest.mark.requirement("CA-65")
@given(
    retries=st.integers(0, 20),
    attempts=st.integers(1, 30),
    base=st.floats(0.001, 10),
    cap=st.floats(0.001, 10),
    longest=st.floats(0, 100),
    asked=st.none() | st.floats(0, math.inf),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_every_pause_is_bounded(retries, attempts, base, cap, longest, asked, chance) -> None:
    """There are no more attempts than the setting says, no pause above both caps, and none before Retry-After."""
    pause = RetryPolicy(retries, base, cap, longest, lambda: chance).find_pause(attempts, asked)
    if attempts > retries or (asked is not None and asked > longest):
        assert pause is None
    else:
        assert 0 < pause <= max(cap, longest)
        assert pause >= (asked or 0)


def test_pauses_grow() -> None:
    """Half of each pause is chance."""
    policy = RetryPolicy(5, 0.1, 0.5, 0, chance=lambda: 1.0)
    assert [0.1, 0.2, 0.4, 0.5, 0.5] == [policy.find_pause(attempts) for attempts in range(1, 6)]
    policy = RetryPolicy(5, 0.1, 0.5, 0, chance=lambda: 0.0)
    assert [0.05, 0.1, 0.2, 0.25, 0.25] == [policy.find_pause(attempts) for attempts in range(1, 6)]


@pytest.mark.requirement("CA-65")
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0),
        ({"retry-after": " 7 "}, 7),
        ({"retry-after": "9" * 400}, math.inf),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "\u0661"}, None),
        ({"date": "Sun, 29 Nov 2026 10:00:00 GMT", "retry-after": "Sun, 29 Nov 2026 10:00:07 GMT"}, 7),
        ({"date": "Sun, 29 Nov 2026 10:00:00 GMT", "retry-after": "Sun, 29 Nov 2026 09:00:00 GMT"}, 0),
        ({"date": "Sun, 29 Nov 2026 10:00:00 GMT", "retry-after": "Sun, 29 Nov 2026 10:00:07 -0000"}, 7),
        ({"retry-after": "Sun, 29 Nov 2015 10:00:00 GMT"}, 0),
        ({"retry-after": "Sun, 99 Nov 2026 10:00:00 GMT"}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers, expected) -> None:
    """A date counts from the date of the answer; anything else is as good as no header."""
    assert expected == read_retry_after(headers)


@given(st.text())
def test_any_text_is_read(text) -> None:
    """No header of a service raises."""
    seconds = read_retry_after({"retry-after": text, "date": text})
    assert seconds is None or seconds >= 0
