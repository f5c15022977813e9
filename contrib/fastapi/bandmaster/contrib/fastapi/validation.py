"""What FastAPI finds invalid, as problems that say where, and repeat nothing of what was sent or returned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError, ResponseValidationError, WebSocketRequestValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from bandmaster.contrib.web import (
    ProblemDetails,
    ProblemError,
    problem_response,
    unhandled_error,
    validation_errors,
)
from bandmaster.kernel import ErrorHandlerContribution

MOST_TOLD = 100
"""Errors that a problem tells at most: a short request can have very many."""


class InvalidResponseError(Exception):
    """A handler returned what its response model refuses. It says where and why, and nothing of what was returned."""


def validation_problem(errors: Sequence[Mapping[str, Any]], body: Any = None) -> ProblemDetails:
    """The problem that a request has which isn't as it should be, from errors as FastAPI and pydantic tell them.

    With the ``body`` that was sent, pointers lead to places that are in it, or are missing there. Of many errors the
    first `MOST_TOLD` are told.
    """
    detail = "The request is not valid; see errors."
    if len(errors) > MOST_TOLD:
        detail = f"The request is not valid; see errors, which are the first {MOST_TOLD} of {len(errors)}."
    told = validation_errors(_told(error, body) for error in errors[:MOST_TOLD])
    return ProblemDetails(status=422, detail=detail, errors=told)


def _told(error: Mapping[str, Any], body: Any) -> Mapping[str, Any]:
    location = tuple(error.get("loc", ()))
    if error.get("type") == "json_invalid" and (body is None or isinstance(body, str)):
        # Where JSON can't be read FastAPI tells the character, which is no place in a document.
        return {"loc": ("body",), "msg": f"{error['msg']} at character {location[-1]}"}
    if body is not None and location[:1] == ("body",):
        location = ("body", *_into(body, location[1:], missing=error.get("type") == "missing"))
    return {"loc": location, "msg": _words(error)}


def _words(error: Mapping[str, Any]) -> str:
    context = error.get("ctx") or {}
    if error.get("type") == "union_tag_invalid" and "expected_tags" in context:
        # The words that pydantic has for it repeat what was sent.
        return f"Input should have one of the tags {context['expected_tags']}"
    return str(error.get("msg", ""))


def _into(body: Any, location: Sequence[Any], *, missing: bool) -> Iterator[Any]:
    """The tokens of a location that lead into the body. Pydantic has others among them, for the parts of a union."""
    for index, token in enumerate(location):
        inside = isinstance(body, Mapping) and token in body
        if inside or (isinstance(body, list) and isinstance(token, int) and token < len(body)):
            body = body[token]
        elif not (missing and index == len(location) - 1):
            continue
        yield token


async def _answer(request: Request, error: RequestValidationError) -> Response:
    return problem_response(request, validation_problem(error.errors(), error.body))


async def _refuse(websocket: WebSocket, error: WebSocketRequestValidationError) -> None:  # noqa: ARG001, RUF100
    # The guard refuses or closes it, whichever is still possible.
    raise ProblemError.of(validation_problem(error.errors())) from error


async def _apologize(request: Request, error: ResponseValidationError) -> Response:
    # Not the error itself: its words would take what was returned into the log.
    answer: Response = await unhandled_error.handler(request, InvalidResponseError(_summary(error)))
    return answer


def _summary(error: ResponseValidationError) -> str:
    found = error.errors()
    places = [f"{'.'.join(map(str, one.get('loc', ())))}: {_words(one)}" for one in found[:_SUMMED_UP]]
    more = f", and {len(found) - _SUMMED_UP} more" if len(found) > _SUMMED_UP else ""
    by = (
        f"{error.endpoint_function} ({error.endpoint_file}:{error.endpoint_line})"
        if error.endpoint_file
        else "a handler"
    )
    return f"{by} answered {error.endpoint_path} with what its response model refuses: {', '.join(places)}{more}"


_SUMMED_UP = 10

request_validation = ErrorHandlerContribution(
    name="request_validation",
    exception=RequestValidationError,
    handler=_answer,
    description="Answers requests that fail validation as a problem.",
)
websocket_validation = ErrorHandlerContribution(
    name="websocket_validation",
    exception=WebSocketRequestValidationError,
    handler=_refuse,
    description="Refuses WebSockets that fail validation with a problem.",
)
response_validation = ErrorHandlerContribution(
    name="response_validation",
    exception=ResponseValidationError,
    handler=_apologize,
    description="Answers with 500 where a handler returns what its response model refuses, and logs where and why.",
)
