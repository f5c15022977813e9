"""Tests of bandmaster.kernel.lifecycle.outcome: the exception that a run raises."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from functools import partial

import anyio
import anyio.lowlevel
import pytest
import trio
from tests.kernel.harness.clock import run
from tests.kernel.lifecycle.engines import (
    Boom,
    Recorder,
    fail_with,
    group_that_fails,
    make_engine,
    run_engine,
)

from bandmaster.kernel.errors import CrashError, StartError, StopError
from bandmaster.kernel.lifecycle.phases import Phase


@pytest.mark.requirement("FA-14", "XC-L4")
def test_a_start_error_has_its_cause_and_the_errors_of_the_rollback(backend: str, record: Recorder) -> None:
    """The first failure is the cause; the errors of the rollback stand beside it, in order."""
    cause, second, third = Boom("cause"), Boom("second"), Boom("third")
    engine = make_engine(
        record.component("a", stop=fail_with(third)),
        record.component("b", "a", stop=fail_with(second)),
        record.component("c", "b", start=fail_with(cause)),
    )
    error = run_engine(backend, engine)
    assert isinstance(error, StartError)
    assert (error.component, error.__cause__, error.rollback_errors) == ("c", cause, (second, third))
    assert str(error) == "'c' (in code) failed to start: Boom: cause (and 2 more while rolling back)"
    assert (cause.__notes__, second.__notes__) == (["while starting 'c' (in code)"], ["while stopping 'b' (in code)"])


def test_one_exception_raised_by_two(backend: str, record: Recorder) -> None:
    """One instance that two components raise is reported once, with a note of both."""
    same = Boom()
    engine = make_engine(record.component("a", stop=fail_with(same)), record.component("b", "a", start=fail_with(same)))
    error = run_engine(backend, engine)
    assert (error.__cause__, error.rollback_errors) == (same, ())
    assert len(same.__notes__) == 2


def test_an_exception_that_takes_no_notes(backend: str, record: Recorder) -> None:
    """Frozen exceptions are reported as they are."""

    @dataclass(frozen=True)
    class Frozen(Exception):
        code: int

    cause = Frozen(3)
    assert run_engine(backend, make_engine(record.component("a", start=fail_with(cause)))).__cause__ is cause


def test_an_exception_without_a_readable_message(backend: str, record: Recorder) -> None:
    """An exception whose ``__str__`` raises is still the cause."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError("mute")

    error = run_engine(backend, make_engine(record.component("a", start=fail_with(Mute()))))
    assert str(error) == "'a' (in code) failed to start: Mute: (its message can't be rendered)"


def test_an_exception_with_an_empty_message(backend: str, record: Recorder) -> None:
    """The type alone stands for an exception with an empty message."""
    assert str(run_engine(backend, make_engine(record.component("a", start=fail_with(Boom()))))).endswith(
        "failed to start: Boom"
    )


