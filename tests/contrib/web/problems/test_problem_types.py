"""Problem types: exceptions to raise, and handlers for exceptions of other packages."""

from __future__ import annotations

import pytest
from tests.contrib.web.problems.hosts import HOSTS, ForeignError, SoldOut, build_host, build_socket_host, compose, fetch

from bandmaster.contrib.web import ProblemHandler, problem_type
from bandmaster.kernel.testing import WebSocketRefused, run

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("FA-3")
@pytest.mark.parametrize("kind", HOSTS)
async def test_a_problem_type_answers_a_foreign_exception(kind: str) -> None:
    """An exception of another package is answered on hosts of every kind."""
    part = problem_type(
        ForeignError,
        name="foreign",
        status=409,
        type="https://example.com/problems/x",
        title="Sold out",
        detail=str,
        members=lambda error: {"left": error.left},
        headers={"x-why": "sold"},
    )
    response = await fetch(compose(build_host(kind, ForeignError("2 left")), part))
    expected = {"status": 409, "title": "Sold out", "detail": "2 left", "left": 2}
    assert expected.items() <= response.json().items()
    assert "sold" == response.headers["x-why"]


async def test_a_problem_type_refuses_a_websocket() -> None:
    """A problem type refuses a WebSocket with its problem."""
    part = problem_type(ForeignError, name="foreign", status=409, title="Sold out", detail="None left.")
    async with run(compose(build_socket_host("starlette", ForeignError(), accepting=False), part)) as running:
        with pytest.raises(WebSocketRefused) as refused:
            async with running.websocket("/"):
                pass
    assert (409, "None left.") == (refused.value.status_code, refused.value.response.json()["detail"])


def test_a_problem_type_is_checked_when_it_is_made() -> None:
    """A wrong status is reported by the declaration, not by the first exception."""
    with pytest.raises(ValueError, match="400 to 599"):
        problem_type(ForeignError, name="foreign", status=200)
    with pytest.raises(ValueError, match="errors, title"):
        SoldOut("No.", title="x", errors=[])


def test_equal_handlers_compare_equal() -> None:
    """A host that several applications wrap in turn gets each handler once."""
    assert ProblemHandler(409, title="x") == ProblemHandler(409, title="x")
