"""Problems as JSON and as pages."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import IntEnum
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmaster.contrib.web.problems.details import RESERVED_MEMBERS, ProblemDetails
from bandmaster.contrib.web.problems.rendering import (
    collect_members,
    prefers_html,
    render_html,
    render_json,
    render_problem,
    to_json_value,
)


@pytest.mark.requirement("FA-3", "XC-E2")
def test_members_stand_in_the_order_in_which_people_read_them() -> None:
    """What isn't known is left out; what belongs to the kind of problem comes last."""
    problem = ProblemDetails(status=409, type="https://example.com/sold-out", title="Sold out", members={"left": 1})
    members = collect_members(problem, path="/shows/a b", request_id="one", trace_id="two")
    assert {
        "type": "https://example.com/sold-out",
        "title": "Sold out",
        "status": 409,
        "instance": "/shows/a%20b",
        "request_id": "one",
        "trace_id": "two",
        "left": 1,
    } == members
    assert ["type", "title", "status", "instance", "request_id", "trace_id", "left"] == list(members)


def test_an_instance_of_its_own_stays() -> None:
    """The path is what is taken where nothing better is known."""
    assert "urn:x:1" == collect_members(ProblemDetails(status=400, instance="urn:x:1"), path="/")["instance"]


class Level(IntEnum):
    HIGH = 3


class Rude:
    def __str__(self) -> str:
        raise RuntimeError


class Shout(str):
    def __str__(self) -> str:
        return "SHOUT"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a\xff", "a\ufffd"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (Decimal("1.50"), "1.50"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        ({1: (2, {3})}, {"1": [2, [3]]}),
        (Level.HIGH, 3),
        (True, True),
        ("\ud800", "?"),
        (Shout("quiet"), "quiet"),
        (Rude(), "Rude"),
    ],
)
def test_any_value_can_be_told(value: object, expected: object) -> None:
    """There is no error in answering an error."""
    assert expected == json.loads(json.dumps(to_json_value(value)))
    assert type(expected) is type(to_json_value(value))


def test_a_circle_ends() -> None:
    """At some depth."""
    circle: list[object] = []
    circle.append(circle)
    assert '[[[[[[[["..."]]]]]]]]' == json.dumps(to_json_value(circle))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates() | st.uuids(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.binary(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), anything), st.text(st.characters(codec=None)), st.text())
def test_whatever_a_problem_holds_is_json_and_a_page(members: dict[str, object], path: str, detail: str) -> None:
    """Any member, any path, any text; what is text comes back as it was."""
    problem = ProblemDetails(
        status=400,
        detail=detail,
        members={name: value for name, value in members.items() if name not in RESERVED_MEMBERS},
    )
    told = collect_members(problem, path=path)
    assert told == json.loads(render_json(told), parse_constant=pytest.fail)
    assert detail == told["detail"]
    assert b"<script" not in render_html(told).lower()


def test_a_page_is_escaped() -> None:
    """What a client sent may stand in a detail."""
    problem = ProblemDetails(status=404, detail="<script>alert(1)</script>", members={"<b>": "&"})
    page = render_html(collect_members(problem, path="/<i>")).decode()
    assert "<script>" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert "<h1>404 Not Found</h1><p>&lt;script&gt;" in page


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        ("", False),
        ("*/*", False),
        ("text/html", True),
        ("TEXT/HTML ; Q=1.0", True),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("application/xhtml+xml", True),
        ("application/json, text/plain, */*", False),
        ("text/html, application/json", False),
        ("text/html;q=0.5, application/json;q=0.4", True),
        ("text/html;q=0.5, application/problem+json", False),
        ("text/html;q=0.5, */*", False),
        ("text/html;q=0", False),
        ("text/html;q=nan", False),
        ("text/html;q=2", False),
        ("text/html;q=", False),
        ("text/html;level=1", True),
        ("image/png", False),
        (";;,,;q", False),
    ],
)
def test_a_page_is_for_those_who_clearly_want_one(accept: str, html: bool) -> None:
    """Programs that name nothing, or everything, get JSON (RFC 9110, 12.5.1)."""
    assert html == prefers_html(accept)
    _, media_type = render_problem(ProblemDetails(status=400), path="/", accept=accept, request_id=None, trace_id=None)
    assert ("text/html" if html else "application/problem+json") == media_type


@given(st.text())
def test_no_accept_header_is_too_strange(accept: str) -> None:
    """Whatever a client sends there is read."""
    assert prefers_html(accept) in (True, False)
