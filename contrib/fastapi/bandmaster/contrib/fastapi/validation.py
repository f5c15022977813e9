"""What FastAPI finds invalid, answered as problems: of requests, of WebSockets, and of responses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError, ResponseValidationError, WebSocketRequestValidationError
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketState

from bandmaster.contrib.web.errors import problem_response, unhandled_error
from bandmaster.contrib.web.problems import ProblemDetails, validation_errors
from bandmaster.kernel import ErrorHandlerContribution

MOST_TOLD = 100
"""Errors that a problem tells at most: a short request may have thousands."""
_INVALID = "The request isn't as it has to be."
_POLICY_VIOLATION = 1008  # RFC 6455, 7.4.1


class InvalidResponseError(Exception):
    """A handler returned what its response model refuses. It says where and why, and nothing of what was returned."""


def problem_of(error: RequestValidationError | WebSocketRequestValidationError) -> ProblemDetails:
    """The problem that an invalid request is (RFC 9457), each place in the body as a pointer into what was sent."""
    found = error.errors()
    body = getattr(error, "body", None)
    detail = (
        _INVALID if len(found) <= MOST_TOLD else f"{_INVALID} These are the first {MOST_TOLD} of {len(found)} errors."
    )
    errors = validation_errors(_told(one, body) for one in found[:MOST_TOLD])
    return ProblemDetails(status=422, detail=detail, errors=errors)


async def _handle_request(request: Request, error: RequestValidationError) -> Response:
    return problem_response(request, problem_of(error))


async def _handle_websocket(websocket: WebSocket, error: WebSocketRequestValidationError) -> None:
    connecting = websocket.application_state is WebSocketState.CONNECTING
    if connecting and "websocket.http.response" in (websocket.scope.get("extensions") or {}):
        await websocket.send_denial_response(problem_response(websocket, problem_of(error)))
    elif websocket.application_state is not WebSocketState.DISCONNECTED:
        # Before it is accepted, servers make a 403 of it.
        await websocket.close(_POLICY_VIOLATION, "invalid request")


async def _handle_response(request: HTTPConnection, error: ResponseValidationError) -> Response:
    # Not the error itself, which would take what was returned into the log.
    told = InvalidResponseError(_summary(error))
    return await unhandled_error.handler(request, told)  # type: ignore[no-any-return]


request_validation = ErrorHandlerContribution(
    name="request_validation",
    exception=RequestValidationError,
    handler=_handle_request,
    description="Answers an invalid request, a body that is no JSON among them, with 422 and where what is wrong.",
)
websocket_validation = ErrorHandlerContribution(
    name="websocket_validation",
    exception=WebSocketRequestValidationError,
    handler=_handle_websocket,
    description="Refuses a WebSocket whose request is invalid, with 422 where the server can, else by closing it.",
)
response_validation = ErrorHandlerContribution(
    name="response_validation",
    exception=ResponseValidationError,
    handler=_handle_response,
    description="Answers with 500 where a handler returned what its response model refuses, and tells the log why.",
)


# -- words -----------------------------------------------------------------------------------------------------------


def _told(error: Mapping[str, Any], body: Any) -> dict[str, Any]:
    """What is told of an error: the place and the words, never the input."""
    kind, location = error.get("type"), tuple(error.get("loc", ()))
    if kind == "json_invalid" and isinstance(body, str) and len(location) > 1:
        # FastAPI's own, whose place is a character of the body as text.
        return {"loc": ("body",), "msg": f"{error['msg']} at character {location[1]}"}
    if location[:1] == ("body",):
        location = ("body", *_into(body, location[1:], missing=kind == "missing"))
    return {"loc": location, "msg": _words(error)}


def _words(error: Mapping[str, Any]) -> str:
    context = error.get("ctx") or {}
    if error.get("type") == "union_tag_invalid" and "expected_tags" in context:
        # The words that pydantic has for it repeat the tag that was sent.
        return f"Input should have one of the tags {context['expected_tags']}"
    return str(error.get("msg", ""))


def _into(body: Any, location: Sequence[Any], *, missing: bool) -> Iterable[Any]:
    """The tokens of a location that lead into the body; pydantic has some for the parts of a union as well."""
    for index, token in enumerate(location):
        inside = isinstance(body, Mapping) and token in body
        if inside or (isinstance(body, list) and isinstance(token, int) and token < len(body)):
            body = body[token]
        elif not (missing and index == len(location) - 1):
            continue
        yield token


def _summary(error: ResponseValidationError) -> str:
    found = error.errors()
    places = [f"{'.'.join(map(str, one.get('loc', ())))}: {_words(one)}" for one in found[:_SUMMED_UP]]
    more = f", and {len(found) - _SUMMED_UP} more" if len(found) > _SUMMED_UP else ""
    asked = getattr(error, "endpoint_path", None) or "a handler"
    written = getattr(error, "endpoint_function", None)
    by = f" ({written}, {error.endpoint_file}:{error.endpoint_line})" if written else ""
    return f"{asked}{by} returned what its response model refuses: {', '.join(places)}{more}"


_SUMMED_UP = 10
