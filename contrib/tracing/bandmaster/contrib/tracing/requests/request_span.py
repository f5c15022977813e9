"""The span of one HTTP request or one WebSocket, from the messages that pass."""

from __future__ import annotations

import sys
from collections.abc import Callable, MutableMapping
from time import time_ns
from typing import Any, NamedTuple, TypeAlias

from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode

from bandmaster.contrib.tracing.error_names import describe_error, name_error
from bandmaster.contrib.tracing.metrics.requests import RequestMeasurement
from bandmaster.contrib.tracing.requests.attributes import Attributes, HeaderCapture

Message: TypeAlias = MutableMapping[str, Any]
Failed: TypeAlias = Callable[[Exception], None]
"""Tells that tracing itself has failed, which must not change the response."""

_DISCONNECTS = frozenset(("ClientDisconnect", "WebSocketDisconnect"))
"""Exceptions of Starlette and Litestar, by name: neither may be installed."""
_INTERNAL_ERROR = 1011
"""The close code of a WebSocket for an error of the server (RFC 6455, 7.4.1)."""


class RecordedError:
    """An exception of the application, without the exception itself: that would hold the frames of the request."""

    __slots__ = ("is_chosen", "is_fault", "name", "text")

    def __init__(self, error: BaseException) -> None:
        self.name = name_error(error)
        self.text = describe_error(error)
        self.is_chosen = type(error).__name__ == "HTTPException"
        """Whether the exception is only how the application chooses a status."""
        self.is_fault = isinstance(error, Exception) and not self.is_chosen
        """Whether the exception is recorded as an event; a cancellation isn't."""


class Outcome(NamedTuple):
    """How a request or a WebSocket has ended."""

    status: int | None
    error_type: str | None
    """The class of the exception that ended the request, or that was answered with a status from 500 up; else the
    status as a text from 500 up."""
    description: str | None
    """The text of the span's status; None for no text."""
    disconnected: bool
    """Whether the client has left."""


class RequestSpan:
    """The span and the measurement of a request, between the layer and the server.

    ``send`` is passed to the application in place of the server's. Nothing here lets an error of its own out.
    """

    __slots__ = (
        "_capture",
        "_failed",
        "_response_header",
        "_send",
        "context",
        "disconnected",
        "ended_at",
        "measurement",
        "recorded",
        "span",
        "status",
    )

    def __init__(
        self,
        span: Span | None,
        context: Context,
        measurement: RequestMeasurement | None,
        send: Any,
        *,
        capture: HeaderCapture | None,
        response_header: tuple[bytes, bytes] | None,
        failed: Failed,
    ) -> None:
        self.span = span
        """None for a request that isn't recorded."""
        self.context = context
        self.measurement = measurement
        self.status: int | None = None
        self.ended_at: int | None = None
        """The time at which the end of the response was passed to the server, in nanoseconds of Unix time."""
        self.disconnected = False
        self._send = send
        self._capture = capture
        self._response_header = response_header
        self._failed = failed
        self.recorded: RecordedError | None = None
        """The exception that the application has raised, or answered with a status from 500 up."""

    async def send(self, message: Message) -> None:
        """Pass a message of the application on to the server."""
        kind = message["type"]
        if kind == "http.response.start":
            message = self._start(message)
        if self.measurement is not None:
            self._observe(message)
        try:
            await self._send(message)
        except OSError:
            # ASGI: a server raises it when the client has left.
            self.disconnected = True
            raise
        if kind == "http.response.body":
            if not message.get("more_body", False):
                self.ended_at = time_ns()
        elif kind == "http.response.pathsend":
            self.ended_at = time_ns()

    def _start(self, message: Message) -> Message:
        try:
            status = self.status = message["status"]
            if status >= 500 and not (self.span is None and self.measurement is None):
                self._note_handled()
            if self._capture is not None and self.span is not None:
                self.span.set_attributes(self._capture.read(message.get("headers", ())))
            return add_header(message, self._response_header)
        except Exception as error:  # noqa: BLE001  # telemetry never changes a response
            self._failed(error)
            return message

    def _note_handled(self) -> None:
        """Record the exception that the application answers just now.

        An error handler answers inside of its ``except``, so the exception is the one that is being handled.
        """
        error = sys.exception()
        if error is not None and self.recorded is None:
            self.recorded = RecordedError(error)
            if self.span is not None and self.recorded.is_fault:
                # Now, because frameworks cut the traceback off once they have answered.
                self.span.record_exception(error)

    def _observe(self, message: Message) -> None:
        try:
            if self.measurement is not None:
                self.measurement.observe(message)
        except Exception as error:  # noqa: BLE001  # likewise
            self._failed(error)

    def conclude(self, error: BaseException | None) -> Outcome:
        """The outcome, once the application has returned or raised an exception."""
        disconnected = self.disconnected or (error is not None and type(error).__name__ in _DISCONNECTS)
        status = self.status
        if status is None and not disconnected and (error is None or isinstance(error, Exception)):
            # Servers answer so when an application fails, or returns without a response.
            status = 500
        recorded = self.recorded
        if error is not None and recorded is None and not disconnected:
            recorded = self.recorded = RecordedError(error)
            if self.span is not None and recorded.is_fault:
                self.span.record_exception(error)
        if recorded is not None and not recorded.is_chosen and not disconnected:
            return Outcome(status, recorded.name, recorded.text, disconnected)
        return Outcome(status, str(status) if status is not None and status >= 500 else None, None, disconnected)

    def describe_end(self) -> Attributes:
        """Further attributes of the end."""
        return {}


