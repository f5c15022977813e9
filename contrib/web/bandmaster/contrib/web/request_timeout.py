"""The layer that cancels requests whose response doesn't begin in time."""

from __future__ import annotations

import math
from collections.abc import Awaitable
from traceback import FrameSummary, extract_tb
from typing import Any

import anyio
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bandmaster.contrib.web.settings import WebSettings
from bandmaster.kernel import MiddlewareBand, middleware


class RequestTimeout(HTTPException):
    """No response had begun in time, and the handler has been cancelled.

    The status is 504 if the application took too long (RFC 9110, 15.6.5; ASP.NET answers the same), and 408 if the
    application was waiting for the client's body (RFC 9110, 15.5.9).
    """

    def __init__(self, seconds: float, *, waited_for_client: bool, where: str) -> None:
        if waited_for_client:
            # The connection is closed, or the server would take the rest of the body for the next request.
            super().__init__(408, f"The request's body was not complete after {seconds:g} s.", {"connection": "close"})
        else:
            super().__init__(504, f"No response had begun after {seconds:g} s.")
        self.seconds = seconds
        """The limit."""
        self.where = where
        """The file, the line and the function in which the application was cancelled; empty if unknown."""

    def __str__(self) -> str:
        at = f" It was at {self.where}" if self.where else ""
        return f"{self.detail}{at}"


@middleware(
    band=MiddlewareBand.INNERMOST,
    priority=MiddlewareBand.INNERMOST.priorities[-1],
    name="request_timeout",
    scopes={"http"},
)
class RequestTimeoutLayer:
    """Cancels a request whose response hasn't begun in time. A response that has begun has no limit.

    A function that runs in a thread can't be cancelled. The layer waits for the function, and then answers with the
    timeout.
    """

    # Without a limit the layer is left out, so that it costs nothing.
    def __new__(cls, app: ASGIApp, settings: WebSettings) -> Any:
        """The layer, or the ``app`` itself if there is no limit."""
        return app if settings.request_timeout is None else super().__new__(cls)

    def __init__(self, app: ASGIApp, settings: WebSettings) -> None:
        self._app = app
        self._seconds = settings.request_timeout or math.inf

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            RequestTimeout: the time is over, and no response has begun.
        """
        started = complete = waiting = False

        async def receive_and_note() -> Message:
            nonlocal complete, waiting
            waiting = not complete
            message = await receive()
            waiting = False
            complete = complete or not message.get("more_body", False)
            return message

        def send_and_note(message: Message) -> Awaitable[None]:
            nonlocal started
            if timer.cancel_called and not started:
                # The cancelled handler could not finish this response, and the timeout could not be answered after it.
                return _drop_message()
            if message["type"] == "http.response.start":
                started = True
                timer.deadline = math.inf
            return send(message)

        where = ""
        with anyio.move_on_after(self._seconds) as timer:
            try:
                await self._app(scope, receive_and_note, send_and_note)
            except anyio.get_cancelled_exc_class() as error:
                where = _find_place(extract_tb(error.__traceback__))
                raise
        if timer.cancel_called and not started:
            raise RequestTimeout(self._seconds, waited_for_client=waiting, where=where)


async def _drop_message() -> None:
    pass


def _find_place(frames: list[FrameSummary]) -> str:
    """The innermost frame that is neither in this file nor in a library: the application's own place."""
    for frame in reversed(frames):
        if not any(part in frame.filename for part in _LIBRARIES):
            return f"{frame.filename}:{frame.lineno}, in {frame.name}"
    return ""


_LIBRARIES = (
    *("/asyncio/", "/anyio/", "/trio/", "/outcome/", "/sniffio/", "/starlette/", "/fastapi/", "/bandmaster/kernel/"),
    __file__,
)
