"""The sinks that write the access log's records: a stream, the standard library's logging, or a component."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Literal, Protocol, TextIO

from bandmaster.contrib.web.access_log.lines import json_line, text_line
from bandmaster.contrib.web.access_log.records import AccessRecord
from bandmaster.kernel import get_logger


class AccessSink(Protocol):
    """Writes the access log's records. A component that provides one replaces the sink that the settings name.

    ```python
    @lifespan(band=LifespanBand.OBSERVABILITY)
    async def shipping() -> AsyncIterator[AccessSink]:
        yield Shipping()
    ```
    """

    def write(self, record: AccessRecord) -> None:
        """Write one record. The event loop calls this method, which must not block.

        An exception counts the record as lost and does not affect the request.
        """
        ...


class InstalledAccessSink(AccessSink, Protocol):
    """The sink of an installed log, such as that of ``bandmaster-logging``.

    It receives the records if ``WEB_ACCESS_LOG`` is ``auto`` or ``logging`` and no component provides an `AccessSink`.
    """

    @property
    def is_active(self) -> bool:
        """Whether the sink writes. If not, ``WEB_ACCESS_LOG`` decides as if there were none."""
        ...


class StreamSink:
    """Writes each line to a text stream in one call, without buffering."""

    def __init__(self, stream: TextIO | None, render: Callable[[AccessRecord], str]) -> None:
        self._stream = stream
        self._render = render
        self._descriptor = find_descriptor(stream)
        self._line_is_cut = False

    def write(self, record: AccessRecord) -> None:
        """Write the record's line.

        Raises:
            OSError: the line can't be written, or not all of it.
            ValueError: the stream is closed, or the process has none.
        """
        stream, line = self._stream, self._render(record)
        if stream is None:
            raise ValueError("the process has no such stream")
        if self._descriptor is None:
            stream.write(line)
            stream.flush()
            return
        # Text that was printed before must come first. Flushing a closed stream also raises, which matters: its
        # descriptor's number may belong to another file by now.
        stream.flush()
        content = line.encode("ascii")
        if self._line_is_cut:
            content = b"\n" + content
        written = os.write(self._descriptor, content)
        if written != len(content):
            self._write_rest(self._descriptor, content[written:])
        self._line_is_cut = False

    def _write_rest(self, descriptor: int, rest: bytes) -> None:
        # A full disk may take the first half of a line and refuse the rest. The next line then begins with a newline.
        self._line_is_cut = True
        while rest:
            rest = rest[os.write(descriptor, rest) :]


class LoggingSink:
    """Logs records to the logger ``bandmaster.web.access``; its handlers add the time and render the records."""

    def __init__(self) -> None:
        self._logger = get_logger("bandmaster.web.access")

    def write(self, record: AccessRecord) -> None:
        """Log the record at its level."""
        log = self._logger.info if record.level == "info" else self._logger.warning
        log(record.event, **record.fields())


def choose_sink(
    form: Literal["auto", "json", "text", "logging"],
    sink: AccessSink | None,
    installed: InstalledAccessSink | None,
    stream: TextIO | None,
) -> AccessSink:
    """The sink that a component of the application provides, or that of an installed log, or the setting's."""
    # Compared with None, since a sink that is an empty collection is false.
    if sink is not None:
        return sink
    if installed is not None and installed.is_active and form in ("auto", "logging"):
        return installed
    return standard_sink(form, stream)


def standard_sink(form: Literal["auto", "json", "text", "logging"], stream: TextIO | None) -> AccessSink:
    """The sink for a value of ``WEB_ACCESS_LOG``; ``auto`` is text if the stream is a terminal, else JSON."""
    if form == "logging":
        return LoggingSink()
    if form == "auto":
        form = "text" if _is_terminal(stream) else "json"
    return StreamSink(stream, text_line if form == "text" else json_line)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, ValueError):  # a replacement of sys.stdout without the method; a closed stream
        return False


def find_descriptor(stream: TextIO | None) -> int | None:
    """The file descriptor that a stream writes its text to unchanged; None if the stream may change the text."""
    if type(stream) is not io.TextIOWrapper:
        return None
    raw = getattr(stream.buffer, "raw", stream.buffer)
    return raw.fileno() if type(raw) is io.FileIO and not raw.closed else None
