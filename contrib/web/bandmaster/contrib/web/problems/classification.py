"""Decide which problem, status and headers an exception is answered with. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from traceback import format_exception
from typing import Any

from starlette.exceptions import HTTPException

from bandmaster.contrib.web.problems.details import ProblemDetails, body_too_large
from bandmaster.contrib.web.problems.problem_types import ProblemError
from bandmaster.contrib.web.problems.rendering import render_text
from bandmaster.kernel import BodyTooLarge, TransientError


@dataclass(frozen=True, slots=True)
class AnswerPolicy:
    """The settings that decide how exceptions are answered."""

    debug: bool = False
    """Whether clients receive the text and the traceback of unhandled exceptions."""
    retry_after: int = 5
    """Seconds for the Retry-After header of transient errors that name none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to an exception."""

    problem: ProblemDetails
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    expected: bool = True
    """Whether the answer says everything about the exception. If not, the exception is logged."""


def classify(error: Exception, policy: AnswerPolicy) -> Answer:
    """Decide the answer to an exception."""
    # BodyTooLarge is an HTTPException as well, so it comes first.
    if isinstance(error, BodyTooLarge):
        return Answer(body_too_large(error.limit), {"connection": "close"})
    if isinstance(error, ProblemError):
        return Answer(error.problem, error.headers or {}, expected=error.status_code < 500)
    if isinstance(error, HTTPException) and 400 <= error.status_code <= 599:
        return Answer(_convert_http_exception(error), error.headers or {}, expected=error.status_code < 500)
    if isinstance(error, TransientError):
        seconds = policy.retry_after if error.retry_after is None else max(0, math.ceil(error.retry_after))
        detail = "This can't be done at the moment. Try again later."
        return Answer(ProblemDetails(status=503, detail=detail), {"retry-after": str(seconds)}, expected=False)
    members: dict[str, Any] = {}
    if policy.debug:
        members = {"exception": describe_error(error), "traceback": format_exception(error)}
    return Answer(
        ProblemDetails(status=500, detail="Something went wrong on our side.", members=members), expected=False
    )


def describe_error(error: Exception) -> str:
    """The type and the text of an exception."""
    return f"{type(error).__name__}: {render_text(error)}"


def _convert_http_exception(error: HTTPException) -> ProblemDetails:
    detail: Any = error.detail
    if isinstance(detail, str):
        # Without a detail, Starlette fills in the name of the status, which the problem has as its title already.
        own_detail = None if detail == _default_detail(error.status_code) else detail
        return ProblemDetails(status=error.status_code, detail=own_detail)
    # FastAPI allows any JSON value as the detail.
    return ProblemDetails(status=error.status_code, members={} if detail is None else {"data": detail})


def _default_detail(status: int) -> str:
    try:
        return HTTPException(status).detail
    except ValueError:  # a status without a name
        return ""
