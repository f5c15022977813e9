"""Tests of bandmaster.kernel.shutdown.watchdog."""

import os
import sys
import threading
import time

import pytest

from bandmaster.kernel import events
from bandmaster.kernel.shutdown import watchdog
from bandmaster.kernel.shutdown.watchdog import Facts, Verdict, Watchdog, Witness, deadlines, thread_stacks


def due(facts, now):
    """What the watchdog would end the process for at that time."""
    return [verdict for at, verdict in deadlines(facts) if at <= now]


def codes(facts, now):
    return [verdict.code for verdict in due(facts, now)]


FACTS = Facts(grace=10, abandon_after=2)


def test_nothing_is_overdue_without_a_reason():
    """A start may take as long as its own deadlines let it."""
    assert deadlines(FACTS) == []


def test_the_grace():
    """A little before it is over the process ends with 70: the platform would kill it without a word."""
    facts = Facts(10, 2, asked=100, signal=15, starting=False)
    assert codes(facts, 109.4) == []
    assert codes(facts, 109.5) == [70]
    short = Facts(1, 2, asked=100, starting=False)
    assert [at for at, _ in deadlines(short)] == [pytest.approx(100.95)]


def test_a_second_signal_makes_it_that_signals_exit_code():
    """Work cut short on request: 128 + n."""
    facts = Facts(10, 2, asked=100, signal=15, hurried=2, starting=False)
    assert codes(facts, 110) == [130]


def test_a_blocked_start():
    """Asked to stop while starting, and the event loop doesn't come to cancel it."""
    facts = Facts(10, 2, asked=100, signal=15)
    assert codes(facts, 101.9) == []
    assert codes(facts, 102) == [143]
    assert codes(Facts(10, 2, asked=100, signal=15, progress=101), 102) == []
    assert codes(Facts(10, 2, asked=100, signal=15, starting=False), 102) == []
    assert codes(Facts(10, 2, asked=100), 102) == []


def test_only_abandoned_components_left():
    """There is nothing more to wait for."""
    (verdict,) = due(Facts(10, 2, abandoned=("a", "b")), 0)
    assert verdict == Verdict(70, "only 'a' and 'b' left, which ignored the cancellation")


def test_a_finished_run_that_is_held():
    """The exit code is the run's own."""
    facts = Facts(10, 2, finished=(50, 3))
    assert codes(facts, 51.9) == []
    assert codes(facts, 52) == [3]


# -- the thread ----------------------------------------------------------------------------------------------------


class Exit:
    """In place of the process's end."""

    def __init__(self):
        self.code = None
        self.text = ""
        self.happened = threading.Event()

    def __call__(self, code):
        self.code = code
        self.happened.set()

    def write(self, text):
        self.text += text


def dog(end, **fields):
    settings = {"grace": 60, "abandon_after": 60, "exit_process": end, "write": end.write, **fields}
    return Watchdog(**settings)


def test_it_ends_the_process_and_says_why():
    """The reason, what is left, and where every thread is."""
    end = Exit()
    with dog(end, describe=lambda: "'db' is left, stopping") as watch:
        watch.abandoned(("db",))
        assert end.happened.wait(5)
    assert end.code == 70
    first, second, *stacks = end.text.splitlines()
    assert first.startswith("bandmaster: ending the process with exit code 70: only 'db' left")
    assert second == "'db' is left, stopping"
    assert "Thread 'MainThread' (most recent call last):" in stacks


def test_nothing_is_said_of_components_where_none_is_left():
    """No empty heading."""
    end = Exit()
    with dog(end) as watch:
        watch.abandoned(("db",))
        assert end.happened.wait(5)
    assert end.text.splitlines()[1].startswith("Thread ")


def test_the_process_ends_even_if_the_message_fails():
    """A broken stderr must not keep it alive."""
    end = Exit()

    def write(text):
        raise OSError(9, "Bad file descriptor")

    with dog(end, write=write) as watch:
        watch.abandoned(("db",))
        assert end.happened.wait(5)
    assert end.code == 70


def test_an_ordinary_end():
    """It is told that all is well, and goes."""
    end = Exit()
    with dog(end) as watch:
        watch.asked(15)
        watch.hurried(2)
        watch.acted()
        watch.finished(0)
    assert end.code is None


def test_the_first_request_counts():
    """The grace runs from the first signal, whatever comes later."""
    end = Exit()
    now = [0.0]
    with dog(end, grace=10, clock=lambda: now[0]) as watch:
        watch.asked(15)
        watch.acted()
        now[0] = 9.9
        watch.asked()
        assert end.happened.wait(5)
    assert end.code == 70


