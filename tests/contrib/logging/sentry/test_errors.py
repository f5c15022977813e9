"""Which errors are reported, how often, and with what."""

import asyncio
import logging
import subprocess
import threading
from contextlib import suppress

import anyio
import httpx2
import pytest
import sentry_sdk
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from tests.contrib.logging.sentry.reporting import make_app, make_kernel, silenced

from bandmaster.contrib.web import bind, set_tenant, set_user
from bandmaster.kernel import Context, LifespanBand, Restart, TransientError, get_logger, lifespan
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio

log = structlog.get_logger("shop")
standard = logging.getLogger("shop.standard")


async def fail(request):
    """Fail with a secret in a local variable."""
    local_password = "planted-local"  # noqa: F841
    raise LookupError("no such order")


async def fail_often(request):
    """An error that three loggers tell of, wraps and raises."""
    try:
        raise LookupError("no such order")
    except LookupError as error:
        log.exception("lookup failed")
        standard.exception("lookup failed: %s", 7)
        get_logger("bandmaster.shop").error("lookup failed", exception=error)
        sentry_sdk.capture_exception(error)
        raise RuntimeError("the order can't be shown") from error


async def fail_in_group(request):
    """An error that was logged leaves a group of tasks."""

    async def work():
        try:
            raise LookupError("in a group")
        except LookupError:
            log.exception("work failed")
            raise

    async with anyio.create_task_group() as group:
        group.start_soon(work)


async def refuse(request):
    """An error of the client."""
    raise HTTPException(404)


async def be_busy(request):
    """An error that passes."""
    raise TransientError("busy")


async def wait_for_ever(request):
    """A request that the client leaves."""
    await asyncio.sleep(3600)


async def break_off(request):
    """A response that ends too early."""

    async def chunks():
        yield b"x"
        raise LookupError("broken off")

    return StreamingResponse(chunks())


async def fail_connected(websocket):
    """A WebSocket that fails after it was accepted."""
    await websocket.accept()
    bind(room="lobby")
    raise LookupError("in a connection")


async def tell(request):
    """Log errors without an exception, with values in the text."""
    for number in range(3):
        log.error("order rejected", order=number)
        standard.error("payment %s refused", number)
    standard.warning("not so bad")
    return PlainTextResponse("told")


ROUTES = [
    *[Route("/fail", fail, methods=["GET", "POST"]), Route("/often", fail_often), Route("/group", fail_in_group)],
    *[Route("/refuse", refuse), Route("/busy", be_busy), Route("/wait", wait_for_ever), Route("/break", break_off)],
    *[Route("/tell", tell), WebSocketRoute("/ws", fail_connected), Mount("/mounted", routes=[Route("/fail", fail)])],
]


async def serve(receiver, *paths, **options):
    """Request paths of an application that reports, stop it, and return the events and what the log printed."""
    with silenced() as printed:
        async with run(make_app(receiver, Starlette(routes=ROUTES), **options), raise_app_exceptions=False) as running:
            for path in paths:
                with suppress(httpx2.RemoteProtocolError):  # a response that ends too early
                    await running.client.get(path)
    return receiver.events, printed.getvalue()


@pytest.mark.requirement("OBS-S3")
async def test_an_unhandled_error_is_one_event(receiver):
    """An unhandled error is one event with type, stack, request and environment, and no values of variables."""
    (event,), _ = await serve(receiver, "/fail?token=planted-query", environment="staging", release="shop@1.2")
    (shown,) = event["exception"]["values"]
    assert ("LookupError", "no such order", False) == (shown["type"], shown["value"], shown["mechanism"]["handled"])
    frame = shown["stacktrace"]["frames"][-1]
    assert ("fail", True) == (frame["function"], "raise LookupError" in frame["context_line"])
    assert not [frame for frame in shown["stacktrace"]["frames"] if "vars" in frame]
    assert {"url": "/fail", "method": "GET"} == event["request"]
    assert ("staging", "shop@1.2", "error") == (event["environment"], event["release"], event["level"])
    assert ["request_id"] == list(event["tags"])
    assert "planted-query" not in receiver.text


