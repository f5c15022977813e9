"""Tests of bandmaster.kernel.lifecycle.services."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from tests.kernel.harness.clock import run
from tests.kernel.lifecycle.engines import (
    Boom,
    Recorder,
    fail_after,
    fail_with,
    group_that_fails,
    make_contribution,
    make_engine,
    run_engine,
    sleep_shielded,
)

from bandmaster.kernel import events
from bandmaster.kernel.errors import CrashError
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.lifecycle.restart import Restart


def supervising(service: Callable[[], Awaitable[object]], **restart: Any) -> Callable[[Context], None]:
    def setup(context: Context) -> None:
        context.supervise(service, name="service", restart=Restart(**{"jitter": 0, **restart}))

    return setup


def test_a_service_runs_while_its_component_does(backend: str, record: Recorder) -> None:
    """A service begins after the start of its component, sees its context variables, and ends before the stop."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    async def service() -> None:
        record.append(variable.get())
        try:
            await anyio.sleep_forever()
        finally:
            await sleep_shielded(1)
            record.append("served")

    def setup(context: Context) -> None:
        variable.set("a's own")
        supervising(service)(context)

    assert run_engine(backend, make_engine(record.component("a", setup=setup)), partial(anyio.sleep, 1)) is None
    assert record == ["+a", "a's own", "served", "-a"]


def test_a_service_is_restarted_with_backoff_until_it_is_given_up(backend: str, record: Recorder) -> None:
    """Each pause is twice the one before; one restart too many stops the plan, with the last error as the cause."""
    errors: list[Boom] = []

    async def service() -> None:
        record.append(anyio.current_time())
        errors.append(Boom(str(len(errors))))
        raise errors[-1]

    engine = make_engine(record.component("a", setup=supervising(service, intensity=3, initial_delay=1)))
    error = run_engine(backend, engine, anyio.sleep_forever)
    assert record == ["+a", 0, 1, 3, 7, "-a"]
    assert error.__cause__ is errors[-1]
    assert errors[-1].__notes__ == ["in the background service 'service'", "while serving 'a' (in code)"]


def test_a_given_up_service_that_only_degrades(backend: str, record: Recorder) -> None:
    """A service that is given up loses readiness and doesn't end the body."""
    engine = make_engine(
        record.component("a", setup=supervising(fail_with(Boom()), intensity=0, when_exhausted="degrade"))
    )

    async def body() -> None:
        await anyio.sleep(5)
        record.append(engine.degraded_by)

    assert isinstance(run_engine(backend, engine, body), CrashError)
    assert record == ["+a", {"a"}, "-a"]


def test_a_service_that_returns(backend: str, record: Recorder) -> None:
    """A service that returns is over, unless its policy is to run always."""
    once = make_engine(record.component("a", setup=supervising(anyio.lowlevel.checkpoint)), emit=record.append)
    assert run_engine(backend, once, partial(anyio.sleep, 5)) is None
    assert events.ServiceEnded in record.kinds
    always = make_engine(
        record.component("a", setup=supervising(anyio.lowlevel.checkpoint, when="always", intensity=1))
    )
    assert str(run_engine(backend, always, anyio.sleep_forever)).endswith("it ended by itself")


def test_a_service_that_may_fail(backend: str, record: Recorder) -> None:
    """With ``never`` a failure is only emitted as an event; a SystemExit still ends the process."""
    cause, fatal = Boom(), SystemExit(2)
    engine = make_engine(record.component("a", setup=supervising(fail_with(cause), when="never")), emit=record.append)
    assert run_engine(backend, engine, partial(anyio.sleep, 5)) is None
    assert [item.error for item in record if isinstance(item, events.ServiceEnded)] == [cause]
    engine = make_engine(
        record.component("a", setup=supervising(fail_with(fatal), when="never", when_exhausted="degrade"))
    )
    assert run_engine(backend, engine, anyio.sleep_forever) is fatal


def test_a_service_that_fails_in_its_clean_up(backend: str, record: Recorder) -> None:
    """An error during the cancellation of a service fails the stop, and the component still gets its exit."""
    cause = Boom()

    async def service() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise cause

    engine = make_engine(record.component("a", setup=supervising(service)))
    assert run_engine(backend, engine, partial(anyio.sleep, 1)).exceptions == (cause,)
    assert record == ["+a", "-a"]


