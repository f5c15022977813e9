"""The box office with a printer that prints one ticket for each request to /print."""

from __future__ import annotations

import anyio
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bandmaster.kernel import Application, RouteContribution, create_app
from boxoffice.printer import TicketPrinter


class StepwisePrinter(TicketPrinter):
    """Prints a ticket when the test asks for one, so that the test depends on no duration."""

    def __init__(self) -> None:
        super().__init__(0)
        self._requested = anyio.Semaphore(0)

    async def print(self, show: str, sale: int, seat: int) -> None:
        await self._requested.acquire()

    async def print_next(self, request: Request) -> Response:
        self._requested.release()
        return Response(status_code=204)


def app() -> Application:
    printer = StepwisePrinter()
    steps = RouteContribution(name="steps", routes=[Route("/print", printer.print_next, methods=["POST"])])
    return create_app(FastAPI(title="Box office"), contributions=[steps], overrides={TicketPrinter: printer})
