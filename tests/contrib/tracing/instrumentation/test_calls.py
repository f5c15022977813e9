"""Spans of HTTP calls, with a real service."""

from __future__ import annotations

import anyio
import pytest
from opentelemetry import baggage
from opentelemetry.context import attach, detach
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from tests.contrib.http.services import reply, serving
from tests.contrib.tracing.instrumentation.memory import Memory

from bandmaster.contrib.http import HttpDeadlineError, HttpSettings, HttpUnavailableError, open_client
from bandmaster.contrib.tracing.instrumentation.calls import CallTracer

pytestmark = pytest.mark.anyio


async def answer(seen, stream):
    if seen.target == "/slow":
        await anyio.sleep_forever()
    if seen.target == "/cut":
        await stream.send(b"HTTP/1.1 200 Scripted\r\ncontent-length: 10\r\n\r\nhalf")
        return None
    if seen.target.startswith("/status/"):
        return reply(int(seen.target.removeprefix("/status/")))
    return reply(body=b"served")


@pytest.fixture
def calling(memory, propagator):
    """Open a client whose calls are traced."""

    def opened(name="http", *, paths=False, provider=None, **options):
        settings = HttpSettings(
            **{"backoff_base": 0.001, "backoff_cap": 0.001, "environment_proxies": False, **options}
        )
        tracer = CallTracer(provider or memory.provider, propagator, paths=paths)
        return open_client(settings, name, observers=[tracer])

    return opened


async def test_a_call_is_a_client_span_by_the_conventions(memory, calling) -> None:
    """The span has the attributes of the stable conventions, and no query, path, user or password."""
    async with serving(answer) as service, calling("billing") as http:
        await http.get(f"http://ann:hunter2@127.0.0.1:{service.port}/hooks/T0K3N?key=s3cret")
        span = memory.one()
        assert ("GET", SpanKind.CLIENT, StatusCode.UNSET) == (span.name, span.kind, span.status.status_code)
        assert {
            "http.request.method": "GET",
            "server.address": "127.0.0.1",
            "server.port": service.port,
            "url.full": f"http://127.0.0.1:{service.port}/",
            "http.response.status_code": 200,
            "network.protocol.version": "1.1",
            "bandmaster.http.client": "billing",
        } == dict(span.attributes)


async def test_paths_are_shown_by_setting(memory, calling) -> None:
    """The path is shown where the setting says so; the query, the user and the password never are."""
    async with serving(answer) as service, calling(paths=True) as http:
        await http.get(f"http://ann:hunter2@127.0.0.1:{service.port}/users/7?key=s3cret#part")
        assert f"http://127.0.0.1:{service.port}/users/7" == memory.one().attributes["url.full"]


async def test_a_template_names_the_span(memory, calling) -> None:
    """The caller can say which route of the other service it calls: the name has few values."""
    async with serving(answer) as service, calling() as http:
        await http.get(f"{service.url}/users/7", extensions={"url_template": "/users/{id}"})
        span = memory.one("GET /users/{id}")
        assert "/users/{id}" == span.attributes["url.template"]


async def test_an_unknown_method_is_other(memory, calling) -> None:
    """Methods that anybody may choose don't become names of spans."""
    async with serving(answer) as service, calling() as http:
        await http.request("BREW", service.url)
        span = memory.one("HTTP")
        assert ("_OTHER", "BREW") == (
            span.attributes["http.request.method"],
            span.attributes["http.request.method_original"],
        )


@pytest.mark.parametrize("status", [404, 500])
async def test_statuses_of_failure_are_errors_of_a_client(memory, calling, status) -> None:
    """For a client 4xx are errors as well (semantic conventions for HTTP spans, status)."""
    async with serving(answer) as service, calling() as http:
        await http.get(f"{service.url}/status/{status}")
        span = memory.one()
        assert (StatusCode.ERROR, str(status)) == (span.status.status_code, span.attributes["error.type"])


async def test_each_attempt_is_a_span(memory, calling) -> None:
    """A repeated call has a span for each attempt, with its number, in the caller's trace."""
    tracer = memory.provider.get_tracer("test")
    async with serving(answer) as service, calling(retries=2) as http:
        with tracer.start_as_current_span("caller") as caller:
            await http.get(f"{service.url}/status/503")
    attempts = memory.spans[:-1]
    assert [None, 1, 2] == [span.attributes.get("http.request.resend_count") for span in attempts]
    assert {caller.get_span_context().span_id} == {span.parent.span_id for span in attempts}
    assert ["503"] * 3 == [span.attributes["error.type"] for span in attempts]


