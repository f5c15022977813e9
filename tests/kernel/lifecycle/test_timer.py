"""Tests of bandmaster.kernel.lifecycle.timer: the deadlines of starts and stops."""

from __future__ import annotations

import math
from functools import partial

import anyio
import anyio.lowlevel
import pytest
from tests.kernel.harness.clock import run
from tests.kernel.lifecycle.engines import (
    Boom,
    Recorder,
    fail_after,
    make_engine,
    run_engine,
    sleep_shielded,
)

from bandmaster.kernel import events
from bandmaster.kernel.errors import DeadlineExceeded
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.lifecycle.timer import Timer


@pytest.mark.requirement("FA-14", "XC-L4")
def test_a_start_timeout_still_stops_what_had_started(backend: str, record: Recorder) -> None:
    """The rollback has deadlines of its own: a stop may take longer than the rest of the start's timeout."""
    engine = make_engine(
        record.component("a", stop=4),
        record.component("b", "a", start=anyio.sleep_forever, start_timeout=1),
        emit=record.append,
    )
    error = run_engine(backend, engine)
    assert isinstance(error.__cause__, DeadlineExceeded)
    assert [event.own for event in record if isinstance(event, events.ComponentStopped)] == [4]


def test_a_start_timeout_lists_the_waiting_components(backend: str, record: Recorder) -> None:
    """The report has the stack of the overdue component, and each unstarted component with the names it waits for."""
    engine = make_engine(
        record.component("done"),
        record.component("slow", "done", start=anyio.sleep_forever, start_timeout=2),
        record.component("also", start=5),
        record.component("after", "slow", "done"),
        record.component("later", stage=1),
        emit=record.append,
    )
    error = run_engine(backend, engine).__cause__
    assert (error.component, error.phase, error.seconds) == ("slow", "start", 2)
    lines = str(error).splitlines()
    assert lines[0] == "'slow' (in code) didn't start within 2 s; it stood at"
    assert "in component" in lines[1]
    assert lines[2].strip() == "await perform(start)"
    waiting = lines[lines.index("  still waiting:") + 1 :]
    assert waiting[0].startswith("  'also' is starting, at ")
    assert waiting[0].endswith(": await (anyio.sleep(what) if isinstance(what, (int, float)) else what())")
    assert waiting[1:] == ["  'after' waits for 'slow'", "  'later' waits for the stage before its own"]
    overdue = next(event for event in record if isinstance(event, events.ComponentOverdue))
    assert [f"  {line}" for line in overdue.waiting] == waiting


def test_a_start_timeout_lists_at_most_twenty(backend: str, record: Recorder) -> None:
    """Of hundreds of waiting components, twenty are listed."""
    others = [record.component(f"c{number}", "slow") for number in range(30)]
    error = run_engine(backend, make_engine(record.component("slow", start=anyio.sleep_forever), *others)).__cause__
    assert str(error).splitlines()[-1] == "  and 10 more"
    assert str(error).count("waits for 'slow'") == 20


def test_a_hanging_stop_is_cancelled(backend: str, record: Recorder) -> None:
    """At its deadline a stop is cancelled; the report has its stack."""
    engine = make_engine(record.component("a"), record.component("b", "a", stop=anyio.sleep_forever, stop_timeout=2))
    (error,) = run_engine(backend, engine).exceptions
    assert (error.component, error.phase, error.seconds) == ("b", "stop", 2)
    assert "await perform(stop)" in error.where
    assert record == ["+a", "+b", "-b", "-a"]


def test_undoing_half_a_start_is_a_stop(backend: str, record: Recorder) -> None:
    """A cancelled start that hangs in its clean-up has the stop's timeout, from the beginning of the rollback."""

    async def stubborn() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            await sleep_shielded(6)

    engine = make_engine(
        record.component("a", start=stubborn), record.component("b", start=partial(fail_after, 1, Boom()))
    )
    (error,) = run_engine(backend, engine).rollback_errors
    assert (error.component, error.phase, error.seconds) == ("a", "stop", 5)
    assert str(error).startswith("'a' (in code) didn't clean up after its cancelled start within 5 s")


