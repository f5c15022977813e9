"""Ask whether a credential was revoked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from bandmaster.contrib.oidc.errors import InvalidTokenError, TokenStoreError
from bandmaster.contrib.oidc.principal import Principal


class RevocationList(Protocol):
    """Knows the credentials that were revoked before they expire, of one kind or of several.

    The layer for bearer tokens asks every component that provides this type, and the component ``token_store``.
    """

    async def is_revoked(self, principal: Principal) -> bool:
        """Whether the credential of this principal was revoked.

        Raises:
            AuthUnavailableError: the list can't be read now.
        """
        ...


class MissingTokenStore:
    """Stands for a token store that the settings ask for and that failed to start."""

    async def is_revoked(self, principal: Principal) -> bool:
        """Refuse to answer.

        Raises:
            TokenStoreError: always.
        """
        raise TokenStoreError("the component that knows revoked tokens isn't there, because its start failed")


async def check_revocation(lists: Iterable[RevocationList], principal: Principal) -> None:
    """Refuse a principal whose credential was revoked.

    Raises:
        InvalidTokenError: the credential was revoked.
        AuthUnavailableError: a list can't be read now.
    """
    for each in lists:
        if await each.is_revoked(principal):
            raise InvalidTokenError("the credential was revoked")
