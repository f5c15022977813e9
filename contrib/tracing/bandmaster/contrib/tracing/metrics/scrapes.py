"""The endpoint for Prometheus, for other parts of an application."""

from __future__ import annotations

from typing import Protocol

__all__ = ["ScrapeEndpoint"]


class ScrapeEndpoint(Protocol):
    """Answers scrapes with the metrics of all processes that share a folder. A resource, found by this type."""

    def allows(self, authorization: str | None) -> bool:
        """Whether the header ``Authorization`` has the token of ``METRICS_TOKEN``; True if no token is set."""
        ...

    def scrape(self, accept: str, timeout: float | None = None) -> tuple[bytes, str]:
        """The metrics as text in the format of the header ``Accept``, and the content type.

        Blocks while other processes answer, for ``timeout`` seconds at the most, ``METRICS_SCRAPE_TIMEOUT`` unless
        given; call it in a thread.
        """
        ...
