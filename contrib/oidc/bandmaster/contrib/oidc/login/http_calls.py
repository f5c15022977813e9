"""Call the endpoints of providers: no redirects, bounded answers, and errors that are this package's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx2

from bandmaster.contrib.http import read_limited
from bandmaster.contrib.oidc.errors import AuthUnavailableError
from bandmaster.contrib.oidc.oauth import describe_call_error
from bandmaster.contrib.oidc.strict_json import parse_object
from bandmaster.kernel import PermanentError, TransientError

_MOST_BYTES = 1024 * 1024
_FAILURES = (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, TransientError, PermanentError, OSError)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of an endpoint."""

    status: int
    media_type: str
    body: bytes = field(repr=False)

    @property
    def json(self) -> Mapping[str, Any] | None:
        """The body as a JSON object; None for any other body."""
        try:
            # Strictly: sessions couldn't be stored, nor profiles shown, with NaN, infinite numbers and half characters.
            return parse_object(self.body)
        except ValueError:
            return None

    @property
    def is_outage(self) -> bool:
        """Whether the status says that another try may succeed."""
        return self.status >= 500 or self.status in (408, 429)


class HttpCalls:
    """Calls endpoints through the application's shared HTTP client."""

    def __init__(self, client: httpx2.AsyncClient, *, timeout: float) -> None:
        self._client = client
        self._timeout = timeout

    async def post(self, what: str, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        """Post a form to the endpoint ``what`` (for errors). A post is never repeated.

        Raises:
            AuthUnavailableError: there is no complete answer within the timeout.
        """
        return await self._call(what, "POST", url, headers, form)

    async def get(self, what: str, url: str, headers: Mapping[str, str]) -> Answer:
        """Get a document from the endpoint ``what`` (for errors).

        Raises:
            AuthUnavailableError: there is no complete answer within the timeout.
        """
        return await self._call(what, "GET", url, headers, None)

    async def _call(
        self, what: str, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> Answer:
        try:
            with anyio.fail_after(self._timeout):
                return await self._exchange(what, method, url, headers, form)
        except TimeoutError as error:
            raise AuthUnavailableError(f"the {what} gave no answer within {self._timeout:g} s") from error
        except _FAILURES as error:
            raise AuthUnavailableError(f"the {what} can't be reached: {describe_call_error(error)}") from error

    async def _exchange(
        self, what: str, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> Answer:
        async with self._client.stream(
            method,
            url,
            headers={"accept": "application/json", **headers},
            data=form,
            follow_redirects=False,
            # The deadline is the only one: another might end a refresh that the provider has carried out.
            timeout=httpx2.Timeout(None),
            extensions={"deadline": self._timeout},
        ) as response:
            body = await read_limited(response, _MOST_BYTES)
            media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            return Answer(response.status_code, media_type, body)
