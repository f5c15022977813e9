"""Answer FastAPI's validation errors with problems that name each place and never repeat a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError, ResponseValidationError, WebSocketRequestValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from bandmaster.contrib.fastapi.frameworks import describe_endpoint, find_unhandled_handler
from bandmaster.contrib.web import (
    ProblemDetails,
    ProblemError,
    problem_response,
    refuse_websocket,
    unhandled_error,
    validation_errors,
)
from bandmaster.kernel import ErrorHandlerContribution

MAX_ERRORS = 100
"""The most errors that a problem lists, since a short request can have very many."""
_MAX_ERRORS_LOGGED = 10


class InvalidResponseError(Exception):
    """A handler returned a value that its response model refuses. The text names the places, and no values."""


def validation_problem(errors: Sequence[Mapping[str, Any]], body: Any = None) -> ProblemDetails:
    """The problem (422) of an invalid request, from the errors of FastAPI or pydantic.

    With the ``body`` that was sent, pointers lead to places that are in the body, or are missing there. Of many errors
    the first `MAX_ERRORS` are listed.
    """
    detail = "The request is not valid; see errors."
    if len(errors) > MAX_ERRORS:
        detail = f"The request is not valid; see errors, which are the first {MAX_ERRORS} of {len(errors)}."
    listed = validation_errors(_locate(error, body) for error in errors[:MAX_ERRORS])
    return ProblemDetails(status=422, detail=detail, errors=listed)


def _locate(error: Mapping[str, Any], body: Any) -> Mapping[str, Any]:
    location = tuple(error.get("loc", ()))
    if error.get("type") == "json_invalid" and (body is None or isinstance(body, str)):
        # For malformed JSON FastAPI gives the number of a character, which is no place in a document.
        return {"loc": ("body",), "msg": f"{error['msg']} at character {location[-1]}"}
    if body is not None and location[:1] == ("body",):
        location = ("body", *_follow(body, location[1:], missing=error.get("type") == "missing"))
    return {"loc": location, "msg": _render_message(error)}


def _render_message(error: Mapping[str, Any]) -> str:
    context = error.get("ctx") or {}
    if error.get("type") == "union_tag_invalid" and "expected_tags" in context:
        # pydantic's own message repeats the tag that was sent.
        return f"Input should have one of the tags {context['expected_tags']}"
    return str(error.get("msg", ""))


def _follow(body: Any, location: Sequence[Any], *, missing: bool) -> Iterator[Any]:
    """The tokens of a location that lead into the body. pydantic adds others for the members of a union."""
    for index, token in enumerate(location):
        inside = isinstance(body, Mapping) and token in body
        if inside or (isinstance(body, list) and isinstance(token, int) and token < len(body)):
            body = body[token]
        elif not (missing and index == len(location) - 1):
            continue
        yield token


async def _answer_request(request: Request, error: RequestValidationError) -> Response:
    return problem_response(request, validation_problem(error.errors(), error.body))


async def _refuse_websocket(websocket: WebSocket, error: WebSocketRequestValidationError) -> None:
    # Not raised: error trackers further out would report a failure, and record the client's input.
    problem = validation_problem(error.errors())
    if not await refuse_websocket(websocket, problem):
        raise ProblemError.of(problem) from None


async def _answer_invalid_response(request: Request, error: ResponseValidationError) -> Response:
    # Not the error itself: its text would put the returned value into the log.
    invalid = InvalidResponseError(_summarize(error))
    if find_unhandled_handler(request.scope.get("app")) not in (None, unhandled_error.handler):
        raise invalid from None  # for the app's own handler of unhandled exceptions
    answer: Response = await unhandled_error.handler(request, invalid)
    return answer


def _summarize(error: ResponseValidationError) -> str:
    found = error.errors()
    places = [f"{'.'.join(map(str, one.get('loc', ())))}: {_render_message(one)}" for one in found[:_MAX_ERRORS_LOGGED]]
    more = f", and {len(found) - _MAX_ERRORS_LOGGED} more" if len(found) > _MAX_ERRORS_LOGGED else ""
    handler, path = describe_endpoint(error), error.endpoint_path
    return f"{handler} answered {path} with a value that its response model refuses: {', '.join(places)}{more}"


request_validation = ErrorHandlerContribution(
    name="request_validation",
    exception=RequestValidationError,
    handler=_answer_request,
    description="Answers requests that fail validation as a problem.",
)
websocket_validation = ErrorHandlerContribution(
    name="websocket_validation",
    exception=WebSocketRequestValidationError,
    handler=_refuse_websocket,
    description="Refuses WebSockets that fail validation with a problem.",
)
response_validation = ErrorHandlerContribution(
    name="response_validation",
    exception=ResponseValidationError,
    handler=_answer_invalid_response,
    description="Answers with 500 if a handler returns an invalid response, and logs the place and the reason.",
)
