"""Tests of bandmaster.kernel.listeners.event_log."""

import logging
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, fields

import anyio
import pytest
from tests.kernel.virtual import anyio_backend  # noqa: F401
from tests.logged import capture_logs

from bandmaster.kernel import events
from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.model import LifespanContribution, Provenance
from bandmaster.kernel.errors import CrashError, StartError
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.lifecycle.kernel import Kernel
from bandmaster.kernel.lifecycle.restart import Restart
from bandmaster.kernel.listeners.event_log import EventLog
from bandmaster.kernel.planning.make import make_plan
from bandmaster.kernel.settings.kernel import KernelSettings


@pytest.fixture
def log():
    """The records at the level info and above, as the launcher logs them."""
    with capture_logs(level=logging.INFO) as entries:
        yield entries


@pytest.fixture
def detailed_log():
    """The records of every level."""
    with capture_logs() as entries:
        yield entries


def component(name, start=None, stop=None, run=None, seconds=1):
    @asynccontextmanager
    async def lives(context: Context):
        await anyio.sleep(seconds)
        if run is not None:
            run(context)
        if start is not None:
            raise start
        yield
        await anyio.sleep(2)
        if stop is not None:
            raise stop

    return LifespanContribution(
        name=name,
        factory=lives,
        band=LifespanBand.PERSISTENCE,
        provenance=Provenance("bandmaster-persistence", "1.2", "m:a"),
    )


OWNER = {"band": "PERSISTENCE", "brought_by": "bandmaster-persistence 1.2"}


@pytest.mark.anyio
@pytest.mark.requirement("CF-35")
async def test_the_lines_of_a_run(log):
    """Each start and stop is a line with the component and the rounded duration."""
    async with Kernel(contributions=[component("database", seconds=1.00049)], discover=False).running():
        pass
    assert [
        {"event": "component started", "log_level": "info", "component": "database", "took": 1.0},
        {"event": "ready", "log_level": "info", "took": 1.0},
        {"event": "component stopped", "log_level": "info", "component": "database", "took": 2.0},
        {"event": "kernel stopped", "log_level": "info", "took": 2.0},
    ] == log


@pytest.mark.anyio
@pytest.mark.requirement("CF-35")
async def test_every_detail_of_a_run(detailed_log):
    """At the level debug each start and stop has band, provenance and exact duration as well."""
    log = detailed_log
    async with Kernel(contributions=[component("database")], discover=False).running():
        pass
    database = {"component": "database", **OWNER}
    assert [
        {"event": "kernel starting", "log_level": "debug", "components": 1},
        {"event": "component starting", "log_level": "debug", **database, "waited": 0.0},
        {"event": "component started", "log_level": "info", **database, "waited": 0.0, "took": 1.0},
        {"event": "ready", "log_level": "info", "took": 1.0},
        {"event": "kernel stopping", "log_level": "debug"},
        {"event": "component stopping", "log_level": "debug", **database},
        {"event": "component stopped", "log_level": "info", **database, "took": 2.0},
        {"event": "kernel stopped", "log_level": "info", "took": 2.0},
    ] == log


def line(log, event):
    return next(entry for entry in log if entry["event"] == event)


@pytest.mark.anyio
@pytest.mark.requirement("CF-35")
async def test_a_failure_and_its_rollback_are_logged(log):
    """The lines name the component, the type of the error and the duration of a failed start, and each rollback.

    The text of the error is left to the caller, who gets the error.
    """
    parts = [component("bad", start=OSError("refused")), component("good", seconds=0.5)]
    with pytest.raises(StartError):
        async with Kernel(contributions=parts, discover=False).running():
            pass
    assert {
        "event": "component start failed",
        "log_level": "error",
        "component": "bad",
        "error": "OSError",
        "took": 1.0,
        **OWNER,
    } == line(log, "component start failed")
    assert {"event": "rolling back", "log_level": "info"} == line(log, "rolling back")
    assert {"component": "good", "took": 2.0}.items() <= line(log, "component stopped").items()
    assert 1 == line(log, "kernel stopped")["errors"]


