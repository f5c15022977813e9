"""Spans of database statements, with PostgreSQL and SQLite."""

from __future__ import annotations

import asyncio

import anyio.to_thread
import pytest
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select, text
from sqlalchemy.exc import IntegrityError, ProgrammingError
from tests.contrib.persistence.sqlite_threads import sqlite_threads

from bandmaster.contrib.persistence import DatabaseManager, DatabaseSettings
from bandmaster.contrib.tracing.instrumentation.statements import StatementTracer, find_code
from bandmaster.contrib.web import request_context

pytestmark = pytest.mark.anyio

METADATA = MetaData()
THINGS = Table("things", METADATA, Column("id", Integer, primary_key=True), Column("name", String(50), unique=True))
DRIVERS = ["psycopg", "asyncpg", "sqlite"]


@pytest.fixture
def anyio_backend() -> str:
    """SQLAlchemy's asynchronous engines run on asyncio only."""
    return "asyncio"


@pytest.fixture
async def make_manager(memory):
    """Makes managers whose statements are traced, and disposes of them after the test."""
    made = []
    tracer = StatementTracer(memory.provider)

    def make(url, *, name="database", tracer=tracer, **options):
        settings = DatabaseSettings(url=url, **{"connect_timeout": 10, "slow_query": 0, **options})
        made.append(DatabaseManager(settings, name, observers=[tracer]))
        return made[-1]

    yield make
    for manager in made:
        await manager.dispose()
    for thread in sqlite_threads():
        thread.join(5)


@pytest.fixture(params=DRIVERS)
def url(request, tmp_path):
    """The URL of an empty database, for each driver."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'shop.sqlite3'}"
    return request.getfixturevalue("postgres_database").app_url(request.param)


@pytest.fixture
def things(url, request):
    """The URL of a database with a table."""
    if url.startswith("sqlite"):
        import sqlite3

        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        connection.execute("CREATE TABLE things (id integer PRIMARY KEY, name text UNIQUE)")
        connection.close()
    else:
        import psycopg

        database = request.getfixturevalue("postgres_database")
        with psycopg.connect(database.owner_url().replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("CREATE TABLE things (id serial PRIMARY KEY, name text UNIQUE)")
    return url


async def _run(manager, statement, *values):
    async with manager.session() as session:
        return (await session.execute(statement, *values)).all()


@pytest.mark.requirement("OBS-T8")
async def test_a_statement_is_a_client_span_by_the_conventions(memory, make_manager, things) -> None:
    """The span names system, database, operation and table, and has the statement without its values."""
    manager = make_manager(things)
    await _run(manager, select(THINGS.c.id).where(THINGS.c.name == "hunter2"))
    span = memory.one()
    assert ("SELECT things", SpanKind.CLIENT, StatusCode.UNSET) == (span.name, span.kind, span.status.status_code)
    found = dict(span.attributes)
    assert found["db.query.text"].startswith("SELECT things.id FROM things WHERE things.name = ")
    assert "hunter2" not in str(found)
    assert ("SELECT", "things", "SELECT things", "database") == (
        found["db.operation.name"],
        found["db.collection.name"],
        found["db.query.summary"],
        found["bandmaster.database"],
    )
    if things.startswith("sqlite"):
        assert ("sqlite", "shop.sqlite3") == (found["db.system.name"], found["db.namespace"])
        assert "server.address" not in found
    else:
        assert "postgresql" == found["db.system.name"]
        assert manager.settings.dsn.database == found["db.namespace"]
        assert (manager.settings.dsn.host, manager.settings.dsn.port) == (
            found.get("server.address"),
            found.get("server.port"),
        )
        password = manager.settings.dsn.password
        assert password is None or password not in str(found)


@pytest.mark.requirement("OBS-T8")
async def test_literals_of_handwritten_statements_are_hidden(memory, make_manager, url) -> None:
    """A text with values in it is shown with question marks, on each way to the driver."""
    manager = make_manager(url)
    async with manager.session() as session:
        await session.execute(text("SELECT 'hunter2', 4711 -- for ann"))
        connection = await session.connection()
        await connection.exec_driver_sql("SELECT 'hunter2' /* ann */")
    assert ["SELECT ?, ?", "SELECT ?"] == [span.attributes["db.query.text"] for span in memory.spans]


@pytest.mark.requirement("OBS-T7")
async def test_ten_thousand_statements_leave_no_span_open(memory, make_manager, things) -> None:
    """10 000 statements have 10 000 spans, all of which have ended, and nothing is kept."""
    manager = make_manager(things)
    async with manager.session() as session:
        connection = await session.connection()
        for _ in range(10_000):
            await connection.exec_driver_sql("SELECT 1")
    assert (10_000, []) == (len(memory.spans), memory.open)


@pytest.mark.requirement("OBS-T7")
async def test_rows_have_no_spans(memory, make_manager, things) -> None:
    """Many rows are fetched from one statement, also when they come one by one."""
    manager = make_manager(things)
    async with manager.session() as session:
        await session.execute(insert(THINGS), [{"name": f"name {number}"} for number in range(500)])
    memory.spans.clear()
    async with manager.session() as session:
        assert 500 == len((await session.execute(select(THINGS))).all())
        streamed = await session.stream(select(THINGS).execution_options(yield_per=10))
        assert 500 == len([row async for row in streamed])
    assert ["SELECT things"] * 2 == memory.names


@pytest.mark.requirement("OBS-T7")
async def test_every_engine_is_traced_once(memory, make_manager, things, tmp_path) -> None:
    """Both engines of a database and those of another are traced, the synchronous ones from their first use on."""
    manager, other = make_manager(things), make_manager(f"sqlite:///{tmp_path / 'other'}", name="reporting")

    def synchronously():
        with manager.sync_session() as session:
            session.execute(text("SELECT 2"))

    await _run(manager, text("SELECT 1"))
    await anyio.to_thread.run_sync(synchronously)
    await _run(other, text("SELECT 3"))
    await anyio.to_thread.run_sync(synchronously)
    assert ["database", "database", "reporting", "database"] == [
        span.attributes["bandmaster.database"] for span in memory.spans
    ]


@pytest.mark.requirement("OBS-T7")
async def test_an_engine_that_is_given_twice_is_traced_once(memory, make_manager, url) -> None:
    """Two ways to the same engine don't double its spans."""
    tracer = StatementTracer(memory.provider)
    manager = make_manager(url, tracer=tracer)
    tracer.observe_engine(manager.engine.sync_engine, "again")
    await _run(manager, text("SELECT 1"))
    assert 1 == len(memory.spans)


