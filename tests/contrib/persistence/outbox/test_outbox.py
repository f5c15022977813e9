"""Messages are published if and only if their transaction commits."""

import collections
import sys
from datetime import UTC, datetime

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from sqlalchemy import MetaData, text, update

from bandmaster.contrib.persistence import (
    DatabaseManager,
    DatabaseSettings,
    Outbox,
    OutboxMessage,
    OutboxRelay,
    OutboxSettings,
    Publisher,
    database,
    outbox_relay,
    outbox_table,
)
from bandmaster.contrib.persistence.outbox.trace_headers import make_trace_headers, restore_trace
from bandmaster.contrib.web import current_context, request_context
from bandmaster.kernel import LifespanBand, PermanentError, lifespan
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio
METADATA = MetaData()
TABLE = outbox_table(METADATA)
OUTBOX = Outbox(TABLE)
QUICK = OutboxSettings(poll_interval=0.02, backoff=0.01, attempts=3, publish_timeout=1)


class Recorded:
    """A publisher that records messages, and fails a given number of times."""

    def __init__(self, *failures, pause=0):
        self.messages = []
        self.failures = list(failures)
        self.pause = pause
        self.tenants = []

    async def publish(self, message):
        await anyio.sleep(self.pause)
        if self.failures:
            raise self.failures.pop(0)
        self.messages.append(message)
        self.tenants.append(current_context().tenant)

    @property
    def payloads(self):
        return [message.payload for message in self.messages]


@pytest.fixture(params=["psycopg", "asyncpg", "sqlite"])
async def manager(request, make_manager, tmp_path):
    """A manager of a database with an outbox."""
    if request.param == "sqlite":
        made = make_manager(f"sqlite:///{tmp_path / 'file'}")
    else:
        database = request.getfixturevalue("postgres_database")
        made = make_manager(database.owner_url(request.param))
    async with made.engine.begin() as connection:
        await connection.run_sync(METADATA.create_all)
    return made


async def add(manager, *payloads, **options):
    async with manager.session() as session:
        return [await OUTBOX.add(session, "things", payload, **options) for payload in payloads]


async def waiting(manager):
    async with manager.session() as session:
        return await session.scalar(text("SELECT count(*) FROM outbox WHERE failed_at IS NULL"))


async def test_committed_messages_are_published_once(manager):
    """Committed messages are published in order, and deleted."""
    before = datetime.now(UTC)
    ids = await add(manager, {"n": 1}, [2, "zwei"], None)
    publisher = Recorded()
    relay = OutboxRelay(manager, TABLE, publisher, QUICK)
    assert 3 == await relay.relay()
    assert [{"n": 1}, [2, "zwei"], None] == publisher.payloads
    assert ids == [message.id for message in publisher.messages]
    first = publisher.messages[0]
    assert isinstance(first, OutboxMessage)
    assert ("things", 1) == (first.topic, first.attempt)
    assert before <= first.created_at <= datetime.now(UTC)
    assert 0 == await relay.relay()
    assert 0 == await waiting(manager)


async def test_messages_of_a_rollback_are_not_published(manager):
    """A message of a transaction that is rolled back isn't published."""
    with pytest.raises(KeyError):
        async with manager.session() as session:
            await OUTBOX.add(session, "things", 1)
            raise KeyError
    publisher = Recorded()
    assert 0 == await OutboxRelay(manager, TABLE, publisher, QUICK).relay()


async def test_synchronous_sessions_write_messages(manager):
    """Synchronous sessions write a message by a statement."""
    with manager.sync_session() as session:
        session.execute(OUTBOX.insert("things", 1))
    publisher = Recorded()
    await OutboxRelay(manager, TABLE, publisher, QUICK).relay()
    assert [1] == publisher.payloads


async def test_the_context_is_carried_along(manager):
    """A message is published with the tenant and the ids of its writer."""
    with request_context("req-1", "corr-1", tenant="red", user="ann"):
        await add(manager, 1, headers={"extra": "e"})
    publisher = Recorded()
    await OutboxRelay(manager, TABLE, publisher, QUICK).relay()
    (message,) = publisher.messages
    expected = {"request_id": "req-1", "correlation_id": "corr-1", "tenant": "red", "user": "ann", "extra": "e"}
    assert expected == message.headers
    assert ["red"] == publisher.tenants


