"""How many connections PostgreSQL has room for."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

# The reserved ones exist since PostgreSQL 16; limits of role and database are -1 where there is none.
_USABLE = """
SELECT current_setting('max_connections')::int
     - current_setting('superuser_reserved_connections')::int
     - COALESCE(current_setting('reserved_connections', true), '0')::int AS server,
    (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS role,
    (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS database
"""


async def usable_connections(connection: AsyncConnection) -> int:
    """The most connections that the role of this one may have to its database."""
    row = (await connection.exec_driver_sql(_USABLE)).one()
    return min([int(row.server), *(int(limit) for limit in (row.role, row.database) if limit >= 0)])
