"""Lines of JSON and of text."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmaster.contrib.logging.rendering import ConsoleRenderer, JsonRenderer, cut_middle

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=20,
)


def test_the_time_is_in_utc_with_milliseconds() -> None:
    """Times are rounded to milliseconds, also into the next second."""
    render = JsonRenderer(2000)
    times = [json.loads(render(at, "info", "a", "b", {}, ""))["time"] for at in (0.0, 0.9996, 1.5, 1.4999)]
    assert [
        "1970-01-01T00:00:00.000Z",
        "1970-01-01T00:00:01.000Z",
        "1970-01-01T00:00:01.500Z",
        "1970-01-01T00:00:01.500Z",
    ] == times


@given(st.text(max_size=3000), st.dictionaries(st.text(max_size=40), VALUES, max_size=30), st.text(max_size=3000))
def test_a_line_is_one_json_object_of_a_bounded_size(event, fields, evidence) -> None:
    """Whatever the fields are, the line is one object, is no longer than the limit, and has the keys of every event."""
    fields = {name: value for name, value in fields.items() if name.isprintable()}
    event = event.encode("utf-8", "replace").decode()
    line = JsonRenderer(1024)(1.5, "info", "shop", event, fields, evidence)
    assert len(line) <= 1024
    assert 1 == line.count(b"\n") and line.endswith(b"\n")
    read = json.loads(line)
    assert {"time", "level", "logger", "event"} <= set(read)


@pytest.mark.requirement("OBS-L10")
def test_the_longest_text_is_cut() -> None:
    """Short fields of an event that is too long are whole, and the event says that it was cut."""
    read = json.loads(JsonRenderer(2000)(1.5, "info", "a", "b", {"long": "x" * 9000, "order": "o-7", "n": 3}, ""))
    assert ("o-7", 3, True) == (read["order"], read["n"], read["cut"])
    assert read["long"].startswith("xxx") and "[cut]" in read["long"]


def test_the_end_of_a_traceback_stays() -> None:
    """A long traceback loses its middle: the error stands at the end."""
    evidence = "Traceback\n" + "  frame\n" * 5000 + "KeyError: 'the cause'"
    read = json.loads(JsonRenderer(4096)(1.5, "error", "a", "b", {}, evidence))
    assert read["exception"].startswith("Traceback") and read["exception"].endswith("KeyError: 'the cause'")


def test_a_lone_surrogate_is_no_failure() -> None:
    """What JSON in UTF-8 can't hold is escaped."""
    assert json.loads(JsonRenderer(2000)(1.5, "info", "a\ud800", "b", {}, ""))


def test_text_for_people() -> None:
    """The line is the launcher's: time, level, logger, event, fields; a traceback stands below."""
    line = ConsoleRenderer(4096)(1.5, "warning", "shop", "order lost", {"order": 7, "why": "no queue"}, "Trace\nError")
    assert b'1970-01-01T00:00:01.500Z warning shop: order lost order=7 why="no queue"\nTrace\nError\n' == line


def test_colors_are_for_terminals() -> None:
    """Warnings and errors are coloured where the caller says that a terminal reads them."""
    assert b"\x1b[31m" in ConsoleRenderer(4096, colors=True)(1.5, "error", "a", "b", {}, "")
    assert b"\x1b" not in ConsoleRenderer(4096)(1.5, "error", "a", "b", {}, "")


def test_a_value_of_a_client_forges_no_line() -> None:
    """Ends of lines and control characters in an event can't look like another event."""
    line = ConsoleRenderer(4096)(
        1.5, "info", "a", "x\n1970-01-01T00:00:01.500Z info forged\x1b[2J", {"b": "\x1b[31m"}, ""
    )
    _, *others = line.decode().splitlines()
    assert all(other.startswith("  ") for other in others)
    assert "\x1b" not in line.decode()


@given(st.text(max_size=200), st.integers(0, 100))
def test_cut_texts_are_short_enough(text, length) -> None:
    """A cut text has the beginning and the end of the whole one."""
    cut = cut_middle(text, length)
    assert len(cut) <= max(length, 13)
    assert cut == text or re.match(re.escape(cut.partition("... [cut] ...")[0]), text)


def test_a_long_line_for_people_is_cut() -> None:
    """Text is bounded as well."""
    assert len(ConsoleRenderer(1024)(1.5, "info", "a", "é" * 9000, {}, "")) <= 1024
