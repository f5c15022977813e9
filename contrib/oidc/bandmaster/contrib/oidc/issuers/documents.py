"""Fetch a JSON document of a provider: no redirects, a bounded size, a deadline."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
from httpx2 import AsyncClient, HTTPError, InvalidURL, Response, StreamError

from bandmaster.contrib.oidc.errors import AuthUnavailableError, ProviderRefusedError
from bandmaster.contrib.oidc.strict_json import parse_object
from bandmaster.kernel import PermanentError, TransientError

_OVERLOADED = (408, 425, 429)
"""Statuses below 500 that a later attempt may not get."""


async def fetch_bytes(client: AsyncClient, url: str, *, max_bytes: int, seconds: float) -> bytes:
    """The body of a document. ``seconds`` bounds the whole fetch.

    Raises:
        AuthUnavailableError: the provider can't be reached, doesn't answer in time, or has a fault.
        ProviderRefusedError: the answer is another one than a document, such as a redirect, or too large.
    """
    try:
        with anyio.fail_after(seconds):
            async with _errors_of(url), _open(client, url, seconds) as response:
                _check_status(response, url)
                return await _read(response, url, max_bytes)
    except TimeoutError:
        raise AuthUnavailableError(f"{url} doesn't answer within {seconds:g} s") from None


def parse_document(data: bytes, url: str) -> dict[str, Any]:
    """The JSON object in the body of a document.

    Raises:
        ProviderRefusedError: the body is something else.
    """
    try:
        return parse_object(data)
    except ValueError as error:
        raise ProviderRefusedError(f"the document at {url} {error}") from None


@asynccontextmanager
async def _open(client: AsyncClient, url: str, seconds: float) -> AsyncIterator[Response]:
    # A compressed body could become as large as it likes when it is decompressed.
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    async with client.stream("GET", url, headers=headers, follow_redirects=False, timeout=seconds) as response:
        yield response


@asynccontextmanager
async def _errors_of(url: str) -> AsyncIterator[None]:
    try:
        yield
    except (AuthUnavailableError, ProviderRefusedError):
        raise
    except (InvalidURL, PermanentError) as error:
        raise ProviderRefusedError(f"{url} can't be asked: {error}") from error
    except (HTTPError, StreamError, TransientError) as error:
        reason = str(error) or type(error).__name__
        raise AuthUnavailableError(f"{url} can't be reached: {reason}") from error


def _check_status(response: Response, url: str) -> None:
    status = response.status_code
    if status == 200:
        return
    if status >= 500 or status in _OVERLOADED:
        raise AuthUnavailableError(f"{url} answers with status {status}")
    if response.is_redirect:
        raise ProviderRefusedError(f"{url} redirects, and redirects aren't followed; set the address that it leads to")
    raise ProviderRefusedError(f"{url} answers with status {status}; is the address right?")


async def _read(response: Response, url: str, max_bytes: int) -> bytes:
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise ProviderRefusedError(f"the document at {url} is compressed, although that wasn't asked for")
    # A size that is announced spares the reading.
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:19]) > max_bytes:
        raise ProviderRefusedError(f"the document at {url} has more than {max_bytes} bytes")
    body = bytearray()
    async with aclosing(response.aiter_bytes()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > max_bytes:
                raise ProviderRefusedError(f"the document at {url} has more than {max_bytes} bytes")
    return bytes(body)
