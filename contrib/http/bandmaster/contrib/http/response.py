"""An answer whose methods raise this package's errors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Self

import httpx2

from bandmaster.contrib.http.errors import ClientLabel, http_errors, make_status_error


class HttpResponse(httpx2.Response):
    """httpx2's response, with errors that are transient or permanent."""

    def __init__(self, status_code: int, *, label: ClientLabel, **options: Any) -> None:
        super().__init__(status_code, **options)
        self._label = label

    def raise_for_status(self) -> Self:
        """Raise unless the status is a success; return the response.

        Raises:
            HttpUnavailableError: the status is 408, 425, 429 or 5xx, except for 501 and 505: another try may help.
            HttpRefusedError: any other status; redirects that weren't followed are among them.
        """
        if not self.is_success:
            raise make_status_error(self)
        return self

    async def aiter_bytes(self, chunk_size: int | None = None) -> AsyncGenerator[bytes, None]:
        """Like httpx2's method, with translated errors of the content's encoding."""
        async with aclosing(super().aiter_bytes(chunk_size)) as chunks:
            with http_errors(self.request, self._label):
                async for chunk in chunks:
                    yield chunk


class HttpEventSource(httpx2.EventSource):
    """httpx2's server-sent events, with errors that are transient or permanent."""

    def __init__(self, response: httpx2.Response, max_event_size: int | None, label: ClientLabel) -> None:
        super().__init__(response, max_event_size)
        self._label = label

    async def __aiter__(self) -> AsyncIterator[httpx2.ServerSentEvent]:
        events = super().__aiter__()
        try:
            with http_errors(self.response.request, self._label):
                async for event in events:
                    yield event
        finally:
            if isinstance(events, AsyncGenerator):
                await events.aclose()
