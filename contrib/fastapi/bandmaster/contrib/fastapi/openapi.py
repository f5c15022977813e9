"""The OpenAPI document of a FastAPI app, made to say that its errors are problems."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from bandmaster.contrib.fastapi.validation import request_validation, response_validation, websocket_validation
from bandmaster.contrib.web import errors
from bandmaster.contrib.web.errors import ProblemHandler, http_exception
from bandmaster.contrib.web.problems import PROBLEM_JSON, title_of
from bandmaster.kernel import RouteContribution

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
_SCHEMAS = "#/components/schemas/"
_RESPONSES = "#/components/responses/"
_FASTAPIS = "HTTPValidationError"
_FASTAPIS_PART = "ValidationError"

PROBLEM_DETAILS: Mapping[str, Any] = {
    "title": "ProblemDetails",
    "description": "What went wrong, as RFC 9457 describes it. Kinds of problems may have further members.",
    "type": "object",
    "properties": {
        "type": {
            "type": "string",
            "format": "uri-reference",
            "description": "Names the kind of problem; about:blank means that the status says it all.",
            "default": "about:blank",
        },
        "title": {"type": "string", "description": "The kind of problem in words."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599, "description": "The status of the response."},
        "detail": {"type": "string", "description": "What is wrong this time, and what to do."},
        "instance": {"type": "string", "format": "uri-reference", "description": "Names this occurrence."},
        "request_id": {"type": "string", "description": "What to say when asking for help."},
        "trace_id": {"type": "string", "description": "The trace of the request, where there is one."},
    },
    "required": ["type", "title", "status", "instance"],
}
_INVALID_INPUT: Mapping[str, Any] = {
    "title": "InvalidInput",
    "type": "object",
    "properties": {
        "detail": {"type": "string", "description": "What is wrong with it."},
        "pointer": {
            "type": "string",
            "format": "uri-reference",
            "description": "A place in the body: a JSON Pointer (RFC 6901) as the fragment of a URI.",
        },
        "in": {"type": "string", "enum": ["query", "path", "header", "cookie"], "description": "Where a parameter is."},
        "parameter": {"type": "string", "description": "The name of a parameter."},
    },
    "required": ["detail"],
    "oneOf": [{"required": ["pointer"]}, {"required": ["in", "parameter"]}],
}


def describe_problems(host: Any) -> list[Any]:
    """Have a FastAPI app's document say that errors are problems; no routes come of it.

    The document is still made when it is first asked for, by whatever makes it: an app may have replaced its
    ``openapi``. Any other host is left alone.
    """
    if isinstance(host, FastAPI) and not isinstance(host.openapi, Document):
        host.openapi = Document(host, host.openapi)  # type: ignore[method-assign]
    return []


openapi_problems = RouteContribution(
    name="openapi_problems",
    routes=describe_problems,
    description="No routes: has a FastAPI host's OpenAPI document say that errors are problems.",
)


def install_problems(app: FastAPI) -> None:
    """Have a FastAPI app that is mounted in the host answer with problems, and its document say so.

    Such an app has handlers of its own. Any that it was given for the same exceptions are replaced.
    """
    errors.install_problems(app)
    for part in (request_validation, websocket_validation, response_validation):
        app.add_exception_handler(part.exception, part.handler)
    describe_problems(app)


class Document:
    """Makes the document of an app by whatever made it so far, and adds what is said about problems."""

    def __init__(self, app: FastAPI, make: Callable[[], dict[str, Any]]) -> None:
        self._app = app
        self._make = make
        self._done: dict[str, Any] | None = None

    def __call__(self) -> dict[str, Any]:
        """The document. It is changed in place, for apps keep and change it themselves."""
        document = self._make()
        if document is not self._done:
            add_problems(document, self._app.exception_handlers)
            self._done = document
        return document


def add_problems(document: dict[str, Any], handlers: Mapping[Any, Any]) -> None:
    """Declare what the ``handlers`` of an app answer with, wherever its routes don't say otherwise.

    Nothing is claimed where the app has handlers of its own. What is declared already stays.
    """
    operations = list(_operations(document))
    schemas: dict[str, Any] = dict(document.get("components", {}).get("schemas", {}))
    responses = dict(document.get("components", {}).get("responses", {}))
    if handlers.get(RequestValidationError) is request_validation.handler:
        invalid = [operation for operation in operations if _is_fastapis(operation["responses"].get("422"))]
        if invalid:
            problem = _add(schemas, "ProblemDetails", PROBLEM_DETAILS)
            part = _add(schemas, "InvalidInput", _INVALID_INPUT)
            name = _add(schemas, "ValidationProblem", _validation_problem(problem, part))
            response = _add(responses, "ValidationProblem", _response(title_of(422), _SCHEMAS + name))
            for operation in invalid:
                operation["responses"]["422"] = {"$ref": _RESPONSES + response}
    if handlers.get(HTTPException) is http_exception.handler:
        problem = _add(schemas, "ProblemDetails", PROBLEM_DETAILS)
        kinds = [_add(schemas, name, kind) for name, kind in _kinds(handlers, problem)]
        content: dict[str, Any] = {"$ref": _SCHEMAS + problem}
        if kinds:
            content = {"anyOf": [*({"$ref": _SCHEMAS + name} for name in kinds), content]}
        response = _add(responses, "Problem", _response("Any other error.", content))
        for operation in operations:
            operation["responses"].setdefault("default", {"$ref": _RESPONSES + response})
    if responses:
        document.setdefault("components", {})["responses"] = responses
    if schemas:
        schemas = document.setdefault("components", {})["schemas"] = dict(sorted(schemas.items()))
        _drop_unused(document, schemas)


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Of the app's paths only: callbacks and webhooks are answered by others."""
    for item in document.get("paths", {}).values():
        for method in _METHODS:
            if "responses" in item.get(method, ()):
                yield item[method]