async def test_the_trace_of_the_writer_goes_on(manager):
    """A message is published within the trace of its writer, and one that was written outside of traces within none."""
    seen = []

    class Looking(Recorded):
        async def publish(self, message):
            span = trace.get_current_span().get_span_context()
            seen.append((span.trace_id, span.span_id))
            await super().publish(message)

    with trace.use_span(NonRecordingSpan(SpanContext(0xA, 0xB, is_remote=False, trace_flags=TraceFlags(1)))):
        await add(manager, 1)
    await add(manager, 2)
    publisher = Looking()
    with trace.use_span(NonRecordingSpan(SpanContext(0xC, 0xD, is_remote=False))):
        await OutboxRelay(manager, TABLE, publisher, QUICK).relay()
        assert 0xC == trace.get_current_span().get_span_context().trace_id
    assert [(0xA, 0xB), (0, 0)] == seen
    assert [{"traceparent": f"00-{0xA:032x}-{0xB:016x}-01"}, {}] == [message.headers for message in publisher.messages]


def test_without_opentelemetry_there_is_no_trace(monkeypatch):
    """A process that hasn't loaded OpenTelemetry's API writes and restores none."""
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    assert {} == make_trace_headers()
    with restore_trace({"traceparent": f"00-{0xA:032x}-{0xB:016x}-01"}):
        assert "opentelemetry.trace" not in sys.modules


@pytest.mark.parametrize("header", ["", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "x" * 100_000])
def test_headers_that_are_no_trace_are_ignored(header):
    """Other programs may write to the table."""
    with restore_trace({"traceparent": header}):
        assert not trace.get_current_span().get_span_context().is_valid


async def test_a_failed_message_is_retried_after_a_pause(manager):
    """A failed message is retried after a pause, and delays no other message."""
    await add(manager, 1, 2, 3)
    publisher = Recorded(ConnectionError("away"))
    relay = OutboxRelay(manager, TABLE, publisher, QUICK.model_copy(update={"backoff": 0.3}))
    await relay.relay()
    assert [2, 3] == publisher.payloads
    assert 0 == await relay.relay()
    with anyio.fail_after(3):
        while not await relay.relay():
            await anyio.sleep(0.02)
    assert [2, 3, 1] == publisher.payloads
    assert 2 == publisher.messages[-1].attempt


async def test_a_message_that_fails_too_often_is_given_up(manager):
    """A message that failed too often stays in the table with the error."""
    await add(manager, 1)
    relay = OutboxRelay(manager, TABLE, Recorded(*[ConnectionError("away")] * 5), QUICK)
    with anyio.fail_after(5):
        while await waiting(manager):
            await relay.relay()
            await anyio.sleep(0.01)
    async with manager.session() as session:
        row = (await session.execute(text("SELECT attempts, error FROM outbox"))).one()
    assert (3, "ConnectionError: away") == tuple(row)
    gauge = await relay.gauge()
    assert (0, 1) == (gauge.waiting, gauge.failed)
    async with manager.session() as session:
        await session.execute(update(TABLE).values(failed_at=None, attempts=0))
    assert 1 == (await relay.gauge()).waiting


async def test_a_permanent_error_gives_a_message_up_at_once(manager):
    """A permanent error gives a message up at the first attempt."""
    await add(manager, 1)
    relay = OutboxRelay(manager, TABLE, Recorded(PermanentError("no such queue")), QUICK)
    await relay.relay()
    assert (0, 1) == ((await relay.gauge()).waiting, (await relay.gauge()).failed)


async def test_a_publisher_that_hangs_is_given_up(manager):
    """A publisher that hangs fails its message after the timeout, and the message is retried."""
    await add(manager, 1)
    relay = OutboxRelay(manager, TABLE, Recorded(pause=30), QUICK.model_copy(update={"publish_timeout": 0.1}))
    with anyio.fail_after(5):
        await relay.relay()
    async with manager.session() as session:
        assert "TimeoutError" == await session.scalar(text("SELECT error FROM outbox"))


async def test_a_delayed_message_waits(manager):
    """A delayed message isn't published before it is due."""
    await add(manager, 1, delay=0.4)
    publisher = Recorded()
    relay = OutboxRelay(manager, TABLE, publisher, QUICK)
    assert 0 == await relay.relay()
    await anyio.sleep(0.5)
    assert (await relay.gauge()).oldest > 0.05
    assert 1 == await relay.relay()


