"""The cost of a managed database: a transaction with tenant isolation, and a start, compared with plain SQLAlchemy.

    python benchmarks/bench_persistence.py [--rounds 15] [--transactions 300]

The benchmark starts a PostgreSQL on loopback without fsync, so that the cost of this package is the largest share.
Times are wall clock, variants in random order within each round; ratios are the medians of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping

from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from bandmaster.contrib.persistence import DatabaseManager, DatabaseSettings, database
from bandmaster.contrib.persistence.testing import PostgresDatabase, fresh_database, postgres_server
from bandmaster.contrib.web import request_context
from bandmaster.kernel import Kernel
from bandmaster.kernel.events import ComponentStarted

DRIVERS = ("psycopg", "asyncpg")
SCHEMA = """
CREATE TABLE notes (id serial PRIMARY KEY, tenant_id text NOT NULL, said text NOT NULL);
INSERT INTO notes (tenant_id, said) SELECT 't' || n % 20, 'note ' || n FROM generate_series(1, 200) AS n;
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE notes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON notes USING (tenant_id = (SELECT NULLIF(current_setting('app.tenant', true), '')));
"""
READ = text("SELECT said FROM notes WHERE id = :id")
WRITE = text("UPDATE notes SET said = said WHERE id = :id")

Transaction = Callable[[], Awaitable[object]]


def settings(url: str, **options: object) -> DatabaseSettings:
    return DatabaseSettings.model_validate({"url": url, "pool_size": 3, "max_overflow": 0, "slow_query": 0, **options})


def build_by_hand(url: str, *, guarded: bool) -> tuple[Transaction, Callable[[], Awaitable[None]]]:
    """Plain SQLAlchemy; with ``guarded`` a listener sets the tenant of each transaction."""
    engine = create_async_engine(url, pool_size=3, max_overflow=0, pool_pre_ping=True)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    if guarded:

        def begin(connection: object) -> None:
            connection.exec_driver_sql(  # type: ignore[attr-defined]
                "SELECT set_config('app.tenant', 't1', true)"
            )

        event.listen(engine.sync_engine, "begin", begin)

    async def transaction() -> None:
        async with sessions.begin() as session:
            await session.execute(READ, {"id": 1})
            await session.execute(WRITE, {"id": 1})

    return transaction, engine.dispose


def build_managed(url: str, *, guarded: bool) -> tuple[Transaction, Callable[[], Awaitable[None]]]:
    manager = DatabaseManager(settings(url, tenant_isolation="rls" if guarded else "off"))

    async def transaction() -> None:
        async with manager.session() as session:
            await session.execute(READ, {"id": 1})
            await session.execute(WRITE, {"id": 1})

    return transaction, manager.dispose


async def transactions(database: PostgresDatabase, rounds: int, count: int) -> None:
    print("| driver | transaction of two statements | µs | ratio |")
    print("|---|---|---|---|")
    for driver in DRIVERS:
        url = database.app_url(driver)
        variants: Mapping[str, tuple[Transaction, Callable[[], Awaitable[None]]]] = {
            "SQLAlchemy by hand": build_by_hand(url, guarded=False),
            "SQLAlchemy by hand, tenant set in `begin`": build_by_hand(url, guarded=True),
            "managed": build_managed(url, guarded=False),
            "managed, tenants isolated": build_managed(url, guarded=True),
        }
        times: dict[str, list[float]] = {name: [] for name in variants}
        with request_context(tenant="t1"):
            for turn in range(rounds + 1):
                for name in random.sample(list(variants), len(variants)):
                    run = variants[name][0]
                    began = time.perf_counter()
                    for _ in range(count):
                        await run()
                    if turn:  # the first warms up
                        times[name].append((time.perf_counter() - began) / count * 1e6)
        for _, dispose in variants.values():
            await dispose()
        for name, base in (
            ("SQLAlchemy by hand", "SQLAlchemy by hand"),
            ("SQLAlchemy by hand, tenant set in `begin`", "SQLAlchemy by hand"),
            ("managed", "SQLAlchemy by hand"),
            ("managed, tenants isolated", "SQLAlchemy by hand, tenant set in `begin`"),
            ("managed, tenants isolated", "managed"),
        ):
            ratio = statistics.median(a / b for a, b in zip(times[name], times[base], strict=True))
            print(f"| {driver} | {name} / {base} | {statistics.median(times[name]):.0f} | {ratio:.2f} |")


async def starts(database_: PostgresDatabase, rounds: int) -> None:
    print("| driver | start to ready | ms | ratio |")
    print("|---|---|---|---|")
    for driver in DRIVERS:
        url = database_.app_url(driver)
        usual, isolated = settings(url), settings(url, tenant_isolation="rls")

        async def engine_and_select(url: str = url) -> float:
            began = time.perf_counter()
            engine = create_async_engine(url, pool_size=10, max_overflow=5)
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
            took = time.perf_counter() - began
            await engine.dispose()
            return took

        async def manager_and_check(read: DatabaseSettings = usual) -> float:
            began = time.perf_counter()
            manager = DatabaseManager(read)
            await manager.check()
            took = time.perf_counter() - began
            await manager.dispose()
            return took

        async def component(read: DatabaseSettings = usual) -> float:
            """The time of the component alone, without planning."""
            kernel = Kernel(contributions=[database], discover=False, overrides={DatabaseSettings: read})
            own = []
            with kernel.listening(lambda event: own.append(event.own) if isinstance(event, ComponentStarted) else None):
                async with kernel.running():
                    pass
            return own[0]

        async def whole_kernel(read: DatabaseSettings = usual) -> float:
            kernel = Kernel(contributions=[database], discover=False, overrides={DatabaseSettings: read})
            began = time.perf_counter()
            async with kernel.running():
                return time.perf_counter() - began

        async def component_with_audit(read: DatabaseSettings = isolated) -> float:
            return await component(read)

        variants = {
            "engine + SELECT 1": engine_and_select,
            "manager and check": manager_and_check,
            "component, with budget": component,
            "component, with budget and audit": component_with_audit,
            "a kernel of that component alone, planned and started": whole_kernel,
        }
        times: dict[str, list[float]] = {name: [] for name in variants}
        for turn in range(rounds + 2):
            for name in random.sample(list(variants), len(variants)):
                took = await variants[name]()
                if turn > 1:
                    times[name].append(took * 1000)
        for name in variants:
            ratio = statistics.median(a / b for a, b in zip(times[name], times["engine + SELECT 1"], strict=True))
            print(f"| {driver} | {name} | {statistics.median(times[name]):.2f} | {ratio:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--transactions", type=int, default=300)
    arguments = parser.parse_args()
    logging.getLogger("bandmaster").setLevel(logging.ERROR)
    with postgres_server() as server, fresh_database(server) as database_:
        with server.connect(database_.name) as connection:
            connection.execute(SCHEMA)
            connection.execute(f"GRANT SELECT, UPDATE ON notes TO {database_.app}".encode())
        asyncio.run(transactions(database_, arguments.rounds, arguments.transactions))
        print()
        asyncio.run(starts(database_, 4 * arguments.rounds))


if __name__ == "__main__":
    main()
