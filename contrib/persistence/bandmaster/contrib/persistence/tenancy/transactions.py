"""Whose rows a transaction may see: set when it begins, by the engine, and gone when it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sqlalchemy import Connection, Engine, event

from bandmaster.contrib.persistence.errors import TenantIsolationError, TenantMissingError
from bandmaster.contrib.web import tenant

_NOBODY: ContextVar[bool] = ContextVar("bandmaster.no_tenant", default=False)


@contextmanager
def no_tenant() -> Iterator[None]:
    """Let transactions begin without a tenant: they see no tenant's rows and can't write any.

    For tables that belong to nobody, such as the list of tenants. Work across tenants is no flag but a
    `DatabaseManager` of its own, with a role of its own.
    """
    token = _NOBODY.set(True)
    try:
        yield
    finally:
        _NOBODY.reset(token)


def whose() -> str | None:
    """The tenant for which a transaction begins here: the request context's; empty inside of `no_tenant`."""
    return "" if _NOBODY.get() else tenant()


def set_locally(engine: Engine, values: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """A statement in the driver's own style that sets PostgreSQL's settings until the transaction ends, and its values.

    Of no settings it is no statement.
    """
    numbered = engine.dialect.paramstyle == "numeric_dollar"
    calls = [
        f"set_config(${2 * place + 1}, ${2 * place + 2}, true)" if numbered else "set_config(%s, %s, true)"
        for place in range(len(values))
    ]
    return f"SELECT {', '.join(calls)}", tuple(word for pair in values.items() for word in pair)


def guard(engine: Engine, setting: str, besides: Mapping[str, str] | None = None, *, insists: bool = True) -> None:
    """Let every transaction of an engine be for the tenant that `whose` names when it begins.

    Hung on the engine, not on sessions: connections without a session pass here, too. The value is transaction-local
    (``set_config(..., true)``), so that no pooled connection keeps it. Where there is no tenant nothing begins, unless
    it doesn't insist: then policies find no tenant set, and show nothing. ``besides`` are settings for every
    transaction.
    """
    besides = besides or {}
    whole, (*values, _) = set_locally(engine, {**besides, setting: ""})
    rest, _ = set_locally(engine, besides)

    def begin(connection: Connection) -> None:
        name = whose()
        if name is None and insists:
            raise TenantMissingError(
                "a transaction was to begin without a tenant: set one (bandmaster.contrib.web.set_tenant, or "
                "request_context(tenant=...) around a task), or say no_tenant() for tables that belong to nobody"
            )
        if (name is not None or besides) and _commits_by_itself(connection):
            if insists:
                raise TenantIsolationError(
                    "AUTOCOMMIT has no transaction for a tenant to be set in: leave the isolation level alone, or use "
                    "a manager without tenant isolation"
                )
        elif name is not None:
            connection.exec_driver_sql(whole, (*values, name))
        elif besides:
            connection.exec_driver_sql(rest, tuple(values))

    event.listen(engine, "begin", begin)
    if not insists:
        return

    def begin_twophase(connection: Connection, xid: Any) -> None:
        # Drivers insist on beginning these themselves, and SQLAlchemy has no event for when they have.
        raise TenantIsolationError(
            "two-phase transactions have no tenant: use a manager without tenant isolation, or an outbox"
        )

    def execute(connection: Connection, cursor: Any, sql: str, *_: Any) -> None:
        # SQLAlchemy doesn't begin again on a connection where the first try was refused.
        if not connection.in_transaction() and sql != whole:
            raise TenantMissingError("a statement was to run outside of a transaction, where no tenant is set")

    event.listen(engine, "begin_twophase", begin_twophase)
    event.listen(engine, "before_cursor_execute", execute)


def _commits_by_itself(connection: Connection) -> bool:
    level = connection.get_execution_options().get("isolation_level")
    if level is None:
        level = connection.engine.get_execution_options().get("isolation_level")
    if level is not None:
        return str(level).upper() == "AUTOCOMMIT"
    return bool(getattr(connection.connection.dbapi_connection, "autocommit", False))
