"""Tests of bandmaster.kernel.testing.lifespan."""

from collections.abc import AsyncIterator

import anyio
import pytest
from pydantic_settings import BaseSettings
from tests.kernel.testing.parts import cache, database

from bandmaster.kernel import events
from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.decorators import lifespan
from bandmaster.kernel.settings.kernel import KernelSettings
from bandmaster.kernel.testing import (
    LifespanError,
    fail,
    run,
    slow,
)

pytestmark = pytest.mark.anyio

PARTS = [database, cache]


class ToldSettings(BaseSettings):
    word: str = "as set"


@lifespan(band=LifespanBand.PERSISTENCE, provides=str)
async def told(settings: ToldSettings) -> AsyncIterator[None]:
    yield settings.word


@pytest.mark.parametrize(
    ("at", "said"), [("start", "the application's startup failed: "), ("stop", "the application's shutdown failed: ")]
)
async def test_failure_over_the_protocol(at, said):
    """A failure is reported by the protocol, with the cause attached."""
    error = ConnectionError("refused")
    with pytest.raises(LifespanError, match=said) as caught:
        async with run(contributions=PARTS, faults=[fail("cache", at=at, error=error)], via="lifespan"):
            pass
    assert (error, {"start": "startup", "stop": "shutdown"}[at]) == (caught.value.__cause__, caught.value.phase)


async def test_serving_while_starting():
    """Over the protocol, `serve_while_starting` lets requests in during the start."""
    settings = KernelSettings(serve_while_starting=True)
    async with run(
        contributions=[database], settings=settings, via="lifespan", faults=[slow("database", 0.1)]
    ) as running:
        assert 503 == (await running.client.get("/startupz")).status_code
        with pytest.raises(RuntimeError, match="The application is starting"):
            running.resources
        await running.events.wait(events.Ready)
        await anyio.wait_all_tasks_blocked()
        assert 200 == (await running.client.get("/startupz")).status_code


async def test_body_error_over_the_protocol():
    """An error of the test is raised as the same object, with a note if the stop fails too."""
    with pytest.raises(AssertionError, match="mine") as alone:
        async with run(contributions=PARTS, via="lifespan"):
            raise AssertionError("mine")
    assert not hasattr(alone.value, "__notes__")
    with pytest.raises(AssertionError, match="mine") as caught:
        async with run(contributions=PARTS, faults=[fail("cache", at="stop")], via="lifespan") as running:
            raise AssertionError("mine")
    assert ["database"] == running.events.stop_order
    assert "shutdown failed" in caught.value.__notes__[0]


class TestConversation:
    """Applications that violate the lifespan protocol."""

    async def hold(self, app):
        from bandmaster.kernel.testing.lifespan import lifespan

        async with lifespan(app) as state:
            return state

    async def test_state(self):
        """Requests see the state that the application has set."""

        async def app(scope, receive, send):
            scope["state"]["a"] = 1
            for _ in range(2):
                kind = (await receive())["type"]
                await send({"type": f"{kind}.complete"})
            with anyio.CancelScope(shield=True), anyio.move_on_after(0.01):
                await receive()  # nothing more comes
                raise NotImplementedError

        assert {"a": 1} == await self.hold(app)

    async def test_no_protocol(self):
        """One that returns without a word speaks no lifespan."""

        async def app(scope, receive, send):
            pass

        with pytest.raises(RuntimeError, match="without speaking the lifespan protocol"):
            await self.hold(app)

    async def test_raising(self):
        """An exception of the application is raised."""

        async def app(scope, receive, send):
            raise LookupError("boom")

        with pytest.raises(LookupError, match="boom"):
            await self.hold(app)

    async def test_ending_early(self):
        """An application that ends while it should serve ends the body."""

        async def app(scope, receive, send):
            await send({"type": "lifespan.startup.complete"})

        from bandmaster.kernel.testing.lifespan import lifespan

        with pytest.raises(LifespanError, match="ended while it should serve") as caught:
            async with lifespan(app):
                await anyio.sleep_forever()
        assert "serving" == caught.value.phase

    async def test_out_of_turn(self):
        """A message out of turn is refused."""

        async def app(scope, receive, send):
            await send({"type": "lifespan.shutdown.complete"})

        with pytest.raises(RuntimeError, match=r"sent 'lifespan.shutdown.complete' out of turn"):
            await self.hold(app)

    async def test_cancelled_start(self):
        """A cancellation passes through."""

        async def app(scope, receive, send):
            await anyio.sleep_forever()

        with anyio.move_on_after(0.01) as scope:
            await self.hold(app)
        assert scope.cancelled_caught
