"""Ask a token endpoint for an access token by the client's own credentials (RFC 6749, section 4.4)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx2

from bandmaster.contrib.http import read_limited
from bandmaster.contrib.oidc.client_credentials.settings import ClientCredentialsSettings
from bandmaster.contrib.oidc.errors import AuthError, AuthUnavailableError
from bandmaster.contrib.oidc.oauth import ERROR_CODE, make_basic, read_seconds
from bandmaster.contrib.oidc.request_params import reveal
from bandmaster.contrib.oidc.strict_json import parse_object
from bandmaster.kernel import PermanentError, TransientError

_MOST_BYTES = 256 * 1024
_TOKEN = re.compile(r"[!-~]+")
"""A token goes into a header: no blanks, no line ends."""


class TokenRefusedError(AuthError, PermanentError):
    """A provider issues no token: the client is unknown, its secret is wrong, or the scope isn't allowed.

    ``oauth_error`` is the code of RFC 6749, section 5.2, such as ``invalid_client``; empty without any.
    """

    def __init__(self, message: str, *, oauth_error: str = "") -> None:
        super().__init__(message)
        self.oauth_error = oauth_error


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token, as a provider has issued it."""

    value: str = field(repr=False)
    lifetime: float | None
    """Seconds; None: the provider doesn't say."""


async def fetch_token(client: httpx2.AsyncClient, settings: ClientCredentialsSettings) -> IssuedToken:
    """A new token.

    Raises:
        AuthUnavailableError: the provider can't be reached, doesn't answer in time, or has a fault.
        TokenRefusedError: the provider refuses, or answers with something else than a token.
    """
    url = settings.token_url
    form, headers = _make_request(settings)
    try:
        with anyio.fail_after(settings.timeout):
            async with client.stream(
                "POST",
                url,
                data=form,
                headers=headers,
                # Not the authentication of the client, which may be the one that this token is for.
                auth=None,
                follow_redirects=False,
                # Each request gets a token of its own, so repeating one does no harm.
                extensions={"deadline": settings.timeout, "retry": True},
            ) as response:
                return _read_answer(url, response, await read_limited(response, _MOST_BYTES))
    except AuthError:
        raise
    except TimeoutError as error:
        raise AuthUnavailableError(f"{url} doesn't answer within {settings.timeout:g} s") from error
    except PermanentError as error:
        raise TokenRefusedError(f"{url} can't be asked for a token: {error}") from error
    except (TransientError, httpx2.HTTPError) as error:
        raise AuthUnavailableError(f"{url} can't be reached: {str(error) or type(error).__name__}") from error


def _make_request(settings: ClientCredentialsSettings) -> tuple[dict[str, str], dict[str, str]]:
    """The form and the headers of the request."""
    form = {**reveal(settings.params), "grant_type": "client_credentials"}
    headers = {"accept": "application/json"}
    if settings.scopes:
        form["scope"] = " ".join(settings.scopes)
    secret = settings.client_secret.get_secret_value()
    if settings.auth_method == "client_secret_post":
        return {**form, "client_id": settings.client_id, "client_secret": secret}, headers
    return form, {**headers, "authorization": make_basic(settings.client_id, secret)}


def _read_answer(url: str, response: httpx2.Response, body: bytes) -> IssuedToken:
    status = response.status_code
    try:
        values = parse_object(body)
    except ValueError:
        values = {}
    if status == 200:
        token = _read_token(values)
        if token is None:
            raise TokenRefusedError(f"{url} answers with something else than a bearer token")
        return token
    if status >= 500 or status in (408, 425, 429):
        raise AuthUnavailableError(f"{url} answers with status {status}")
    code = values.get("error")
    if isinstance(code, str) and ERROR_CODE.fullmatch(code):
        raise TokenRefusedError(f"{url} refuses: {status} {code}", oauth_error=code)
    if response.is_redirect:
        raise TokenRefusedError(f"{url} redirects, and redirects aren't followed; set the address that it leads to")
    raise TokenRefusedError(f"{url} answers with status {status}; is the address right?")


def _read_token(values: dict[str, Any]) -> IssuedToken | None:
    value, kind = values.get("access_token"), values.get("token_type")
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        return None
    # A client must not use a token of a type that it doesn't know; case doesn't matter (RFC 6749, section 7.1).
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return None
    return IssuedToken(value, read_seconds(values.get("expires_in")))
