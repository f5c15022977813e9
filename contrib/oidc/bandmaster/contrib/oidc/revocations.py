"""Ask whether a credential was revoked, also while the list of revoked ones is away."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol

from bandmaster.contrib.oidc.errors import AuthUnavailableError, InvalidTokenError, TokenStoreError
from bandmaster.contrib.oidc.principal import Principal
from bandmaster.kernel import get_logger


class RevocationList(Protocol):
    """Knows the credentials that were revoked before they expire, of one kind or of several.

    The layer for bearer tokens asks every component that provides this type, the token store among them.
    """

    async def is_revoked(self, principal: Principal) -> bool:
        """Whether the credential of this principal was revoked.

        Raises:
            AuthUnavailableError: the list can't be read now.
        """
        ...


class RevocationCheck:
    """Asks every revocation list for a principal."""

    def __init__(self, lists: Iterable[RevocationList], when_away: Literal["refuse", "accept"]) -> None:
        self.accepted_unchecked = 0
        """How many principals were accepted without a check, because a list was away."""
        self._lists = tuple(lists)
        self._accepts = when_away == "accept"
        self._is_away = False

    async def check(self, principal: Principal) -> None:
        """Refuse a principal whose credential was revoked. Every list is asked, also where another one is away.

        Raises:
            InvalidTokenError: the credential was revoked.
            AuthUnavailableError: a list can't be read, and the settings don't accept that.
        """
        absence: AuthUnavailableError | None = None
        for each in self._lists:
            try:
                is_revoked = await each.is_revoked(principal)
            except AuthUnavailableError as error:
                absence = error
                continue
            if is_revoked:
                raise InvalidTokenError("the credential was revoked")
        if absence is None:
            self._note_presence()
        elif self._accepts:
            self._note_absence(absence)
        else:
            raise absence

    def _note_absence(self, error: AuthUnavailableError) -> None:
        self.accepted_unchecked += 1
        if not self._is_away:  # one warning for each outage
            self._is_away = True
            get_logger("bandmaster.oidc").warning(
                "revoked credentials are accepted, because the list of them is away",
                error=str(error),
                hint="unset AUTH_WITHOUT_REVOCATIONS to answer 503 instead",
            )

    def _note_presence(self) -> None:
        if self._is_away:
            self._is_away = False
            get_logger("bandmaster.oidc").warning(
                "credentials are checked for revocation again", accepted_unchecked=self.accepted_unchecked
            )


class MissingTokenStore:
    """Stands for a token store that the settings ask for and that failed to start."""

    async def is_revoked(self, principal: Principal) -> bool:
        """Refuse to answer.

        Raises:
            TokenStoreError: always.
        """
        raise TokenStoreError("the component that knows revoked tokens isn't there, because its start failed")
