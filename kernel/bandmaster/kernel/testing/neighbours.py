"""Components that fail beside the ones under test."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.decorators import lifespan

_NAME = "bandmaster-neighbour"
_LAST = LifespanBand.APPLICATION.priorities[-1]


class NeighbourError(Exception):
    """The failure of a neighbour."""


@lifespan(band=LifespanBand.APPLICATION, priority=_LAST, name=_NAME)
async def fails_to_start() -> AsyncIterator[None]:
    """A component whose start fails."""
    raise NeighbourError("the neighbour fails to start")
    yield


@lifespan(band=LifespanBand.APPLICATION, priority=_LAST, name=_NAME)
async def fails_to_stop() -> AsyncIterator[None]:
    """A component whose stop fails."""
    yield
    raise NeighbourError("the neighbour fails to stop")
