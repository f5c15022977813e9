"""A `ProviderDirectory` for tests: discovery and keys over HTTP, checked as a login needs."""

from __future__ import annotations

import json
import warnings
from typing import Any

import httpx2
from joserfc import jws
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import KeySet

from bandmaster.contrib.oidc import Endpoints, SignedToken
from bandmaster.contrib.oidc.errors import AuthUnavailableError, InvalidTokenError
from bandmaster.contrib.oidc.settings import AuthSettings


class FetchingDirectory:
    """Fetches discovery documents and keys, and fetches keys anew for a key id that is unknown."""

    def __init__(self, auth: AuthSettings, client: httpx2.AsyncClient) -> None:
        self._settings = {provider.name: provider for provider in auth.providers}
        self._client = client
        self._documents: dict[str, Any] = {}
        self._keys: dict[str, KeySet] = {}

    async def find_endpoints(self, provider: str) -> Endpoints:
        document = await self._discover(provider)
        return Endpoints(
            authorization=document["authorization_endpoint"],
            token=document["token_endpoint"],
            userinfo=document.get("userinfo_endpoint"),
            end_session=document.get("end_session_endpoint"),
            sends_issuer=document.get("authorization_response_iss_parameter_supported") is True,
            token_auth_methods=tuple(document.get("token_endpoint_auth_methods_supported", ())),
        )

    async def read_token(self, provider: str, token: str) -> SignedToken:
        algorithms = list(self._settings[provider].algorithms)
        try:
            message = jws.extract_compact(token.encode())
        except (JoseError, ValueError) as error:
            raise InvalidTokenError("the token is malformed") from error
        header = message.headers()
        if header.get("alg") not in algorithms:
            raise InvalidTokenError("the algorithm isn't allowed")
        keys = self._keys.get(provider) or await self._fetch_keys(provider)
        if header.get("kid") is not None and header["kid"] not in [key.kid for key in keys.keys]:
            keys = await self._fetch_keys(provider)
        for key in keys.keys:
            if header.get("kid") in (None, key.kid):
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore", SecurityWarning)  # EdDSA has another name since RFC 9864
                        jws.deserialize_compact(token, key, algorithms)
                except (JoseError, ValueError):
                    continue
                return SignedToken(header, _parse(message.payload))
        raise InvalidTokenError("the token isn't signed by a key of the provider")

    async def _discover(self, provider: str) -> Any:
        if provider not in self._documents:
            issuer = self._settings[provider].issuer
            document = (await self._get(f"{issuer}/.well-known/openid-configuration")).json()
            if document["issuer"] != issuer:
                raise AuthUnavailableError("the discovery document names another issuer")
            self._documents[provider] = document
        return self._documents[provider]

    async def _fetch_keys(self, provider: str) -> KeySet:
        document = await self._discover(provider)
        keys = KeySet.import_key_set((await self._get(document["jwks_uri"])).json())
        self._keys[provider] = keys
        return keys

    async def _get(self, url: str) -> httpx2.Response:
        try:
            response = await self._client.get(url)
        except (httpx2.HTTPError, OSError) as error:
            raise AuthUnavailableError("the provider can't be reached") from error
        if response.status_code != 200:
            raise AuthUnavailableError("the provider answers with an error")
        return response


def _parse(payload: bytes) -> dict[str, Any]:
    claims = json.loads(payload)
    if not isinstance(claims, dict):
        raise InvalidTokenError("the claims are no object")
    return claims
