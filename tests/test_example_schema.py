"""Whether the box office answers as its OpenAPI document says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from openapi_spec_validator import validate
from schemathesis.python.asgi import shutdown_lifespans
from schemathesis.specs.openapi.checks import allow_header_conformance
from tests.test_examples import PARTS

from bandmaster.contrib.persistence import DatabaseSettings
from bandmaster.contrib.web import WebSettings
from bandmaster.kernel import create_app
from boxoffice.parts import BoxOfficeSettings

APP = create_app(
    FastAPI(title="Box office"),
    contributions=PARTS,
    discover=False,
    overrides={
        BoxOfficeSettings: BoxOfficeSettings(seconds_per_ticket=0),
        DatabaseSettings: DatabaseSettings(url="sqlite://", migrate_on_start=True),
        WebSettings: WebSettings(access_log="off"),
    },
)
SCHEMA: Any = schemathesis.openapi.from_dict(APP.host.openapi())  # type: ignore[attr-defined]
SCHEMA.app = APP


@pytest.fixture(scope="module", autouse=True)
def stopped() -> Iterator[None]:
    """Schemathesis starts the application, and would stop it with the process."""
    yield
    shutdown_lifespans()


def test_the_document_is_valid() -> None:
    """By the schema of OpenAPI 3.1; problems, the sold-out one among them, are declared."""
    document = APP.host.openapi()  # type: ignore[attr-defined]
    validate(document)
    hold = document["paths"]["/houses/{house}/shows/{show}/holds"]["post"]["responses"]
    assert {"201", "404", "409", "422"} <= hold.keys()
    assert {"application/problem+json"} == set(document["components"]["responses"]["SoldOut"]["content"])


# Server-sent events: what a client of them is told is in the tests of the box office.
@pytest.mark.requirement("FA-3", "XC-E2", "FA-12")
@SCHEMA.exclude(path_regex="/events$").parametrize()
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_the_answer_is_as_declared(case: Any) -> None:
    """No 500, and each status, type and body as the document says, those of errors included."""
    # Of several routes with one path, the Allow header of a 405 tells the first one's methods; that is Starlette's.
    case.call_and_validate(excluded_checks=[allow_header_conformance])
