"""The component that provides the session store in the database, and the migrations of the tables."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING

from bandmaster.contrib.oidc.extras import has_extra
from bandmaster.contrib.oidc.sessions.component import find_session_problems
from bandmaster.contrib.oidc.sessions.settings import SessionSettings
from bandmaster.contrib.oidc.sessions.store import SessionStore
from bandmaster.contrib.oidc.settings import AuthSettings
from bandmaster.kernel import Context, LifespanBand, leave_out_component, leave_out_value, lifespan


def keeps_sql(settings: SessionSettings) -> bool:
    """Whether sessions are kept in the database."""
    return settings.store == "sql"


if TYPE_CHECKING or has_extra("sql"):
    from bandmaster.contrib.oidc.sessions.tables import metadata
    from bandmaster.contrib.persistence import DatabaseManager, DatabaseSchema, migrations

    @lifespan(band=LifespanBand.SERVICES, name="session_store_sql", when=keeps_sql, check=find_session_problems)
    async def session_store_sql(
        settings: SessionSettings,
        auth: AuthSettings,
        manager: DatabaseManager,
        schema: DatabaseSchema,
        context: Context,
    ) -> AsyncIterator[SessionStore]:
        """Login sessions in the database, where expired ones are deleted from time to time."""
        from bandmaster.contrib.oidc.sessions.cipher import Cipher
        from bandmaster.contrib.oidc.sessions.records import PURPOSE
        from bandmaster.contrib.oidc.sessions.sql_store import SqlSessionStore

        store = SqlSessionStore(
            manager, Cipher(settings.keys, PURPOSE), lease=settings.lock_lease, lock_wait=settings.lock_wait
        )

        async def purge() -> None:
            await context.wait_ready()
            await store.purge_forever(settings.purge_interval)

        context.supervise(purge)
        yield store

    session_migrations = replace(
        migrations("auth_sessions", "bandmaster.contrib.oidc.sessions:migrations", metadata=metadata), when=keeps_sql
    )
else:
    session_store_sql = leave_out_component("session_store_sql", "sql")
    session_migrations = leave_out_value("auth_sessions_migrations", "sql")
