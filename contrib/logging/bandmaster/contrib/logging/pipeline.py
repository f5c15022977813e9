"""The way of every event: fields from its surroundings, limit of repeats, redaction, rendering, sink."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeAlias

from bandmaster.contrib.logging.fields import add_surroundings
from bandmaster.contrib.logging.rendering import TAKEN, Renderer, cut_middle
from bandmaster.contrib.logging.repeats import RepeatLimit
from bandmaster.kernel import Redactor, render_traceback

DEBUG, INFO, WARNING, ERROR, CRITICAL = 10, 20, 30, 40, 50
_NAMES = {DEBUG: "debug", INFO: "info", WARNING: "warning", ERROR: "error", CRITICAL: "critical"}
_REMEMBERED_TEXT = 200
"""Characters of an event up to which the redacted text is remembered."""
OWN_LOGGER = "bandmaster.logging"


class EventKey(NamedTuple):
    """Events with the same key are equal: their fields and times don't count."""

    logger: str
    level: int
    event: str
    error: str


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One event after the redaction: every value is plain, and none is a secret, except in ``error``."""

    time: float
    """Seconds of Unix time."""
    level: int
    """The level, as a number of the standard library."""
    logger: str
    event: str
    fields: Mapping[str, Any]
    exception: str
    """The traceback; empty without one."""
    error: BaseException | None = None
    """The exception itself, for listeners that read the frames."""
    template: str = ""
    """The text without values, if the source has one: all events of one kind have the same."""


LogListener: TypeAlias = Callable[[LogEvent], object]


class LineSink(Protocol):
    """Takes rendered lines."""

    def write(self, line: bytes, *, urgent: bool = False) -> None:
        """Take one line, without waiting."""
        ...


class Pipeline:
    """Takes events from every source, and writes them in one format. No method raises an exception.

    A source gives an event before anything is redacted. Events of the level warning and above are limited by
    ``repeats`` where they are equal.
    """

    def __init__(
        self,
        redactor: Redactor,
        render: Renderer,
        sink: LineSink,
        *,
        longest_exception: int,
        repeats: RepeatLimit[EventKey] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.failed = 0
        """Number of events that couldn't be rendered."""
        self.listeners: tuple[LogListener, ...] = ()
        self._redact = redactor.redact_mapping
        self._redact_value = redactor.redact
        self._redact_text = redactor.redact_text
        self._redact_known = lru_cache(maxsize=2048)(redactor.redact_text)
        self._render = render
        self._write = sink.write
        self._longest_exception = longest_exception
        self._repeats = repeats
        self._clock = clock

    def emit(
        self,
        level: int,
        logger: str,
        event: object,
        fields: dict[str, Any],
        *,
        exception: BaseException | None = None,
        evidence: str = "",
        error: BaseException | None = None,
        template: str = "",
        created: float | None = None,
        limited: bool = True,
    ) -> None:
        """Write one event. The pipeline may change ``fields``, which are the caller's own.

        ``evidence`` is a traceback or a stack as text, which stands below that of ``exception``; ``error`` is the
        exception that such a text describes. ``template`` is the event without values, where the source has one. An
        event that isn't ``limited`` is written however often it repeats.
        """
        try:
            text = event if type(event) is str else str(event)
            if level >= WARNING and limited and self._repeats is not None:
                key = EventKey(logger, level, text[:_REMEMBERED_TEXT], _describe_error(fields, exception))
                left_out = self._repeats.admit(key)
                if left_out is None:
                    return
                if left_out:
                    fields["left_out"] = left_out
            shown: dict[str, Any] = add_surroundings(fields, self._redact_known)
            if fields:
                if not TAKEN.isdisjoint(fields):
                    fields = {f"{name}_" if name in TAKEN else name: value for name, value in fields.items()}
                shown |= self._redact(fields)
            # A text of megabytes is redacted as a value is, in parts: within a bounded time.
            text = self._redact_known(text) if len(text) <= _REMEMBERED_TEXT else str(self._redact_value(text))
            if exception is not None or evidence:
                evidence = self._render_evidence(exception, evidence)
            if created is None:
                created = self._clock()
            name = _NAMES.get(level) or _name_level(level)
            self._write(self._render(created, name, logger, text, shown, evidence), urgent=level >= WARNING)
            for listener in self.listeners:
                listener(LogEvent(created, level, logger, text, shown, evidence, exception or error, template))
        except Exception as failure:  # noqa: BLE001  # a log must not fail the code that logs
            self.failed += 1
            self._report_failure(logger, failure)

    def tell_repeats(self, *, all_of_them: bool = False) -> None:
        """Write how many equal events were left out in intervals that are over, unless a later event tells that."""
        if self._repeats is None:
            return
        for key, left_out in self._repeats.take_overdue(all_of_them=all_of_them).items():
            fields = {"repeated": key.event, "of": key.logger, "left_out": left_out}
            if key.error:
                fields["error"] = key.error
            self.emit(key.level, OWN_LOGGER, "equal events were left out", fields, limited=False)

    def render_loss(self, count: int) -> bytes:
        """The line that tells how many events were dropped, because the reader of the stream was too slow."""
        return self._render(
            self._clock(),
            "warning",
            OWN_LOGGER,
            "events were dropped, because the log isn't read",
            {"dropped": count},
            "",
        )

    def _render_evidence(self, exception: BaseException | None, evidence: str) -> str:
        """Tracebacks without the values of variables, redacted, then cut in the middle."""
        if exception is not None:
            rendered = render_traceback(exception)
            evidence = f"{rendered}\n{evidence}" if evidence else rendered
        # The most important line of a traceback is the last one, so a long one is cut in the middle. Whole lines are
        # kept: the part of a line that is cut away may be what tells that the rest is a secret.
        longest = 4 * self._longest_exception
        if len(evidence) > longest:
            head, _, _ = evidence[: longest // 2].rpartition("\n")
            _, _, tail = evidence[-longest // 2 :].partition("\n")
            evidence = f"{head}\n...\n{tail}"
        return cut_middle(self._redact_text(evidence), self._longest_exception)

    def _report_failure(self, logger: str, error: Exception) -> None:
        try:
            fields = {"of": logger, "error": type(error).__name__}
            line = self._render(self._clock(), "error", OWN_LOGGER, "an event can't be rendered", fields, "")
            self._write(line, urgent=True)
        except Exception:  # noqa: BLE001  # nothing is left that could tell it
            return


def _name_level(level: int) -> str:
    """The name of a level between the known ones: that of the next lower one."""
    return next((name for number, name in reversed(_NAMES.items()) if level >= number), "debug")


def _describe_error(fields: Mapping[str, Any], exception: BaseException | None) -> str:
    """The type of an event's error and the line that raised it, or the text of the field ``error``."""
    if exception is None:
        error = fields.get("error")
        return error[:_REMEMBERED_TEXT] if isinstance(error, str) else ""
    place = exception.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = "" if place is None else f" at {place.tb_frame.f_code.co_filename}:{place.tb_lineno}"
    return f"{type(exception).__name__}{where}"
