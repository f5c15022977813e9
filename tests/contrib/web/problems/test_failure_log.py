"""The log events of exceptions."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.contrib.web.problems.hosts import HOSTS, SECRET, build_host, compose, fetch, transient
from tests.logged import capture_logs

from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("kind", HOSTS)
async def test_an_exception_is_logged_once_with_the_request_id(kind: str) -> None:
    """The log event has the traceback, the path, the status and the request's id."""
    error = ZeroDivisionError(SECRET)
    with capture_logs() as logs:
        response = await fetch(compose(build_host(kind, error)))
    logged = [entry for entry in logs if entry["event"] == "unhandled error"]
    assert [("error", "/", 500, response.headers["x-request-id"])] == [
        (entry["log_level"], entry["path"], entry["status"], entry["request_id"]) for entry in logged
    ]
    assert logged[0]["exception"].startswith("Traceback")
    assert logged[0]["exception"].endswith(f"ZeroDivisionError: {SECRET}")


@pytest.mark.parametrize(
    ("error", "level"), [(HTTPException(404), None), (transient(1), "warning"), (HTTPException(502), "warning")]
)
async def test_expected_errors_are_logged_at_a_lower_level(error: Exception, level: str | None) -> None:
    """A 404 is not logged, since the client caused it. A transient error is a warning without a traceback."""
    with capture_logs() as logs:
        await fetch(compose(build_host("starlette", error)))
    logged = [entry["log_level"] for entry in logs if entry["event"] in ("request failed", "unhandled error")]
    assert ([] if level is None else [level]) == logged


async def test_a_disconnect_is_not_logged() -> None:
    """A client that disconnects is not answered, and its leaving is not logged as an error."""

    async def endpoint(request: Request) -> PlainTextResponse:
        await request.body()
        raise AssertionError

    app = compose(Starlette(routes=[Route("/", endpoint, methods=["POST"])]))
    with capture_logs() as logs:
        async with run(app) as running:
            sent: list[Any] = []
            scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"host", b"x")], "query_string": b""}

            async def receive() -> dict[str, str]:
                return {"type": "http.disconnect"}

            async def send(message: Any) -> None:
                sent.append(message)

            try:
                await running.app(scope, receive, send)
            except Exception as error:
                assert "Disconnect" in type(error).__name__
    assert [] == [entry for entry in logs if entry["event"] == "unhandled error"]
