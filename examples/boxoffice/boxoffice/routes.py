"""The routes of the box office, for HTTP and WebSockets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Annotated, Any, Literal

import anyio
from fastapi import APIRouter, Depends, HTTPException, Path, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import HTMLResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from bandmaster.contrib.fastapi import Resource
from bandmaster.contrib.persistence import DatabaseManager
from bandmaster.contrib.taskiq import TaskQueue
from bandmaster.contrib.web import request_id, set_tenant
from boxoffice.feed import Feed
from boxoffice.houses import Houses
from boxoffice.models import Sale
from boxoffice.sales import BoxOffice, UnknownError
from boxoffice.tickets import tickets, watch

_LONGEST_WATCH = 300
"""Seconds after which a stream of progress ends. Browsers reconnect by themselves."""
_LARGEST = 2**31 - 1
"""The largest value of an INTEGER column."""
Name = Annotated[str, Path(min_length=1, max_length=40, pattern=r"^[a-z0-9_-]+$")]


class HouseOut(BaseModel):
    """A house that sells seats."""

    id: str
    title: str


class ShowOut(BaseModel):
    """A show with its free seats."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    title: str
    seats: int
    free: int


class HoldIn(BaseModel):
    """The number of seats to hold."""

    model_config = ConfigDict(extra="forbid", strict=True)

    seats: int = Field(ge=1, le=_LARGEST)


