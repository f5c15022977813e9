"""The box office over HTTP and WebSocket."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from importlib.resources import files

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from bandmaster.contrib.web import request_id
from bandmaster.kernel import Resources
from boxoffice.feed import Feed
from boxoffice.sales import BoxOffice, UnknownError


async def page(request: Request) -> Response:
    """The seats, live."""
    return HTMLResponse(files("boxoffice").joinpath("page.html").read_text("utf-8"))


async def shows(request: Request) -> Response:
    """Every show with its free seats."""
    return JSONResponse([asdict(show) for show in _resources(request)[BoxOffice].shows])


async def hold(request: Request) -> Response:
    """Hold seats for a while."""
    resources = _resources(request)
    seats = await _seats(request)
    try:
        held = resources[BoxOffice].hold(request.path_params["show"], seats, anyio.current_time())
    except UnknownError as error:
        raise HTTPException(404, str(error)) from error
    resources[Feed].publish({"kind": "held", "show": held.show, "seats": held.seats, "request_id": request_id()})
    return JSONResponse({"id": held.id, "show": held.show, "seats": held.seats}, 201)


async def purchase(request: Request) -> Response:
    """Buy what is held."""
    resources = _resources(request)
    try:
        sale = resources[BoxOffice].buy(request.path_params["hold"])
    except UnknownError as error:
        raise HTTPException(404, str(error)) from error
    resources[Feed].publish({"kind": "sold", "show": sale.show, "seats": sale.seats, "request_id": request_id()})
    return JSONResponse(asdict(sale))


async def sales(request: Request) -> Response:
    """All sales, streamed line by line."""
    office = _resources(request)[BoxOffice]

    async def lines() -> AsyncIterator[str]:
        yield _line("number", "show", "seats")
        for sale in list(office.sales):
            yield _line(sale.number, sale.show, sale.seats)

    return StreamingResponse(lines(), media_type="text/csv")


async def events(request: Request) -> Response:
    """Every change, as server-sent events."""
    feed = _resources(request)[Feed]

    async def changes() -> AsyncIterator[str]:
        with feed.listen() as stream:
            yield "retry: 1000\n\n"
            async for change in stream:
                yield f"data: {json.dumps(change)}\n\n"

    return StreamingResponse(changes(), media_type="text/event-stream")


async def live(websocket: WebSocket) -> None:
    """Every change, and at first the state of the house."""
    resources: Resources = websocket.state.resources
    await websocket.accept()
    with resources[Feed].listen() as stream:
        shows = [asdict(show) for show in resources[BoxOffice].shows]
        await websocket.send_json({"kind": "house", "shows": shows})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_until_closed, websocket, tasks.cancel_scope)
            async for change in stream:
                try:
                    await websocket.send_json(change)
                except WebSocketDisconnect:
                    break
            tasks.cancel_scope.cancel()


async def _until_closed(websocket: WebSocket, scope: anyio.CancelScope) -> None:
    async for _ in websocket.iter_text():
        pass
    scope.cancel()


async def _seats(request: Request) -> int:
    try:
        seats = (await request.json())["seats"]
    except (ValueError, KeyError, TypeError) as error:
        raise HTTPException(422, 'expected a body like {"seats": 2}') from error
    if isinstance(seats, bool) or not isinstance(seats, int) or seats < 1:
        raise HTTPException(422, f"seats: expected a number from 1 up, got {seats!r}")
    return seats


def _resources(request: Request) -> Resources:
    resources: Resources = request.state.resources
    return resources


def _line(*cells: object) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue()


routes = [
    Route("/", page),
    Route("/shows", shows),
    Route("/shows/{show}/holds", hold, methods=["POST"]),
    Route("/holds/{hold:int}/purchase", purchase, methods=["POST"]),
    Route("/sales.csv", sales),
    Route("/events", events),
    WebSocketRoute("/live", live),
]
