"""The laws of the lifecycle hold, in a fixed sample of the cases that ``tests/kernel/fuzz.py`` runs in full."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from tests.kernel.harness.cases import (
    BACKENDS,
    DISTURBANCES,
    SHAPES,
    Case,
    Disturbance,
    Part,
    disturb,
    list_cases,
    list_policy_cases,
)
from tests.kernel.harness.oracle import LawBroken, check_laws, find_violations, run_and_check
from tests.kernel.harness.runner import run_case
from tests.kernel.harness.strategies import cases

ALL = [f"I{number}" for number in range(16)]


def _check_all(sample: Iterable[Case]) -> None:
    count = 0
    for case in sample:
        run_and_check(case)
        count += 1
    assert count


def _list_disturbed(
    kind: str, backend: str, every: int, list_undisturbed: Callable[[list[str]], Iterable[Case]] = list_cases
) -> Iterable[Case]:
    """Yield each ``every``-th undisturbed case, with one kind of disturbance at each of its steps."""
    for case in list(list_undisturbed([backend]))[every // 2 :: every]:
        for other in disturb(case, run_case(case).steps):
            if other.disturbance is not None and other.disturbance.kind == kind:
                yield other


@pytest.mark.law(*ALL)
@pytest.mark.requirement("FA-13", "XC-L2", "XC-L3", "FA-14", "XC-L4")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_fault(backend: str, shape: str) -> None:
    """No fault, at a start, at a stop or while serving, breaks a law in any graph of three."""
    _check_all(list(list_cases([backend], [shape]))[::7])


@pytest.mark.law(*ALL)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_failed_start_that_is_tried_again_or_degraded(backend: str, shape: str) -> None:
    """A start that is tried again, or that the run goes on without, breaks no law either."""
    _check_all(list(list_policy_cases([backend], [shape]))[::13])


@pytest.mark.law(*ALL)
@pytest.mark.parametrize("kind", DISTURBANCES)
def test_disturbed_while_a_start_is_tried_again_or_degraded(kind: str) -> None:
    """Nor does a cancellation from outside at any step of such a start."""
    _check_all(_list_disturbed(kind, "asyncio", 1201, list_policy_cases))


@pytest.mark.law("I3", "I4", "I7", "I8", "I14")
@pytest.mark.requirement("FA-14", "XC-L4")
@pytest.mark.parametrize("backend", BACKENDS)
def test_cancelled_at_every_step(backend: str) -> None:
    """A cancellation from outside, at any step, stops every component in order and hides no error."""
    _check_all(_list_disturbed("cancel", backend, 331))


@pytest.mark.law("I3", "I4", "I8", "I11")
@pytest.mark.requirement("FA-14", "XC-L4")
@pytest.mark.parametrize("backend", BACKENDS)
def test_stopped_at_every_step(backend: str) -> None:
    """`Engine.stop`, at any step, cancels a start, and leaves the end of serving to the body."""
    _check_all(_list_disturbed("stop", backend, 401))


@pytest.mark.law("I3", "I4", "I7", "I8")
@pytest.mark.requirement("FA-14", "XC-L4")
def test_cancelled_natively_at_every_step() -> None:
    """The caller's own ``task.cancel()``, which no shield holds off, hides no error either."""
    _check_all(_list_disturbed("native", "asyncio", 251))


@pytest.mark.law("I1", "I3", "I4", "I8", "I9")
def test_a_loop_that_closes_cancels_every_task() -> None:
    """After a cancellation of every task, each entered component is still exited once, in order, and the run ends."""
    _check_all(_list_disturbed("shutdown", "asyncio", 251))


@pytest.mark.law("I1", "I3", "I4", "I8", "I9")
def test_a_component_task_that_is_cancelled_from_outside() -> None:
    """A native cancel of one component's task is a fault of that component, and of no other."""
    _check_all(_list_disturbed("kill", "asyncio", 601))


@pytest.mark.law(*ALL)
@pytest.mark.requirement("FA-13", "XC-L2", "XC-L3", "FA-14", "XC-L4")
@settings(max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_random_cases(case: Case) -> None:
    """No law breaks with up to twelve components in random stages, several faults, and shuffled schedules."""
    run_and_check(case)


@pytest.mark.law("I5")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_delay_that_ends_as_the_stop_begins(backend: str) -> None:
    """No try begins in the tick in which another component ends the start, in whichever order the tasks take steps."""
    # The fifth try begins at 5.5 s, when the scope of the other component ends.
    parts = Part("a"), Part("b", ("a",), serving="ends"), Part("c", start="fail", policy="retry")
    _check_all(Case(parts, backend=backend, seed=seed) for seed in range(20))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_is_repeatable(backend: str) -> None:
    """A case with a seed gives the same record each time, so that a failure can be examined."""
    parts = (Part("a"), Part("b", shape="group", stop="messy"), Part("c", ("a",), start="fail"), Part("d"))
    case = Case(parts, backend=backend, seed=7)
    first, second = ([(fact.kind, fact.name, fact.at) for fact in run_case(case).facts] for _ in range(2))
    assert first == second


def test_the_oracle_sees_a_lost_error() -> None:
    """An outcome without an injected exception breaks I6."""
    run = run_case(Case((Part("a", start="fail"), Part("b"))))
    run.raised = None
    assert any(violation.startswith("I6") for violation in find_violations(run))


def test_the_oracle_sees_a_wrong_order() -> None:
    """An exit under a dependent that still runs breaks I4."""
    run = run_case(Case((Part("a"), Part("b", ("a",)))))
    leaving = next(place for place, fact in enumerate(run.facts) if (fact.kind, fact.name) == ("exit", "a"))
    run.facts.insert(5, run.facts.pop(leaving))
    assert any(violation.startswith("I4") for violation in find_violations(run))


def test_a_violation_is_reported_with_the_record() -> None:
    """The error has the case and every fact of the run."""
    case = Case((Part("a"),), disturbance=Disturbance("cancel", 3))
    run = run_case(case)
    run.raised = ValueError("invented")
    with pytest.raises(LawBroken, match="KernelStarting"):
        check_laws(run)
