"""FastAPI as the host: resources in handlers, and errors as problems that the OpenAPI document declares."""

from __future__ import annotations

from bandmaster.contrib.fastapi.openapi import describe_problems, openapi_problems
from bandmaster.contrib.fastapi.resource import MissingResourceError, Resource, dependency
from bandmaster.contrib.fastapi.resource_checks import check_resources
from bandmaster.contrib.fastapi.validation import (
    InvalidResponseError,
    request_validation,
    response_validation,
    validation_problem,
    websocket_validation,
)

__all__ = [
    "InvalidResponseError",
    "MissingResourceError",
    "Resource",
    "check_resources",
    "dependency",
    "describe_problems",
    "openapi_problems",
    "request_validation",
    "response_validation",
    "validation_problem",
    "websocket_validation",
]
