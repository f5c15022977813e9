"""The layer that lets pages of other origins call: Starlette's CORS middleware in hook form."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from starlette.middleware.cors import CORSMiddleware

from bandmaster.contrib.web.frameworks import answer_empty, ask_cors
from bandmaster.contrib.web.settings import WebSettings
from bandmaster.kernel import Exchange, HeaderBlock, MiddlewareBand, middleware

_REQUESTED_METHOD = b"access-control-request-method"
_CACHED_ORIGINS = 128


@middleware(
    band=MiddlewareBand.OUTERMOST,
    priority=MiddlewareBand.OUTERMOST.priorities[30],
    name="cors",
    scopes={"http"},
)
class CORSLayer:
    """Answers preflight requests, and adds the headers that let pages read responses, errors and refusals included.

    Starlette's ``CORSMiddleware`` decides everything. The headers that it adds to a response depend on the request's
    Origin alone, so it is called once for each origin, and the headers are cached. Only ``Vary`` is written by the
    exchange, which doesn't repeat a name that is there already. Origins are compared byte by byte.
    """

    def __init__(self, settings: WebSettings) -> None:
        if not settings.cors_origins and settings.cors_origin_regex is None:
            # The frame calls no hook that is None, so a layer that is switched off costs nothing.
            vars(self).update(on_request=None, on_response_start=None)
            return
        self._cors = CORSMiddleware(
            answer_empty,
            allow_origins=settings.cors_origins,
            allow_methods=settings.cors_methods,
            allow_headers=settings.cors_headers,
            allow_credentials=settings.cors_credentials,
            allow_origin_regex=settings.cors_origin_regex,
            allow_private_network=settings.cors_private_network,
            expose_headers=settings.cors_expose_headers,
            max_age=settings.cors_max_age,
        )
        # Bounded, since a client can send any number of origins.
        self._grant = lru_cache(_CACHED_ORIGINS)(self._compute_grant)
        self._without_origin = self._compute_grant(None)

    def on_request(self, exchange: Exchange) -> None:
        """Answer a preflight request in place of the application."""
        # The first condition is false for nearly every request, and cheap.
        if exchange.header(_REQUESTED_METHOD) is not None and _is_preflight(exchange):
            scope = {"type": "http", "method": "OPTIONS", "headers": list(exchange.headers)}
            start, body = ask_cors(self._cors, scope)
            exchange.respond(start["status"], start["headers"], body["body"])

    def on_response_start(self, exchange: Exchange) -> None:
        """Add the headers of CORS to the response."""
        origin = exchange.header(b"origin")
        if origin is None:
            if self._without_origin.varies:
                exchange.vary(b"Origin")
        elif exchange.header(_REQUESTED_METHOD) is None or not _is_preflight(exchange):
            grant = self._grant(origin)
            exchange.set_headers(grant.headers)
            if grant.varies:
                exchange.vary(b"Origin")

    def _compute_grant(self, origin: bytes | None) -> _Grant:
        sent = [] if origin is None else [(b"origin", origin)]
        start, _ = ask_cors(self._cors, {"type": "http", "method": "GET", "headers": sent})
        added = start["headers"]
        granted = [pair for pair in added if pair[0] != b"vary"]
        return _Grant(HeaderBlock(granted), varies=len(granted) < len(added))


class _Grant(NamedTuple):
    """The headers of responses to one origin."""

    headers: HeaderBlock
    varies: bool
    """Whether the response depends on the origin, which ``Vary`` says to caches."""


def _is_preflight(exchange: Exchange) -> bool:
    return (
        exchange.method == "OPTIONS"
        and exchange.header(b"origin") is not None
        and exchange.header(_REQUESTED_METHOD) is not None
    )
