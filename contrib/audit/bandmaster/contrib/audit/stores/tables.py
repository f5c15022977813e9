"""The tables of the audit trail, and the migrations that make them."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import BigInteger, Column, DateTime, Index, MetaData, String, Table, Text

from bandmaster.contrib.audit.chain.link import MAX_STREAM
from bandmaster.contrib.audit.entries.entry import MAX_ACTION, MAX_TEXT
from bandmaster.contrib.audit.settings import AuditSettings
from bandmaster.contrib.persistence import migrations

# Of these tables alone, so that autogenerate of other parts doesn't see them.
metadata = MetaData()
_HASH = String(64)

# The column isn't named tenant_id: entries of all tenants are verified together, and no policy hides any.
entries_table = Table(
    "audit_entries",
    metadata,
    Column("stream", String(MAX_STREAM), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("previous", _HASH, nullable=False),
    Column("hash", _HASH, nullable=False),
    Column("key_id", String(32), nullable=False),
    Column("id", String(32), nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("action", String(MAX_ACTION), nullable=False),
    Column("result", String(16), nullable=False),
    Column("tenant", String(MAX_TEXT)),
    Column("resource_type", String(MAX_TEXT)),
    Column("resource_id", String(MAX_TEXT)),
    Column("request_id", String(MAX_TEXT)),
    Column("correlation_id", String(MAX_TEXT)),
    Column("task", String(MAX_TEXT)),
    Column("task_id", String(MAX_TEXT)),
    Column("schedule", String(MAX_TEXT)),
    # As text, not as JSON of the database, which would change numbers and the order of keys.
    Column("details", Text, nullable=False),
    Column("commitments", Text, nullable=False),
    # No entry has two successors, whatever a writer does: a fork can't be stored.
    Index("uq_audit_entries_previous", "stream", "previous", unique=True),
    Index("uq_audit_entries_id", "id", unique=True),
    Index("ix_audit_entries_at", "at", "stream", "sequence"),
    Index("ix_audit_entries_action", "stream", "action", "sequence"),
    Index("ix_audit_entries_resource", "resource_type", "resource_id"),
    Index("ix_audit_entries_request_id", "request_id"),
)

personal_table = Table(
    "audit_personal",
    metadata,
    Column("stream", String(MAX_STREAM), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("name", String(MAX_TEXT), primary_key=True),
    Column("subject", String(MAX_TEXT)),
    Column("value", Text),
    Column("salt", String(64)),
    Column("erased_by", BigInteger),
    Index("ix_audit_personal_subject", "subject"),
)


def is_in_database(settings: AuditSettings) -> bool:
    """Whether entries are kept in the database."""
    return settings.store == "sql"


audit_migrations = replace(
    migrations("audit", "bandmaster.contrib.audit:migrations", metadata=metadata), when=is_in_database
)
