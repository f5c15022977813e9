"""Tests of `Kernel.for_role`, and of the resources that a service gets after the start."""

from collections.abc import AsyncIterator
from typing import Annotated

import anyio
import pytest

from bandmaster.kernel import Context, Kernel, KernelSettings, LifespanBand, Named, PlanError, lifespan


class Thing:
    pass


def parts():
    @lifespan(band=LifespanBand.SERVICES, roles={"web"})
    async def pages():
        yield

    @lifespan(band=LifespanBand.SERVICES, roles={"worker"})
    async def jobs(thing: Thing):
        yield

    return [pages, jobs]


def names(kernel):
    return [component.name for component in kernel.plan.components]


def test_a_kernel_for_another_role():
    """The kernel of another role has the same settings, and the components of that role."""
    settings = KernelSettings(termination_grace=77, drain_timeout=1, drain_delay=0)
    web = Kernel(
        contributions=parts(), discover=False, role="web", settings=settings, disable={"x"}, overrides={Thing: Thing()}
    )
    worker = web.for_role("worker")
    assert (["pages"], ["jobs"]) == (names(web), names(worker))
    assert ("worker", web.settings) == (worker.role, worker.settings)
    assert any("'x' is disabled" in warning for warning in worker.plan.warnings)


def test_another_role_with_other_settings():
    """Overrides are added to those of the first kernel, and the kernel's settings replace the first ones."""
    thing = Thing()
    web = Kernel(contributions=parts(), discover=False, role="web", settings=KernelSettings(), overrides={str: "x"})
    worker = web.for_role("worker", overrides={Thing: thing}, settings=KernelSettings(processes=3))
    assert {(Thing, None): thing, (str, None): "x"} == {
        key: value for key, value in worker.plan.overrides.items() if key.type is not KernelSettings
    }
    assert (3, 1) == (worker.plan.processes, web.plan.processes)


def test_a_kernel_for_a_role_that_cannot_be_planned():
    """A role that can't be planned is refused when its kernel is made."""
    web = Kernel(contributions=parts(), discover=False, role="web", settings=KernelSettings())
    with pytest.raises(PlanError, match="needs a Thing"):
        web.for_role("worker")


@pytest.mark.anyio
async def test_services_get_what_everything_provides():
    """A service that waits for readiness gets the resources of all components, also of those that start later."""
    found = []

    @lifespan(band=LifespanBand.SERVICES)
    async def early(context: Context):
        async def look():
            resources = await context.wait_ready()
            found.append((resources[str], resources[str, "late"]))

        context.supervise(look)
        yield

    @lifespan(band=LifespanBand.APPLICATION)
    async def late() -> AsyncIterator[Annotated[str, Named("late")]]:
        yield "a value"

    kernel = Kernel(contributions=[early, late], discover=False, overrides={str: "given"}, settings=KernelSettings())
    async with kernel.running():
        with anyio.fail_after(2):
            while not found:
                await anyio.sleep(0)
    assert [("given", "a value")] == found
