"""Failures of tracing itself, global providers, and several applications in one process."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from tests.contrib.tracing.apps import compose
from tests.contrib.tracing.receiver import Receiver, open_receiver

from bandmaster.contrib.tracing.global_provider import ReplaceableProvider, find_foreign_provider, set_global
from bandmaster.contrib.tracing.requests.layer import TracingLayer
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio
LAYER: Any = getattr(TracingLayer, "layer", TracingLayer)


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello", headers={"x-shop": "a"})


async def broken(request: Request) -> Response:
    raise RuntimeError("the till is jammed")


def shop(*more: Any) -> Starlette:
    return Starlette(routes=[Route("/hello", hello), Route("/broken", broken), *more])


@contextmanager
def no_global() -> Iterator[None]:
    """Have no global provider, and restore the one that was there: the tests share a process."""
    saved = trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE._done
    trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE._done = None, False
    try:
        yield
    finally:
        trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE._done = saved


IDS = {"request_id", "trace_id"}
"""The members of a problem that differ from request to request."""


async def answer_of(application: Any, method: str, path: str) -> Any:
    """Status, headers and body of an answer, without ids and the lengths that follow from them."""
    async with run(application, raise_app_exceptions=False) as running:
        response = await running.client.request(method, path)
    body: Any = response.content
    ids = {"x-request-id", "x-correlation-id"}
    if response.headers.get("content-type") == "application/problem+json":
        body = {name: value for name, value in response.json().items() if name not in IDS}
        ids.add("content-length")
    headers = sorted((name, value) for name, value in response.headers.multi_items() if name not in ids)
    return response.status_code, headers, body


class Explosive:
    """Fails at everything that is asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")


@pytest.mark.requirement("OBS-T2")
@pytest.mark.parametrize(
    "attribute", ["_templates", "_propagator", "_tracer", "_request_headers", "_metrics", "_trusts", "_fields"]
)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/hello"), ("OPTIONS", "/hello"), ("POST", "/hello"), ("GET", "/x")]
)
async def test_whatever_fails_in_the_layer_changes_no_response(
    monkeypatch: pytest.MonkeyPatch, caplog: Any, attribute: str, method: str, path: str
) -> None:
    """Status, headers and body are those of the application without the layer, and a warning says so (OBS-T2)."""
    construct = LAYER.__init__

    @functools.wraps(construct)
    def sabotage(self: Any, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        setattr(self, attribute, Explosive())

    bare = compose(shop(), enabled=False)
    monkeypatch.setattr(LAYER, "__init__", sabotage)
    application = compose(shop(), exporter="none")
    assert await answer_of(application, method, path) == await answer_of(bare, method, path)


@pytest.mark.requirement("OBS-T2")
async def test_a_failure_of_tracing_is_told_once(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """Many requests give one warning, with the failure (OBS-T2)."""
    construct = LAYER.__init__

    @functools.wraps(construct)
    def sabotage(self: Any, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        self._templates = Explosive()

    monkeypatch.setattr(LAYER, "__init__", sabotage)
    async with run(compose(shop(), exporter="none")) as running:
        for _ in range(10):
            assert (await running.client.get("/hello")).text == "hello"
    told = [record for record in caplog.records if record.name == "bandmaster.tracing"]
    assert [record.event for record in told] == ["a request could not be traced"]


@pytest.mark.requirement("OBS-T2")
@pytest.mark.parametrize("path", ["/hello", "/broken", "/nowhere"])
async def test_tracing_changes_no_response(receiver: Receiver, path: str) -> None:
    """Without a failure, too: the bytes are those without tracing, but for the trace id of problems (OBS-T2)."""
    traced, bare = compose(shop(), receiver.url), compose(shop(), enabled=False)
    assert await answer_of(traced, "GET", path) == await answer_of(bare, "GET", path)


@pytest.mark.requirement("OBS-T10")
async def test_an_application_in_another_one_makes_no_second_span(receiver: Receiver) -> None:
    """An application that is mounted in another one with tracing leaves the span to the outer one (OBS-T10)."""
    inner = compose(shop(), receiver.url)
    outer = compose(Starlette(routes=[Mount("/inner", app=inner)]), receiver.url)
    async with run(outer, raise_app_exceptions=False) as running:
        response = await running.client.get("/inner/hello")
    assert response.status_code in (200, 503)
    assert len([span for span in receiver.wait_for_spans(1) if span.kind == "SERVER"]) == 1


@pytest.mark.requirement("OBS-T10")
@pytest.mark.parametrize("outside", [True, False])
async def test_a_foreign_instrumentation_beside_ours_gives_one_server_span(receiver: Receiver, outside: bool) -> None:
    """With OpenTelemetry's own ASGI middleware around or inside the application there is ONE server span (OBS-T10)."""
    foreign = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(foreign))
    app: Any = shop()
    if not outside:
        app.add_middleware(OpenTelemetryMiddleware, tracer_provider=provider)
    application: Any = compose(app, receiver.url)
    served = OpenTelemetryMiddleware(application, tracer_provider=provider) if outside else application
    async with run(application) as running:
        if outside:
            import httpx2

            async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=served), base_url="http://shop") as client:
                response = await client.get("/hello")
        else:
            response = await running.client.get("/hello")
    assert response.text == "hello"
    ours = receiver.wait_for_spans(1)
    kinds = [span.kind.name for span in foreign.get_finished_spans()] + [span.kind for span in ours]
    assert kinds.count("SERVER") == 1
    traces = {f"{span.context.trace_id:032x}" for span in foreign.get_finished_spans()} | {s.trace_id for s in ours}
    assert len(traces) == 1


