"""Measure the audit trail on PostgreSQL: entries per second, what an open transaction holds up, and verification.

python -m benchmarks.bench_audit [--entries 2000] [--verify 20000]
"""

from __future__ import annotations

import argparse
import statistics
import time
import tracemalloc

import anyio
import sqlalchemy as sa
from pydantic import SecretStr

from bandmaster.contrib.audit import AuditEntry, AuditLog, ChainKeys, SqlAuditStore, verify_store
from bandmaster.contrib.audit.stores.append import append_links
from bandmaster.contrib.audit.stores.store import Draft
from bandmaster.contrib.audit.stores.tables import audit_migrations
from bandmaster.contrib.persistence import DatabaseManager, DatabaseSettings
from bandmaster.contrib.persistence.migration import migrate
from bandmaster.contrib.persistence.testing import fresh_database, postgres_server

KEYS = ChainKeys({"bench": SecretStr("k" * 40)})


async def write(audit, entries, writers, streams):
    """Entries per second of concurrent writers."""
    began = time.perf_counter()
    times = []

    async def run(number):
        for _ in range(entries // writers):
            start = time.perf_counter()
            await audit.record("bench.write", actor="ann", stream=f"s{number % streams}", details={"n": number})
            times.append(time.perf_counter() - start)

    async with anyio.create_task_group() as tasks:
        for number in range(writers):
            tasks.start_soon(run, number)
    return len(times) / (time.perf_counter() - began), statistics.median(times) * 1000


async def hold(manager, audit, seconds):
    """How long entries wait while a transaction that has added one stays open: before its commit, and after writing."""
    waited = {}
    async with manager.session() as session:
        audit.record_in(session, "bench.open", stream="held")
        await session.execute(sa.text("SELECT 1"))
        began = time.perf_counter()
        await audit.record("bench.same", stream="held")
        waited["same stream, added and not yet committed"] = time.perf_counter() - began
    async with manager.sessions() as session:
        connection = await session.connection()
        await connection.run_sync(append_links, [Draft("held", AuditEntry(action="a"))], KEYS, lock_timeout=5)

        async def measure(name, stream):
            began = time.perf_counter()
            await audit.record("bench.wait", stream=stream)
            waited[name] = time.perf_counter() - began

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(measure, "same stream, written and not yet committed", "held")
            tasks.start_soon(measure, "another stream", "free")
            await anyio.sleep(seconds)
            await session.commit()
    return waited


async def main(url, entries, verified):
    settings = DatabaseSettings(url=url, slow_query=0, connect_timeout=20)
    await migrate.upgrade(sa.make_url(settings.url), (audit_migrations.value,))
    manager = DatabaseManager(settings)
    own = DatabaseManager(settings.model_copy(update={"pool_size": 8, "max_overflow": 0}), "audit")
    store = SqlAuditStore(own, KEYS, application=manager)
    audit = AuditLog(store)
    for writers, streams in ((1, 1), (8, 1), (8, 8)):
        rate, median = await write(audit, entries, writers, streams)
        print(f"{writers} writers, {streams} streams: {rate:,.0f} entries/s, median {median:.1f} ms")
    for name, seconds in (await hold(manager, audit, 1.0)).items():
        print(f"waits for a transaction of 1 s, {name}: {seconds * 1000:.1f} ms")
    for _ in range(verified // 1000):
        await store.append([Draft("big", AuditEntry(action="a", actor="ann", details={"n": n})) for n in range(1000)])
    began = time.perf_counter()
    report = await verify_store(store, KEYS, streams={"big"})
    rate = report.entries / (time.perf_counter() - began)
    tracemalloc.start()
    await verify_store(store, KEYS, streams={"big"})
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    print(f"verification: {rate:,.0f} entries/s, peak {peak:.1f} MiB, sound: {report.is_sound}")
    await own.dispose()
    await manager.dispose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=2000)
    parser.add_argument("--verify", type=int, default=20_000)
    given = parser.parse_args()
    with postgres_server() as server, fresh_database(server) as database:
        anyio.run(main, database.owner_url(), given.entries, given.verify)
