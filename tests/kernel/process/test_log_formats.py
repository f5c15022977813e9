"""Tests of bandmaster.kernel.process.log_formats."""

import json
import logging
import sys

import pytest

from bandmaster.kernel.logs import FieldLogger
from bandmaster.kernel.process.log_formats import ConsoleFormatter, JsonFormatter

AT = 1_790_000_000.0126


def make_record(name="shop", *, level=logging.INFO, message="sold %d", arguments=(7,), created=AT, **more):
    """A record of a library that knows nothing of fields."""
    record = logging.makeLogRecord({"name": name, "levelno": level, "msg": message, "args": arguments, **more})
    record.levelname, record.created = logging.getLevelName(level), created
    return record


def make_own_record(event="sold", name="bandmaster.kernel", **fields):
    """A record of a `FieldLogger`."""
    records = []
    logger = logging.getLogger(name)
    level, propagates = logger.level, logger.propagate
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    handler = logging.Handler()
    handler.emit = records.append
    logger.addHandler(handler)
    FieldLogger(logger).info(event, **fields)
    logger.removeHandler(handler)
    logger.setLevel(level)
    logger.propagate = propagates
    records[0].created = AT
    return records[0]


def raised(error):
    try:
        raise error
    except type(error):
        return sys.exc_info()


def console(record, **options):
    return ConsoleFormatter(**options).format(record)


def in_json(record):
    return json.loads(JsonFormatter().format(record))


def test_a_line_for_people():
    """The time is in UTC with milliseconds; the kernel's own name isn't repeated on every line."""
    assert "2026-09-21T14:13:20.013Z info    sold seats=7" == console(make_own_record(seats=7))
    others = make_own_record(name="bandmaster.redis")
    assert "2026-09-21T14:13:20.013Z info    bandmaster.redis: sold" == console(others)
    assert "2026-09-21T14:13:20.013Z info    shop: sold 7" == console(make_record())


def test_an_object_for_programs():
    """The object has time, level, logger, event and every field, with its own type."""
    assert {
        "time": "2026-09-21T14:13:20.013Z",
        "level": "info",
        "logger": "bandmaster.kernel",
        "event": "sold",
        "seats": 7,
        "names": ["a"],
    } == in_json(make_own_record(seats=7, names=["a"]))


def test_a_record_of_a_library():
    """The message is the event; the caller's extras are fields, and uvicorn's coloured message isn't."""
    told = in_json(make_record(order=3, color_message="\x1b[1msold"))
    assert ("sold 7", 3) == (told["event"], told["order"])
    assert {"time", "level", "logger", "event", "order"} == told.keys()
    assert console(make_record(order=3)).endswith("shop: sold 7 order=3")


def test_a_field_with_the_name_of_a_key():
    """A field can't replace the time, the level or the event of a line."""
    told = in_json(make_record(time="noon", logger="other"))
    assert ("2026-09-21T14:13:20.013Z", "noon", "shop", "other") == (
        told["time"],
        told["time_"],
        told["logger"],
        told["logger_"],
    )


@pytest.mark.parametrize("value", [float("nan"), {(1, 2): 3}, {1, 2}, object()])
def test_values_that_json_does_not_know(value):
    """A line is valid JSON with any value of a field."""
    assert "value" in in_json(make_own_record(value=value))


def test_a_traceback():
    """A traceback stands below the line, or is one value of the object."""
    error = raised(LookupError("no luck"))
    shown = console(make_record(exc_info=error)).splitlines()
    assert (True, "Traceback (most recent call last):", "LookupError: no luck") == (
        shown[0].endswith("sold 7"),
        shown[1],
        shown[-1],
    )
    assert in_json(make_record(exc_info=error))["exception"].endswith("LookupError: no luck")
    assert "Stack (most recent call last):" in console(make_record(stack_info="Stack (most recent call last):"))


def test_fields_of_several_lines():
    """A value of several lines stands below the line."""
    assert console(make_own_record(where="a\nb", seats=7)).endswith("sold seats=7\nwhere:\n  a\n  b")
    assert console(make_own_record(where="a\nb")).endswith("sold\nwhere:\n  a\n  b")


@pytest.mark.parametrize(("level", "begins"), [(logging.ERROR, "\x1b[31merror  \x1b[0m"), (logging.INFO, "info   ")])
def test_levels_in_colour(level, begins):
    """Warnings and errors are coloured where colours are wanted."""
    assert begins in console(make_record(level=level), colors=True)


def test_no_line_looks_like_another_record():
    """A library's message can't begin a line of its own, nor move the cursor of a terminal."""
    shown = console(make_record(message="a\n2026-01-01T00:00:00.000Z info    b\x1b[2K", arguments=()))
    assert "\x1b" not in shown
    assert 1 == len([line for line in shown.splitlines() if line.startswith("20")])
