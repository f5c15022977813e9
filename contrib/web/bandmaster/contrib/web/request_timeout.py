"""The time that a request may take until its response begins."""

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
    """No response had begun in time; what was serving the request has been cancelled.

    The status is 504 where the application took too long (RFC 9110, 15.6.5, which ASP.NET answers as well), and 408
    where it was waiting for the client's body (15.5.9).
    """

    def __init__(self, seconds: float, *, waited_for_client: bool, where: str) -> None:
        if waited_for_client:
            # Whatever the rest of the body is, it's not the next request.
            super().__init__(408, f"The request's body was not complete after {seconds:g} s.", {"connection": "close"})
        else:
            super().__init__(504, f"No response had begun after {seconds:g} s.")
        self.seconds = seconds
        """The time that it had."""
        self.where = where
        """Where the application was when it was cancelled: file, line and function; empty if that isn't known."""

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
    """Cancels a request whose response hasn't begun in time. A response that has begun may go on for as long as it likes.

    What runs in a thread can't be cancelled: it is waited for, and then the client hears of the timeout.
    """

    # Without a limit there is no such layer.
    def __new__(cls, app: ASGIApp, settings: WebSettings) -> Any:
        """The layer, or the ``app`` itself."""
        return app if settings.request_timeout is None else super().__new__(cls)

    def __init__(self, app: ASGIApp, settings: WebSettings) -> None:
        self._app = app
        self._seconds = settings.request_timeout or math.inf

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            RequestTimeout: it took too long, and no response has begun.
        """
        started = complete = waiting = False

        async def receiving() -> Message:
            nonlocal complete, waiting
            waiting = not complete
            message = await receive()
            waiting = False
            complete = complete or not message.get("more_body", False)
            return message

        def sending(message: Message) -> Awaitable[None]:
            nonlocal started
            if timer.cancel_called and not started:
                # Cut off half-way it would be worth nothing, and no other answer could follow.
                return _dropped()
            if message["type"] == "http.response.start":
                started = True
                timer.deadline = math.inf
            return send(message)

        where = ""
        with anyio.move_on_after(self._seconds) as timer:
            try:
                await self._app(scope, receiving, sending)
            except anyio.get_cancelled_exc_class() as error:
                where = _place(extract_tb(error.__traceback__))
                raise
        if timer.cancel_called and not started:
            raise RequestTimeout(self._seconds, waited_for_client=waiting, where=where)


async def _dropped() -> None:
    pass


def _place(frames: list[FrameSummary]) -> str:
    """The innermost place that is neither here nor in a library of the event loop's."""
    for frame in reversed(frames):
        if not any(part in frame.filename for part in _PASSED_THROUGH):
            return f"{frame.filename}:{frame.lineno}, in {frame.name}"
    return ""


_PASSED_THROUGH = (
    *("/asyncio/", "/anyio/", "/trio/", "/outcome/", "/sniffio/", "/starlette/", "/fastapi/", "/bandmaster/kernel/"),
    __file__,
)
