"""Provoke the errors about applications and their hosts."""

from __future__ import annotations

from fastapi import FastAPI
from tests.docs.troubles.registry import Place, catch, provokes

from bandmaster.kernel import Kernel, LifespanBand, create_app, lifespan


@lifespan(band=LifespanBand.SERVICES)
async def store():
    yield


async def bare():
    yield


def make() -> FastAPI:
    return FastAPI()


@provokes("A component in place of a list of contributions")
def _(place: Place) -> list[str]:
    return [catch(lambda: create_app(contributions=given, discover=False)) for given in (store, [bare])]


@provokes("A component in place of the host")
def _(place: Place) -> list[str]:
    return [catch(lambda: create_app(host, discover=False)) for host in (store, [store], bare)]


@provokes("Something else in place of the host")
def _(place: Place) -> list[str]:
    hosts = ["shop.main:app", FastAPI, make, Kernel(discover=False), Kernel(discover=False).plan, 5]
    return [catch(lambda: create_app(host, discover=False)) for host in hosts]


@provokes("An attribute that the host has")
def _(place: Place) -> list[str]:
    app = create_app(FastAPI(), discover=False)
    return [catch(lambda: getattr(app, name)) for name in ("get", "include_router", "state", "build_middleware_stack")]


@provokes("An attribute that only the host reads")
def _(place: Place) -> list[str]:
    app = create_app(FastAPI(), discover=False)
    return [catch(lambda: setattr(app, name, {})) for name in ("dependency_overrides", "openapi")]


@provokes("A component as the target of a command")
def _(place: Place) -> str:
    place.write(
        "shop",
        """
        from bandmaster.kernel import LifespanBand, lifespan
        @lifespan(band=LifespanBand.SERVICES)
        async def store():
            yield
        """,
    )
    return place.run("plan", "shop:store")
