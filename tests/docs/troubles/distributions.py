"""Provoke the errors about distributions that aren't installed, and about parts that aren't let in."""

from __future__ import annotations

import sys

from tests.docs.troubles.registry import Place, catch, provokes

import bandmaster.contrib
from bandmaster.kernel import Kernel, KernelSettings, LifespanBand, Provenance, lifespan
from bandmaster.kernel.cli import program
from bandmaster.kernel.discovery.metadata import Found, Scan


@provokes("A package of bandmaster's that isn't installed")
def _(place: Place) -> str:
    for name in [name for name in sys.modules if name.startswith("bandmaster.contrib.fastapi")]:
        place.monkeypatch.delitem(sys.modules, name)
    place.write("shop", "from bandmaster.contrib.fastapi import Resource\n")
    place.monkeypatch.setattr(bandmaster.contrib, "__path__", [])
    place.monkeypatch.delattr(bandmaster.contrib, "fastapi", raising=False)
    return place.run("plan", "shop:app")


@provokes("A command that isn't installed")
def _(place: Place) -> str:
    place.monkeypatch.setattr(program, "scan", lambda: Scan())
    return place.run("worker", "shop:app").splitlines()[-1]


@provokes("A disabled part that would help")
def _(place: Place) -> str:
    place.write(
        "shop_parts",
        """
        from collections.abc import AsyncIterator
        from bandmaster.kernel import LifespanBand, lifespan
        class Store: ...
        @lifespan(band=LifespanBand.SERVICES)
        async def store() -> AsyncIterator[Store]:
            yield Store()
        """,
    )
    import shop_parts

    found = Found("bandmaster.lifespan", "store", "shop_parts:store", Provenance("shop-parts", "1.0"))
    place.monkeypatch.setattr("bandmaster.kernel.discovery.discover.scan", lambda path: Scan((found,)))

    async def needs(store):
        yield

    needs.__annotations__["store"] = shop_parts.Store
    part = lifespan(band=LifespanBand.SERVICES)(needs)
    return catch(lambda: Kernel(contributions=[part], settings=KernelSettings(disable={"store"})))
