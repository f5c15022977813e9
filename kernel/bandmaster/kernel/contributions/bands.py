"""Bands: named ranges of priorities that order the start of components and the place of layers."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

BAND_WIDTH = 100


class _Band(Enum):
    """A named range of priorities. Lower priorities start earlier (components) or stand further out (layers)."""

    @property
    def priorities(self) -> range:
        """The priorities that belong to this band."""
        first: int = self.value
        return range(first, first + BAND_WIDTH)

    @property
    def default(self) -> int:
        """The middle of the band, which leaves room on both sides."""
        return self.priorities[BAND_WIDTH // 2]

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        return self.priorities.start < other.priorities.start

    def __str__(self) -> str:
        return self.name

    @property
    def span(self) -> str:
        """Name and range: ``SERVICES 300–399``."""
        return f"{self.name} {self.priorities.start}–{self.priorities[-1]}"


class LifespanBand(_Band):
    """The order in which components start. The stop order is the exact reverse."""

    OBSERVABILITY = 0
    PERSISTENCE = 100
    MESSAGING = 200
    SERVICES = 300
    APPLICATION = 400


class MiddlewareBand(_Band):
    """The place of a layer in the request stack, from the outermost to the innermost."""

    OUTERMOST = 0
    SECURITY = 100
    CONTEXT = 200
    POLICY = 300
    INNERMOST = 400


_B = TypeVar("_B", bound=_Band)


def resolve_priority(kind: type[_B], band: _B | None, priority: int | None) -> tuple[_B, int]:
    """Band and priority from either or both of them.

    Raises:
        ValueError: the priority lies outside the band or outside all bands, or neither is given.
    """
    if band is not None and not isinstance(band, kind):
        raise ValueError(f"band: expected a {kind.__name__}, got {band!r}. Bands: {_list_bands(kind)}")
    if priority is not None and (isinstance(priority, bool) or not isinstance(priority, int)):
        raise ValueError(f"priority: expected an int, got {priority!r}. Bands: {_list_bands(kind)}")
    if band is not None:
        if priority is None:
            return band, band.default
        if priority not in band.priorities:
            raise ValueError(f"priority: {priority} lies outside its band. Allowed: {band.span}")
        return band, priority
    if priority is None:
        raise ValueError(f"band: give a band, a priority, or both. Bands: {_list_bands(kind)}")
    for candidate in kind:
        if priority in candidate.priorities:
            return candidate, priority
    raise ValueError(f"priority: {priority} lies outside all bands. Allowed: {_list_bands(kind)}")


def _list_bands(kind: type[_Band]) -> str:
    return ", ".join(band.span for band in kind)
