"""Spans of Redis commands, with a real server."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry.trace import SpanKind, StatusCode
from redis.exceptions import ResponseError

from bandmaster.contrib.redis import ClientPlace, RedisCommand, RedisSettings, RedisUnavailableError, open_client
from bandmaster.contrib.tracing.instrumentation.commands import CommandTracer, name_operation

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """redis-py runs on asyncio only."""
    return "asyncio"


@pytest.fixture
async def client(redis_url, memory):
    """A client whose commands are traced."""
    async with open_client(RedisSettings(url=redis_url), "cache", observers=[CommandTracer(memory.provider)]) as client:
        yield client


async def test_a_command_is_a_client_span_by_the_conventions(memory, client) -> None:
    """The span names the command, the server and the database, and neither key nor value."""
    await client.set("session:ann", "hunter2")
    span = memory.one()
    options = client.connection_pool.connection_kwargs
    assert ("SET", SpanKind.CLIENT, StatusCode.UNSET) == (span.name, span.kind, span.status.status_code)
    assert {
        "db.system.name": "redis",
        "db.namespace": str(options["db"]),
        "db.operation.name": "SET",
        "server.address": "127.0.0.1",
        "server.port": options["port"],
        "bandmaster.redis.client": "cache",
    } == dict(span.attributes)


async def test_a_pipeline_is_one_span(memory, client) -> None:
    """A pipeline is one round trip: one span with the number of its commands."""
    async with client.pipeline(transaction=False) as pipeline:
        await pipeline.set("a", 1).get("a").execute()
    span = memory.one()
    assert ("PIPELINE", 2) == (span.name, span.attributes["db.operation.batch.size"])


@pytest.mark.parametrize(
    ("name", "names", "operation"),
    [
        ("GET", ("GET",), "GET"),
        ("MULTI", ("SET", "SET"), "MULTI SET"),
        ("MULTI", ("SET",), "MULTI SET"),
        ("PIPELINE", ("SET", "GET"), "PIPELINE"),
        ("PIPELINE", ("GET", "GET", "GET"), "PIPELINE GET"),
    ],
)
def test_names_of_operations(name, names, operation) -> None:
    """Pipelines of one command name that command, as the convention for Redis has it."""
    assert operation == name_operation(RedisCommand(ClientPlace("redis", 0, "localhost", 6379), name, names))


async def test_an_error_has_the_servers_code_and_no_text(memory, client) -> None:
    """The code of the server's error is its type; the text, which may quote values, is left out."""
    await client.set("a", "hunter2")
    with pytest.raises(ResponseError):
        await client.lpush("a", 1)
    span = memory.one("LPUSH")
    assert ("WRONGTYPE", "WRONGTYPE") == (span.attributes["error.type"], span.attributes["db.response.status_code"])
    assert (StatusCode.ERROR, None, ()) == (span.status.status_code, span.status.description, tuple(span.events))


async def test_a_server_that_is_away_gives_an_error_span(memory) -> None:
    """Without an answer the type of the error is the class of the exception."""
    tracer = CommandTracer(memory.provider)
    settings = RedisSettings(url="redis://127.0.0.1:1/0", retries=0, connect_timeout=1)
    async with open_client(settings, "redis", observers=[tracer]) as client:
        with pytest.raises(RedisUnavailableError):
            await client.get("a")
    span = memory.one()
    assert StatusCode.ERROR == span.status.status_code
    assert span.attributes["error.type"].endswith("ConnectionError")
    assert "db.response.status_code" not in span.attributes


async def test_a_cancelled_command_ends(memory, client) -> None:
    """A blocking command whose caller leaves ends its span, without being an error."""
    # redis-py loses a cancellation that comes while it connects.
    await client.ping()
    waiting = asyncio.ensure_future(client.blpop(["empty"], timeout=60))
    while not memory.open:
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait([waiting])
    span = memory.one("BLPOP")
    assert (True, StatusCode.UNSET) == (span.attributes["bandmaster.cancelled"], span.status.status_code)


async def test_commands_belong_to_the_trace_around_them(memory, client) -> None:
    """The span is a child of the request's or task's."""
    with memory.provider.get_tracer("test").start_as_current_span("request") as request:
        await client.get("a")
    assert request.get_span_context().span_id == memory.one("GET").parent.span_id


async def test_many_commands_leave_no_span_open(memory, client) -> None:
    """Each command has one span, and each span ends."""
    async with client.pipeline(transaction=False) as pipeline:
        for number in range(1000):
            pipeline.set(f"key {number}", number)
        await pipeline.execute()
    for _ in range(200):
        await asyncio.gather(*(client.get("key 1") for _ in range(10)))
    assert (2001, []) == (len(memory.spans), memory.open)
