"""Tests of bandmaster.kernel.shutdown.signal_relay."""

import asyncio
import signal

import anyio
import pytest
import uvloop

from bandmaster.kernel.shutdown.signal_relay import SignalRelay

SIGTERM, SIGUSR1 = signal.SIGTERM, signal.SIGUSR1


@pytest.fixture(autouse=True)
def handlers():
    """The signal handlers, which are restored after each test."""
    before = {number: signal.getsignal(number) for number in (SIGTERM, SIGUSR1)}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


async def turn():
    """Let the event loop read its sockets."""
    for _ in range(5):
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_signal_is_kept_from_the_event_loop_until_it_is_passed_on(loop_factory):
    """A handler that was added to the event loop is called then; other signals reach the event loop at once."""
    received = []

    async def main():
        loop = asyncio.get_running_loop()
        for number in (SIGTERM, SIGUSR1):
            loop.add_signal_handler(number, received.append, number)
        relay = SignalRelay([SIGTERM])
        relay.install()
        relay.install()
        # As the launcher's own handler does, in place of the one that the event loop has installed.
        signal.signal(SIGTERM, lambda number, frame: received.append("ours"))
        signal.raise_signal(SIGTERM)
        signal.raise_signal(SIGUSR1)
        await turn()
        assert received == ["ours", SIGUSR1]
        relay.pass_on(SIGTERM)
        await turn()
        assert received == ["ours", SIGUSR1, SIGTERM]
        relay.remove()
        signal.raise_signal(SIGUSR1)
        await turn()
        assert received == ["ours", SIGUSR1, SIGTERM, SIGUSR1]
        for number in (SIGTERM, SIGUSR1):
            loop.remove_signal_handler(number)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


def test_a_handler_that_is_added_later_wins():
    """The event loop has its own socket back, and keeps that when the relay is removed."""
    received = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(SIGTERM, received.append, SIGTERM)
        relay = SignalRelay([SIGTERM])
        relay.install()
        loop.add_signal_handler(SIGUSR1, received.append, SIGUSR1)
        relay.remove()
        signal.raise_signal(SIGUSR1)
        await turn()
        assert received == [SIGUSR1]
        for number in (SIGTERM, SIGUSR1):
            loop.remove_signal_handler(number)

    asyncio.run(main())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_event_loop_without_handlers_is_left_alone(backend):
    """Without handlers of its own, asyncio's event loop gets no signals; trio's has none."""

    async def main():
        relay = SignalRelay([SIGTERM])
        relay.install()
        relay.pass_on(SIGTERM)
        relay.remove()

    before = signal.set_wakeup_fd(-1)
    anyio.run(main, backend=backend)
    assert (before, signal.set_wakeup_fd(-1)) == (-1, -1)
