"""The endpoint for Prometheus of a running application."""

import logging
import socket
import tempfile
import threading
import time
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from tests.contrib.tracing.metrics.served import ask, find, make_app, scrape, value_of
from tests.logged import capture_logs

from bandmaster.contrib.tracing.metrics.endpoint_component import EndpointRefusedError
from bandmaster.contrib.tracing.metrics.scrapes import ScrapeEndpoint
from bandmaster.kernel import StartError
from bandmaster.kernel.testing import free_port, run

pytestmark = pytest.mark.anyio
TOKEN = "0123456789abcdef"
DURATION = "http_server_request_duration_seconds_count"


async def in_thread(function, *args, **kwargs):
    return await anyio.to_thread.run_sync(lambda: function(*args, **kwargs), limiter=anyio.CapacityLimiter(1))


async def hold(app, *, task_status):
    """Run an application until the event is set that the caller gets."""
    release = anyio.Event()
    async with run(app):
        task_status.started(release)
        await release.wait()


def find_workers(samples):
    return {sample.labels["worker"] for sample in find(samples, "bandmaster_build_info")}


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def folder():
    """A folder with a short path, since the path of a Unix socket has little room."""
    with tempfile.TemporaryDirectory(prefix="metrics-") as name:
        yield Path(name)


def item(request):
    return PlainTextResponse(request.path_params.get("id", ""))


@pytest.mark.requirement("OBS-M2", "OBS-M7", "OB-5")
async def test_a_scrape_of_a_running_application(port) -> None:
    """One scrape has the requests, the components, the budgets, the versions and the process."""
    host = Starlette(routes=[Route("/items/{id}", item)])
    async with run(make_app(host, port=port, traces=True)) as running:
        for number in range(3):
            await running.client.get(f"/items/{number}")
        samples = await in_thread(scrape, port)
    assert 3 == value_of(samples, DURATION, http_route="/items/{id}", http_response_status_code="200", worker="web-0")
    assert 1 == value_of(samples, "bandmaster_component_state", component="metrics", state="running")
    assert 0 < value_of(samples, "bandmaster_component_start_duration_seconds", component="runtime_metrics")
    assert 0 < value_of(samples, "bandmaster_start_duration_seconds")
    assert 1 == value_of(samples, "bandmaster_build_info", service_name="shop", role="web")
    assert 1 == value_of(samples, "target_info", service_name="shop")
    assert 0 < value_of(samples, "process_resident_memory_bytes", worker="web-0")
    assert find(samples, "python_info", worker="web-0")
    exemplars = [sample.exemplar for sample in find(samples, DURATION.replace("count", "bucket")) if sample.exemplar]
    assert {"trace_id", "span_id"} == set(exemplars[0].labels)


@pytest.mark.requirement("OBS-M5")
async def test_labels_have_the_whole_template_of_a_route(port) -> None:
    """Mounted applications, included routers and prefixes are all in the label."""
    api, router, sub = FastAPI(), APIRouter(prefix="/users"), FastAPI()

    @router.get("/{user}/orders/{order}")
    def order(user: str, order: str) -> str:
        return order

    @sub.get("/reports/{year}")
    def report(year: int) -> int:
        return year

    api.include_router(router, prefix="/v1")
    api.mount("/admin", sub)
    api.router.routes.append(Mount("/files", routes=[Route("/{name}", item)]))
    async with run(make_app(api, port=port)) as running:
        for path in ("/v1/users/7/orders/9", "/admin/reports/2026", "/files/a.txt", "/nowhere"):
            await running.client.get(path)
        samples = await in_thread(scrape, port)
    routes = [sample.labels.get("http_route") for sample in find(samples, DURATION)]
    assert {"/v1/users/{user}/orders/{order}", "/admin/reports/{year}", "/files/{name}", None} == set(routes)


@pytest.mark.requirement("OBS-M3")
async def test_spans_cannot_change_labels(port) -> None:
    """What a handler writes into its span is in no label."""
    from opentelemetry import trace

    async def endpoint(request):
        span = trace.get_current_span()
        span.set_attribute("http.route", str(request.url))
        span.set_attribute("user.id", "u-77")
        span.update_name("/concrete/77")
        return PlainTextResponse("ok")

    host = Starlette(routes=[Route("/items/{id}", endpoint)])
    async with run(make_app(host, port=port, traces=True)) as running:
        await running.client.get("/items/77")
        text = (await in_thread(ask, port))[1]
    assert 'http_route="/items/{id}"' in text
    assert ("u-77" in text, "/concrete" in text) == (False, False)


