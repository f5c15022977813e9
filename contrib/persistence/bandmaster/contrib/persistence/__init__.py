"""Databases that start, isolate tenants, migrate and stop: SQLAlchemy, PostgreSQL row-level security, Alembic."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bandmaster.contrib.persistence.component import (
        database,
        database_component,
        database_schema,
        database_session,
        database_sync_session,
    )
    from bandmaster.contrib.persistence.errors import (
        DatabaseClosedError,
        DatabaseRefusedError,
        DatabaseUnavailableError,
        PermanentDatabaseError,
        PoolTimeoutError,
        TenantIsolationError,
        TenantMissingError,
        TransientDatabaseError,
    )
    from bandmaster.contrib.persistence.manager import DatabaseManager
    from bandmaster.contrib.persistence.migration.branches import MigrationError, Migrations
    from bandmaster.contrib.persistence.migration.contribution import collect, migrations
    from bandmaster.contrib.persistence.migration.locking import MigrationLockedError
    from bandmaster.contrib.persistence.migration.schema_check import DatabaseSchema
    from bandmaster.contrib.persistence.migration.state import Revision
    from bandmaster.contrib.persistence.outbox.messages import Outbox, OutboxMessage, Publisher, outbox_table
    from bandmaster.contrib.persistence.outbox.relay import OutboxGauge, OutboxRelay, OutboxSettings, outbox_relay
    from bandmaster.contrib.persistence.pool_gauges import HasGauges, PoolGauge
    from bandmaster.contrib.persistence.retries import Retries
    from bandmaster.contrib.persistence.settings import DatabaseSettings
    from bandmaster.contrib.persistence.tenancy.audit import Audit, Finding, audit_isolation
    from bandmaster.contrib.persistence.tenancy.row_security import TenantPolicy, protect
    from bandmaster.contrib.persistence.tenancy.transactions import no_tenant

# The module of each public name. A name is imported at its first use (PEP 562): code that describes a table needs no
# engine, and code that migrates needs no component.
_HOMES = {
    "Audit": "tenancy.audit",
    "DatabaseClosedError": "errors",
    "DatabaseManager": "manager",
    "DatabaseRefusedError": "errors",
    "DatabaseSchema": "migration.schema_check",
    "DatabaseSettings": "settings",
    "DatabaseUnavailableError": "errors",
    "Finding": "tenancy.audit",
    "HasGauges": "pool_gauges",
    "MigrationError": "migration.branches",
    "MigrationLockedError": "migration.locking",
    "Migrations": "migration.branches",
    "Outbox": "outbox.messages",
    "OutboxGauge": "outbox.relay",
    "OutboxMessage": "outbox.messages",
    "OutboxRelay": "outbox.relay",
    "OutboxSettings": "outbox.relay",
    "PermanentDatabaseError": "errors",
    "PoolGauge": "pool_gauges",
    "PoolTimeoutError": "errors",
    "Publisher": "outbox.messages",
    "Retries": "retries",
    "Revision": "migration.state",
    "TenantIsolationError": "errors",
    "TenantMissingError": "errors",
    "TenantPolicy": "tenancy.row_security",
    "TransientDatabaseError": "errors",
    "audit_isolation": "tenancy.audit",
    "collect": "migration.contribution",
    "database": "component",
    "database_component": "component",
    "database_schema": "component",
    "database_session": "component",
    "database_sync_session": "component",
    "migrations": "migration.contribution",
    "no_tenant": "tenancy.transactions",
    "outbox_relay": "outbox.relay",
    "outbox_table": "outbox.messages",
    "protect": "tenancy.row_security",
}

__all__ = [
    "Audit",
    "DatabaseClosedError",
    "DatabaseManager",
    "DatabaseRefusedError",
    "DatabaseSchema",
    "DatabaseSettings",
    "DatabaseUnavailableError",
    "Finding",
    "HasGauges",
    "MigrationError",
    "MigrationLockedError",
    "Migrations",
    "Outbox",
    "OutboxGauge",
    "OutboxMessage",
    "OutboxRelay",
    "OutboxSettings",
    "PermanentDatabaseError",
    "PoolGauge",
    "PoolTimeoutError",
    "Publisher",
    "Retries",
    "Revision",
    "TenantIsolationError",
    "TenantMissingError",
    "TenantPolicy",
    "TransientDatabaseError",
    "audit_isolation",
    "collect",
    "database",
    "database_component",
    "database_schema",
    "database_session",
    "database_sync_session",
    "migrations",
    "no_tenant",
    "outbox_relay",
    "outbox_table",
    "protect",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
