"""Parts inside of functions and classes, in a module with annotations as text."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic_settings import BaseSettings

from bandmaster.kernel import LifespanBand, LifespanContribution, MiddlewareBand, lifespan, middleware

SERVICES = LifespanBand.SERVICES


class Clock:
    """A class at module level, of the same name as a local one."""


class Watch:
    """A class at module level."""


def make_parts():
    """A provider, and a component and a layer that need a local class."""

    class Clock: ...

    class ClockSettings(BaseSettings):
        threads: int = 3

    def hold(settings: ClockSettings) -> dict[str, int]:
        return {"threads": settings.threads}

    @lifespan(band=SERVICES, budget=hold)
    async def clock(settings: ClockSettings) -> AsyncIterator[Clock]:
        yield Clock()

    @asynccontextmanager
    async def uses(clock: Clock | None) -> AsyncIterator[None]:
        yield

    @middleware(band=MiddlewareBand.POLICY)
    class Stamps:
        def __init__(self, clock: Clock) -> None: ...

        def on_end(self, exchange: object) -> None: ...

    def make_inner():
        @lifespan(band=SERVICES)
        async def inner(clock: Clock, watch: Watch | None) -> AsyncIterator[None]:
            yield

        return inner

    used = LifespanContribution(
        name="uses",
        factory=functools.partial(uses),
        band=SERVICES,
    )
    return Clock, [clock, used, Stamps, make_inner()]


def make_early():
    """A component with an annotation that names a later class, which the component uses."""

    @lifespan(band=SERVICES)
    async def early() -> AsyncIterator[Late]:
        yield Late()

    class Late: ...

    return Late, early


def make_unused():
    """A component with an annotation that names a later class, which the component doesn't use."""

    @lifespan(band=SERVICES)
    async def unused(late: Late) -> AsyncIterator[None]:
        yield

    class Late: ...

    return unused


def make_unassigned():
    """A component with an annotation that names a variable that is never assigned."""

    @lifespan(band=SERVICES)
    async def unassigned(late: Late) -> AsyncIterator[None]:
        yield late

    if not make_unassigned:
        Late = Watch

    return unassigned


def make_wrong():
    """A component with an annotation that names a local class, and fails."""

    class Clock: ...

    @lifespan(band=SERVICES)
    async def wrong(clock: Clock.Hand) -> AsyncIterator[None]:
        yield

    return wrong


def make_entered():
    """A component that is a class, and a class like it, whose ``__aenter__`` names the class as quoted text."""

    class Client:
        async def __aenter__(self) -> "Client":  # noqa: PYI034, UP037  # as people write it
            return self

        async def __aexit__(self, *exception: object) -> None: ...

    return Client, lifespan(band=SERVICES)(Client)


class Shelf:
    """A class with a part among its members."""

    class Book: ...

    @lifespan(band=SERVICES)
    async def book() -> AsyncIterator[Book]:
        """A component in the body of a class."""
        yield Shelf.Book()


def make_conditional() -> LifespanContribution:
    """A component with a condition that names settings of this function."""

    class LocalSettings(BaseSettings):
        is_wanted: bool = False

    def is_wanted(settings: LocalSettings) -> bool:
        return settings.is_wanted

    @lifespan(band=LifespanBand.SERVICES, when=is_wanted)
    async def conditional() -> AsyncIterator[None]:
        yield

    return conditional
