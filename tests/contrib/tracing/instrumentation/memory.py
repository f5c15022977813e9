"""A provider of spans that keeps what it has made: the spans that have ended, and those that haven't."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler


class Memory(SpanProcessor):
    """Keeps spans in the order of their ends."""

    def __init__(self, sampler: Sampler = ALWAYS_ON) -> None:
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False, meter_provider=NoOpMeterProvider())
        self.provider.add_span_processor(self)
        self.spans: list[ReadableSpan] = []
        self._open: dict[int, str] = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self._open[id(span)] = span.name

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)

    def _on_ending(self, span: Span) -> None:
        del self._open[id(span)]

    @property
    def open(self) -> list[str]:
        """The names of spans that have begun and not ended."""
        return list(self._open.values())

    @property
    def names(self) -> list[str]:
        """The names of the spans that have ended."""
        return [span.name for span in self.spans]

    def one(self, name: str | None = None) -> ReadableSpan:
        """The only span, or the only one of a name."""
        (span,) = [span for span in self.spans if name in (None, span.name)]
        return span
