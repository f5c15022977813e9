"""Measure HTTP requests and WebSockets by the stable semantic conventions of OpenTelemetry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from time import perf_counter
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider, Observation

from bandmaster.contrib.tracing.metrics import catalogue

__all__ = ["KNOWN_METHODS", "RequestMeasurement", "RequestMetrics"]

KNOWN_METHODS: Final = frozenset(
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"]
)
"""The methods that a label may name; any other is ``_OTHER`` (semantic conventions for HTTP)."""
_OTHER = "_OTHER"
_SCHEMES = frozenset(["http", "https", "ws", "wss"])
_VERSIONS = frozenset(["1.0", "1.1", "2", "3"])
_CLOSE_CODES = frozenset(range(1000, 1016))
"""The close codes of RFC 6455 (7.4.1) and its registry. Applications and clients choose those from 3000 up freely."""


class RequestMeasurement:
    """One request or one WebSocket, from the start to the end.

    The caller passes each message that the application sends to `observe`, and at the end passes the measurement to
    `RequestMetrics.ended`.
    """

    __slots__ = (
        "_clock",
        "_metrics",
        "began",
        "close_code",
        "ended",
        "finished",
        "first_byte",
        "is_stream",
        "may_stream",
        "messages_received",
        "messages_sent",
        "method",
        "responded",
        "scheme",
        "version",
        "websocket",
    )

    def __init__(self, metrics: RequestMetrics, scope: Mapping[str, Any], clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._clock = clock
        self.websocket = scope["type"] == "websocket"
        method = scope.get("method", "GET")
        self.method: str = method if method in KNOWN_METHODS else _OTHER
        scheme = scope.get("scheme", "ws" if self.websocket else "http")
        self.scheme: str = scheme if scheme in _SCHEMES else _OTHER
        version = scope.get("http_version")
        self.version: str | None = version if version in _VERSIONS else None
        self.responded: float | None = None
        """The time at which the application began its response."""
        self.first_byte: float | None = None
        self.finished: float | None = None
        """The time at which the application sent the end of its response; background tasks may follow."""
        self.may_stream = False
        self.is_stream = False
        self.close_code: int | None = None
        """The code that either side closed the WebSocket with. The caller sets it if the client closed first."""
        self.messages_sent = 0
        self.messages_received = 0
        self.ended = False
        self.began = clock()

    def observe(self, message: Mapping[str, Any]) -> None:
        """Take note of a message from the application to the server, before or after passing the message on.

        A response without a ``Content-Length`` whose first part isn't the last is a stream, and so is every
        ``text/event-stream``.
        """
        kind = message["type"]
        if kind == "http.response.body":
            if self.may_stream and self.first_byte is None:
                self._observe_first_part(message)
            if not message.get("more_body", False):
                self.finished = self._clock()
        elif kind == "http.response.start":
            if self.responded is None:
                self.responded = self._clock()
                self.may_stream, self.is_stream = _classify(self.method, message)
                if self.is_stream:
                    self._metrics.stream_started(self)
        elif kind == "http.response.pathsend":
            self.finished = self._clock()
        elif kind == "websocket.send":
            self.messages_sent += 1
        elif kind == "websocket.close" and self.close_code is None:
            self.close_code = message.get("code", 1000)

    def observe_received(self, message: Mapping[str, Any]) -> None:
        """Take note of a message from a WebSocket's client. Requests need no such call."""
        kind = message["type"]
        if kind == "websocket.receive":
            self.messages_received += 1
        elif kind == "websocket.disconnect" and self.close_code is None:
            self.close_code = message.get("code", 1005)

    def _observe_first_part(self, message: Mapping[str, Any]) -> None:
        if not self.is_stream:
            if not message.get("more_body", False):
                self.may_stream = False
                return
            self.is_stream = True
            self._metrics.stream_started(self)
        if message.get("body"):
            self.first_byte = self._clock()


