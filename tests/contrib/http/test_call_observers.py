"""Observers of HTTP calls: which attempts they are told of, which headers they add, and that they harm no call."""

import anyio
import httpx2
import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from tests.contrib.http.services import reply, serving
from tests.logged import capture_logs

from bandmaster.contrib.http import (
    CallObserver,
    HttpDeadlineError,
    HttpRefusedError,
    HttpSettings,
    HttpUnavailableError,
    http,
    http_client,
)
from bandmaster.contrib.http.component import find_start_problems
from bandmaster.kernel import Kernel, Named, value

pytestmark = pytest.mark.anyio

TRACE = SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, is_remote=False, trace_flags=TraceFlags(1))


class Recording(CallObserver):
    """Keeps the attempts and their ends."""

    def __init__(self, **headers):
        self.attempts, self.ends, self.order = [], [], []
        self.headers = headers

    def observe_call(self, attempt):
        self.attempts.append(attempt)
        self.order.append("begin")
        attempt.headers.update(self.headers)
        return self.end

    def end(self, end):
        self.ends.append(end)
        self.order.append("end")


class Failing(CallObserver):
    """Raises in one of its methods."""

    def __init__(self, when):
        self.when = when

    def observe_call(self, attempt):
        if self.when == "begin":
            raise LookupError("the observer's own fault")
        return self.end

    def end(self, end):
        raise LookupError("the observer's own fault")


async def answer(seen, stream):
    if seen.target == "/away":
        return reply(302, headers={"location": "/there"})
    if seen.target == "/busy":
        return reply(503)
    if seen.target == "/slow":
        await anyio.sleep_forever()
    if seen.target == "/cut":
        await stream.send(b"HTTP/1.1 200 Scripted\r\ncontent-length: 10\r\n\r\nhalf")
        return None
    return reply(body=b"served")


async def test_a_call_is_reported_with_its_answer(client) -> None:
    """An observer learns client, method, URL and template when the call begins, and the status at the end."""
    seen = Recording()
    async with serving(answer) as service, client("billing", observers=[seen]) as http:
        got = await http.get(f"{service.url}/users/7?key=k", extensions={"url_template": "/users/{id}"})
        assert (200, b"served") == (got.status_code, got.content)
        (attempt,), (end,) = seen.attempts, seen.ends
        assert ("billing", "GET", f"{service.url}/users/7?key=k", 0, "/users/{id}") == (
            attempt.client,
            attempt.method,
            str(attempt.url),
            attempt.resends,
            attempt.template,
        )
        assert (200, "HTTP/1.1", None) == (end.status, end.protocol, end.error)
        assert end.seconds > 0


async def test_each_repetition_and_redirect_is_an_attempt_of_its_own(client) -> None:
    """Attempts are counted over repetitions and redirects of one call, and end before the next begins."""
    seen = Recording()
    async with serving(answer) as service, client(observers=[seen], retries=2) as http:
        assert 503 == (await http.get(f"{service.url}/busy")).status_code
        assert 200 == (await http.get(f"{service.url}/away", follow_redirects=True)).status_code
    assert [0, 1, 2, 0, 1] == [attempt.resends for attempt in seen.attempts]
    assert [503, 503, 503, 302, 200] == [end.status for end in seen.ends]
    assert ["begin", "end"] * 5 == seen.order


async def test_an_attempt_ends_with_the_body(client) -> None:
    """While a body is read, the attempt goes on; it ends when the body is closed, once."""
    seen = Recording()
    async with serving(answer) as service, client(observers=[seen]) as http:
        async with http.stream("GET", service.url) as got:
            assert [] == seen.ends
            assert b"served" == await got.aread()
        async with http.stream("GET", service.url):
            assert 1 == len(seen.ends)
    assert [(200, None)] * 2 == [(end.status, end.error) for end in seen.ends]


async def test_failures_are_reported(client) -> None:
    """Refused connections, cut bodies and passed deadlines are the errors of attempts."""
    seen = Recording()
    async with serving(answer) as service, client(observers=[seen], retries=0) as http:
        with pytest.raises(HttpUnavailableError):
            await http.get(f"{service.url}/cut")
        with pytest.raises(HttpDeadlineError):
            await http.get(f"{service.url}/slow", extensions={"deadline": 0.05})
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        await listener.aclose()
        with pytest.raises(HttpUnavailableError):
            await http.get(f"http://127.0.0.1:{port}")
    cut, slow, refused = seen.ends
    assert (200, True) == (cut.status, isinstance(cut.error, HttpUnavailableError))
    assert (None, HttpDeadlineError) == (slow.status, type(slow.error))
    assert (None, True) == (refused.status, isinstance(refused.error, httpx2.ConnectError))


async def test_a_cancelled_call_ends(client) -> None:
    """An attempt whose caller is cancelled ends with the cancellation as its error."""
    seen = Recording()
    async with serving(answer) as service, client(observers=[seen]) as http:
        with anyio.move_on_after(0.05):
            await http.get(f"{service.url}/slow")
    (end,) = seen.ends
    assert isinstance(end.error, anyio.get_cancelled_exc_class()) or not isinstance(end.error, Exception)


async def test_observers_add_headers_but_not_over_the_callers(client) -> None:
    """Headers that the caller has set take precedence."""
    seen = Recording(**{"traceparent": "observer's", "x-more": "1"})
    async with serving(answer) as service, client(observers=[seen]) as http:
        await http.get(service.url, headers={"Traceparent": "caller's"})
        (request,) = service.requests
        assert ("caller's", "1") == (request.headers["traceparent"], request.headers["x-more"])


