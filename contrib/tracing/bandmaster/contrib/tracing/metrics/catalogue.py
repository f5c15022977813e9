"""Every metric that this package makes, as data: name, kind, unit, meaning and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from opentelemetry import metrics as api

__all__ = ["REQUEST_SECONDS", "Metric"]

REQUEST_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""The boundaries of a duration's buckets in seconds, by OpenTelemetry's semantic conventions for HTTP metrics."""
_LIFE_SECONDS: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
"""The boundaries for streams and connections, which live as long as their clients want."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. The set of its labels is fixed."""

    name: str
    kind: Literal["counter", "up_down_counter", "histogram", "gauge"]
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """The boundaries of a histogram's buckets, in the metric's unit."""

    def create_counter(self, meter: api.Meter) -> api.Counter:
        """The instrument of a ``counter``."""
        return meter.create_counter(self.name, self.unit, self.meaning)

    def create_up_down_counter(self, meter: api.Meter) -> api.UpDownCounter:
        """The instrument of an ``up_down_counter``."""
        return meter.create_up_down_counter(self.name, self.unit, self.meaning)

    def create_histogram(self, meter: api.Meter) -> api.Histogram:
        """The instrument of a ``histogram``."""
        return meter.create_histogram(
            self.name, self.unit, self.meaning, explicit_bucket_boundaries_advisory=self.buckets
        )

    def observe(self, meter: api.Meter, callbacks: Sequence[api.CallbackT]) -> None:
        """Create the instrument of a ``gauge`` or ``counter`` whose values the callbacks read at each collection."""
        create = meter.create_observable_gauge if self.kind == "gauge" else meter.create_observable_counter
        create(self.name, callbacks, self.unit, self.meaning)


REQUEST_DURATION: Final = Metric(
    "http.server.request.duration",
    "histogram",
    "s",
    "Duration of HTTP server requests; of a streamed response, the time until the response started.",
    (
        "http.request.method",
        "url.scheme",
        "http.route",
        "http.response.status_code",
        "error.type",
        "network.protocol.version",
    ),
    REQUEST_SECONDS,
)
ACTIVE_REQUESTS: Final = Metric(
    "http.server.active_requests",
    "up_down_counter",
    "{request}",
    "Number of HTTP server requests in flight, streams included.",
    ("http.request.method", "url.scheme"),
)
STREAM_FIRST_BYTE: Final = Metric(
    "bandmaster.http.server.stream.first_byte",
    "histogram",
    "s",
    "Time from the request until the first byte of a streamed response's body.",
    ("http.request.method", "http.route"),
    REQUEST_SECONDS,
)
STREAM_DURATION: Final = Metric(
    "bandmaster.http.server.stream.duration",
    "histogram",
    "s",
    "Length of life of a streamed response, from the request until its end.",
    ("http.request.method", "http.route", "error.type"),
    _LIFE_SECONDS,
)
ACTIVE_STREAMS: Final = Metric(
    "bandmaster.http.server.active_streams",
    "up_down_counter",
    "{stream}",
    "Number of streamed responses that have sent a part of their body and not ended.",
    ("http.request.method",),
)
WEBSOCKET_DURATION: Final = Metric(
    "bandmaster.websocket.server.duration",
    "histogram",
    "s",
    "Length of life of a WebSocket, from its request until its end.",
    ("url.scheme", "http.route", "http.response.status_code", "bandmaster.websocket.close_code", "error.type"),
    _LIFE_SECONDS,
)
ACTIVE_WEBSOCKETS: Final = Metric(
    "bandmaster.websocket.server.active_connections",
    "up_down_counter",
    "{connection}",
    "Number of WebSockets that have not ended.",
    ("url.scheme",),
)
WEBSOCKET_MESSAGES: Final = Metric(
    "bandmaster.websocket.server.messages",
    "counter",
    "{message}",
    "Number of messages of WebSockets that have ended.",
    ("http.route", "network.io.direction"),
)