class HoldOut(BaseModel):
    """Seats that are held."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    show: str
    seats: int


class SaleOut(HoldOut):
    """Seats that are bought."""

    printing: str = Field(description="The id of the task that prints the tickets.")


class TicketsOut(BaseModel):
    """The progress of printing the tickets of a sale."""

    model_config = ConfigDict(from_attributes=True)

    state: Literal["waiting", "printing", "printed", "failed"]
    printed: int
    of: int


def tenant(house: Name, houses: Annotated[Houses, Resource()]) -> str:
    """Make the house in the path the tenant of the request. Its sessions see the rows of this house only."""
    if house not in houses.titles:
        raise HTTPException(404, f"there is no house {house!r}")
    set_tenant(house)
    return house


Tenant = Annotated[str, Depends(tenant)]
Office = Annotated[BoxOffice, Resource()]
Manager = Annotated[DatabaseManager, Resource()]
Changes = Annotated[Feed, Resource()]
Session = Annotated[AsyncSession, Resource(scope="function")]
Queue = Annotated[TaskQueue, Resource()]
Id = Annotated[int, Path(ge=1, le=_LARGEST)]

# bandmaster-fastapi adds these components to the OpenAPI document: the schema of a problem, a response for each kind.
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
_MISSING: dict[int | str, dict[str, Any]] = {404: {"description": "Not found.", "content": _PROBLEM}}

router = APIRouter()
of_house = APIRouter(prefix="/houses/{house}", responses=_MISSING)


@router.get("/", response_class=HTMLResponse, include_in_schema=False)
async def page() -> str:
    """The page that shows the seats live."""
    return files("boxoffice").joinpath("page.html").read_text("utf-8")


@router.get("/houses")
async def list_houses(houses: Annotated[Houses, Resource()]) -> list[HouseOut]:
    """Every house."""
    return [HouseOut(id=house, title=title) for house, title in houses.titles.items()]


@of_house.get("/shows")
async def shows(house: Tenant, office: Office, session: Session) -> list[ShowOut]:
    """Every show with its free seats."""
    return [ShowOut.model_validate(show) for show in await office.shows(session, house)]


@of_house.post("/shows/{show}/holds", status_code=201, responses={409: {"$ref": "#/components/responses/SoldOut"}})
async def hold(house: Tenant, show: Name, wanted: HoldIn, office: Office, manager: Manager, feed: Changes) -> HoldOut:
    """Hold seats for a while."""
    async with manager.session() as session:
        try:
            held = await office.hold(session, house, show, wanted.seats)
        except UnknownError as error:
            raise HTTPException(404, str(error)) from error
    # Listeners must not see a change before it is committed.
    feed.publish(house, {"kind": "held", "show": held.show, "seats": held.seats, "request_id": request_id()})
    return HoldOut.model_validate(held)


@of_house.post("/holds/{hold}/purchase")
async def purchase(house: Tenant, hold: Id, office: Office, manager: Manager, feed: Changes) -> SaleOut:
    """Buy the seats of a hold."""
    async with manager.session() as session:
        try:
            sale = await office.buy(session, house, hold)
        except UnknownError as error:
            raise HTTPException(404, str(error)) from error
    feed.publish(house, {"kind": "sold", "show": sale.show, "seats": sale.seats, "request_id": request_id()})
    return SaleOut.model_validate(sale)


class CSVResponse(StreamingResponse):
    """A table in comma-separated values."""

    media_type = "text/csv"


class EventStreamResponse(StreamingResponse):
    """Server-sent events."""

    media_type = "text/event-stream"


@of_house.get("/sales.csv", response_class=CSVResponse)
async def sales(house: Tenant, manager: Manager) -> CSVResponse:
    """All sales, streamed line by line."""

    async def lines() -> AsyncIterator[str]:
        yield _render_csv_line("number", "show", "seats")
        async with manager.session() as session:
            async for sale in await session.stream_scalars(
                select(Sale).where(Sale.tenant_id == house).order_by(Sale.id)
            ):
                yield _render_csv_line(sale.id, sale.show, sale.seats)

    return CSVResponse(lines())


@of_house.get("/sales/{sale}/tickets")
async def tickets_of(house: Tenant, sale: Id, office: Office, session: Session, queue: Queue) -> TicketsOut:
    """How many tickets of a sale are printed."""
    sold = await _find_sale(office, session, house, sale)
    return TicketsOut.model_validate(await tickets(queue, sold.printing, sold.seats))


@of_house.get("/sales/{sale}/tickets/events", response_class=EventStreamResponse)
async def ticket_events(
    request: Request, house: Tenant, sale: Id, office: Office, manager: Manager, queue: Queue
) -> EventStreamResponse:
    """The progress of printing at every change, as server-sent events."""
    async with manager.session() as session:
        sold = await _find_sale(office, session, house, sale)
    changes = watch(queue, sold.printing, sold.seats, request.state.drain, longest=_LONGEST_WATCH)

    async def events() -> AsyncIterator[str]:
        yield "retry: 1000\n\n"
        async for now in changes:
            yield f"data: {TicketsOut.model_validate(now).model_dump_json()}\n\n"

    return EventStreamResponse(events())


@of_house.get("/events", response_class=EventStreamResponse)
async def events(house: Tenant, feed: Changes) -> EventStreamResponse:
    """Every change of the house, as server-sent events."""

    async def changes() -> AsyncIterator[str]:
        with feed.listen(house) as stream:
            yield "retry: 1000\n\n"
            async for change in stream:
                yield f"data: {json.dumps(change)}\n\n"

    return EventStreamResponse(changes())


@of_house.websocket("/live")
async def live(websocket: WebSocket, house: Tenant, office: Office, manager: Manager, feed: Changes) -> None:
    """The state of the house, then every change."""
    await websocket.accept()
    with feed.listen(house) as stream:
        async with manager.session() as session:
            shows = [ShowOut.model_validate(show).model_dump() for show in await office.shows(session, house)]
        await websocket.send_json({"kind": "house", "shows": shows})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_when_closed, websocket, tasks.cancel_scope)
            async for change in stream:
                try:
                    await websocket.send_json(change)
                except WebSocketDisconnect:
                    break
            tasks.cancel_scope.cancel()


router.include_router(of_house)


async def _find_sale(office: BoxOffice, session: AsyncSession, house: str, sale: int) -> Sale:
    try:
        return await office.sale(session, house, sale)
    except UnknownError as error:
        raise HTTPException(404, str(error)) from error


async def _cancel_when_closed(websocket: WebSocket, scope: anyio.CancelScope) -> None:
    async for _ in websocket.iter_text():
        pass
    scope.cancel()


def _render_csv_line(*cells: object) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue()
