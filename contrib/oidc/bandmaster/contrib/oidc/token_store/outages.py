"""Accept tokens while the token store can't be reached, where the settings say so."""

from __future__ import annotations

from datetime import datetime

from bandmaster.contrib.oidc.errors import TokenStoreError
from bandmaster.contrib.oidc.principal import Principal
from bandmaster.contrib.oidc.token_store.store import TokenStore
from bandmaster.contrib.oidc.token_store.stored_token import StoredToken
from bandmaster.kernel import get_logger


class AcceptingTokenStore:
    """A token store by which no token is revoked while the store behind it can't be reached.

    Everything else still raises `TokenStoreError`: a revocation that wasn't written is never reported as written.
    """

    def __init__(self, store: TokenStore) -> None:
        self._store = store
        self._is_away = False
        self.unchecked = 0
        """How many answers were given without the store."""

    async def store(self, token: StoredToken) -> None:
        """See `TokenStore.store`."""
        await self._store.store(token)

    async def get(self, user_id: str, jti: str) -> StoredToken | None:
        """See `TokenStore.get`."""
        return await self._store.get(user_id, jti)

    async def list_tokens(self, user_id: str) -> tuple[StoredToken, ...]:
        """See `TokenStore.list_tokens`."""
        return await self._store.list_tokens(user_id)

    async def revoke(self, user_id: str, jti: str, *, expires_at: datetime | None = None) -> bool:
        """See `TokenStore.revoke`."""
        return await self._store.revoke(user_id, jti, expires_at=expires_at)

    async def revoke_all(self, user_id: str, *, issuer: str = "") -> int:
        """See `TokenStore.revoke_all`."""
        return await self._store.revoke_all(user_id, issuer=issuer)

    async def is_revoked(self, principal: Principal) -> bool:
        """See `TokenStore.is_revoked`; False while the store can't be reached. Each outage is logged once."""
        log = get_logger("bandmaster.oidc")
        try:
            answer = await self._store.is_revoked(principal)
        except TokenStoreError as error:
            self.unchecked += 1
            if not self._is_away:
                self._is_away = True
                log.warning(
                    "the token store can't be reached, and tokens are accepted without it",
                    error=str(error),
                    hint="AUTH_TOKEN_STORE_ON_OUTAGE=refuse answers 503 instead",
                )
            return False
        if self._is_away:
            self._is_away = False
            log.warning("the token store is back", unchecked=self.unchecked)
        return answer
