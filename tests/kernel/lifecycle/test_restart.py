"""When background services are run again, and when not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandmaster.kernel.lifecycle.restart import History, Restart


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("when", "sometimes"),
        ("when_exhausted", "panic"),
        ("intensity", -1),
        ("period", -1),
        ("period", float("inf")),
        ("initial_delay", -0.1),
        ("max_delay", float("nan")),
        ("jitter", -1),
    ],
)
def test_a_field_out_of_range_is_named(field: str, value: object) -> None:
    """The message begins with the field that is wrong, and says what it got."""
    with pytest.raises(ValueError, match=rf"^{field}: .*got {value!r}$"):
        Restart(**{field: value})  # type: ignore[arg-type]


def test_delays_double_up_to_the_longest() -> None:
    """Each restart within the period waits twice as long as the one before."""
    history = History(Restart(intensity=5, initial_delay=1, max_delay=5, jitter=0))
    assert [history.next_delay(0) for _ in range(6)] == [1, 2, 4, 5, 5, None]


def test_a_quiet_period_forgets() -> None:
    """Restarts longer ago than the period count no more."""
    history = History(Restart(intensity=1, period=10, initial_delay=1, jitter=0))
    assert [history.next_delay(now) for now in (0, 9.9, 10, 15, 20)] == [1, None, 1, None, 1]


def test_jitter_only_adds() -> None:
    """Up to a share of the delay is added, so that many processes don't return at once."""
    history = History(Restart(initial_delay=1, jitter=0.5), rng=lambda: 0.5)
    assert history.next_delay(0) == 1.25


def test_no_restart_at_all() -> None:
    """An intensity of nought gives a service up at its first end."""
    assert History(Restart(intensity=0)).next_delay(0) is None


def test_thousands_of_restarts() -> None:
    """However many are borne, the delay stays finite."""
    history = History(Restart(intensity=3000, initial_delay=0.1, max_delay=2, jitter=0))
    assert [history.next_delay(0) for _ in range(3001)][-2:] == [2, None]


@pytest.mark.law("I15")
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    st.integers(0, 5),
    st.floats(0.1, 100),
    st.lists(st.floats(0, 50), max_size=30),
)
def test_never_more_than_the_intensity_within_a_period(intensity: int, period: float, pauses: list[float]) -> None:
    """In no window of the period's length are there more restarts than are borne."""
    history = History(Restart(intensity=intensity, period=period, initial_delay=0, jitter=0))
    now, restarts = 0.0, []
    for pause in pauses:
        now += pause
        if history.next_delay(now) is not None:
            restarts.append(now)
    for first in restarts:
        assert len([at for at in restarts if first <= at < first + period]) <= intensity
