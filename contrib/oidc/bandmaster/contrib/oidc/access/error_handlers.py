"""The error handler by which a host answers credentials that aren't accepted."""

from __future__ import annotations

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.websockets import WebSocket

from bandmaster.contrib.oidc.errors import CredentialError
from bandmaster.contrib.oidc.refusals import describe_refusal, log_refusal, refuse_open_websocket
from bandmaster.contrib.web import problem_response
from bandmaster.kernel import ErrorHandlerContribution


async def _answer(connection: HTTPConnection, error: CredentialError) -> Response | None:
    problem, headers = describe_refusal(error)
    log_refusal(connection.scope, error, problem.status)
    if not isinstance(connection, WebSocket):
        return problem_response(connection, problem, headers)
    if not await refuse_open_websocket(connection, problem, headers):
        raise error
    return None


credential_error = ErrorHandlerContribution(
    name="credential_error",
    exception=CredentialError,
    handler=_answer,
    description="Answers credentials that aren't accepted as RFC 6750 defines it, and logs the reason.",
)
