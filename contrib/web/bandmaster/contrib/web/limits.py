"""How much a client may send: bodies and WebSocket messages."""

from __future__ import annotations

from bandmaster.contrib.web.path_globs import Matcher, compile_globs
from bandmaster.contrib.web.problems.details import body_too_large
from bandmaster.contrib.web.problems.responses import CLOSE, answer
from bandmaster.contrib.web.settings import WebSettings
from bandmaster.kernel import BodyTooLarge, Exchange, MiddlewareBand, middleware


@middleware(
    band=MiddlewareBand.SECURITY,
    priority=MiddlewareBand.SECURITY.priorities[20],
    name="limits",
)
class LimitsLayer:
    """Refuses request bodies and WebSocket messages that are larger than allowed.

    A body that says that it is too large is refused with 413 before any of it is read. Others are counted as the
    application reads them: where it would get too much, `bandmaster.kernel.BodyTooLarge` is raised, which becomes 413
    as well. A message that is too large closes its WebSocket with 1009.
    """

    def __init__(self, settings: WebSettings) -> None:
        self._usual = settings.max_body_bytes
        self._others = [(_matcher(glob), limit) for glob, limit in settings.body_limits.items()]
        self._message = settings.max_message_bytes
        if self._usual is None and not self._others and self._message is None:
            # A layer without hooks costs nothing.
            vars(self).update(on_request=None, on_error=None)

    def on_request(self, exchange: Exchange) -> None:
        """Set the limits, and refuse a body that is announced to be larger."""
        if exchange.socket is not None:
            if self._message is not None:
                exchange.limit_message(self._message)
            return
        limit = self._limit(exchange.path) if self._others else self._usual
        if limit is None:
            return
        if exchange.header(b"content-length") is not None and (exchange.content_length or 0) > limit:
            _refuse(exchange, limit)
        else:
            exchange.limit_body(limit)

    def on_error(self, exchange: Exchange, error: Exception) -> None:
        """Answer where the application has let it pass."""
        if isinstance(error, BodyTooLarge) and not exchange.started:
            _refuse(exchange, error.limit)

    def _limit(self, path: str) -> int | None:
        for fits, limit in self._others:
            if fits(path):
                return limit
        return self._usual


def _matcher(glob: str) -> Matcher:
    fits = compile_globs([glob])
    assert fits is not None
    return fits


def _refuse(exchange: Exchange, limit: int) -> None:
    # The rest of the body is neither read nor mistaken for the next request.
    answer(exchange, body_too_large(limit), [CLOSE])
