"""The internals of OpenTelemetry that the package relies on; a new version that changes one of them fails here."""

from __future__ import annotations

import inspect

import requests
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from requests.adapters import HTTPAdapter

from bandmaster.contrib.tracing.export.quiet_loggers import _LOGGERS
from bandmaster.contrib.tracing.opentelemetry_internals import (
    enable_provider,
    find_global_provider,
    listen_for_lost_spans,
    make_trace_state,
    suppress_instrumentation,
)


def test_the_global_provider_is_found_without_setting_it() -> None:
    """The API keeps the global provider in a variable of its module."""
    assert hasattr(trace, "_TRACER_PROVIDER")
    assert find_global_provider() is trace._TRACER_PROVIDER


def test_a_proxy_looks_for_its_tracer_in_a_property() -> None:
    """The property is replaced while somebody listens, and restored afterwards."""
    original = trace.ProxyTracer._tracer
    assert isinstance(original, property)
    heard: list[str] = []
    with listen_for_lost_spans(heard.append), listen_for_lost_spans(heard.append):
        if find_global_provider() is None:
            trace.ProxyTracer("library").start_span("x").end()
            assert heard == ["library", "library"]
    assert trace.ProxyTracer._tracer is original


def test_a_disabled_provider_can_be_enabled(monkeypatch: object) -> None:
    """The SDK's provider reads OTEL_SDK_DISABLED into an attribute."""
    provider = TracerProvider(shutdown_on_exit=False)
    assert provider._disabled is False
    provider._disabled = True
    enable_provider(provider)
    assert provider.get_tracer("x").start_span("x").is_recording()


def test_a_trace_state_takes_members_that_were_checked() -> None:
    """The API's class keeps its members in a dictionary."""
    state = make_trace_state([("1a@", "x")])
    assert (state.to_header(), state["1a@"]) == ("1a@=x", "x")


def test_instrumentations_read_the_key_that_suppresses_them() -> None:
    """The key is the one that OpenTelemetry's own instrumentations look for."""
    from opentelemetry.instrumentation.utils import is_instrumentation_enabled

    assert is_instrumentation_enabled()
    with suppress_instrumentation():
        assert not is_instrumentation_enabled()


def test_the_exporter_takes_what_it_is_given() -> None:
    """The exporter by HTTP has all arguments, and a readable span is made of its parts."""
    arguments = inspect.signature(OTLPSpanExporter.__init__).parameters
    wanted = {"endpoint", "certificate_file", "client_key_file", "client_certificate_file", "headers", "timeout"}
    assert wanted | {"compression", "session"} <= arguments.keys()
    parts = {"name", "context", "parent", "resource", "attributes", "events", "links", "kind", "status"}
    assert (
        parts | {"start_time", "end_time", "instrumentation_scope"}
        <= inspect.signature(ReadableSpan.__init__).parameters.keys()
    )


def test_the_exporters_log_by_the_names_that_are_quiet() -> None:
    """The modules of the exporters have loggers with their own names."""
    import opentelemetry.exporter.otlp.proto.grpc.exporter as by_grpc
    import opentelemetry.exporter.otlp.proto.http.trace_exporter as by_http

    assert by_http._logger.name in _LOGGERS
    assert by_grpc.logger.name in _LOGGERS


def test_the_connections_of_a_session_are_tracked() -> None:
    """A connection that the session's adapter makes is one that can be ended."""
    from bandmaster.contrib.tracing.export.abortable_session import make_session

    session, connections = make_session()
    with session:
        for url in ("http://127.0.0.1:9/", "https://127.0.0.1:9/"):
            adapter = session.get_adapter(url)
            assert isinstance(adapter, HTTPAdapter)
            pool = adapter.get_connection_with_tls_context(requests.Request("GET", url).prepare(), True)
            connection = pool._get_conn()
            assert connection in connections
            connections.end()
            pool.close()
