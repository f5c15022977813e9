"""The interface of token stores."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from bandmaster.contrib.oidc.principal import Principal
from bandmaster.contrib.oidc.token_store.stored_token import StoredToken


class TokenStore(Protocol):
    """Remembers which tokens were issued, and which are revoked. The component ``token_store`` provides one.

    The component provides a `RevocationList` as well, which the layer for bearer tokens asks about each token.

    A token is known by the ``jti``, never by the text. Storing tokens is optional: `revoke` and `revoke_all` also work
    for tokens that were never stored, since most are issued by a provider and seen first when they are used.

    Each method raises `TokenStoreError` if the store can't be reached, or holds something that isn't a token. A
    revocation that wasn't written is always an error.
    """

    async def store(self, token: StoredToken) -> None:
        """Store a token. One that is revoked already stays so, also one whose user's tokens were all revoked since the
        issue. A token that has expired meanwhile isn't stored.
        """
        ...

    async def get(self, user_id: str, jti: str) -> StoredToken | None:
        """A stored token; None for an unknown or expired one."""
        ...

    async def list_tokens(self, user_id: str) -> tuple[StoredToken, ...]:
        """All stored tokens of a user that haven't expired, revoked ones included, in the order of their expiry."""
        ...

    async def revoke(self, user_id: str, jti: str, *, expires_at: datetime | None = None) -> bool:
        """Revoke a token. Returns False for one that was revoked already.

        ``expires_at`` is when a token that was never stored expires: the revocation is kept until then; by default for
        ``AUTH_TOKEN_STORE_LONGEST_LIFE`` seconds.
        """
        ...

    async def revoke_all(self, user_id: str, *, issuer: str = "") -> int:
        """Revoke every token of a user in one step, and return how many of the stored ones were valid until now.

        Tokens that were never stored are revoked as well if they were issued until now. ``issuer`` restricts the call
        to the tokens of one issuer. The times of tokens are in whole seconds, so that a token counts as issued at the
        beginning of a second: one that is issued within the same second after this call is refused, too.
        """
        ...

    async def is_revoked(self, principal: Principal) -> bool:
        """Whether the token of a principal is revoked, alone or with all tokens of the user.

        A token without an ``iat`` counts as issued before any revocation. Sessions and API keys aren't tokens: their
        own stores end them.
        """
        ...
