"""Engines for tests: components that record their starts and stops, and the run of an engine in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
from tests.kernel.harness.clock import run

from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.model import LifespanContribution
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.lifecycle.engine import Engine
from bandmaster.kernel.planning.deadlines import Deadlines
from bandmaster.kernel.planning.make import make_plan


class Boom(Exception):
    """An injected failure."""


class Recorder(list[Any]):
    """A record of a run, and a maker of components that write to the record."""

    def component(
        self,
        name: str,
        *waits_for: str,
        start: Callable[[], Awaitable[object]] | float = 0,
        stop: Callable[[], Awaitable[object]] | float = 0,
        stage: int = 0,
        setup: Callable[[Context], object] | None = None,
        **fields: Any,
    ) -> LifespanContribution:
        """A component that records its start and its stop; each takes some seconds, or awaits a function."""

        @asynccontextmanager
        async def component(context: Context) -> AsyncIterator[None]:
            if setup is not None:
                setup(context)
            await perform(start)
            self.append(f"+{name}")
            try:
                yield
            finally:
                self.append(f"-{name}")
                await perform(stop)

        return make_contribution(name, component, requires=waits_for, priority=stage, **fields)

    def component_holding(self, name: str, *held: Callable[[], Any], **fields: Any) -> LifespanContribution:
        """A component that keeps a context manager open from its start to its stop."""

        @asynccontextmanager
        async def component() -> AsyncIterator[None]:
            try:
                async with held[0]():
                    self.append(f"+{name}")
                    yield
            finally:
                self.append(f"-{name}")

        return make_contribution(name, component, **fields)

    @property
    def kinds(self) -> list[type]:
        """The types of the recorded items."""
        return [type(item) for item in self]


class RunHandle:
    """The part of a run that these components call."""

    engine: Engine

    def supervise(self, *arguments: Any) -> None:
        self.engine.supervise(*arguments)

    def extend_timeout(self, component: str, seconds: float) -> None:
        self.engine.extend(component, seconds)


def make_contribution(name: str, factory: Callable[..., Any], **fields: Any) -> LifespanContribution:
    return LifespanContribution(
        name=name, factory=factory, **{"band": LifespanBand.OBSERVABILITY, "priority": 0, **fields}
    )


def make_engine(*components: LifespanContribution, overrides: Any = None, **options: Any) -> Engine:
    """Make an engine for these components, with ten seconds for each start and five for each stop."""
    run_handle = RunHandle()
    deadlines = Deadlines(start=10, stop=5, left_for_stops=1e6)
    plan = make_plan(components, context=Context, deadlines=deadlines, overrides=overrides)
    run_handle.engine = Engine(plan, make_context=lambda name: Context(name, run_handle), **options)  # type: ignore[arg-type]
    return run_handle.engine


def run_engine(backend: str, engine: Engine, body: Callable[[], Awaitable[object]] = anyio.lowlevel.checkpoint) -> Any:
    """Run an engine around that body in virtual time, and return the exception that it raises, or None."""
    raised: list[BaseException] = []

    async def main() -> None:
        try:
            async with engine.running():
                await body()
        except BaseException as error:
            raised.append(error)

    run(backend, main)
    return raised[0] if raised else None


async def perform(what: Callable[[], Awaitable[object]] | float) -> None:
    await (anyio.sleep(what) if isinstance(what, (int, float)) else what())


def fail_with(error: BaseException) -> Callable[[], Awaitable[None]]:
    """Make an async function that raises this error."""

    async def fail() -> None:
        raise error

    return fail


async def fail_after(seconds: float, error: BaseException) -> None:
    await anyio.sleep(seconds)
    raise error


async def sleep_shielded(seconds: float) -> None:
    with anyio.CancelScope(shield=True):
        await anyio.sleep(seconds)


@asynccontextmanager
async def group_that_fails(after: float, error: BaseException) -> AsyncIterator[None]:
    async def fail() -> None:
        await anyio.sleep(after)
        raise error

    async with anyio.create_task_group() as group:
        group.start_soon(fail)
        yield
