"""The number of connections that PostgreSQL allows a role."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

# reserved_connections exists since PostgreSQL 16. The limit of a role or a database is -1 where none is set.
_USABLE = """
SELECT current_setting('max_connections')::int
     - current_setting('superuser_reserved_connections')::int
     - COALESCE(current_setting('reserved_connections', true), '0')::int AS server,
    (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS role,
    (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS database
"""


async def read_connection_limit(connection: AsyncConnection) -> int:
    """The most connections to the database that the role of ``connection`` may open."""
    row = (await connection.exec_driver_sql(_USABLE)).one()
    return min([int(row.server), *(int(limit) for limit in (row.role, row.database) if limit >= 0)])
