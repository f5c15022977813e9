"""What a host's OpenAPI document says of errors, and whether it is true."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from importlib.metadata import distribution
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
import uvicorn
from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.exceptions import RequestValidationError
from hypothesis import HealthCheck, settings
from openapi_spec_validator import validate
from pydantic import BaseModel, Field
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from starlette.applications import Starlette
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import PlainTextResponse

from bandmaster.contrib.web import WebSettings, problem_type
from bandmaster.kernel import RouteContribution, create_app
from bandmaster.kernel.testing import run

PARTS = [point.load() for name in ("bandmaster-web", "bandmaster-fastapi") for point in distribution(name).entry_points]


class Item(BaseModel):
    name: str = Field(min_length=1, max_length=20)
    price: int = Field(ge=0)


class SoldOutError(Exception): ...


sold_out = problem_type(
    SoldOutError, name="sold_out", status=409, title="Sold out", type="https://example.com/problems/sold-out"
)


def host() -> FastAPI:
    app = FastAPI()

    @app.get("/items/{number}")
    async def read(number: int) -> Item:
        if number > 3:
            raise HTTPException(404, "There is no such item.")
        if number == 3:
            raise SoldOutError
        return Item(name="a", price=max(number, 0))

    @app.post("/items", status_code=201)
    async def create(item: Item) -> Item:
        return item

    @app.get("/told", responses={404: {"description": "Mine."}, "default": {"description": "Mine, too."}})
    async def told() -> None: ...

    return app


def composed(app: Any, *parts: Any) -> Any:
    overrides = {WebSettings: WebSettings(access_log="off")}
    return create_app(app, contributions=[*PARTS, sold_out, *parts], discover=False, overrides=overrides)


def reference(operation: Any, status: str) -> str:
    return operation["responses"][status]["content"]["application/problem+json"]["schema"]["$ref"].rpartition("/")[2]


@pytest.mark.requirement("FA-3")
def test_errors_are_declared_as_what_they_are() -> None:
    """Right after the application is composed, on every operation; what a route declares itself stays."""
    document = composed(host()).host.openapi()
    read, create, told = (
        document["paths"][path][method]
        for path, method in (("/items/{number}", "get"), ("/items", "post"), ("/told", "get"))
    )
    assert ("ValidationProblem", "ProblemDetails") == (reference(read, "422"), reference(read, "default"))
    assert "ValidationProblem" == reference(create, "422")
    assert ({"description": "Mine."}, {"description": "Mine, too."}) == (
        told["responses"]["404"],
        told["responses"]["default"],
    )
    assert {"Item", "ProblemDetails", "ValidationProblem"} == set(document["components"]["schemas"])


def test_kinds_of_problems_are_described() -> None:
    """Those that anybody has contributed."""
    document = composed(host()).host.openapi()
    described = document["components"]["responses"]["SoldOut"]["content"]["application/problem+json"]["example"]
    assert {"type": "https://example.com/problems/sold-out", "title": "Sold out", "status": 409} == described


def test_twice_is_as_good_as_once() -> None:
    """A host may be composed again, and its document made again when routes have come."""
    app = host()
    first = json.dumps(composed(app).host.openapi())
    assert first == json.dumps(composed(app).host.openapi())
    app.get("/late")(lambda: None)
    assert "default" in app.openapi()["paths"]["/late"]["get"]["responses"]


def test_a_document_of_ones_own_is_respected() -> None:
    """FastAPI's way to extend it is to replace the function."""
    app = FastAPI()
    app.openapi = lambda: {"openapi": "3.1.0", "info": {"x": 1}, "paths": {}}  # type: ignore[method-assign]
    assert {"x": 1} == composed(app).host.openapi()["info"]
    composed(FastAPI(openapi_url=None))
    assert (
        "ProblemDetails"
        in composed(FastAPI(separate_input_output_schemas=False)).host.openapi()["components"]["schemas"]
    )


def test_a_host_without_a_document_is_left_alone() -> None:
    """Starlette has none."""
    assert not hasattr(composed(Starlette()).host, "openapi")


@pytest.mark.requirement("FA-4", "FA-6")
def test_a_contributed_router_is_described_under_its_prefix() -> None:
    """With its tags, its nested routers, and without what it hides."""
    inner = APIRouter(prefix="/inner", tags=["inner"])

    @inner.get("/deep", operation_id="deep")
    async def deep() -> None: ...

    router = APIRouter()

    @router.get("/hidden", include_in_schema=False)
    async def hidden() -> None: ...

    router.include_router(inner)
    part = RouteContribution(name="router", routes=router, prefix="/api", tags=("api",))
    paths = composed(FastAPI(), part).host.openapi()["paths"]
    assert ["/api/inner/deep"] == list(paths)
    operation = paths["/api/inner/deep"]["get"]
    assert (["api", "inner"], "deep", "ProblemDetails") == (
        operation["tags"],
        operation["operationId"],
        reference(operation, "default"),
    )


