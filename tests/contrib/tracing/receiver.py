"""A collector for the tests: a real server of OTLP over HTTP that decodes OpenTelemetry's official messages."""

from __future__ import annotations

import gzip
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, TypeAlias

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

Mode: TypeAlias = Literal["ok", "hang", "503", "400", "partial"]
"""ok answers and keeps the data, hang never answers, 503 and 400 refuse, partial accepts but one span or record."""

PATIENCE = 20.0
"""Seconds that a test waits for data on a busy machine."""
_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUSES = ("UNSET", "OK", "ERROR")


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a span that has arrived."""

    trace_id: str
    span_id: str
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """An event of a span that has arrived."""

    name: str
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Span:
    """A span that has arrived. Ids are in hexadecimal digits, times in nanoseconds of Unix time."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty for the root of a trace."""
    start: int
    end: int
    status: str
    """UNSET, OK or ERROR."""
    description: str
    """The text of the status."""
    attributes: dict[str, Any]
    events: tuple[SpanEvent, ...]
    links: tuple[Link, ...]
    resource: dict[str, Any]
    scope: str
    trace_state: str

    @property
    def seconds(self) -> float:
        """The duration."""
        return (self.end - self.start) / 1e9


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric that has arrived, with the official messages of the data points."""

    name: str
    unit: str
    kind: str
    """The field of the official message that has the points: sum, gauge, histogram or exponential_histogram."""
    points: tuple[tuple[dict[str, Any], Any], ...]
    """The attributes of each point, and the point."""
    resource: dict[str, Any]
    scope: str


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A log record that has arrived."""

    body: Any
    severity: str
    attributes: dict[str, Any]
    trace_id: str
    span_id: str
    resource: dict[str, Any]
    scope: str


@dataclass(slots=True)
class Export:
    """One request of an exporter, also one that was refused."""

    path: str
    headers: dict[str, str]
    body: bytes
    """The body after decompression."""
    at: float = field(default_factory=time.monotonic)


