"""Tests of bandmaster.kernel.testing.compose."""

from collections.abc import AsyncIterator
from typing import Annotated

import pytest
from pydantic_settings import BaseSettings
from starlette.applications import Starlette
from tests.kernel.testing.parts import Database, cache, database, host

from bandmaster.kernel.contributions.bands import LifespanBand, MiddlewareBand
from bandmaster.kernel.contributions.decorators import lifespan, middleware
from bandmaster.kernel.contributions.model import RouteContribution
from bandmaster.kernel.hosting.create import create_app
from bandmaster.kernel.settings.kernel import KernelSettings
from bandmaster.kernel.testing import (
    run,
)

pytestmark = pytest.mark.anyio

PARTS = [database, cache]


class ToldSettings(BaseSettings):
    word: str = "as set"


@lifespan(band=LifespanBand.PERSISTENCE, provides=str)
async def told(settings: ToldSettings) -> AsyncIterator[None]:
    yield settings.word


async def test_application_as_it_is():
    """An existing application is run unchanged, any number of times, and no listener stays between the runs."""
    app = create_app(host(), contributions=PARTS, discover=False)
    recordings = []
    for _ in range(2):
        async with run(app) as running:
            assert app is running.app
        recordings.append(running.events.start_order)
    assert [["database", "cache", "host"]] * 2 == recordings


async def test_application_with_overrides():
    """A change plans another application, and the existing one isn't changed."""
    app = create_app(host(), contributions=PARTS, discover=False)
    async with run(app, overrides={Database: Database("fake")}) as running:
        assert app is not running.app
        assert "fake" == (await running.client.get("/database")).text
        assert ["cache", "host"] == running.events.start_order
    async with run(app) as running:
        assert "real" == (await running.client.get("/database")).text


async def test_application_changed_in_all_ways():
    """All parts come along: other roles, layers, routes, earlier overrides; parts can be added and left out."""

    @lifespan(band=LifespanBand.SERVICES, roles=["worker"])
    async def jobs() -> AsyncIterator[None]:
        yield

    @lifespan(band=LifespanBand.SERVICES, requires=["database"], after=["database"])
    async def needy() -> AsyncIterator[None]:
        yield

    @middleware(band=MiddlewareBand.CONTEXT)
    class Stamp:
        def on_response_start(self, exchange):
            exchange.set_header(b"x-stamp", b"yes")

    routes = RouteContribution(name="extra", routes=host().routes[:1], prefix="/extra")
    app = create_app(
        Starlette(),
        contributions=[*PARTS, jobs, needy, Stamp, routes],
        discover=False,
        overrides={Database: Database("fake")},
    )
    settings = KernelSettings(title="Another")
    async with run(app, contributions=[told], disable="cache", role="worker", settings=settings) as running:
        assert {"told", "jobs", "needy", "host"} == set(running.events.start_order)
        response = await running.client.get("/extra/show")
        assert (200, "yes", "Another") == (response.status_code, response.headers["x-stamp"], running.app.title)


async def test_application_without_a_host_of_its_own():
    """An application that was composed of parts alone gets no component more."""
    app = create_app(contributions=PARTS, discover=False)
    async with run(app, contributions=[told]) as running:
        assert {"database", "cache", "told"} == set(running.events.start_order)


async def test_application_of_another_role():
    """An application keeps its role, unless a test asks for another."""
    app = create_app(contributions=PARTS, discover=False, role="worker")
    async with run(app) as running:
        assert app is running.app
    async with run(app, contributions=[told]) as running:
        assert "worker" == running.kernel.role
    async with run(app, role=None) as running:
        assert running.kernel.role is None


async def test_application_and_discovery():
    """An application that is composed can't discover more."""
    app = create_app(contributions=PARTS, discover=False)
    with pytest.raises(ValueError, match="discover: the application is composed already"):
        async with run(app, discover=True):
            raise NotImplementedError


def test_annotated_override_key():
    """Overrides of an application that is there may name resources."""
    from bandmaster.kernel.contributions.keys import Named
    from bandmaster.kernel.testing.compose import compose

    @lifespan(band=LifespanBand.PERSISTENCE)
    async def replica() -> AsyncIterator[Annotated[Database, Named("replica")]]:
        yield Database()

    app = create_app(contributions=[database, replica], discover=False)
    assert ["database"] == [part.name for part in compose(app, overrides={(Database, "replica"): Database()}).plan]
