"""Tests of bandmaster.kernel.planning.start_checks."""

from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace

import pytest
from pydantic_settings import BaseSettings

from bandmaster.kernel import (
    EventLoop,
    Kernel,
    KernelSettings,
    LifespanBand,
    LifespanContribution,
    Plan,
    PlanError,
    Problem,
    lifespan,
    named_settings,
)
from bandmaster.kernel.planning.start_checks import Findings, check_start


class Store(BaseSettings):
    size: int = 1


class Other(BaseSettings):
    size: int = 1


class Thing: ...


started: list[str] = []


def make_component(check) -> LifespanContribution:
    @lifespan(band=LifespanBand.SERVICES, name="store", check=check)
    async def store(settings: Store) -> AsyncIterator[Thing]:
        started.append("store")
        yield Thing()

    return store


def find(check, event_loop=EventLoop.ASYNCIO, **options):
    component = make_component(check)
    options.setdefault("contributions", [component])
    return check_start(Kernel(discover=False, **options).plan, event_loop)


def test_a_check_gets_what_its_parameters_ask_for():
    """Settings of the component, the kernel's settings, the plan, the event loop, and defaults."""
    seen = SimpleNamespace()

    def check(settings: Store, kernel: KernelSettings, plan: Plan, loop: EventLoop, more: int = 7) -> Iterator[str]:
        seen.got = (settings.size, kernel.is_production, plan.role, loop, more)
        yield from ()

    assert Findings() == find(
        check,
        EventLoop.TRIO,
        role="worker",
        overrides={Store: Store(size=3)},
        settings=KernelSettings(environment="production"),
    )
    assert (3, True, "worker", EventLoop.TRIO, 7) == seen.got


def test_problems_and_warnings_name_the_component():
    """A problem has the component as its subject, unless the check names another."""

    def check(settings: Store) -> Iterator[Problem | str]:
        yield Problem("it is full.", "Empty it.")
        yield Problem("it is closed.", subject="door")
        yield "it is nearly full"

    findings = find(check)
    who = "lifespan 'store' (SERVICES, in code, tests.kernel.planning.test_start_checks:"
    assert [("it is full.", "Empty it.", "store"), ("it is closed.", "", "door")] == [
        (problem.message.rpartition("): ")[2], problem.hint, problem.subject) for problem in findings.problems
    ]
    assert all(text.startswith(who) for text in (*map(str, findings.problems), *findings.warnings))
    assert findings.warnings[0].endswith("): it is nearly full")


def test_a_check_that_fails_is_a_problem():
    """An exception in a check is reported like a finding of the check; one with problems stands for those."""

    def fail(settings: Store) -> Iterator[str]:
        yield "never seen"
        raise RuntimeError("no")

    def refuse(settings: Store) -> Iterator[str]:
        raise PlanError([Problem("that."), Problem("and that.")])

    (problem,) = find(fail).problems
    assert problem.message.endswith("its check failed: RuntimeError: no.")
    assert ["that.", "and that."] == [problem.message for problem in find(refuse).problems]


def test_a_check_that_asks_for_something_else():
    """A check can have the settings of its component only; anything else isn't there before the start."""

    def ask_for_settings(other: Other) -> Iterator[str]:
        yield from ()

    def ask_for_resource(thing: Thing) -> Iterator[str]:
        yield from ()

    for check, name in ((ask_for_settings, "Other"), (ask_for_resource, "Thing")):
        (problem,) = find(check).problems
        assert problem.message.endswith(f"its check can't be run: it asks for {name}, which isn't among its settings.")


def test_a_second_component_of_a_kind_has_the_check_with_its_own_settings():
    """The copy of a component reads other variables, and the copy's check judges those."""

    def check(settings: Store) -> Iterator[str]:
        yield f"size {settings.size}"

    first = make_component(check)
    kind = named_settings(Store, "cold", about="the cold store", prefix="COLD_")
    second = first.named("cold", settings=kind)
    findings = find(None, contributions=[first, second], overrides={Store: Store(size=1), kind: kind(size=2)})
    assert ["size 2", "size 1"] == [warning.rpartition("): ")[2] for warning in findings.warnings]


def test_a_check_must_be_callable():
    """Anything else is refused when the contribution is made."""
    with pytest.raises(ValueError, match="check: expected something callable, got 3"):
        make_component(3)


def test_findings_are_added_once():
    """Two roles may have the same problem, which is one problem."""
    one, two = Problem("one."), Problem("two.")
    assert Findings((one, two), ("a", "b")) == Findings((one,), ("a",)) + Findings((one, two), ("a", "b"))


@pytest.mark.anyio
async def test_every_start_begins_with_the_checks():
    """No component starts after a problem; warnings are events of the kernel."""

    def check(settings: Store, loop: EventLoop) -> Iterator[Problem | str]:
        yield f"runs on {loop}"
        if settings.size > 1:
            yield Problem("it is full.")

    started.clear()
    events = []
    full = Kernel(contributions=[make_component(check)], discover=False, overrides={Store: Store(size=2)})
    with pytest.raises(PlanError, match="it is full"):
        async with full.running():
            pass
    assert ([], False) == (started, full.is_running)
    kernel = Kernel(contributions=[make_component(check)], discover=False, listeners=[events.append])
    async with kernel.running():
        assert ["store"] == started
    (warned,) = [event.message for event in events if type(event).__name__ == "Warned"]
    assert "runs on asyncio" in warned or "runs on trio" in warned


def test_a_kernel_can_be_checked_without_a_start():
    """The problems are raised, and the warnings returned."""

    def check(settings: Store) -> Iterator[Problem | str]:
        yield "careful"
        if settings.size > 1:
            yield Problem("it is full.")

    kernel = Kernel(contributions=[make_component(check)], discover=False)
    assert ["careful"] == [warning.rpartition("): ")[2] for warning in kernel.check_start()]
    with pytest.raises(PlanError, match="it is full"):
        kernel.for_role("web", overrides={Store: Store(size=2)}).check_start()
