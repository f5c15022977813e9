"""The relay: publishes the messages of an outbox, each at least once, from any number of processes."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar

import anyio
from pydantic import Field
from pydantic_settings import SettingsConfigDict
from sqlalchemy import Table, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bandmaster.contrib.persistence.internal_statements import INTERNAL
from bandmaster.contrib.persistence.log import log
from bandmaster.contrib.persistence.manager import DatabaseManager
from bandmaster.contrib.persistence.outbox.messages import OutboxMessage, Publisher
from bandmaster.contrib.persistence.outbox.trace_headers import restore_trace
from bandmaster.contrib.persistence.tenancy.transactions import no_tenant
from bandmaster.contrib.web import request_context
from bandmaster.kernel import (
    Context,
    LifespanBand,
    LifespanContribution,
    PermanentError,
    Settings,
    TransientError,
    lifespan,
)

_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_SHOWN = 500
"""Characters of an error in the table and in the log."""
_LONGEST_PAUSE = 5.0
"""Seconds between two attempts to reach a lost database, at most."""


class OutboxSettings(Settings):
    """Settings of the relay, read from variables that begin with ``OUTBOX_``. All times are in seconds."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="OUTBOX_")

    poll_interval: _Seconds = Field(default=0.5, description="Seconds between two queries of an empty outbox.")
    batch: int = Field(default=100, ge=1, description="Messages that one transaction takes, at most.")
    batch_time: _Seconds = Field(
        default=10, description="Seconds after which a batch ends; its other messages are taken with the next one."
    )
    publish_timeout: _Seconds = Field(default=10, description="Seconds that publishing one message may take.")
    attempts: int = Field(default=10, ge=1, description="How often a message is tried before it is given up.")
    backoff: _Seconds = Field(default=1, description="Seconds before the second attempt; they double with each.")
    longest_backoff: _Seconds = Field(default=300, description="Seconds between two attempts at most.")


@dataclass(frozen=True, slots=True)
class OutboxGauge:
    """How many messages an outbox holds."""

    waiting: int
    failed: int
    """The number of messages that were given up, and stay in the table."""
    oldest: float
    """Seconds since the oldest waiting message became due."""