@pytest.mark.parametrize("fatal", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_system_exit_in_a_start_is_raised_as_it_is(backend: str, record: Recorder, fatal: BaseException) -> None:
    """KeyboardInterrupt and SystemExit in a start roll back, and are raised unchanged."""
    assert (
        run_engine(backend, make_engine(record.component("a"), record.component("b", "a", start=fail_with(fatal))))
        is fatal
    )
    assert record == ["+a", "-a"]


def test_system_exit_with_errors_beside_it(backend: str, record: Recorder) -> None:
    """SystemExit comes first in a group that no ``except Exception`` catches."""
    fatal, other = SystemExit(3), Boom()
    error = run_engine(
        backend,
        make_engine(record.component("a", stop=fail_with(other)), record.component("b", "a", start=fail_with(fatal))),
    )
    assert not isinstance(error, Exception)
    assert error.exceptions == (fatal, other)


def test_keyboard_interrupt_while_rolling_back(backend: str, record: Recorder) -> None:
    """A KeyboardInterrupt while rolling back isn't hidden in the error of the start."""
    fatal, cause = KeyboardInterrupt(), Boom()
    error = run_engine(
        backend,
        make_engine(record.component("a", stop=fail_with(fatal)), record.component("b", "a", start=fail_with(cause))),
    )
    assert error.exceptions[1] is fatal
    assert (type(error.exceptions[0]), error.exceptions[0].__cause__) == (StartError, cause)


def test_a_group_with_a_keyboard_interrupt(backend: str, record: Recorder) -> None:
    """A group that holds a KeyboardInterrupt counts as one."""
    group = BaseExceptionGroup("both", [KeyboardInterrupt(), Boom()])
    assert run_engine(backend, make_engine(record.component("a", start=fail_with(group)))) is group


@pytest.mark.requirement("FA-14", "XC-L4")
def test_a_cancellation_hides_no_error(backend: str, record: Recorder) -> None:
    """A failure while a cancelled run is stopped is raised, up to the very last step."""
    engine = make_engine(record.component("a", stop=fail_with(Boom("late"))))

    async def main() -> None:
        with anyio.move_on_after(2), pytest.raises(StopError, match="'a' failed to stop"):
            async with engine.running():
                await anyio.sleep_forever()
        assert engine.phase is Phase.FAILED

    run(backend, main)


def test_an_interrupt_while_stopping_joins_the_body_s_error(record: Recorder) -> None:
    """Ctrl-C during a stop, after the body has failed, is raised together with the body's error."""
    cause = Boom("body")

    @trio.lowlevel.enable_ki_protection  # so that the event loop delivers it to the main task
    def press_ctrl_c() -> None:
        signal.raise_signal(signal.SIGINT)

    async def interrupt() -> None:
        press_ctrl_c()
        await anyio.sleep(2)
        record.append("stopped")

    error = run_engine("trio", make_engine(record.component("a", stop=interrupt)), fail_with(cause))
    assert [type(each) for each in error.exceptions] == [Boom, KeyboardInterrupt]
    assert record[-1] == "stopped"


def test_a_stop_goes_on_past_failures(backend: str, record: Recorder) -> None:
    """Every stop runs; the group holds all errors in their order, the body's own first."""
    body, first, second = Boom("body"), Boom("first"), Boom("second")
    engine = make_engine(
        record.component("a", stop=fail_with(second)), record.component("b", "a", stop=fail_with(first))
    )
    error = run_engine(backend, engine, fail_with(body))
    assert isinstance(error, StopError)
    assert error.exceptions == (body, first, second)
    assert error.message == "'b' and 'a' failed to stop"
    assert isinstance(error.split(Boom)[0], StopError)


def test_one_failed_stop_is_a_group_too(backend: str, record: Recorder) -> None:
    """A `StopError` is always a group, however many errors there are."""
    cause = Boom()
    assert run_engine(backend, make_engine(record.component("a", stop=fail_with(cause)))).exceptions == (cause,)


def test_system_exit_in_a_stop(backend: str, record: Recorder) -> None:
    """SystemExit in a stop is raised unchanged; beside others, in a group that no ``except Exception`` catches."""
    fatal, other = SystemExit(1), Boom()
    assert run_engine(backend, make_engine(record.component("a", stop=fail_with(fatal)))) is fatal
    error = run_engine(
        backend,
        make_engine(record.component("a", stop=fail_with(fatal)), record.component("b", "a", stop=fail_with(other))),
    )
    assert (isinstance(error, Exception), error.exceptions) == (False, (other, fatal))


def test_the_error_of_the_body_is_raised_as_it_is(backend: str, record: Recorder) -> None:
    """Without any failure of a component the body's exception isn't wrapped."""
    cause = Boom()
    assert run_engine(backend, make_engine(record.component("a")), fail_with(cause)) is cause


def test_a_crash_while_another_starts(backend: str, record: Recorder) -> None:
    """The crash is reported, not the cancellation of the start under way."""
    cause = Boom()
    engine = make_engine(
        record.component_holding("a", partial(group_that_fails, 2, cause)), record.component("b", start=9)
    )
    error = run_engine(backend, engine)
    assert (type(error), error.component, error.stop_errors) == (CrashError, "a", ())


def test_failures_after_a_crash(backend: str, record: Recorder) -> None:
    """The crash is the cause; failures while the rest is stopped stand beside it."""
    second = Boom("second")
    engine = make_engine(
        record.component_holding("a", partial(group_that_fails, 2, Boom("first"))),
        record.component("b", "a", stop=fail_with(second)),
    )
    error = run_engine(backend, engine, anyio.sleep_forever)
    assert error.stop_errors == (second,)
    assert str(error).endswith("(and 1 more while stopping)")


def test_two_crashes_in_one_tick(backend: str, record: Recorder) -> None:
    """Both crashes are reported, the first that was noticed as the cause."""
    engine = make_engine(
        *[record.component_holding(name, partial(group_that_fails, 2, Boom(name))) for name in ("a", "b")]
    )
    error = run_engine(backend, engine, anyio.sleep_forever)
    causes = [str(each.exceptions[0]) for each in (error.__cause__, *error.stop_errors)]
    assert sorted(causes) == ["a", "b"]
    assert error.component == causes[0]


def test_a_component_that_ends_by_itself(backend: str, record: Recorder) -> None:
    """A component whose own scope runs out crashes without an error."""
    error = run_engine(
        backend, make_engine(record.component_holding("a", lambda: _Timed(anyio.move_on_after(2)))), anyio.sleep_forever
    )
    assert str(error) == "'a' (in code) died while serving: it ended by itself"
    assert error.__cause__ is None


class _Timed:
    def __init__(self, scope: anyio.CancelScope) -> None:
        self._scope = scope

    async def __aenter__(self) -> None:
        self._scope.__enter__()

    async def __aexit__(self, *exception: object) -> bool | None:
        return self._scope.__exit__(*exception)