@pytest.mark.requirement("OBS-M6")
async def test_streams_and_websockets(port) -> None:
    """Streams and connections are told apart from requests."""

    async def parts():
        yield b"one"
        yield b"two"

    async def stream(request):
        return StreamingResponse(parts())

    async def chat(websocket):
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close(1000)

    host = Starlette(routes=[Route("/stream", stream), WebSocketRoute("/chat", chat)])
    async with run(make_app(host, port=port)) as running:
        await running.client.get("/stream")
        async with running.websocket("/chat") as websocket:
            await websocket.send_text("hello")
            await websocket.receive_text()
        await running.wait_idle()
        samples = await in_thread(scrape, port)
    assert 1 == value_of(samples, "bandmaster_http_server_stream_duration_seconds_count", http_route="/stream")
    assert 1 == value_of(samples, "bandmaster_websocket_server_duration_seconds_count", http_route="/chat")
    assert [1, 1] == [sample.value for sample in find(samples, "bandmaster_websocket_server_messages_total")]
    assert 1 == len(find(samples, DURATION))


@pytest.mark.requirement("OBS-M7")
async def test_the_application_has_no_path_for_metrics(port) -> None:
    """A port of its own doesn't open a path of the application."""
    host = Starlette(routes=[Route("/items/{id}", item)])
    async with run(make_app(host, port=port)) as running:
        assert 404 == (await running.client.get("/metrics")).status_code


@pytest.mark.requirement("OBS-M7", "OBS-L12")
async def test_a_path_of_the_application_needs_the_token() -> None:
    """With a setting and a token the application answers scrapes, which are no requests of their own."""
    host = Starlette(routes=[Route("/items/{id}", item)])
    app = make_app(host, application_path="/metrics", token=SecretStr(TOKEN))
    async with run(app) as running:
        client = running.client
        assert 401 == (await client.get("/metrics")).status_code
        assert 401 == (await client.get("/metrics", headers={"authorization": "Bearer wrong"})).status_code
        headers = {"authorization": f"Bearer {TOKEN}"}
        assert 405 == (await client.post("/metrics", headers=headers)).status_code
        await client.get("/items/1")
        answer = await client.get("/metrics", headers=headers)
        head = await client.head("/metrics", headers=headers)
    assert (200, "no-store") == (answer.status_code, answer.headers["cache-control"])
    assert (200, b"") == (head.status_code, head.content)
    assert 'http_route="/items/{id}"' in answer.text
    assert 1 == answer.text.count("http_server_request_duration_seconds_count{")


@pytest.mark.requirement("OBS-M7")
async def test_a_scrape_while_the_event_loop_is_busy(port) -> None:
    """The endpoint answers while the application can't."""
    async with run(make_app(Starlette(), port=port)):
        done = []
        scraping = threading.Thread(target=lambda: done.append(ask(port)[0]))
        scraping.start()
        # The event loop is blocked until the scrape has been answered.
        scraping.join(20)
        assert [200] == done


@pytest.mark.requirement("OBS-M7")
async def test_a_scrape_by_the_application_while_all_threads_are_busy() -> None:
    """Handlers that use up all threads keep no scrape waiting."""
    release = threading.Event()

    def busy(request):
        release.wait(20)
        return PlainTextResponse("done")

    app = make_app(Starlette(routes=[Route("/busy", busy)]), application_path="/metrics", token=SecretStr(TOKEN))
    limiter = anyio.to_thread.current_default_thread_limiter()
    before, limiter.total_tokens = limiter.total_tokens, 2
    try:
        async with run(app) as running, anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(running.client.get, "/busy")
            while limiter.borrowed_tokens < 2:
                await anyio.sleep(0.01)
            answer = await running.client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
            assert 'http_server_active_requests{http_request_method="GET",url_scheme="http"' in answer.text
            release.set()
    finally:
        limiter.total_tokens = before


async def test_other_code_finds_the_endpoint(port) -> None:
    """The endpoint is a resource, for applications with a way of their own to publish metrics."""
    async with run(make_app(Starlette(), port=port)) as running:
        text, content_type = await in_thread(running.resources[ScrapeEndpoint].scrape, "")
    assert (True, True) == (b"bandmaster_build_info" in text, content_type.startswith("text/plain"))


@pytest.mark.requirement("OBS-M1")
async def test_two_applications_with_one_port_are_one_scrape(port) -> None:
    """Processes of one user with the same port find each other without a setting for that."""
    async with run(make_app(Starlette(), port=port)):
        async with run(make_app(Starlette(), port=port)):
            samples = await in_thread(scrape, port)
        assert {"web-0", "web-1"} == find_workers(samples)
        assert {"web-0"} == find_workers(await in_thread(scrape, port))


