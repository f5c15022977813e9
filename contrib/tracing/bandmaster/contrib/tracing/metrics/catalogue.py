"""Every metric that this package makes, as data: name, kind, unit, meaning and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from opentelemetry import metrics as api

__all__ = ["REQUEST_SECONDS", "SCOPE", "Metric"]

SCOPE: Final = "bandmaster.tracing"
"""The name of the meter that makes these metrics."""
REQUEST_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""The boundaries of a duration's buckets in seconds, by OpenTelemetry's semantic conventions for HTTP metrics."""
_LIFE_SECONDS: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
"""The boundaries for streams and connections, which live as long as their clients want."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric, with a fixed set of labels."""

    name: str
    kind: Literal["counter", "up_down_counter", "histogram", "gauge"]
    """In Prometheus both an ``up_down_counter`` and a ``gauge`` are gauges."""
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

    def observe(self, meter: api.Meter, read: Callable[[], Iterable[api.Observation]]) -> None:
        """Create the instrument of a metric whose values a function reads at each collection, in any thread."""
        create = {
            "counter": meter.create_observable_counter,
            "up_down_counter": meter.create_observable_up_down_counter,
            "gauge": meter.create_observable_gauge,
        }[self.kind]
        create(self.name, [lambda options: read()], self.unit, self.meaning)


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
    ("url.scheme", "http.route", "http.response.status_code", "close_code", "error.type"),
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

TASK_DURATION: Final = Metric(
    "bandmaster.task.duration",
    "histogram",
    "s",
    "Duration of one attempt of a task, by the way it ended.",
    ("task", "outcome", "error.type"),
    (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0),
)
ACTIVE_TASKS: Final = Metric(
    "bandmaster.task.active", "up_down_counter", "{task}", "Number of attempts of tasks that run.", ("queue",)
)
SENT_TASKS: Final = Metric(
    "bandmaster.task.sent",
    "counter",
    "{task}",
    "Number of tasks sent, or refused by the broker.",
    ("task", "error.type"),
)
TASK_DEATHS: Final = Metric(
    "bandmaster.task.dead_letters",
    "counter",
    "{message}",
    "Number of messages that became dead letters.",
    ("task", "reason"),
)
QUEUE_MESSAGES: Final = Metric(
    "bandmaster.queue.messages",
    "gauge",
    "{message}",
    "Number of messages in the queue: waiting, held, delayed or dead.",
    ("queue", "state"),
)
QUEUE_AGE: Final = Metric(
    "bandmaster.queue.oldest",
    "gauge",
    "s",
    "Time for which the oldest message has waited that a worker could have.",
    ("queue",),
)
POOL_CONNECTIONS: Final = Metric(
    "db.client.connection.count",
    "up_down_counter",
    "{connection}",
    "Number of connections in a pool, used and idle.",
    ("db.client.connection.pool.name", "db.client.connection.state"),
)
POOL_LIMIT: Final = Metric(
    "db.client.connection.max",
    "up_down_counter",
    "{connection}",
    "The most connections that a pool may open.",
    ("db.client.connection.pool.name",),
)
POOL_PENDING: Final = Metric(
    "db.client.connection.pending_requests",
    "up_down_counter",
    "{request}",
    "Number of tasks that wait for a connection of a pool.",
    ("db.client.connection.pool.name",),
)
COMPONENT_STATE: Final = Metric(
    "bandmaster.component.state",
    "gauge",
    "",
    "1 for the state that a component is in, 0 for those that it was in before.",
    ("component", "state"),
)
COMPONENT_START: Final = Metric(
    "bandmaster.component.start.duration",
    "gauge",
    "s",
    "Time that the start of a component took, with all tries.",
    ("component",),
)
COMPONENT_WAIT: Final = Metric(
    "bandmaster.component.start.wait",
    "gauge",
    "s",
    "Time that a component waited for others before its start.",
    ("component",),
)
START_DURATION: Final = Metric("bandmaster.start.duration", "gauge", "s", "Time that the start of all components took.")
SERVICE_RESTARTS: Final = Metric(
    "bandmaster.service.restarts",
    "counter",
    "{restart}",
    "Number of restarts of a background service.",
    ("component", "service"),
)
PROBE_FAILING: Final = Metric(
    "bandmaster.probe.failing", "gauge", "", "1 for a health probe that fails, 0 when it passes again.", ("probe",)
)
BUDGET_PROCESS: Final = Metric(
    "bandmaster.budget.process",
    "gauge",
    "{unit}",
    "The most that one process may hold of a resource, by the budgets of the plan.",
    ("resource",),
)
BUDGET_TOTAL: Final = Metric(
    "bandmaster.budget.total",
    "gauge",
    "{unit}",
    "The most that all processes together may hold of a resource.",
    ("resource",),
)
BUDGET_LIMIT: Final = Metric(
    "bandmaster.budget.limit",
    "gauge",
    "{unit}",
    "The most that the shared server allows, by BANDMASTER_LIMITS.",
    ("resource",),
)
BUDGET_USED: Final = Metric(
    "bandmaster.budget.used",
    "gauge",
    "{unit}",
    "What this process holds of a resource now, as far as its pools are known.",
    ("resource",),
)
BUILD_INFO: Final = Metric(
    "bandmaster.build.info",
    "gauge",
    "",
    "1, with the versions of the application, of bandmaster and of Python.",
    ("service.name", "service.version", "bandmaster.version", "python.version", "environment", "role"),
)
ALL: Final = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""Every metric of this page."""
