"""The arguments that OTLP exporters of spans and of metrics share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bandmaster.contrib.tracing.choices import ExportConfiguration
from bandmaster.kernel import PermanentError

if TYPE_CHECKING:
    import requests


class ExporterRefusedError(PermanentError):
    """An exporter can't be made with these settings, which waiting doesn't mend."""


def make_http_arguments(configuration: ExportConfiguration, session: requests.Session) -> dict[str, Any]:
    """The arguments of an exporter by HTTP."""
    from opentelemetry.exporter.otlp.proto.http import Compression

    tls = configuration.tls.value
    return {
        "endpoint": configuration.endpoint.value,
        "certificate_file": _name_file(tls.authorities),
        "client_certificate_file": _name_file(tls.certificate),
        "client_key_file": _name_file(tls.key),
        "headers": configuration.headers.value,
        "timeout": configuration.timeout.value,
        "compression": Compression(configuration.compression.value),
        "session": session,
    }


def make_grpc_arguments(configuration: ExportConfiguration) -> dict[str, Any]:
    """The arguments of an exporter by gRPC.

    Raises:
        ExporterRefusedError: the extra isn't installed, or a file of TLS can't be read.
    """
    try:
        import grpc  # type: ignore[import-untyped]  # no stubs are installed
        import opentelemetry.exporter.otlp.proto.grpc  # noqa: F401
    except ImportError as error:
        source = configuration.protocol.source
        raise ExporterRefusedError(
            f"{source} is grpc, and the exporter for gRPC isn't installed; install bandmaster-tracing[grpc], or set "
            f"{source} to http/protobuf"
        ) from error
    tls, url = configuration.tls.value, configuration.endpoint.value
    credentials = None
    if url.startswith("https://"):
        files = (tls.authorities, tls.key, tls.certificate)
        credentials = grpc.ssl_channel_credentials(*map(_read_file, files))
    return {
        "endpoint": url,
        "insecure": url.startswith("http://"),
        "credentials": credentials,
        "headers": configuration.headers.value,
        "timeout": configuration.timeout.value,
        "compression": grpc.Compression.Gzip if configuration.compression.value == "gzip" else None,
    }


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
