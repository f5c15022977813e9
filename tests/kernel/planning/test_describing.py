"""Tests of bandmaster.kernel.planning.describing."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import pytest

from bandmaster.kernel import Kernel, KernelSettings, LifespanBand, Named, PlanError, descriptions, lifespan


class Page:
    def __init__(self, name):
        self.name = name


@lifespan(band=LifespanBand.SERVICES)
async def late() -> AsyncIterator[Annotated[Page, Named("late")]]:
    yield Page("late")


@lifespan(band=LifespanBand.PERSISTENCE)
async def early() -> AsyncIterator[Annotated[Page, Named("early")]]:
    yield Page("early")


def plan_of(*parts, **options):
    return Kernel(contributions=parts, discover=False, settings=KernelSettings(), **options).plan


def test_in_the_order_of_the_plan():
    """What an override gives comes first; components that provide something else are left alone."""

    @lifespan(band=LifespanBand.SERVICES)
    async def other() -> AsyncIterator[int]:
        raise AssertionError
        yield 1

    found = descriptions(plan_of(late, early, other, overrides={Page: Page("given")}), Page)
    assert ["given", "early", "late"] == [page.name for page in found]


@pytest.mark.anyio
async def test_inside_an_event_loop():
    """Which isn't asked for anything."""
    assert ["early"] == [page.name for page in descriptions(plan_of(early), Page)]


def test_what_can_only_be_had_by_a_start():
    """All of it is told in one go."""

    @lifespan(band=LifespanBand.SERVICES)
    async def needing(page: Annotated[Page, Named("early")]) -> AsyncIterator[Annotated[Page, Named("needing")]]:
        yield page

    @lifespan(band=LifespanBand.SERVICES)
    async def waiting() -> AsyncIterator[Annotated[Page, Named("waiting")]]:
        await asyncio.sleep(0)
        yield Page("waiting")

    @lifespan(band=LifespanBand.SERVICES)
    async def lying() -> AsyncIterator[Annotated[Page, Named("lying")]]:
        yield "lying"

    with pytest.raises(PlanError) as caught:
        descriptions(plan_of(early, needing, waiting, lying), Page)
    assert [
        "the component 'needing' provides Page but needs something itself.",
        "the component 'waiting' waits for something before it provides its Page.",
        "the plan provides 'lying' as Page, which it isn't.",
    ] == sorted(problem.message for problem in caught.value.problems)