class WebSocketSpan(RequestSpan):
    """The span and the measurement of a WebSocket: one span for the connection, and nothing for a message."""

    __slots__ = ("_receive", "close_code", "messages_received", "messages_sent")

    def __init__(self, *args: Any, receive: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._receive = receive
        self.close_code: int | None = None
        """The code that either side closed the connection with."""
        self.messages_sent = 0
        self.messages_received = 0

    async def send(self, message: Message) -> None:
        """Pass a message of the application on to the server."""
        kind = message["type"]
        if kind == "websocket.send":
            self.messages_sent += 1
        elif kind == "websocket.accept":
            self.status = 101
            message = add_header(message, self._response_header)
        elif kind == "websocket.close":
            if self.status is None:
                self.status = 403  # servers answer so to a close before the acceptance
            elif self.close_code is None:
                self.close_code = message.get("code", 1000)
            if message.get("code") == _INTERNAL_ERROR:
                self._note_handled()
        elif kind == "websocket.http.response.start":
            message = self._start(message)
        if self.measurement is not None:
            self._observe(message)
        try:
            await self._send(message)
        except OSError:
            self.disconnected = True
            raise
        if kind in ("websocket.close", "websocket.http.response.body") and not message.get("more_body", False):
            self.ended_at = time_ns()

    async def receive(self) -> Message:
        """Pass a message of the client on to the application."""
        message: Message = await self._receive()
        kind = message["type"]
        if kind == "websocket.receive":
            self.messages_received += 1
        elif kind == "websocket.disconnect" and self.close_code is None and self.ended_at is None:
            self.close_code = message.get("code", 1005)
            self.ended_at = time_ns()
        if self.measurement is not None:
            try:
                self.measurement.observe_received(message)
            except Exception as error:  # noqa: BLE001  # telemetry never changes a connection
                self._failed(error)
        return message

    def describe_end(self) -> Attributes:
        """The numbers of messages, and the close code."""
        attributes: Attributes = {
            "bandmaster.websocket.messages_received": self.messages_received,
            "bandmaster.websocket.messages_sent": self.messages_sent,
        }
        if self.close_code is not None:
            attributes["bandmaster.websocket.close_code"] = self.close_code
        return attributes


def add_header(message: Message, header: tuple[bytes, bytes] | None) -> Message:
    """A message with one more header, unless the application has set a header of that name."""
    if header is None:
        return message
    headers = list(message.get("headers", ()))
    if any(name.lower() == header[0] for name, _ in headers):
        return message
    return {**message, "headers": [*headers, header]}


def end_span(span: Span, request: RequestSpan, outcome: Outcome, name: str, route: str | None) -> None:
    """Write the outcome into the span, and end the span."""
    attributes = request.describe_end()
    if route is not None:
        attributes["http.route"] = route
    if outcome.status is not None:
        attributes["http.response.status_code"] = outcome.status
    if outcome.error_type is not None:
        attributes["error.type"] = outcome.error_type
    if outcome.disconnected:
        attributes["bandmaster.client_disconnected"] = True
    span.set_attributes(attributes)
    span.update_name(name)
    if outcome.error_type is not None:
        span.set_status(Status(StatusCode.ERROR, outcome.description))
    # The time of the last byte: background tasks of the response are not a part of its duration.
    span.end(request.ended_at)
