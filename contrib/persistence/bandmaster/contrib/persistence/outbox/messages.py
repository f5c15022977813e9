"""Messages that are published if and only if their transaction commits: the table, and writing to the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import JSON, Column, DateTime, Index, Insert, Integer, MetaData, String, Table, Text, insert
from sqlalchemy.ext.asyncio import AsyncSession

from bandmaster.contrib.persistence.outbox.trace_headers import make_trace_headers
from bandmaster.contrib.web import log_fields, new_request_id

_TOPIC = 200


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A message for a publisher."""

    id: str
    """32 hex digits in the order of time (UUIDv7). Receivers recognise duplicates by the id."""
    topic: str
    payload: Any
    """Any value that JSON can represent."""
    headers: Mapping[str, str]
    """The request context of the writer: ``request_id``, ``correlation_id``, ``tenant``, ``user``.

    Within a trace of OpenTelemetry's also ``traceparent`` and ``tracestate`` (W3C Trace Context).
    """
    created_at: datetime
    attempt: int
    """The number of this attempt, from 1."""


class Publisher(Protocol):
    """Publishes messages to a task queue, a broker or another service."""

    async def publish(self, message: OutboxMessage) -> None:
        """Publish one message; the message is published when this method returns.

        Raises:
            PermanentError: the message can't be published, and isn't tried again; the table keeps it with the error.
            Exception: any other error; the message is tried again.
        """


def outbox_table(metadata: MetaData, name: str = "outbox", *, schema: str | None = None) -> Table:
    """The table of waiting messages. The table has no tenant column, so that one relay publishes for all tenants."""
    table = Table(
        name,
        metadata,
        Column("id", String(32), primary_key=True),
        Column("topic", String(_TOPIC), nullable=False),
        Column("payload", JSON, nullable=False),
        Column("headers", JSON, nullable=False),
        Column("created_at", DateTime(timezone=True), nullable=False),
        Column("due_at", DateTime(timezone=True), nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("failed_at", DateTime(timezone=True)),
        Column("error", Text),
        schema=schema,
    )
    waiting = table.c.failed_at.is_(None)
    Index(f"ix_{name}_due_at", table.c.due_at, postgresql_where=waiting, sqlite_where=waiting)
    return table


class Outbox:
    """Writes messages in the transaction of the data that they are about."""

    def __init__(self, table: Table) -> None:
        self.table = table

    async def add(
        self,
        session: AsyncSession,
        topic: str,
        payload: Any,
        *,
        headers: Mapping[str, str] | None = None,
        delay: float = 0,
    ) -> str:
        """Write a message in the session's transaction, and return the id of the message.

        The message is published if the transaction commits, and not before ``delay`` seconds have passed.

        Raises:
            ValueError: the topic is empty or has more than 200 characters.
        """
        statement, message = self._build_insert(topic, payload, headers, delay)
        await session.execute(statement)
        return message

    def insert(self, topic: str, payload: Any, *, headers: Mapping[str, str] | None = None, delay: float = 0) -> Insert:
        """Like `add`, as a statement for sessions of other kinds.

        Raises:
            ValueError: the topic is empty or has more than 200 characters.
        """
        return self._build_insert(topic, payload, headers, delay)[0]

    def _build_insert(
        self, topic: str, payload: Any, headers: Mapping[str, str] | None, delay: float
    ) -> tuple[Insert, str]:
        if not topic or len(topic) > _TOPIC:
            raise ValueError(f"topic: expected 1 to {_TOPIC} characters, got {topic!r}")
        now = datetime.now(UTC)
        message = new_request_id()
        values = {
            "id": message,
            "topic": topic,
            "payload": payload,
            "headers": {**log_fields(), **make_trace_headers(), **(headers or {})},
            "created_at": now,
            "due_at": now + timedelta(seconds=delay),
            "attempts": 0,
        }
        return insert(self.table).values(values), message
