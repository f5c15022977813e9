"""Tests of bandmaster.kernel.process.function."""

import asyncio
import functools
import os
import signal
import threading
import time

import anyio
import pytest

from bandmaster.kernel import Kernel, KernelSettings, LifespanBand, PlanError, lifespan
from bandmaster.kernel.process.function import FunctionCall, run_function

pytestmark = pytest.mark.usefixtures("left_as_it_was")


class Database: ...


class Call:
    """A function of a kernel with one component, and a thread that sends signals once the function runs."""

    def __init__(self, function, *signals):
        self.facts = []

        @lifespan(band=LifespanBand.PERSISTENCE)
        async def database():
            self.facts.append("start")
            yield Database()
            self.facts.append("stop")

        self.begun = threading.Event()
        call = FunctionCall(functools.partial(function, self), "tests:function")
        settings = KernelSettings(drain_timeout=1, termination_grace=20)
        contributions = [database, call.contribution]
        kernel = Kernel(contributions=contributions, discover=False, role="exec", settings=settings)
        sender = threading.Thread(target=self._send, args=[signals])
        sender.start()
        try:
            self.code, self.result = run_function(kernel, call)
        finally:
            self.begun.set()
            sender.join()

    def _send(self, signals):
        self.begun.wait(10)
        for number in signals:
            os.kill(os.getpid(), number)


def test_a_function_that_returns():
    """The result and the exit code 0 are returned, after everything has been stopped."""

    async def count(call: Call) -> int:
        call.facts.append("count")
        return 3

    call = Call(count)
    assert (0, 3, ["start", "count", "stop"]) == (call.code, call.result, call.facts)


def test_an_async_function_is_cancelled():
    """SIGTERM cancels an async function, everything is stopped, and the exit code says that work was cut short."""

    async def sleep(call: Call) -> int:
        try:
            call.begun.set()
            await anyio.sleep(30)
        finally:
            call.facts.append("cancelled")
        return 3

    call = Call(sleep, signal.SIGTERM)
    assert (143, None, ["start", "cancelled", "stop"]) == (call.code, call.result, call.facts)


def test_a_plain_function_is_waited_for():
    """A function in a thread can't be cancelled: SIGTERM waits for the end, and a return makes the exit code 0."""

    def work(call: Call) -> int:
        call.begun.set()
        time.sleep(0.5)
        call.facts.append("done")
        return 3

    call = Call(work, signal.SIGTERM)
    assert (0, 3, ["start", "done", "stop"]) == (call.code, call.result, call.facts)


def test_a_function_that_fails(capfd):
    """The exception is reported once, everything is stopped, and the exit code is 70."""

    async def fail(call: Call) -> None:
        raise LookupError("no such row")

    call = Call(fail)
    assert (70, None, ["start", "stop"]) == (call.code, call.result, call.facts)
    reported = capfd.readouterr().err
    assert "LookupError: no such row" in reported
    assert 1 == reported.count("Traceback")


def test_a_function_that_ends_the_process():
    """SystemExit of the function is a failure; everything is stopped all the same."""

    async def leave(call: Call) -> None:
        raise SystemExit(0)

    call = Call(leave)
    assert (70, ["start", "stop"]) == (call.code, call.facts)


def test_a_function_that_awaits_what_is_cancelled(capfd):
    """A task that the function awaits was cancelled: that is a failure of the function."""

    async def wait(call: Call) -> None:
        task = asyncio.ensure_future(asyncio.sleep(30))
        task.cancel()
        await task

    call = Call(wait)
    assert (70, ["start", "stop"]) == (call.code, call.facts)
    reported = capfd.readouterr().err
    assert "the function was cancelled by something that it awaited" in reported
    assert "await task" in reported


def test_a_plain_function_that_returns_an_awaitable():
    """A wrapper that hides an async function is awaited."""

    async def inner() -> int:
        await anyio.sleep(0)
        return 4

    assert 4 == Call(lambda call: inner()).result


def test_settings_that_cannot_be_read(monkeypatch):
    """Wrong settings of the launcher are an error before anything starts."""

    async def never(call: Call) -> None:
        raise AssertionError

    monkeypatch.setenv("BANDMASTER_SERVER_PORT", "x")
    with pytest.raises(PlanError, match="BANDMASTER_SERVER_PORT"):
        Call(never)
