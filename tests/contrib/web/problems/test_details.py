"""What a problem says."""

from __future__ import annotations

import pytest

from bandmaster.contrib.web.problems.details import RESERVED_MEMBERS, ProblemDetails, title_of, validation_errors


@pytest.mark.parametrize(
    ("status", "title"),
    [(404, "Not Found"), (413, "Content Too Large"), (422, "Unprocessable Content"), (499, "Error")],
)
def test_a_status_has_a_title(status: int, title: str) -> None:
    """As RFC 9110 calls it, whatever Python's version."""
    assert title == title_of(status) == ProblemDetails(status=status).title


@pytest.mark.parametrize("status", [200, 399, 600])
def test_only_errors_are_problems(status: int) -> None:
    """And it says so."""
    with pytest.raises(ValueError, match=f"400 to 599, got {status}"):
        ProblemDetails(status=status)


@pytest.mark.parametrize("name", sorted(RESERVED_MEMBERS))
def test_a_member_that_means_something_else_is_refused(name: str) -> None:
    """It would overwrite what every problem has."""
    with pytest.raises(ValueError, match=name):
        ProblemDetails(status=400, members={name: 1})


@pytest.mark.parametrize(
    ("location", "place"),
    [
        (("body", "items", 0, "price"), {"pointer": "#/items/0/price"}),
        (("body",), {"pointer": "#"}),
        ((), {"pointer": "#"}),
        (("body", "a/b~c d%"), {"pointer": "#/a~1b~0c%20d%25"}),
        (("other", "x"), {"pointer": "#/other/x"}),
        (("query", "limit"), {"in": "query", "parameter": "limit"}),
        (("query", "filter", "name"), {"in": "query", "parameter": "filter.name"}),
        (("header", "x-token"), {"in": "header", "parameter": "x-token"}),
    ],
)
def test_what_is_wrong_has_a_place(location: tuple[object, ...], place: dict[str, str]) -> None:
    """In the body a pointer, elsewhere a parameter; the input is never repeated."""
    error = {"loc": location, "msg": "No.", "input": "a secret", "ctx": {"error": "a secret"}, "url": "https://x"}
    assert ({**place, "detail": "No."},) == validation_errors([error])