@pytest.mark.requirement("OBS-T10")
async def test_the_global_provider_can_be_ours_for_each_run(receiver: Receiver) -> None:
    """Spans that libraries make through the global API are exported, in a second run as well (OBS-T10)."""
    with no_global():
        tracer = trace.get_tracer("library")  # as libraries do when they are imported
        for number in range(2):
            async with run(compose(shop(), receiver.url, provider="set_global")):
                tracer.start_span(f"from the library {number}").end()
            tracer.start_span("after the stop").end()
    names = [span.name for span in receiver.wait_for_spans(2)]
    assert names == ["from the library 0", "from the library 1"]


@pytest.mark.requirement("OBS-T10")
async def test_a_foreign_global_provider_stays(receiver: Receiver, caplog: Any) -> None:
    """Ours goes on beside it, and the log says whose spans go where (OBS-T10)."""
    with no_global():
        foreign = TracerProvider(shutdown_on_exit=False)
        trace.set_tracer_provider(foreign)
        async with run(compose(shop(), receiver.url, provider="set_global")) as running:
            await running.client.get("/hello")
            assert trace.get_tracer_provider() is foreign
        assert receiver.wait_for_span("GET /hello")
        assert find_foreign_provider() is foreign
    assert "TRACING_PROVIDER is set_global" in caplog.text
    assert "use_global" in caplog.text


@pytest.mark.requirement("OBS-T10")
async def test_the_global_provider_of_another_program_can_be_used() -> None:
    """Spans of requests go where that program sends its own, and no thread of ours is started (OBS-T10)."""
    with no_global():
        exporter = InMemorySpanExporter()
        foreign = TracerProvider(shutdown_on_exit=False)
        foreign.add_span_processor(SimpleSpanProcessor(exporter))
        trace.set_tracer_provider(foreign)
        async with run(compose(shop(), "http://127.0.0.1:9", provider="use_global")) as running:
            await running.client.get("/hello")
            assert not [thread for thread in threading.enumerate() if "span export" in thread.name]
        foreign.get_tracer("x").start_span("still alive").end()
    assert [span.name for span in exporter.get_finished_spans()] == ["GET /hello", "still alive"]


async def test_using_a_global_provider_that_nobody_has_set_is_refused() -> None:
    """The plan's check says what to do."""
    with no_global():
        with pytest.raises(Exception, match="TRACING_PROVIDER is use_global, and no other program"):
            async with run(compose(shop(), "http://127.0.0.1:9", provider="use_global")):
                pass


