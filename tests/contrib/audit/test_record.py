"""Entries of successes live and die with the caller's transaction; entries of refusals stay."""

import logging
from datetime import UTC, datetime

import anyio
import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select, text

from bandmaster.contrib.audit import (
    AuditEntry,
    AuditFilter,
    AuditLog,
    AuditUnavailableError,
    MemoryAuditStore,
    Result,
    verify_store,
)
from bandmaster.contrib.audit.chain.keys import ChainKeys
from bandmaster.contrib.audit.stores.store import Draft
from bandmaster.contrib.persistence import DatabaseManager, DatabaseSettings
from bandmaster.contrib.web import request_context
from bandmaster.kernel import Redactor

pytestmark = pytest.mark.anyio

shop = MetaData()
orders = Table("orders", shop, Column("id", Integer, primary_key=True), Column("state", String(20)))


@pytest.fixture
async def with_orders(manager):
    async with manager.engine.begin() as connection:
        await connection.run_sync(shop.create_all)


async def list_actions(audit):
    return [record.entry.action for record in (await audit.list(across_tenants=True)).records]


async def count_orders(manager):
    async with manager.session() as session:
        return len((await session.execute(select(orders))).all())


def list_events(caplog):
    return [record.fields for record in caplog.records if getattr(record, "event", "") == "audit entry"]


async def test_an_entry_in_a_transaction_of_its_own(audit, caplog) -> None:
    """The entry comes back with its place in the chain, and is a log event with sequence and hash."""
    caplog.set_level(logging.INFO)
    record = await audit.record(
        "order.cancel", resource_type="order", resource_id="7", actor="ann", details={"reason": "late"}, tenant="red"
    )
    assert (1, "tenant:red") == (record.sequence, record.stream)
    (listed,) = (await audit.list(AuditFilter(actor="ann"))).records
    assert record == listed
    (event,) = list_events(caplog)
    assert (record.stream, 1, record.hash) == (event["stream"], event["sequence"], event["hash"])
    assert ("order.cancel", "success", "7") == (event["action"], event["result"], event["resource_id"])
    assert "ann" not in str(event)


@pytest.mark.requirement("OBS-A4")
async def test_an_entry_of_a_success_lives_and_dies_with_the_transaction(audit, manager, with_orders, caplog) -> None:
    """OBS-A4: committed, change and entry are there; rolled back, neither is, and no log event tells of one."""
    caplog.set_level(logging.INFO)
    with pytest.raises(RuntimeError):
        async with manager.session() as session:
            await session.execute(insert(orders).values(id=1, state="new"))
            audit.record_in(session, "order.create", resource_id="1")
            raise RuntimeError
    assert ([], 0, []) == (await list_actions(audit), await count_orders(manager), list_events(caplog))
    async with manager.session() as session:
        audit.record_in(session, "order.create", resource_id="2")
        await session.execute(insert(orders).values(id=2, state="new"))
        assert [] == list_events(caplog)
    assert (["order.create"], 1) == (await list_actions(audit), await count_orders(manager))
    assert 1 == len(list_events(caplog))


@pytest.mark.requirement("OBS-A4")
async def test_an_entry_of_a_refusal_survives_the_rollback(audit, manager, with_orders, caplog) -> None:
    """OBS-A4: the caller's transaction is rolled back, and the entry is there all the same, as a log event, too."""
    caplog.set_level(logging.INFO)
    with pytest.raises(PermissionError):
        async with manager.session() as session:
            await session.execute(insert(orders).values(id=1, state="new"))
            await audit.record("order.create", result="refused", beside=session)
            raise PermissionError
    assert (["order.create"], 0) == (await list_actions(audit), await count_orders(manager))
    assert [1] == [event["sequence"] for event in list_events(caplog)]


