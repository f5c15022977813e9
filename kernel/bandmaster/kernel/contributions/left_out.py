"""Parts that stand in at an entry point where an extra is missing: no plan includes them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.decorators import lifespan, value
from bandmaster.kernel.contributions.model import LifespanContribution, ValueContribution


def leave_out_component(name: str, extra: str) -> LifespanContribution:
    """A component that no plan includes, for the entry point of a component that needs a missing extra.

    An entry point is loaded in every installation, with the extra or without it. The plan lists the component as left
    out, with the extra that it needs.
    """

    async def absent() -> AsyncIterator[None]:
        yield

    return lifespan(band=LifespanBand.SERVICES, name=name, when=_never, description=_describe(extra))(absent)


def leave_out_value(name: str, extra: str) -> ValueContribution:
    """Like `leave_out_component`, for the entry point of a value."""
    return value(_Absent(), name=name, when=_never, description=_describe(extra))


class _Absent:
    """The value of a part that no plan includes."""


def _describe(extra: str) -> str:
    return f"Needs the extra [{extra}], which isn't installed."


def _never() -> bool:
    return False
