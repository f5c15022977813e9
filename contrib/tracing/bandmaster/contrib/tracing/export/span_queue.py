"""The bounded queue of ended spans, and the thread that exports them in batches."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TypeAlias

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

Export: TypeAlias = Callable[[Sequence[ReadableSpan]], None]
"""Exports a batch, and reports the failure itself. Called by the thread of the queue alone."""


class SpanQueue(SpanProcessor):
    """Keeps ended spans until a thread of its own has exported them.

    The end of a span costs an append to a queue. When ``size`` spans wait, the newest are dropped and counted, so that
    neither memory nor the latency of requests depends on the collector. ``delay`` is in seconds. ``abort`` interrupts
    an export under way, and is called when the time for closing is over. ``report_lost`` gets the numbers of spans that
    were dropped before they came to an export.

    The thread is a daemon. A process that is forked from this one starts a thread of its own at its first span.
    """

    def __init__(
        self,
        export: Export,
        *,
        size: int,
        batch_size: int,
        delay: float,
        close_timeout: float,
        abort: Callable[[], None],
        report_lost: Callable[[int], None],
    ) -> None:
        self._export = export
        self._size = size
        self._batch_size = batch_size
        self._delay = delay
        self._close_timeout = close_timeout
        self._abort = abort
        self._report_lost = report_lost
        self._closed = False
        self._start()

    def _start(self) -> None:
        self._spans: deque[ReadableSpan] = deque()
        self._wake = threading.Event()
        self._progress = threading.Condition()
        self._added = self._done = self._dropped = 0
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="bandmaster span export", daemon=True)
        self._thread.start()

    @property
    def thread(self) -> threading.Thread:
        """The thread that exports."""
        return self._thread

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """A span that begins needs nothing here."""

    def on_end(self, span: ReadableSpan) -> None:
        """Keep a sampled span for the export, or count the span as dropped."""
        context = span.context
        if context is None or not context.trace_flags & 1:
            return
        if self._pid != os.getpid():
            self._start()  # the parent exports what it had in the queue
        spans = self._spans
        if self._closed or len(spans) >= self._size:
            self._dropped += 1
            return
        spans.append(span)
        self._added += 1
        if len(spans) >= self._batch_size and not self._wake.is_set():
            self._wake.set()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Export all that has ended so far. Returns whether that was done within the timeout."""
        wanted = self._added
        self._wake.set()
        with self._progress:
            return self._progress.wait_for(lambda: self._done >= wanted, timeout_millis / 1000)

    def shutdown(self) -> None:
        """Export the remaining spans within the timeout for closing, then drop the rest. Blocks that long at most."""
        if self._closed:
            return
        self._closed = True
        self._wake.set()
        deadline = monotonic() + self._close_timeout
        self._thread.join(self._close_timeout)
        if self._thread.is_alive():
            self._spans_given_up()
            self._abort()
            # An interrupted export ends at once; one that can't be interrupted keeps its thread, which is a daemon.
            self._thread.join(max(0.05 * self._close_timeout, deadline - monotonic()))
        self._tell_dropped()

    def _spans_given_up(self) -> None:
        while self._spans:
            self._spans.popleft()
            self._dropped += 1

    def _run(self) -> None:
        thread = threading.current_thread()
        while thread is self._thread:
            self._wake.wait(self._delay)
            self._wake.clear()
            closed = self._closed  # before the export: a span that ends during it is exported in the next round
            self._export_all()
            self._tell_dropped()
            if closed:
                return

    def _export_all(self) -> None:
        left = len(self._spans)
        while left > 0 and self._spans:
            batch: list[ReadableSpan] = []
            while self._spans and len(batch) < self._batch_size:
                batch.append(self._spans.popleft())
            left -= len(batch)
            try:
                self._export(batch)
            finally:
                with self._progress:
                    self._done += len(batch)
                    self._progress.notify_all()

    def _tell_dropped(self) -> None:
        dropped, self._dropped = self._dropped, 0
        if dropped:
            self._report_lost(dropped)
