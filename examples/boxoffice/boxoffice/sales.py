"""The rules of the box office. No I/O, no clock, no loop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count


@dataclass(frozen=True, slots=True)
class Show:
    """An evening, and how many of its seats are free."""

    id: str
    title: str
    seats: int
    free: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Seats that are kept for somebody for a while."""

    id: int
    show: str
    seats: int
    until: float
    """Seconds, on the clock of whoever asked."""


@dataclass(frozen=True, slots=True)
class Sale:
    """Seats that were bought."""

    number: int
    show: str
    seats: int


class SoldOutError(Exception):
    """There aren't that many seats left."""


class UnknownError(LookupError):
    """There is no such show, or no such hold any more."""


class BoxOffice:
    """Every show, what is held, what is sold."""

    def __init__(self, shows: list[Show], hold_seconds: float) -> None:
        self._hold_seconds = hold_seconds
        self._shows = {show.id: show for show in shows}
        self._holds: dict[int, Hold] = {}
        self._numbers = count(1)
        self.sales: list[Sale] = []

    @property
    def shows(self) -> list[Show]:
        """Every show, as it is now."""
        return list(self._shows.values())

    def hold(self, show: str, seats: int, now: float) -> Hold:
        """Keep seats for a while.

        Raises:
            UnknownError: there is no such show.
            SoldOutError: there aren't that many seats left.
        """
        if show not in self._shows:
            raise UnknownError(f"there is no show {show!r}")
        free = self._shows[show].free
        if seats > free:
            raise SoldOutError(f"{self._shows[show].title} has {free} seats left, not {seats}")
        held = Hold(next(self._numbers), show, seats, now + self._hold_seconds)
        self._holds[held.id] = held
        self._free(show, -seats)
        return held

    def buy(self, hold: int) -> Sale:
        """Turn a hold into a sale.

        Raises:
            UnknownError: there is no such hold, or it has run out.
        """
        held = self._holds.pop(hold, None)
        if held is None:
            raise UnknownError(f"there is no hold {hold}; it may have run out")
        sale = Sale(len(self.sales) + 1, held.show, held.seats)
        self.sales.append(sale)
        return sale

    def expire(self, now: float) -> list[Hold]:
        """Give back what was held until now or earlier."""
        over = [hold for hold in self._holds.values() if hold.until <= now]
        for hold in over:
            del self._holds[hold.id]
            self._free(hold.show, hold.seats)
        return over

    def _free(self, show: str, seats: int) -> None:
        self._shows[show] = replace(self._shows[show], free=self._shows[show].free + seats)
