"""Log the exceptions that a response doesn't fully describe, each of them once."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import Scope

from bandmaster.contrib.web.context import log_fields
from bandmaster.contrib.web.problems.classification import Answer, describe_error
from bandmaster.kernel import Exchange, TransientError, get_logger

_LOGGED = "problems_logged"
"""The key under which an exchange's ``data`` has the id of the exception that was logged last."""


def log_failure(error: Exception, answer: Answer, scope: Scope, exchange: Exchange | None) -> None:
    """Log an exception with the request's context, unless the same exchange has logged the exception already."""
    if exchange is not None:
        if exchange.data.get(_LOGGED) == id(error):
            return
        # The id and not the exception: an exception refers to its frames, and the frames refer to the exchange.
        exchange.data[_LOGGED] = id(error)
    # A WebSocket has no method.
    fields = {name: value for name, value in (("method", scope.get("method")), ("path", scope["path"])) if value}
    fields |= {"status": answer.problem.status, **log_fields()}
    if isinstance(error, HTTPException | TransientError):
        get_logger("bandmaster.web").warning("request failed", error=describe_error(error), **fields)
    else:
        get_logger("bandmaster.web").error("unhandled error", exception=error, error=type(error).__name__, **fields)
