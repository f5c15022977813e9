"""Problem types: an exception to raise, or a handler for an exception of another package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.websockets import WebSocket

from bandmaster.contrib.web.problems.details import ProblemDetails, title_of
from bandmaster.contrib.web.problems.responses import problem_response, refuse_websocket
from bandmaster.kernel import ErrorHandlerContribution


class ProblemError(HTTPException):
    """Raise this to answer a request with a problem. Each subclass is a problem type.

    For example::

        class SoldOut(ProblemError):
            status_code = 409
            type = "https://example.com/problems/sold-out"
            title = "Sold out"


        raise SoldOut("Aida has 1 seat left.", left=1)

    Keyword arguments become extension members of the problem.

    Raises:
        ValueError: the status is not between 400 and 599, or a member has a reserved name.
    """

    status_code: int = 500
    type: str = "about:blank"
    title: str = ""

    def __init__(self, detail: str | None = None, *, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        kind = type(self)
        self.problem = ProblemDetails(
            status=kind.status_code, type=kind.type, title=kind.title, detail=detail, members=members
        )
        super().__init__(kind.status_code, detail, headers)

    @classmethod
    def of(cls, problem: ProblemDetails, *, headers: Mapping[str, str] | None = None) -> ProblemError:
        """An exception that is answered with this problem."""
        error = cls.__new__(cls)
        HTTPException.__init__(error, problem.status, problem.detail, headers)
        error.problem = problem
        return error


@dataclass(frozen=True, slots=True)
class ProblemHandler:
    """Answers exceptions of one type with one problem type. `problem_type` makes one and contributes it."""

    status: int
    type: str = "about:blank"
    title: str = ""
    detail: str | Callable[[Any], str | None] | None = None
    """The detail, or a function of the exception such as ``str``. Use ``str`` only if the text is meant for clients."""
    members: Callable[[Any], Mapping[str, Any]] | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    description: str = ""

    def __post_init__(self) -> None:
        # A wrong status is reported where the handler is made, not when the first exception comes.
        ProblemDetails(status=self.status, type=self.type, title=self.title)

    def problem(self, error: Exception) -> ProblemDetails:
        """The problem for an exception."""
        detail = self.detail(error) if callable(self.detail) else self.detail
        members = self.members(error) if self.members is not None else {}
        return ProblemDetails(status=self.status, type=self.type, title=self.title, detail=detail, members=members)

    async def __call__(self, request: HTTPConnection, error: Exception) -> Response | None:
        """Answer an exception, as an exception handler of Starlette."""
        if isinstance(request, WebSocket):
            if not await refuse_websocket(request, self.problem(error), self.headers):
                raise error
            return None
        return problem_response(request, self.problem(error), self.headers)


def problem_type(
    exception: type[Exception],
    *,
    name: str,
    status: int,
    title: str = "",
    type: str = "about:blank",  # noqa: A002  # the name of the member in RFC 9457
    detail: str | Callable[[Any], str | None] | None = None,
    members: Callable[[Any], Mapping[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
    description: str = "",
) -> ErrorHandlerContribution:
    """A contribution that answers an exception, also one of another package, with a problem type.

    ``detail`` and ``members`` may be functions of the exception. Their results are sent to the client.

    Raises:
        ValueError: an argument is out of range.
    """
    handler = ProblemHandler(status, type, title or title_of(status), detail, members, dict(headers or {}), description)
    return ErrorHandlerContribution(name=name, exception=exception, handler=handler, description=description)
