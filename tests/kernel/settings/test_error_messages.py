"""Tests of bandmaster.kernel.settings.error_messages."""

import pytest

from bandmaster.kernel.settings.error_messages import describe_error, describe_failure


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyError(), "KeyError"),
        (ValueError("x"), "ValueError: x"),
        (OSError(" postgres://joe:hunter2@db "), "OSError: postgres://joe:**********@db"),
    ],
)
def test_an_exception(error, expected):
    """An exception is its type and its message, with secrets masked."""
    assert expected == describe_error(error)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("odd."), "shop can't be called: ValueError: odd"),
        (SystemExit(3), "shop can't be called: it calls sys.exit(3) when it is called"),
    ],
)
def test_a_failure(error, expected):
    """A failure names what failed, and in which step."""
    assert expected == describe_failure("shop", "called", error)