def test_each_failed_try_is_a_short_warning(log):
    """A try that is followed by another is one line, without a traceback."""
    EventLog(make_plan([]))(
        events.ComponentStartRetrying(at=0, component="a", error=OSError("refused"), own=1.5, delay=0.1, attempt=2)
    )
    assert [
        {
            "event": "component start retrying",
            "log_level": "warning",
            "component": "a",
            "error": "OSError: refused",
            "took": 1.5,
            "delay": 0.1,
            "attempt": 2,
        }
    ] == log


@pytest.mark.parametrize(("error", "has_traceback"), [(OSError("refused"), False), (KeyError("a mistake"), True)])
def test_a_degraded_component_is_a_warning(log, error, has_traceback):
    """The failure has a traceback unless an operator has caused it, since nothing else reports the failure."""
    EventLog(make_plan([]))(events.ComponentDegraded(at=0, component="a", error=error, waited=0.0, own=1.0))
    (entry,) = log
    assert ("component degraded", "warning") == (entry["event"], entry["log_level"])
    assert has_traceback == ("exception" in entry)


@pytest.mark.anyio
@pytest.mark.requirement("CF-35")
async def test_a_failed_stop_is_an_error(log):
    """A failed stop has a duration, like a successful one."""
    with pytest.raises(ExceptionGroup):
        async with Kernel(contributions=[component("bad", stop=OSError("refused"))], discover=False).running():
            pass
    assert {
        "event": "component stop failed",
        "log_level": "error",
        "component": "bad",
        "error": "OSError",
        "took": 2.0,
        **OWNER,
    } == line(log, "component stop failed")


@pytest.mark.anyio
async def test_a_failure_in_detail(detailed_log):
    """At the level debug a failed start is logged in full, with the exception that the caller reports."""
    with pytest.raises(StartError):
        async with Kernel(contributions=[component("bad", start=OSError("refused"))], discover=False).running():
            pass
    entry = line(detailed_log, "component start failed")
    assert "OSError: refused" == entry["error"]
    assert entry["exception"].startswith("Traceback")


@pytest.mark.anyio
async def test_the_error_of_a_service_has_a_traceback(log):
    """The log is the only report of a restarted service's error; the values of variables stay out."""

    async def fails():
        password = "hunter2"
        await anyio.sleep(1)
        raise LookupError(f"no luck with {len(password)}")

    supervise = component("jobs", run=lambda context: context.supervise(fails, restart=Restart(intensity=1, jitter=0)))
    with pytest.raises(CrashError):
        async with Kernel(contributions=[supervise], discover=False).running():
            await anyio.sleep(60)
    entry = line(log, "service restarting")
    assert ("warning", "fails", "LookupError: no luck with 7") == (entry["log_level"], entry["service"], entry["error"])
    assert "in fails" in entry["exception"]
    assert "hunter2" not in entry["exception"]


@pytest.mark.anyio
@pytest.mark.parametrize(("policy", "has_traceback"), [("stop", False), ("degrade", True)])
async def test_a_service_that_is_given_up(log, policy, has_traceback):
    """The error has a traceback only where the run goes on: otherwise the caller of the run reports the error."""

    async def fails():
        raise LookupError("no luck")

    restart = Restart(intensity=0, when_exhausted=policy)
    part = component("jobs", run=lambda context: context.supervise(fails, restart=restart))
    with suppress(CrashError):
        async with Kernel(contributions=[part], discover=False).running():
            await anyio.sleep(1)
    entry = line(log, "service isn't restarted any more")
    assert ("error", "LookupError: no luck", has_traceback) == (
        entry["log_level"],
        entry["error"],
        "exception" in entry,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no postgresql://bob:hunter2@db:5432/x", "no postgresql://bob:**********@db:5432/x"),
        ("redis://:hunter2@cache and redis://cache", "redis://:**********@cache and redis://cache"),
        ("amqp://bob:hun/ter@2@mq/", "amqp://bob:**********@mq/"),
        ("see http://docs:8080/errors", "see http://docs:8080/errors"),
    ],
)
def test_passwords_in_urls_are_masked(log, text, expected):
    """Drivers put the URL of a server that they can't reach into their errors."""
    event_log = EventLog(make_plan([]))
    error = ConnectionError(text)
    event_log(events.ServiceRestarting(at=0, component="a", service="s", error=error, delay=1, attempt=2))
    event_log(events.Warned(at=0, component="a", message=text))
    assert [f"ConnectionError: {expected}", expected] == [log[0]["error"], log[1]["event"]]


