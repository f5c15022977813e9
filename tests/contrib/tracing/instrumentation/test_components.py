"""The components that trace, in whole applications and in worker processes, as a collector sees them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
import pytest
from tests.contrib.http.services import reply, serving
from tests.contrib.persistence.sqlite_threads import sqlite_threads
from tests.contrib.tracing.instrumentation import shop
from tests.contrib.tracing.receiver import PATIENCE, Receiver, Span

from bandmaster.contrib.taskiq import TaskQueue, taskiq, tasks
from bandmaster.contrib.tracing.instrumentation import components
from bandmaster.kernel import EventLoop
from bandmaster.kernel.planning.start_checks import check_start
from bandmaster.kernel.testing import guarded_process, run

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parents[4]


@pytest.fixture
def anyio_backend() -> str:
    """TaskIQ, SQLAlchemy and redis-py run on asyncio only."""
    return "asyncio"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """The environment of the application, and no thread of SQLite afterwards."""
    monkeypatch.setattr(shop, "_SEEN", set())
    values = {
        "BANDMASTER_ENVIRONMENT": "test",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'shop.sqlite3'}",
        "HTTP_FORWARD_HOSTS": "127.0.0.1",
        "HTTP_ENVIRONMENT_PROXIES": "false",
        "TRACING_SERVICE_NAME": "shop",
        "TRACING_BATCH_DELAY": "0.05",
        "TRACING_KERNEL_SPANS": "false",
        "WEB_ACCESS_LOG": "off",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    yield
    for thread in sqlite_threads():
        thread.join(5)


async def answer(seen, stream):
    return reply(body=b"7.50")


async def _order(
    receiver: Receiver, monkeypatch, redis_url: str, **settings: str
) -> tuple[list[Span], list[str | None]]:
    """Serve one order, and return the spans and the traces that the other service got."""
    async with serving(answer) as service:
        for name, value in {
            "SERVICE_URL": service.url,
            "REDIS_URL": redis_url,
            "TRACING_ENDPOINT": receiver.url,
            **settings,
        }.items():
            monkeypatch.setenv(name, value)
        async with run(shop.app()) as running:
            assert 200 == (await running.client.post("/orders")).status_code
            broker = running.resources[TaskQueue].broker
            with anyio.fail_after(PATIENCE):
                while len([span for span in receiver.spans if span.name == "process bill"]) < 2:
                    await broker.wait_idle()
                    await anyio.sleep(0.02)
        return receiver.spans, [request.headers.get("traceparent") for request in service.requests]


@pytest.mark.requirement("OBS-T8", "OBS-T9")
async def test_all_that_a_request_causes_is_one_trace(receiver, monkeypatch, redis_url) -> None:
    """Call, command, statement, message and both attempts belong to the request's trace, and no secret is in any."""
    spans, sent = await _order(receiver, monkeypatch, redis_url)
    by_name = {span.name: span for span in spans}
    assert sorted(
        ["POST /orders", "GET /price", "SET", "SELECT", "send bill", "process bill", "SELECT", "process bill", "SELECT"]
    ) == sorted(span.name for span in spans)
    assert 1 == len({span.trace_id for span in spans})
    request = by_name["POST /orders"]
    children = [span for span in spans if span.parent_id == request.span_id]
    assert sorted(["GET /price", "SET", "SELECT", "send bill"]) == sorted(span.name for span in children)
    attempts = [span for span in spans if span.name == "process bill"]
    assert [by_name["send bill"].span_id] * 2 == [span.parent_id for span in attempts]
    assert ["retried", "done"] == [span.attributes["bandmaster.task.outcome"] for span in attempts]
    assert [attempts[0].span_id] == [link.span_id for link in attempts[1].links]
    statements = [span for span in spans if span.name == "SELECT"]
    assert {request.span_id, *(span.span_id for span in attempts)} == {span.parent_id for span in statements}
    assert [f"00-{request.trace_id}-{by_name['GET /price'].span_id}"] == [header[:52] for header in sent]
    text = receiver.text()
    assert [] == [secret for secret in shop.SECRETS if secret in text]


@pytest.mark.requirement("OBS-T9")
async def test_the_setting_links_tasks_instead(receiver, monkeypatch, redis_url) -> None:
    """With TRACING_TASKS=link each attempt is a trace that links to the sender's span."""
    spans, _ = await _order(receiver, monkeypatch, redis_url, TRACING_TASKS="link")
    (sender,) = [span for span in spans if span.name == "send bill"]
    attempts = [span for span in spans if span.name == "process bill"]
    assert ["", ""] == [span.parent_id for span in attempts]
    assert 3 == len({sender.trace_id, *(span.trace_id for span in attempts)})
    assert [[sender.span_id], [sender.span_id, attempts[0].span_id]] == [
        [link.span_id for link in span.links] for span in attempts
    ]


async def test_settings_of_calls_and_statements_count(receiver, monkeypatch, redis_url) -> None:
    """Paths of calls are shown and statements are left out as the settings say."""
    settings = {"TRACING_CALL_PATHS": "true", "TRACING_STATEMENTS": "false"}
    spans, _ = await _order(receiver, monkeypatch, redis_url, **settings)
    by_name = {span.name: span for span in spans}
    assert by_name["GET /price"].attributes["url.full"].endswith("/price")
    assert "db.query.text" not in by_name["SELECT"].attributes


