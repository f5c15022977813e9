"""Tests of bandmaster.kernel.lifecycle.health."""

import asyncio

import anyio
import anyio.lowlevel
import pytest
from tests.kernel.virtual import anyio_backend  # noqa: F401

from bandmaster.kernel.lifecycle.health import Check, Health, Report, combine

pytestmark = pytest.mark.anyio


class Probe:
    """A probe that counts its runs and does what it is told."""

    def __init__(self, seconds=0.0, error=None):
        self.seconds = seconds
        self.error = error
        self.runs = 0

    async def __call__(self):
        self.runs += 1
        await anyio.sleep(self.seconds)
        if self.error is not None:
            raise self.error


def health_of(*probes, changed=None, critical=True, timeout=2.0):
    health = Health(changed=changed)
    for number, probe in enumerate(probes):
        health.add("component", f"probe{number}", probe, critical=critical, timeout=timeout)
    return health


async def statuses(health):
    return [(check.name, check.status, check.reason) for check in (await health.check()).checks]


@pytest.mark.parametrize(
    ("found", "worst", "http"),
    [
        ([], "pass", 200),
        (["pass", "pass"], "pass", 200),
        (["pass", "warn"], "warn", 200),
        (["warn", "fail", "pass"], "fail", 503),
    ],
)
def test_the_worst_check_decides(found, worst, http):
    """Pass and warn answer 200, fail answers 503."""
    report = combine(Check(str(number), "component", status) for number, status in enumerate(found))
    assert (worst, http) == (report.status, report.http_status)
    assert [status for status in found if status != "pass"] == [check.status for check in report.failing]


async def test_no_probes_pass():
    """What asks for nothing is healthy."""
    assert Report("pass") == await Health().check()


@pytest.mark.requirement("FA-15", "CF-16", "XC-L5")
async def test_each_probe_is_told_by_name_and_component():
    """The details name what fails, and whose it is."""
    health = Health()
    health.add("cache", "redis", Probe(error=ValueError()), critical=True, timeout=2)
    health.add("database", "primary", Probe(), critical=True, timeout=2)
    checks = [(check.name, check.component, check.status, check.reason) for check in (await health.check()).checks]
    assert [("primary", "database", "pass", ""), ("redis", "cache", "fail", "ValueError")] == checks


@pytest.mark.requirement("FA-15", "CF-16", "XC-L5")
async def test_probes_run_side_by_side():
    """Ten probes of a second take one second."""
    began = anyio.current_time()
    await health_of(*(Probe(1) for _ in range(10))).check()
    assert 1 == pytest.approx(anyio.current_time() - began)


@pytest.mark.requirement("FA-15", "CF-16", "XC-L5")
async def test_each_probe_has_a_timeout_of_its_own():
    """One that hangs fails after its own seconds, and says so; the others are none the worse."""
    health = Health()
    health.add("c", "hangs", Probe(1000), critical=True, timeout=0.5)
    health.add("c", "slow", Probe(1), critical=True, timeout=2)
    began = anyio.current_time()
    assert [("hangs", "fail", "no answer within 0.5 s"), ("slow", "pass", "")] == await statuses(health)
    assert 1 == pytest.approx(anyio.current_time() - began)


async def test_a_timeout_error_of_the_probe_itself_is_told_as_such():
    """A driver's own timeout isn't the probe's deadline."""
    assert [("probe0", "fail", "TimeoutError")] == await statuses(health_of(Probe(error=TimeoutError("5432"))))


async def test_a_probe_that_ends_in_spite_of_its_cancellation_was_late_all_the_same():
    """Whatever it makes of the cancellation, it gave no answer in time."""

    async def stubborn():
        try:
            await anyio.sleep(1000)
        except anyio.get_cancelled_exc_class():
            raise ConnectionError from None

    assert [("probe0", "fail", "no answer within 2 s")] == await statuses(health_of(stubborn))


async def test_no_probe_may_take_longer_than_all_together():
    """A timeout near the deadline of all is cut, so that there is a result to keep."""
    probe = Probe(1000)
    health = health_of(probe, timeout=60)
    assert [("probe0", "fail", "no answer within 4 s")] == await statuses(health)
    assert [("probe0", "fail", "no answer within 4 s")] == await statuses(health)
    assert 1 == probe.runs


async def test_all_together_have_a_deadline():
    """Who waited for another's run, and has to run the probe again, gives up after five seconds in all."""
    health = health_of(Probe(1000), timeout=60)
    first = anyio.CancelScope()

    async def ask():
        with first:
            await health.check()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.sleep(0.1)
        tasks.start_soon(cancel_after, first, 3)
        began = anyio.current_time()
        assert [("probe0", "fail", "no answer within 5 s")] == await statuses(health)
    assert 5 == pytest.approx(anyio.current_time() - began)


