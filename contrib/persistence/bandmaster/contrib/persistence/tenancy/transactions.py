"""The tenant of a transaction: set by the engine at the beginning, and gone at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sqlalchemy import Connection, Engine, event

from bandmaster.contrib.persistence.errors import TenantIsolationError, TenantMissingError
from bandmaster.contrib.persistence.internal_statements import INTERNAL
from bandmaster.contrib.web import tenant

_NO_TENANT: ContextVar[bool] = ContextVar("bandmaster.no_tenant", default=False)


@contextmanager
def no_tenant() -> Iterator[None]:
    """Let the block's transactions begin without a tenant: they see and write no tenant's rows.

    Use the block for tables without a tenant column, such as the list of tenants. Work across tenants needs a
    `DatabaseManager` of its own, with a role of its own.
    """
    token = _NO_TENANT.set(True)
    try:
        yield
    finally:
        _NO_TENANT.reset(token)


def transaction_tenant() -> str | None:
    """The tenant for a transaction that begins here: the request context's; an empty text inside `no_tenant`."""
    return "" if _NO_TENANT.get() else tenant()


def set_locally(engine: Engine, values: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """A statement that sets PostgreSQL's settings until the transaction ends, and its parameters.

    The placeholders are of the driver's style. ``values`` must not be empty for the statement to be valid SQL.
    """
    numbered = engine.dialect.paramstyle == "numeric_dollar"
    calls = [
        f"set_config(${2 * place + 1}, ${2 * place + 2}, true)" if numbered else "set_config(%s, %s, true)"
        for place in range(len(values))
    ]
    return f"SELECT {', '.join(calls)}", tuple(word for pair in values.items() for word in pair)


def add_tenant_listeners(
    engine: Engine, setting: str, others: Mapping[str, str] | None = None, *, required: bool = True
) -> None:
    """Have every transaction of an engine set ``setting`` to the tenant of `transaction_tenant` when it begins.

    The listeners are the engine's, not a session's, so that connections without a session are bound as well. The value
    is local to the transaction (``set_config(..., true)``), so that no pooled connection keeps a tenant. With
    ``required`` a transaction without a tenant is refused; otherwise it begins, and policies show no rows. ``others``
    are settings for every transaction.
    """
    others = others or {}
    with_tenant, (*values, _) = set_locally(engine, {**others, setting: ""})
    without_tenant, _ = set_locally(engine, others)

    def begin(connection: Connection) -> None:
        name = transaction_tenant()
        if name is None and required:
            raise TenantMissingError(
                "a transaction was to begin without a tenant: set one (bandmaster.contrib.web.set_tenant, or "
                "request_context(tenant=...) around a task), or use no_tenant() for tables without a tenant column"
            )
        if (name is not None or others) and _is_autocommit(connection):
            if required:
                raise TenantIsolationError(
                    "AUTOCOMMIT has no transaction to set the tenant in: remove the isolation level, or use a manager "
                    "without tenant isolation"
                )
        elif name is not None:
            connection.exec_driver_sql(with_tenant, (*values, name), INTERNAL)
        elif others:
            connection.exec_driver_sql(without_tenant, tuple(values), INTERNAL)

    event.listen(engine, "begin", begin)
    if not required:
        return

    def begin_twophase(connection: Connection, xid: Any) -> None:
        # Drivers begin two-phase transactions by themselves, and SQLAlchemy has no event after that.
        raise TenantIsolationError(
            "two-phase transactions have no tenant: use a manager without tenant isolation, or an outbox"
        )

    def execute(connection: Connection, cursor: Any, sql: str, *_: Any) -> None:
        # After a refused begin SQLAlchemy runs statements without another begin.
        if not connection.in_transaction() and sql != with_tenant:
            raise TenantMissingError("a statement was to run outside a transaction, where no tenant is set")

    event.listen(engine, "begin_twophase", begin_twophase)
    event.listen(engine, "before_cursor_execute", execute)


def _is_autocommit(connection: Connection) -> bool:
    level = connection.get_execution_options().get("isolation_level")
    if level is None:
        level = connection.engine.get_execution_options().get("isolation_level")
    if level is not None:
        return str(level).upper() == "AUTOCOMMIT"
    return bool(getattr(connection.connection.dbapi_connection, "autocommit", False))
