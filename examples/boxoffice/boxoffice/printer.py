"""The machine that prints tickets. This one only takes its time."""

from __future__ import annotations

import anyio


class TicketPrinter:
    """Prints one ticket after the other."""

    def __init__(self, seconds_per_ticket: float) -> None:
        self._seconds = seconds_per_ticket

    async def print(self, show: str, sale: int, seat: int) -> None:
        """Print the ticket for one seat of a sale."""
        await anyio.sleep(self._seconds)