@pytest.mark.requirement("OBS-T7")
async def test_health_checks_and_begins_have_no_spans(memory, make_manager, url) -> None:
    """Neither the check of a pooled connection, nor the probe, nor what begins a transaction is traced."""
    manager = make_manager(url, pool_pre_ping=True)
    for _ in range(3):
        await _run(manager, text("SELECT 1"))
    await manager.check()
    await manager.ping()
    assert ["SELECT"] * 3 == memory.names


async def test_the_probe_of_a_database_in_memory_has_no_span(memory, make_manager) -> None:
    """SQLite in memory has one engine for both, and its probe is told apart."""
    manager = make_manager("sqlite://")
    await manager.ping()
    await _run(manager, text("SELECT 1"))
    await manager.ping()
    assert ["SELECT"] == memory.names


async def test_the_tenant_of_a_transaction_has_no_span(memory, make_manager, postgres_database) -> None:
    """With tenants each transaction begins with a statement of ours, which isn't the application's."""
    manager = make_manager(postgres_database.app_url("psycopg"), tenant_isolation="rls")
    with request_context(tenant="acme"):
        await _run(manager, text("SELECT 1"))
    assert ["SELECT"] == memory.names
    assert "acme" not in str([dict(span.attributes) for span in memory.spans])


async def test_a_failed_statement_has_the_code_and_no_text(memory, make_manager, things) -> None:
    """The database's code is the type of the error. Its text quotes values, and is left out."""
    manager = make_manager(things)
    with pytest.raises(IntegrityError):
        async with manager.session() as session:
            await session.execute(insert(THINGS), [{"name": "hunter2"}])
            await session.execute(insert(THINGS), [{"name": "hunter2"}])
    good, bad = memory.spans
    code = "SQLITE_CONSTRAINT_UNIQUE" if things.startswith("sqlite") else "23505"
    assert (StatusCode.UNSET, StatusCode.ERROR) == (good.status.status_code, bad.status.status_code)
    assert (code, code) == (bad.attributes["error.type"], bad.attributes["db.response.status_code"])
    assert (None, ()) == (bad.status.description, tuple(bad.events))
    assert "hunter2" not in str([dict(span.attributes) for span in memory.spans])


