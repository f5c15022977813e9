"""Whether the box office answers as its OpenAPI document declares."""

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
def run_lifespans() -> Iterator[None]:
    """Start the application, which schemathesis does with the first request, and stop it before the process ends."""
    SCHEMA["/houses"]["GET"].Case().call()
    yield
    shutdown_lifespans()


def test_the_document_is_valid() -> None:
    """The document passes the schema of OpenAPI 3.1, and declares problems, SoldOut among them."""
    document = APP.host.openapi()  # type: ignore[attr-defined]
    validate(document)
    hold = document["paths"]["/houses/{house}/shows/{show}/holds"]["post"]["responses"]
    assert {"201", "404", "409", "422"} <= hold.keys()
    assert {"application/problem+json"} == set(document["components"]["responses"]["SoldOut"]["content"])


# The tests of the box office cover its server-sent events, which have no end.
@pytest.mark.requirement("FA-3", "XC-E2", "FA-12")
@SCHEMA.exclude(path_regex="/events$").parametrize()
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_request_is_answered_as_declared(case: Any) -> None:
    """Any request gets no 500, and a declared status, type and body, errors included."""
    # Starlette's Allow header of a 405 lists the methods of the first of several routes with one path.
    case.call_and_validate(excluded_checks=[allow_header_conformance])
