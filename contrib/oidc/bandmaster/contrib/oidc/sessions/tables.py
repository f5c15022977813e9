"""The tables of login sessions, and their migrations."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, Index, MetaData, String, Table, Text

metadata = MetaData()

sessions_table = Table(
    "auth_sessions",
    metadata,
    Column("id", String(64), primary_key=True, comment="SHA-256 of the session's id"),
    Column("subject", String(64), nullable=False, comment="SHA-256 of issuer and subject"),
    Column("sid", String(64), comment="SHA-256 of issuer and sid"),
    Column("record", Text, nullable=False, comment="The session, encrypted"),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Index("ix_auth_sessions_subject", "subject"),
    Index("ix_auth_sessions_sid", "sid"),
    Index("ix_auth_sessions_expires_at", "expires_at"),
)
"""Sessions. No tenant column: the user of a request is known before the tenant."""

locks_table = Table(
    "auth_session_locks",
    metadata,
    Column("id", String(64), primary_key=True, comment="SHA-256 of the session's id"),
    Column("owner", String(32), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
)
"""Locks of sessions, while they are held."""
