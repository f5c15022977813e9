"""Tests of bandmaster.kernel.shutdown.stop_signals."""

import signal
import threading

import anyio
import pytest

from bandmaster.kernel.shutdown.stop_signals import (
    STOP_SIGNALS,
    is_handled,
    make_waker,
    precede_handlers,
    replace_handlers,
)

SIGTERM, SIGINT, SIGHUP, SIGQUIT = signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT


@pytest.fixture(autouse=True)
def handlers():
    """The signal handlers, which are restored after each test."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


class OtherHandler:
    """A handler of another library, a server for example."""

    def __init__(self):
        self.received = []
        for number in STOP_SIGNALS:
            signal.signal(number, self)

    def __call__(self, number, frame):
        self.received.append(number)


def test_replaced_handlers_are_restored():
    """The launcher's handlers stand in place of those before, which are there again afterwards."""
    other, received = OtherHandler(), []
    with replace_handlers(received.append):
        signal.raise_signal(SIGTERM)
        signal.raise_signal(SIGINT)
    assert received == [SIGTERM, SIGINT]
    signal.raise_signal(SIGTERM)
    assert other.received == [SIGTERM]


@pytest.mark.parametrize("number", [SIGHUP, SIGQUIT])
def test_the_end_of_a_terminal_is_received_too(number):
    """SIGHUP and SIGQUIT would end the process without any clean-up."""
    received = []
    with replace_handlers(received.append):
        signal.raise_signal(number)
    assert received == [number]


def test_a_process_that_ignores_the_end_of_its_terminal_goes_on():
    """nohup has SIGHUP ignored before the process begins; SIGTERM is received all the same."""
    signal.signal(SIGHUP, signal.SIG_IGN)
    signal.signal(SIGTERM, signal.SIG_IGN)
    received = []
    with replace_handlers(received.append):
        assert signal.getsignal(SIGHUP) is signal.SIG_IGN
        signal.raise_signal(SIGTERM)
    assert received == [SIGTERM]


@pytest.mark.parametrize("install", [replace_handlers, precede_handlers])
def test_another_meaning_of_sighup_stays(install):
    """A handler of the application's own may reopen log files, for example."""
    other = OtherHandler()
    with install(lambda *_: True):
        signal.raise_signal(SIGHUP)
    assert other.received == [SIGHUP]


@pytest.mark.parametrize("install", [replace_handlers, precede_handlers])
def test_libraries_find_the_stop_behind_the_handler(install):
    """The handler is a method of an object with should_exit, as uvicorn's is of its server."""
    OtherHandler()
    stopping = []
    with install(lambda *_: True, lambda: bool(stopping)):
        behind = signal.getsignal(SIGTERM).__self__
        assert not behind.should_exit
        stopping.append(True)
        assert behind.should_exit


def test_a_handler_of_another_language_is_replaced_by_the_default(monkeypatch):
    """Python can't restore a handler that Python didn't install."""
    real = signal.signal
    monkeypatch.setattr(signal, "signal", lambda number, handler: real(number, handler) and None)
    with replace_handlers(lambda number: None):
        monkeypatch.undo()
    assert signal.getsignal(SIGTERM) is signal.SIG_DFL


def test_only_the_main_thread_can_replace_handlers():
    """In another thread a ValueError says so."""
    raised = []

    def run():
        try:
            with replace_handlers(print):
                pass
        except ValueError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert len(raised) == 1


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler])
def test_the_defaults_are_no_handlers(handler):
    """A process without a server ends by signals as any Python process does."""
    signal.signal(SIGTERM, handler)
    assert not is_handled(SIGTERM)


def test_a_preceded_handler_runs_after_ours():
    """A signal is passed on to the server's handler at once."""
    other, received = OtherHandler(), []

    def receive(number, pass_on):
        assert other.received == []
        received.append(number)
        return False

    with precede_handlers(receive) as preceded:
        assert preceded == {SIGTERM, SIGINT}
        signal.raise_signal(SIGTERM)
    assert (received, other.received) == ([SIGTERM], [SIGTERM])
    assert signal.getsignal(SIGTERM) is other


def test_a_signal_can_be_passed_on_later():
    """Until then the server's handler isn't called."""
    other, later = OtherHandler(), []

    def receive(number, pass_on):
        later.append(pass_on)
        return True

    with precede_handlers(receive):
        signal.raise_signal(SIGINT)
        assert other.received == []
        later[0]()
    assert other.received == [SIGINT]


@pytest.mark.parametrize("later", [False, True])
def test_a_signal_that_the_server_does_not_know_is_passed_on_as_sigterm(later):
    """A server that leaves SIGHUP to its default would end without any clean-up; each of them knows SIGTERM."""
    other, received, held = OtherHandler(), [], []
    signal.signal(SIGHUP, signal.SIG_DFL)

    def receive(number, pass_on):
        received.append(number)
        held.append(pass_on)
        return later

    with precede_handlers(receive):
        signal.raise_signal(SIGHUP)
        if later:
            assert other.received == []
            held[0]()
        assert (received, other.received) == ([SIGHUP], [SIGTERM])
        signal.raise_signal(SIGTERM)
        assert received == [SIGHUP, SIGTERM]
    assert signal.getsignal(SIGHUP) is signal.SIG_DFL


def test_no_handler_is_preceded_without_one_for_sigterm():
    """asyncio's own runner handles Ctrl-C without any server, so all handlers stay as they are."""
    other = OtherHandler()
    signal.signal(SIGTERM, signal.SIG_DFL)
    with precede_handlers(lambda number, pass_on: False) as preceded:
        assert preceded == frozenset()
        assert signal.getsignal(SIGINT) is other


def test_no_handler_is_preceded_in_another_thread():
    """A test client runs the application in a thread of its own."""
    other, found = OtherHandler(), []

    def run():
        with precede_handlers(lambda number, pass_on: False) as preceded:
            found.append((preceded, signal.getsignal(SIGTERM)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [(frozenset(), other)]


def test_a_handler_installed_over_ours_stays():
    """Only our own handler is replaced at the end."""
    OtherHandler()
    with precede_handlers(lambda number, pass_on: False):
        later = OtherHandler()
    assert signal.getsignal(SIGTERM) is later


@pytest.mark.parametrize(
    ("backend", "options"), [("asyncio", {}), ("asyncio", {"use_uvloop": True}), ("trio", {})], ids=str
)
def test_waking_an_event_loop(backend, options):
    """A signal handler and another thread schedule a function while the event loop sleeps."""

    async def main():
        wake = make_waker()
        by_thread, by_signal = anyio.Event(), anyio.Event()
        thread = threading.Thread(target=lambda: wake(by_thread.set))
        with replace_handlers(lambda number: wake(by_signal.set)), anyio.fail_after(5):
            thread.start()
            await by_thread.wait()
            signal.raise_signal(SIGTERM)
            await by_signal.wait()
        thread.join()

    anyio.run(main, backend=backend, backend_options=options)