@pytest.mark.requirement("OBS-A4")
async def test_a_change_whose_entry_can_not_be_written_does_not_happen(
    audit, manager, with_orders, execute, caplog
) -> None:
    """OBS-A4: the commit fails as a whole, so no committed change is answered as failed."""
    execute("ALTER TABLE audit_entries RENAME TO hidden")
    with pytest.raises(Exception, match="audit_entries"):
        async with manager.session() as session:
            await session.execute(insert(orders).values(id=1, state="new"))
            audit.record_in(session, "order.create")
    assert 0 == await count_orders(manager)


async def test_savepoints(audit, manager, with_orders) -> None:
    """An entry of a savepoint that is rolled back is gone; the others stay, in the order in which they were added."""
    async with manager.session() as session:
        audit.record_in(session, "one")
        async with session.begin_nested():
            audit.record_in(session, "two")
        with pytest.raises(RuntimeError):
            async with session.begin_nested():
                audit.record_in(session, "lost")
                async with session.begin_nested():
                    audit.record_in(session, "lost as well")
                raise RuntimeError
        await session.execute(insert(orders).values(id=1, state="new"))
        audit.record_in(session, "three")
    assert {"one", "two", "three"} == {*await list_actions(audit)}
    links = await audit.store.read("main", after=0, limit=10)
    assert ["one", "two", "three"] == [link.action for link in links]


async def test_a_commit_with_an_open_savepoint_writes_the_entries(audit, manager) -> None:
    """SQLAlchemy commits the savepoint itself; the entries are not lost."""
    async with manager.sessions() as session, session.begin():
        await session.execute(text("SELECT 1"))
        await session.begin_nested()
        audit.record_in(session, "one")
    assert ["one"] == await list_actions(audit)


async def test_a_session_has_several_transactions(audit, manager) -> None:
    """Each commit writes the entries that were added since the last one; a rollback and a close drop theirs."""
    async with manager.sessions() as session:
        audit.record_in(session, "one")
        await session.commit()
        audit.record_in(session, "lost")
        await session.rollback()
        audit.record_in(session, "two")
        await session.commit()
        await session.commit()
        audit.record_in(session, "left open")
    assert {"one", "two"} == {*await list_actions(audit)}


async def test_synchronous_sessions(audit, manager, with_orders) -> None:
    """A synchronous handler in a worker thread records as an asynchronous one does."""

    def work():
        with manager.sync_session() as session:
            session.execute(insert(orders).values(id=1, state="new"))
            audit.record_in(session, "order.create")
        anyio.from_thread.run(lambda: audit.record("order.seen"))

    await anyio.to_thread.run_sync(work)
    assert ({"order.create", "order.seen"}, 1) == ({*await list_actions(audit)}, await count_orders(manager))


@pytest.mark.requirement("OBS-A4")
async def test_recording_a_block(audit, manager, with_orders) -> None:
    """A block that ends well, one that fails and one that is refused, each with what was added on the way."""
    async with manager.session() as session, audit.recording(session, "pay", resource_id="1") as open_record:
        await session.execute(insert(orders).values(id=1, state="paid"))
        open_record.details["amount"] = 7
    for error in (RuntimeError("boom"), PermissionError("no")):
        with pytest.raises(type(error)) as raised:
            async with manager.session() as session, audit.recording(session, "pay", resource_id="2") as open_record:
                open_record.details["amount"] = 8
                raise error
        assert error is raised.value
    links = await audit.store.read("main", after=0, limit=10)
    entries = [link.to_entry() for link in links]
    assert [Result.SUCCESS, Result.FAILURE, Result.REFUSED] == [entry.result for entry in entries]
    assert [{"amount": 7}, {"amount": 8, "error": "RuntimeError"}, {"amount": 8, "error": "PermissionError"}] == [
        entry.details for entry in entries
    ]


async def test_recording_a_block_without_a_session(audit) -> None:
    """For what changes no database: a call to another service, for example."""
    async with audit.recording(None, "mail.send"):
        pass
    with pytest.raises(RuntimeError):
        async with audit.recording(None, "mail.send"):
            raise RuntimeError
    links = await audit.store.read("main", after=0, limit=9)
    assert ["success", "failure"] == [link.texts["result"] for link in links]


