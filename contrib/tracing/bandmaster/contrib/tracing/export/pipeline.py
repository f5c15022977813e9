"""Connect queue, redaction, exporter and reports: everything between the end of a span and the collector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from bandmaster.contrib.tracing.configuration import TracingConfiguration
from bandmaster.contrib.tracing.export.export_log import ExportLog
from bandmaster.contrib.tracing.export.exporters import AbortableExporter
from bandmaster.contrib.tracing.export.quiet_loggers import ThreadLogFilter, quiet_exporters
from bandmaster.contrib.tracing.export.redaction import SpanRedactor
from bandmaster.contrib.tracing.export.span_queue import SpanQueue
from bandmaster.contrib.tracing.opentelemetry_internals import suppress_instrumentation
from bandmaster.kernel import Redactor


class SpanExport:
    """Exports batches, redacted, and notes how that went. Called by one thread."""

    def __init__(
        self, exporter: AbortableExporter, redactor: Redactor, log: ExportLog, records: ThreadLogFilter
    ) -> None:
        self._exporter = exporter.exporter
        self._redactor = redactor
        self._spans = SpanRedactor(redactor)
        self._log = log
        self._records = records

    def __call__(self, batch: Sequence[ReadableSpan]) -> None:
        """Export a batch. Never raises."""
        try:
            redacted = [self._spans.redact(span) for span in batch]
            # The exporter's own calls make no spans, in case somebody instruments requests or gRPC.
            with suppress_instrumentation():
                succeeded = self._exporter.export(redacted) is SpanExportResult.SUCCESS
            reason = self._records.take_reason()
        except Exception as error:  # noqa: BLE001  # an exporter of somebody else; telemetry must not end the thread
            succeeded, reason = False, f"{type(error).__name__}: {error}"
        if succeeded:
            self._log.note_success()
        else:
            self._log.note_failure(len(batch), self._redactor.redact_text(reason or "the collector refused them"))


@contextmanager
def open_queue(
    exporter: AbortableExporter, configuration: TracingConfiguration, redactor: Redactor, close_timeout: float
) -> Iterator[SpanQueue]:
    """A queue that exports. The caller shuts it down, in a thread that may take ``close_timeout`` seconds."""
    log = ExportLog("spans", exporter.address)
    with quiet_exporters() as records:
        queue = SpanQueue(
            SpanExport(exporter, redactor, log, records),
            size=configuration.queue_size.value,
            batch_size=min(configuration.batch_size.value, configuration.queue_size.value),
            delay=configuration.batch_delay.value,
            close_timeout=close_timeout,
            abort=exporter.close,
            report_lost=log.note_dropped,
        )
        records.thread = queue.thread
        try:
            yield queue
        finally:
            exporter.close()
            log.close()
