"""Capture what the log writes, for its tests."""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bandmaster.contrib.logging import LogSettings, configure_logging
from bandmaster.contrib.logging.pipeline import Pipeline
from bandmaster.contrib.logging.rendering import JsonRenderer
from bandmaster.contrib.logging.repeats import RepeatLimit
from bandmaster.kernel import KernelSettings, Redactor


def make_settings(**values) -> LogSettings:
    return LogSettings(**{"take_over": "always", "format": "json", **values})


class Captured:
    """The lines that were written; complete once the log is closed."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def events(self) -> list[dict]:
        return [json.loads(line) for line in self.text.splitlines()]

    def named(self, event: str) -> list[dict]:
        return [each for each in self.events if each["event"] == event]

    def one(self, event: str) -> dict:
        (found,) = self.named(event)
        return found


@contextmanager
def replaced_stderr(captured: Captured) -> Iterator[None]:
    before, sys.stderr = sys.stderr, captured.stream
    try:
        yield
    finally:
        sys.stderr = before


@contextmanager
def logged(settings: LogSettings | None = None, **values) -> Iterator[Captured]:
    """Take over the log, and capture what it writes."""
    captured = Captured()
    with replaced_stderr(captured):
        scope = configure_logging(settings or make_settings(**values), kernel=KernelSettings())
        with scope:
            yield captured


class Lines(list):
    """A sink that keeps the lines."""

    def write(self, line: bytes, *, urgent: bool = False) -> None:
        self.append(line)

    @property
    def events(self) -> list[dict]:
        return [json.loads(line) for line in self]


class Clock:
    """A clock that the test owns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_pipeline(*, redactor=None, limit=16 * 1024, repeat_limit=None, interval=10.0, clock=None):
    """A pipeline, with the list of the lines that it writes."""
    lines, clock = Lines(), clock or Clock()
    repeats = None if repeat_limit is None else RepeatLimit(repeat_limit, interval, clock)
    made = Pipeline(
        redactor or Redactor(),
        JsonRenderer(limit),
        lines,
        longest_exception=limit * 3 // 4,
        repeats=repeats,
        clock=clock,
    )
    return made, lines


def find_log_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "bandmaster-log"]