async def cancel_after(scope, seconds):
    await anyio.sleep(seconds)
    scope.cancel()


@pytest.mark.requirement("FA-15", "CF-16", "XC-L5")
async def test_a_hundred_askers_are_served_by_one_run():
    """However many ask at once, the database is asked once, and everybody gets the answer."""
    probe = Probe(1)
    health = health_of(probe)
    reports = []

    async def ask():
        reports.append(await health.check())

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(ask)
    assert (1, 100, {"pass"}) == (probe.runs, len(reports), {report.status for report in reports})


async def test_an_asker_that_goes_away_takes_nobody_with_it():
    """If the one that runs the probe is cancelled, the next one runs it."""
    probe = Probe(1)
    health = health_of(probe)
    reports = []

    async def ask(scope):
        with scope:
            reports.append(await health.check())

    first, second = anyio.CancelScope(), anyio.CancelScope()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, first)
        await anyio.sleep(0.1)
        tasks.start_soon(ask, second)
        await anyio.sleep(0.1)
        first.cancel()
    assert (2, ["pass"]) == (probe.runs, [report.status for report in reports])


@pytest.mark.requirement("FA-15", "CF-16", "XC-L5")
async def test_a_pass_is_kept_for_two_seconds():
    """Orchestrators ask often; what they ask about needn't be asked as often."""
    probe = Probe()
    health = health_of(probe)
    for seconds in (0, 1.9, 0.2):
        await anyio.sleep(seconds)
        await health.check()
    assert 2 == probe.runs


@pytest.mark.requirement("FA-15", "CF-16", "XC-L5")
async def test_a_failure_is_kept_for_half_a_second():
    """So that a recovery shows soon, while what is ill isn't beaten."""
    probe = Probe(error=ValueError())
    health = health_of(probe)
    for seconds in (0, 0.4, 0.2):
        await anyio.sleep(seconds)
        await health.check()
    assert 2 == probe.runs


@pytest.mark.requirement("FA-15", "CF-16", "XC-L5")
async def test_a_probe_that_is_not_critical_only_warns():
    """A failing cache needn't take the service out of the balancer."""
    report = await health_of(Probe(error=ValueError()), critical=False).check()
    assert ("warn", 200, ["warn"]) == (report.status, report.http_status, [check.status for check in report.checks])


async def test_the_text_of_an_exception_is_told_nobody():
    """It may hold a password; the type has to do."""
    report = await health_of(Probe(error=ValueError("hunter2"))).check()
    assert "hunter2" not in repr(report)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_probe_that_somebody_else_cancels_fails():
    """On asyncio a cancelled future cancels whoever waits for it; a probe that tells nothing hasn't passed."""

    async def lost():
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    assert [("probe0", "fail", "cancelled")] == await statuses(health_of(lost))


def test_a_name_is_given_once():
    """Two probes of one name would hide each other; the error says who has it."""
    health = Health()
    health.add("database", "ping", Probe(), critical=True, timeout=2)
    with pytest.raises(ValueError, match="name: component 'database' has a probe 'ping' already"):
        health.add("cache", "ping", Probe(), critical=True, timeout=2)


async def test_a_component_that_is_gone_is_asked_no_more():
    """Its probes are forgotten, and only its."""
    health = Health()
    gone, there = Probe(), Probe()
    health.add("gone", "a", gone, critical=True, timeout=2)
    health.add("there", "b", there, critical=True, timeout=2)
    health.forget("gone")
    assert [("b", "pass", "")] == await statuses(health)
    assert (0, 1) == (gone.runs, there.runs)


async def test_a_change_is_told_once():
    """Lost and regained, each when it happens; the first pass is no news."""
    told = []
    probe = Probe()
    health = health_of(probe, changed=lambda check: told.append((check.name, check.status)))
    for error in (None, ValueError(), ValueError(), None, None):
        probe.error = error
        await health.check()
        await anyio.sleep(3)
    assert [("probe0", "fail"), ("probe0", "pass")] == told


async def test_a_first_failure_is_a_change():
    """What has never passed is told as lost."""
    told = []
    await health_of(Probe(error=ValueError()), changed=lambda check: told.append(check.status), critical=False).check()
    assert ["warn"] == told


async def test_a_probe_may_be_added_while_probes_run():
    """What comes during a check is asked at the next one."""
    health = Health()

    async def adding():
        health.add("late", "late", Probe(), critical=True, timeout=2)
        await anyio.lowlevel.checkpoint()

    health.add("early", "early", adding, critical=True, timeout=2)
    assert [("early", "pass", "")] == await statuses(health)
    assert [("early", "pass", ""), ("late", "pass", "")] == await statuses(health)
