"""The layer that limits the sizes of request bodies and WebSocket messages."""

from __future__ import annotations

from bandmaster.contrib.web.path_globs import PathMatcher, compile_globs
from bandmaster.contrib.web.problems.details import body_too_large
from bandmaster.contrib.web.problems.responses import CONNECTION_CLOSE, answer
from bandmaster.contrib.web.settings import WebSettings
from bandmaster.kernel import BodyTooLarge, Exchange, MiddlewareBand, middleware


@middleware(
    band=MiddlewareBand.SECURITY,
    priority=MiddlewareBand.SECURITY.priorities[20],
    name="limits",
)
class LimitsLayer:
    """Refuses request bodies and WebSocket messages that are larger than allowed.

    A request with a Content-Length above the limit is refused with 413 before its body is read. Other bodies are
    counted while the application reads them. Above the limit `bandmaster.kernel.BodyTooLarge` is raised, which is
    answered with 413 as well. A message above the limit closes its WebSocket with 1009.
    """

    def __init__(self, settings: WebSettings) -> None:
        self._default_limit = settings.max_body_bytes
        self._path_limits = [(_compile_glob(glob), limit) for glob, limit in settings.body_limits.items()]
        self._message_limit = settings.max_message_bytes
        if self._default_limit is None and not self._path_limits and self._message_limit is None:
            # The frame calls no hook that is None, so a layer that is switched off costs nothing.
            vars(self).update(on_request=None, on_error=None)

    def on_request(self, exchange: Exchange) -> None:
        """Set the limits, and refuse a request with a larger Content-Length."""
        if exchange.socket is not None:
            if self._message_limit is not None:
                exchange.limit_message(self._message_limit)
            return
        limit = self._find_limit(exchange.path) if self._path_limits else self._default_limit
        if limit is None:
            return
        if exchange.header(b"content-length") is not None and (exchange.content_length or 0) > limit:
            _refuse(exchange, limit)
        else:
            exchange.limit_body(limit)

    def on_error(self, exchange: Exchange, error: Exception) -> None:
        """Answer `BodyTooLarge` if no error handler has answered it."""
        if isinstance(error, BodyTooLarge) and not exchange.started:
            _refuse(exchange, error.limit)

    def _find_limit(self, path: str) -> int | None:
        for matches, limit in self._path_limits:
            if matches(path):
                return limit
        return self._default_limit


def _compile_glob(glob: str) -> PathMatcher:
    matcher = compile_globs([glob])
    assert matcher is not None
    return matcher


def _refuse(exchange: Exchange, limit: int) -> None:
    # The connection is closed, or the server would take the unread rest of the body for the next request.
    answer(exchange, body_too_large(limit), [CONNECTION_CLOSE])
