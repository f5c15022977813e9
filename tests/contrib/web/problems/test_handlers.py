"""Exceptions that the error handlers answer, on hosts of every kind."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Mount
from tests.contrib.web.problems.hosts import (
    HOSTS,
    ORIGIN,
    SECRET,
    ForeignError,
    SoldOut,
    build_host,
    compose,
    fetch,
    transient,
)

from bandmaster.contrib.web import ProblemDetails, install_problems, problem_response
from bandmaster.kernel import PermanentError, TransientError
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("FA-3", "XC-E2")
@pytest.mark.parametrize("kind", HOSTS)
@pytest.mark.parametrize(
    ("error", "expected", "headers"),
    [
        (HTTPException(404), {"status": 404, "title": "Not Found"}, {}),
        (HTTPException(418, "No coffee."), {"status": 418, "title": "I'm a Teapot", "detail": "No coffee."}, {}),
        (HTTPException(401, headers={"WWW-Authenticate": "Bearer"}), {"status": 401}, {"www-authenticate": "Bearer"}),
        (SoldOut("1 seat left.", left=1), {"status": 409, "title": "Sold out", "type": SoldOut.type, "left": 1}, {}),
        (transient(None), {"status": 503}, {"retry-after": "7"}),
        (transient(1.2), {"status": 503}, {"retry-after": "2"}),
        (transient(-1), {"status": 503}, {"retry-after": "0"}),
        (PermanentError(SECRET), {"status": 500}, {}),
        (ZeroDivisionError(SECRET), {"status": 500, "title": "Internal Server Error"}, {}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_every_error_is_a_problem(kind: str, error: Exception, expected: dict, headers: dict) -> None:
    """Every error has the same form and the request's id, and pages of other origins can read it."""
    response = await fetch(compose(build_host(kind, error)))
    problem = response.json()
    assert {"type": "about:blank", **expected}.items() <= problem.items()
    assert (expected["status"], "application/problem+json") == (response.status_code, response.headers["content-type"])
    assert (response.headers["x-request-id"], "/") == (problem["request_id"], problem["instance"])
    common = {"cache-control": "no-store", "access-control-allow-origin": ORIGIN["origin"]}
    assert {**common, **headers} == {name: response.headers[name] for name in {**common, **headers}}
    assert "nosniff" == response.headers["x-content-type-options"]
    assert SECRET not in response.text


@pytest.mark.requirement("FA-3")
@pytest.mark.parametrize("kind", ["starlette", "fastapi"])
async def test_the_routers_own_errors_are_problems(kind: str) -> None:
    """A 404 and a 405 of the router are problems, and the 405 lists the allowed methods."""
    app = compose(build_host(kind, ZeroDivisionError()))
    async with run(app) as running:
        missing = await running.client.get("/missing")
        wrong = await running.client.request("DELETE", "/")
    assert [(404, "Not Found"), (405, "Method Not Allowed")] == [
        (response.json()["status"], response.json()["title"]) for response in (missing, wrong)
    ]
    assert "GET" in wrong.headers["allow"]


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("kind", ["starlette", "fastapi"])
async def test_an_http_exception_that_is_no_error_stays(kind: str, status: int) -> None:
    """An HTTPException may be a redirect, or a response without a body."""
    nothing = await fetch(compose(build_host(kind, HTTPException(status, headers={"x-why": "nothing"}))))
    redirect = await fetch(compose(build_host(kind, HTTPException(307, headers={"location": "/there"}))))
    assert (status, b"", "nothing") == (nothing.status_code, nothing.content, nothing.headers["x-why"])
    assert (307, "/there") == (redirect.status_code, redirect.headers["location"])


async def test_a_detail_that_is_no_text_becomes_data() -> None:
    """FastAPI allows any JSON value as the detail."""
    error = HTTPException(400, {"code": "E1"})  # type: ignore[arg-type]
    problem = (await fetch(compose(build_host("fastapi", error)))).json()
    assert ({"code": "E1"}, False) == (problem["data"], "detail" in problem)


async def test_head_gets_no_body() -> None:
    """The layer answers HEAD with the headers of GET (RFC 9110, 9.3.2)."""
    app = compose(build_host("bare", ZeroDivisionError()), without=("unhandled_error",))
    async with run(app) as running:
        response = await running.client.head("/")
    assert (500, b"") == (response.status_code, response.content)
    assert int(response.headers["content-length"]) > 100