async def test_failures_name_their_type_and_quote_nothing(memory, calling) -> None:
    """Passed deadlines, cut bodies and refused connections are errors, without the text of the exception."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    closed = listener.extra(anyio.abc.SocketAttribute.local_port)
    await listener.aclose()
    async with serving(answer) as service, calling(retries=0) as http:
        with pytest.raises(HttpDeadlineError):
            await http.get(f"{service.url}/slow", extensions={"deadline": 0.05})
        with pytest.raises(HttpUnavailableError):
            await http.get(f"{service.url}/cut")
        with pytest.raises(HttpUnavailableError):
            await http.get(f"http://127.0.0.1:{closed}/")
    slow, cut, refused = memory.spans
    ours = "bandmaster.contrib.http.errors"
    assert (f"{ours}.HttpDeadlineError", f"{ours}.UnavailableRemoteProtocolError") == (
        slow.attributes["error.type"],
        cut.attributes["error.type"],
    )
    assert refused.attributes["error.type"].endswith(".ConnectError")
    assert 200 == cut.attributes["http.response.status_code"]
    for span in memory.spans:
        assert (StatusCode.ERROR, None, ()) == (span.status.status_code, span.status.description, tuple(span.events))


async def test_a_call_that_its_caller_cancels_is_no_failure(memory, calling) -> None:
    """The span ends, says that it was cancelled, and isn't an error of the service."""
    async with serving(answer) as service, calling() as http:
        with anyio.move_on_after(0.05):
            await http.get(f"{service.url}/slow")
    span = memory.one()
    assert (True, StatusCode.UNSET, None) == (
        span.attributes["bandmaster.cancelled"],
        span.status.status_code,
        span.attributes.get("error.type"),
    )


async def test_a_span_lasts_until_the_body_is_read(memory, calling) -> None:
    """The transfer of the body is a part of the call."""
    async with serving(answer) as service, calling() as http:
        async with http.stream("GET", service.url) as got:
            assert [] == memory.spans
            assert ["GET"] == memory.open
            await got.aread()
        assert ["GET"] == memory.names


@pytest.mark.requirement("OBS-T5", "OB-4")
async def test_named_hosts_get_the_trace_and_others_nothing(memory, calling) -> None:
    """The headers name the call's own span; baggage has hosts of its own."""
    token = attach(baggage.set_baggage("user", "ann"))
    try:
        async with serving(answer) as service:
            for options in (
                {},
                {"forward_hosts": "127.0.0.1"},
                {"forward_baggage_hosts": "127.0.0.1"},
                {"forward_hosts": "127.0.0.1", "forward_baggage_hosts": "127.0.0.1"},
            ):
                async with calling(**options) as http:
                    await http.get(service.url)
            headers = [request.headers for request in service.requests]
    finally:
        detach(token)
    named = [_render(span) for span in memory.spans]
    assert [None, named[1], None, named[3]] == [one.get("traceparent") for one in headers]
    assert [None, None, "user=ann", "user=ann"] == [one.get("baggage") for one in headers]


async def test_a_trace_that_is_not_sampled_is_forwarded_as_such(propagator, calling) -> None:
    """The other service learns that nobody records, and no attribute is computed."""
    off = Memory(ALWAYS_OFF)
    async with serving(answer) as service:
        async with calling(forward_hosts="127.0.0.1", provider=off.provider) as http:
            await http.get(service.url)
        (request,) = service.requests
        assert "0" == format(int(request.headers["traceparent"][-2:], 16) & 1)
    assert [] == off.spans


async def test_spans_of_concurrent_calls_keep_their_parents(memory, calling) -> None:
    """Fifty calls of fifty callers are in fifty traces."""
    tracer = memory.provider.get_tracer("test")
    async with serving(answer) as service, calling(max_connections=10) as http:

        async def call(number):
            with tracer.start_as_current_span(f"caller {number}"):
                await http.get(service.url)

        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(call, number)
    callers = {span.context.span_id: span for span in memory.spans if span.name.startswith("caller")}
    calls = [span for span in memory.spans if span.name == "GET"]
    assert 50 == len(calls) == len(callers)
    assert {span.parent.span_id for span in calls} == set(callers)


def _render(span):
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-{span.context.trace_flags:02x}"
