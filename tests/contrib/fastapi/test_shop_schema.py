"""Whether the shop, composed, answers as its OpenAPI document says."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import distribution
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from openapi_spec_validator import validate
from schemathesis.python.asgi import shutdown_lifespans
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    negative_data_rejection,
    positive_data_acceptance,
)
from tests.contrib.fastapi.shop.main import build
from tests.contrib.fastapi.shop.store import OutOfStockError

from bandmaster.contrib.web import WebSettings, problem_type
from bandmaster.kernel import create_app

PARTS = [point.load() for name in ("bandmaster-web", "bandmaster-fastapi") for point in distribution(name).entry_points]


def composed() -> Any:
    host = build([])
    # As someone would who moves over one step further: the shop's own error becomes a kind of problem, too.
    del host.exception_handlers[OutOfStockError]
    sold_out = problem_type(
        OutOfStockError,
        name="out_of_stock",
        status=409,
        title="Sold out",
        members=lambda error: {"isbn": error.isbn, "left": error.left},
    )
    return create_app(
        host,
        contributions=[*PARTS, sold_out],
        discover=False,
        overrides={WebSettings: WebSettings(access_log="off")},
    )


APP = composed()
SCHEMA = schemathesis.openapi.from_dict(APP.host.openapi())
SCHEMA.app = APP
# What a request has to have to come far enough; schemathesis takes it away where it tests that it is needed.
KEYS = {"Authorization": "Bearer token-ann", "X-Key": "staff"}


@pytest.fixture(scope="module", autouse=True)
def stopped() -> Iterator[None]:
    """Schemathesis starts the application, and would stop it with the process."""
    yield
    shutdown_lifespans()


@pytest.fixture(autouse=True)
def check_leftovers() -> None:
    """Schemathesis keeps the application started from one test to the next, in a thread of its own."""


def test_the_document_is_valid() -> None:
    """By the schema of OpenAPI 3.1."""
    validate(APP.host.openapi())


@pytest.mark.requirement("FA-3", "XC-E2")
@SCHEMA.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_the_answer_is_as_declared(case: Any) -> None:
    """No 500, and each status, type and body as the document says, those of errors included."""
    # Whether 174.0 is an integer, and false one, pydantic and JSON Schema see differently; that is theirs. Of several
    # routes with one path, the Allow header of a 405 tells the first one's methods; that is Starlette's.
    excluded = [negative_data_rejection, positive_data_acceptance, allow_header_conformance]
    case.call_and_validate(headers=KEYS, excluded_checks=excluded)
