"""A process that adds entries to the audit trail with many writers at the same time; the tests start several."""

import json
import sys

import anyio
from pydantic import SecretStr
from sqlalchemy import text

from bandmaster.contrib.audit import AuditLog, ChainKeys, SqlAuditStore
from bandmaster.contrib.persistence import DatabaseManager, DatabaseSettings, Retries


async def write_own(audit, manager, number, count, stream):
    """Entries in transactions of their own."""
    for n in range(count):
        await audit.record("own", resource_id=f"{number}.{n}", actor=f"writer-{number}", stream=stream)


async def write_shared(audit, manager, number, count, stream):
    """Entries in transactions of the application, that read first and hold what they have read."""
    for n in range(count):

        async def work(session, n=n):
            await session.execute(text("SELECT 1"))
            await anyio.sleep(0)
            audit.record_in(session, "shared", resource_id=f"{number}.{n}", actor=f"writer-{number}", stream=stream)

        await manager.transaction(work, retries=Retries(attempts=50))


async def main(url, key, writers, count, stream):
    settings = DatabaseSettings(
        url=url, pool_size=4, max_overflow=0, pool_timeout=300, connect_timeout=60, slow_query=0, lock_timeout=120
    )
    manager = DatabaseManager(settings)
    own = DatabaseManager(settings.model_copy(update={"pool_size": 2}), "audit")
    audit = AuditLog(SqlAuditStore(own, ChainKeys({"2026": SecretStr(key)}), lock_timeout=120, application=manager))
    print("ready", flush=True)
    await anyio.to_thread.run_sync(sys.stdin.readline)
    async with anyio.create_task_group() as tasks:
        for number in range(writers):
            write = write_own if number % 2 else write_shared
            tasks.start_soon(write, audit, manager, number, count, stream)
    await own.dispose()
    await manager.dispose()


if __name__ == "__main__":
    anyio.run(main, *json.loads(sys.argv[1]))
