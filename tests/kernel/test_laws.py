"""The laws of the lifecycle hold: a fixed sample of what ``tests/kernel/fuzz.py`` tries in full."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from tests.kernel.harness.bench import play
from tests.kernel.harness.cases import BACKENDS, SHAPES, Case, Disturbance, Part, disturbed, everything
from tests.kernel.harness.oracle import LawBroken, check, prove, violations_of
from tests.kernel.harness.strategies import cases

ALL = [f"I{number}" for number in range(16)]

pytestmark = pytest.mark.law(*ALL)


def _hold(sample: Iterable[Case]) -> None:
    played = 0
    for case in sample:
        prove(case)
        played += 1
    assert played


def _swept(kind: str, backend: str, every: int) -> Iterable[Case]:
    """Every ``every``-th undisturbed case, with one kind of disturbance at each of its steps."""
    for case in list(everything([backend]))[every // 2 :: every]:
        for other in disturbed(case, play(case).steps):
            if other.disturbance is not None and other.disturbance.kind == kind:
                yield other


@pytest.mark.requirement("FA-13", "XC-L2", "XC-L3", "FA-14", "XC-L4")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_fault(backend: str, shape: str) -> None:
    """A fault of every kind, at a start, a stop or while serving, breaks no law in any graph of three."""
    _hold(list(everything([backend], [shape]))[::7])


@pytest.mark.requirement("FA-14", "XC-L4")
@pytest.mark.parametrize("backend", BACKENDS)
def test_cancelled_at_every_step(backend: str) -> None:
    """A cancel from outside, at whatever step, stops everything in order and hides no error."""
    _hold(_swept("cancel", backend, 331))


@pytest.mark.requirement("FA-14", "XC-L4")
@pytest.mark.parametrize("backend", BACKENDS)
def test_stopped_at_every_step(backend: str) -> None:
    """`Engine.stop`, at whatever step, cancels a start and leaves the rest to the body."""
    _hold(_swept("stop", backend, 401))


@pytest.mark.requirement("FA-14", "XC-L4")
def test_cancelled_natively_at_every_step() -> None:
    """The caller's own ``task.cancel()``, which no shield holds off, hides no error either."""
    _hold(_swept("native", "asyncio", 251))


def test_a_loop_that_closes_cancels_every_task() -> None:
    """Even where every single task is cancelled, what was entered is exited once, in order, and the run ends."""
    _hold(_swept("shutdown", "asyncio", 251))


def test_a_host_that_is_cancelled_from_outside() -> None:
    """One component's task cancelled behind the engine's back is a fault of that component, and no more."""
    _hold(_swept("kill", "asyncio", 601))


@pytest.mark.requirement("FA-13", "XC-L2", "XC-L3", "FA-14", "XC-L4")
@settings(max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_random_cases(case: Case) -> None:
    """Up to twelve components in random stages, several faults, shuffled schedules, disturbances: no law breaks."""
    prove(case)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_is_repeatable(backend: str) -> None:
    """The same case with the same seed gives the same record, so what fails can be looked at."""
    parts = (Part("a"), Part("b", shape="group", stop="messy"), Part("c", ("a",), start="fail"), Part("d"))
    case = Case(parts, backend=backend, seed=7)
    first, second = ([(fact.kind, fact.name, fact.at) for fact in play(case).facts] for _ in range(2))
    assert first == second


def test_the_oracle_sees_a_lost_error() -> None:
    """An outcome that leaves an injected exception out is against I6."""
    run = play(Case((Part("a", start="fail"), Part("b"))))
    run.raised = None
    assert any(violation.startswith("I6") for violation in violations_of(run))


def test_the_oracle_sees_a_wrong_order() -> None:
    """An exit under a component that still runs is against I4."""
    run = play(Case((Part("a"), Part("b", ("a",)))))
    leaving = next(place for place, fact in enumerate(run.facts) if (fact.kind, fact.name) == ("exit", "a"))
    run.facts.insert(5, run.facts.pop(leaving))
    assert any(violation.startswith("I4") for violation in violations_of(run))


def test_a_violation_is_told_with_its_record() -> None:
    """What breaks a law is reported with the case and everything that happened."""
    case = Case((Part("a"),), disturbance=Disturbance("cancel", 3))
    run = play(case)
    run.raised = ValueError("nobody's")
    with pytest.raises(LawBroken, match="KernelStarting"):
        check(run)
