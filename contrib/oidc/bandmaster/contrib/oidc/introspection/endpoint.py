"""Ask an introspection endpoint about a token (RFC 7662, section 2.1)."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx2

from bandmaster.contrib.http import HttpBodyTooLargeError, read_limited
from bandmaster.contrib.oidc.errors import AuthUnavailableError
from bandmaster.contrib.oidc.oauth import describe_call_error, make_basic
from bandmaster.contrib.oidc.settings import IssuerSettings
from bandmaster.contrib.oidc.strict_json import parse_object
from bandmaster.kernel import BandmasterError

_MOST_BYTES = 64 * 1024
_AWAY = frozenset((408, 429, 502, 503, 504))
"""Statuses that concern every token alike. Others may be the answer to one odd token."""
_REFUSALS = frozenset((401, 403))
"""Statuses that concern either our own client or one token."""
_OF_THE_CLIENT = frozenset(("invalid_client", "unauthorized_client"))
"""The error codes that concern our own client (RFC 6749, section 5.2)."""
_CODE = re.compile(r'\berror="?([a-z_]+)')
"""The error code in a challenge (RFC 6750, section 3)."""


class EndpointAwayError(AuthUnavailableError):
    """The endpoint can't be asked about any token now."""


class RefusedTokenError(AuthUnavailableError):
    """The provider refuses to tell about one token, and answers about others."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    challenge: str
    body: bytes = field(repr=False)

    @property
    def error(self) -> str:
        """The error code, in the body (RFC 6749, section 5.2) or in the challenge (RFC 6750, section 3); or empty."""
        try:
            code = parse_object(self.body).get("error")
        except ValueError:
            code = None
        if isinstance(code, str):
            return code
        found = _CODE.search(self.challenge)
        return "" if found is None else found[1]


class IntrospectionEndpoint:
    """The introspection endpoint of one provider. ``address`` is called for each token: the endpoint may move."""

    def __init__(
        self,
        provider: IssuerSettings,
        client: httpx2.AsyncClient,
        address: Callable[[], Awaitable[str]],
        *,
        timeout: float,
    ) -> None:
        self._provider = provider
        self._client = client
        self._address = address
        self._timeout = timeout

    async def ask(self, token: str) -> Mapping[str, Any]:
        """The answer about a token.

        Raises:
            EndpointAwayError: the provider can't be reached, is overloaded, or refuses the client.
            RefusedTokenError: the provider refuses to tell about this token alone.
            AuthUnavailableError: the answer can't be used.
        """
        try:
            with anyio.fail_after(self._timeout):
                return await self._ask(await self._address(), token)
        except TimeoutError as error:
            raise EndpointAwayError(f"{self} gave no answer within {self._timeout:g} s") from error
        except AuthUnavailableError:
            raise
        except HttpBodyTooLargeError as error:
            # Perhaps the answer to this token alone.
            raise AuthUnavailableError(f"{self} answered with more than {_MOST_BYTES} bytes") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, BandmasterError, OSError) as error:
            raise EndpointAwayError(f"{self} can't be reached: {describe_call_error(error)}") from error

    async def _ask(self, url: str, token: str) -> Mapping[str, Any]:
        answer = await self._post(url, token)
        if answer.status == 200:
            return self._parse(answer.body)
        if answer.status not in _REFUSALS:
            kind = EndpointAwayError if answer.status in _AWAY else AuthUnavailableError
            raise kind(f"{self} answered with status {answer.status}")
        if answer.error in _OF_THE_CLIENT or not await self._is_client_accepted(url):
            raise EndpointAwayError(
                f"{self} answered with status {answer.status}: is the client's secret right, and may the client "
                "introspect?"
            )
        if answer.error == "invalid_token":
            return {"active": False}
        raise RefusedTokenError(f"{self} answered with status {answer.status} to one token, and answers about others")

    async def _is_client_accepted(self, url: str) -> bool:
        """Whether the provider answers our client about a token that doesn't exist.

        A refusal is always about the client by RFC 7662 (section 2.3): a token that the client may not know about is
        inactive (section 2.2). Providers differ from that. One odd token, which anybody can send, must not stand for
        all, so the provider is asked about another one.
        """
        answer = await self._post(url, secrets.token_urlsafe(32))
        if answer.status in _AWAY:
            raise EndpointAwayError(f"{self} answered with status {answer.status}")
        return answer.status == 200 and "active" in self._parse(answer.body)

    def __str__(self) -> str:
        return f"the introspection endpoint of {self._provider.name!r}"

    async def _post(self, url: str, token: str) -> _Answer:
        fields, headers = authenticate(self._provider)
        async with self._client.stream(
            "POST",
            url,
            data={"token": token, "token_type_hint": "access_token", **fields},
            headers={"Accept": "application/json", **headers},
            follow_redirects=False,
        ) as response:
            body = await read_limited(response, _MOST_BYTES)
            return _Answer(response.status_code, response.headers.get("www-authenticate", ""), body)

    def _parse(self, body: bytes) -> Mapping[str, Any]:
        try:
            answer = parse_object(body)
        except ValueError as error:
            raise AuthUnavailableError(f"the answer of {self} {error}") from None
        if not isinstance(answer.get("active"), bool):
            raise AuthUnavailableError(f"{self} answered without saying whether the token is active")
        return answer


def authenticate(provider: IssuerSettings) -> tuple[dict[str, str], dict[str, str]]:
    """The form fields and the headers by which the client shows who it is (RFC 6749, section 2.3.1).

    Raises:
        AuthUnavailableError: the provider's settings have no client.
    """
    if provider.client_id is None:
        raise AuthUnavailableError(
            f"the provider {provider.name!r} has no client for introspection: set AUTH_CLIENT_ID and AUTH_CLIENT_SECRET"
        )
    secret = "" if provider.client_secret is None else provider.client_secret.get_secret_value()
    if provider.token_auth_method == "client_secret_post":  # noqa: S105  # the name of a method
        return {"client_id": provider.client_id, "client_secret": secret}, {}
    if provider.token_auth_method == "none" or not secret:  # noqa: S105
        return {"client_id": provider.client_id}, {}
    return {}, {"Authorization": make_basic(provider.client_id, secret)}
