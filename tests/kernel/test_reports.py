"""Tests of bandmaster.kernel.reports."""

import pytest

from bandmaster.kernel.errors import (
    BindError,
    CrashError,
    DeadlineExceeded,
    DiscoveryError,
    HostLifespanError,
    PermanentError,
    PlanError,
    Problem,
    ServerEndedError,
    ServerNotInstalledError,
    StartCancelled,
    StartError,
    StopError,
    TransientError,
)
from bandmaster.kernel.reports import (
    describe_cause,
    exit_code,
    explain,
    needs_traceback,
    one_line,
    report,
    split_report,
)


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
    """The exit code is 78 if nothing was started, and 70 for later failures (sysexits.h)."""
    assert code == exit_code(error)


@pytest.mark.requirement("FA-14", "XC-L4")
def test_a_failed_start():
    """The report has the cause with its traceback first, then each error of the rollback."""
    error = caused(
        StartError("'db' (acme 1.0) failed to start: no luck", component="db", rollback_errors=[raised("nor here")]),
        raised(),
    )
    text = report(error)
    assert text.startswith("The start failed: 'db' (acme 1.0) failed to start: no luck\n\nTraceback")
    assert text.index("RuntimeError: no luck") < text.index("While rolling back:") < text.index("nor here")


def test_a_crash():
    """The report of a crash has the traceback of the cause, if there is one, and those of the stop."""
    assert report(CrashError("'db' died while serving", component="db")) == "The run failed: 'db' died while serving"
    text = report(CrashError("'db' died while serving", component="db", stop_errors=[raised("nor here")]))
    assert "While stopping: RuntimeError: nor here\n\nTraceback" in text


def test_a_failed_stop():
    """The report has all errors of the stop in their order."""
    text = report(StopError("'a' and 'b' failed to stop", [raised("one"), raised("two")]))
    assert text.startswith("The stop failed: 'a' and 'b' failed to stop: RuntimeError: one\n\nTraceback")
    assert text.index("RuntimeError: one") < text.index("And then:") < text.index("RuntimeError: two")


class OwnError(PermanentError):
    """An error of an application, made of bandmaster's."""


def connecting():
    """The error of a library that couldn't connect."""
    try:
        raise ConnectionRefusedError(111, "Connection refused")
    except OSError as error:
        try:
            raise LookupError("no server") from error
        except LookupError as translated:
            return translated