async def test_a_failed_statement_in_a_thread_ends(memory, make_manager, things) -> None:
    """Synchronous code has the same spans, in the trace of the code that waits for the thread."""
    manager = make_manager(things)

    def synchronously():
        with manager.sync_session() as session:
            session.execute(text("SELECT * FROM nowhere"))

    with memory.provider.get_tracer("test").start_as_current_span("request") as request:
        with pytest.raises(Exception, match="nowhere"):
            await anyio.to_thread.run_sync(synchronously)
    bad = memory.one("SELECT nowhere")
    assert (StatusCode.ERROR, request.get_span_context().span_id) == (bad.status.status_code, bad.parent.span_id)


async def test_a_cancelled_statement_ends(memory, make_manager, postgres_database) -> None:
    """A statement whose caller leaves ends its span, and isn't an error of the database."""
    for driver in ("psycopg", "asyncpg"):
        manager = make_manager(postgres_database.app_url(driver))
        waiting = asyncio.ensure_future(_run(manager, text("SELECT pg_sleep(60)")))
        while not memory.open:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
    assert [(True, StatusCode.UNSET)] * 2 == [
        (span.attributes.get("bandmaster.cancelled"), span.status.status_code) for span in memory.spans
    ]


async def test_a_lost_connection_ends_the_span(memory, make_manager, postgres_database) -> None:
    """The server ends the connection under a statement: the span has the code of the end."""
    manager = make_manager(postgres_database.app_url("psycopg"))
    with pytest.raises(Exception, match="terminat"):
        async with manager.session() as session:
            await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    span = memory.one()
    assert (StatusCode.ERROR, "57P01") == (span.status.status_code, span.attributes["error.type"])


async def test_many_rows_of_one_insert_are_counted(memory, make_manager, things) -> None:
    """A statement for several rows says how many; a batched one has a span for each round trip."""
    manager = make_manager(things)
    async with manager.session() as session:
        await session.execute(text("INSERT INTO things (name) VALUES (:name)"), [{"name": "a"}, {"name": "b"}])
        returned = await session.execute(
            insert(THINGS).returning(THINGS.c.id), [{"name": f"n{number}"} for number in range(2500)]
        )
        assert 2500 == len(returned.all())
    many, *batches = memory.spans
    assert 2 == many.attributes["db.operation.batch.size"]
    assert 1 < len(batches) < 10
    assert all(len(span.attributes["db.query.text"]) <= 2000 for span in batches)


async def test_texts_are_left_out_or_cut_by_setting(memory, make_manager, url) -> None:
    """The text of statements can be left out, or limited."""
    for with_text, longest in ((False, 2000), (True, 8)):
        tracer = StatementTracer(memory.provider, with_text=with_text, longest_text=longest)
        await _run(make_manager(url, tracer=tracer), text("SELECT 1, 2, 3"))
    without, cut = memory.spans
    assert (None, "SELECT", "SELECT ?") == (
        without.attributes.get("db.query.text"),
        without.attributes["db.query.summary"],
        cut.attributes["db.query.text"],
    )


async def test_concurrent_statements_keep_their_parents(memory, make_manager, things) -> None:
    """Statements of twenty requests at once are in twenty traces."""
    manager, tracer = (
        make_manager(things, **({} if things.startswith("sqlite") else {"pool_size": 5})),
        memory.provider.get_tracer("test"),
    )

    async def request(number):
        with tracer.start_as_current_span(f"request {number}"):
            await _run(manager, text("SELECT 1"))

    await asyncio.gather(*(request(number) for number in range(20)))
    requests = {span.context.span_id for span in memory.spans if span.name.startswith("request")}
    assert requests == {span.parent.span_id for span in memory.spans if span.name == "SELECT"}
    assert 40 == len(memory.spans)


def test_codes_are_found_behind_wrappers() -> None:
    """SQLAlchemy wraps asyncpg's exceptions, which have the code; errors without a code have none."""
    error = ProgrammingError("SELECT 1", None, Exception("x"))
    error.__cause__ = Exception()
    error.__cause__.sqlstate = "42P01"
    assert "42P01" == find_code(error)
    assert None is find_code(ValueError("no code"))
    assert None is find_code(None)
