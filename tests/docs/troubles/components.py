"""Provoke the errors about components."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from tests.docs.troubles.registry import Place, catch, catch_run, provokes

from bandmaster.kernel import Kernel, LifespanBand, lifespan

if TYPE_CHECKING:
    from decimal import Decimal

SERVICES = LifespanBand.SERVICES
OFF = [False]


class Store: ...


def plan(*parts: object) -> object:
    return Kernel(discover=False, contributions=parts).plan


async def store() -> AsyncIterator[Store]:
    yield Store()


async def needs(store: Store) -> AsyncIterator[None]:
    yield


@provokes("A decorator without parentheses")
def _(place: Place) -> str:
    return catch(lambda: lifespan(store))


@provokes("An argument of a decorator without a name")
def _(place: Place) -> str:
    return catch(lambda: lifespan(SERVICES))


@provokes("A part that is decorated twice")
def _(place: Place) -> str:
    return catch(lambda: lifespan(band=SERVICES)(lifespan(band=SERVICES)(store)))


@provokes("A plain function as a component")
def _(place: Place) -> list[str]:
    def returns():
        return Store()

    def returns_another() -> Store:
        return Store()

    return [
        catch(lambda: lifespan(band=SERVICES)(returns)),
        catch(lambda: plan(lifespan(band=SERVICES)(returns_another))),
    ]


@provokes("An async function without a yield")
def _(place: Place) -> str:
    async def returns() -> Store:
        return Store()

    return catch(lambda: lifespan(band=SERVICES)(returns))


@provokes("A generator that isn't async")
def _(place: Place) -> str:
    def generator():
        yield Store()

    return catch(lambda: lifespan(band=SERVICES)(generator))


@provokes("Two yields in every run")
def _(place: Place) -> str:
    async def twice():
        yield Store()
        yield None

    return catch(lambda: lifespan(band=SERVICES)(twice))


@provokes("Two yields on some path")
def _(place: Place) -> list[str]:
    @lifespan(band=SERVICES, name="known_at_the_start")
    async def certain():
        if not OFF[0]:
            yield Store()
        yield None

    @lifespan(band=SERVICES)
    async def uncertain():
        yield Store()
        if not OFF[0]:
            yield None

    return [catch_run(certain), catch_run(uncertain)]


@provokes("A path without a yield")
def _(place: Place) -> str:
    @lifespan(band=SERVICES)
    async def empty():
        if OFF[0]:
            yield Store()

    return catch_run(empty)


@provokes("A value of another type than declared")
def _(place: Place) -> list[str]:
    @lifespan(band=SERVICES)
    async def wrong() -> AsyncIterator[Store]:
        yield None  # type: ignore[misc]

    @lifespan(band=SERVICES)
    async def unexpected() -> AsyncIterator[None]:
        yield Store()  # type: ignore[misc]

    return [catch_run(wrong), catch_run(unexpected)]


@provokes("A function that returns no context manager")
def _(place: Place) -> str:
    @lifespan(band=SERVICES)
    def returns() -> AsyncIterator[Store]:
        return store()

    return catch_run(returns)


@provokes("A component that doesn't say what it yields")
def _(place: Place) -> str:
    @lifespan(band=SERVICES)
    async def silent():
        yield Store()

    return catch(lambda: plan(silent, lifespan(band=SERVICES)(needs)))


@provokes("A type that nothing provides")
def _(place: Place) -> str:
    return catch(lambda: plan(lifespan(band=SERVICES)(needs)))


@provokes("An annotation that can't be resolved")
def _(place: Place) -> str:
    @lifespan(band=SERVICES)
    async def prices(amount: Decimal) -> AsyncIterator[Any]:
        yield

    return catch(lambda: plan(prices))
