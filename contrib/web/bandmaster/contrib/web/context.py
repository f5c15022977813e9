"""The context of a request, a WebSocket connection or a task: its ids, its tenant and its user."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar, Token, copy_context
from functools import wraps
from threading import Lock
from typing import Any, ParamSpec, TypeVar

from bandmaster.contrib.web.request_ids import RequestIds, new_request_id
from bandmaster.contrib.web.settings import WebSettings
from bandmaster.kernel import Exchange, MiddlewareBand, middleware

REQUEST_ID = b"x-request-id"
CORRELATION_ID = b"x-correlation-id"
KEY = "request_context"
"""The key under which an exchange's ``data`` has the `RequestContext`."""

_P = ParamSpec("_P")
_T = TypeVar("_T")
_RESET = "request_context_reset"
_MOST_BOUND = 64
"""Fields that one context holds at the most, so that a loop that binds new names can't fill the memory."""
_BINDING = Lock()
_VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestContext:
    """The ids, the tenant, the user and the bound fields of a request, a WebSocket connection or a task.

    Tasks and threads that the handler starts share the object with the handler.
    """

    __slots__ = ("correlation_id", "fields", "request_id", "tenant", "user")

    def __init__(
        self,
        request_id: str,
        correlation_id: str | None = None,
        *,
        tenant: str | None = None,
        user: str | None = None,
    ) -> None:
        self.request_id = request_id
        """The id of this request alone."""
        self.correlation_id = request_id if correlation_id is None else correlation_id
        """The id that all requests and tasks share that follow from the same first request."""
        self.tenant = tenant
        """The tenant that the data belongs to; None until `set_tenant` is called."""
        self.user = user
        """The user as the identity provider names them; None until `set_user` is called."""
        self.fields: dict[str, Any] | None = None
        """The fields that `bind` has added; None until the first. Never changed in place, so that threads may read."""

    def __repr__(self) -> str:
        # The repr appears in logs, so neither the tenant nor the user is in it.
        return f"<RequestContext {self.request_id}>"


_CURRENT: ContextVar[RequestContext] = ContextVar("bandmaster.request_context")


def current_context() -> RequestContext | None:
    """The context of the current request, connection or task; None outside of one."""
    return _CURRENT.get(None)


def request_id() -> str | None:
    """The id of the current request, connection or task; None outside of one."""
    context = _CURRENT.get(None)
    return None if context is None else context.request_id


def correlation_id() -> str | None:
    """The id that requests and tasks share if one has led to the other; None outside of one."""
    context = _CURRENT.get(None)
    return None if context is None else context.correlation_id


def tenant() -> str | None:
    """The tenant of the current request, connection or task; None outside of one, and until a tenant is set."""
    context = _CURRENT.get(None)
    return None if context is None else context.tenant


def user() -> str | None:
    """The user of the current request, connection or task; None outside of one, and until a user is set."""
    context = _CURRENT.get(None)
    return None if context is None else context.user


def set_tenant(tenant: str | None) -> None:
    """Set the tenant for the rest of the request, connection or task.

    Raises:
        RuntimeError: there is no current request, connection or task.
    """
    _require_context("tenant").tenant = tenant


def set_user(user: str | None) -> None:
    """Set the user for the rest of the request, connection or task.

    Raises:
        RuntimeError: there is no current request, connection or task.
    """
    _require_context("user").user = user


def bind(**fields: Any) -> None:
    """Add fields to all later log events of the request, connection or task, and to the event that closes the request.

    Dependencies, handlers, and the tasks and threads that they start, bind to the same request, wherever each runs.
    A field that is bound again has the new value, and None removes the field. A context holds 64 fields at the most.

    Raises:
        RuntimeError: there is no current request, connection or task.
        ValueError: the context would hold more than 64 fields.
    """
    context = _require_context("field")
    # Two threads of one request may bind at the same time.
    with _BINDING:
        bound = {**(context.fields or {}), **fields}
        kept = {name: value for name, value in bound.items() if value is not None}
        if len(kept) > _MOST_BOUND:
            raise ValueError(f"a context holds {_MOST_BOUND} fields at the most, and {len(kept)} would be bound")
        context.fields = kept or None


