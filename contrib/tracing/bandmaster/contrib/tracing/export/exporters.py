"""Make the exporter that the configuration names."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter

from bandmaster.contrib.tracing.addresses import hide_userinfo
from bandmaster.contrib.tracing.configuration import TracingConfiguration
from bandmaster.kernel import PermanentError


class ExporterRefusedError(PermanentError):
    """An exporter can't be made with these settings, which waiting doesn't mend."""


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
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    from bandmaster.contrib.tracing.export.abortable_session import make_session

    tls = configuration.tls.value
    session, connections = make_session()
    exporter = OTLPSpanExporter(
        endpoint=configuration.endpoint.value,
        certificate_file=_name_file(tls.authorities),
        client_certificate_file=_name_file(tls.certificate),
        client_key_file=_name_file(tls.key),
        headers=configuration.headers.value,
        timeout=configuration.timeout.value,
        compression=Compression(configuration.compression.value),
        session=session,
    )

    return AbortableExporter(exporter, hide_userinfo(configuration.endpoint.value), connections.end)


def _make_grpc_exporter(configuration: TracingConfiguration) -> AbortableExporter:
    try:
        import grpc  # type: ignore[import-untyped]  # no stubs are installed
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        source = configuration.protocol.source
        raise ExporterRefusedError(
            f"{source} is grpc, and the exporter for gRPC isn't installed; install bandmaster-tracing[grpc], or set "
            f"{source} to http/protobuf"
        ) from error
    tls, url = configuration.tls.value, configuration.endpoint.value
    credentials = None
    if url.startswith("https://"):
        credentials = grpc.ssl_channel_credentials(
            _read_file(tls.authorities), _read_file(tls.key), _read_file(tls.certificate)
        )
    exporter = OTLPSpanExporter(
        endpoint=url,
        insecure=url.startswith("http://"),
        credentials=credentials,
        headers=configuration.headers.value,
        timeout=configuration.timeout.value,
        compression=grpc.Compression.Gzip if configuration.compression.value == "gzip" else None,
    )
    return AbortableExporter(exporter, hide_userinfo(url))


def _name_file(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _read_file(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExporterRefusedError(
            f"{path}: {error.strerror}; the connection to the collector needs this file"
        ) from error