@pytest.mark.parametrize(
    ("left_out", "names"),
    [
        ({"trace_tasks", "trace_commands"}, ["GET /price", "POST /orders", "SELECT", "SELECT", "SELECT"]),
        ({"tracing", "trace_propagator"}, []),
    ],
    ids=["two", "all"],
)
async def test_parts_are_left_out_by_name(receiver, monkeypatch, redis_url, left_out, names) -> None:
    """Without one of the parts the others go on; without the provider nothing is traced, and all work."""
    async with serving(answer) as service:
        for name, value in {
            "SERVICE_URL": service.url,
            "REDIS_URL": redis_url,
            "TRACING_ENDPOINT": receiver.url,
        }.items():
            monkeypatch.setenv(name, value)
        async with run(shop.app(disable=left_out)) as running:
            assert 200 == (await running.client.post("/orders")).status_code
            broker = running.resources[TaskQueue].broker
            with anyio.fail_after(PATIENCE):
                while shop._SEEN == set():
                    await anyio.sleep(0.01)
                await broker.wait_idle()
    assert names == sorted(span.name for span in receiver.spans)


async def test_without_settings_nothing_is_traced(monkeypatch) -> None:
    """An application that names no collector has none of the parts, and its queue has no observer."""
    async with run(contributions=[*shop.TRACED, taskiq, tasks("shop", shop.bill)]) as running:
        assert () == running.resources[TaskQueue].observers._observers


@pytest.mark.parametrize(
    ("flag", "decide"),
    [
        ("_HAS_HTTP", components.traces_calls),
        ("_HAS_TASKIQ", components.traces_tasks),
        ("_HAS_PERSISTENCE", components.traces_statements),
        ("_HAS_REDIS", components.traces_commands),
    ],
)
def test_a_part_is_left_out_without_its_package(monkeypatch, flag, decide) -> None:
    """What isn't installed isn't traced, and needs no setting."""
    from bandmaster.contrib.tracing import OpenTelemetrySettings, TracingSettings

    settings, standard = TracingSettings(enabled=True), OpenTelemetrySettings()
    assert decide(settings, standard)
    assert not decide(TracingSettings(enabled=False), standard)
    monkeypatch.setattr(components, flag, False)
    assert not decide(settings, standard)


@pytest.mark.requirement("OBS-T7", "OBS-T10")
async def test_a_second_instrumentation_is_told(monkeypatch) -> None:
    """Where an instrumentation of the same work is loaded, the check says so, and how to choose one."""
    monkeypatch.setenv("TRACING_ENDPOINT", "http://127.0.0.1:1")
    assert [] == _find_doubled()
    for module in ("opentelemetry.instrumentation.sqlalchemy", "opentelemetry.instrumentation.redis"):
        monkeypatch.setitem(sys.modules, module, sys)
    command, statement = _find_doubled()
    assert "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=redis" in command
    assert "BANDMASTER_DISABLE=trace_statements" in statement


def _find_doubled() -> list[str]:
    found = check_start(shop.app().plan, EventLoop.ASYNCIO).warnings
    return sorted(warning for warning in found if "second span" in warning)


@pytest.mark.requirement("OBS-T4")
async def test_spans_of_every_worker_process_arrive(receiver, redis_url, monkeypatch, tmp_path) -> None:
    """Two worker processes of one supervisor export by themselves, under an instance id each, in the sender's trace."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("BANDMASTER_", "TASKIQ_"))}
    settings = {
        "TASKIQ_REDIS_URL": redis_url,
        "TASKIQ_CONCURRENCY": "1",
        "TASKIQ_PREFETCH": "0",
        "REDIS_URL": redis_url,
        "TRACING_ENDPOINT": receiver.url,
        "BANDMASTER_ENVIRONMENT": "test",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    target = ["-m", "bandmaster.kernel.cli", "worker", "tests.contrib.tracing.instrumentation.shop:workers"]
    output = tmp_path / "output"
    with (
        output.open("wb") as file,
        guarded_process(
            [sys.executable, *target, "--processes", "2"], cwd=HERE, environment=environment | settings, stdout=file
        ) as workers,
    ):
        async with run(contributions=[*shop.TRACED, taskiq, tasks("shop", shop.work)]) as running:
            with anyio.fail_after(8 * PATIENCE):  # until two processes have started on a busy machine
                while len(_find_workers(receiver)) < 2:
                    assert workers.poll() is None, output.read_text()
                    await running.resources[TaskQueue].send(shop.work, 0.2)
                    await anyio.sleep(0.1)
        workers.terminate()
        with anyio.fail_after(4 * PATIENCE):
            while workers.poll() is None:
                await anyio.sleep(0.02)
    assert 0 == workers.returncode, output.read_text()
    senders = {span.span_id: span for span in receiver.spans if span.name == "send work"}
    ran = [span for span in receiver.spans if span.name == "process work"]
    assert {span.parent_id for span in ran} <= set(senders)
    (sender_id,) = {span.resource["service.instance.id"] for span in senders.values()}
    ids = {span.resource["service.instance.id"]: span.resource["process.pid"] for span in ran}
    assert sender_id not in ids
    assert len(ids) == len(set(ids.values())) >= 2


def _find_workers(receiver: Receiver) -> set[int]:
    return {span.resource["process.pid"] for span in receiver.spans if span.name == "process work"}
