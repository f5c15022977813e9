"""The laws find broken engines: a quick sample of ``tests/kernel/mutants.py``, and that its list hasn't rotted."""

from __future__ import annotations

import gc
import sys
from itertools import islice

import pytest
from tests.kernel import mutants
from tests.kernel.harness.bench import play
from tests.kernel.harness.oracle import violations_of

QUICK = (
    "stops don't wait for dependents",
    "a crashed component unwinds at once",
    "stops have no deadline",
    "stops begin under the body",
    "only the first error is reported",
    "the rollback has no deadline",
    "components see each other's variables",
)


@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_still_applies(mutant: mutants.Mutant) -> None:
    """The text that a mutant replaces stands exactly once in the source."""
    mutants.load_engine(mutant)


def test_their_names_tell_them_apart() -> None:
    """No two mutants have the same name."""
    assert len({mutant.name for mutant in mutants.MUTANTS}) == len(mutants.MUTANTS)


def test_a_mutant_that_no_longer_applies_is_an_error() -> None:
    """So the list can't rot unseen."""
    with pytest.raises(LookupError, match="its text stands 0 times"):
        mutants.load_engine(mutants.Mutant("old", "a text that the engine has no more", ""))


@pytest.mark.law("I1", "I2", "I3", "I4", "I5", "I6", "I8", "I10", "I12")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", QUICK)
def test_a_broken_engine_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few telling cases kill it, and none of them harms the engine itself."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    (mutant,) = [mutant for mutant in mutants.MUTANTS if mutant.name == name]
    broken = mutants.load_engine(mutant)
    telling = list(islice(mutants.telling(), 12))
    assert not [violation for case in telling for violation in violations_of(play(case))]
    assert [violation for case in telling for violation in violations_of(play(case, broken))]
    gc.collect()
