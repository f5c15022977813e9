"""Tests of bandmaster.kernel.listeners.stop_report."""

from bandmaster.kernel import events
from bandmaster.kernel.listeners.stop_report import StopReport


def report_of(*happened):
    report = StopReport()
    for event in happened:
        report(event)
    return report


def test_failures_and_unfinished_components():
    """The cause comes first, then the components that aren't over, an overdue one with its stack."""
    report = report_of(
        events.KernelStarting(at=0, components=4),
        events.ComponentStarting(at=0, component="a", waited=0),
        events.ComponentStarted(at=0, component="a", waited=0, own=0),
        events.ComponentStarting(at=0, component="b", waited=0),
        events.ComponentStartFailed(at=0, component="b", error=RuntimeError("no luck"), own=0),
        events.ComponentStarting(at=0, component="c", waited=0),
        events.ComponentStartCancelled(at=0, component="c", own=0),
        events.ComponentStarting(at=0, component="d", waited=0),
        events.ComponentOverdue(at=1, component="d", phase="start", seconds=1.0, where='  File "d.py"'),
        events.ComponentStopping(at=1, component="a"),
        events.KernelStopping(at=1),
    )
    lines = report.render().splitlines()
    assert lines[:3] == ["'b' failed while starting: RuntimeError: no luck", "", "RuntimeError: no luck"]
    assert "'d' failed while starting: didn't start within 1 s" in lines
    assert lines[-3:] == ["'a' is left, stopping", "'d' is left, starting; it stood at", '  File "d.py"']
    assert [component for component, _, _ in report.failures] == ["b", "d"]


def test_starts_that_are_tried_again_or_degraded():
    """Neither the delay before another try nor a degraded component leaves anything open."""
    report = report_of(
        events.ComponentStarting(at=0, component="a", waited=0),
        events.ComponentStartRetrying(at=0, component="a", error=OSError(), own=0, delay=1, attempt=2),
        events.ComponentStarting(at=0, component="b", waited=0),
        events.ComponentDegraded(at=0, component="b", error=OSError(), waited=0, own=0),
        events.ComponentStarting(at=0, component="c", waited=0),
        events.ComponentStartRetrying(at=0, component="c", error=OSError(), own=0, delay=1, attempt=2),
        events.ComponentStarting(at=1, component="c", waited=0, attempt=2),
    )
    assert report.render() == "'c' is left, starting"


def test_crashes_and_failed_stops():
    """The error of a crash is known only once the component has been unwound."""
    report = report_of(
        events.ComponentStarting(at=0, component="a", waited=0),
        events.ComponentCrashed(at=0, component="a", policy="stop"),
        events.ComponentStopFailed(at=0, component="a", error=RuntimeError("died"), own=0),
        events.ComponentStarting(at=0, component="b", waited=0),
        events.ComponentStopped(at=0, component="b", own=0),
    )
    assert report.render().splitlines()[0] == "'a' failed while serving"
    assert report.failures[1][:2] == ("a", "stop")


def test_a_new_run_begins_with_an_empty_report():
    """Unfinished components of an earlier run are forgotten."""
    report = report_of(
        events.ComponentStarting(at=0, component="a", waited=0),
        events.KernelStarting(at=0, components=0),
    )
    assert report.render() == ""
