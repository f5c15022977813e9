"""Tests of bandmaster.kernel.shutdown.stop_signals."""

import signal
import threading

import anyio
import pytest

from bandmaster.kernel.shutdown import stop_signals as signals
from bandmaster.kernel.shutdown.stop_signals import ECHO, Move, Requests, chained, decide, is_handled, owned, waker

SIGTERM, SIGINT = signal.SIGTERM, signal.SIGINT


@pytest.fixture(autouse=True)
def handlers():
    """Whatever a test does to them, the handlers are afterwards what they were."""
    before = {number: signal.getsignal(number) for number in signals.STOP_SIGNALS}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


class Ear:
    """A handler that somebody has installed, a server for example."""

    def __init__(self):
        self.heard = []
        for number in signals.STOP_SIGNALS:
            signal.signal(number, self)

    def __call__(self, number, frame):
        self.heard.append(number)


@pytest.mark.parametrize(("count", "move"), [(1, Move.STOP), (2, Move.HURRY), (3, Move.LEAVE), (4, Move.LEAVE)])
def test_what_the_nth_signal_means(count, move):
    """The first stops, the second hurries, the third and any later one leave at once."""
    assert move is decide(count)


def test_an_echo_is_no_second_request():
    """timeout(1) and others send the same request twice, within a moment."""
    now = [0.0]
    requests = Requests(clock=lambda: now[0])
    assert requests.hear(SIGINT) is Move.STOP
    now[0] += ECHO / 2
    assert requests.hear(SIGTERM) is None
    now[0] += ECHO
    assert requests.hear(SIGINT) is Move.HURRY
    assert requests.numbers == (SIGINT, SIGINT)


def test_owned_signals_are_heard_instead_of_whoever_heard_them():
    """The launcher's handlers stand in place of those before, which are there again afterwards."""
    ear, heard = Ear(), []
    with owned(heard.append):
        signal.raise_signal(SIGTERM)
        signal.raise_signal(SIGINT)
    assert heard == [SIGTERM, SIGINT]
    signal.raise_signal(SIGTERM)
    assert ear.heard == [SIGTERM]


def test_a_handler_of_another_language_is_replaced_by_the_default(monkeypatch):
    """What Python didn't install it can't put back."""
    real = signal.signal
    monkeypatch.setattr(signal, "signal", lambda number, handler: real(number, handler) and None)
    with owned(lambda number: None):
        monkeypatch.undo()
    assert signal.getsignal(SIGTERM) is signal.SIG_DFL


def test_only_the_main_thread_can_own_signals():
    """Elsewhere it is an error and not a silence."""
    raised = []

    def run():
        try:
            with owned(print):
                pass
        except ValueError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert len(raised) == 1


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler])
def test_defaults_are_nobodys_handlers(handler):
    """A process without a server ends by signals as it always did."""
    signal.signal(SIGTERM, handler)
    assert not is_handled(SIGTERM)


def test_chained_signals_are_heard_first_and_handed_on():
    """The server's handler runs after ours, at once."""
    ear, heard = Ear(), []

    def hear(number, hand_on):
        assert ear.heard == []
        heard.append(number)
        return False

    with chained(hear) as which:
        assert which == {SIGTERM, SIGINT}
        signal.raise_signal(SIGTERM)
    assert (heard, ear.heard) == ([SIGTERM], [SIGTERM])
    assert signal.getsignal(SIGTERM) is ear


def test_a_chained_signal_can_be_handed_on_later():
    """Until then the server knows nothing of it."""
    ear, later = Ear(), []

    def hear(number, hand_on):
        later.append(hand_on)
        return True

    with chained(hear):
        signal.raise_signal(SIGINT)
        assert ear.heard == []
        later[0]()
    assert ear.heard == [SIGINT]


def test_nothing_is_chained_where_nobody_handles_sigterm():
    """asyncio itself handles Ctrl-C, which makes no server; signals are left as they are."""
    ear = Ear()
    signal.signal(SIGTERM, signal.SIG_DFL)
    with chained(lambda number, hand_on: False) as which:
        assert which == frozenset()
        assert signal.getsignal(SIGINT) is ear


def test_nothing_is_chained_in_another_thread():
    """A test client runs the application in one."""
    ear, found = Ear(), []

    def run():
        with chained(lambda number, hand_on: False) as which:
            found.append((which, signal.getsignal(SIGTERM)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [(frozenset(), ear)]


def test_a_handler_put_over_ours_stays():
    """What somebody has installed meanwhile is theirs to keep."""
    Ear()
    with chained(lambda number, hand_on: False):
        later = Ear()
    assert signal.getsignal(SIGTERM) is later


@pytest.mark.parametrize(
    ("backend", "options"), [("asyncio", {}), ("asyncio", {"use_uvloop": True}), ("trio", {})], ids=str
)
def test_waking_an_event_loop(backend, options):
    """A signal handler and another thread have the loop call a function while it sleeps."""

    async def main():
        wake = waker()
        by_thread, by_signal = anyio.Event(), anyio.Event()
        thread = threading.Thread(target=lambda: wake(by_thread.set))
        with owned(lambda number: wake(by_signal.set)), anyio.fail_after(5):
            thread.start()
            await by_thread.wait()
            signal.raise_signal(SIGTERM)
            await by_signal.wait()
        thread.join()

    anyio.run(main, backend=backend, backend_options=options)
