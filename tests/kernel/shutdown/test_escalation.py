"""Tests of bandmaster.kernel.shutdown.escalation."""

import os
import signal

import anyio
import pytest

from bandmaster.kernel import Kernel, events
from bandmaster.kernel.shutdown.escalation import (
    ECHO,
    Action,
    Escalation,
    ReceivedSignals,
    choose_action,
    receive_signal,
)

SIGTERM, SIGINT = signal.SIGTERM, signal.SIGINT


class Clock:
    """A clock that the test moves."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Watched:
    """An escalation in an event loop, with a record of the requests to stop and of the ends of the process."""

    def __init__(self):
        self.clock = Clock()
        self.exit_codes = []
        self.kernel = Kernel(discover=False)
        self.requests = []
        self.kernel.request_stop = self.requests.append
        self.escalation = Escalation(self.kernel, exit_process=self.exit_codes.append, clock=self.clock)

    def receive(self, *numbers):
        """Receive signals, each late enough to be no echo of the one before."""
        actions = []
        for number in numbers:
            self.clock.now += 2 * ECHO
            actions.append(self.escalation.receive(number))
        return actions


@pytest.mark.parametrize(
    ("count", "action"), [(1, Action.STOP), (2, Action.SKIP_DRAIN), (3, Action.EXIT), (4, Action.EXIT)]
)
def test_the_consequence_of_each_signal(count, action):
    """The first stops, the second skips the drain, the third and any later one end the process."""
    assert action is choose_action(count)


def test_an_echo_is_no_second_request():
    """timeout(1) and others send the same request twice, within a moment."""
    received, action = receive_signal(ReceivedSignals(), SIGINT, 0.0)
    assert action is Action.STOP
    received, action = receive_signal(received, SIGTERM, ECHO / 2)
    assert action is None
    received, action = receive_signal(received, SIGINT, ECHO * 1.5)
    assert action is Action.SKIP_DRAIN
    assert received.signals == (SIGINT, SIGINT)


def test_an_echo_of_an_echo_is_an_echo():
    """The distance to the last signal counts, also where that one was an echo."""
    received = ReceivedSignals()
    actions = []
    for step in range(4):
        received, action = receive_signal(received, SIGINT, step * ECHO * 0.75)
        actions.append(action)
    assert actions == [Action.STOP, None, None, None]


def test_a_third_signal_ends_the_process_in_the_handler(capfd):
    """The handler doesn't wait for the event loop, which may be blocked."""
    watched = Watched()
    assert watched.receive(SIGTERM, SIGTERM, SIGINT) == [Action.STOP, Action.SKIP_DRAIN, Action.EXIT]
    assert watched.exit_codes == [130]
    assert capfd.readouterr().err == "bandmaster: SIGINT for the third time: leaving at once\n"


def test_a_third_signal_ends_a_process_whose_stderr_is_closed(monkeypatch):
    """The message is lost where nobody reads stderr, and the process ends all the same."""

    def write(number, text):
        raise BrokenPipeError

    monkeypatch.setattr(os, "write", write)
    watched = Watched()
    assert [Action.STOP, Action.SKIP_DRAIN, Action.EXIT] == watched.receive(SIGTERM, SIGTERM, SIGTERM)
    assert [128 + SIGTERM] == watched.exit_codes


@pytest.mark.anyio
async def test_the_event_loop_acts_on_signals():
    """The first signal requests the stop by name, the second cancels the work to skip."""
    watched = Watched()
    escalation = watched.escalation
    escalation.enter_event_loop()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(escalation.attend)
        await anyio.wait_all_tasks_blocked()
        assert watched.requests == []
        watched.receive(SIGTERM)
        await anyio.sleep(0.01)
        assert watched.requests == ["SIGTERM"]
        assert not escalation.skips_drain
        with anyio.fail_after(5):
            tasks.start_soon(receive_later, watched, SIGINT)
            await escalation.run_until_skipped(anyio.sleep_forever)
        assert escalation.skips_drain
        tasks.cancel_scope.cancel()
    assert set(watched.requests) == {"SIGTERM"}
    assert escalation.signals == (SIGTERM, SIGINT)


