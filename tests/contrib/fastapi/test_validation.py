"""Requests and responses that fail validation."""

from __future__ import annotations

from importlib.metadata import distribution
from traceback import format_exception
from typing import Annotated, Any, Literal

import pytest
from fastapi import Depends, FastAPI, Header, Query, WebSocket
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from pydantic import BaseModel, Field
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from tests.asgi_cases import Rig
from tests.logged import capture_logs

from bandmaster.contrib.web import install_problems
from bandmaster.kernel import create_app
from bandmaster.kernel.testing import WebSocketRefused, run

pytestmark = pytest.mark.anyio

PARTS = [point.load() for name in ("bandmaster-web", "bandmaster-fastapi") for point in distribution(name).entry_points]
SECRET = "hunter2"


class Item(BaseModel):
    price: int
    tags: list[Annotated[str, Field(max_length=3)]] = []


def build_app(**options: Any) -> Any:
    host = FastAPI(**options)

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
async def test_an_invalid_response_is_logged_with_its_handler() -> None:
    """The log names the handler and the place and not the value, and the client learns neither."""
    with capture_logs() as entries:
        async with run(build_shelter()) as running:
            response = await running.client.get("/accounts")
    log = str(entries)
    assert (500, "application/problem+json") == (response.status_code, response.headers["content-type"])
    assert {"type", "title", "status", "detail", "instance", "request_id"} == set(response.json())
    assert "accounts" in log and "response.1.number: Input should be a valid integer" in log
    assert SECRET not in log + response.text


@pytest.mark.parametrize("own", [500, Exception])
async def test_an_invalid_response_of_a_host_with_a_page_of_its_own(
    own: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The host's own handler of unhandled exceptions answers an invalid response, too, and sees no value."""
    seen: list[str] = []

    async def page(request: Any, error: Exception) -> PlainTextResponse:
        seen.extend(format_exception(error))
        return PlainTextResponse("our own page", 500)

    app = build_app(exception_handlers={own: page})
    async with run(app, raise_app_exceptions=False) as running:
        response = await running.client.get("/broken")
    output = capsys.readouterr()
    assert ("our own page", 1) == (response.text, len(app.warnings))
    assert "int_parsing" not in str(seen) and "InvalidResponseError" in str(seen)
    assert SECRET not in "".join(seen) + output.out + output.err


class Watcher:
    """An ASGI middleware that keeps the texts of exceptions that leave the app, as error trackers and telemetry do."""

    texts: list[str]

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception as error:
            while error is not None:
                self.texts.append(f"{type(error).__name__} {error} {error.__cause__} {error.__context__}")
                error = error.__cause__ or error.__context__
            raise


def build_watched(*, accepts: bool, **options: Any) -> tuple[Any, FastAPI, list[str]]:
    """An app with a dependency that can accept a WebSocket before another parameter is refused."""
    texts: list[str] = []
    app = FastAPI(middleware=[Middleware(type("Watching", (Watcher,), {"texts": texts}))], **options)

    async def opened(websocket: WebSocket) -> None:
        if accepts:
            await websocket.accept()

    @app.websocket("/live", dependencies=[Depends(opened)])
    async def live(websocket: WebSocket, number: int) -> None: ...

    @app.get("/rooms")
    async def rooms(number: int) -> None: ...

    @app.get("/broken")
    async def broken() -> int:
        return SECRET  # type: ignore[return-value]

    return app, app, texts


@pytest.mark.requirement("FA-3", "XC-E2")
@pytest.mark.parametrize("mounted", [False, True])
@pytest.mark.parametrize("accepts", [False, True])
@pytest.mark.parametrize("denial", [False, True])
async def test_a_websocket_that_fails_validation_tells_nobody_what_was_sent(
    mounted: bool,
    accepts: bool,
    denial: bool,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The refusal is no exception, and neither the close reason, nor a problem, nor a log repeats the input."""
    host, app, texts = build_watched(accepts=accepts)
    if mounted:
        host = FastAPI()
        host.mount("/sub", app)
        install_problems(app)
    composed = create_app(host, contributions=PARTS, discover=False)
    query = f"number={SECRET}".encode()
    path = "/sub/live" if mounted else "/live"
    server = Rig(lambda _: composed).websocket(host, denial=denial)
    server.scope |= {"path": path, "raw_path": path.encode(), "query_string": query}
    async with composed.running():
        await server.run()
    output = capsys.readouterr()
    assert [] == texts
    assert SECRET not in str(server.sent) + output.out + output.err + caplog.text
    if accepts or not denial:
        assert {"type": "websocket.close", "code": 1008, "reason": ""} == server.sent[-1]
    else:
        assert 422 == server.sent[0]["status"]


@pytest.mark.requirement("FA-3", "XC-E2")
@pytest.mark.parametrize("path", ["/sub", "/deep/er"])
async def test_a_mounted_app_gets_what_the_host_gets(path: str) -> None:
    """A mounted FastAPI app that shares the handlers answers invalid requests and responses as the host does."""
    app, _, _ = build_watched(accepts=False)
    host = FastAPI()
    between = FastAPI()
    host.mount("/deep" if path == "/deep/er" else "/sub", between if path == "/deep/er" else app)
    between.mount("/er", app)
    install_problems(app)
    async with run(create_app(host, contributions=PARTS, discover=False), raise_app_exceptions=False) as running:
        invalid = await running.client.get(f"{path}/rooms?number={SECRET}")
        broken = await running.client.get(f"{path}/broken")
        document = (await running.client.get(f"{path}/openapi.json")).json()
    assert (422, "application/problem+json") == (invalid.status_code, invalid.headers["content-type"])
    assert (500, "application/problem+json") == (broken.status_code, broken.headers["content-type"])
    assert SECRET not in invalid.text + broken.text
    responses = document["paths"]["/rooms"]["get"]["responses"]
    assert {"application/problem+json"} == set(responses["422"]["content"])


async def test_a_mounted_app_that_does_not_share_the_handlers() -> None:
    """A mounted FastAPI app that doesn't ask for them keeps the error handling and the document of FastAPI."""
    app, _, _ = build_watched(accepts=False)
    host = FastAPI()
    host.mount("/sub", app)
    async with run(create_app(host, contributions=PARTS, discover=False)) as running:
        invalid = await running.client.get("/sub/rooms?number=x")
        document = (await running.client.get("/sub/openapi.json")).json()
    assert "detail" in invalid.json() and "status" not in invalid.json()
    assert {"application/json"} == set(document["paths"]["/rooms"]["get"]["responses"]["422"]["content"])


@pytest.mark.parametrize("validation", [RequestValidationError, WebSocketRequestValidationError])
async def test_a_mounted_app_keeps_its_own_handler_of_validation_errors(validation: Any) -> None:
    """A mounted app's own handler of validation errors comes first, with a warning."""

    async def own(request: Any, error: Exception) -> None: ...

    app, _, _ = build_watched(accepts=False, exception_handlers={validation: own})
    host = FastAPI()
    host.mount("/sub", app)
    install_problems(app)
    composed = create_app(host, contributions=PARTS, discover=False)
    assert own is app.exception_handlers[validation]
    assert [f"gives way to that of the app mounted at '/sub' for {validation.__name__}"] == [
        warning.partition(") ")[2] for warning in composed.warnings
    ]
