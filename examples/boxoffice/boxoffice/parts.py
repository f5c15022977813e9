"""What the box office contributes to an application: two components, its routes, an error handler."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
from pydantic import Field, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict

from bandmaster.contrib.web import problem_type
from bandmaster.kernel import (
    Context,
    LifespanBand,
    Restart,
    RouteContribution,
    lifespan,
)
from boxoffice.feed import Feed
from boxoffice.sales import BoxOffice, Show, SoldOutError


class BoxOfficeSettings(BaseSettings):
    """Settings of the box office, read from variables that begin with ``BOXOFFICE_``."""

    model_config = SettingsConfigDict(env_prefix="BOXOFFICE_", extra="ignore", frozen=True)

    seats: PositiveInt = Field(40, description="Seats in the house.")
    hold_seconds: PositiveFloat = Field(60, description="Seconds for which seats are held.")


@lifespan(band=LifespanBand.MESSAGING, start_timeout=5, stop_timeout=2)
async def feed(context: Context) -> AsyncIterator[Feed]:
    """Tells every listener of every change."""
    feed = Feed()
    # Streams to browsers have no end of their own: the drain gives them one.
    context.on_drain(feed.close)
    yield feed


@lifespan(band=LifespanBand.SERVICES, start_timeout=10, stop_timeout=5)
async def box_office(settings: BoxOfficeSettings, feed: Feed, context: Context) -> AsyncIterator[BoxOffice]:
    """Sells seats, and gives back those that were held for too long."""
    house = [("aida", "Aida"), ("carmen", "Carmen"), ("tosca", "Tosca")]
    office = BoxOffice(
        [Show(name, title, settings.seats, settings.seats) for name, title in house], settings.hold_seconds
    )

    async def expire_holds() -> None:
        while True:
            await anyio.sleep(min(1.0, settings.hold_seconds / 2))
            for hold in office.expire(anyio.current_time()):
                feed.publish({"kind": "released", "show": hold.show, "seats": hold.seats})

    async def has_shows() -> None:
        if not office.shows:
            raise RuntimeError("no shows")

    context.supervise(expire_holds, restart=Restart(when="always"))
    context.add_probe("box_office", has_shows)
    yield office


def _routes() -> list[object]:
    from boxoffice.routes import routes

    return list(routes)


routes = RouteContribution(name="box_office", routes=_routes, tags=("box office",))


sold_out = problem_type(SoldOutError, name="sold_out", status=409, title="Sold out", detail=str)