@pytest.mark.parametrize("kind", HOSTS)
async def test_a_browser_gets_a_page(kind: str) -> None:
    """A client whose Accept header prefers HTML gets an HTML page."""
    response = await fetch(compose(build_host(kind, ZeroDivisionError(SECRET))), accept="text/html,*/*;q=0.8")
    assert (500, True) == (response.status_code, response.headers["content-type"].startswith("text/html"))
    assert "<h1>500 Internal Server Error</h1>" in response.text
    assert SECRET not in response.text


@pytest.mark.requirement("FA-3")
@pytest.mark.parametrize("kind", HOSTS)
async def test_debug_shows_the_traceback(kind: str) -> None:
    """With debug on, browsers get Starlette's page and programs get members with the traceback."""
    app = compose(build_host(kind, ZeroDivisionError(SECRET)), debug=True)
    page = await fetch(app, accept="text/html")
    problem = (await fetch(app)).json()
    assert "Traceback" in page.text
    assert SECRET in page.text
    assert f"ZeroDivisionError: {SECRET}" == problem["exception"]
    assert any("in endpoint" in line or "in bare" in line for line in problem["traceback"])


class SecretError(Exception):
    def __str__(self) -> str:
        return SECRET

    __repr__ = __str__


secret_texts = st.text(max_size=5).map(lambda around: f"{around}{SECRET}{around}")


@st.composite
def secret_exceptions(draw: Any) -> Exception:
    """An exception with the secret in every place that can have one."""
    kind = draw(st.sampled_from([ValueError, KeyError, OSError, PermanentError, TransientError, SecretError]))
    error: Exception = kind(draw(secret_texts))
    error.add_note(draw(secret_texts))
    error.__cause__ = ValueError(draw(secret_texts))
    error.__context__ = KeyError(draw(secret_texts))
    if draw(st.booleans()):
        error = ExceptionGroup(draw(secret_texts), [error])
    return error


@pytest.mark.requirement("FA-3", "XC-E2")
@pytest.mark.parametrize("kind", HOSTS)
@given(error=secret_exceptions(), accept=st.sampled_from(["text/html", "*/*"]))
@settings(max_examples=15, deadline=None)
def test_no_response_shows_an_exception(kind: str, error: Exception, accept: str) -> None:
    """A response has neither the text of an exception nor its notes, its cause and its context."""

    async def main() -> None:
        response = await fetch(compose(build_host(kind, error)), accept=accept)
        assert response.status_code in (500, 503)
        seen = repr([(name, response.headers[name]) for name in response.headers]) + response.text
        assert SECRET not in seen

    anyio.run(main)


@pytest.mark.requirement("CF-17")
@pytest.mark.parametrize("kind", HOSTS)
async def test_an_unhandled_exception_goes_on_to_the_server(kind: str) -> None:
    """As with Starlette alone, the client has its answer and the server still sees the exception."""
    async with run(compose(build_host(kind, ZeroDivisionError("mine")))) as running:
        with pytest.raises(ZeroDivisionError, match="mine"):
            await running.client.get("/")


async def test_another_handler_can_answer_with_a_problem() -> None:
    """An application's own handler can use `problem_response`."""

    async def own(request: Request, error: Exception) -> Any:
        return problem_response(request, ProblemDetails(status=402, detail="Pay."), {"x-price": "1"})

    host = build_host("starlette", ForeignError())
    host.add_exception_handler(ForeignError, own)
    response = await fetch(compose(host))
    assert (402, "Pay.", "1") == (response.status_code, response.json()["detail"], response.headers["x-price"])
    assert response.json()["request_id"] == response.headers["x-request-id"]


async def test_a_mounted_app_can_have_the_same_handlers() -> None:
    """A mounted app has its own error handling, which install_problems extends."""
    inner = build_host("starlette", HTTPException(404))
    host = Starlette(routes=[Mount("/in", inner)])
    assert "text/plain; charset=utf-8" == (await fetch(compose(host), "/in/")).headers["content-type"]
    install_problems(inner)
    inner.middleware_stack = None
    assert "/in/" == (await fetch(compose(host), "/in/")).json()["instance"]
