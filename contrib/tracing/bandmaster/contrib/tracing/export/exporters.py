"""Make the exporter that the configuration names."""

from __future__ import annotations

import sys
from collections.abc import Callable

from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter

from bandmaster.contrib.tracing.addresses import hide_userinfo
from bandmaster.contrib.tracing.configuration import TracingConfiguration
from bandmaster.contrib.tracing.export.otlp import make_grpc_arguments, make_http_arguments


class AbortableExporter:
    """An exporter that can be closed while an export is under way in another thread.

    ``address`` is where spans go, for log events: without a password. ``interrupt`` ends an export under way.
    """

    def __init__(self, exporter: SpanExporter, address: str, interrupt: Callable[[], None] | None = None) -> None:
        self.exporter = exporter
        self.address = address
        self._interrupt = interrupt
        self._closed = False

    def close(self) -> None:
        """Close the exporter's connections. An export under way ends with a failure. Never blocks."""
        if self._closed:
            return
        self._closed = True
        self.exporter.shutdown()  # also ends a pause between two attempts
        if self._interrupt is not None:
            self._interrupt()


def make_exporter(configuration: TracingConfiguration) -> AbortableExporter | None:
    """Make the exporter; None if spans go nowhere. Nothing is connected to.

    Raises:
        ExporterRefusedError: the extra for the protocol isn't installed, or a file of TLS can't be read.
    """
    if configuration.exporter.value == "none":
        return None
    if configuration.exporter.value == "console":
        return AbortableExporter(ConsoleSpanExporter(out=sys.stdout), "standard output")
    if configuration.protocol.value == "grpc":
        return _make_grpc_exporter(configuration)
    return _make_http_exporter(configuration)


def _make_http_exporter(configuration: TracingConfiguration) -> AbortableExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    from bandmaster.contrib.tracing.export.abortable_session import make_session

    session, connections = make_session()
    exporter = OTLPSpanExporter(**make_http_arguments(configuration, session))
    return AbortableExporter(exporter, hide_userinfo(configuration.endpoint.value), connections.end)


def _make_grpc_exporter(configuration: TracingConfiguration) -> AbortableExporter:
    arguments = make_grpc_arguments(configuration)
    # Here, since the extra may not be installed.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    return AbortableExporter(OTLPSpanExporter(**arguments), hide_userinfo(configuration.endpoint.value))
