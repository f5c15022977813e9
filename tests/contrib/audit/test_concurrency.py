"""Many writers in several processes leave one chain, and an open transaction stops nobody that it needn't."""

import json
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest
from sqlalchemy import text
from tests.contrib.audit.conftest import KEY

from bandmaster.contrib.audit import AuditEntry, AuditLog, AuditUnavailableError, SqlAuditStore, verify_store
from bandmaster.contrib.audit.stores.append import ChainConflictError, append_links
from bandmaster.contrib.audit.stores.store import Draft
from bandmaster.contrib.persistence import Retries

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[3]


def run_writers(url, processes, writers, count, stream="s"):
    """Run processes that begin to write at the same time, and wait until all have ended."""
    arguments = json.dumps([url, KEY, writers, count, stream])
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.contrib.audit.writers", arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    cwd=ROOT,
                )
            )
            for _ in range(processes)
        ]
        try:
            assert ["ready\n"] * processes == [process.stdout.readline() for process in started]
            for process in started:
                process.stdin.write("go\n")
                process.stdin.flush()
            for process in started:
                _, errors = process.communicate(timeout=280)
                assert (0, "") == (process.returncode, errors)
        finally:
            for process in started:
                if process.poll() is None:
                    process.kill()


@pytest.mark.requirement("OBS-A1")
@pytest.mark.parametrize(("processes", "writers", "count"), [(2, 25, 4), (8, 16, 2)])
async def test_writers_in_several_processes_leave_one_chain(
    store, keys, database_url, processes, writers, count
) -> None:
    """OBS-A1: no entry is lost, none is there twice, and the chain verifies: 2 × 25 writers, and 8 × 16."""
    await anyio.to_thread.run_sync(run_writers, database_url, processes, writers, count)
    total = processes * writers * count
    report = await verify_store(store, keys)
    assert ([], total, 1) == (report.findings, report.entries, report.streams)
    written: Counter[str] = Counter()
    for after in range(0, total, 500):
        written.update(link.texts["resource_id"] for link in await store.read("s", after=after, limit=500))
    assert {processes} == {*written.values()}
    assert writers * count == len(written)


@pytest.mark.requirement("OBS-A1")
@pytest.mark.parametrize("database_url", ["psycopg"], indirect=True)
async def test_an_open_transaction_holds_up_nobody_before_its_commit(audit, manager) -> None:
    """OBS-A1: the end of the stream is locked by the commit, not when the entry is added, however long that lasts."""
    async with manager.session() as session:
        audit.record_in(session, "first.added", stream="s")
        await session.execute(text("SELECT 1"))
        with anyio.fail_after(60):
            await audit.record("second", stream="s")
            await audit.record("third", stream="other")
    links = await audit.store.read("s", after=0, limit=9)
    assert ["second", "first.added"] == [link.action for link in links]


@pytest.mark.requirement("OBS-A1")
@pytest.mark.parametrize("database_url", ["psycopg"], indirect=True)
async def test_a_transaction_that_stays_open_after_it_has_written_stops_its_own_stream_only(
    store, own_manager, manager, keys
) -> None:
    """OBS-A1: a commit that hangs holds its stream up, for a bounded time; others don't wait."""
    quick = AuditLog(SqlAuditStore(own_manager, keys, lock_timeout=0.2))
    async with manager.sessions() as session:
        connection = await session.connection()
        await connection.run_sync(append_links, [Draft("s", AuditEntry(action="held"))], keys, lock_timeout=5)
        with anyio.fail_after(60):
            await quick.record("free", stream="other")
            with pytest.raises(AuditUnavailableError):
                await quick.record("waits", stream="s")
        await session.commit()
    assert 2 == (await quick.record("after", stream="s")).sequence


@pytest.mark.requirement("OBS-A1")
@pytest.mark.parametrize("database_url", ["psycopg"], indirect=True)
async def test_a_transaction_with_an_old_view_is_run_again(audit, manager, store, keys) -> None:
    """OBS-A1: in REPEATABLE READ a transaction sees the chain as it was; the guard refuses, and the retry succeeds."""
    attempts = 0

    async def work(session):
        nonlocal attempts
        attempts += 1
        await session.execute(text("SELECT count(*) FROM audit_entries"))
        if attempts == 1:
            await audit.record("between", stream="s")
        audit.record_in(session, "late", stream="s")

    with pytest.raises(ChainConflictError):
        await manager.transaction(work, retries=Retries(attempts=1), isolation_level="REPEATABLE READ")
    attempts = 0
    await manager.transaction(work, isolation_level="REPEATABLE READ")
    assert 2 == attempts
    links = await store.read("s", after=0, limit=9)
    assert ["between", "between", "late"] == [link.action for link in links]
    assert (await verify_store(store, keys)).is_sound


@pytest.mark.requirement("OBS-A1")
@pytest.mark.parametrize("database_url", ["psycopg"], indirect=True)
async def test_transactions_with_several_streams_do_not_deadlock(audit, manager, store, keys) -> None:
    """Two transactions that add to the same streams in opposite orders lock them in one order."""

    async def write(streams):
        for _ in range(10):
            async with manager.session() as session:
                await session.execute(text("SELECT 1"))
                for stream in streams:
                    audit.record_in(session, "a", stream=stream)

    async with anyio.create_task_group() as tasks:
        for streams in (["x", "y", "z"], ["z", "y", "x"], ["y", "z", "x"]):
            tasks.start_soon(write, streams)
    report = await verify_store(store, keys)
    assert ([], 90, 3) == (report.findings, report.entries, report.streams)
