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
    ("action", "error", "expected"),
    [
        ("called", ValueError("odd."), "shop raised ValueError: odd"),
        ("called", SystemExit(3), "shop called sys.exit(3)"),
        ("imported", ValueError("odd."), "shop can't be imported: ValueError: odd"),
        ("imported", SystemExit(3), "shop can't be imported: it calls sys.exit(3) when it is imported"),
    ],
)
def test_a_failure(action, error, expected):
    """A failure names what failed, and in which step."""
    assert expected == describe_failure("shop", action, error)