async def test_a_redirect_to_another_host_takes_no_added_headers_along(client) -> None:
    """Each request of a call gets the headers of its own attempt."""

    class Named(CallObserver):
        def observe_call(self, attempt):
            if attempt.forwards_trace:
                attempt.headers["traceparent"] = "mine"

    async def to_localhost(seen, stream):
        port = seen.headers["host"].partition(":")[2]
        return reply(302, headers={"location": f"http://localhost:{port}/"}) if seen.target == "/away" else reply()

    async with (
        serving(to_localhost) as service,
        client(observers=[Named()], forward_hosts="127.0.0.1") as http,
    ):
        assert 200 == (await http.get(f"{service.url}/away", follow_redirects=True)).status_code
        assert ["mine", None] == [request.headers.get("traceparent") for request in service.requests]


@pytest.mark.parametrize("when", ["begin", "end"])
async def test_an_observer_that_fails_harms_no_call(client, when) -> None:
    """The call goes on, other observers are told, and the failure is logged."""
    seen = Recording()
    with capture_logs() as logs:
        async with serving(answer) as service, client(observers=[Failing(when), seen]) as http:
            assert b"served" == (await http.get(service.url)).content
    assert (1, 1) == (len(seen.attempts), len(seen.ends))
    (told,) = [log for log in logs if log["event"] == "an observer of HTTP calls failed"]
    assert ("LookupError", True) == (told["error"], "Failing" in told["observer"])


async def test_every_client_of_an_application_is_observed() -> None:
    """The shared client and the named ones report to the observers that components provide."""
    import typing

    seen = Recording()
    billing = http_client("billing")
    parts = [http, billing, value(seen, name="seen", provides=CallObserver)]
    async with serving(answer) as service, Kernel(contributions=parts, discover=False).running() as resources:
        await resources[httpx2.AsyncClient].get(service.url)
        await resources[typing.Annotated[httpx2.AsyncClient, Named("billing")]].get(service.url)
    assert ["http", "billing"] == [attempt.client for attempt in seen.attempts]


@pytest.mark.requirement("OBS-T5")
async def test_baggage_goes_to_named_hosts_only(client) -> None:
    """Hosts get the baggage if a setting of its own names them; the trace goes to others as well."""
    token = context.attach(baggage.set_baggage("user", "ann", trace.set_span_in_context(NonRecordingSpan(TRACE))))
    try:
        async with serving(answer) as service:
            for options in (
                {},
                {"forward_hosts": "127.0.0.1"},
                {"forward_baggage_hosts": "127.0.0.1"},
                {"forward_hosts": "127.0.0.1", "forward_baggage_hosts": "localhost"},
                {"forward_hosts": "127.0.0.1", "forward_baggage_hosts": "127.0.0.1"},
            ):
                async with client(**options) as http:
                    await http.get(service.url)
            assert [(False, None), (True, None), (False, "user=ann"), (True, None), (True, "user=ann")] == [
                ("traceparent" in request.headers, request.headers.get("baggage")) for request in service.requests
            ]
    finally:
        context.detach(token)


async def test_an_observer_that_carries_traces_replaces_the_global_propagator(client) -> None:
    """With such an observer the global propagator writes nothing, so that a private provider isn't mixed with it."""

    class Carrying(Recording):
        carries_trace = True

    token = context.attach(baggage.set_baggage("user", "ann", trace.set_span_in_context(NonRecordingSpan(TRACE))))
    try:
        async with serving(answer) as service:
            for seen in (Recording(), Carrying(), Carrying(traceparent="mine")):
                async with client(
                    observers=[seen], forward_hosts="127.0.0.1", forward_baggage_hosts="127.0.0.1"
                ) as http:
                    await http.get(service.url)
            first, second, third = service.requests
            assert ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "user=ann") == (
                first.headers["traceparent"],
                first.headers["baggage"],
            )
            assert {"traceparent", "baggage"}.isdisjoint(second.headers)
            assert ("mine", None) == (third.headers["traceparent"], third.headers.get("baggage"))
    finally:
        context.detach(token)


def test_hosts_of_baggage_without_opentelemetry_are_told(monkeypatch) -> None:
    """Baggage comes from OpenTelemetry alone, and the names of hosts are checked like the others."""
    settings = HttpSettings(forward_baggage_hosts="Orders.internal,*.shop")
    assert ("orders.internal", "*.shop") == settings.forward_baggage_hosts
    assert [] == list(find_start_problems(settings))
    monkeypatch.setattr("bandmaster.contrib.http.component.has_opentelemetry", lambda: False)
    (warning,) = find_start_problems(settings)
    assert "HTTP_FORWARD_BAGGAGE_HOSTS is set, and there is nothing to forward" in warning
    with pytest.raises(ValueError, match="every host on the internet"):
        HttpSettings(forward_baggage_hosts="*")


async def test_an_error_for_good_is_reported_unchanged(client) -> None:
    """An attempt that is refused before it is sent has an end as well."""
    seen = Recording()
    async with client(observers=[seen]) as http:
        with pytest.raises(HttpRefusedError):
            await http.get("ftp://127.0.0.1/")
    assert len(seen.attempts) == len(seen.ends)