async def test_a_block_that_is_cancelled_is_a_failure(audit, manager) -> None:
    """A client that goes away leaves an entry, and the cancellation goes on."""
    with anyio.CancelScope() as scope:
        async with manager.session() as session, audit.recording(session, "pay"):
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    (record,) = (await audit.list()).records
    assert Result.FAILURE == record.entry.result


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_sqlite_says_at_once_that_a_task_would_wait_for_itself(audit, manager) -> None:
    """The error comes without a wait, and names the argument that mends it."""
    async with manager.session() as session:
        await session.execute(text("SELECT 1"))
        with pytest.raises(AuditUnavailableError, match="beside=session"):
            await audit.record("order.refused")
        assert await audit.record("order.refused", beside=session) is None
    assert ["order.refused"] == await list_actions(audit)
    await audit.record("order.later")


@pytest.mark.requirement("XC-R1")
async def test_a_full_pool_of_the_application_does_not_stop_entries(audit, database_url, own_manager, keys) -> None:
    """An entry in a transaction of its own has a connection of its own: requests don't wait for each other's second."""
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite has one writer")
    settings = DatabaseSettings(
        url=database_url, pool_size=2, max_overflow=0, pool_timeout=2, connect_timeout=20, slow_query=0
    )
    application = DatabaseManager(settings)

    async def handle():
        async with application.session() as session:
            await session.execute(text("SELECT 1"))
            await audit.record("order.refused")

    try:
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(handle)
    finally:
        await application.dispose()
    assert ["order.refused"] * 2 == await list_actions(audit)


@pytest.mark.requirement("P-08")
async def test_details_come_back_from_the_database_unchanged(store, keys) -> None:
    """P-08: as text, so that no database changes a number, an escape or the order of keys."""
    details = {
        "big": 2**200,
        "small": -0.0,
        "float": 1e-310,
        "one": 1,
        "one.0": 1.0,
        "true": True,
        "nul": "a\0b",
        "surrogate": "\ud800",
        "text": "żółć 🎻 \u2028",
        "b": {"z": [], "a": [{}, [None]]},
    }
    entry = AuditEntry(
        action="żółć",
        details=details,
        personal={"näme": details},
        actor="🎻",
        at=datetime(2026, 12, 31, 23, 59, 59, 999_999, UTC),
    )
    await store.append([Draft("stream 🎻", entry)])
    (link,) = await store.read("stream 🎻", after=0, limit=9)
    assert entry.to_json() == link.to_entry().to_json()
    assert (await verify_store(store, keys)).is_sound


@pytest.mark.parametrize("database_url", ["asyncpg"], indirect=True)
async def test_the_other_driver_of_postgresql(audit, manager, store, keys) -> None:
    """asyncpg is strict about the types of parameters."""
    await audit.record("one", actor="ann", details={"n": 1})
    async with manager.session() as session:
        audit.record_in(session, "two", personal={"mail": "x@y"})
    assert 2 == len((await audit.list(AuditFilter(since=datetime(2020, 1, 1, tzinfo=UTC)))).records)
    report = await verify_store(store, keys)
    assert ([], 2) == (report.findings, report.entries)


async def test_a_session_of_another_database_is_refused(audit, tmp_path) -> None:
    """An entry can't share a transaction with another database; the error names both."""
    other = DatabaseManager(DatabaseSettings(url=f"sqlite:///{tmp_path / 'other.sqlite3'}"))
    try:
        async with other.sessions() as session:
            with pytest.raises(ValueError, match=r"session: belongs to .*other"):
                audit.record_in(session, "order.create")
    finally:
        await other.dispose()


