"""Requests that fail validation, as problems that say where, and repeat nothing of what was sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from bandmaster.contrib.web import ProblemDetails, ProblemError, problem_response, validation_errors
from bandmaster.kernel import ErrorHandlerContribution


def validation_problem(errors: Iterable[Mapping[str, Any]]) -> ProblemDetails:
    """The problem that a request has which isn't as it should be, from errors as FastAPI and pydantic tell them."""
    return ProblemDetails(
        status=422, detail="The request is not valid; see errors.", errors=validation_errors(map(_located, errors))
    )


def _located(error: Mapping[str, Any]) -> Mapping[str, Any]:
    # Where JSON can't be read FastAPI tells the character, which is no place in a document.
    return {**error, "loc": ("body",)} if error.get("type") == "json_invalid" else error


async def _answer(request: Request, error: RequestValidationError) -> Response:
    return problem_response(request, validation_problem(error.errors()))


async def _refuse(websocket: WebSocket, error: WebSocketRequestValidationError) -> None:  # noqa: ARG001, RUF100
    # The guard refuses or closes it, whichever is still possible.
    raise ProblemError.of(validation_problem(error.errors())) from error


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
