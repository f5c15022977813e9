"""Ask a provider's userinfo endpoint for claims about the user (OpenID Connect Core, section 5.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bandmaster.contrib.oidc.errors import AuthUnavailableError, InvalidTokenError
from bandmaster.contrib.oidc.login.http_calls import Answer, HttpCalls
from bandmaster.contrib.oidc.login.id_token import check_audience, is_issued_by
from bandmaster.contrib.oidc.login.providers import ProviderDirectory
from bandmaster.contrib.oidc.settings import IssuerSettings


class UserinfoEndpoint:
    """Calls the userinfo endpoints of providers."""

    def __init__(self, calls: HttpCalls, directory: ProviderDirectory) -> None:
        self._calls = calls
        self._directory = directory

    async def fetch(self, provider: IssuerSettings, url: str, access_token: str, subject: str) -> Mapping[str, Any]:
        """The claims about the user with this subject, as JSON or as a JWT that the provider has signed.

        Raises:
            InvalidTokenError: the claims are about another user (section 5.3.4), or the provider refuses the token.
            AuthUnavailableError: the provider gives no usable answer.
        """
        what = f"userinfo endpoint of {provider.name!r}"
        answer = await self._calls.get(what, url, {"authorization": f"Bearer {access_token}"})
        claims = await self._read_claims(provider, what, answer)
        if claims.get("sub") != subject:
            raise InvalidTokenError(f"the {what} answered about another user than the ID token")
        return claims

    async def _read_claims(self, provider: IssuerSettings, what: str, answer: Answer) -> Mapping[str, Any]:
        if answer.status in (401, 403):
            raise InvalidTokenError(f"the {what} refused the access token with {answer.status}")
        if answer.status != 200:
            raise AuthUnavailableError(f"the {what} answered {answer.status}")
        if answer.media_type == "application/jwt":
            token = await self._directory.read_token(provider.name, answer.body.decode("latin-1"))
            if not is_issued_by(provider, token.claims):
                raise InvalidTokenError(f"the {what} answered with a token of another issuer")
            check_audience(provider, token.claims)
            return token.claims
        values = answer.json
        if values is None:
            raise AuthUnavailableError(f"the {what} answered with something else than claims")
        return values
