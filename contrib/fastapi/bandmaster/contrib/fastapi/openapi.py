"""Declare the problems that a FastAPI host answers with in its OpenAPI document."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from bandmaster.contrib.fastapi.frameworks import VALIDATION_SCHEMAS, list_mounted_apps
from bandmaster.contrib.fastapi.validation import request_validation
from bandmaster.contrib.web import ProblemHandler, http_exception
from bandmaster.kernel import RouteContribution

Document = dict[str, Any]

_METHODS = frozenset(("get", "put", "post", "delete", "options", "head", "patch", "trace", "query"))
_REFERENCE = "#/components/schemas/"

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
"""The schema of a problem. Problem types may have further members."""

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
    """Add the problems to a document. Responses that the document declares itself stay. A second call changes nothing.

    ``handlers`` are the host's exception handlers. Where the host has a handler of its own, nothing is declared. The
    problem types among the handlers become responses that operations may refer to.
    """
    invalid = handlers.get(RequestValidationError) is request_validation.handler
    others = handlers.get(HTTPException) is http_exception.handler
    types = {_name_response(handler): handler for handler in handlers.values() if isinstance(handler, ProblemHandler)}
    if not (invalid or others or types):
        return document
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    problem = _add_schema(schemas, "ProblemDetails", PROBLEM)
    if invalid:
        validation = _add_schema(schemas, "ValidationProblem", _refer_to(VALIDATION_PROBLEM, problem))
        for responses in _list_responses(document):
            if _is_default_response(responses.get("422")):
                responses["422"] = _build_response("The request is not valid.", validation)
        _drop_unused_schemas(document, schemas)
    if others:
        for responses in _list_responses(document):
            if not {"default", "4XX", "5XX"} & responses.keys():
                responses["default"] = _build_response("An error.", problem)
    if types:
        known = components.setdefault("responses", {})
        for name, handler in types.items():
            known.setdefault(name, _build_type_response(handler, problem))
    return document


def _add_schema(known: Document, name: str, schema: Mapping[str, Any]) -> str:
    """Add a schema under its name, or under a free one if the host has another schema of this name."""
    free, number = name, 2
    while free in known and known[free] != schema:
        free, number = f"{name}{number}", number + 1
    known[free] = dict(schema)
    return free


def _refer_to(schema: Mapping[str, Any], problem: str) -> Mapping[str, Any]:
    return {**schema, "allOf": [{"$ref": f"{_REFERENCE}{problem}"}]}


def _drop_unused_schemas(document: Document, schemas: Document) -> None:
    for name in VALIDATION_SCHEMAS:
        if f'"{_REFERENCE}{name}"' not in json.dumps(document, default=str):
            schemas.pop(name, None)


def _list_responses(document: Document) -> Iterator[Document]:
    """The responses of each operation. Callbacks and webhooks are left out, since other servers answer them."""
    for path in document.get("paths", {}).values():
        for method, operation in path.items():
            if method in _METHODS:
                yield operation.setdefault("responses", {})


def _is_default_response(response: Any) -> bool:
    content = (response or {}).get("content", {})
    reference: object = content.get("application/json", {}).get("schema", {}).get("$ref")
    return reference == f"{_REFERENCE}HTTPValidationError"


def _build_response(description: str, schema: str) -> Document:
    content = {"application/problem+json": {"schema": {"$ref": f"{_REFERENCE}{schema}"}}}
    return {"description": description, "content": content}


def _build_type_response(handler: ProblemHandler, problem: str) -> Document:
    response = _build_response(handler.description or handler.title, problem)
    example = {"type": handler.type, "title": handler.title, "status": handler.status}
    response["content"]["application/problem+json"]["example"] = example
    return response


def _name_response(handler: ProblemHandler) -> str:
    # OpenAPI 3.1, 4.8.7: the characters that the name of a component may have.
    return re.sub(r"[^A-Za-z0-9._-]+", "", (handler.title or str(handler.status)).title())


class _OpenAPIWithProblems:
    """Replaces a host's ``openapi`` method, and adds the problems to its document."""

    def __init__(self, host: FastAPI, make: Callable[[], Document]) -> None:
        self._host = host
        self._make = make
        self._described: Document | None = None

    def __call__(self) -> Document:
        document = self._make()
        # FastAPI makes the document once and returns the same object from then on.
        if document is not self._described:
            self._described = describe_problems(document, self._host.exception_handlers)
        return document


def _install(host: Any) -> list[Any]:
    """Replace the ``openapi`` method of FastAPI apps: the host, and those mounted there, which may share the handlers.

    A later replacement has the last word.
    """
    for app in (host, *list_mounted_apps(host)):
        if isinstance(app, FastAPI) and not isinstance(app.openapi, _OpenAPIWithProblems):
            app.openapi = _OpenAPIWithProblems(app, app.openapi)  # type: ignore[method-assign]
    return []


openapi_problems = RouteContribution(
    name="openapi_problems",
    routes=_install,
    description="Adds no routes: declares problems in the OpenAPI document of a FastAPI host.",
)
