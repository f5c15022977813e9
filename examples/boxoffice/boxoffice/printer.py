"""A stand-in for the machine that prints tickets."""

from __future__ import annotations

import anyio


class TicketPrinter:
    """Prints one ticket after another, each in a fixed time."""

    def __init__(self, seconds_per_ticket: float) -> None:
        self._seconds = seconds_per_ticket

    async def print(self, show: str, sale: int, seat: int) -> None:
        """Print the ticket for one seat of a sale."""
        await anyio.sleep(self._seconds)
