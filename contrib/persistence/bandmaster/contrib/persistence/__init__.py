"""Databases that start, isolate tenants, migrate and stop: SQLAlchemy, PostgreSQL row-level security, Alembic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.kernel import export_lazily

if TYPE_CHECKING:
    from bandmaster.contrib.persistence.component import database as database
    from bandmaster.contrib.persistence.component import database_component as database_component
    from bandmaster.contrib.persistence.component import database_schema as database_schema
    from bandmaster.contrib.persistence.component import database_session as database_session
    from bandmaster.contrib.persistence.component import database_sync_session as database_sync_session
    from bandmaster.contrib.persistence.engine_observers import EngineObserver as EngineObserver
    from bandmaster.contrib.persistence.errors import DatabaseClosedError as DatabaseClosedError
    from bandmaster.contrib.persistence.errors import DatabaseRefusedError as DatabaseRefusedError
    from bandmaster.contrib.persistence.errors import DatabaseUnavailableError as DatabaseUnavailableError
    from bandmaster.contrib.persistence.errors import PermanentDatabaseError as PermanentDatabaseError
    from bandmaster.contrib.persistence.errors import PoolTimeoutError as PoolTimeoutError
    from bandmaster.contrib.persistence.errors import TenantIsolationError as TenantIsolationError
    from bandmaster.contrib.persistence.errors import TenantMissingError as TenantMissingError
    from bandmaster.contrib.persistence.errors import TransientDatabaseError as TransientDatabaseError
    from bandmaster.contrib.persistence.manager import DatabaseManager as DatabaseManager
    from bandmaster.contrib.persistence.migration.branches import MigrationError as MigrationError
    from bandmaster.contrib.persistence.migration.branches import Migrations as Migrations
    from bandmaster.contrib.persistence.migration.contribution import collect as collect
    from bandmaster.contrib.persistence.migration.contribution import migrations as migrations
    from bandmaster.contrib.persistence.migration.locking import MigrationLockedError as MigrationLockedError
    from bandmaster.contrib.persistence.migration.schema_check import DatabaseSchema as DatabaseSchema
    from bandmaster.contrib.persistence.migration.state import Revision as Revision
    from bandmaster.contrib.persistence.outbox.messages import Outbox as Outbox
    from bandmaster.contrib.persistence.outbox.messages import OutboxMessage as OutboxMessage
    from bandmaster.contrib.persistence.outbox.messages import Publisher as Publisher
    from bandmaster.contrib.persistence.outbox.messages import outbox_table as outbox_table
    from bandmaster.contrib.persistence.outbox.relay import OutboxGauge as OutboxGauge
    from bandmaster.contrib.persistence.outbox.relay import OutboxRelay as OutboxRelay
    from bandmaster.contrib.persistence.outbox.relay import OutboxSettings as OutboxSettings
    from bandmaster.contrib.persistence.outbox.relay import outbox_relay as outbox_relay
    from bandmaster.contrib.persistence.pool_gauges import HasGauges as HasGauges
    from bandmaster.contrib.persistence.pool_gauges import PoolGauge as PoolGauge
    from bandmaster.contrib.persistence.retries import Retries as Retries
    from bandmaster.contrib.persistence.settings import DatabaseSettings as DatabaseSettings
    from bandmaster.contrib.persistence.tenancy.audit import Audit as Audit
    from bandmaster.contrib.persistence.tenancy.audit import IsolationGap as IsolationGap
    from bandmaster.contrib.persistence.tenancy.audit import audit_isolation as audit_isolation
    from bandmaster.contrib.persistence.tenancy.row_security import TenantPolicy as TenantPolicy
    from bandmaster.contrib.persistence.tenancy.row_security import protect as protect
    from bandmaster.contrib.persistence.tenancy.transactions import no_tenant as no_tenant

# The module of each public name. A name is imported at its first use (PEP 562): code that describes a table needs no
# engine, and code that migrates needs no component.
export_lazily(
    __name__,
    {
        "component": ["database", "database_component", "database_schema", "database_session", "database_sync_session"],
        "engine_observers": ["EngineObserver"],
        "errors": [
            "DatabaseClosedError",
            "DatabaseRefusedError",
            "DatabaseUnavailableError",
            "PermanentDatabaseError",
            "PoolTimeoutError",
            "TenantIsolationError",
            "TenantMissingError",
            "TransientDatabaseError",
        ],
        "manager": ["DatabaseManager"],
        "migration.branches": ["MigrationError", "Migrations"],
        "migration.contribution": ["collect", "migrations"],
        "migration.locking": ["MigrationLockedError"],
        "migration.schema_check": ["DatabaseSchema"],
        "migration.state": ["Revision"],
        "outbox.messages": ["Outbox", "OutboxMessage", "Publisher", "outbox_table"],
        "outbox.relay": ["OutboxGauge", "OutboxRelay", "OutboxSettings", "outbox_relay"],
        "pool_gauges": ["HasGauges", "PoolGauge"],
        "retries": ["Retries"],
        "settings": ["DatabaseSettings"],
        "tenancy.audit": ["Audit", "IsolationGap", "audit_isolation"],
        "tenancy.row_security": ["TenantPolicy", "protect"],
        "tenancy.transactions": ["no_tenant"],
    },
)