class OutboxRelay:
    """Selects due messages, publishes them, and deletes them.

    Messages are locked while they are published (``FOR UPDATE SKIP LOCKED``). So several relays share the work, and the
    messages of a relay that dies are free at once. A message is published twice when a relay dies between publishing
    and deleting it; no message is lost.
    """

    def __init__(self, manager: DatabaseManager, table: Table, publisher: Publisher, settings: OutboxSettings) -> None:
        self._manager = manager
        self._table = table
        self._publisher = publisher
        self._settings = settings

    async def run(self) -> None:
        """Relay until cancelled, and wait for a lost database."""
        pause = self._settings.poll_interval
        while True:
            try:
                taken = await self.relay()
            except TransientError as error:
                log().warning("outbox waits for its database", table=self._table.name, error=_render_error(error))
                await anyio.sleep(pause)
                pause = max(self._settings.poll_interval, min(2 * pause, _LONGEST_PAUSE))
                continue
            pause = self._settings.poll_interval
            if taken < self._settings.batch:
                await anyio.sleep(pause)

    async def relay(self) -> int:
        """Publish one batch of due messages, and return how many were taken.

        Raises:
            TransientDatabaseError: the database was lost; the messages that were published will be published again.
        """
        # The table has no tenant column, and the publisher gets the tenant of each message by its headers.
        with no_tenant():
            async with self._manager.session() as session:
                messages = await self._select_due(session)
                if messages:
                    await self._publish_all(session, messages)
        return len(messages)

    async def gauge(self) -> OutboxGauge:
        """Count the messages of the outbox."""
        table = self._table.c
        waiting = table.failed_at.is_(None)
        query = select(
            func.count().filter(waiting), func.count().filter(~waiting), func.min(table.due_at).filter(waiting)
        ).select_from(self._table)
        with no_tenant():
            async with self._manager.session() as session:
                count, failed, oldest = (await session.execute(query)).one()
        since = 0.0 if oldest is None else (datetime.now(UTC) - _to_utc(oldest)).total_seconds()
        return OutboxGauge(count, failed, max(0.0, since))

    async def _select_due(self, session: AsyncSession) -> list[OutboxMessage]:
        table = self._table.c
        query = (
            select(self._table)
            .where(table.failed_at.is_(None), table.due_at <= datetime.now(UTC))
            .order_by(table.due_at, table.id)
            .limit(self._settings.batch)
            .with_for_update(skip_locked=True)
            .execution_options(**INTERNAL)
        )
        return [
            OutboxMessage(row.id, row.topic, row.payload, row.headers, _to_utc(row.created_at), row.attempts + 1)
            for row in await session.execute(query)
        ]

    async def _publish_all(self, session: AsyncSession, messages: Iterable[OutboxMessage]) -> None:
        done: list[str] = []
        end = anyio.current_time() + self._settings.batch_time
        try:
            for message in messages:
                error = await self._publish(message)
                if error is None:
                    done.append(message.id)
                else:
                    await self._record_failure(session, message, error)
                if anyio.current_time() > end:
                    break
        finally:
            # Also after a cancellation: a published message that is not deleted would be published again.
            if done:
                with anyio.CancelScope(shield=True):
                    await session.execute(delete(self._table).where(self._table.c.id.in_(done)))
                    await session.commit()

    async def _publish(self, message: OutboxMessage) -> Exception | None:
        headers = message.headers
        try:
            with (
                anyio.fail_after(self._settings.publish_timeout),
                request_context(
                    headers.get("request_id"),
                    headers.get("correlation_id"),
                    tenant=headers.get("tenant"),
                    user=headers.get("user"),
                ),
                restore_trace(headers),
            ):
                await self._publisher.publish(message)
        except Exception as error:  # noqa: BLE001  # the other messages must be published all the same
            return error
        return None

    async def _record_failure(self, session: AsyncSession, message: OutboxMessage, error: Exception) -> None:
        settings = self._settings
        gives_up = isinstance(error, PermanentError) or message.attempt >= settings.attempts
        now = datetime.now(UTC)
        pause = min(settings.longest_backoff, settings.backoff * 2.0 ** min(message.attempt - 1, 60))
        # Random between half the pause and all of it, so that messages that failed together are spread out.
        due = now + timedelta(seconds=pause * random.uniform(0.5, 1))  # noqa: S311
        await session.execute(
            update(self._table)
            .where(self._table.c.id == message.id)
            .values(
                attempts=message.attempt,
                error=_render_error(error)[:_SHOWN],
                due_at=due,
                failed_at=now if gives_up else None,
            )
        )
        report = log().error if gives_up else log().warning
        report(
            "outbox message given up" if gives_up else "outbox message to be retried",
            message=message.id,
            topic=message.topic,
            attempt=message.attempt,
            error=_render_error(error)[:_SHOWN],
        )


def outbox_relay(
    table: Table, *, name: str = "outbox_relay", roles: Iterable[str] | None = None
) -> LifespanContribution:
    """The relay of an outbox as a component, which publishes once the application is ready.

    The relays of several processes share the work; ``roles`` restricts the relay to processes of these roles.
    """

    async def relay(
        manager: DatabaseManager, publisher: Publisher, settings: OutboxSettings, context: Context
    ) -> AsyncIterator[OutboxRelay]:
        outbox = OutboxRelay(manager, table, publisher, settings)

        async def run() -> None:
            await context.wait_ready()
            await outbox.run()

        context.supervise(run, name=context.name)
        yield outbox

    return lifespan(
        band=LifespanBand.SERVICES, name=name, roles=roles, description=f"Publishes the messages in {table.name!r}."
    )(relay)


def _to_utc(moment: datetime) -> datetime:
    # SQLite stores no time zone; the values were written in UTC.
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _render_error(error: Any) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
