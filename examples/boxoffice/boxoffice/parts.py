"""The contributions of the box office: components, routes, an error handler, migrations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
from pydantic import Field, NonNegativeFloat, PositiveFloat
from pydantic_settings import SettingsConfigDict
from sqlalchemy import select

from bandmaster.contrib.oidc import ApiKeySettings, AuthSettings
from bandmaster.contrib.persistence import DatabaseManager, DatabaseSchema, no_tenant, outbox_relay
from bandmaster.contrib.web import problem_type, request_context
from bandmaster.kernel import Context, LifespanBand, Restart, RouteContribution, Settings, TransientError, lifespan
from boxoffice.feed import Feed
from boxoffice.houses import Houses
from boxoffice.models import House, box_office_migrations, outbox
from boxoffice.printer import TicketPrinter
from boxoffice.sales import BoxOffice, SoldOutError

__all__ = [
    "accounts",
    "box_office",
    "box_office_migrations",
    "feed",
    "houses",
    "routes",
    "sold_out",
    "ticket_printer",
    "tickets_outbox",
]


class BoxOfficeSettings(Settings):
    """Read from environment variables that begin with ``BOXOFFICE_``."""

    model_config = SettingsConfigDict(env_prefix="BOXOFFICE_")

    hold_seconds: PositiveFloat = Field(default=60, description="Seconds for which seats are held.")
    seconds_per_ticket: NonNegativeFloat = Field(default=0.2, description="Seconds that printing a ticket takes.")


@lifespan(band=LifespanBand.MESSAGING, start_timeout=5, stop_timeout=2, roles={"web"})
async def feed(context: Context) -> AsyncIterator[Feed]:
    """Publishes every change to the listeners."""
    feed = Feed()
    # Streams to browsers never end by themselves, and the drain waits for them.
    context.on_drain(feed.close)
    yield feed


@lifespan(band=LifespanBand.SERVICES, start_timeout=10)
async def houses(manager: DatabaseManager, schema: DatabaseSchema) -> AsyncIterator[Houses]:
    """Reads the list of houses once, at the start."""
    with no_tenant():  # the list of houses belongs to no tenant
        async with manager.session() as session:
            found = {house.id: house.title for house in await session.scalars(select(House).order_by(House.title))}
    yield Houses(found)


@lifespan(band=LifespanBand.SERVICES, start_timeout=10, stop_timeout=5, roles={"web"})
async def box_office(
    settings: BoxOfficeSettings, manager: DatabaseManager, houses: Houses, feed: Feed, context: Context
) -> AsyncIterator[BoxOffice]:
    """Sells seats and releases expired holds."""
    office = BoxOffice(settings.hold_seconds)

    async def expire_holds() -> None:
        while True:
            await anyio.sleep(min(1.0, settings.hold_seconds / 2))
            for house in houses.titles:
                with request_context(tenant=house):
                    try:
                        async with manager.session() as session:
                            released = await office.expire(session, house)
                    except TransientError:
                        continue  # the next round tries again
                for show, seats in released:
                    feed.publish(house, {"kind": "released", "show": show, "seats": seats})

    context.supervise(expire_holds, restart=Restart(when="always"))
    yield office


@lifespan(band=LifespanBand.SERVICES)
async def ticket_printer(settings: BoxOfficeSettings) -> AsyncIterator[TicketPrinter]:
    """Prints tickets in every process that runs tasks."""
    yield TicketPrinter(settings.seconds_per_ticket)


tickets_outbox = outbox_relay(outbox.table, name="tickets_outbox")


def _build_routes(host: Any) -> Any:
    # Imported only when an application is composed: describing parts needs no FastAPI.
    from boxoffice.hosting import adapt_routes
    from boxoffice.routes import router

    return adapt_routes(router, host)


routes = RouteContribution(name="box_office", routes=_build_routes, tags=("box office",))


def _has_accounts(auth: AuthSettings, keys: ApiKeySettings) -> bool:
    return auth.has_login and keys.is_enabled


def _build_accounts(host: Any) -> Any:
    from boxoffice.accounts import router
    from boxoffice.hosting import adapt_routes

    return adapt_routes(router, host)


accounts = RouteContribution(name="accounts", routes=_build_accounts, when=_has_accounts, tags=("accounts",))

sold_out = problem_type(SoldOutError, name="sold_out", status=409, title="Sold out", detail=str)
