"""Tests of bandmaster.kernel.errors."""

import copy
import inspect
import pickle

import pytest

from bandmaster.kernel import (
    BandmasterError,
    CrashError,
    DeadlineExceeded,
    DiscoveryError,
    PermanentError,
    PlanError,
    Problem,
    StartCancelled,
    StartError,
    StopError,
    TransientError,
    errors,
)
from bandmaster.kernel.errors import Problems

PUBLIC = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, BaseException)]


@pytest.mark.requirement("XC-E1", "P-19")
@pytest.mark.parametrize("kind", PUBLIC)
def test_all_errors_share_a_base(kind):
    """One ``except`` catches every exception that bandmaster raises."""
    assert issubclass(kind, BandmasterError)


@pytest.mark.requirement("XC-E3", "CF-32")
def test_retry_may_help_or_not_by_type():
    """No error is both transient and permanent."""
    assert [] == [kind for kind in PUBLIC if issubclass(kind, TransientError) and issubclass(kind, PermanentError)]
    assert TransientError().retry_after is None


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (Problem("It is wrong."), "It is wrong."),
        (Problem("It is wrong.", "Mend it."), "It is wrong. Mend it."),
        (Problem("It is wrong.", "Mend it.", "jobs"), "It is wrong. Mend it."),
    ],
)
def test_a_problem_as_text(problem, expected):
    """A problem is shown on one line, with the hint."""
    assert expected == str(problem)


@pytest.mark.parametrize(("kind", "where"), [(PlanError, "in the plan"), (DiscoveryError, "with the installed parts")])
def test_all_problems_in_one_error(kind, where):
    """The error counts the problems, shows each on a line, and has them as a field."""
    problems = [Problem("It is wrong.", "Mend it."), Problem("So is this.")]
    error = kind(problems)
    assert tuple(problems) == error.problems
    assert f"2 problems {where}:\n  - It is wrong. Mend it.\n  - So is this." == str(error)
    assert f"1 problem {where}:\n  - So is this." == str(kind(problems[1:]))


def test_problems_are_collected():
    """Checks go on past the first problem; the problems become one error, and warnings become none."""
    problems = Problems()
    problems.warn("It is odd.")
    assert not problems
    problems.raise_if_any(PlanError)
    problems.add("It is wrong.", "Mend it.", "jobs")
    problems.extend([Problem("So is this.")])
    expected = (Problem("It is wrong.", "Mend it.", "jobs"), Problem("So is this."))
    assert (True, expected, ["It is odd."]) == (bool(problems), tuple(problems), problems.warnings)
    with pytest.raises(PlanError) as caught:
        problems.raise_if_any(PlanError)
    assert expected == caught.value.problems


def test_errors_have_fields():
    """Handlers read fields and needn't parse messages."""
    cause = OSError("gone")
    start = StartError("failed", component="jobs", rollback_errors=[cause])
    crash = CrashError("died", component="jobs", stop_errors=[cause])
    late = DeadlineExceeded("late", component="jobs", phase="stop", seconds=3, where="here")
    assert ("failed", "jobs", (cause,)) == (str(start), start.component, start.rollback_errors)
    assert ("died", "jobs", (cause,)) == (str(crash), crash.component, crash.stop_errors)
    assert ("late", "jobs", "stop", 3, "here") == (str(late), late.component, late.phase, late.seconds, late.where)
    assert ((), ()) == (
        StartError("failed", component="jobs").rollback_errors,
        CrashError("died", component="jobs").stop_errors,
    )


def test_a_missed_deadline_is_a_timeout():
    """``except TimeoutError`` catches a missed deadline."""
    with pytest.raises(TimeoutError):
        raise DeadlineExceeded("late", component="jobs", phase="start", seconds=3)


def test_failures_of_stops_are_a_group():
    """The group can be split, and the parts are StopErrors."""
    error = StopError("2 stops failed", [OSError("gone"), ValueError("odd")])
    os_errors, rest = error.split(OSError)
    assert (StopError, StopError, "2 stops failed") == (type(os_errors), type(rest), os_errors.message)
    with pytest.raises(BandmasterError):
        raise error


def test_a_cancelled_start_is_no_failure():
    """A cancelled start was requested, and isn't a StartError."""
    assert not issubclass(StartCancelled, StartError)


@pytest.mark.parametrize("duplicate", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize(
    "error",
    [
        StartError("lost", component="database", rollback_errors=[ValueError("x")]),
        CrashError("lost", component="database"),
        DeadlineExceeded("late", component="database", phase="start", seconds=1, where="here"),
        StopError("lost", [ValueError("x")]),
        PlanError([Problem("lost", "Try.", "database")]),
        errors.TargetError(Problem("lost"), trace=["here"], misspelt=True),
        errors.BodyTooLarge(5),
        errors.HostLifespanError("lost", "startup"),
    ],
    ids=lambda error: type(error).__name__ if isinstance(error, Exception) else None,
)
def test_copies_of_errors(error, duplicate):
    """An error that is copied, or sent to another process, keeps the class, the text and the fields."""
    copied = duplicate(error)
    assert (type(error), repr(error), repr(vars(error))) == (type(copied), repr(copied), repr(vars(copied)))
    assert str(error) == str(copied)
