"""Answer logins that fail: constant texts for the browser, the reason for the log."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from bandmaster.contrib.oidc.auth_events import report_auth_event
from bandmaster.contrib.oidc.errors import (
    AuthUnavailableError,
    CredentialError,
    InvalidRequestError,
    SessionTooLargeError,
)
from bandmaster.contrib.oidc.login.service import Login
from bandmaster.contrib.oidc.login.token_endpoint import OAuthRefusalError
from bandmaster.contrib.web import ProblemDetails, problem_response
from bandmaster.kernel import get_logger

_STALE = "The login has expired, or was begun in another browser. Log in again."
_REFUSED = "The provider has refused the login."
_FAILED = "The provider's answer couldn't be accepted."
_AWAY = "This can't be done at the moment. Try again later."
_TOO_LARGE = "The session is too large for a cookie. The operator of this site has to keep sessions elsewhere."


def answer_problem(
    request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None, **members: Any
) -> Response:
    """A problem (RFC 9457): JSON, or a page for browsers."""
    return problem_response(request, ProblemDetails(status=status, detail=detail, members=members), headers)


def answer_unavailable(request: Request, error: AuthUnavailableError) -> Response:
    """A 503: a provider or a store is away, and nothing has been decided."""
    return answer_problem(request, 503, _AWAY, {"retry-after": str(max(1, math.ceil(error.retry_after or 1)))})


def answer_failed_login(request: Request, login: Login, provider: str, error: CredentialError) -> Response:
    """The answer to a login that the provider, or our own checks, have refused."""
    address = login.addresses.login
    status, detail = (400, _STALE) if isinstance(error, InvalidRequestError) else (403, _FAILED)
    log_failed_login(request.scope, provider, error, status)
    if isinstance(error, OAuthRefusalError):
        return answer_problem(request, status, _REFUSED, error=error.oauth_error, login=address)
    return answer_problem(request, status, detail, login=address)


def answer_too_large(request: Request, provider: str, error: SessionTooLargeError) -> Response:
    """The answer to a login whose session would make a cookie that browsers drop."""
    get_logger("bandmaster.oidc").error(
        "a session is too large for a cookie",
        provider=provider,
        size=error.size,
        limit=error.limit,
        hint=str(error),
    )
    report_auth_event(request.scope, "login", succeeded=False, reason="the session is too large", status=500)
    return answer_problem(request, 500, _TOO_LARGE)


def log_failed_login(scope: Scope, provider: str, error: Exception, status: int) -> None:
    """Log the reason of a failed login, and report the failure as an event."""
    log = get_logger("bandmaster.oidc")
    if isinstance(error, AuthUnavailableError):
        log.warning("a login failed, because a provider or a store is away", provider=provider, reason=str(error))
    else:
        log.warning("a login failed", provider=provider, reason=str(error))
    report_auth_event(scope, "login", succeeded=False, reason=str(error), status=status)
