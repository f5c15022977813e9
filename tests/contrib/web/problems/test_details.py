"""Problem details, before they are rendered."""

from __future__ import annotations

import pytest

from bandmaster.contrib.web.problems.details import RESERVED_MEMBERS, ProblemDetails, title_of, validation_errors


@pytest.mark.parametrize(
    ("status", "title"),
    [(404, "Not Found"), (413, "Content Too Large"), (422, "Unprocessable Content"), (499, "Error")],
)
def test_a_status_has_a_title(status: int, title: str) -> None:
    """The title is the name in RFC 9110, in every version of Python."""
    assert title == title_of(status) == ProblemDetails(status=status).title


@pytest.mark.parametrize("status", [200, 399, 600])
def test_only_errors_are_problems(status: int) -> None:
    """A status outside 400 to 599 is refused, and the message names the range."""
    with pytest.raises(ValueError, match=f"400 to 599, got {status}"):
        ProblemDetails(status=status)


@pytest.mark.parametrize("name", sorted(RESERVED_MEMBERS))
def test_a_reserved_member_is_refused(name: str) -> None:
    """An extension member can't replace a standard member."""
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
def test_validation_errors_have_a_place(location: tuple[object, ...], place: dict[str, str]) -> None:
    """A place in the body is a pointer, any other place a parameter; the input is never repeated."""
    error = {"loc": location, "msg": "No.", "input": "a secret", "ctx": {"error": "a secret"}, "url": "https://x"}
    assert ({**place, "detail": "No."},) == validation_errors([error])
