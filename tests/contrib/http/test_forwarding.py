"""Headers about the current request, for services that the settings name."""

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from tests.contrib.http.services import reply, serving

from bandmaster.contrib.http import forwarding
from bandmaster.contrib.http.component import find_start_problems
from bandmaster.contrib.http.settings import HttpSettings
from bandmaster.contrib.web import request_context

pytestmark = pytest.mark.anyio

TRACE = SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, is_remote=False, trace_flags=TraceFlags(1))
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NAMES = ("x-request-id", "x-correlation-id", "traceparent")


async def answer(seen, stream):
    if seen.target == "/away":
        port = seen.headers["host"].partition(":")[2]
        return reply(302, headers={"location": f"http://localhost:{port}/"})
    return reply()


def read(seen):
    return [seen.headers.get(name) for name in NAMES]


async def test_named_hosts_get_the_ids_and_the_trace(client) -> None:
    """The host can find the request in its own log."""
    async with serving(answer) as service, client(forward_hosts="127.0.0.1") as http:
        with request_context("request-1", "first-1"), trace.use_span(NonRecordingSpan(TRACE)):
            await http.get(service.url)
        assert [["request-1", "first-1", TRACEPARENT]] == list(map(read, service.requests))


async def test_other_hosts_get_nothing(client) -> None:
    """Ids of requests and traces are nobody else's business."""
    async with serving(answer) as service, client(forward_hosts="localhost,*.0.0.1,orders.internal") as http:
        with request_context("request-1"), trace.use_span(NonRecordingSpan(TRACE)):
            await http.get(service.url)
        assert [[None, None, None]] == list(map(read, service.requests))


async def test_a_redirect_to_another_host_takes_nothing_along(client) -> None:
    """Each request is judged by its own host."""
    async with serving(answer) as service, client(forward_hosts="127.0.0.1") as http:
        with request_context("request-1"), trace.use_span(NonRecordingSpan(TRACE)):
            assert 200 == (await http.get(f"{service.url}/away", follow_redirects=True)).status_code
        (first, second) = service.requests
        assert ("request-1", TRACEPARENT) == (first.headers["x-request-id"], first.headers["traceparent"])
        assert [None, None, None] == read(second)


async def test_headers_of_the_caller_stay(client) -> None:
    """The caller knows better."""
    async with serving(answer) as service, client(forward_hosts="127.0.0.1") as http:
        with request_context("request-1", "first-1"):
            await http.get(service.url, headers={"X-Request-Id": "mine"})
        assert ["mine", "first-1", None] == read(service.requests[0])


async def test_without_a_request_there_is_nothing_to_forward(client) -> None:
    """Code outside of a request calls as usual."""
    async with serving(answer) as service, client(forward_hosts="127.0.0.1") as http:
        await http.post(service.url, content=b"body")
        assert ([None, None, None], b"body") == (read(service.requests[0]), service.requests[0].body)


def test_settings_without_an_effect_are_told(monkeypatch) -> None:
    """Without bandmaster-web and OpenTelemetry there are no ids."""
    settings = HttpSettings(forward_hosts="orders.internal")
    assert [] == list(find_start_problems(settings))
    monkeypatch.setattr("bandmaster.contrib.http.component.has_web", lambda: False)
    monkeypatch.setattr("bandmaster.contrib.http.component.has_opentelemetry", lambda: False)
    (warning,) = find_start_problems(settings)
    assert "HTTP_FORWARD_HOSTS is set, and there is nothing to forward" in warning
    monkeypatch.setattr(forwarding, "has_web", lambda: False)
    monkeypatch.setattr(forwarding, "has_opentelemetry", lambda: False)
    with request_context("request-1"):
        assert {} == forwarding.make_headers()
