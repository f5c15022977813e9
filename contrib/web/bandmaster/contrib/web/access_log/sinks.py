"""Where the access log's records go."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any, Literal, Protocol, TextIO

from bandmaster.contrib.web.access_log.lines import AccessRecord, json_line, text_line


class AccessSink(Protocol):
    """What takes the access log's records over, where a component provides one.

    ```python
    @lifespan(band=LifespanBand.OBSERVABILITY)
    async def shipping() -> AsyncIterator[AccessSink]:
        yield Shipping()
    ```
    """

    def write(self, record: AccessRecord) -> None:
        """Take one record; called in the event loop, so it mustn't wait.

        Whatever it raises, the request isn't harmed: the record counts as lost.
        """
        ...


class StreamSink:
    """Writes lines to a text stream, each whole, in one call and at once."""

    def __init__(self, stream: TextIO | None, line: Callable[[AccessRecord], str]) -> None:
        self._stream = stream
        self._line = line
        self._descriptor = _descriptor(stream)
        self._torn = False

    def write(self, record: AccessRecord) -> None:
        """Write the record's line.

        Raises:
            OSError: it can't be written, or not all of it.
            ValueError: the stream is closed, or there is none.
        """
        stream, line = self._stream, self._line(record)
        if stream is None:
            raise ValueError("the process has no such stream")
        if self._descriptor is None:
            stream.write(line)
            stream.flush()
            return
        # What others have printed comes first. It also notices that the stream is closed, when its number may be some
        # other file's already.
        stream.flush()
        content = line.encode("ascii")
        if self._torn:
            content = b"\n" + content
        written = os.write(self._descriptor, content)
        if written != len(content):
            self._write_rest(self._descriptor, content[written:])
        self._torn = False

    def _write_rest(self, descriptor: int, rest: bytes) -> None:
        # On a full disk the first half may go well. What comes next is not to be glued to it.
        self._torn = True
        while rest:
            rest = rest[os.write(descriptor, rest) :]


class StructlogSink:
    """Hands records to structlog, which adds the time, and says how they look and where they go."""

    def __init__(self) -> None:
        # Imported for those who want it: it costs as much as half of starlette.
        import structlog

        self._unbound = structlog.get_logger("bandmaster.web.access")
        self._logger: Any = None

    def write(self, record: AccessRecord) -> None:
        """Log the record as an event, at its level."""
        if self._logger is None:
            # Once, and late: structlog may be configured when layers have been made.
            self._logger = self._unbound.bind()
        log = self._logger.info if record.level == "info" else self._logger.warning
        log(record.event, **record.fields())


def standard_sink(form: Literal["auto", "json", "text", "structlog"], stream: TextIO | None) -> AccessSink:
    """The sink that the setting means; ``auto`` is text where the stream is a terminal, else JSON."""
    if form == "structlog":
        return StructlogSink()
    if form == "auto":
        form = "text" if _is_terminal(stream) else "json"
    return StreamSink(stream, text_line if form == "text" else json_line)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, ValueError):  # a stand-in that has no such method; closed
        return False


def _descriptor(stream: TextIO | None) -> int | None:
    """The file descriptor that a stream's text ends up in as it is; none if something else may become of it."""
    if type(stream) is not io.TextIOWrapper:
        return None
    raw = getattr(stream.buffer, "raw", stream.buffer)
    return raw.fileno() if type(raw) is io.FileIO and not raw.closed else None
