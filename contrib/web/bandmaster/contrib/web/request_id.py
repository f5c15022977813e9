"""An id for each request: taken over from a trusted proxy or made, kept for the request, sent with the answer."""

from __future__ import annotations

import os
import re
import time

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from bandmaster.kernel import Exchange, MiddlewareBand, current_exchange, middleware

HEADER = b"x-request-id"
_WELL_FORMED = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_KEY = "request_id"


class WebSettings(BaseSettings):
    """Settings of the web parts, read from variables that begin with ``WEB_``."""

    model_config = SettingsConfigDict(env_prefix="WEB_", extra="ignore", frozen=True, hide_input_in_errors=True)

    trust_request_id: bool = Field(
        False, description="Take over a well-formed x-request-id header; only behind a proxy that sets it."
    )


def request_id() -> str | None:
    """The id of the request that is being served here; none outside a request."""
    exchange = current_exchange()
    return None if exchange is None else exchange.data.get(_KEY)


def new_request_id() -> str:
    """A UUIDv7 (RFC 9562) as 32 hex digits: unique, and in the order of time."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    high, low = random >> 68, random & ((1 << 62) - 1)
    return f"{milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low:032x}"


@middleware(band=MiddlewareBand.CONTEXT, priority=MiddlewareBand.CONTEXT.priorities[0], name="request_id")
class RequestIdLayer:
    """Gives every request and every WebSocket an id."""

    def __init__(self, settings: WebSettings) -> None:
        self._trusts = settings.trust_request_id

    def on_request(self, exchange: Exchange) -> None:
        """Take the id over, or make one."""
        sent = exchange.header(HEADER) if self._trusts else None
        if sent is not None and _WELL_FORMED.fullmatch(sent):
            exchange.data[_KEY] = sent.decode("ascii")
        else:
            exchange.data[_KEY] = new_request_id()

    def on_response_start(self, exchange: Exchange) -> None:
        """Tell the client."""
        exchange.set_header(HEADER, exchange.data[_KEY].encode("ascii"))
