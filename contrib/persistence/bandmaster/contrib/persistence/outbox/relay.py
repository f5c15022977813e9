"""Hands the messages of an outbox on, at least once each, from as many processes as there are."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar

import anyio
import structlog
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import Table, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bandmaster.contrib.persistence.manager import DatabaseManager
from bandmaster.contrib.persistence.outbox.messages import OutboxMessage, Publisher
from bandmaster.contrib.persistence.tenancy.transactions import no_tenant
from bandmaster.contrib.web import request_context
from bandmaster.kernel import Context, LifespanBand, LifespanContribution, PermanentError, TransientError, lifespan

_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_SHOWN = 500
_LONGEST_PAUSE = 5.0
"""Seconds between two tries to reach a database that is away."""


class OutboxSettings(BaseSettings):
    """Settings of the relay, read from variables that begin with ``OUTBOX_``. All times are in seconds."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="OUTBOX_", extra="ignore", frozen=True)

    poll_interval: _Seconds = Field(default=0.5, description="Seconds between two looks at an outbox that was empty.")
    batch: int = Field(default=100, ge=1, description="Messages that are taken at once.")
    batch_time: _Seconds = Field(
        default=10, description="Seconds after which a batch is ended; what is left of it is taken with the next."
    )
    publish_timeout: _Seconds = Field(default=10, description="Seconds that handing on one message may take.")
    attempts: int = Field(default=10, ge=1, description="How often a message is tried before it is put aside.")
    backoff: _Seconds = Field(default=1, description="Seconds before the second attempt; they double with each.")
    longest_backoff: _Seconds = Field(default=300, description="Seconds between two attempts at most.")


@dataclass(frozen=True, slots=True)
class OutboxGauge:
    """How an outbox stands."""

    waiting: int
    failed: int
    """Put aside: they wait for a person."""
    oldest: float
    """Seconds that the oldest waiting message has been due for."""


class OutboxRelay:
    """Takes what is due, hands it on, and deletes it.

    Messages are locked while they are handed on (``FOR UPDATE SKIP LOCKED``), so that several relays share the work and
    what a dead one held is free at once. A message may be handed on twice, when a relay dies in between; never lost.
    """

    def __init__(self, manager: DatabaseManager, table: Table, publisher: Publisher, settings: OutboxSettings) -> None:
        self._manager = manager
        self._table = table
        self._publisher = publisher
        self._settings = settings
        self._logger = structlog.get_logger("bandmaster.persistence")

    async def run(self) -> None:
        """Go on until cancelled. A database that is away is waited for."""
        pause = self._settings.poll_interval
        while True:
            try:
                taken = await self.relay()
            except TransientError as error:
                self._logger.warning("outbox waits for its database", table=self._table.name, error=_said(error))
                await anyio.sleep(pause)
                pause = max(self._settings.poll_interval, min(2 * pause, _LONGEST_PAUSE))
                continue
            pause = self._settings.poll_interval
            if taken < self._settings.batch:
                await anyio.sleep(pause)

    async def relay(self) -> int:
        """Hand on what is due, one batch at most; how many messages were taken.

        Raises:
            TransientDatabaseError: the database can't be asked; what was handed on will be again.
        """
        # It works for whoever wrote the message, and the table is nobody's.
        with no_tenant():
            async with self._manager.session() as session:
                messages = await self._due(session)
                if messages:
                    await self._hand_on(session, messages)
        return len(messages)

    async def gauge(self) -> OutboxGauge:
        """How the outbox stands."""
        table = self._table.c
        waiting = table.failed_at.is_(None)
        query = select(
            func.count().filter(waiting), func.count().filter(~waiting), func.min(table.due_at).filter(waiting)
        ).select_from(self._table)
        with no_tenant():
            async with self._manager.session() as session:
                count, failed, oldest = (await session.execute(query)).one()
        since = 0.0 if oldest is None else (datetime.now(UTC) - _aware(oldest)).total_seconds()
        return OutboxGauge(count, failed, max(0.0, since))

    async def _due(self, session: AsyncSession) -> list[OutboxMessage]:
        table = self._table.c
        query = (
            select(self._table)
            .where(table.failed_at.is_(None), table.due_at <= datetime.now(UTC))
            .order_by(table.due_at, table.id)
            .limit(self._settings.batch)
            .with_for_update(skip_locked=True)
        )
        return [
            OutboxMessage(row.id, row.topic, row.payload, row.headers, _aware(row.created_at), row.attempts + 1)
            for row in await session.execute(query)
        ]

    async def _hand_on(self, session: AsyncSession, messages: Iterable[OutboxMessage]) -> None:
        done: list[str] = []
        end = anyio.current_time() + self._settings.batch_time
        try:
            for message in messages:
                error = await self._publish(message)
                if error is None:
                    done.append(message.id)
                else:
                    await self._put_off(session, message, error)
                if anyio.current_time() > end:
                    break
        finally:
            # Also when it is cut short: what was handed on needn't be handed on again.
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
            ):
                await self._publisher.publish(message)
        except Exception as error:  # noqa: BLE001  # whatever it is, the others must be handed on
            return error
        return None

    async def _put_off(self, session: AsyncSession, message: OutboxMessage, error: Exception) -> None:
        settings = self._settings
        gives_up = isinstance(error, PermanentError) or message.attempt >= settings.attempts
        now = datetime.now(UTC)
        pause = min(settings.longest_backoff, settings.backoff * 2.0 ** min(message.attempt - 1, 60))
        # Between half of it and all: what failed together needn't come back together.
        due = now + timedelta(seconds=pause * random.uniform(0.5, 1))  # noqa: S311
        await session.execute(
            update(self._table)
            .where(self._table.c.id == message.id)
            .values(
                attempts=message.attempt,
                error=_said(error)[:_SHOWN],
                due_at=due,
                failed_at=now if gives_up else None,
            )
        )
        log = self._logger.error if gives_up else self._logger.warning
        log(
            "outbox message put aside" if gives_up else "outbox message put off",
            message=message.id,
            topic=message.topic,
            attempt=message.attempt,
            error=_said(error)[:_SHOWN],
        )


def outbox_relay(
    table: Table, *, name: str = "outbox_relay", roles: Iterable[str] | None = None
) -> LifespanContribution:
    """The relay of an outbox as a component: it hands on to whatever provides `Publisher`, once everything has started.

    In several processes it shares the work; ``roles`` restricts it to those of some kinds.
    """

    async def relay(
        manager: DatabaseManager, publisher: Publisher, settings: OutboxSettings, context: Context
    ) -> AsyncIterator[OutboxRelay]:
        made = OutboxRelay(manager, table, publisher, settings)

        async def run() -> None:
            await context.wait_ready()
            await made.run()

        context.supervise(run, name=context.name)
        yield made

    return lifespan(
        band=LifespanBand.SERVICES, name=name, roles=roles, description=f"Hands on the messages in {table.name!r}."
    )(relay)


def _aware(moment: datetime) -> datetime:
    # SQLite keeps no zone.
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _said(error: Any) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
