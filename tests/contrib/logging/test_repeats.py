"""The limit of repeated equal events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contrib.logging.logs import Clock, make_pipeline

from bandmaster.contrib.logging.pipeline import ERROR, INFO, WARNING
from bandmaster.contrib.logging.repeats import RepeatLimit


@pytest.mark.requirement("OBS-L12")
def test_an_error_that_repeats_is_limited_and_counted() -> None:
    """During an incident an error stands in the log a few times, and the next one afterwards carries the count."""
    clock = Clock()
    pipeline, lines = make_pipeline(repeat_limit=3, interval=10, clock=clock)
    for number in range(1000):
        pipeline.emit(ERROR, "shop", "the queue is away", {"order": number})
    assert 3 == len(lines)
    clock.now += 10
    pipeline.emit(ERROR, "shop", "the queue is away", {"order": 1000})
    assert [0, 1, 2, 1000] == [event["order"] for event in lines.events]
    assert 997 == lines.events[-1]["left_out"]


@pytest.mark.requirement("OBS-L12")
def test_a_count_is_told_without_another_event() -> None:
    """When the incident is over, one event says how many were left out."""
    clock = Clock()
    pipeline, lines = make_pipeline(repeat_limit=1, interval=10, clock=clock)
    for _ in range(5):
        pipeline.emit(WARNING, "shop", "slow", {"error": "Timeout"})
    pipeline.tell_repeats()
    assert 1 == len(lines)
    clock.now += 10
    pipeline.tell_repeats()
    pipeline.tell_repeats()
    (_, told) = lines.events
    assert ("equal events were left out", "slow", "shop", 4) == (
        told["event"],
        told["repeated"],
        told["of"],
        told["left_out"],
    )


@pytest.mark.parametrize(
    "different",
    [
        {"level": WARNING},
        {"logger": "other"},
        {"event": "another"},
        {"fields": {"error": "another"}},
        {"exception": KeyError("x")},
    ],
)
def test_different_events_are_not_equal(different) -> None:
    """Logger, level, event and error make events equal."""
    pipeline, lines = make_pipeline(repeat_limit=1)
    plain = {"level": ERROR, "logger": "shop", "event": "failed", "fields": {}}
    for values in (plain, plain | different):
        pipeline.emit(
            values["level"],
            values["logger"],
            values["event"],
            dict(values["fields"]),
            exception=values.get("exception"),
        )
    assert 2 == len(lines)


def test_plain_events_are_not_limited() -> None:
    """Events below a warning may be counted by their readers, so each is written."""
    pipeline, lines = make_pipeline(repeat_limit=1)
    for _ in range(100):
        pipeline.emit(INFO, "shop", "order placed", {})
    assert 100 == len(lines)


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 6)), max_size=80),
)
def test_no_event_is_neither_admitted_nor_counted(limit, steps) -> None:
    """However events come, those that were admitted and those that were told as left out are all of them."""
    clock = Clock()
    repeats: RepeatLimit[str] = RepeatLimit(limit, 5, clock)
    admitted = told = 0
    for key, pause in steps:
        clock.now += pause
        left_out = repeats.admit(key)
        if left_out is not None:
            admitted += 1
            told += left_out
        if pause > 5.5:
            told += sum(repeats.take_overdue().values())
    told += sum(repeats.take_overdue(all_of_them=True).values())
    assert len(steps) == admitted + told


def test_the_memory_is_bounded() -> None:
    """A hundred thousand different events are written, and not all remembered."""
    repeats: RepeatLimit[int] = RepeatLimit(1, 5, Clock())
    assert all(repeats.admit(number) == 0 for number in range(100_000))
    assert 1000 == len(repeats._windows)


def test_what_is_over_makes_room() -> None:
    """Events that no longer repeat are forgotten when others need the room."""
    clock = Clock()
    repeats: RepeatLimit[int] = RepeatLimit(1, 5, clock)
    for number in range(1000):
        repeats.admit(number)
    clock.now += 5
    repeats.admit(-1)
    assert repeats.admit(-1) is None