@pytest.mark.requirement("OBS-A8")
async def test_secrets_are_redacted_before_they_are_hashed_and_stored(audit, execute, caplog) -> None:
    """OBS-A8: that a password changed is recorded, at any depth; its values are nowhere."""
    caplog.set_level(logging.INFO)
    await audit.record(
        "user.update",
        resource_id="https://shop:planted-1@db/x",
        details={"password": {"old": "planted-2", "new": "planted-3"}, "url": "postgresql://u:planted-4@h/d"},
        personal={"api_key": "planted-5", "name": "Ann"},
    )
    stored = str(execute("SELECT * FROM audit_entries")) + str(execute("SELECT * FROM audit_personal"))
    assert "planted" not in stored + caplog.text
    (record,) = (await audit.list()).records
    assert "[REDACTED]" == record.entry.details["password"]
    assert "Ann" == record.entry.personal["name"]


async def test_a_configured_redactor_is_used(memory) -> None:
    """Own patterns of the log hold for the audit trail as well."""
    audit = AuditLog(memory, redactor=Redactor(patterns=["badge"]))
    record = await audit.record("a", details={"badge": "planted"})
    assert {"badge": "[REDACTED]"} == record.entry.details


async def test_details_that_are_too_large_are_refused(memory) -> None:
    """A ValueError that names the setting, before anything happens."""
    audit = AuditLog(memory, max_details=300)
    with pytest.raises(ValueError, match="AUDIT_MAX_DETAILS"):
        await audit.record("a", details={"text": "x" * 400})
    assert 0 == len(memory)


@pytest.mark.parametrize("action", ["audit.pruned", "audit.acknowledged", "audit.x"])
async def test_the_audit_trails_own_names_are_refused(memory, manager, action) -> None:
    """An application can't excuse a break by writing an acknowledgement."""
    audit = AuditLog(memory)
    with pytest.raises(ValueError, match="the audit trail's own"):
        await audit.record(action)
    async with manager.sessions() as session:
        with pytest.raises(ValueError, match="the audit trail's own"):
            audit.record_in(session, action)
        with pytest.raises(ValueError, match="the audit trail's own"):
            audit.recording(session, action)


async def test_the_context_names_actor_tenant_and_request(memory) -> None:
    """What the caller gives has precedence."""
    audit = AuditLog(memory)
    with request_context("req-1", "cor-1", tenant="red", user="ann"):
        record = await audit.record("a")
        given = await audit.record("a", actor="root", tenant="blue", stream="special")
    entry = record.entry
    assert ("ann", "red", "req-1", "cor-1", "tenant:red") == (
        entry.actor,
        entry.tenant,
        entry.request_id,
        entry.correlation_id,
        record.stream,
    )
    assert ("root", "blue", "special") == (given.entry.actor, given.entry.tenant, given.stream)


async def test_a_tenant_sees_its_own_entries(memory) -> None:
    """Listing fails closed: in a request of one tenant the entries of others have to be asked for by name."""
    audit = AuditLog(memory)
    for tenant in ("red", "blue", None):
        await audit.record("a", tenant=tenant)
    with request_context(tenant="red"):
        assert ["red"] == [record.entry.tenant for record in (await audit.list()).records]
        assert 3 == len((await audit.list(across_tenants=True)).records)
        with pytest.raises(ValueError, match="across_tenants"):
            await audit.list(AuditFilter(tenant="blue"))
    assert 3 == len((await audit.list()).records)


@pytest.mark.requirement("OBS-A4")
async def test_a_log_that_fails_fails_no_action(memory, monkeypatch, capsys) -> None:
    """OBS-A4: what is recorded has happened, whatever becomes of the log event."""
    monkeypatch.setattr("bandmaster.contrib.audit.recording.get_logger", lambda name: 1 / 0)
    record = await AuditLog(memory).record("a")
    assert 1 == record.sequence
    assert "the log event of an entry failed" in capsys.readouterr().err


async def test_the_memory_store_shares_transactions_as_well(manager) -> None:
    """The same code runs with the store in memory: entries come with the commit, and go with the rollback."""
    audit = AuditLog(MemoryAuditStore(ChainKeys()))
    async with manager.session() as session:
        audit.record_in(session, "one")
        await session.execute(text("SELECT 1"))
    with pytest.raises(RuntimeError):
        async with manager.session() as session:
            audit.record_in(session, "lost")
            raise RuntimeError
    assert ["one"] == await list_actions(audit)
