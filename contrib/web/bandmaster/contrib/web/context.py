"""Who asks, and under which ids: the context of the request, connection or task that is being served here."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any

from bandmaster.contrib.web.settings import WebSettings
from bandmaster.kernel import Exchange, MiddlewareBand, middleware

REQUEST_ID = b"x-request-id"
CORRELATION_ID = b"x-correlation-id"

_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,128}")
KEY = "request_context"
"""Where an exchange's ``data`` has the `RequestContext`."""
_RESET = "request_context_reset"


class RequestContext:
    """What is known about a request, a WebSocket connection or a task. Child tasks of it see the same object."""

    __slots__ = ("correlation_id", "request_id", "tenant", "user")

    def __init__(
        self,
        request_id: str,
        correlation_id: str | None = None,
        *,
        tenant: str | None = None,
        user: str | None = None,
    ) -> None:
        self.request_id = request_id
        """Of this request alone."""
        self.correlation_id = request_id if correlation_id is None else correlation_id
        """Of all requests and tasks that follow from one first request."""
        self.tenant = tenant
        """For whom data is kept apart; none until something has established it."""
        self.user = user
        """Who asks, as an identity provider names them; none until something has established it."""

    def __repr__(self) -> str:
        # Nothing about the person: this ends up in logs.
        return f"<RequestContext {self.request_id}>"


_CURRENT: ContextVar[RequestContext] = ContextVar("bandmaster.request_context")


def current_context() -> RequestContext | None:
    """The context of what is being served here; none outside of requests, connections and tasks."""
    return _CURRENT.get(None)


def request_id() -> str | None:
    """The id of the request, connection or task that is being served here; none outside of one."""
    context = _CURRENT.get(None)
    return None if context is None else context.request_id


def correlation_id() -> str | None:
    """The id that it shares with whatever it follows from; none outside of a request, connection or task."""
    context = _CURRENT.get(None)
    return None if context is None else context.correlation_id


def tenant() -> str | None:
    """The tenant that it is for; none outside of one, and where nothing has established it."""
    context = _CURRENT.get(None)
    return None if context is None else context.tenant


def user() -> str | None:
    """The user that it is for; none outside of one, and where nothing has established it."""
    context = _CURRENT.get(None)
    return None if context is None else context.user


def set_tenant(tenant: str | None) -> None:
    """Establish the tenant, for the rest of the request, connection or task.

    Raises:
        RuntimeError: there is none here.
    """
    _here("tenant").tenant = tenant


def set_user(user: str | None) -> None:
    """Establish the user, for the rest of the request, connection or task.

    Raises:
        RuntimeError: there is none here.
    """
    _here("user").user = user


@contextmanager
def request_context(
    request_id: str | None = None,
    correlation_id: str | None = None,
    *,
    tenant: str | None = None,
    user: str | None = None,
) -> Iterator[RequestContext]:
    """Serve something that is no request, such as a task from a queue, in a context of its own.

    An id that isn't well-formed is replaced by a new one.
    """
    token = _CURRENT.set(
        RequestContext(
            _taken_over(request_id) or new_request_id(), _taken_over(correlation_id), tenant=tenant, user=user
        )
    )
    try:
        yield _CURRENT.get()
    finally:
        _CURRENT.reset(token)


def log_fields() -> dict[str, str]:
    """What a log event should say about the context: what is known of it, nothing outside of one."""
    context = _CURRENT.get(None)
    if context is None:
        return {}
    fields = {"request_id": context.request_id}
    if context.correlation_id != context.request_id:
        fields["correlation_id"] = context.correlation_id
    if context.tenant is not None:
        fields["tenant"] = context.tenant
    if context.user is not None:
        fields["user"] = context.user
    return fields


def add_request_context(
    logger: Any,  # structlog's signature of processors
    method: str,
    event: MutableMapping[str, Any],
) -> MutableMapping[str, Any]:
    """A structlog processor that adds `log_fields` to every event; what the event says itself stays."""
    for name, value in log_fields().items():
        event.setdefault(name, value)
    return event


def new_request_id() -> str:
    """A UUIDv7 (RFC 9562) as 32 hex digits: unique, and in the order of time."""
    return RequestIds(1).new()


class RequestIds:
    """Makes request ids as `new_request_id` does, the random parts of many at once.

    To be made after the last fork: two processes with one's randomness would make the same ids.
    """

    __slots__ = ("_at_once", "_tails")

    def __init__(self, at_once: int = 400) -> None:
        self._at_once = at_once
        self._tails: list[str] = []

    def new(self) -> str:
        """One more."""
        tails = self._tails
        if not tails:
            tails.extend(_tails(self._at_once))
        # 48 bits of milliseconds come first.
        return f"{time.time_ns() // 1_000_000:012x}{tails.pop()}"


def _tails(count: int) -> Iterator[str]:
    """What follows the time: the version, 7, and 12 random bits; the variant, binary 10, and 62 random bits."""
    random = bytearray(os.urandom(count * _TAIL))
    random[0::_TAIL] = random[0::_TAIL].translate(_VERSION)
    random[2::_TAIL] = random[2::_TAIL].translate(_VARIANT)
    digits = random.hex()
    return (digits[place : place + 2 * _TAIL] for place in range(0, len(digits), 2 * _TAIL))


_TAIL = 10
_VERSION = bytes(0x70 | byte & 0x0F for byte in range(256))
_VARIANT = bytes(0x80 | byte & 0x3F for byte in range(256))


@middleware(band=MiddlewareBand.OUTERMOST, priority=MiddlewareBand.OUTERMOST.priorities[0], name="request_context")
class RequestContextLayer:
    """Gives every request and every WebSocket its context, and tells the client the request's id."""

    def __init__(self, settings: WebSettings) -> None:
        self._trusts = settings.trust_request_id
        # Layers are made when the application starts, in the process that serves.
        self._new_id = RequestIds().new

    def on_request(self, exchange: Exchange) -> None:
        """Take ids over, or make one."""
        if self._trusts:
            context = RequestContext(_sent(exchange, REQUEST_ID) or self._new_id(), _sent(exchange, CORRELATION_ID))
        else:
            context = RequestContext(self._new_id())
        exchange.data[KEY] = context
        exchange.data[_RESET] = _CURRENT.set(context)

    def on_response_start(self, exchange: Exchange) -> None:
        """Tell the client."""
        # Not from the variable: a response may be sent by whatever task, or by an application inside this one.
        context: RequestContext = exchange.data[KEY]
        exchange.set_header(REQUEST_ID, context.request_id.encode("ascii"))

    def on_end(self, exchange: Exchange) -> None:
        """Leave nothing behind. The token leads to the request, and must not be kept in it."""
        token: Token[RequestContext] = exchange.data.pop(_RESET)
        try:
            _CURRENT.reset(token)
        except ValueError:
            # A coroutine that is thrown away is closed in somebody else's context, where nothing was set.
            pass


def _sent(exchange: Exchange, name: bytes) -> str | None:
    value = exchange.header(name)
    return None if value is None else _taken_over(value.decode("latin-1"))


def _taken_over(sent: str | None) -> str | None:
    return sent if sent is not None and _WELL_FORMED.fullmatch(sent) else None


def _here(what: str) -> RequestContext:
    context = _CURRENT.get(None)
    if context is None:
        raise RuntimeError(f"no {what} can be set here: nothing is being served; tasks open one with request_context()")
    return context
