"""The lifespan protocol under a foreign server: the same run as the launcher's, as far as the server lets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.types import Receive, Send

if TYPE_CHECKING:
    from bandmaster.kernel.application import Application


async def speak_lifespan(app: Application, receive: Receive, send: Send) -> None:
    """Start when the server says so, stop when it says so; answer failures, never raise them.

    A server goes on serving when an exception leaves the lifespan, so what fails is told by a message.
    """
    await receive()
    started = False
    try:
        async with app.running():
            started = True
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await app.drain(delay=0)
    except Exception as error:  # noqa: BLE001
        if not started:
            await send({"type": "lifespan.startup.failed", "message": one_line(error)})
        else:
            await send({"type": "lifespan.shutdown.failed", "message": one_line(error)})
    else:
        await send({"type": "lifespan.shutdown.complete"})


def one_line(error: BaseException) -> str:
    """The cause of a failure on one line, for servers' logs."""
    return str(error).partition("\n")[0] or type(error).__name__
