"""Tests of RouteContribution and ErrorHandlerContribution in bandmaster.kernel.contributions.model."""

import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route, Router
from tests.kernel.contributions.examples import handler, refused, routes


@pytest.mark.parametrize("given", [[], (), Router(), list, [Route("/", PlainTextResponse("up"))]])
def test_routes_come_in_several_shapes(given):
    """Routes are given as a list, as a router, or as a function that makes them."""
    made = routes(routes=given, prefix="/v1", tags="orders")
    assert ("/v1", ("orders",)) == (made.prefix, made.tags)


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"prefix": "v1"}, "prefix: expected text that starts with '/' and doesn't end with it, got 'v1'"),
        ({"prefix": "/v1/"}, "prefix: expected text that starts with '/' and doesn't end with it, got '/v1/'"),
        ({"prefix": "/"}, "prefix: expected text that starts with '/' and doesn't end with it, got '/'"),
        ({"prefix": None}, "prefix: expected text that starts with '/' and doesn't end with it, got None"),
        ({"tags": [1]}, "tags: expected names, got 1"),
        ({"routes": None}, "routes: expected routes, a router or a function that makes them, got None"),
        ({"routes": "/orders"}, "routes: expected routes, a router or a function that makes them, got '/orders'"),
        ({"name": "1"}, "name: expected letters, digits, '_', '-' and '.', a letter or '_' first, got '1'"),
    ],
)
def test_fields_that_routes_refuse(fields, expected):
    """The message names the field, the value and the expected values."""
    refused(expected, routes, **fields)


@pytest.mark.parametrize("exception", [ValueError, ExceptionGroup, 400, 404, 599])
def test_a_handler_answers_for_an_exception_or_a_status(exception):
    """A handler answers for an exception type, or for a status of an error."""
    assert exception == handler(exception=exception).exception


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        *(
            ({"exception": wrong}, f"exception: expected an exception type or a status 400–599, got {wrong!r}")
            for wrong in (399, 600, True, KeyboardInterrupt, ValueError(), "ValueError", None)
        ),
        ({"handler": None}, "handler: expected something callable, got None"),
        ({"name": "1"}, "name: expected letters, digits, '_', '-' and '.', a letter or '_' first, got '1'"),
    ],
)
def test_fields_that_a_handler_refuses(fields, expected):
    """The message names the field, the value and the expected values."""
    refused(expected, handler, **fields)
