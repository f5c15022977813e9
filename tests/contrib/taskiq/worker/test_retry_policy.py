"""Whether a task is retried after a run."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmaster.contrib.taskiq import (
    InvalidArgumentsError,
    Reason,
    TaskCancelledError,
    TaskIQSettings,
    TaskOptions,
    TaskTimeoutError,
    UnknownTaskError,
)
from bandmaster.contrib.taskiq.errors import render_error
from bandmaster.contrib.taskiq.worker.retry_policy import (
    Dead,
    Done,
    Policy,
    Retry,
    decide,
    find_pause,
    is_transient,
    make_policy,
)
from bandmaster.kernel import PermanentError, TransientError


class Refused(PermanentError):
    pass


SECONDS = st.floats(0, 1e6)
CHANCES = st.floats(0, 1)
POLICIES = st.builds(
    Policy,
    attempts=st.integers(1, 2000),
    backoff=SECONDS,
    longest_backoff=SECONDS,
    jitter=CHANCES,
    retry_on=st.sampled_from([(), (OSError,), (Exception,), (Refused, KeyError)]),
)
ERRORS = st.sampled_from(
    [
        TransientError("a"),
        PermanentError("b"),
        Refused("c"),
        OSError("d"),
        KeyError("e"),
        UnknownTaskError("f"),
        InvalidArgumentsError("g"),
        TaskTimeoutError("h"),
        TaskCancelledError("i"),
    ]
)


@given(POLICIES, st.integers(1, 1999))
def test_pauses_never_shrink(policy, attempt):
    """Without jitter a pause is at least as long as the one before."""
    assert find_pause(attempt, policy, 0) <= find_pause(attempt + 1, policy, 0)


@given(POLICIES, st.integers(1, 2000), CHANCES)
def test_pauses_are_bounded(policy, attempt, chance):
    """A pause is at most the longest, and at least its part that isn't random."""
    found, whole = find_pause(attempt, policy, chance), find_pause(attempt, policy, 0)
    assert whole <= policy.longest_backoff
    assert whole * (1 - policy.jitter) - 1e-9 * whole <= found <= whole
    assert math.isfinite(found)


@given(POLICIES, st.integers(1, 50))
def test_pauses_double(policy, attempt):
    """Pauses double until the longest."""
    expected = min(policy.longest_backoff, policy.backoff * 2 ** (attempt - 1))
    assert math.isclose(expected, find_pause(attempt, policy, 0))


@given(ERRORS, POLICIES, CHANCES, st.integers(0, 5))
def test_the_last_attempt_is_the_last(error, policy, chance, beyond):
    """After the last attempt the message is dead, whatever the error is."""
    assert isinstance(decide(error, policy.attempts + beyond, policy, chance), Dead)


@given(ERRORS, POLICIES, CHANCES, st.integers(1, 2000))
def test_every_outcome_is_one_of_three(error, policy, chance, attempt):
    """A task is retried exactly if its error is transient and attempts are left."""
    outcome = decide(error, attempt, policy, chance)
    again = is_transient(error, policy) and attempt < policy.attempts
    assert (Retry if again else Dead) is type(outcome)
    assert Done() == decide(None, attempt, policy, chance)


@given(st.integers(1, 5), CHANCES)
def test_permanent_errors_are_not_retried(attempt, chance):
    """Permanent errors, and errors of no kind, aren't retried."""
    policy = Policy(9, 1, 10, 0.5)
    for error in (PermanentError("a"), Refused("b"), ValueError("c"), KeyError("d")):
        assert Dead(Reason.PERMANENT, render_error(error)) == decide(error, attempt, policy, chance)


@pytest.mark.requirement("CF-28", "TQ-9")
@pytest.mark.parametrize(
    ("error", "last"),
    [
        (TransientError("a"), Reason.EXHAUSTED),
        (TaskTimeoutError("b"), Reason.EXHAUSTED),
        (TaskCancelledError("c"), Reason.EXHAUSTED),
        (ConnectionError("d"), Reason.EXHAUSTED),  # an OSError, which the policy names
        (Refused("e"), Reason.EXHAUSTED),  # so does it this permanent one
        (UnknownTaskError("f"), Reason.UNKNOWN),
    ],
)
def test_transient_errors_are_retried(error, last):
    """A transient error is retried until the attempts are exhausted."""
    policy = Policy(3, 1, 10, 0, (OSError, Refused))
    outcomes = [decide(error, attempt, policy, 0.5) for attempt in (1, 2, 3)]
    assert [
        Retry(1.0, render_error(error)),
        Retry(2.0, render_error(error)),
        Dead(last, render_error(error)),
    ] == outcomes


def test_invalid_arguments_are_not_retried():
    """Invalid arguments aren't retried, unless the policy names the error."""
    error = InvalidArgumentsError("one: Input should be a valid integer")
    assert Dead(Reason.INVALID, render_error(error)) == decide(error, 1, Policy(9, 1, 1, 0, (OSError,)), 0)
    assert Retry(1.0, render_error(error)) == decide(error, 1, Policy(9, 1, 1, 0, (InvalidArgumentsError,)), 0)


def test_a_policy_is_made_of_options_and_settings():
    """A policy has the task's options, and the settings for the others."""
    settings = TaskIQSettings(attempts=4, backoff=2, longest_backoff=20, jitter=0.25)
    assert Policy(4, 2.0, 20.0, 0.25) == make_policy(TaskOptions(), settings)
    own = TaskOptions(attempts=1, backoff=0, longest_backoff=5, jitter=0, retry_on=(OSError,))
    assert Policy(1, 0.0, 5.0, 0.0, (OSError,)) == make_policy(own, settings)


def test_a_tasks_own_first_pause_may_exceed_the_longest():
    """The longest pause of the settings doesn't cut a task's own first pause."""
    assert 60.0 == find_pause(1, make_policy(TaskOptions(backoff=60), TaskIQSettings(backoff=1, longest_backoff=20)), 0)


@given(st.text(max_size=2000))
def test_a_rendered_error_is_short(text):
    """A rendered error begins with its class and has 500 characters at most."""
    found = render_error(OSError(text))
    assert found.startswith("OSError")
    assert len(found) <= 500


def test_an_error_without_a_text():
    """An error without a text is rendered as its class."""
    assert ("ValueError", "KeyError: 'a'") == (render_error(ValueError()), render_error(KeyError("a")))


def test_retry_after_is_used():
    """An error's ``retry_after`` replaces a shorter pause."""
    policy = Policy(attempts=3, backoff=1, longest_backoff=1, jitter=0)
    for asked, expected in ((None, 1), (0.5, 1), (20.0, 20)):
        error = TransientError("later")
        error.retry_after = asked
        assert Retry(expected, "TransientError: later") == decide(error, 1, policy, 0)
