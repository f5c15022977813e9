"""Listeners that every engine of this package has: errors, half-made connections, the end, tenants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from traceback import clear_frames
from typing import Any

from sqlalchemy import Dialect, Engine, event
from sqlalchemy.pool import ConnectionPoolEntry

from bandmaster.contrib.persistence.engines.connect_args import session_timeouts
from bandmaster.contrib.persistence.engines.sqlite import add_sqlite_listeners
from bandmaster.contrib.persistence.errors import DatabaseClosedError, translate, unreachable
from bandmaster.contrib.persistence.internal_statements import INTERNAL
from bandmaster.contrib.persistence.settings import DatabaseSettings
from bandmaster.contrib.persistence.tenancy.transactions import add_tenant_listeners, set_locally


def add_listeners(
    engine: Engine, settings: DatabaseSettings, is_closed: Callable[[], bool], *, tenants: bool = False
) -> None:
    """Have an engine translate errors, refuse to connect once ``is_closed``, and begin transactions by the settings.

    With ``tenants`` each transaction is for one tenant, if the settings isolate tenants.
    """

    def refuse_once_closed(dialect: Dialect, record: Any, arguments: Any, options: Any) -> None:
        if is_closed():
            raise DatabaseClosedError(
                "the database was closed with the application; a component that uses the database must "
                "depend on DatabaseManager, so that it is stopped first"
            )

    def close_once_closed(connection: Any, record: ConnectionPoolEntry) -> None:
        # A disposed pool forgets the connections in use, and would keep them open when they are released.
        if is_closed() and connection is not None:
            record.invalidate()

    event.listen(engine, "do_connect", refuse_once_closed)
    event.listen(engine, "checkin", close_once_closed)
    add_error_listeners(engine)
    if engine.dialect.name == "sqlite":
        add_sqlite_listeners(engine)
        return
    # PgBouncer shares one session between clients, so timeouts are set for each transaction.
    timeouts = session_timeouts(settings) if settings.pgbouncer else {}
    if tenants and settings.is_postgresql and settings.tenant_isolation != "off":
        add_tenant_listeners(engine, settings.tenant_setting, timeouts, required=settings.tenant_isolation == "rls")
    elif timeouts:
        statement, values = set_locally(engine, timeouts)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(statement, values, INTERNAL))


def add_error_listeners(engine: Engine) -> None:
    """Have an engine raise this package's errors, and close a connection that is half made when connecting fails."""
    event.listen(engine, "do_connect", connect)
    event.listen(engine, "handle_error", translate)


def connect(dialect: Dialect, record: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Connect by the driver, and close a half-made connection at once when connecting fails or is cancelled.

    This listens to SQLAlchemy's ``do_connect``. psycopg keeps a half-made connection in the frames of the exception,
    which are part of a reference cycle. Until the garbage collector runs, PostgreSQL would wait for the password, for
    up to ``authentication_timeout``, and ``DROP DATABASE`` would wait for that.
    """
    try:
        return dialect.connect(*arguments, **options)
    except BaseException as error:
        clear_frames(error.__traceback__)
        if isinstance(error, OSError):
            # asyncpg raises the network's errors unchanged, and SQLAlchemy wraps only errors of the driver.
            raise unreachable(error) from error
        raise
