"""Requests and responses that fail validation."""

from __future__ import annotations

from importlib.metadata import distribution
from typing import Annotated, Any, Literal

import pytest
from fastapi import FastAPI, Header, Query, WebSocket
from pydantic import BaseModel, Field

from bandmaster.kernel import create_app
from bandmaster.kernel.testing import WebSocketRefused, run

pytestmark = pytest.mark.anyio

PARTS = [point.load() for name in ("bandmaster-web", "bandmaster-fastapi") for point in distribution(name).entry_points]
SECRET = "hunter2"


class Item(BaseModel):
    price: int
    tags: list[Annotated[str, Field(max_length=3)]] = []


def build_app() -> Any:
    host = FastAPI()

    @host.post("/items/{number}")
    async def create(
        number: int, item: Item, limit: Annotated[int, Query(le=10)] = 1, x_level: Annotated[int, Header()] = 0
    ) -> None: ...

    @host.get("/broken")
    async def broken() -> int:
        return SECRET  # type: ignore[return-value]

    @host.websocket("/live/{number}")
    async def live(websocket: WebSocket, number: int) -> None: ...

    return create_app(host, contributions=PARTS, discover=False)


@pytest.mark.requirement("FA-3", "XC-E2")
async def test_every_error_has_a_place_and_no_input() -> None:
    """A place in the body is a pointer, any other a parameter."""
    async with run(build_app()) as running:
        response = await running.client.post(
            f"/items/{SECRET}?limit={SECRET}",
            json={"price": SECRET, "tags": ["ok", SECRET]},
            headers={"x-level": SECRET},
        )
    problem = response.json()
    assert (422, "application/problem+json") == (response.status_code, response.headers["content-type"])
    assert {"status": 422, "title": "Unprocessable Content"}.items() <= problem.items()
    places = [{name: value for name, value in error.items() if name != "detail"} for error in problem["errors"]]
    assert [
        {"in": "path", "parameter": "number"},
        {"in": "query", "parameter": "limit"},
        {"in": "header", "parameter": "x-level"},
        {"pointer": "#/price"},
        {"pointer": "#/tags/1"},
    ] == places
    assert SECRET not in str(problem["errors"])


@pytest.mark.requirement("FA-3")
@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b"[1]", b'{"price": NaN'])
async def test_a_malformed_body(body: bytes) -> None:
    """The place of the error is the whole body."""
    async with run(build_app()) as running:
        response = await running.client.post("/items/1", content=body, headers={"content-type": "application/json"})
    assert response.status_code in (400, 422)
    assert "application/problem+json" == response.headers["content-type"]
    if response.status_code == 422:
        assert ["#"] == [error["pointer"] for error in response.json()["errors"]]


@pytest.mark.requirement("FA-3")
async def test_an_invalid_response_is_a_500() -> None:
    """The client learns nothing of the value."""
    async with run(build_app(), raise_app_exceptions=False) as running:
        response = await running.client.get("/broken")
    assert (500, 500) == (response.status_code, response.json()["status"])
    assert SECRET not in response.text


@pytest.mark.requirement("FA-3", "XC-E2")
async def test_a_websocket_is_refused() -> None:
    """A WebSocket gets the same problem before the accept."""
    async with run(build_app()) as running:
        with pytest.raises(WebSocketRefused) as refused:
            async with running.websocket(f"/live/{SECRET}"):
                pass
    assert (422, [{"in": "path", "parameter": "number"}]) == (
        refused.value.status_code,
        [{"in": error["in"], "parameter": error["parameter"]} for error in refused.value.response.json()["errors"]],
    )
    assert SECRET not in str(refused.value.response.json()["errors"])


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str]


class Basket(BaseModel):
    pets: list[Annotated[Cat | Dog, Field(discriminator="kind")]]
    label: int | list[int] = 0


class Account(BaseModel):
    number: int


def build_shelter() -> Any:
    host = FastAPI()

    @host.post("/baskets")
    async def fill(basket: Basket) -> None: ...

    @host.post("/many")
    async def many(numbers: list[int]) -> None: ...

    @host.get("/accounts", response_model=list[Account])
    async def accounts() -> list[dict[str, Any]]:
        return [{"number": 1}, {"number": SECRET}]

    return create_app(host, contributions=PARTS, discover=False)


@pytest.mark.requirement("FA-3")
@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"pets": [{"kind": "cat", "lives": "x"}]}, ["#/pets/0/lives"]),
        ({"pets": [{"kind": "cat"}]}, ["#/pets/0/lives"]),
        ({"pets": [{"kind": "dog", "tricks": ["a", 1]}]}, ["#/pets/0/tricks/1"]),
        ({"pets": [], "label": "x"}, ["#/label", "#/label"]),
        ({"pets": [], "label": [1, "x"]}, ["#/label", "#/label/1"]),
        ({"pets": [{"kind": SECRET}]}, ["#/pets/0"]),
        ({}, ["#/pets"]),
    ],
)
async def test_pointers_lead_into_the_body(body: Any, pointers: list[str]) -> None:
    """Pointers leave out pydantic's tokens for members of unions, and messages leave out tags that were sent."""
    async with run(build_shelter()) as running:
        response = await running.client.post("/baskets", json=body)
    assert pointers == [error["pointer"] for error in response.json()["errors"]]
    assert SECRET not in response.text


@pytest.mark.requirement("FA-3")
async def test_the_number_of_errors_is_limited() -> None:
    """Of very many errors the first are listed, with the number of all."""
    async with run(build_shelter()) as running:
        response = await running.client.post("/many", json=["x"] * 5000)
    assert 100 == len(response.json()["errors"])
    assert "the first 100 of 5000" in response.json()["detail"]


@pytest.mark.requirement("FA-3")
async def test_malformed_json_names_the_character() -> None:
    """The message names the character at which the JSON is malformed, and the pointer the whole body."""
    async with run(build_shelter()) as running:
        response = await running.client.post("/many", content=b"[1, 2", headers={"content-type": "application/json"})
    assert [{"pointer": "#", "detail": "JSON decode error at character 5"}] == response.json()["errors"]


@pytest.mark.requirement("FA-3", "XC-E2")
async def test_an_invalid_response_is_logged_with_its_handler(capsys: pytest.CaptureFixture[str]) -> None:
    """The log names the handler and the place and not the value, and the client learns neither."""
    async with run(build_shelter()) as running:
        response = await running.client.get("/accounts")
    output = capsys.readouterr()
    log = output.out + output.err
    assert (500, "application/problem+json") == (response.status_code, response.headers["content-type"])
    assert {"type", "title", "status", "detail", "instance", "request_id"} == set(response.json())
    assert "accounts" in log and "response.1.number: Input should be a valid integer" in log
    assert SECRET not in log + response.text
