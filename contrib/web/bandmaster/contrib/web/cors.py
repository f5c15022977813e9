"""Which pages of other origins may call: Starlette's CORS middleware, asked from hooks."""

from __future__ import annotations

from collections.abc import Coroutine
from functools import lru_cache
from typing import Any, NamedTuple

from starlette.middleware.cors import CORSMiddleware
from starlette.types import Message, Receive, Scope, Send

from bandmaster.contrib.web.settings import WebSettings
from bandmaster.kernel import Exchange, HeaderBlock, MiddlewareBand, middleware

_REQUESTED_METHOD = b"access-control-request-method"
_ORIGINS_REMEMBERED = 128


@middleware(
    band=MiddlewareBand.OUTERMOST,
    priority=MiddlewareBand.OUTERMOST.priorities[30],
    name="cors",
    scopes={"http"},
)
class CORSLayer:
    """Answers preflights, and tells browsers which pages may read a response, errors and refusals included.

    Every answer is Starlette's own: what its ``CORSMiddleware`` adds to a response depends on the request's Origin
    alone, so it is asked once for each, and remembered. Only ``Vary`` is written by the exchange, which doesn't name
    twice what is there already. Origins are compared as browsers send them, byte by byte.
    """

    def __init__(self, settings: WebSettings) -> None:
        if not settings.cors_origins and settings.cors_origin_regex is None:
            # A layer without hooks costs nothing.
            vars(self).update(on_request=None, on_response_start=None)
            return
        self._cors = CORSMiddleware(
            _bare,
            allow_origins=settings.cors_origins,
            allow_methods=settings.cors_methods,
            allow_headers=settings.cors_headers,
            allow_credentials=settings.cors_credentials,
            allow_origin_regex=settings.cors_origin_regex,
            allow_private_network=settings.cors_private_network,
            expose_headers=settings.cors_expose_headers,
            max_age=settings.cors_max_age,
        )
        # Bounded, since anybody can make origins up.
        self._grant = lru_cache(_ORIGINS_REMEMBERED)(self._ask)
        self._without_origin = self._ask(None)

    def on_request(self, exchange: Exchange) -> None:
        """Answer a preflight; the application never sees it."""
        # Nearly every request is past after the first look.
        if exchange.header(_REQUESTED_METHOD) is not None and _is_preflight(exchange):
            scope = {"type": "http", "method": "OPTIONS", "headers": list(exchange.headers)}
            start, body = _answer(self._cors, scope)
            exchange.respond(start["status"], start["headers"], body["body"])

    def on_response_start(self, exchange: Exchange) -> None:
        """Say who may read it."""
        origin = exchange.header(b"origin")
        if origin is None:
            if self._without_origin.varies:
                exchange.vary(b"Origin")
        elif exchange.header(_REQUESTED_METHOD) is None or not _is_preflight(exchange):
            grant = self._grant(origin)
            exchange.set_headers(grant.headers)
            if grant.varies:
                exchange.vary(b"Origin")

    def _ask(self, origin: bytes | None) -> _Grant:
        sent = [] if origin is None else [(b"origin", origin)]
        start, _ = _answer(self._cors, {"type": "http", "method": "GET", "headers": sent})
        added = start["headers"]
        granted = [pair for pair in added if pair[0] != b"vary"]
        return _Grant(HeaderBlock(granted), varies=len(granted) < len(added))


class _Grant(NamedTuple):
    """What a response to some origin says of it."""

    headers: HeaderBlock
    varies: bool


def _is_preflight(exchange: Exchange) -> bool:
    return (
        exchange.method == "OPTIONS"
        and exchange.header(b"origin") is not None
        and exchange.header(_REQUESTED_METHOD) is not None
    )


async def _bare(scope: Scope, receive: Receive, send: Send) -> None:
    """An application whose responses have no headers of their own."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def _answer(cors: CORSMiddleware, scope: Scope) -> tuple[Message, Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    _run(cors(scope, _nothing, send))
    start, body = sent
    return start, body


async def _nothing() -> Message:
    raise RuntimeError("CORS was decided by a request's body")


def _run(coroutine: Coroutine[Any, Any, None]) -> None:
    # There is nothing in it to wait for, so that it needs no event loop.
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError("Starlette's CORSMiddleware waited for something")
