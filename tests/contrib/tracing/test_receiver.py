"""The collector of the tests decodes what the exporters of the official SDK send."""

from __future__ import annotations

import threading

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from tests.contrib.tracing.receiver import Receiver, open_receiver


def test_spans_and_metrics_arrive_with_their_attributes(receiver: Receiver) -> None:
    """Names, kinds, parents, attributes and the resource are those that were sent."""
    provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=f"{receiver.url}/v1/traces")))
    tracer = provider.get_tracer("tests")
    with tracer.start_as_current_span("outer"), tracer.start_as_current_span("inner", attributes={"n": 1}):
        pass
    provider.shutdown()
    inner, outer = receiver.wait_for_span("inner"), receiver.wait_for_span("outer")
    assert inner.parent_id == outer.span_id
    assert (inner.attributes, inner.kind, inner.resource) == ({"n": 1}, "INTERNAL", {"service.name": "shop"})
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=f"{receiver.url}/v1/metrics"))
    meters = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    meters.get_meter("tests").create_counter("sold", unit="1").add(3, {"kind": "book"})
    meters.shutdown()
    metric = receiver.wait_for(lambda one: next((each for each in one.metrics if each.name == "sold"), None))
    assert [(attributes, point.as_int) for attributes, point in metric.points] == [({"kind": "book"}, 3)]


@pytest.mark.parametrize(("mode", "status"), [("503", 503), ("400", 400)])
def test_a_refusal_keeps_nothing(mode: str, status: int) -> None:
    """A collector that refuses has the request and no spans."""
    with open_receiver(mode) as receiver:  # type: ignore[arg-type]
        provider = TracerProvider(shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{receiver.url}/v1/traces", timeout=1)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        provider.get_tracer("tests").start_span("lost").end()
        provider.shutdown()
        assert (len(receiver.exports) >= 1, receiver.spans) == (True, [])


def test_a_receiver_that_hangs_lets_go_at_its_close() -> None:
    """A request that got no answer ends when the receiver is closed."""
    ended = threading.Event()
    with open_receiver("hang") as receiver:
        exporter = OTLPSpanExporter(endpoint=f"{receiver.url}/v1/traces", timeout=30)

        def export() -> None:
            exporter.export([])
            ended.set()

        thread = threading.Thread(target=export)
        thread.start()
        receiver.wait_for_exports(1)
        assert not ended.is_set()
        exporter.shutdown()
    assert ended.wait(20)
    thread.join()