def test_a_service_that_ignores_its_cancellation(backend: str, record: Recorder) -> None:
    """At the stop's deadline the component still gets its exit, and is abandoned if the service goes on."""

    async def service() -> None:
        await sleep_shielded(30)

    engine = make_engine(
        record.component("a"), record.component("b", "a", setup=supervising(service)), emit=record.append
    )
    error = run_engine(backend, engine, partial(anyio.sleep, 1))
    assert [each.component for each in error.exceptions] == ["b"]
    abandoned = next(item for item in record if isinstance(item, events.ComponentAbandoned))
    assert (abandoned.component, abandoned.at) == ("b", 8)
    assert [item.at for item in record if isinstance(item, events.KernelStopped)] == [30]


def test_the_services_of_a_crashed_component_end(backend: str, record: Recorder) -> None:
    """The cancelled scope of a crashed component doesn't cut its own exit off."""

    @asynccontextmanager
    async def component(context: Context) -> AsyncIterator[None]:
        supervising(anyio.sleep_forever)(context)
        try:
            async with group_that_fails(2, Boom()):
                yield
        finally:
            record.append("exited")

    error = run_engine(backend, make_engine(make_contribution("a", component)), anyio.sleep_forever)
    assert isinstance(error.__cause__, ExceptionGroup)
    assert record == ["exited"]


def test_a_service_of_a_component_that_entered_late(backend: str, record: Recorder) -> None:
    """A service that never ran isn't waited for."""

    async def late() -> None:
        with anyio.move_on_after(20):
            try:
                await anyio.sleep(5)
            except anyio.get_cancelled_exc_class():
                record.append("ignored")

    engine = make_engine(
        record.component("a", start=late, setup=supervising(anyio.sleep_forever)),
        record.component("b", start=partial(fail_after, 1, Boom())),
    )
    assert run_engine(backend, engine).rollback_errors == ()
    assert record == ["ignored", "+a", "-a"]


def test_a_service_that_is_supervised_while_serving(backend: str, record: Recorder) -> None:
    """A service that is added while serving begins at once; a taken name, or an addition while stopping, is refused."""
    contexts: list[Context] = []

    async def service() -> None:
        record.append("service")
        await anyio.sleep_forever()

    async def late() -> None:
        with pytest.raises(ValueError, match=r"^service: .* is stopping, too late for 'other'"):
            contexts[0].supervise(service, name="other")

    async def body() -> None:
        contexts[0].supervise(service)
        with pytest.raises(ValueError, match=r"^name: component 'a' has a service 'service' already"):
            contexts[0].supervise(service)
        await anyio.sleep(1)

    assert run_engine(backend, make_engine(record.component("a", setup=contexts.append, stop=late)), body) is None
    assert record == ["+a", "service", "-a"]


def test_a_service_that_is_added_in_the_last_step(backend: str, record: Recorder) -> None:
    """A service that is added in the body's last step never runs, and isn't waited for."""
    contexts: list[Context] = []

    async def service() -> None:
        await anyio.sleep_forever()

    async def body() -> None:
        contexts[0].supervise(service)

    assert run_engine(backend, make_engine(record.component("a", setup=contexts.append)), body) is None


def test_a_service_whose_pause_other_code_cancels(record: Recorder) -> None:
    """A native ``cancel()`` between two runs gives the service up, and is reported."""
    engine = make_engine(record.component("a", setup=supervising(fail_with(Boom()), initial_delay=5)))

    async def main() -> None:
        with pytest.raises(CrashError, match="cancelled from outside the kernel"):
            async with engine.running():
                await anyio.sleep(1)
                next(task for task in asyncio.all_tasks() if task.get_name() == "bandmaster: a/service").cancel()
                await anyio.sleep_forever()

    run("asyncio", main)


def test_a_service_that_other_code_cancels_while_stopping(record: Recorder) -> None:
    """A native ``cancel()`` in the same tick as the kernel's own cancellation is no failure."""

    def listen(event: events.Event) -> None:
        if isinstance(event, events.ComponentStopping):
            next(task for task in asyncio.all_tasks() if task.get_name() == "bandmaster: a/service").cancel()

    setup = supervising(fail_with(Boom()), initial_delay=5)
    assert (
        run_engine("asyncio", make_engine(record.component("a", setup=setup), emit=listen), partial(anyio.sleep, 1))
        is None
    )


def test_a_service_that_other_code_cancels_is_restarted(record: Recorder) -> None:
    """A native ``cancel()`` of a running service is a failure like any other."""
    runs: list[int] = []

    async def service() -> None:
        runs.append(len(runs))
        await anyio.sleep_forever()

    async def main() -> None:
        async with make_engine(record.component("a", setup=supervising(service))).running():
            await anyio.sleep(1)
            next(task for task in asyncio.all_tasks() if task.get_name() == "bandmaster: a/service").cancel()
            await anyio.sleep(1)

    run("asyncio", main)
    assert runs == [0, 1]
