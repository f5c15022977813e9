"""A line of the log, with redaction, compared with structlog's own fastest set-up and with what people use otherwise.

CPU time of the process for each line, threads included, written to /dev/null; rounds are shuffled, figures are medians.
Every line has the fields of a request, in whichever way the set-up adds them. Each round has another depth of calls, as
applications have. Quote the ratios, never the times. `python benchmarks/bench_logging.py [--rounds 22] [--lines 5000]`
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import structlog
from structlog.contextvars import bound_contextvars, merge_contextvars

from bandmaster.contrib.logging import LogSettings, configure_logging
from bandmaster.contrib.web import bind, request_context
from bandmaster.kernel import Redactor

Log = Callable[[int], object]
FIELDS = {"tenant": "acme", "user": "kim"}
NATIVE = "structlog + orjson"
OURS = "bandmaster-logging"


def log_event(logger) -> Log:
    """Log an event as applications do: a constant text, a few fields."""
    return lambda number: logger.info("order placed", order=number, customer="c-3", total=12.5, paid=True)


@contextmanager
def configured(processors, factory) -> Iterator[Log]:
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    try:
        with bound_contextvars(request_id="0" * 32, **FIELDS):
            yield log_event(structlog.get_logger("shop"))
    finally:
        structlog.reset_defaults()


PROCESSORS = [
    merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]


@contextmanager
def native() -> Iterator[Log]:
    with Path(os.devnull).open("wb") as stream:
        render = structlog.processors.JSONRenderer(serializer=orjson.dumps)
        with configured([*PROCESSORS, render], structlog.BytesLoggerFactory(stream)) as log:
            yield log


@contextmanager
def native_with_redaction() -> Iterator[Log]:
    redactor = Redactor()
    with Path(os.devnull).open("wb") as stream:
        render = structlog.processors.JSONRenderer(serializer=orjson.dumps)
        redact = lambda logger, method, event: redactor.redact_mapping(event)  # noqa: E731
        with configured([*PROCESSORS, redact, render], structlog.BytesLoggerFactory(stream)) as log:
            yield log


@contextmanager
def native_with_json() -> Iterator[Log]:
    with Path(os.devnull).open("w") as stream:
        render = structlog.processors.JSONRenderer()
        with configured([*PROCESSORS, render], structlog.PrintLoggerFactory(stream)) as log:
            yield log


@contextmanager
def bridge() -> Iterator[Log]:
    """The standard library below structlog, as its documentation shows for one format for both."""
    with Path(os.devnull).open("w") as stream:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                processors=[
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.JSONRenderer(serializer=lambda event, **_: orjson.dumps(event).decode()),
                ],
                foreign_pre_chain=PROCESSORS,
            )
        )
        with standard_handler(handler):
            structlog.configure(
                processors=[*PROCESSORS, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
                wrapper_class=structlog.stdlib.BoundLogger,
                logger_factory=structlog.stdlib.LoggerFactory(),
                cache_logger_on_first_use=True,
            )
            try:
                with bound_contextvars(request_id="0" * 32, **FIELDS):
                    yield log_event(structlog.get_logger("shop"))
            finally:
                structlog.reset_defaults()


@contextmanager
def standard_handler(handler: logging.Handler) -> Iterator[None]:
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


class JsonFormatter(logging.Formatter):
    def format(self, record):
        return json.dumps({"time": record.created, "level": record.levelname, "event": record.getMessage(), **FIELDS})


@contextmanager
def standard() -> Iterator[Log]:
    with Path(os.devnull).open("w") as stream:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(JsonFormatter())
        with standard_handler(handler):
            logger = logging.getLogger("shop")
            yield lambda number: logger.info(
                "order placed order=%d customer=%s total=%s paid=%s", number, "c-3", 12.5, True
            )


@contextmanager
def ours() -> Iterator[Log]:
    with our_log():
        yield log_event(structlog.get_logger("shop"))


@contextmanager
def ours_with_bound_fields() -> Iterator[Log]:
    with our_log():
        bind(basket=3, step="pay")
        yield log_event(structlog.get_logger("shop"))


@contextmanager
def ours_from_the_standard_library() -> Iterator[Log]:
    with our_log():
        logger = logging.getLogger("shop")
        extra = {"customer": "c-3", "total": 12.5, "paid": True}
        yield lambda number: logger.info("order placed", extra={"order": number, **extra})


@contextmanager
def our_log() -> Iterator[None]:
    before, sys.stderr = sys.stderr, Path(os.devnull).open("w")  # noqa: SIM115
    settings = LogSettings(format="json", take_over="always", buffer_bytes=1024**3)
    try:
        with configure_logging(settings), request_context("0" * 32, **FIELDS):
            yield
    finally:
        sys.stderr.close()
        sys.stderr = before


SETUPS = {
    NATIVE: native,
    "structlog + orjson + redaction": native_with_redaction,
    "structlog + json": native_with_json,
    "structlog over logging": bridge,
    "logging + json": standard,
    OURS: ours,
    f"{OURS}, bound fields": ours_with_bound_fields,
    f"{OURS}, from logging": ours_from_the_standard_library,
}


def measure_at(depth: int, setup, lines: int) -> float:
    """Measure with as many calls on the stack: CPython 3.11 is slower where a call needs a new piece of stack."""
    return measure_at(depth - 1, setup, lines) if depth else measure(setup, lines)


def measure(setup, lines: int) -> float:
    """Microseconds of CPU time for one line; what a thread still writes is waited for."""
    began = time.process_time_ns()
    with setup() as log:
        entered = time.process_time_ns()
        for number in range(lines):
            log(number)
        took = time.process_time_ns() - entered
        left = time.process_time_ns()
    # The sink's thread writes the rest while the set-up ends.
    setting_up = entered - began
    return (took + max(0, time.process_time_ns() - left - setting_up)) / lines / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=22)
    parser.add_argument("--lines", type=int, default=5000)
    arguments = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in SETUPS}
    for setup in SETUPS.values():
        measure(setup, 200)
    for number in range(arguments.rounds):
        for name in random.sample(list(SETUPS), len(SETUPS)):
            times[name].append(measure_at(4 * (number % 11), SETUPS[name], arguments.lines))
    print(f"{'':36}{'µs':>8}{'ratio':>8}")
    for name, taken in times.items():
        # Ratios of the same round, since other work of the machine slows both.
        ratio = statistics.median(one / other for one, other in zip(taken, times[NATIVE], strict=True))
        print(f"{name:36}{statistics.median(taken):8.1f}{ratio:8.2f}")


if __name__ == "__main__":
    main()
