"""The layer that makes one record for every request and every WebSocket at their ends."""

from __future__ import annotations

import sys
from contextlib import suppress
from random import Random
from time import perf_counter, time
from typing import Literal, TypeAlias
from urllib.parse import quote, quote_from_bytes

from bandmaster.contrib.web.access_log.records import PATH_LIMIT, AccessRecord
from bandmaster.contrib.web.access_log.route_templates import RouteTemplates
from bandmaster.contrib.web.access_log.sinks import AccessSink, InstalledAccessSink, choose_sink
from bandmaster.contrib.web.context import KEY, RequestContext
from bandmaster.contrib.web.frameworks import is_client_disconnect
from bandmaster.contrib.web.path_globs import compile_globs
from bandmaster.contrib.web.settings import WebSettings
from bandmaster.kernel import Exchange, MiddlewareBand, Redactor, get_logger, middleware

_CLOCK_OFFSET_LIFETIME = 1.0
"""Seconds until the offset between the wall clock and ``perf_counter`` is measured again."""
_WARNING_INTERVAL = 60.0
"""Seconds between two warnings about lost records."""


@middleware(band=MiddlewareBand.OUTERMOST, priority=MiddlewareBand.OUTERMOST.priorities[10], name="access_log")
class AccessLogLayer:
    """Logs requests, WebSockets and streams when they have ended.

    A ``sink`` that a component provides receives all records instead of the sink that ``WEB_ACCESS_LOG`` names, unless
    that setting is ``off``. An ``installed`` log receives them if that setting is ``auto`` or ``logging``.

    A record that can't be written is lost, and the request goes on. Losses are counted, and the standard library's
    logging warns of them at most once a minute.
    """

    def __init__(
        self,
        settings: WebSettings,
        sink: AccessSink | None = None,
        installed: InstalledAccessSink | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self.lost = 0
        """Number of records that could not be written."""
        self._excluded = compile_globs(settings.access_log_exclude)
        self._quiet = compile_globs(settings.access_log_quiet)
        self._redact = (redactor or Redactor()).redact_mapping
        self._slow = settings.access_log_slow
        self._sample_rate = settings.access_log_sample
        self._draw = Random().random  # noqa: S311  # sampling needs no secure random numbers
        self._templates = RouteTemplates()
        self._clock_offset = self._clock_offset_expires = 0.0
        self._lost_since_warning = 0
        self._next_warning = 0.0
        if settings.access_log == "off":
            self.on_end = None  # type: ignore[assignment, method-assign]
        else:
            self._write = choose_sink(settings.access_log, sink, installed, sys.stdout).write

    def on_end(self, exchange: Exchange) -> None:
        """Log the request, unless the path is excluded, or a success is sampled away or has a quiet path."""
        try:
            if self._excluded is None or not self._excluded(exchange.path):
                record = self._make_record(exchange)
                if record is not None:
                    self._write(record)
                    if self._lost_since_warning:
                        self._warn_of_losses("the access log is written again")
        except Exception as error:  # noqa: BLE001  # a log that fails must not fail the request
            self.lost += 1
            self._lost_since_warning += 1
            self._warn_of_losses("the access log can't be written", error=f"{type(error).__name__}: {error}")

    def _make_record(self, exchange: Exchange) -> AccessRecord | None:
        """The record of a request; None if the request isn't logged."""
        scope, socket, status, ended = exchange.scope, exchange.socket, exchange.status, exchange.finished
        finished = perf_counter() if ended is None else ended
        duration = finished - exchange.began
        level: _Level = "info"
        outcome = _SUCCESS
        quiet = self._quiet is not None and self._quiet(scope["path"])
        if (
            duration >= self._slow
            or ended is None
            or status is None
            or status >= 500
            or socket is not None
            or exchange.error is not None
            or exchange.disconnected
        ):
            level, status, outcome = _describe_outcome(exchange, long=duration >= self._slow)
        if quiet and level == "info" and status is not None and status < 400:
            return None
        sample_rate = None
        if self._sample_rate < 1 and level == "info":
            sample_rate = self._sample_rate
            if self._draw() >= sample_rate:
                return None
        # One call of the clock instead of two for most requests.
        if finished > self._clock_offset_expires:
            self._clock_offset = time() - perf_counter()
            self._clock_offset_expires = finished + _CLOCK_OFFSET_LIFETIME
        raw: bytes | None = scope.get("raw_path")
        if not raw or len(raw) > PATH_LIMIT or b"?" in raw or not raw.isascii():
            path = _render_path(raw, scope["path"])
        else:
            path = raw.decode("ascii")
        client = scope.get("client")
        context: RequestContext | None = exchange.data.get(KEY)
        request_id = correlation_id = tenant = user = bound = None
        if context is not None:
            request_id, tenant, user = context.request_id, context.tenant, context.user
            if context.fields:
                bound = self._redact(context.fields)
            if context.correlation_id != request_id:
                correlation_id = context.correlation_id
        method = scope.get("method", "GET")
        # Calling the class with arguments by name would take several times as long.
        return _make_tuple(
            AccessRecord,
            (
                "request" if socket is None else "websocket",
                level,
                finished + self._clock_offset,
                method,
                path,
                self._templates.of(scope),
                status,
                duration,
                # RFC 9110, 9.3.2: a response to HEAD has no body, whatever the application sends.
                exchange.bytes_sent if method != "HEAD" else 0,
                exchange.bytes_received,
                client[0] if client else None,
                scope.get("http_version"),
                request_id,
                correlation_id,
                tenant,
                user,
                *outcome,
                sample_rate,
                bound,
            ),
        )

    def _warn_of_losses(self, event: str, **fields: str) -> None:
        now = perf_counter()
        if now < self._next_warning:
            return
        self._next_warning = now + _WARNING_INTERVAL
        lost, self._lost_since_warning = self._lost_since_warning, 0
        # Logging may fail for the same reason as the sink, such as a full disk.
        with suppress(Exception):
            get_logger("bandmaster.web.access").warning(event, **fields, lost=lost, lost_in_all=self.lost)


_Level: TypeAlias = Literal["info", "warning"]
_Outcome: TypeAlias = tuple[str | None, bool, bool, bool, int | None, int | None, int | None]
"""The fields from `AccessRecord.error` to `AccessRecord.messages_received`."""

_SUCCESS: _Outcome = (None, False, False, False, None, None, None)
_ACCEPTED = 101
"""The status of a WebSocket that was accepted."""
_make_tuple = tuple.__new__


def _describe_outcome(exchange: Exchange, *, long: bool) -> tuple[_Level, int | None, _Outcome]:
    """The level, the status and the outcome of a WebSocket, or of a request that was not a plain success."""
    error, socket, status, disconnected = exchange.error, exchange.socket, exchange.status, exchange.disconnected
    complete = exchange.finished is not None
    if status is None and not complete and not disconnected and (error is None or isinstance(error, Exception)):
        status = 500
    slow = long and socket is None and not _is_stream(exchange)
    # A WebSocket that was refused with a response is incomplete without the end of that response.
    incomplete = exchange.started and not complete and not disconnected and (socket is None or status != _ACCEPTED)
    failed = error is not None and not (disconnected and is_client_disconnect(error))
    warns = slow or incomplete or failed or (status is not None and status >= 500)
    name = None if error is None else type(error).__name__
    level: _Level = "warning" if warns else "info"
    if socket is None:
        return level, status, (name, slow, disconnected, incomplete, None, None, None)
    traffic = (socket.close_code, socket.messages_sent, socket.messages_received)
    return level, status, (name, slow, disconnected, incomplete, *traffic)


def _is_stream(exchange: Exchange) -> bool:
    # The duration of a body without a Content-Length depends on the application, and often on the client.
    return exchange.bytes_sent > 0 and exchange.response_header(b"content-length") is None


def _render_path(raw: bytes | None, decoded: str) -> str:
    """The path as the client sent it, in ASCII, without the query string, cut to `PATH_LIMIT`."""
    if raw:
        # Some servers leave the query string in raw_path, and clients may send bytes beyond ASCII unencoded.
        path = quote_from_bytes(raw.partition(b"?")[0], safe=_ASCII)
    else:
        path = quote(decoded, safe=_PATH_CHARACTERS, errors="surrogatepass")
    return path if len(path) <= PATH_LIMIT else f"{path[:PATH_LIMIT]}..."


_ASCII = bytes(range(128))
_PATH_CHARACTERS = "/:@!$&'()*+,;=~"
"""Characters that a path may contain unencoded (RFC 3986, 3.3)."""
