"""Check a database at the start, or as soon as the server can be reached."""

from __future__ import annotations

from functools import partial

import anyio
from sqlalchemy.ext.asyncio import AsyncConnection

from bandmaster.contrib.persistence.connection_limit import read_connection_limit
from bandmaster.contrib.persistence.log import log
from bandmaster.contrib.persistence.manager import DatabaseManager
from bandmaster.contrib.persistence.settings import DatabaseSettings
from bandmaster.contrib.persistence.tenancy.isolation_check import check_isolation
from bandmaster.kernel import Context, Restart, TransientError

BUDGET = "postgres"
"""The name of the budget for connections to PostgreSQL."""

_PAUSE = 1.0
"""Seconds between two tries to reach a database that was away at the start."""


async def check_server(manager: DatabaseManager, context: Context) -> None:
    """Check that the database can be reached, allows the connections of the plan, and keeps tenants apart.

    A database that isn't critical may be away. The check then follows once the server can be reached. Until then the
    manager refuses connections. A later check that fails stops the plan.

    Raises:
        DatabaseUnavailableError: the database can't be reached, and is critical.
        DatabaseRefusedError: the database refuses user, password or name.
        BudgetExceededError, TenantIsolationError: a check has failed.
    """
    try:
        await _check_now(manager, context)
    except TransientError as error:
        if manager.settings.critical:
            raise
        log().warning(
            "the database is away, and the start goes on without it",
            database=manager.name,
            error=str(error),
            hint=f"it is tried again every second; with {manager.settings.variable('critical')}=true the start fails",
        )
        manager.refuse_connections()
        # Once is enough: the service is ended by the failure of a check, which also ends a start.
        restart = Restart(intensity=0)
        context.supervise(partial(_check_when_back, manager, context), name="check", restart=restart)


async def _check_when_back(manager: DatabaseManager, context: Context) -> None:
    while True:
        await anyio.sleep(_PAUSE)
        try:
            await _check_now(manager, context)
        except TransientError:
            continue
        manager.allow_connections()
        log().info("the database can be reached", database=manager.name)
        return


async def _check_now(manager: DatabaseManager, context: Context) -> None:
    async with manager.reached() as connection:
        if manager.settings.is_postgresql:
            await _check_budget(connection, manager.settings, context)
            await check_isolation(connection, manager.settings, manager.name)


async def _check_budget(connection: AsyncConnection, settings: DatabaseSettings, context: Context) -> None:
    # Behind PgBouncer its own limits apply, and PostgreSQL doesn't know them.
    if not settings.pgbouncer:
        context.check_budget(BUDGET, await read_connection_limit(connection))
    elif BUDGET in context.settings.limits:
        context.check_budget(BUDGET, context.settings.limits[BUDGET])