def test_a_start_that_never_begins_has_no_deadline(backend: str, record: Recorder) -> None:
    """A failure in the tick in which a component could start leaves the component out of the rollback."""
    engine = make_engine(
        record.component("a", start=1),
        record.component("b", start=partial(fail_after, 1, Boom())),
        record.component("c", "a", stop_timeout=1),
        record.component("d", stop=4),
    )
    assert run_engine(backend, engine).rollback_errors == ()


def test_a_component_that_ignores_its_cancellation_is_abandoned(backend: str, record: Recorder) -> None:
    """Its dependencies no longer wait for an abandoned component; the run still ends only after it."""
    engine = make_engine(
        record.component("a"),
        record.component("b", "a", stop=partial(sleep_shielded, 20)),
        emit=record.append,
        abandon_after=2,
    )
    error = run_engine(backend, engine)
    assert [each.component for each in error.exceptions] == ["b"]
    times = {type(item): item.at for item in record if isinstance(item, events.Event)}
    assert times[events.ComponentAbandoned] == times[events.OnlyAbandonedLeft] == 7
    assert [item.at for item in record if isinstance(item, events.ComponentStopping)] == [0, 7]
    assert times[events.KernelStopped] == 20
    left = next(item for item in record if isinstance(item, events.OnlyAbandonedLeft))
    assert left.components == ("b",)


def test_an_abandoned_start_that_ends_late(backend: str, record: Recorder) -> None:
    """A start that ends after it was abandoned is followed by a stop, with the stop's timeout."""
    engine = make_engine(
        record.component("a", start=partial(sleep_shielded, 20), stop=anyio.sleep_forever), emit=record.append
    )
    error = run_engine(backend, engine)
    assert [each.phase for each in (error.__cause__, *error.rollback_errors)] == ["start", "stop"]
    assert [item.at for item in record if isinstance(item, events.KernelStopped)] == [25]


def test_extending_a_deadline(backend: str, record: Recorder) -> None:
    """A start or stop that makes progress gets more time; an overdue one and a serving component get none."""
    contexts: list[Context] = []

    async def slow() -> None:
        for _ in range(4):
            await anyio.sleep(4)
            contexts[0].extend_timeout(5)

    engine = make_engine(
        record.component("a", start=slow, stop=slow, setup=contexts.append, start_timeout=5, stop_timeout=5)
    )

    async def body() -> None:
        contexts[0].extend_timeout(1)
        await anyio.sleep(100)

    assert run_engine(backend, engine, body) is None


class Timed:
    """An object with a deadline, named for the record."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.deadline = math.inf


def test_the_timer_rings_at_each_deadline(backend: str, record: Recorder) -> None:
    """Deadlines ring in the order of their times, each at its own, whenever they were set."""
    timer = Timer[Timed](lambda timed, now: record.append((timed.name, now)))

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(timer.run)
            timer.set_deadline(Timed("later"), 3)
            timer.set_deadline(Timed("sooner"), 1)
            await anyio.sleep(2)
            timer.set_deadline(Timed("between"), 2.5)
            await anyio.sleep(2)
            timer.stop()

    run(backend, main)
    assert record == [("sooner", 1), ("between", 2.5), ("later", 3)]


def test_only_the_last_deadline_of_an_object_rings(backend: str, record: Recorder) -> None:
    """A deadline that was moved or removed doesn't ring at its old time."""
    timer = Timer[Timed](lambda timed, now: record.append((timed.name, now)))
    moved, removed = Timed("moved"), Timed("removed")

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(timer.run)
            timer.set_deadline(moved, 1)
            timer.set_deadline(removed, 1)
            timer.set_deadline(moved, 2)
            removed.deadline = math.inf
            await anyio.sleep(3)
            timer.stop()

    run(backend, main)
    assert record == [("moved", 2)]


def test_a_timer_that_is_stopped_before_it_runs(backend: str) -> None:
    """The timer's task ends at once."""
    timer = Timer[Timed](lambda timed, now: None)
    timer.stop()
    run(backend, timer.run)