def test_a_loop_that_answers_is_not_blocked():
    """It is asked again and again whether anything happens, until it has acted."""
    end = Exit()
    pings = []
    with dog(end, abandon_after=0.2) as watch:

        def wake(function):
            pings.append(1)
            function()

        watch.hear(wake)
        watch.asked(15)
        time.sleep(0.5)
        assert end.code is None
        watch.acted()
    assert len(pings) >= 3


def test_a_loop_that_does_not_answer_is_blocked():
    """abandon_after later the process ends with 128 + n."""
    end = Exit()
    with dog(end, abandon_after=0.1) as watch:
        watch.hear(lambda function: None)
        watch.asked(15)
        assert end.happened.wait(5)
    assert end.code == 143


def test_a_loop_that_is_closed_is_asked_no_more():
    """What it says then is no news."""
    end = Exit()

    def wake(function):
        raise RuntimeError("Event loop is closed")

    with dog(end, abandon_after=0.1) as watch:
        watch.hear(wake)
        watch.asked(15)
        assert end.happened.wait(5)
    assert end.code == 143


def test_staying_until_the_interpreter_has_ended():
    """A thread that holds it is given a moment; the exit code stays."""
    end = Exit()
    dog(end, abandon_after=0.05).stay(3)
    assert end.happened.wait(5)
    assert end.code == 3


def test_it_writes_to_the_descriptor(capfd):
    """Not through sys.stderr, whose lock the one that hangs may hold."""
    end = Exit()
    with Watchdog(grace=1, abandon_after=1, exit_process=end) as watch:
        watch.abandoned(("db",))
        assert end.happened.wait(5)
    assert "only 'db' left" in capfd.readouterr().err


def test_no_values_in_stacks():
    """Where the threads are is shown, what they hold is not."""
    secret = f"hun{os.getpid()}ter2"
    frames = sys._current_frames()
    found = []
    thread = threading.Thread(target=lambda: found.append(thread_stacks(frames)))
    thread.start()
    thread.join()
    assert "test_no_values_in_stacks" in found[0]
    assert secret not in found[0]


# -- the witness ---------------------------------------------------------------------------------------------------


def tell(witness, *happened):
    for event in happened:
        witness(event)


def test_what_is_left_and_what_went_wrong():
    """The cause first, then the components that aren't over, with where they stood."""
    witness = Witness()
    tell(
        witness,
        events.KernelStarting(at=0, components=4),
        events.ComponentStarting(at=0, component="a", waited=0),
        events.ComponentStarted(at=0, component="a", waited=0, own=0),
        events.ComponentStarting(at=0, component="b", waited=0),
        events.ComponentStartFailed(at=0, component="b", error=RuntimeError("no luck"), own=0),
        events.ComponentStarting(at=0, component="c", waited=0),
        events.ComponentStartCancelled(at=0, component="c", own=0),
        events.ComponentStarting(at=0, component="d", waited=0),
        events.ComponentOverdue(at=1, component="d", phase="start", seconds=1.0, where='  File "d.py"'),
        events.ComponentStopping(at=1, component="a"),
        events.KernelStopping(at=1),
    )
    lines = witness.story().splitlines()
    assert lines[:2] == ["'b' failed while starting:", "RuntimeError: no luck"]
    assert "'d' failed while starting:" in lines
    assert lines[-3:] == ["'a' is left, stopping", "'d' is left, starting; it stood at", '  File "d.py"']
    assert [name for name, _, _ in witness.faults] == ["b", "d"]


def test_crashes_and_failed_stops():
    """A crash tells its error only once it has been unwound."""
    witness = Witness()
    tell(
        witness,
        events.ComponentStarting(at=0, component="a", waited=0),
        events.ComponentCrashed(at=0, component="a", policy="stop"),
        events.ComponentStopFailed(at=0, component="a", error=RuntimeError("died"), own=0),
        events.ComponentStarting(at=0, component="b", waited=0),
        events.ComponentStopped(at=0, component="b", own=0),
    )
    assert witness.story().splitlines()[0] == "'a' failed while serving"
    assert witness.faults[1][:2] == ("a", "stop")


def test_a_new_run_begins_with_nothing():
    """What an earlier run left behind is forgotten."""
    witness = Witness()
    tell(
        witness,
        events.ComponentStarting(at=0, component="a", waited=0),
        events.KernelStarting(at=0, components=0),
    )
    assert witness.story() == ""


def test_the_module_ends_processes_by_default():
    """Only tests hand in something else."""
    assert Watchdog(grace=1, abandon_after=1)._exit is os._exit
    assert watchdog.FAILED == 70