@pytest.mark.parametrize("version", ["3.1.0", "3.0.3"])
def test_the_document_is_valid(version: str) -> None:
    """By the specification's own schema."""
    app = host()
    app.openapi_version = version
    validate(composed(app).host.openapi())


@pytest.mark.requirement("FA-3")
def test_nothing_is_claimed_for_handlers_of_ones_own() -> None:
    """A host that answers itself says itself what with."""
    app = host()
    app.exception_handler(RequestValidationError)(lambda request, error: PlainTextResponse("mine", 400))
    read = composed(app).host.openapi()["paths"]["/items/{number}"]["get"]["responses"]
    assert {"application/json"} == set(read["422"]["content"])
    assert (
        "ProblemDetails" == read["default"]["content"]["application/problem+json"]["schema"]["$ref"].rpartition("/")[2]
    )

    app = host()
    app.exception_handler(StarletteHTTPException)(lambda request, error: PlainTextResponse("mine", error.status_code))
    read = composed(app).host.openapi()["paths"]["/items/{number}"]["get"]["responses"]
    assert {"200", "422"} == set(read)
    assert ["application/problem+json"] == list(read["422"]["content"])


def test_a_model_of_the_same_name_stays_what_it_is() -> None:
    """The problem takes another name, and refers to itself by that."""
    app = FastAPI()

    class ProblemDetails(BaseModel):
        mine: int

    app.get("/{number}", response_model=ProblemDetails)(lambda number: None)
    document = composed(app).host.openapi()
    schemas, operation = document["components"]["schemas"], document["paths"]["/{number}"]["get"]
    assert {"mine"} == set(schemas["ProblemDetails"]["properties"])
    assert "ProblemDetails2" == reference(operation, "default")
    assert [{"$ref": "#/components/schemas/ProblemDetails2"}] == schemas["ValidationProblem"]["allOf"]


def test_what_others_answer_is_theirs() -> None:
    """Callbacks go to the client's own server, webhooks to whoever has subscribed."""
    app, callbacks = FastAPI(), APIRouter()
    callbacks.post("{$callback_url}/done")(lambda item: None)
    app.get("/orders", callbacks=callbacks.routes)(lambda: None)
    app.webhooks.post("sold")(lambda item: None)
    document = composed(app).host.openapi()
    called = document["paths"]["/orders"]["get"]["callbacks"]["<lambda>"]["{$callback_url}/done"]["post"]
    assert [{"200", "422"}, {"200", "422"}] == [
        set(called["responses"]),
        set(document["webhooks"]["sold"]["post"]["responses"]),
    ]
    assert "HTTPValidationError" in document["components"]["schemas"]


def test_a_document_is_made_once() -> None:
    """When it is first asked for; then it is handed out as it is, with what the host has changed in it since."""
    app = host()
    composed(app)
    assert app.openapi_schema is None
    document = app.openapi()
    document["info"]["x-logo"] = "mine"
    del document["components"]["schemas"]["ProblemDetails"]
    assert "ProblemDetails" not in app.openapi()["components"]["schemas"]
    assert "mine" == app.openapi()["info"]["x-logo"]


@pytest.mark.anyio
async def test_the_routes_of_the_document_say_it_too() -> None:
    """It is what a client gets that asks for the document."""
    async with run(composed(host())) as running:
        document = (await running.http.get("/openapi.json")).json()
        assert "default" in document["paths"]["/items"]["post"]["responses"]


@pytest.mark.anyio
async def test_problems_are_as_declared() -> None:
    """Each answer that is an error fits the schema it is declared with."""
    app = composed(host())
    document = app.host.openapi()

    def check(name: str, problem: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema_rs.validator_for(schema).validate(problem)

    async with run(app) as running:
        check("ValidationProblem", (await running.http.post("/items", json={"price": -1})).json())
        check("ProblemDetails", (await running.http.get("/items/9")).json())
        check("ProblemDetails", (await running.http.get("/items/3")).json())
        check("ProblemDetails", (await running.http.get("/nowhere")).json())


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """The application on a real server, on a thread of its own."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(composed(host()), log_config=None))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                thread.join(0.05)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
    assert not thread.is_alive()


SCHEMA = schemathesis.openapi.from_dict(composed(host()).host.openapi())


@pytest.mark.requirement("FA-3", "XC-E2")
@pytest.mark.process
@SCHEMA.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_the_answer_is_as_declared(case: Any, served: str) -> None:
    """By schemathesis' checks, of valid and of invalid requests: no 500, and statuses, types and schemas as said."""
    # Whether 174.0 is an integer, and false one, pydantic and JSON Schema see differently; that is theirs.
    case.call_and_validate(base_url=served, excluded_checks=[negative_data_rejection, positive_data_acceptance])