def _is_fastapis(response: Any) -> bool:
    """Whether it is the response that FastAPI adds by itself."""
    content = {"application/json": {"schema": {"$ref": _SCHEMAS + _FASTAPIS}}}
    return bool(response == {"description": "Validation Error", "content": content})


def _response(description: str, schema: str | Mapping[str, Any]) -> dict[str, Any]:
    content = {"$ref": schema} if isinstance(schema, str) else dict(schema)
    return {"description": description, "content": {PROBLEM_JSON: {"schema": content}}}


def _validation_problem(problem: str, part: str) -> dict[str, Any]:
    return {
        "title": "ValidationProblem",
        "description": "What is wrong with a request, and where.",
        "allOf": [{"$ref": _SCHEMAS + problem}],
        "type": "object",
        "properties": {
            "status": {"type": "integer", "enum": [422]},
            "errors": {"type": "array", "items": {"$ref": _SCHEMAS + part}, "minItems": 1},
        },
        "required": ["errors"],
    }


def _kinds(handlers: Mapping[Any, Any], problem: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The kinds of problems that exceptions are answered with, whoever has contributed them."""
    for exception, handler in handlers.items():
        if isinstance(handler, ProblemHandler):
            name = exception.__name__ if isinstance(exception, type) else f"Status{exception}"
            # Lists of one value: older versions of OpenAPI have no "const".
            says = {"status": handler.status, "type": handler.type, "title": handler.title or title_of(handler.status)}
            kinds = {"status": "integer", "type": "string", "title": "string"}
            kind = {
                "title": f"{name}Problem",
                "allOf": [{"$ref": _SCHEMAS + problem}],
                "type": "object",
                "properties": {member: {"type": kinds[member], "enum": [value]} for member, value in says.items()},
            }
            if handler.description:
                kind["description"] = handler.description
            yield f"{name}Problem", kind


def _add(known: dict[str, Any], name: str, added: Mapping[str, Any]) -> str:
    """Add something under its name, or under one that is free where the app has another thing of that name."""
    free, number = name, 2
    while free in known and known[free] != added:
        free, number = f"{name}{number}", number + 1
    known[free] = dict(added)
    return free


def _drop_unused(document: Mapping[str, Any], schemas: dict[str, Any]) -> None:
    """Leave out FastAPI's schemas of validation errors where nothing refers to them any more."""
    for name in (_FASTAPIS, _FASTAPIS_PART):
        if name in schemas and _SCHEMAS + name not in _references(document):
            del schemas[name]


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        reference = value.get("$ref")
        if isinstance(reference, str):
            yield reference
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _references(each)
