"""Log the exceptions that a response doesn't fully describe, each of them once."""

from __future__ import annotations

from traceback import format_exception
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import Scope

from bandmaster.contrib.web.context import log_fields
from bandmaster.contrib.web.problems.classification import Answer, describe_error
from bandmaster.kernel import Exchange, TransientError

_LOGGED = "problems_logged"
"""The key under which an exchange's ``data`` has the id of the exception that was logged last."""


def log_failure(error: Exception, answer: Answer, scope: Scope, exchange: Exchange | None) -> None:
    """Log an exception with the request's context, unless the same exchange has logged it already."""
    if exchange is not None:
        if exchange.data.get(_LOGGED) == id(error):
            return
        # The id and not the exception: an exception refers to its frames, and the frames refer to the exchange.
        exchange.data[_LOGGED] = id(error)
    fields = {
        "method": scope.get("method"),
        "path": scope["path"],
        "status": answer.problem.status,
        **log_fields(),
    }
    if isinstance(error, HTTPException | TransientError):
        _get_logger().warning("request failed", error=describe_error(error), **fields)
    else:
        # Not exc_info: structlog's default renderer shows local variables, secrets among them, and takes seconds.
        _get_logger().error("unhandled error", exception="".join(format_exception(error)), **fields)


def _get_logger() -> Any:
    # Imported on the first failure: importing structlog takes as long as importing much of Starlette.
    import structlog

    return structlog.get_logger("bandmaster.web")
