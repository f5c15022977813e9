"""Tests of bandmaster.kernel.shutdown.watchdog."""

import inspect
import os
import sys
import threading

import anyio
import pytest

from bandmaster.kernel.shutdown import watchdog
from bandmaster.kernel.shutdown.watchdog import (
    Termination,
    Watchdog,
    WatchdogState,
    list_terminations,
    render_thread_stacks,
)


def list_due(state, now):
    """The terminations that are due."""
    return [termination for termination in list_terminations(state) if termination.at <= now]


def exit_codes(state, now):
    return [termination.exit_code for termination in list_due(state, now)]


def test_a_start_may_take_its_time():
    """Without a request to stop the process is never ended: a start has deadlines of its own."""
    assert list_terminations(WatchdogState(grace=10, abandon_after=2)) == []


def test_the_grace():
    """A little before the end of the grace the process ends with 70: the platform's SIGKILL would explain nothing."""
    state = WatchdogState(10, 2, stop_requested_at=100, stop_signal=15, start_pending=False)
    assert exit_codes(state, 109.4) == []
    assert exit_codes(state, 109.5) == [70]
    short = WatchdogState(1, 2, stop_requested_at=100, start_pending=False)
    assert [termination.at for termination in list_terminations(short)] == [pytest.approx(100.95)]


def test_a_second_signal_decides_the_exit_code():
    """Work cut short on request ends the process with 128 + n."""
    state = WatchdogState(10, 2, stop_requested_at=100, stop_signal=15, second_signal=2, start_pending=False)
    assert exit_codes(state, 110) == [130]


def test_a_start_that_a_signal_should_stop():
    """A start that blocks the event loop has the grace until it can be rolled back; the signal is the cause then."""
    state = WatchdogState(10, 2, stop_requested_at=100, stop_signal=15)
    assert exit_codes(state, 109.4) == []
    assert exit_codes(state, 109.5) == [143]
    assert exit_codes(WatchdogState(10, 2, stop_requested_at=100), 109.5) == [70]
    assert exit_codes(WatchdogState(10, 2, stop_requested_at=100, stop_signal=15, second_signal=2), 109.5) == [130]


def test_an_event_loop_that_is_blocked_for_good():
    """Where nobody asks for a stop, an event loop that is blocked past a deadline has the grace to go on."""
    state = WatchdogState(10, 2, blocked=(100, "driver"))
    assert exit_codes(state, 109.4) == []
    (termination,) = list_due(state, 109.5)
    assert (termination.exit_code, termination.reason) == (
        70,
        "the event loop has been blocked for 9.5 s past the deadline of 'driver'",
    )
    assert exit_codes(WatchdogState(10, 2, blocked=(100, "driver"), stop_requested_at=105), 109.5) == []


def test_only_abandoned_components_left():
    """The process ends at once where only components that ignore their cancellation are unfinished."""
    (termination,) = list_due(WatchdogState(10, 2, only_abandoned_left=("a", "b")), 0)
    assert termination == Termination(0.0, 70, "only 'a' and 'b' left, which ignored the cancellation")


def test_a_finished_run_that_is_held():
    """The exit code is the run's own."""
    state = WatchdogState(10, 2, finished=(50, 3))
    assert exit_codes(state, 51.9) == []
    assert exit_codes(state, 52) == [3]


class Exit:
    """Takes the place of the process's end, and of stderr."""

    def __init__(self):
        self.code = None
        self.text = ""
        self.happened = threading.Event()

    def __call__(self, code):
        self.code = code
        self.happened.set()

    def write(self, text):
        self.text += text


def make_watchdog(end, **fields):
    settings = {"grace": 60, "abandon_after": 60, "exit_process": end, "write": end.write, **fields}
    return Watchdog(**settings)


def test_the_message_before_the_end():
    """The message names the reason, the unfinished work and the stack of every thread."""
    end = Exit()
    with make_watchdog(end, describe=lambda: "'db' is left, stopping") as watchdog:
        watchdog.note_only_abandoned_left(("db",))
        assert end.happened.wait(5)
    assert end.code == 70
    first, second, *stacks = end.text.splitlines()
    assert first.startswith("bandmaster: ending the process with exit code 70: only 'db' left")
    assert second == "'db' is left, stopping"
    assert "Thread 'MainThread' (most recent call last):" in stacks


