"""Require a principal and scopes: on a route, a router or a mount, and as a dependency of FastAPI."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from bandmaster.contrib.oidc.errors import CredentialError, InsufficientScopeError, MissingCredentialError
from bandmaster.contrib.oidc.principal import Principal, get_principal
from bandmaster.contrib.oidc.refusals import describe_refusal, refuse

ANY_SCOPE = "*"
"""The scope with which the bypass for development has every other one."""

# RFC 6749, 3.3: scope-token.
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


class Requirement(Middleware):
    """The scopes that a route requires of the caller. `require` makes one.

    Equal requirements are one key of FastAPI's ``dependency_overrides``.
    """

    def __init__(self, scopes: Iterable[str] = (), any_of: Iterable[str] = ()) -> None:
        super().__init__(RequirementLayer, self)
        self.scopes = _check_scopes(scopes, "scopes")
        """The scopes that a principal must have, all of them."""
        self.any_of = _check_scopes(any_of, "any_of")
        """The scopes of which a principal must have one, if there are any."""
        # FastAPI reads the parameters of a dependency, and can't resolve annotations of an object's __call__.
        self.__signature__ = _DEPENDENCY

    def check(self, scope: Scope) -> Principal:
        """Who makes this request, if the requirement is met.

        Raises:
            MissingCredentialError: there is no principal.
            InsufficientScopeError: the principal lacks a scope.
        """
        principal = get_principal(scope)
        if principal is None:
            raise MissingCredentialError("the request has no credential, and the route requires one")
        self.check_principal(principal)
        return principal

    def check_principal(self, principal: Principal) -> None:
        """Refuse a principal that lacks a scope.

        Raises:
            InsufficientScopeError: a scope is missing.
        """
        held = principal.scopes
        if principal.kind == "bypass" and ANY_SCOPE in held:
            return
        missing = [name for name in self.scopes if name not in held]
        if missing:
            raise InsufficientScopeError(
                f"{principal.subject!r} lacks {' '.join(missing)}, and has {_render(held)}",
                (*self.scopes, *self.any_of),
            )
        if self.any_of and held.isdisjoint(self.any_of):
            raise InsufficientScopeError(
                f"{principal.subject!r} has none of {' '.join(self.any_of)}, and has {_render(held)}",
                (*self.scopes, *self.any_of),
            )

    async def __call__(self, connection: HTTPConnection) -> Principal:
        """Meet the requirement as a dependency of FastAPI: ``Depends(require("orders:read"))``.

        Raises:
            MissingCredentialError, InsufficientScopeError: as `check`. Each is an HTTPException as well, so that an app
                without the error handler of this package refuses, too.
        """
        try:
            return self.check(connection.scope)
        except CredentialError as error:
            raise _make_http_exception(error) from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Requirement) and (self.scopes, self.any_of) == (other.scopes, other.any_of)

    def __hash__(self) -> int:
        return hash((self.scopes, self.any_of))

    def __repr__(self) -> str:
        arguments = [repr(scope) for scope in self.scopes]
        if self.any_of:
            arguments.append(f"any_of={self.any_of!r}")
        return f"require({', '.join(arguments)})"


def require(*scopes: str, any_of: Iterable[str] = ()) -> Requirement:
    """Require a principal that has all of these scopes, and one of ``any_of``; without either, any principal.

    A request without a principal gets 401, and one that lacks a scope 403, as RFC 6750 (section 3.1) defines them. The
    principal may come from a token, a session or an API key::

        Route("/orders", list_orders, middleware=[require("orders:read")])
        Router(routes, middleware=[require("orders:read")])
        Mount("/admin", routes=[...], middleware=[require("admin")])
        APIRouter(prefix="/orders", dependencies=[Depends(require("orders:read"))])
        reader: Annotated[Principal, Depends(require("orders:read"))]

    `protect` requires the same of all paths below a prefix.

    Raises:
        ValueError: a scope has a character that scopes can't have (RFC 6749, section 3.3), such as a space.
    """
    return Requirement(scopes, any_of)


class RequirementLayer:
    """The layer around a route, a router or a mount that checks a requirement."""

    def __init__(self, app: ASGIApp, requirement: Requirement) -> None:
        self.app = app
        self.requirement = requirement

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that meets the requirement, and refuse any other."""
        if scope["type"] in ("http", "websocket"):
            try:
                self.requirement.check(scope)
            except CredentialError as error:
                await refuse(scope, receive, send, error)
                return
        await self.app(scope, receive, send)


def _check_scopes(scopes: Iterable[str] | str, label: str) -> tuple[str, ...]:
    names = (scopes,) if isinstance(scopes, str) else tuple(scopes)
    for name in names:
        if not isinstance(name, str) or _SCOPE.fullmatch(name) is None:
            hint = "; write several scopes as several arguments" if isinstance(name, str) and " " in name else ""
            raise ValueError(f"{label}: expected scopes, such as 'orders:read', got {name!r}{hint}")
    return tuple(dict.fromkeys(names))


def _render(scopes: Iterable[str]) -> str:
    return " ".join(sorted(scopes)) or "no scope"


class _HTTPMissingCredential(MissingCredentialError, HTTPException):
    __str__ = Exception.__str__  # the reason, for the log, and not the text for the client

    def __init__(self, error: CredentialError) -> None:
        _copy_error(error, self)


class _HTTPInsufficientScope(InsufficientScopeError, HTTPException):
    __str__ = Exception.__str__

    def __init__(self, error: InsufficientScopeError) -> None:
        _copy_error(error, self)
        self.scopes = error.scopes


def _copy_error(error: CredentialError, copy: HTTPException) -> None:
    problem, headers = describe_refusal(error)
    HTTPException.__init__(copy, problem.status, problem.detail, headers)
    copy.args = error.args


def _make_http_exception(error: CredentialError) -> CredentialError:
    """An HTTPException with the same answer, which Starlette and FastAPI answer also without the error handler."""
    if isinstance(error, InsufficientScopeError):
        return _HTTPInsufficientScope(error)
    return _HTTPMissingCredential(error)


_DEPENDENCY = inspect.Signature(
    [inspect.Parameter("connection", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=HTTPConnection)],
    return_annotation=Principal,
)