@pytest.mark.requirement("OBS-M1")
async def test_another_process_takes_the_port_over(port, folder) -> None:
    """When the process that serves the port has ended, another one does."""
    async with anyio.create_task_group() as tasks:
        release = await tasks.start(hold, make_app(Starlette(), port=port, folder=folder))
        async with run(make_app(Starlette(), port=port, folder=folder)):
            assert {"web-0", "web-1"} == find_workers(await in_thread(scrape, port))
            release.set()
            with anyio.fail_after(20):
                while True:
                    try:
                        samples = await in_thread(scrape, port)
                        if find_workers(samples) == {"web-1"}:
                            break
                    except OSError:
                        pass
                    await anyio.sleep(0.05)
    assert [] == list(folder.iterdir())


@pytest.mark.requirement("OBS-M1")
async def test_a_port_of_another_program(port) -> None:
    """The application starts, one event tells of the port, and the port is served once it is free."""
    with capture_logs() as logs:
        async with AsyncExitStack() as stack:
            with socket.create_server(("127.0.0.1", port)):
                await stack.enter_async_context(run(make_app(Starlette(), port=port)))
            with anyio.fail_after(20):
                while not [one for one in logs if one["event"] == "metrics are served"]:
                    await anyio.sleep(0.05)
            assert 200 == (await in_thread(ask, port))[0]
    told = [one for one in logs if one["event"] == "metrics aren't served: another program has the port"]
    assert [("warning", port)] == [(one["log_level"], one["port"]) for one in told]


async def test_an_address_that_nobody_can_serve(port) -> None:
    """A wrong address is an error of the start, which names the setting."""
    with pytest.raises(StartError) as caught:
        async with run(make_app(Starlette(), port=port, host="203.0.113.1")):
            pass
    cause = caught.value.__cause__
    assert isinstance(cause, EndpointRefusedError)
    assert "Is METRICS_PORT right?" in str(cause)


async def test_a_folder_that_cannot_be_used(port, folder) -> None:
    """A folder that a setting names must be usable."""
    (folder / "file").touch()
    with pytest.raises(StartError) as caught:
        async with run(make_app(Starlette(), port=port, folder=folder / "file")):
            pass
    assert "Name another by METRICS_FOLDER" in str(caught.value.__cause__)


async def test_a_default_folder_that_cannot_be_used(port, tmp_path, monkeypatch) -> None:
    """Without a setting the process goes on alone, and says so."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("x" * 60)))
    with capture_logs() as logs:
        async with run(make_app(Starlette(), port=port)):
            samples = await in_thread(scrape, port)
    assert [one for one in logs if "the processes can't share a folder" in one["event"]]
    assert 1 == len(find(samples, "bandmaster_build_info"))


@pytest.mark.requirement("OBS-M3")
async def test_an_own_metric_with_ids_as_labels(port) -> None:
    """Label sets beyond the limit are one series, with one warning."""
    from opentelemetry.metrics import MeterProvider

    with capture_logs() as logs:
        async with run(make_app(Starlette(), port=port, series_limit=100)) as running:
            counter = running.resources[MeterProvider].get_meter("shop").create_counter("logins")
            for number in range(10_000):
                counter.add(1, {"user.id": f"u-{number}"})
            for _ in range(2):
                samples = await in_thread(scrape, port)
    found = find(samples, "logins_total")
    assert (101, 10_000) == (len(found), sum(sample.value for sample in found))
    assert 9_900 == value_of(samples, "logins_total", otel_metric_overflow="true")
    told = [one for one in logs if one["event"] == "a metric has too many label sets"]
    assert [("logins", 100)] == [(one["metric"], one["limit"]) for one in told]


async def test_own_buckets(port) -> None:
    """The boundaries for requests are those of the setting."""
    async with run(make_app(Starlette(), port=port, request_buckets=(0.5, 2))) as running:
        await running.client.get("/")
        samples = await in_thread(scrape, port)
    found = find(samples, DURATION.replace("count", "bucket"))
    assert ["0.5", "2.0", "+Inf"] == [sample.labels["le"] for sample in found]


async def test_nothing_is_left_after_a_stop(port) -> None:
    """Neither a thread nor a file is left, and the port is free."""
    async with run(make_app(Starlette(), port=port)):
        pass
    with socket.create_server(("127.0.0.1", port)):
        pass
    end = time.monotonic() + 20
    while names := [one.name for one in threading.enumerate() if "metric" in one.name.lower()]:
        assert time.monotonic() < end, names
        await anyio.sleep(0.01)
    assert logging.getLogger("urllib3.connectionpool").filters == []
