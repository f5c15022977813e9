"""Read bodies up to a greatest size."""

from __future__ import annotations

from contextlib import aclosing

import httpx2

from bandmaster.contrib.http.errors import HttpBodyTooLargeError, describe_call


async def read_limited(response: httpx2.Response, limit: int) -> bytes:
    """The decoded body of an answer that is streamed, if it has at most ``limit`` bytes.

    For bodies of services that aren't trusted::

        async with client.stream("GET", url) as response:
            body = await read_limited(response, 65_536)

    The decoded bytes count, so that a small compressed body can't fill the memory. A larger body is closed unread.

    Raises:
        HttpBodyTooLargeError: the body is larger.
        ValueError: ``limit`` is negative.
    """
    if limit < 0:
        raise ValueError(f"limit: expected a number of bytes, got {limit!r}")
    try:
        _check_announced(response, limit)
        body = bytearray()
        async with aclosing(response.aiter_bytes()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > limit:
                    raise _make_error(response, limit)
    except BaseException:
        await response.aclose()
        raise
    return bytes(body)


def _check_announced(response: httpx2.Response, limit: int) -> None:
    """Refuse a body that is too large by its own account. A compressed one is larger yet when decoded."""
    announced = response.headers.get("content-length", "")
    if response.request.method != "HEAD" and announced.isdecimal() and float(announced) > limit:
        raise _make_error(response, limit)


def _make_error(response: httpx2.Response, limit: int) -> HttpBodyTooLargeError:
    return HttpBodyTooLargeError(f"the answer to {describe_call(response.request)} is larger than {limit} bytes")
