"""Every error of this package.

AuthError
├── CredentialError (PermanentError)      the caller's credential isn't accepted: 401 or 403
│   ├── MissingCredentialError                401: a request without a credential, where one is required
│   ├── InvalidTokenError                     401, invalid_token: a bearer token, key or session that doesn't hold
│   ├── InvalidRequestError                   400, invalid_request: credentials in two places, or malformed
│   └── InsufficientScopeError                403, insufficient_scope
├── SessionTooLargeError (PermanentError) a session doesn't fit into the cookie that is to hold it
├── ProviderRefusedError (PermanentError) a provider's documents contradict the settings, or can't be used
├── ApiKeyError (PermanentError)          a key can't be revoked or rotated, or the store of keys is unusable
└── AuthUnavailableError (TransientError) the provider or a store is away: 503, never 401
    └── TokenStoreError                       of a token store
"""

from __future__ import annotations

from collections.abc import Iterable

from bandmaster.kernel import BandmasterError, PermanentError, TransientError


class AuthError(BandmasterError):
    """The base of this package's errors."""


class CredentialError(AuthError, PermanentError):
    """A credential isn't accepted.

    The text is for logs, and never holds the credential. The caller gets ``code`` and a constant sentence (RFC 6750,
    section 3.1).
    """

    code = "invalid_token"
    status = 401


class MissingCredentialError(CredentialError):
    """The request has no credential, and the route requires one. The caller gets no code (RFC 6750, section 3.1)."""

    code = ""


class InvalidTokenError(CredentialError):
    """A bearer token, an API key or a session doesn't hold: forged, expired, revoked, or meant for somebody else."""


class InvalidRequestError(CredentialError):
    """The request carries credentials in several places, or in a form that can't be read."""

    code = "invalid_request"
    status = 400


class InsufficientScopeError(CredentialError):
    """The credential holds, and lacks a scope that the route requires.

    ``scopes`` are those that the route requires.
    """

    code = "insufficient_scope"
    status = 403

    def __init__(self, message: str, scopes: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.scopes = tuple(scopes)


class SessionTooLargeError(AuthError, PermanentError):
    """A session doesn't fit into the cookie that is to hold it: browsers drop a cookie of more than 4096 bytes.

    ``size`` and ``limit`` are in bytes.
    """

    def __init__(self, message: str, *, size: int, limit: int) -> None:
        super().__init__(message)
        self.size = size
        self.limit = limit


class ProviderRefusedError(AuthError, PermanentError):
    """A provider's discovery document or keys contradict the settings, or can't be used."""


class AuthUnavailableError(AuthError, TransientError):
    """A provider or a store can't be reached, so a credential can be neither accepted nor refused.

    ``retry_after`` is how many seconds a client should wait.
    """

    def __init__(self, message: str, *, retry_after: float = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TokenStoreError(AuthUnavailableError):
    """A token store can't be reached, or holds what isn't a token."""


class ApiKeyError(AuthError, PermanentError):
    """An API key can't be made, revoked or rotated, or the store of API keys can't be used as it is."""
