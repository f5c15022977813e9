"""Who makes a request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from starlette.types import Scope

from bandmaster.contrib.web import current_context

Kind = Literal["token", "session", "api_key", "bypass"]
"""How the caller has shown who it is: a bearer token, a login session, an API key, or the bypass for development."""

CURRENT: ContextVar[Principal | None] = ContextVar("bandmaster.principal", default=None)
"""The principal of the running code. Others call `current_principal` and `principal_context`."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request, according to the credential. Holds no credential."""

    subject: str
    """The ``sub`` claim, or the owner of an API key. Unique within ``issuer`` only (OpenID Connect Core, section 2)."""
    issuer: str = ""
    """The issuer that vouches for the subject; empty for API keys."""
    scopes: frozenset[str] = frozenset()
    """The scopes of the credential."""
    kind: Kind = "token"
    """How the caller has shown who it is."""
    client_id: str | None = None
    """The client that the credential was issued to, where it says so."""
    credential_id: str | None = None
    """The ``jti`` of a token, the id of an API key, or the hashed id of a session."""
    session_id: str | None = None
    """The ``sid`` claim: the session at the provider."""
    issued_at: float | None = None
    """When the credential was issued, in seconds since the epoch."""
    expires_at: float | None = None
    """When the credential expires, in seconds since the epoch; None: never."""
    claims: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False, compare=False)
    """All claims of the token, read-only."""


def get_principal(scope: Scope) -> Principal | None:
    """Who makes this request; None if nobody has shown who it is."""
    state = scope.get("state")
    return None if state is None else state.get("principal")


def set_principal(scope: Scope, principal: Principal) -> None:
    """Note who makes this request: in ``request.state.principal``, for `current_principal`, and as the user in the log.

    The log and the request context of bandmaster-web get the subject. The layer ``principal_context`` removes the
    principal from `current_principal` at the end of the request.
    """
    scope.setdefault("state", {})["principal"] = principal
    CURRENT.set(principal)
    context = current_context()
    if context is not None:
        context.user = principal.subject


def current_principal() -> Principal | None:
    """Who makes the request, or sent the task, that this code runs for; None outside of them, or if nobody is known."""
    return CURRENT.get()


def adopt_principal(principal: Principal | None) -> None:
    """Let `current_principal` return this principal in the rest of this task; for code that can't span a block."""
    CURRENT.set(principal)


@contextmanager
def principal_context(principal: Principal | None) -> Iterator[None]:
    """Let `current_principal` return this principal, or None, until the block ends; for code that serves no request."""
    token = CURRENT.set(principal)
    try:
        yield
    finally:
        try:
            CURRENT.reset(token)
        except ValueError:
            # A coroutine that is garbage collected is closed in another context, where nothing was set.
            pass
