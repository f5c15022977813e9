"""Tests of bandmaster.kernel.reports."""

import pytest

from bandmaster.kernel.errors import (
    BindError,
    CrashError,
    DiscoveryError,
    PlanError,
    Problem,
    ServerEndedError,
    ServerNotInstalledError,
    StartCancelled,
    StartError,
    StopError,
)
from bandmaster.kernel.reports import exit_code, one_line, report


def raised(message="no luck", kind=RuntimeError):
    """An exception with a traceback."""
    try:
        raise kind(message)
    except kind as error:
        return error


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (PlanError([Problem("no")]), 78),
        (DiscoveryError([Problem("no")]), 78),
        (BindError("taken"), 78),
        (ServerNotInstalledError("not there"), 78),
        (StartError("no", component="a"), 70),
        (CrashError("no", component="a"), 70),
        (StopError("no", [RuntimeError()]), 70),
        (ServerEndedError("ended"), 70),
        (RuntimeError("a bug"), 70),
        (SystemExit(3), 70),
    ],
)
def test_exit_codes(error, code):
    """78 where nothing was started, 70 for whatever failed later (sysexits.h)."""
    assert code == exit_code(error)


@pytest.mark.requirement("FA-14", "XC-L4")
def test_a_failed_start():
    """The cause first, with its traceback, then every error met while rolling back."""
    error = caused(
        StartError("'db' (acme 1.0) failed to start: no luck", component="db", rollback_errors=[raised("nor here")]),
        raised(),
    )
    text = report(error)
    assert text.startswith("The start failed: 'db' (acme 1.0) failed to start: no luck\n\nTraceback")
    assert text.index("RuntimeError: no luck") < text.index("While rolling back:") < text.index("nor here")


def test_a_crash():
    """One that ended by itself has no cause to show."""
    assert report(CrashError("'db' died while serving", component="db")) == "The run failed: 'db' died while serving"
    text = report(CrashError("'db' died while serving", component="db", stop_errors=[raised("nor here")]))
    assert "While stopping:\nTraceback" in text


def test_a_failed_stop():
    """All of the errors, the first one first."""
    text = report(StopError("'a' and 'b' failed to stop", [raised("one"), raised("two")]))
    assert text.startswith("The stop failed: 'a' and 'b' failed to stop\n\nTraceback")
    assert text.index("RuntimeError: one") < text.index("And then:") < text.index("RuntimeError: two")


@pytest.mark.parametrize("error", [PlanError([Problem("a needs b")]), BindError("taken"), StartCancelled("asked to")])
def test_what_is_no_bug_needs_no_traceback(error):
    """The message says it all."""
    assert str(error) == report(error)


def test_anything_else():
    """A traceback, or one for each of a group's errors."""
    assert report(raised()).endswith("RuntimeError: no luck")
    nested = BaseExceptionGroup("two", [raised("one"), BaseExceptionGroup("inner", [raised("bye", SystemExit)])])
    text = report(nested)
    assert text.startswith("two\n\nTraceback")
    assert "RuntimeError: one" in text
    assert "SystemExit: bye" in text


def test_one_line():
    """For servers' logs."""
    assert one_line(RuntimeError("first\nsecond")) == "first"
    assert one_line(RuntimeError()) == "RuntimeError"


def test_no_report_shows_a_password():
    """A driver's error may hold its URL, whose password may hold characters that end other parts of a URL."""
    cause = raised("can't reach postgres://joe:hun/ter@2@db/shop")
    shown = [
        report(caused(StartError(f"'db' failed: {cause}", component="db", rollback_errors=[cause]), cause)),
        report(BindError(str(cause))),
        report(ExceptionGroup("several", [cause])),
        one_line(cause),
    ]
    assert [] == [text for text in shown if "ter@2" in text or "postgres://joe:**********@db/shop" not in text]