@pytest.mark.anyio
@pytest.mark.parametrize(("is_ready", "expected"), [(False, []), (True, ["the drain is cut short"])])
async def test_a_second_signal_during_a_start(caplog, is_ready, expected):
    """Only a drain that there is can be cut short: a start is rolled back without one."""
    watched = Watched()
    escalation = watched.escalation
    escalation.enter_event_loop()
    with escalation.watching():
        if is_ready:
            watched.kernel.emit(events.Ready(at=0.0, took=0.0))
        watched.receive(SIGTERM, SIGTERM)
        watched.kernel.emit(events.KernelStarting(at=0.0, components=0))  # as any event: the signals are acted on
    assert escalation.skips_drain
    assert expected == [record.getMessage().partition(" reason=")[0] for record in caplog.records]


async def receive_later(watched, number):
    await anyio.wait_all_tasks_blocked()
    watched.receive(number)


@pytest.mark.anyio
async def test_work_that_ends_in_time_is_not_cancelled():
    """Without a second signal the work runs to the end."""
    watched = Watched()
    watched.escalation.enter_event_loop()
    done = []

    async def work():
        await anyio.sleep(0.01)
        done.append(True)

    await watched.escalation.run_until_skipped(work)
    assert done == [True]


@pytest.mark.anyio
async def test_a_signal_before_the_event_loop_is_not_lost():
    """The stop is requested as soon as the event loop attends, and again when the run begins."""
    watched = Watched()
    watched.receive(SIGINT)
    watched.escalation.enter_event_loop()
    with watched.escalation.watching():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watched.escalation.attend)
            await anyio.wait_all_tasks_blocked()
            assert watched.requests == ["SIGINT"]
            watched.kernel.emit(events.KernelStarting(at=0.0, components=0))
            assert watched.requests == ["SIGINT", "SIGINT"]
            tasks.cancel_scope.cancel()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("event", "while_starting"),
    [
        (events.KernelStarting(at=0.0, components=0), True),
        (events.Ready(at=0.0, took=0.0), False),
        (events.KernelStopping(at=0.0), False),
    ],
)
async def test_whether_the_first_signal_found_a_start_under_way(event, while_starting):
    """A start ends when everything is ready, or when the stop begins."""
    watched = Watched()
    watched.escalation.enter_event_loop()
    with watched.escalation.watching():
        watched.kernel.emit(event)
        watched.receive(SIGTERM)
    assert watched.escalation.stopped_while_starting is while_starting


@pytest.mark.anyio
async def test_a_process_of_others_is_not_ended():
    """Under a test client only abandoned components may be left, and the process lives on."""
    watched = Watched()
    watched.escalation.enter_event_loop()
    with watched.escalation.watching(may_end_process=False):
        watched.kernel.emit(events.OnlyAbandonedLeft(at=0.0, components=("part",)))
        await anyio.sleep(0.1)
    assert watched.exit_codes == []


@pytest.mark.anyio
async def test_an_event_loop_that_is_blocked_for_good():
    """The watchdog learns of the block from another thread, and of its end with the next event."""
    watched = Watched()
    noted = []
    watched.escalation._watchdog.note_blocked = noted.append
    watched.escalation._watchdog.note_unblocked = lambda: noted.append(None)
    watched.escalation.enter_event_loop()
    with watched.escalation.watching():
        watched.kernel._report_blocked("driver")
        watched.kernel.emit(events.Ready(at=0.0, took=0.0))
        watched.kernel.emit(events.Ready(at=0.0, took=0.0))
    assert noted == ["driver", None]
    assert watched.kernel._report_blocked is None


@pytest.mark.anyio
async def test_a_signal_that_came_while_a_start_blocked_the_event_loop():
    """The stop is requested with the first event, so that nothing more is started."""
    watched = Watched()
    watched.escalation.enter_event_loop()
    with watched.escalation.watching():
        watched.receive(SIGTERM)
        watched.kernel.emit(events.ComponentStarted(at=0.0, component="model", waited=0.0, own=4.0))
    assert watched.requests == ["SIGTERM"]


@pytest.mark.anyio
async def test_whether_the_process_is_to_stop():
    """Libraries that look for uvicorn's server read that, from the request to stop on."""
    escalation = Escalation(kernel := Kernel(discover=False))
    seen = [escalation.is_stopping]
    async with kernel.running():
        seen.append(escalation.is_stopping)
        kernel.request_stop("enough")
        seen.append(escalation.is_stopping)
    assert [*seen, escalation.is_stopping] == [False, False, True, True]