@pytest.mark.requirement("OBS-S3")
@pytest.mark.parametrize("take_over", ["always", "never"])
@pytest.mark.parametrize("path", ["/often", "/group", "/fail", "/mounted/fail", "/break"])
async def test_one_error_is_one_event_however_often_it_is_logged(receiver, path, take_over):
    """Several loggers, a wrapping exception, a group of tasks and the application's own call make one event."""
    events, _ = await serve(receiver, path, take_over=take_over)
    assert 1 == len(events)
    assert "LookupError" in {each["type"] for each in events[0]["exception"]["values"]}


@pytest.mark.requirement("OBS-S3")
async def test_the_same_error_of_another_request_is_another_event(receiver):
    """Each request that fails is reported, also where all raise the same object."""
    error = LookupError("the same object")

    async def raise_same(request):
        raise error

    with silenced():
        async with run(
            make_app(receiver, Starlette(routes=[Route("/", raise_same)])), raise_app_exceptions=False
        ) as running:
            for _ in range(3):
                await running.client.get("/")
    assert 3 == len({event["tags"]["request_id"] for event in receiver.events}) == len(receiver.events)


@pytest.mark.requirement("OBS-S3")
async def test_errors_of_clients_and_passing_ones_are_no_events(receiver):
    """Problems of 4xx and transient errors give no event."""
    events, _ = await serve(receiver, "/refuse", "/busy", "/nowhere")
    assert [] == events


@pytest.mark.requirement("OBS-S3")
async def test_a_cancelled_request_is_no_event(receiver):
    """A request that its client leaves gives no event."""
    with silenced():
        async with run(make_app(receiver, Starlette(routes=ROUTES)), raise_app_exceptions=False) as running:
            with anyio.move_on_after(0.05):
                await running.client.get("/wait")
    assert [] == receiver.events


@pytest.mark.requirement("OBS-S3")
async def test_log_events_are_grouped_by_name(receiver):
    """Errors that are only logged have a fingerprint of logger and name, whatever the values in the text are."""
    events, _ = await serve(receiver, "/tell")
    shown = {(*event["fingerprint"], event["logentry"]["formatted"], event["extra"].get("order")) for event in events}
    expected = {("shop", "order rejected", "order rejected", number) for number in range(3)}
    expected |= {("shop.standard", "payment %s refused", f"payment {number} refused", None) for number in range(3)}
    assert expected == shown
    assert 6 == len(events)


async def test_the_least_level(receiver):
    """With the level warning, warnings are events as well."""
    events, _ = await serve(receiver, "/tell", level="warning")
    assert ["not so bad"] == [event["logentry"]["formatted"] for event in events if event["level"] == "warning"]


async def test_breadcrumbs_are_the_log_of_the_request(receiver):
    """The events of the log before an error, of this request alone, are sent with the error."""

    async def work(request):
        log.info("step one", number=1)
        standard.info("step %s", "two")
        if "fail" in request.query_params:
            raise LookupError("third step")
        return PlainTextResponse("done")

    with silenced():
        async with run(make_app(receiver, Starlette(routes=[Route("/", work)])), raise_app_exceptions=False) as running:
            await running.client.get("/")
            await running.client.get("/?fail=1")
    (event,) = receiver.events
    crumbs = [crumb for crumb in event["breadcrumbs"]["values"] if crumb["category"].startswith("shop")]
    assert [("step one", {"number": 1}), ("step two", {})] == [(each["message"], each["data"]) for each in crumbs]


async def test_no_breadcrumbs(receiver):
    """With no room for breadcrumbs, none is sent."""
    (event,), _ = await serve(receiver, "/fail", breadcrumbs=0)
    assert [] == event.get("breadcrumbs", {}).get("values", [])


@pytest.mark.requirement("OBS-S4")
async def test_an_event_says_what_the_handler_has_bound(receiver):
    """User, tenant, bound fields and own tags of a handler are in the event that the outermost layer reports."""

    async def work(request):
        set_tenant("acme")
        set_user("kim")
        bind(order=7)
        sentry_sdk.set_tag("colour", "red")
        raise LookupError("after binding")

    with silenced():
        async with run(make_app(receiver, Starlette(routes=[Route("/", work)])), raise_app_exceptions=False) as running:
            response = await running.client.get("/")
    (event,) = receiver.events
    expected = {"request_id": response.headers["x-request-id"], "tenant": "acme", "colour": "red"}
    assert (expected, {"id": "kim"}) == (event["tags"], event["user"])
    assert ({"order": 7}, 7) == (event["contexts"]["bound"], event["extra"]["order"])


