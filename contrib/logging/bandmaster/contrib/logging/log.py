"""The log of an application: a pipeline with its sink, for other parts."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from bandmaster.contrib.logging.pipeline import EventKey, LogListener, Pipeline
from bandmaster.contrib.logging.rendering import ConsoleRenderer, JsonRenderer
from bandmaster.contrib.logging.repeats import RepeatLimit
from bandmaster.contrib.logging.settings import LogSettings, find_level
from bandmaster.contrib.logging.sink import BoundedSink
from bandmaster.contrib.logging.takeover.process_log import PROCESS_LOG, Claim
from bandmaster.contrib.logging.writers import make_writer
from bandmaster.kernel import KernelSettings, Redactor


class Log:
    """The log of an application, from its start to its stop.

    Other parts ask for a log by type, to see each event.
    """

    def __init__(self, pipeline: Pipeline, sink: BoundedSink, claim: Claim | None) -> None:
        self.pipeline = pipeline
        self.sink = sink
        self._claim = claim

    @property
    def is_active(self) -> bool:
        """Whether this log takes over the log of the process."""
        return self._claim is not None

    @property
    def dropped(self) -> int:
        """Number of events that weren't written, because the reader of the stream was too slow."""
        return self.sink.dropped

    @contextmanager
    def listening(self, listener: LogListener) -> Iterator[None]:
        """Call a function with each `LogEvent` until the block ends, in the thread that logs.

        The function must not block. An event that the function itself logs goes to all listeners as well, so such a
        function must leave out its own events.
        """
        self.pipeline.listeners = (*self.pipeline.listeners, listener)
        try:
            yield
        finally:
            self.pipeline.listeners = tuple(each for each in self.pipeline.listeners if each is not listener)

    @contextmanager
    def taking_over(self) -> Iterator[None]:
        """Take over the log of the process, unless the settings say otherwise, until the block ends."""
        try:
            if self._claim is None:
                yield
            else:
                with PROCESS_LOG.claimed(self._claim):
                    yield
        finally:
            self.pipeline.tell_repeats(all_of_them=True)


def make_log(settings: LogSettings, kernel: KernelSettings, redactor: Redactor, *, drops_access: bool = True) -> Log:
    """The log that the settings describe. The caller closes its sink."""
    stream = sys.stdout if settings.stream == "stdout" else sys.stderr
    pipeline, sink = _make_pipeline(settings, kernel, redactor, stream)
    claim = None
    if takes_over(settings):
        levels = {name: find_level(level) for name, level in settings.levels.items()}
        claim = Claim(pipeline, settings.choose_level(kernel), levels, drops_access)
    return Log(pipeline, sink, claim)


@contextmanager
def configure_logging(settings: LogSettings | None = None, *, kernel: KernelSettings | None = None) -> Iterator[Log]:
    """Log as an application with this package does, in a program without a kernel, until the block ends.

    ```python
    with configure_logging():
        main()
    ```

    ``settings`` and ``kernel`` are read from the environment unless given. Inside an application whose log this
    package has already, and in several threads at once, the newest call decides; afterwards all is as before.
    """
    settings = LogSettings() if settings is None else settings
    kernel = KernelSettings() if kernel is None else kernel
    log = make_log(settings, kernel, settings.make_redactor())
    try:
        with log.taking_over():
            yield log
    finally:
        log.sink.flush(settings.flush_timeout)
        log.sink.close()


def takes_over(settings: LogSettings) -> bool:
    """Whether the log of the process is to be taken over; ``auto`` leaves it to pytest in a test run."""
    if settings.take_over == "auto":
        import logging

        return not any(type(each).__module__.partition(".")[0] == "_pytest" for each in logging.getLogger().handlers)
    return settings.take_over == "always"


def _make_pipeline(
    settings: LogSettings, kernel: KernelSettings, redactor: Redactor, stream: TextIO | None
) -> tuple[Pipeline, BoundedSink]:
    is_terminal = _is_terminal(stream)
    longest = settings.max_event_bytes
    render: JsonRenderer | ConsoleRenderer = JsonRenderer(longest)
    if settings.choose_format(kernel, is_terminal=is_terminal) == "console":
        render = ConsoleRenderer(longest, colors=is_terminal and not settings.no_color)
    sink = BoundedSink(make_writer(stream, longest), settings.buffer_bytes, lambda count: pipeline.render_loss(count))
    repeats: RepeatLimit[EventKey] | None = None
    if settings.repeat_limit is not None:
        repeats = RepeatLimit(settings.repeat_limit, settings.repeat_interval, time.monotonic)
    pipeline = Pipeline(redactor, render, sink, longest_exception=longest * 3 // 4, repeats=repeats)
    return pipeline, sink


def _is_terminal(stream: TextIO | None) -> bool:
    with suppress(AttributeError, ValueError):  # a replacement of the stream without the method; a closed stream
        return stream is not None and stream.isatty()
    return False
