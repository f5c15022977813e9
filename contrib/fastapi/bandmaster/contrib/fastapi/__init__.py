"""FastAPI as the host: resources in handlers, and errors as problems that the OpenAPI document declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.kernel import export_lazily

if TYPE_CHECKING:
    from bandmaster.contrib.fastapi.openapi import describe_problems as describe_problems
    from bandmaster.contrib.fastapi.openapi import openapi_problems as openapi_problems
    from bandmaster.contrib.fastapi.resource import MissingResourceError as MissingResourceError
    from bandmaster.contrib.fastapi.resource import Resource as Resource
    from bandmaster.contrib.fastapi.resource import dependency as dependency
    from bandmaster.contrib.fastapi.resource_checks import check_resources as check_resources
    from bandmaster.contrib.fastapi.validation import InvalidResponseError as InvalidResponseError
    from bandmaster.contrib.fastapi.validation import request_validation as request_validation
    from bandmaster.contrib.fastapi.validation import response_validation as response_validation
    from bandmaster.contrib.fastapi.validation import validation_problem as validation_problem
    from bandmaster.contrib.fastapi.validation import websocket_validation as websocket_validation

# A name is imported when it is first used: code that reads settings needs no framework.
export_lazily(
    __name__,
    {
        "openapi": ["describe_problems", "openapi_problems"],
        "resource": ["MissingResourceError", "Resource", "dependency"],
        "resource_checks": ["check_resources"],
        "validation": [
            "InvalidResponseError",
            "request_validation",
            "response_validation",
            "validation_problem",
            "websocket_validation",
        ],
    },
)
