"""Which optional distributions are installed, and parts that stand in where one is missing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.util import find_spec

from bandmaster.kernel import LifespanBand, LifespanContribution, ValueContribution, lifespan, value

_PACKAGES = {
    "sql": "bandmaster.contrib.persistence",
    "oidc": "bandmaster.contrib.oidc",
    "taskiq": "bandmaster.contrib.taskiq",
}


def has_extra(extra: str) -> bool:
    """Whether the package of an extra of this distribution is installed."""
    return find_spec(_PACKAGES[extra]) is not None


def leave_out_component(name: str, extra: str) -> LifespanContribution:
    """A component that no plan includes, for the entry point of a component that needs a missing extra."""

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
