"""Render events as lines: JSON for programs, text for people. An event is one line of a bounded size."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import orjson

from bandmaster.kernel import render_console_head, render_console_line

Renderer: TypeAlias = Callable[[float, str, str, str, Mapping[str, Any], str], bytes]
"""Renders time, level, logger, event, fields and evidence (a traceback, or nothing) as a line with its newline."""

TAKEN = frozenset(("time", "level", "logger", "event", "exception"))
"""The keys of every event. A field of such a name gets a ``_`` at the end."""
_CUT = "... [cut] ..."
_LEAST_TEXT = 16
_MILLISECONDS = tuple(f"{millisecond:03}Z" for millisecond in range(1000))


class JsonRenderer:
    """Renders one JSON object (RFC 8259) for each event: time, level, logger, event, fields, exception."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._second = 0
        self._shown_second = ""

    def __call__(
        self, created: float, level: str, logger: str, event: str, fields: Mapping[str, Any], evidence: str
    ) -> bytes:
        """Render an event. Lines of more than the limit have their longest texts cut."""
        data = {"time": self._render_time(created), "level": level, "logger": logger, "event": event, **fields}
        if evidence:
            data["exception"] = evidence
        try:
            line = orjson.dumps(data, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:  # such as a lone surrogate in a logger's name
            line = json.dumps(data, default=str).encode("ascii", "backslashreplace") + b"\n"
        return line if len(line) <= self._limit else _render_cut(data, self._limit)

    def _render_time(self, created: float) -> str:
        """A time in UTC with milliseconds, in the format of RFC 3339."""
        created += 0.0005
        second = int(created)
        shown = self._shown_second
        if second != self._second or not shown:
            # The text first: another thread may look at both in between.
            self._shown_second = shown = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
            self._second = second
        return shown + _MILLISECONDS[int((created - second) * 1000)]


class ConsoleRenderer:
    """Renders a line for people, in the form that the launcher has: tracebacks stand below the line."""

    def __init__(self, limit: int, *, colors: bool = False) -> None:
        self._limit = limit
        self._colors = colors

    def __call__(
        self, created: float, level: str, logger: str, event: str, fields: Mapping[str, Any], evidence: str
    ) -> bytes:
        """Render an event. A line above the limit is cut in the middle."""
        head = render_console_head(created, level, colors=self._colors)
        text = f"{head} {render_console_line(logger, event, fields)}" + (f"\n{evidence}" if evidence else "")
        line = text.encode("utf-8", "backslashreplace")
        if len(line) >= self._limit:
            line = cut_middle(text, (self._limit - 1) // 4).encode("utf-8", "backslashreplace")
        return line + b"\n"


def cut_middle(text: str, length: int) -> str:
    """A text of at most ``length`` characters: the beginning and the end of a longer one.

    >>> cut_middle("Traceback: a long story that ends with KeyError", 40)
    'Traceback: a ... [cut] ...with KeyError'
    """
    if len(text) <= length:
        return text
    half = max(0, (length - len(_CUT)) // 2)
    return f"{text[:half]}{_CUT}{text[len(text) - half :]}"


def _render_cut(data: dict[str, Any], limit: int) -> bytes:
    """Render an event whose texts are cut until the line fits; the fields that still don't fit are left out."""
    length = limit
    while length >= _LEAST_TEXT:
        length //= 2
        cut = {name: _cut_value(value, length) for name, value in data.items()}
        line = orjson.dumps({**cut, "cut": True}, option=orjson.OPT_APPEND_NEWLINE)
        if len(line) <= limit:
            return line
    kept = {name: _cut_value(data[name], 64) for name in ("time", "level", "logger", "event")}
    return orjson.dumps({**kept, "cut": True}, option=orjson.OPT_APPEND_NEWLINE)


def _cut_value(value: Any, length: int) -> Any:
    if not isinstance(value, str):
        if not isinstance(value, dict | list):
            return value
        value = orjson.dumps(value, default=str).decode("utf-8", "replace")
        if len(value) <= length:
            return orjson.loads(value)
    return cut_middle(value.encode("utf-8", "backslashreplace").decode("utf-8"), length)