@pytest.mark.requirement("OBS-T10")
async def test_spans_that_go_nowhere_are_told_once(receiver: Receiver, caplog: Any) -> None:
    """A library that uses the global API while nobody's provider is global is named, once (OBS-T10)."""
    with no_global():
        tracer = trace.get_tracer("some.library")
        tracer.start_span("before").end()
        assert "go nowhere" not in caplog.text
        async with run(compose(shop(), receiver.url)):
            for _ in range(5):
                tracer.start_span("lost").end()
                with tracer.start_as_current_span("lost too"):
                    pass
        tracer.start_span("after").end()
    told = [
        record for record in caplog.records if getattr(record, "event", "") == "a library makes spans that go nowhere"
    ]
    assert [record.fields["library"] for record in told] == ["some.library"]
    assert "TRACING_PROVIDER=set_global" in told[0].fields["hint"]


@pytest.mark.requirement("P-11")
async def test_two_applications_run_side_by_side() -> None:
    """Each has its own provider, and their spans go to their own collectors (P-11)."""
    with open_receiver() as one, open_receiver() as two:
        async with run(compose(shop(), one.url)) as first, run(compose(shop(), two.url)) as second:
            async with anyio.create_task_group() as tasks:
                for running in (first, second):
                    for _ in range(5):
                        tasks.start_soon(running.client.get, "/hello")
        assert (len(one.wait_for_spans(5)), len(two.wait_for_spans(5))) == (5, 5)
        ids = [{span.trace_id for span in receiver.spans} for receiver in (one, two)]
        assert not ids[0] & ids[1]


@pytest.mark.requirement("P-11")
async def test_a_second_run_of_one_application_is_a_new_one(receiver: Receiver) -> None:
    """Starting again after a stop works, without errors or threads left."""
    application = compose(shop(), receiver.url)
    for count in (1, 2):
        async with run(application) as running:
            await running.client.get("/hello")
        assert len(receiver.wait_for_spans(count)) == count


@pytest.mark.requirement("P-11")
def test_many_threads_that_set_the_global_provider_set_one() -> None:
    """The global provider is made once, however many threads begin at the same time (P-11)."""
    with no_global():
        barrier = threading.Barrier(8)
        seen: list[Any] = []

        def begin() -> None:
            barrier.wait()
            with set_global(TracerProvider(shutdown_on_exit=False)) as done:
                seen.append((done, trace.get_tracer_provider()))
                barrier.wait()

        threads = [threading.Thread(target=begin) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(done for done, _ in seen)
        (provider,) = {id(one): one for _, one in seen}.values()
        assert isinstance(provider, ReplaceableProvider)
        assert provider.providers == []


async def test_the_requests_in_flight_are_apart(receiver: Receiver) -> None:
    """Interleaved requests have a trace each, and the handler sees its own."""

    async def who(request: Request) -> Response:
        await anyio.sleep(0.01)
        return PlainTextResponse(f"{trace.get_current_span().get_span_context().trace_id:032x}")

    answers: list[str] = []
    async with run(compose(shop(Route("/who", who)), receiver.url)) as running:

        async def call() -> None:
            answers.append((await running.client.get("/who")).text)

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(call)
    assert len(set(answers)) == 50
    assert {span.trace_id for span in receiver.wait_for_spans(50)} == set(answers)


async def test_a_client_that_leaves_is_no_error(receiver: Receiver) -> None:
    """The span of a request whose client has gone isn't marked as failed."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            from starlette.requests import ClientDisconnect

            raise ClientDisconnect

    async with run(compose(app, receiver.url), raise_app_exceptions=False) as running:
        try:
            await running.client.get("/")
        except Exception:
            logging.getLogger(__name__).debug("the transport may say so")
    (span,) = receiver.wait_for_spans(1)
    assert (span.status, span.events) == ("UNSET", ())
    assert span.attributes["bandmaster.client_disconnected"] is True
