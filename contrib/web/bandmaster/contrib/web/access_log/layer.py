"""The access log: one record for every request and every WebSocket, when it is over, whatever has happened."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from random import Random
from time import perf_counter, time
from typing import Literal, TypeAlias
from urllib.parse import quote, quote_from_bytes

from bandmaster.contrib.web.access_log.lines import PATH_LIMIT, AccessRecord
from bandmaster.contrib.web.access_log.route_templates import RouteTemplates
from bandmaster.contrib.web.access_log.sinks import AccessSink, standard_sink
from bandmaster.contrib.web.context import KEY, RequestContext
from bandmaster.contrib.web.path_globs import compile_globs
from bandmaster.contrib.web.settings import WebSettings
from bandmaster.kernel import Exchange, MiddlewareBand, middleware

_LAG_HOLDS = 1.0
"""Seconds until the wall clock is asked again how far it is ahead of the one that measures."""
_TOLD_AGAIN = 60.0
"""Seconds until another word about lost records."""


@middleware(band=MiddlewareBand.OUTERMOST, priority=MiddlewareBand.OUTERMOST.priorities[10], name="access_log")
class AccessLogLayer:
    """Logs requests and WebSockets, streams when they have ended.

    A ``sink`` that a component provides takes all records, whichever form the setting names, unless it is ``off``. A
    record that can't be written is lost, and the request goes on; the losses are counted, and told through the standard
    library's logging, at most once a minute.
    """

    def __init__(self, settings: WebSettings, sink: AccessSink | None = None) -> None:
        self.lost = 0
        """Records that could not be written."""
        self._excluded = compile_globs(settings.access_log_exclude)
        self._slow = settings.access_log_slow
        self._share = settings.access_log_sample
        self._draw = Random().random  # noqa: S311  # no secret depends on it
        self._templates = RouteTemplates()
        self._lag = self._lag_until = 0.0
        self._untold = 0
        self._silent_until = 0.0
        if settings.access_log == "off":
            self.on_end = None  # type: ignore[assignment, method-assign]
        else:
            # A sink that is empty is false, too.
            taking = sink if sink is not None else standard_sink(settings.access_log, sys.stdout)
            self._write = taking.write

    def on_end(self, exchange: Exchange) -> None:
        """Log it."""
        try:
            if self._excluded is None or not self._excluded(exchange.path):
                record = self._record(exchange)
                if record is not None:
                    self._write(record)
                    if self._untold:
                        self._tell_of_losses("the access log is written again")
        except Exception as error:  # noqa: BLE001  # a log that fails is no reason to fail the request
            self.lost += 1
            self._untold += 1
            self._tell_of_losses(f"the access log can't be written: {type(error).__name__}: {error}")

    def _record(self, exchange: Exchange) -> AccessRecord | None:
        """What is to be logged; nothing if the draw says so."""
        scope, socket, status, ended = exchange.scope, exchange.socket, exchange.status, exchange.finished
        finished = perf_counter() if ended is None else ended
        duration = finished - exchange.began
        level: _Level = "info"
        outcome = _WELL
        if (
            duration >= self._slow
            or ended is None
            or status is None
            or status >= 500
            or socket is not None
            or exchange.error is not None
            or exchange.disconnected
        ):
            level, status, outcome = _ending(exchange, long=duration >= self._slow)
        share = None
        if self._share < 1 and level == "info":
            share = self._share
            if self._draw() >= share:
                return None
        if finished > self._lag_until:
            self._lag = time() - perf_counter()
            self._lag_until = finished + _LAG_HOLDS
        raw: bytes | None = scope.get("raw_path")
        if not raw or len(raw) > PATH_LIMIT or b"?" in raw or not raw.isascii():
            path = _path(raw, scope["path"])
        else:
            path = raw.decode("ascii")
        client = scope.get("client")
        context: RequestContext | None = exchange.data.get(KEY)
        request_id = correlation_id = tenant = user = None
        if context is not None:
            request_id, tenant, user = context.request_id, context.tenant, context.user
            if context.correlation_id != request_id:
                correlation_id = context.correlation_id
        method = scope.get("method", "GET")
        # The constructor itself, and arguments by name, would take several times as long.
        return _made(
            AccessRecord,
            (
                "request" if socket is None else "websocket",
                level,
                finished + self._lag,
                method,
                path,
                self._templates.of(scope),
                status,
                duration,
                # RFC 9110, 9.3.2: servers leave the body out.
                exchange.bytes_sent if method != "HEAD" else 0,
                exchange.bytes_received,
                client[0] if client else None,
                scope.get("http_version"),
                request_id,
                correlation_id,
                tenant,
                user,
                *outcome,
                share,
            ),
        )

    def _tell_of_losses(self, what: str) -> None:
        now = perf_counter()
        if now < self._silent_until:
            return
        self._silent_until = now + _TOLD_AGAIN
        untold, self._untold = self._untold, 0
        # Whoever is told may fail, too: this may be about a full disk.
        with suppress(Exception):
            _LOGGER.warning("%s (%d lost since the last such message, %d in all)", what, untold, self.lost)


_LOGGER = logging.getLogger("bandmaster.web.access")


_Level: TypeAlias = Literal["info", "warning"]
_Outcome: TypeAlias = tuple[str | None, bool, bool, bool, int | None, int | None, int | None]
"""From `AccessRecord.error` to `AccessRecord.messages_received`."""

_WELL: _Outcome = (None, False, False, False, None, None, None)
_made = tuple.__new__


def _ending(exchange: Exchange, *, long: bool) -> tuple[_Level, int | None, _Outcome]:
    """How a WebSocket has ended, or what wasn't as usual: the level, the status and the rest of it."""
    error, socket, status, disconnected = exchange.error, exchange.socket, exchange.status, exchange.disconnected
    over = exchange.finished is not None
    if status is None and not over and not disconnected and (error is None or isinstance(error, Exception)):
        status = 500
    slow = long and socket is None and not _is_stream(exchange)
    incomplete = socket is None and exchange.started and not over and not disconnected
    failed = error is not None and not (disconnected and _tells_that_the_client_has_gone(error))
    warns = slow or incomplete or failed or (status is not None and status >= 500)
    name = None if error is None else type(error).__name__
    level: _Level = "warning" if warns else "info"
    if socket is None:
        return level, status, (name, slow, disconnected, incomplete, None, None, None)
    traffic = (socket.close_code, socket.messages_sent, socket.messages_received)
    return level, status, (name, slow, disconnected, incomplete, *traffic)


def _is_stream(exchange: Exchange) -> bool:
    # How long a body without a length goes on is its own affair, and often the client's.
    return exchange.bytes_sent > 0 and exchange.response_header(b"content-length") is None


def _tells_that_the_client_has_gone(error: BaseException) -> bool:
    # ASGI lets send raise an OSError for it, and Starlette makes these of it.
    return isinstance(error, OSError) or type(error).__name__ in ("ClientDisconnect", "WebSocketDisconnect")


def _path(raw: bytes | None, decoded: str) -> str:
    """The path as it came, in ASCII, without the query string, and not too long."""
    if raw:
        # Some servers leave the query string there, and not all that clients send is percent-encoded.
        path = quote_from_bytes(raw.partition(b"?")[0], safe=_ASCII)
    else:
        path = quote(decoded, safe=_PATH_CHARACTERS, errors="surrogatepass")
    return path if len(path) <= PATH_LIMIT else f"{path[:PATH_LIMIT]}..."


_ASCII = bytes(range(128))
_PATH_CHARACTERS = "/:@!$&'()*+,;=~"
"""What a path may hold as it is (RFC 3986, 3.3)."""