def keep_context(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """A function that runs in the context of this place, in whatever thread it is called.

    For thread pools and threads of your own, which begin with an empty context. `asyncio.to_thread` and
    ``anyio.to_thread.run_sync`` keep the context by themselves.

    ```python
    pool.submit(keep_context(render_invoice), order)
    ```
    """
    context = copy_context()

    @wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        # A copy for each call, since two threads can't be in one context at the same time.
        return context.copy().run(function, *args, **kwargs)

    return run


@contextmanager
def request_context(
    request_id: str | None = None,
    correlation_id: str | None = None,
    *,
    tenant: str | None = None,
    user: str | None = None,
) -> Iterator[RequestContext]:
    """Give code that serves no request, such as a task from a queue, a context of its own.

    An invalid id is replaced by a new one.
    """
    token = _CURRENT.set(
        RequestContext(_accept_id(request_id) or new_request_id(), _accept_id(correlation_id), tenant=tenant, user=user)
    )
    try:
        yield _CURRENT.get()
    finally:
        _CURRENT.reset(token)


def log_fields() -> dict[str, str]:
    """The ids that a log event should have: the known values of the current context, nothing outside of one.

    The fields that `bind` has added are in ``current_context().fields``.
    """
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
    """A structlog processor that adds `log_fields` and the bound fields. Fields that the event has already stay."""
    context = _CURRENT.get(None)
    if context is not None:
        for name, value in ((context.fields or {}) | log_fields()).items():
            event.setdefault(name, value)
    return event


@middleware(band=MiddlewareBand.OUTERMOST, priority=MiddlewareBand.OUTERMOST.priorities[0], name="request_context")
class RequestContextLayer:
    """Gives every request and every WebSocket a context, and sends the client the request id."""

    def __init__(self, settings: WebSettings) -> None:
        self._trusts = settings.trust_request_id
        # Layers are made when the application starts, which is after the server's last fork.
        self._new_id = RequestIds().new

    def on_request(self, exchange: Exchange) -> None:
        """Set the context, with the ids of a trusted proxy or with a new id."""
        if self._trusts:
            context = RequestContext(
                _read_id(exchange, REQUEST_ID) or self._new_id(), _read_id(exchange, CORRELATION_ID)
            )
        else:
            context = RequestContext(self._new_id())
        exchange.data[KEY] = context
        exchange.data[_RESET] = _CURRENT.set(context)

    def on_response_start(self, exchange: Exchange) -> None:
        """Send the request id."""
        # From the exchange, not from the context variable: a response may be sent by a task outside of the context, or
        # by an application that is mounted in this one and has a context of its own.
        context: RequestContext = exchange.data[KEY]
        exchange.set_header(REQUEST_ID, context.request_id.encode("ascii"))

    def on_end(self, exchange: Exchange) -> None:
        """Remove the context."""
        # The token refers to the context of the request, so the exchange must not keep it.
        token: Token[RequestContext] = exchange.data.pop(_RESET)
        try:
            _CURRENT.reset(token)
        except ValueError:
            # A coroutine that is garbage collected is closed in another context, where nothing was set.
            pass


def _read_id(exchange: Exchange, name: bytes) -> str | None:
    value = exchange.header(name)
    return None if value is None else _accept_id(value.decode("latin-1"))


def _accept_id(sent: str | None) -> str | None:
    return sent if sent is not None and _VALID_ID.fullmatch(sent) else None


def _require_context(attribute: str) -> RequestContext:
    context = _CURRENT.get(None)
    if context is None:
        raise RuntimeError(
            f"no {attribute} can be set here, outside of a request; code that serves none, such as a task, opens a "
            "context with request_context()"
        )
    return context