class RequestMetrics:
    """The metrics of requests and WebSockets.

    Labels come from fixed sets or from the application's code: a method, a scheme, a protocol version, a status, the
    template of a route, the type of an error. Paths, hosts, addresses and attributes of spans are never labels, so that
    clients can't make series.

    Errors of a foreign meter provider are raised by all methods; the caller must not let them reach the request.
    """

    def __init__(self, meter_provider: MeterProvider, *, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        meter = meter_provider.get_meter(catalogue.SCOPE)
        self._duration = catalogue.REQUEST_DURATION.create_histogram(meter)
        self._first_byte = catalogue.STREAM_FIRST_BYTE.create_histogram(meter)
        self._stream_duration = catalogue.STREAM_DURATION.create_histogram(meter)
        self._websocket_duration = catalogue.WEBSOCKET_DURATION.create_histogram(meter)
        self._messages = catalogue.WEBSOCKET_MESSAGES.create_counter(meter)
        # Read at each collection: recording every change would cost as much as recording the durations.
        self._active: Counter[tuple[str, str]] = Counter()
        self._active_streams: Counter[str] = Counter()
        self._active_websockets: Counter[str] = Counter()
        catalogue.ACTIVE_REQUESTS.observe(meter, self._observe_requests)
        catalogue.ACTIVE_STREAMS.observe(meter, self._observe_streams)
        catalogue.ACTIVE_WEBSOCKETS.observe(meter, self._observe_websockets)

    def started(self, scope: Mapping[str, Any]) -> RequestMeasurement:
        """Begin to measure the request or WebSocket of an ASGI scope, which counts as active from now on."""
        measurement = RequestMeasurement(self, scope, self._clock)
        if measurement.websocket:
            self._active_websockets[measurement.scheme] += 1
        else:
            self._active[measurement.method, measurement.scheme] += 1
        return measurement

    def ended(
        self,
        measurement: RequestMeasurement,
        *,
        status: int | None = None,
        route: str | None = None,
        error_type: str | None = None,
        context: Context | None = None,
    ) -> None:
        """Record the request or WebSocket. Further calls for the same measurement do nothing.

        Args:
            measurement: the value that `started` returned.
            status: the status of the response; 500 for an unhandled error; 101 for a WebSocket that was accepted; None
                if the client left before there was one.
            route: the template of the route, with all prefixes; None if no route matched.
            error_type: the class of an unhandled error, or the status as a text from 500 up; None for all others.
            context: the OpenTelemetry context of the request's span, for exemplars; the current one unless given.
        """
        if measurement.ended:
            return
        measurement.ended = True
        now = self._clock() if measurement.finished is None else measurement.finished
        if measurement.websocket:
            self._active_websockets[measurement.scheme] -= 1
            self._record_websocket(measurement, now - measurement.began, status, route, error_type, context)
            return
        self._active[measurement.method, measurement.scheme] -= 1
        labels: dict[str, str | int] = {"http.request.method": measurement.method, "url.scheme": measurement.scheme}
        if route is not None:
            labels["http.route"] = route
        if status is not None:
            labels["http.response.status_code"] = status
        if error_type is not None:
            labels["error.type"] = error_type
        if measurement.version is not None:
            labels["network.protocol.version"] = measurement.version
        duration = now - measurement.began
        if measurement.is_stream:
            self._record_stream(measurement, duration, route, error_type, context)
            if measurement.responded is not None:
                duration = measurement.responded - measurement.began
        self._duration.record(duration, labels, context)

    def stream_started(self, measurement: RequestMeasurement) -> None:
        """Count one more active stream; `RequestMeasurement.observe` calls it."""
        self._active_streams[measurement.method] += 1

    def _record_stream(
        self,
        measurement: RequestMeasurement,
        duration: float,
        route: str | None,
        error_type: str | None,
        context: Context | None,
    ) -> None:
        labels = {"http.request.method": measurement.method}
        self._active_streams[measurement.method] -= 1
        if route is not None:
            labels = labels | {"http.route": route}
        if measurement.first_byte is not None:
            self._first_byte.record(measurement.first_byte - measurement.began, labels, context)
        if error_type is not None:
            labels = labels | {"error.type": error_type}
        self._stream_duration.record(duration, labels, context)

    def _record_websocket(
        self,
        measurement: RequestMeasurement,
        duration: float,
        status: int | None,
        route: str | None,
        error_type: str | None,
        context: Context | None,
    ) -> None:
        labels: dict[str, str | int] = {"url.scheme": measurement.scheme}
        traffic = {}
        if route is not None:
            labels["http.route"] = traffic["http.route"] = route
        if status is not None:
            labels["http.response.status_code"] = status
        code = measurement.close_code
        if code is not None:
            labels["close_code"] = str(code) if code in _CLOSE_CODES else _OTHER
        if error_type is not None:
            labels["error.type"] = error_type
        self._websocket_duration.record(duration, labels, context)
        for direction, count in (("transmit", measurement.messages_sent), ("receive", measurement.messages_received)):
            if count:
                self._messages.add(count, traffic | {"network.io.direction": direction})

    def _observe_requests(self) -> Iterator[Observation]:
        # The event loop may add a key meanwhile; a list is made at once.
        for (method, scheme), count in list(self._active.items()):
            yield Observation(count, {"http.request.method": method, "url.scheme": scheme})

    def _observe_streams(self) -> Iterator[Observation]:
        for method, count in list(self._active_streams.items()):
            yield Observation(count, {"http.request.method": method})

    def _observe_websockets(self) -> Iterator[Observation]:
        for scheme, count in list(self._active_websockets.items()):
            yield Observation(count, {"url.scheme": scheme})


def _classify(method: str, start: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether a response may be a stream, and whether the headers say so."""
    status = start["status"]
    # RFC 9110, 6.4.1: these responses have no body.
    if method == "HEAD" or status < 200 or status in (204, 304):
        return False, False
    content_type = b""
    for name, value in start.get("headers", ()):
        lowered = name.lower()
        if lowered == b"content-length":
            return False, False
        if lowered == b"content-type":
            content_type = value
    return True, content_type.lower().startswith(b"text/event-stream")
