"""Tests of bandmaster.kernel.process.exit."""

import signal

import pytest

from bandmaster.kernel.errors import BindError, StartCancelled, StartError
from bandmaster.kernel.process import exit as process_exit
from bandmaster.kernel.process.exit import choose_exit_code, end_process

SIGTERM, SIGINT = signal.SIGTERM, signal.SIGINT
FAILED = StartError("no", component="a")
CANCELLED = StartCancelled("asked to")


@pytest.mark.parametrize(
    ("error", "signals", "starting", "cut_short", "code"),
    [
        (None, (SIGTERM,), False, 0, 0),
        (None, (), False, 0, 0),
        (None, (SIGTERM,), False, 2, 143),
        (None, (), False, 2, 70),
        (None, (SIGTERM, SIGINT), False, 0, 0),
        (None, (SIGTERM, SIGINT), False, 1, 130),
        (CANCELLED, (SIGINT,), True, 0, 130),
        (CANCELLED, (), False, 0, 70),
        (FAILED, (), False, 0, 70),
        (FAILED, (SIGTERM,), True, 0, 70),
        (FAILED, (SIGTERM, SIGTERM), True, 0, 70),
        (FAILED, (SIGTERM, SIGTERM), False, 1, 143),
        (BindError("taken"), (), False, 0, 78),
    ],
)
def test_exit_codes(error, signals, starting, cut_short, code):
    """The exit code is 0 if clean, 70 if failed, 78 if misconfigured, 128 + n if signal n cut work short.

    A second signal that finds nothing to cut changes nothing.
    """
    assert code == choose_exit_code(error, signals, stopped_while_starting=starting, cut_short=cut_short)


def test_ending_the_process(monkeypatch):
    """A stop signal that arrives after the run doesn't change the exit code."""
    watched = []
    monkeypatch.setattr(process_exit.Watchdog, "watch_exit", lambda self, code: watched.append(code))
    before = {number: signal.getsignal(number) for number in (SIGTERM, SIGINT)}
    try:
        with pytest.raises(SystemExit) as ended:
            end_process(3)
        assert signal.getsignal(SIGTERM) is signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert (ended.value.code, watched) == (3, [3])
