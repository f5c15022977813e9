"""The application that servers serve in the tests of processes; each worker tells its number."""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from tests.contrib.tracing.apps import PARTS

from bandmaster.kernel import Application, create_app


async def tell(request: Request) -> Response:
    return PlainTextResponse(str(os.getpid()))


def make() -> Application:
    """The application with the web and tracing parts, set by the environment."""
    return create_app(Starlette(routes=[Route("/pid", tell)]), contributions=PARTS, discover=False)


app = make()