class Receiver:
    """A collector on a port of this machine. ``mode`` may change at any time."""

    def __init__(self, mode: Mode = "ok") -> None:
        self.mode: Mode = mode
        self.exports: list[Export] = []
        self.spans: list[Span] = []
        self.metrics: list[Metric] = []
        self.logs: list[LogRecord] = []
        self._changed = threading.Condition()
        self._closed = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # A client that goes away may leave a connection half open.
            timeout = 60

            def do_POST(self) -> None:
                receiver._handle(self)

            def log_message(self, *args: Any) -> None:
                """The server's own lines would stand among the output that tests read."""

        class Server(ThreadingHTTPServer):
            # Joined at the close, so that no test leaves a thread behind.
            daemon_threads = False
            block_on_close = True
            request_queue_size = 64

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that has gone away is no failure of the receiver."""

            def process_request(self, request: Any, client_address: Any) -> None:
                receiver._connections.append(request)
                super().process_request(request, client_address)

        self._connections: list[Any] = []
        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="OTLP receiver"
        )

    def start(self) -> None:
        """Serve until `close`."""
        self._thread.start()

    def close(self) -> None:
        """Let requests that hang go, and wait for every thread."""
        import socket
        from contextlib import suppress

        self._closed.set()
        self._server.shutdown()
        self._thread.join()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()

    def wait_for(self, found: Callable[[Receiver], Any], timeout: float = PATIENCE) -> Any:
        """Wait until the function returns something true, and return that.

        Raises:
            AssertionError: that didn't happen in time; the message lists what has arrived.
        """
        with self._changed:
            result = self._changed.wait_for(lambda: found(self), timeout)
        assert result, (
            f"nothing of the kind arrived within {timeout:g} s; there were {len(self.exports)} exports with the spans "
            f"{[span.name for span in self.spans]}, the metrics {sorted({metric.name for metric in self.metrics})} and "
            f"{len(self.logs)} log records"
        )
        return result

    def wait_for_span(self, name: str, timeout: float = PATIENCE) -> Span:
        """Wait for a span of this name."""
        found: Span = self.wait_for(lambda one: next((span for span in one.spans if span.name == name), None), timeout)
        return found

    def wait_for_spans(self, count: int, timeout: float = PATIENCE) -> list[Span]:
        """Wait until at least so many spans have arrived."""
        self.wait_for(lambda one: len(one.spans) >= count, timeout)
        return list(self.spans)

    def wait_for_exports(self, count: int, timeout: float = PATIENCE) -> list[Export]:
        """Wait until at least so many requests have arrived, refused ones included."""
        self.wait_for(lambda one: len(one.exports) >= count, timeout)
        return list(self.exports)

    def spans_named(self, name: str) -> list[Span]:
        """The spans of this name so far."""
        return [span for span in self.spans if span.name == name]

    def text(self) -> str:
        """All that was received as text, to search for secrets."""
        return "\n".join(f"{one.path} {one.headers} {one.body.decode('latin-1')}" for one in self.exports)

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        encoding = handler.headers.get("content-encoding")
        if encoding == "gzip":
            body = gzip.decompress(body)
        elif encoding == "deflate":
            body = zlib.decompress(body)
        export = Export(handler.path, {name.lower(): value for name, value in handler.headers.items()}, body)
        mode = self.mode
        with self._changed:
            self.exports.append(export)
            self._changed.notify_all()
        if mode == "hang":
            self._closed.wait()
            handler.close_connection = True
            return
        if mode in ("503", "400"):
            _respond(handler, int(mode), b"")
            return
        with self._changed:
            answer = self._keep(export.path, body, partial=mode == "partial")
            self._changed.notify_all()
        _respond(handler, 404 if answer is None else 200, answer or b"")

    def _keep(self, path: str, body: bytes, *, partial: bool) -> bytes | None:
        answer: Any
        if path.endswith("/v1/traces"):
            self.spans += _read_spans(ExportTraceServiceRequest.FromString(body))
            answer = ExportTraceServiceResponse()
            rejected = "rejected_spans"
        elif path.endswith("/v1/metrics"):
            self.metrics += _read_metrics(ExportMetricsServiceRequest.FromString(body))
            answer = ExportMetricsServiceResponse()
            rejected = "rejected_data_points"
        elif path.endswith("/v1/logs"):
            self.logs += _read_logs(ExportLogsServiceRequest.FromString(body))
            answer = ExportLogsServiceResponse()
            rejected = "rejected_log_records"
        else:
            return None
        if partial:
            setattr(answer.partial_success, rejected, 1)
            answer.partial_success.error_message = "one was too large"
        encoded: bytes = answer.SerializeToString()
        return encoded


@contextmanager
def open_receiver(mode: Mode = "ok") -> Iterator[Receiver]:
    """A collector that serves until the end of the block."""
    receiver = Receiver(mode)
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.close()


def _respond(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    handler.send_response(status)
    handler.send_header("content-type", "application/x-protobuf")
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def _read_spans(message: ExportTraceServiceRequest) -> Iterator[Span]:
    for group in message.resource_spans:
        resource = _read_attributes(group.resource.attributes)
        for scoped in group.scope_spans:
            for span in scoped.spans:
                yield Span(
                    name=span.name,
                    kind=_KINDS[span.kind],
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    start=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                    status=_STATUSES[span.status.code],
                    description=span.status.message,
                    attributes=_read_attributes(span.attributes),
                    events=tuple(SpanEvent(event.name, _read_attributes(event.attributes)) for event in span.events),
                    links=tuple(
                        Link(link.trace_id.hex(), link.span_id.hex(), _read_attributes(link.attributes))
                        for link in span.links
                    ),
                    resource=resource,
                    scope=scoped.scope.name,
                    trace_state=span.trace_state,
                )


def _read_metrics(message: ExportMetricsServiceRequest) -> Iterator[Metric]:
    for group in message.resource_metrics:
        resource = _read_attributes(group.resource.attributes)
        for scoped in group.scope_metrics:
            for metric in scoped.metrics:
                kind = metric.WhichOneof("data")
                if kind is None:
                    continue
                points = tuple((_read_attributes(one.attributes), one) for one in getattr(metric, kind).data_points)
                yield Metric(metric.name, metric.unit, kind, points, resource, scoped.scope.name)


def _read_logs(message: ExportLogsServiceRequest) -> Iterator[LogRecord]:
    for group in message.resource_logs:
        resource = _read_attributes(group.resource.attributes)
        for scoped in group.scope_logs:
            for record in scoped.log_records:
                yield LogRecord(
                    body=_read_value(record.body),
                    severity=record.severity_text,
                    attributes=_read_attributes(record.attributes),
                    trace_id=record.trace_id.hex(),
                    span_id=record.span_id.hex(),
                    resource=resource,
                    scope=scoped.scope.name,
                )


def _read_attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _read_value(pair.value) for pair in pairs}


def _read_value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_read_value(one) for one in value.array_value.values]
    if kind == "kvlist_value":
        return _read_attributes(value.kvlist_value.values)
    return None if kind is None else getattr(value, kind)