async def test_an_error_of_a_websocket(receiver):
    """An error of a connection is one event, with what its handler has bound."""
    with silenced():
        async with run(make_app(receiver, Starlette(routes=ROUTES)), raise_app_exceptions=False) as running:
            with pytest.raises(Exception):
                async with running.websocket("/ws") as websocket:
                    await websocket.receive_text()
    (event,) = receiver.events
    assert ("lobby", "/ws") == (event["contexts"]["bound"]["room"], event["request"]["url"])


async def test_a_failed_start_is_an_event(receiver):
    """What fails in a later component is sent before the process ends."""

    @lifespan(band=LifespanBand.SERVICES)
    async def broken():
        raise LookupError("no luck")
        yield

    with silenced(), pytest.raises(Exception, match="broken"):
        async with make_kernel(receiver, broken).running():
            pass
    (event,) = receiver.events
    assert ("no luck", "broken") == (event["exception"]["values"][-1]["value"], event["tags"]["component"])


async def test_a_failed_service_is_an_event(receiver):
    """An error of a background service is one event with its stack."""

    @lifespan(band=LifespanBand.SERVICES)
    async def poller(context: Context):
        context.supervise(poll, restart=Restart(when="never"))
        yield

    async def poll():
        raise LookupError("no news")

    with silenced(), suppress(Exception):
        async with make_kernel(receiver, poller).running():
            await anyio.sleep(0.1)
    (event,) = receiver.events
    assert "poll" == event["exception"]["values"][-1]["stacktrace"]["frames"][-1]["function"]


async def test_a_level_beyond_errors(receiver):
    """With the level critical, errors that are only logged are no events."""
    events, _ = await serve(receiver, "/tell", level="critical")
    assert [] == events


async def test_an_error_outside_of_requests_has_no_request(receiver):
    """An error in a thread is reported without ids."""

    def work():
        try:
            raise LookupError("in a thread")
        except LookupError:
            log.exception("work failed")

    with silenced():
        async with make_kernel(receiver).running():
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
    (event,) = receiver.events
    assert (True, False) == (
        event["exception"]["values"][0]["mechanism"]["handled"],
        "request_id" in event.get("tags", {}),
    )


@pytest.mark.requirement("OBS-S5")
async def test_nothing_is_patched_and_no_span_is_made(receiver):
    """While errors are reported, the SDK has no integration, no sampling, no headers and no thread but the sender."""
    import http.client

    before = (
        http.client.HTTPConnection.putrequest,
        httpx2.AsyncClient.send,
        logging.Logger.callHandlers,
        subprocess.Popen.__init__,
    )
    with silenced():
        async with make_kernel(receiver).running():
            client = sentry_sdk.get_client()
            during = (
                http.client.HTTPConnection.putrequest,
                httpx2.AsyncClient.send,
                logging.Logger.callHandlers,
                subprocess.Popen.__init__,
            )
            with sentry_sdk.start_transaction(op="task", name="own") as transaction:
                pass
            assert (before, {}, False) == (during, client.integrations, transaction.sampled)
            assert not list(sentry_sdk.get_current_scope().iter_trace_propagation_headers())
    assert [] == [item.type for item in receiver.items if item.type != "client_report"]


@pytest.mark.requirement("OBS-S5")
async def test_an_event_names_our_trace(receiver):
    """Each event has the ids of OpenTelemetry's current span, and the envelope no other ones."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")

    async def work(request):
        with tracer.start_as_current_span("work") as span:
            context = span.get_span_context()
            found.append((trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)))
            log.error("in a span")
        return PlainTextResponse("done")

    found = []
    with silenced():
        async with run(make_app(receiver, Starlette(routes=[Route("/", work)])), raise_app_exceptions=False) as running:
            await running.client.get("/")
    (item,) = receiver.wait_for(1)
    shown = item.data["contexts"]["trace"]
    assert found == [(shown["trace_id"], shown["span_id"])]
    assert item.envelope.get("trace", {}).get("trace_id", found[0][0]) == found[0][0]
