"""The laws find broken engines: a quick sample of ``tests/kernel/mutants.py``, and the list still applies."""

from __future__ import annotations

import gc
import sys
from itertools import islice

import pytest
from tests.kernel import mutants
from tests.kernel.harness.cases import Case
from tests.kernel.harness.oracle import find_violations
from tests.kernel.harness.runner import run_case

QUICK = (
    "stops don't wait for dependents",
    "a crashed component unwinds at once",
    "stops have no deadline",
    "stops begin under the body",
    "only the first error is reported",
    "the rollback has no deadline",
    "components see each other's variables",
)
POLICIES = (
    "a failed try is never repeated",
    "a try sees the variables of the one before",
    "a late start is never degraded",
    "a degraded component leaves its place in the order",
)


@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_still_applies(mutant: mutants.Mutant) -> None:
    """The text that a mutant replaces stands exactly once in the source."""
    mutants.load_engine(mutant)


def test_every_mutant_has_a_name_of_its_own() -> None:
    """No two mutants have the same name."""
    assert len({mutant.name for mutant in mutants.MUTANTS}) == len(mutants.MUTANTS)


def test_a_mutant_that_no_longer_applies_is_an_error() -> None:
    """The list can't become obsolete unnoticed."""
    with pytest.raises(LookupError, match="its text stands 0 times"):
        mutants.load_engine(mutants.Mutant("old", "a text that the engine has no more", ""))


def _has_policy(case: Case) -> bool:
    return any(part.policy != "stop" for part in case.parts)


@pytest.mark.law("I1", "I2", "I3", "I4", "I5", "I6", "I8", "I10", "I12")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*QUICK, *POLICIES])
def test_a_broken_engine_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few telling cases kill the mutant, and the engine itself breaks no law in them."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    (mutant,) = [mutant for mutant in mutants.MUTANTS if mutant.name == name]
    broken = mutants.load_engine(mutant)
    cases = [case for case in mutants.list_telling_cases() if (name in POLICIES) == _has_policy(case)]
    telling = list(islice(cases, 20))
    assert not [violation for case in telling for violation in find_violations(run_case(case))]
    assert [violation for case in telling for violation in find_violations(run_case(case, broken))]
    gc.collect()