async def test_a_long_batch_is_ended(manager):
    """A batch ends after its time, so that the transaction doesn't stay open."""
    await add(manager, *range(10))
    publisher = Recorded(pause=0.05)
    relay = OutboxRelay(manager, TABLE, publisher, QUICK.model_copy(update={"batch_time": 0.12}))
    await relay.relay()
    assert 1 <= len(publisher.messages) < 8
    with anyio.fail_after(5):
        while await relay.relay():
            pass
    assert list(range(10)) == publisher.payloads


async def test_a_relay_that_is_cut_short_loses_nothing(manager):
    """A cancelled relay deletes the published messages, and releases the others."""
    await add(manager, *range(10))
    publisher = Recorded(pause=0.5)
    relay = OutboxRelay(manager, TABLE, publisher, QUICK)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(relay.relay)
        with anyio.fail_after(20):
            while not publisher.messages:
                await anyio.sleep(0.005)
        tasks.cancel_scope.cancel()
    handed_on = len(publisher.messages)
    assert 1 <= handed_on < 10
    publisher.pause = 0
    await relay.relay()
    assert list(range(10)) == publisher.payloads


@pytest.mark.parametrize("manager", ["psycopg", "asyncpg"], indirect=True)
async def test_several_relays_share_the_work(manager, make_manager):
    """Each message goes to one relay, and each relay gets some."""
    for _ in range(3):
        await add(manager, *range(100))
    others = [make_manager(manager.settings.url) for _ in range(3)]
    publishers = [Recorded(pause=0.001) for _ in others]
    async with anyio.create_task_group() as tasks:
        for other, publisher in zip(others, publishers, strict=True):
            settings = QUICK.model_copy(update={"batch": 10})
            tasks.start_soon(OutboxRelay(other, TABLE, publisher, settings).run)
        with anyio.fail_after(20):
            while await waiting(manager):
                await anyio.sleep(0.05)
        tasks.cancel_scope.cancel()
    counts = collections.Counter(message.id for publisher in publishers for message in publisher.messages)
    assert 300 == len(counts)
    assert {1} == set(counts.values())
    assert all(len(publisher.messages) > 30 for publisher in publishers)


@pytest.mark.parametrize("topic", ["", "x" * 201])
async def test_a_topic_of_the_wrong_length_is_refused(topic):
    """A topic of the wrong length is refused before anything is written."""
    with pytest.raises(ValueError, match="topic"):
        OUTBOX.insert(topic, 1)


async def test_it_runs_as_a_component_and_survives_the_server(bandmaster_environment):
    """The relay runs supervised, without a tenant, and survives a restart of the server."""
    from bandmaster.contrib.persistence.testing import postgres_server

    publisher = Recorded()

    @lifespan(band=LifespanBand.MESSAGING, provides=Publisher)
    async def queue():
        yield publisher

    with postgres_server({}) as server:
        settings = DatabaseSettings(url=server.url(), tenant_isolation="rls", tenant_audit="off", connect_timeout=1)
        parts = [database, queue, outbox_relay(TABLE)]
        overrides = {DatabaseSettings: settings, OutboxSettings: QUICK}
        async with run(contributions=parts, discover=False, overrides=overrides) as running:
            manager = running.resources[DatabaseManager]
            with request_context(tenant="red"):
                async with manager.engine.begin() as connection:
                    await connection.run_sync(METADATA.create_all)
                await add(manager, 1)
                await wait_until(publisher, [1])
                # The restart waits until the message is deleted, or the message would be published again.
                with anyio.fail_after(20):
                    while (await running.resources[OutboxRelay].gauge()).waiting:
                        await anyio.sleep(0.02)
                server.stop()
                await anyio.sleep(0.3)
                server.start()
                with anyio.fail_after(20):
                    while True:
                        try:
                            await add(manager, 2)
                            break
                        except Exception:
                            await anyio.sleep(0.05)
                await wait_until(publisher, [1, 2])
            assert 200 == (await running.client.get("/readyz")).status_code


async def wait_until(publisher, payloads):
    with anyio.fail_after(20):
        while publisher.payloads != payloads:
            await anyio.sleep(0.02)
