"""Spans of the application's own start, stop, services and probes, as they arrive at a collector."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from tests.contrib.tracing.apps import compose
from tests.contrib.tracing.receiver import Receiver

from bandmaster.kernel import Context, LifespanBand, Restart, StartError, lifespan
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio


def component(name: str, *, seconds: float = 0, error: str = "", band: LifespanBand = LifespanBand.PERSISTENCE) -> Any:
    @lifespan(band=band, name=name)
    async def part() -> AsyncIterator[None]:
        await anyio.sleep(seconds)
        if error:
            raise OSError(error)
        yield

    return part


async def test_a_start_and_a_stop_are_one_trace_each(receiver: Receiver) -> None:
    """Each component has a span below that of the start, also one that had started before tracing, and of the stop."""
    early = lifespan(band=LifespanBand.OBSERVABILITY, priority=0, name="early")(component("x").factory)
    parts = [early, component("database", seconds=0.2)]
    application = compose(Starlette(), receiver.url, kernel_spans=True, contributions=parts)
    async with run(application):
        pass
    start, stop = receiver.wait_for_span("bandmaster start"), receiver.wait_for_span("bandmaster stop")
    for name in ("start early", "start database", "start tracing"):
        span = receiver.wait_for_span(name)
        assert (span.parent_id, span.trace_id) == (start.span_id, start.trace_id)
        assert start.start <= span.start <= span.end <= start.end
    slow = receiver.wait_for_span("start database")
    assert 0.15 < slow.seconds < 10
    assert slow.attributes["bandmaster.band"] == "PERSISTENCE"
    assert slow.attributes["bandmaster.attempt"] == 1
    stopped = receiver.wait_for_span("stop database")
    assert (stopped.parent_id, stopped.trace_id) == (stop.span_id, stop.trace_id)
    assert stop.trace_id != start.trace_id
    assert [link.trace_id for link in stop.links] == [start.trace_id]
    assert (start.status, stop.status) == ("UNSET", "UNSET")


async def test_a_failed_start_arrives_with_the_cause(receiver: Receiver) -> None:
    """The rollback flushes the spans: the failed component, the whole start, and the stops of the others."""
    parts = [component("database"), component("broken", error="no disk", band=LifespanBand.SERVICES)]
    application = compose(Starlette(), receiver.url, kernel_spans=True, contributions=parts)
    with pytest.raises(StartError):
        async with run(application):
            pass
    start, broken = receiver.wait_for_span("bandmaster start"), receiver.wait_for_span("start broken")
    assert (broken.status, broken.description) == ("ERROR", "OSError: no disk")
    assert [event.name for event in broken.events] == ["exception"]
    assert (start.status, start.attributes["error.type"]) == ("ERROR", "OSError")
    assert "rolling back" in [event.name for event in start.events]
    assert receiver.wait_for_span("stop database").trace_id == start.trace_id


async def test_each_try_of_a_start_has_a_span(receiver: Receiver) -> None:
    """A component that starts at the second try has two spans, the first of which has failed."""
    tries = []

    @lifespan(band=LifespanBand.PERSISTENCE, on_start_failure="retry")
    async def flaky() -> AsyncIterator[None]:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("not yet")
        yield

    async with run(compose(Starlette(), receiver.url, kernel_spans=True, contributions=[flaky])):
        pass
    receiver.wait_for(lambda one: len(one.spans_named("start flaky")) == 2)
    first, second = sorted(receiver.spans_named("start flaky"), key=lambda span: span.start)
    assert (first.status, first.attributes["bandmaster.outcome"]) == ("ERROR", "retried")
    assert (second.status, second.attributes["bandmaster.attempt"]) == ("UNSET", 2)


async def test_each_run_of_a_service_is_a_trace(receiver: Receiver) -> None:
    """A service that fails and is restarted has a span for each run, with the failure in the first."""
    runs = []

    @lifespan(band=LifespanBand.PERSISTENCE)
    async def owner(context: Context) -> AsyncIterator[None]:
        async def work() -> None:
            runs.append(1)
            if len(runs) == 1:
                raise OSError("lost")
            await anyio.sleep_forever()

        context.supervise(work, restart=Restart(initial_delay=0.01))
        yield

    async with run(compose(Starlette(), receiver.url, kernel_spans=True, contributions=[owner])):
        with anyio.fail_after(20):
            while len(runs) < 2:
                await anyio.sleep(0.01)
    receiver.wait_for(lambda one: len(one.spans_named("service owner.work")) == 2)
    first, second = sorted(receiver.spans_named("service owner.work"), key=lambda span: span.start)
    assert (first.status, first.attributes["bandmaster.outcome"]) == ("ERROR", "restarted")
    assert (second.status, second.attributes["bandmaster.outcome"]) == ("UNSET", "stopped")
    assert first.trace_id != second.trace_id
    start = receiver.wait_for_span("bandmaster start")
    assert [link.trace_id for link in first.links] == [start.trace_id]


async def test_the_time_of_a_failing_probe_is_a_span(receiver: Receiver) -> None:
    """The span begins when readiness is lost and ends when it is regained."""
    healthy = True

    @lifespan(band=LifespanBand.PERSISTENCE)
    async def database(context: Context) -> AsyncIterator[None]:
        async def ping() -> None:
            if not healthy:
                raise OSError("away")

        context.add_probe("database", ping)
        yield

    application = compose(Starlette(), receiver.url, kernel_spans=True, contributions=[database])
    async with run(application):
        await application.ready()
        healthy = False
        with anyio.fail_after(20):
            while (await application.ready()).status == "pass":
                await anyio.sleep(0.05)
            healthy = True
            while (await application.ready()).status != "pass":
                await anyio.sleep(0.05)
    span = receiver.wait_for_span("probe database fails")
    assert (span.status, span.description) == ("ERROR", "OSError")


async def test_the_share_of_requests_leaves_the_start_alone(receiver: Receiver) -> None:
    """A start is recorded although few requests are."""
    async with run(compose(Starlette(), receiver.url, kernel_spans=True, sample_rate=0.000001)):
        pass
    assert receiver.wait_for_span("start tracing").status == "UNSET"


async def test_a_share_of_nothing_makes_no_spans(receiver: Receiver) -> None:
    """With a share of 0 nothing is sent at all."""
    async with run(compose(Starlette(), receiver.url, kernel_spans=True, sample_rate=0)) as running:
        await running.client.get("/")
    assert receiver.exports == []


async def test_the_spans_of_the_kernel_can_be_switched_off(receiver: Receiver) -> None:
    """A setting leaves them out."""
    async with run(compose(Starlette(), receiver.url, kernel_spans=False)) as running:
        await running.client.get("/")
    assert [span.name for span in receiver.wait_for_spans(1)] == ["GET"]
