"""Users that the requests of a test act as."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from bandmaster.contrib.oidc.errors import InvalidTokenError
from bandmaster.contrib.oidc.principal import Principal
from bandmaster.contrib.oidc.verifier import TokenVerifier

ISSUER = "https://issuer.test"
"""The issuer of principals that are given by their subject."""


class ActingUsers:
    """Verifies the tokens of `act_as`, in place of the component ``token_verifier``.

    Everything else of the application stays in force: the layer reads the header, and routes require their scopes::

        users = ActingUsers()
        async with run(app, overrides=users.overrides) as running:
            reader = users.act_as("ada", scopes=["orders:read"])
            assert (await running.client.get("/orders", headers=reader)).status_code == 200
            assert (await running.client.post("/orders", headers=reader)).status_code == 403
            async with running.websocket("/live", headers=reader) as websocket:
                ...
    """

    def __init__(self) -> None:
        self._principals: dict[str, Principal] = {}

    @property
    def overrides(self) -> Mapping[Any, Any]:
        """The argument ``overrides`` of `bandmaster.kernel.create_app` and of `bandmaster.kernel.testing.run`."""
        return {TokenVerifier: self}

    def act_as(
        self, user: str | Principal, scopes: Iterable[str] = (), *, claims: Mapping[str, Any] | None = None
    ) -> dict[str, str]:
        """The headers of a request that acts as a user: a subject with scopes and claims, or a whole principal.

        Raises:
            ValueError: a principal is given with scopes or claims, which has its own.
        """
        return {"authorization": f"Bearer {self.make_token(user, scopes, claims=claims)}"}

    def make_token(
        self, user: str | Principal, scopes: Iterable[str] = (), *, claims: Mapping[str, Any] | None = None
    ) -> str:
        """A token of a user, for tests that send the token elsewhere than in the header.

        Raises:
            ValueError: as `act_as`.
        """
        given = (scopes,) if isinstance(scopes, str) else tuple(scopes)
        if isinstance(user, Principal):
            if given or claims:
                raise ValueError("scopes, claims: can't be given with a principal, which has its own")
            principal = user
        else:
            principal = Principal(user, issuer=ISSUER, scopes=frozenset(given), claims={"sub": user, **(claims or {})})
        token = secrets.token_urlsafe()
        self._principals[token] = principal
        return token

    def revoke(self, user: str) -> None:
        """Make all tokens of a subject invalid."""
        self._principals = {token: each for token, each in self._principals.items() if each.subject != user}

    async def verify(self, token: str) -> Principal:
        """The principal that the token was made for.

        Raises:
            InvalidTokenError: the token is another one.
        """
        try:
            return self._principals[token]
        except KeyError:
            raise InvalidTokenError("the token was made by no act_as of this test") from None
