"""Problems rendered as JSON and as HTML pages."""

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
def test_standard_members_come_first() -> None:
    """Unknown members are left out, and extension members come last."""
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


def test_an_explicit_instance_is_kept() -> None:
    """The path is the instance only of problems that have no other."""
    assert "urn:x:1" == collect_members(ProblemDetails(status=400, instance="urn:x:1"), path="/")["instance"]


class Level(IntEnum):
    HIGH = 3


class Unprintable:
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
        (Unprintable(), "Unprintable"),
    ],
)
def test_any_value_becomes_json(value: object, expected: object) -> None:
    """Rendering a problem never raises, whatever value a member has."""
    assert expected == json.loads(json.dumps(to_json_value(value)))
    assert type(expected) is type(to_json_value(value))


def test_a_circular_value_ends() -> None:
    """Members are rendered up to a depth."""
    circle: list[object] = []
    circle.append(circle)
    assert '[[[[[[[["..."]]]]]]]]' == json.dumps(to_json_value(circle))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates() | st.uuids(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.binary(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), anything), st.text(st.characters(codec=None)), st.text())
def test_any_problem_renders_as_json_and_as_a_page(members: dict[str, object], path: str, detail: str) -> None:
    """Any member, path and text can be rendered, and text is read back unchanged."""
    problem = ProblemDetails(
        status=400,
        detail=detail,
        members={name: value for name, value in members.items() if name not in RESERVED_MEMBERS},
    )
    rendered = collect_members(problem, path=path)
    assert rendered == json.loads(render_json(rendered), parse_constant=pytest.fail)
    assert detail == rendered["detail"]
    assert b"<script" not in render_html(rendered).lower()


def test_a_page_is_escaped() -> None:
    """A detail may contain text that a client sent."""
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
def test_only_clients_that_prefer_html_get_a_page(accept: str, html: bool) -> None:
    """Programs that name no media type, or every one, get JSON (RFC 9110, 12.5.1)."""
    assert html == prefers_html(accept)
    _, media_type = render_problem(ProblemDetails(status=400), path="/", accept=accept, request_id=None, trace_id=None)
    assert ("text/html" if html else "application/problem+json") == media_type


@given(st.text())
def test_any_accept_header_can_be_parsed(accept: str) -> None:
    """A malformed Accept header raises nothing."""
    assert prefers_html(accept) in (True, False)
