"""Errors in a FastAPI host's OpenAPI document: what every operation may answer with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from bandmaster.contrib.fastapi.validation import request_validation
from bandmaster.contrib.web import ProblemHandler, http_exception
from bandmaster.kernel import RouteContribution

Document = dict[str, Any]

_METHODS = frozenset(("get", "put", "post", "delete", "options", "head", "patch", "trace", "query"))
_REFERENCE = "#/components/schemas/"
_FASTAPIS = ("HTTPValidationError", "ValidationError")

PROBLEM: Mapping[str, Any] = {
    "title": "ProblemDetails",
    "description": "An error, as RFC 9457 describes it.",
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "default": "about:blank", "title": "Type"},
        "title": {"type": "string", "title": "Title"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599, "title": "Status"},
        "detail": {"type": "string", "title": "Detail"},
        "instance": {"type": "string", "format": "uri-reference", "title": "Instance"},
        "request_id": {"type": "string", "title": "Request Id"},
        "trace_id": {"type": "string", "title": "Trace Id"},
    },
}
"""The schema of a problem. Kinds of problems may have further members."""

VALIDATION_PROBLEM: Mapping[str, Any] = {
    "title": "ValidationProblem",
    "description": "A request that is not valid.",
    "allOf": [{"$ref": f"{_REFERENCE}ProblemDetails"}],
    "type": "object",
    "required": ["errors"],
    "properties": {
        "errors": {
            "title": "Errors",
            "type": "array",
            "items": {
                "type": "object",
                "required": ["detail"],
                "properties": {
                    "detail": {"type": "string", "title": "Detail"},
                    "pointer": {
                        "type": "string",
                        "title": "Pointer",
                        "description": "The place in the body: a JSON pointer (RFC 6901), as a fragment.",
                    },
                    "parameter": {"type": "string", "title": "Parameter"},
                    "in": {"type": "string", "enum": ["query", "path", "header", "cookie"], "title": "In"},
                },
            },
        }
    },
}


def describe_problems(document: Document, handlers: Mapping[Any, Any]) -> Document:
    """Say in a document what errors look like; what it says of them itself stays. To do it twice changes nothing.

    ``handlers`` are the host's exception handlers. Where the host has one of its own, nothing is said in its place. The
    kinds of problems among them become responses that operations may refer to.
    """
    invalid = handlers.get(RequestValidationError) is request_validation.handler
    others = handlers.get(HTTPException) is http_exception.handler
    kinds = {_name(handler): handler for handler in handlers.values() if isinstance(handler, ProblemHandler)}
    if not (invalid or others or kinds):
        return document
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    problem = _add(schemas, "ProblemDetails", PROBLEM)
    if invalid:
        validation = _add(schemas, "ValidationProblem", _referring(VALIDATION_PROBLEM, problem))
        for responses in _responses(document):
            if _is_fastapis(responses.get("422")):
                responses["422"] = _response("The request is not valid.", validation)
        _drop_fastapis(document, schemas)
    if others:
        for responses in _responses(document):
            if not {"default", "4XX", "5XX"} & responses.keys():
                responses["default"] = _response("An error.", problem)
    if kinds:
        known = components.setdefault("responses", {})
        for name, handler in kinds.items():
            known.setdefault(name, _kind(handler, problem))
    return document


def _add(known: Document, name: str, schema: Mapping[str, Any]) -> str:
    """Add a schema under its name, or under one that is free if the host has another one of that name."""
    free, number = name, 2
    while free in known and known[free] != schema:
        free, number = f"{name}{number}", number + 1
    known[free] = dict(schema)
    return free


def _referring(schema: Mapping[str, Any], problem: str) -> Mapping[str, Any]:
    return {**schema, "allOf": [{"$ref": f"{_REFERENCE}{problem}"}]}


def _drop_fastapis(document: Document, schemas: Document) -> None:
    for name in _FASTAPIS:
        if f'"{_REFERENCE}{name}"' not in json.dumps(document, default=str):
            schemas.pop(name, None)


def _responses(document: Document) -> Iterator[Document]:
    """Of each operation. Callbacks and webhooks are answered by others."""
    for path in document.get("paths", {}).values():
        for method, operation in path.items():
            if method in _METHODS:
                yield operation.setdefault("responses", {})


def _is_fastapis(response: Any) -> bool:
    content = (response or {}).get("content", {})
    reference: object = content.get("application/json", {}).get("schema", {}).get("$ref")
    return reference == f"{_REFERENCE}HTTPValidationError"


def _response(description: str, schema: str) -> Document:
    content = {"application/problem+json": {"schema": {"$ref": f"{_REFERENCE}{schema}"}}}
    return {"description": description, "content": content}


def _kind(handler: ProblemHandler, problem: str) -> Document:
    response = _response(handler.description or handler.title, problem)
    example = {"type": handler.type, "title": handler.title, "status": handler.status}
    response["content"]["application/problem+json"]["example"] = example
    return response


def _name(handler: ProblemHandler) -> str:
    # What component names may hold (OpenAPI 3.1, 4.8.7).
    return re.sub(r"[^A-Za-z0-9._-]+", "", (handler.title or str(handler.status)).title())


class _Described:
    """A host's ``openapi``, and what it leaves out."""

    def __init__(self, host: FastAPI, make: Callable[[], Document]) -> None:
        self._host = host
        self._make = make
        self._done: Document | None = None

    def __call__(self) -> Document:
        document = self._make()
        # Most hosts make it once, and hand out the same one from then on.
        if document is not self._done:
            self._done = describe_problems(document, self._host.exception_handlers)
        return document


def _describe(host: Any) -> list[Any]:
    """Put it into a FastAPI host. Whoever replaces ``openapi`` afterwards has the last word."""
    if isinstance(host, FastAPI) and not isinstance(host.openapi, _Described):
        host.openapi = _Described(host, host.openapi)  # type: ignore[method-assign]
    return []


openapi_problems = RouteContribution(
    name="openapi_problems",
    routes=_describe,
    description="No routes: says in a FastAPI host's OpenAPI document what errors look like.",
)
