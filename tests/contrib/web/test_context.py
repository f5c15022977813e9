"""Request ids and the request's context."""

from __future__ import annotations

import re

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from bandmaster.contrib.web import RequestContextLayer, WebSettings, new_request_id, request_id
from bandmaster.kernel import create_app
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio


async def _tell(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request_id() or "")


def _app(*, trust: bool = False):
    return create_app(
        Starlette(routes=[Route("/", _tell)]),
        contributions=[RequestContextLayer],
        discover=False,
        overrides={WebSettings: WebSettings(trust_request_id=trust)},
    )


async def test_a_handler_and_the_client_see_the_same_id() -> None:
    """The id in the response's header is the one that the handler saw."""
    async with run(_app()) as running:
        response = await running.http.get("/")
    assert response.headers["x-request-id"] == response.text


async def test_a_stranger_cannot_choose_the_id() -> None:
    """Without trust, what the client sends is ignored."""
    async with run(_app()) as running:
        response = await running.http.get("/", headers={"x-request-id": "mine"})
    assert response.headers["x-request-id"] != "mine"


async def test_a_trusted_proxy_can() -> None:
    """With trust, a well-formed id is taken over as it is."""
    async with run(_app(trust=True)) as running:
        response = await running.http.get("/", headers={"x-request-id": "Az09._-"})
    assert response.headers["x-request-id"] == "Az09._-"


@pytest.mark.parametrize("sent", ["", "a" * 129, "a b", "\x1b[31m", "x\ty", "ä"])
async def test_an_id_that_could_forge_something_is_replaced(sent: str) -> None:
    """Even a trusted proxy can't pass on control characters, spaces or 30 kB."""
    async with run(_app(trust=True)) as running:
        response = await running.http.get("/", headers=[(b"x-request-id", sent.encode("utf-8"))])
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])


@pytest.mark.requirement("FA-16")
async def test_outside_a_request_there_is_none() -> None:
    """The id is gone when the request is."""
    async with run(_app()) as running:
        await running.http.get("/")
    assert request_id() is None


async def test_ids_are_uuids_of_version_seven_in_the_order_of_time() -> None:
    """RFC 9562: 48 bits of milliseconds, version 7, variant 10."""
    ids = [new_request_id() for _ in range(1000)]
    assert 1000 == len(set(ids))
    assert sorted(one[:12] for one in ids) == [one[:12] for one in ids]
    assert {("7", True)} == {(one[12], one[16] in "89ab") for one in ids}