def test_the_message_is_masked():
    """The error of an unfinished component may name a URL with a password."""
    end = Exit()
    with make_watchdog(end, describe=lambda: "can't reach redis://:hunter2@cache") as watchdog:
        watchdog.note_only_abandoned_left(("cache",))
        assert end.happened.wait(5)
    assert "hunter2" not in end.text


def test_a_message_without_unfinished_work():
    """The stacks follow the reason without an empty line."""
    end = Exit()
    with make_watchdog(end) as watchdog:
        watchdog.note_only_abandoned_left(("db",))
        assert end.happened.wait(5)
    assert end.text.splitlines()[1].startswith("Thread ")


def test_the_process_ends_even_if_the_message_fails():
    """A broken stderr must not keep the process alive."""
    end = Exit()

    def write(text):
        raise OSError(9, "Bad file descriptor")

    with make_watchdog(end, write=write) as watchdog:
        watchdog.note_only_abandoned_left(("db",))
        assert end.happened.wait(5)
    assert end.code == 70


def test_an_ordinary_end():
    """A run that ends in time ends the watchdog, not the process."""
    end = Exit()
    with make_watchdog(end) as watchdog:
        watchdog.note_stop_request(15)
        watchdog.note_second_signal(2)
        watchdog.note_start_resolved()
        watchdog.note_run_finished(0)
    assert end.code is None


def test_the_first_request_counts():
    """The grace runs from the first signal, also when others follow."""
    end = Exit()
    now = [0.0]
    with make_watchdog(end, grace=10, clock=lambda: now[0]) as watchdog:
        watchdog.note_stop_request(15)
        watchdog.note_start_resolved()
        now[0] = 9.9
        watchdog.note_stop_request()
        assert end.happened.wait(5)
    assert end.code == 70


def block(end):
    """Stand in this line until the process would end."""
    end.happened.wait(5)


def test_the_blocked_line_is_named():
    """The message names the line at which the event loop's thread stands, before all stacks."""
    end = Exit()
    with make_watchdog(end, grace=0.1) as watchdog:

        async def main():
            watchdog.watch_event_loop()
            watchdog.note_blocked("driver")
            block(end)

        anyio.run(main)
    assert end.code == 70
    line = inspect.getsourcelines(block)[1] + 2
    assert f'The event loop is blocked at\n  File "{__file__}", line {line}, in block\n    end.happened' in end.text


def test_a_blocked_event_loop_that_goes_on():
    """The process lives on."""
    end = Exit()
    with make_watchdog(end, grace=0.2) as watchdog:
        watchdog.note_blocked("driver")
        watchdog.note_unblocked()
        assert not end.happened.wait(0.5)


def test_staying_until_the_interpreter_has_ended():
    """A thread that holds the interpreter gets a moment; the exit code is that of the run."""
    end = Exit()
    make_watchdog(end, abandon_after=0.05).watch_exit(3)
    assert end.happened.wait(5)
    assert end.code == 3


def test_the_message_goes_to_the_descriptor(capfd):
    """The thread that hangs may hold the lock of sys.stderr."""
    end = Exit()
    with Watchdog(grace=1, abandon_after=1, exit_process=end) as watchdog:
        watchdog.note_only_abandoned_left(("db",))
        assert end.happened.wait(5)
    assert "only 'db' left" in capfd.readouterr().err


def test_no_values_in_stacks():
    """The stacks of threads show source lines, but no values of variables."""
    secret = f"hun{os.getpid()}ter2"
    frames = sys._current_frames()
    found = []
    thread = threading.Thread(target=lambda: found.append(render_thread_stacks(frames)))
    thread.start()
    thread.join()
    assert "test_no_values_in_stacks" in found[0]
    assert secret not in found[0]


def test_the_process_really_ends_by_default():
    """Only tests pass another function."""
    assert Watchdog(grace=1, abandon_after=1)._exit is os._exit
    assert watchdog.FAILED == 70
