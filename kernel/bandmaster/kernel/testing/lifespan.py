"""An application's start and stop by the ASGI lifespan protocol, for a test."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import ASGIApp

from bandmaster.kernel.hosting.lifespan_client import LifespanClient


class LifespanError(Exception):
    """The application reported a failure to the server.

    ``phase`` is ``startup``, ``serving`` or ``shutdown``. The kit sets ``__cause__`` to the first failure, which the
    protocol doesn't carry.
    """

    def __init__(self, message: str, phase: str) -> None:
        super().__init__(f"the application's {phase} failed: {message}" if phase != "serving" else message)
        self.phase = phase


@asynccontextmanager
async def lifespan(app: ASGIApp) -> AsyncGenerator[dict[str, Any], None]:
    """Start an application by the ASGI lifespan protocol, and stop it; yields the state that requests see.

    The body is cancelled if the application ends before the body.

    Raises:
        LifespanError: the application reported a failed startup or shutdown, or ended in between.
        RuntimeError: the application doesn't speak the protocol.
    """
    client = LifespanClient(app, required=True)
    try:
        async with client.running():
            yield client.state
    except Exception as error:
        if client.reported is None or error is not client.failure:
            raise
        raise LifespanError(str(client.reported), client.reported.phase) from None