@pytest.mark.parametrize(
    ("cause", "sentence", "evidence"),
    [
        (raised("is QUEUE_URL right?", TransientError), "is QUEUE_URL right?", ""),
        (raised("is QUEUE_URL right?", PermanentError), "is QUEUE_URL right?", ""),
        (raised("set QUEUE_URL", SystemExit), "set QUEUE_URL", ""),
        (raised("no such file", FileNotFoundError), "FileNotFoundError: no such file", "steps"),
        (connecting(), "LookupError: no server", "steps"),
        (raised("no stock", OwnError), "OwnError: no stock", "steps"),
        (raised("no luck"), "RuntimeError: no luck", "traceback"),
        (raised(3, SystemExit), "SystemExit: 3", "traceback"),
        (ExceptionGroup("two", [raised("1", TransientError), raised("2", OSError)]), "1; OSError: 2", "steps"),
        (ExceptionGroup("one", [raised("no luck")]), "RuntimeError: no luck", "traceback"),
        (HostLifespanError("the host failed", "startup"), "the host failed", ""),
        (caused(HostLifespanError("the host failed", "startup"), raised()), "the host failed", "traceback"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_evidence_for_a_cause(cause, sentence, evidence):
    """An operator's failure is a sentence, one of the environment has the place, a programmer's has a traceback."""
    assert sentence == describe_cause(cause)
    assert (evidence == "traceback") is needs_traceback(cause)
    shown = explain(cause)
    assert {
        "": shown == "",
        "steps": shown.startswith("  tests/kernel/test_reports.py:") and "Traceback" not in shown,
        "traceback": "Traceback" in shown,
    }[evidence]


def test_the_whole_traceback():
    """On request even an operator's failure has the whole traceback."""
    assert explain(raised("is QUEUE_URL right?", TransientError), full=True).startswith("Traceback")


def test_a_cause_that_can_not_be_rendered():
    """A broken __str__ doesn't hide the failure."""

    class Broken(Exception):
        def __str__(self):
            raise ValueError

    assert "Broken: (its message can't be rendered)" == describe_cause(Broken())
    assert "RuntimeError" == describe_cause(RuntimeError())


def test_a_ring_of_causes():
    """An exception that is its own cause's cause ends nowhere, but the report does."""
    first, second = raised("one"), raised("two")
    first.__cause__, second.__cause__ = second, first
    assert needs_traceback(first)


def test_a_deadline_says_what_gives_more_time():
    """The report of a missed deadline has the sentence once, the variables of the component, and advice."""
    cause = DeadlineExceeded("'db' didn't start within 30 s", component="db", phase="start", seconds=30)
    error = caused(StartError(f"'db' failed to start: DeadlineExceeded: {cause}", component="db"), cause)
    assert report(error, list_variables=lambda component: [f"{component}_URL".upper()]) == (
        "The start failed: 'db' didn't start within 30 s\n"
        "  'db' reads DB_URL: is it right?\n"
        "  BANDMASTER_START_TIMEOUTS=db=60 would give it twice the time."
    )
    assert "'db' didn't start within 30 s" == one_line(error)


def test_the_variables_of_a_component_that_can_not_connect():
    """An error of the network names the variables that say where the component connects to."""
    cause = raised("refused", ConnectionError)
    error = caused(StartError(f"'db' failed to start: ConnectionError: {cause}", component="db"), cause)
    text = report(error, list_variables=lambda component: ["DB_HOST", "DB_PORT"])
    assert text.endswith("\n  'db' reads DB_HOST and DB_PORT: are they right?")
    for other in (raised("no luck"), raised("is DB_HOST right?", TransientError)):
        assert "reads" not in report(caused(error, other), list_variables=lambda component: ["DB_HOST"])


def test_a_group_as_the_cause():
    """A group's own text says nothing, so the sentence has those of its exceptions."""
    cause = ExceptionGroup("unhandled errors in a TaskGroup", [raised("refused", TransientError)])
    error = caused(StartError(f"'db' failed to start: ExceptionGroup: {cause}", component="db"), cause)
    assert one_line(error).endswith("(1 sub-exception): refused")
    assert report(error).endswith("(1 sub-exception): refused")


def test_one_line_of_a_failed_stop():
    """The line has the first cause."""
    assert "'a' failed to stop: RuntimeError: no luck" == one_line(StopError("'a' failed to stop", [raised()]))


def test_a_report_in_two_parts():
    """The first line is the sentence, and the rest is the evidence."""
    assert ("one", "two\nthree") == split_report("one\n\ntwo\nthree")
    assert ("one", "") == split_report("one")


@pytest.mark.parametrize("error", [PlanError([Problem("a needs b")]), BindError("taken"), StartCancelled("asked to")])
def test_errors_without_a_traceback(error):
    """The report of a wrong plan, a taken address or a requested stop is the message alone."""
    assert str(error) == report(error)


def test_other_exceptions():
    """The report of another exception is the traceback; a group has one for each error."""
    assert report(raised()).startswith("RuntimeError: no luck\n\nTraceback")
    nested = BaseExceptionGroup("two", [raised("one"), BaseExceptionGroup("inner", [raised("bye", SystemExit)])])
    text = report(nested)
    assert text.startswith("two\n\nRuntimeError: one\n\nTraceback")
    assert text.endswith("\n\nbye")


def test_one_line():
    """The first line of the message, or the type, is the line for servers' logs."""
    assert one_line(RuntimeError("first\nsecond")) == "first"
    assert one_line(RuntimeError()) == "RuntimeError"


def test_no_report_shows_a_password():
    """The URL in a driver's error is masked, also with a password that has the separators of a URL."""
    cause = raised("can't reach postgres://joe:hun/ter@2@db/shop")
    shown = [
        report(caused(StartError(f"'db' failed: {cause}", component="db", rollback_errors=[cause]), cause)),
        report(BindError(str(cause))),
        report(ExceptionGroup("several", [cause])),
        one_line(cause),
    ]
    assert [] == [text for text in shown if "ter@2" in text or "postgres://joe:**********@db/shop" not in text]