@pytest.mark.parametrize(
    ("event", "text", "level"),
    [
        (events.ServiceEnded(at=0, component="a", service="s", error=None), "service completed", "debug"),
        (events.ServiceEnded(at=0, component="a", service="s", error=LookupError()), "service failed", "error"),
        (events.Drained(at=0, took=1, left=0), "drained", "info"),
        (events.Drained(at=0, took=1, left=2), "drain timed out", "warning"),
        (events.ReadinessLost(at=0, probe="p", status="fail", reason="r"), "readiness lost", "warning"),
        (events.ReadinessLost(at=0, probe="p", status="warn", reason="r"), "probe fails, readiness stays", "warning"),
        (events.ReadinessRegained(at=0, probe="p"), "probe passes again", "info"),
    ],
)
def test_names_that_do_not_mislead(detailed_log, event, text, level):
    """An event that may be good or bad news is logged under a name for each."""
    EventLog(make_plan([]))(event)
    assert [(text, level)] == [(entry["event"], entry["log_level"]) for entry in detailed_log]


def test_an_event_with_an_error_is_a_warning(log):
    """An event with an error that the log doesn't know is at least a warning, with the evidence."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class CacheDegraded(events.ComponentEvent):
        error: BaseException

    EventLog(make_plan([]))(CacheDegraded(at=0, component="a", error=LookupError("no luck")))
    assert ("warning", "LookupError: no luck", True) == (
        log[0]["log_level"],
        log[0]["error"],
        "exception" in log[0],
    )


def test_empty_fields_are_left_out(detailed_log):
    """A line has no field for None or for an empty tuple."""
    log = detailed_log
    event_log = EventLog(make_plan([]))
    event_log(events.ServiceEnded(at=1.5, component="a", service="s", error=None))
    event_log(events.ComponentOverdue(at=1, component="a", phase="start", seconds=1 / 3, where="here", waiting=()))
    assert [
        {"event": "service completed", "log_level": "debug", "component": "a", "service": "s"},
        {
            "event": "component overdue",
            "log_level": "error",
            "component": "a",
            "phase": "start",
            "seconds": 0.333333,
            "where": "here",
        },
    ] == log


def every_event():
    """Yield one event of each type, with values of the right types."""
    values = {"str": "text", "float": 1.0, "int": 1, "BaseException": OSError("x"), "tuple[str, ...]": ("a",)}

    def kinds(kind):
        for inner in kind.__subclasses__():
            yield inner
            yield from kinds(inner)

    for kind in kinds(events.Event):
        if not kind.__subclasses__():
            yield kind(**{field.name: values[str(field.type).removesuffix(" | None")] for field in fields(kind)})


@pytest.mark.parametrize("event", list(every_event()), ids=lambda event: type(event).__name__)
def test_every_event_can_be_logged(detailed_log, event):
    """No event has a field with a name that the logger itself uses."""
    EventLog(make_plan([]))(event)
    assert 1 == len(detailed_log)


@pytest.mark.anyio
async def test_settings_never_appear(detailed_log):
    """The settings of a component aren't logged."""
    settings = KernelSettings(title="hunter2")
    async with Kernel(contributions=[component("database")], discover=False, settings=settings).running():
        pass
    assert "hunter2" not in repr(detailed_log)
